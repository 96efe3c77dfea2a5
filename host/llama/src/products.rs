//! What a matrix product gives for one token beside others: it is computed, and the bits are compared.

use llama_cpp_sys_2 as sys;

use crate::TensorType;
use crate::quantize::quantize_rows;
use crate::trial::{Trial, numbers, same};

/// Long enough for kernels to add up in more than one way, in whole blocks of every type.
const COLUMNS: usize = 512;
/// Rows of weights: whole tiles, without which some kernels leave a product to others.
const ROWS: usize = 48;
/// Tokens: tiles of four, three and less are among them.
const TOKENS: usize = 7;

/// Whether the processor's product of weights of this type with several tokens gives each token the bits that it gets
/// alone. Weights that a backend repacks are not in memory as here, and have kernels of their own: of these it says
/// nothing. `None` where it cannot be tried: ggml does not write the type without an importance matrix, or there is
/// no memory.
pub(crate) fn same_alone(kind: TensorType) -> Option<bool> {
    let weights = quantize_rows(kind, &numbers(1, ROWS * COLUMNS), COLUMNS).ok()?;
    let products = Products::compute(kind, ROWS, &weights, &numbers(2, TOKENS * COLUMNS))?;
    Some(products.all.chunks_exact(ROWS).zip(&products.alone).all(|(a, b)| same(a, b)))
}

/// The products of [`TOKENS`] tokens with so many rows, token by token.
struct Products {
    all: Vec<f32>,
    alone: Vec<Vec<f32>>,
}

impl Products {
    fn compute(kind: TensorType, rows: usize, weights: &[u8], tokens: &[f32]) -> Option<Self> {
        let mut trial = Trial::new(TOKENS * 2 + 3)?;
        let context = trial.context();
        // SAFETY: tensors are made in the trial's context, with room for as many, and what is set and read has the
        // sizes that they were made with.
        unsafe {
            let of = |kind, rows| sys::ggml_new_tensor_2d(context, kind, COLUMNS as i64, rows as i64);
            let (a, b) = (of(kind.id(), rows), of(TensorType::F32.id(), TOKENS));
            let token_bytes = COLUMNS * size_of::<f32>();
            let product = |b| {
                let product = sys::ggml_mul_mat(context, a, b);
                trial.want(product);
                product
            };
            let all = product(b);
            let token = |at| sys::ggml_view_2d(context, b, COLUMNS as i64, 1, token_bytes, at * token_bytes);
            let alone: Vec<_> = (0..TOKENS).map(|at| product(token(at))).collect();
            trial.allocate()?;
            trial.set(a, weights);
            trial.set(b, tokens);
            trial.compute().then(|| Self {
                all: trial.read(all, TOKENS * rows),
                alone: alone.into_iter().map(|tensor| trial.read(tensor, rows)).collect(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_numbers_that_the_weights_stand_for() {
        use TensorType as T;
        let tokens = numbers(2, TOKENS * COLUMNS);
        let kinds = [T::F32, T::F16, T::Bf16, T::Q4_0, T::Q5_0, T::Q8_0, T::Q4K];
        // With rows that are left over from tiles, and without.
        for (kind, rows) in kinds.into_iter().flat_map(|kind| [(kind, ROWS), (kind, ROWS + 5)]) {
            let weights = quantize_rows(kind, &numbers(1, rows * COLUMNS), COLUMNS).expect("weights");
            let products = Products::compute(kind, rows, &weights, &tokens).expect("a processor");
            let mut stands_for = vec![0.0_f32; rows * COLUMNS];
            // SAFETY: as many numbers as the weights were made of.
            unsafe {
                let traits = &*sys::ggml_get_type_traits(kind.id());
                let count = (rows * COLUMNS) as i64;
                match traits.to_float {
                    Some(to_float) => to_float(weights.as_ptr().cast(), stands_for.as_mut_ptr(), count),
                    None => stands_for.copy_from_slice(&numbers(1, rows * COLUMNS)),
                }
            }
            let length = |numbers: &[f32]| numbers.iter().map(|n| f64::from(*n).powi(2)).sum::<f64>().sqrt();
            for (at, found) in products.all.iter().enumerate() {
                let token = &tokens[at / rows * COLUMNS..][..COLUMNS];
                let row = &stands_for[at % rows * COLUMNS..][..COLUMNS];
                let expected: f64 = token.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                // Tokens are rounded to eight bits, where the weights are.
                let error = (f64::from(*found) - expected).abs() / (length(token) * length(row));
                assert!(error < 0.004, "{}, number {at}: {found} and not {expected}", kind.name());
            }
        }
    }
}
