//! What attention in one operation gives for one token beside others: it is computed, and the bits are compared.

use llama_cpp_sys_2 as sys;

use crate::TensorType;
use crate::trial::{Trial, numbers, same};

/// Tokens that ask, of which the last is the cache's last.
const TOKENS: usize = 7;
/// Heads that ask, and those of the cache.
const HEADS: usize = 6;
const KV_HEADS: usize = 2;
/// Cells of the cache, in more than one block; and fewer, of which the first tokens see as much.
const CELLS: usize = 260;
const FEWER_CELLS: usize = 256;

/// Whether the processor's flash attention gives each of several tokens the bits that it gets alone, with heads of so
/// many numbers, and a cache in F16. `None` where it cannot be tried.
pub(crate) fn same_alone(keys: usize, values: usize) -> Option<bool> {
    let attention = Attention::compute(keys, values)?;
    Some(attention.all.chunks_exact(values * HEADS).zip(&attention.alone).all(|(a, b)| same(a, b)))
}

/// What [`TOKENS`] tokens get, all heads of a token together, token by token.
struct Attention {
    all: Vec<f32>,
    alone: Vec<Vec<f32>>,
}

impl Attention {
    fn compute(keys: usize, values: usize) -> Option<Self> {
        let mut trial = Trial::new(TOKENS * 8 + 12)?;
        let context = trial.context();
        let scale = 1.0 / (keys as f32).sqrt();
        // SAFETY: tensors are made in the trial's context, with room for as many; views lie within what they are of;
        // what is set and read has the sizes that they were made with.
        unsafe {
            let make = |kind: TensorType, shape: [usize; 3]| {
                let [a, b, c] = shape.map(|length| length as i64);
                sys::ggml_new_tensor_3d(context, kind.id(), a, b, c)
            };
            // As llama.cpp has them in memory.
            let q = make(TensorType::F32, [keys, HEADS, TOKENS]);
            let k = make(TensorType::F16, [keys, KV_HEADS, CELLS]);
            let v = make(TensorType::F16, [values, KV_HEADS, CELLS]);
            let mask = make(TensorType::F16, [CELLS, TOKENS, 1]);
            let attend = |first: usize, tokens: usize, cells: usize| {
                let part = |of: *mut sys::ggml_tensor, from: usize, length: usize| {
                    let [width, heads, ..] = (*of).ne;
                    let [_, row, step, _] = (*of).nb;
                    let part =
                        sys::ggml_view_3d(context, of, width, heads, length as i64, row, step, from * step);
                    sys::ggml_permute(context, part, 0, 2, 1, 3)
                };
                let step = (*mask).nb[1];
                let mask = sys::ggml_view_2d(context, mask, cells as i64, tokens as i64, step, first * step);
                let (q, k, v) = (part(q, first, tokens), part(k, 0, cells), part(v, 0, cells));
                let attention = sys::ggml_flash_attn_ext(context, q, k, v, mask, scale, 0.0, 0.0);
                trial.want(attention);
                attention
            };
            let all = attend(0, TOKENS, CELLS);
            let seen = |token: usize| CELLS - TOKENS + token + 1;
            let alone: Vec<_> = (0..TOKENS)
                .map(|token| attend(token, 1, if seen(token) <= FEWER_CELLS { FEWER_CELLS } else { CELLS }))
                .collect();
            trial.allocate()?;
            trial.set(q, &numbers(1, keys * HEADS * TOKENS).iter().map(|n| n / 1024.0).collect::<Vec<_>>());
            let halves =
                |seed, count| numbers(seed, count).iter().map(|n| half(n / 1024.0)).collect::<Vec<_>>();
            trial.set(k, &halves(2, keys * KV_HEADS * CELLS));
            trial.set(v, &halves(3, values * KV_HEADS * CELLS));
            let hidden = |token, cell| half(if cell < seen(token) { 0.0 } else { f32::NEG_INFINITY });
            let masks = (0..TOKENS).flat_map(|token| (0..CELLS).map(move |cell| hidden(token, cell)));
            trial.set(mask, &masks.collect::<Vec<_>>());
            let width = values * HEADS;
            trial.compute().then(|| Self {
                all: trial.read(all, TOKENS * width),
                alone: alone.into_iter().map(|tensor| trial.read(tensor, width)).collect(),
            })
        }
    }
}

fn half(number: f32) -> sys::ggml_fp16_t {
    // SAFETY: a function of plain values.
    unsafe { sys::ggml_fp32_to_fp16(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that a trial has, as they are in memory.
    fn given(seed: u32, count: usize) -> Vec<f64> {
        // SAFETY: a function of plain values.
        let halved = |n: &f32| f64::from(unsafe { sys::ggml_fp16_to_fp32(half(n / 1024.0)) });
        numbers(seed, count).iter().map(halved).collect()
    }

    /// The same by its definition, in F64.
    fn defined(keys: usize, values: usize, token: usize, head: usize) -> Vec<f64> {
        let queries: Vec<_> =
            numbers(1, keys * HEADS * TOKENS).iter().map(|n| f64::from(n / 1024.0)).collect();
        let query = &queries[(token * HEADS + head) * keys..][..keys];
        let kv_head = head / (HEADS / KV_HEADS);
        let (k, v) = (given(2, keys * KV_HEADS * CELLS), given(3, values * KV_HEADS * CELLS));
        let cell = |cell: usize, width: usize| (cell * KV_HEADS + kv_head) * width..;
        let score = |at: usize| {
            let products = k[cell(at, keys)].iter().zip(query).map(|(a, b)| a * b);
            products.sum::<f64>() / (keys as f64).sqrt()
        };
        let scores: Vec<_> = (0..CELLS - TOKENS + token + 1).map(score).collect();
        let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<_> = scores.iter().map(|score| (score - most).exp()).collect();
        let total: f64 = weights.iter().sum();
        let sum = |i: usize| {
            let weighed = weights.iter().enumerate().map(|(at, weight)| weight * v[cell(at, values)][i]);
            weighed.sum::<f64>() / total
        };
        (0..values).map(sum).collect()
    }

    #[test]
    fn attention_is_what_it_is_defined_as() {
        for (keys, values) in [(64, 64), (32, 48), (128, 64), (40, 40)] {
            let found = Attention::compute(keys, values).expect("a processor");
            for (token, head) in [(0, 0), (3, 2), (6, 5)] {
                let from = (token * HEADS + head) * values;
                for (found, expected) in
                    found.all[from..][..values].iter().zip(defined(keys, values, token, head))
                {
                    // ggml's own rounds queries and sums to F16.
                    let allowed = if keys % 16 == 0 { 1e-4 } else { 0.02 };
                    assert!(
                        (f64::from(*found) - expected).abs() < allowed,
                        "{keys}: {found} and not {expected}"
                    );
                }
            }
        }
    }

    /// What the default build promises: if it loses this, it must be noticed.
    #[test]
    fn it_is_exact_where_the_build_has_the_kernel() {
        let wrapper = std::env::var("CC").is_ok_and(|path| path.ends_with(".cargo/cc"));
        let info = crate::system_info().expect("llama.cpp starts");
        if wrapper && cfg!(target_arch = "x86_64") && info.contains("AVX2 = 1") {
            for (keys, values) in [(64, 64), (128, 128), (32, 48), (576, 512), (256, 256)] {
                assert_eq!(same_alone(keys, values), Some(true), "{keys}, {values}");
            }
        }
    }
}
