//! What a model is, from its file alone: no weights are read.
//!
//! ```no_run
//! let gguf = minerva_models::gguf::check("model.gguf".as_ref())?;
//! let summary = minerva_models::inspect::summarize(&gguf);
//! println!("{} has {} weights", summary.name, summary.parameters);
//! println!("{} bytes at 4 slots of 4,096 tokens", summary.memory(4096, 4, 16).total());
//! # Ok::<(), minerva_models::gguf::Error>(())
//! ```

use std::collections::BTreeMap;

use minerva_llama::TensorType;

use crate::gguf::{Gguf, Value};

/// What a file says of its model.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The name in the file, or the file's stem.
    pub name: String,
    /// The architecture: `llama`, `qwen2`, …
    pub architecture: String,
    /// The number of weights.
    pub parameters: u64,
    /// The bytes of weights.
    pub weight_bytes: u64,
    /// The weights by their type: tensors, numbers and bytes of each, the type with the most bytes first.
    pub types: Vec<TypeShare>,
    /// The number of layers.
    pub layers: u32,
    /// The length of a token's vector.
    pub width: u32,
    /// The context that it was trained for.
    pub context: u32,
    /// The number of tokens in its vocabulary.
    pub vocabulary_size: u32,
    /// The kind of tokeniser: `llama` is SentencePiece, `gpt2` byte-level BPE.
    pub tokenizer: String,
    /// Its Jinja chat template.
    pub chat_template: Option<String>,
    /// The tokens that sliding-window layers see, where there are such layers.
    pub sliding_window: Option<u32>,
    /// The numbers that one token adds to the cache of all layers.
    pub cache_numbers_per_token: u64,
    /// The numbers of state, of 32 bits, that each sequence of a recurrent model has.
    pub state_numbers_per_sequence: u64,
}

/// The weights of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeShare {
    /// Which type.
    pub kind: TensorType,
    /// Tensors.
    pub tensors: u32,
    /// Numbers in them.
    pub parameters: u64,
    /// Bytes that they take.
    pub bytes: u64,
}

/// The memory that running takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The weights. Mapped from the file, they are given back when memory is short.
    pub weights: u64,
    /// The cache of keys and values, or the recurrent state.
    pub cache: u64,
    /// What a computation needs besides, roughly: its rows of logits are most of it.
    pub compute: u64,
}

impl Memory {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.cache).saturating_add(self.compute)
    }
}

impl Summary {
    /// The type that most bytes of weights have: what people call a model's quantisation.
    #[must_use]
    pub fn quantization(&self) -> Option<TensorType> {
        self.types.first().map(|share| share.kind)
    }

    /// The memory for so many slots of so many tokens, at so many bits for each cached number (16 unless the cache is
    /// quantised). An upper bound: sliding-window layers are counted in full.
    #[must_use]
    pub fn memory(&self, context: u32, slots: u32, cache_bits: u32) -> Memory {
        // llama.cpp computes 128 tokens at a time on a CPU and rounds the cells of a slot up.
        const CHUNK: u64 = 128;
        let cells = u64::from(context).next_multiple_of(256) * u64::from(slots);
        let cached =
            self.cache_numbers_per_token.saturating_mul(cells).saturating_mul(u64::from(cache_bits)) / 8;
        let state = self.state_numbers_per_sequence.saturating_mul(4 * u64::from(slots));
        let rows = u64::from(self.vocabulary_size) * u64::from(slots);
        let hidden = u64::from(self.width) * CHUNK * 16;
        Memory {
            weights: self.weight_bytes,
            cache: cached.saturating_add(state),
            compute: 4 * (rows + hidden),
        }
    }
}

/// Sums a file up.
#[must_use]
pub fn summarize(gguf: &Gguf) -> Summary {
    let number =
        |key: &str| gguf.own_unsigned(key).and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    let stem = || gguf.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let tokens =
        gguf.get("tokenizer.ggml.tokens").and_then(|tokens| tokens.as_array()).map(|tokens| tokens.length);
    let types = types(gguf);
    Summary {
        name: gguf.text("general.name").map_or_else(stem, str::to_owned),
        architecture: gguf.architecture().unwrap_or_default().to_owned(),
        parameters: types.iter().map(|share| share.parameters).sum(),
        weight_bytes: types.iter().map(|share| share.bytes).sum(),
        types,
        layers: number("block_count"),
        width: number("embedding_length"),
        context: number("context_length"),
        vocabulary_size: tokens
            .and_then(|tokens| u32::try_from(tokens).ok())
            .unwrap_or_else(|| number("vocab_size")),
        tokenizer: gguf.text("tokenizer.ggml.model").unwrap_or_default().to_owned(),
        chat_template: gguf.text("tokenizer.chat_template").map(str::to_owned),
        sliding_window: Some(number("attention.sliding_window")).filter(|&window| window > 0),
        cache_numbers_per_token: cache_numbers(gguf),
        state_numbers_per_sequence: state_numbers(gguf),
    }
}

fn types(gguf: &Gguf) -> Vec<TypeShare> {
    let mut by_type: BTreeMap<TensorType, TypeShare> = BTreeMap::new();
    for tensor in gguf.tensors() {
        let new = TypeShare { kind: tensor.kind, tensors: 0, parameters: 0, bytes: 0 };
        let share = by_type.entry(tensor.kind).or_insert(new);
        share.tensors += 1;
        share.parameters += tensor.elements();
        share.bytes += tensor.bytes;
    }
    let mut types: Vec<_> = by_type.into_values().collect();
    types.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    types
}

/// Keys and values of every layer that has attention.
fn cache_numbers(gguf: &Gguf) -> u64 {
    let width = gguf.own_unsigned("embedding_length").unwrap_or(0);
    let layers = gguf.own_unsigned("block_count").unwrap_or(0).min(512);
    let heads = gguf.get_own("attention.head_count");
    let shared = gguf.get_own("attention.head_count_kv").or(heads);
    (0..layers)
        .map(|layer| {
            let heads = of_layer(heads, layer);
            let head = width.checked_div(heads).unwrap_or(0);
            let key = gguf.own_unsigned("attention.key_length").unwrap_or(head);
            let value = gguf.own_unsigned("attention.value_length").unwrap_or(head);
            of_layer(shared, layer).saturating_mul(key.saturating_add(value))
        })
        .fold(0, u64::saturating_add)
}

/// The number of a layer, where there is one for all layers or one for each.
fn of_layer(value: Option<Value<'_>>, layer: u64) -> u64 {
    let number = match value {
        Some(Value::Array(each)) => each.iter().nth(usize::try_from(layer).unwrap_or(0)),
        other => other,
    };
    number.and_then(|number| number.as_unsigned()).unwrap_or(0)
}

/// The convolution's and the scan's state of every layer.
fn state_numbers(gguf: &Gguf) -> u64 {
    let number = |key: &str| gguf.own_unsigned(key).unwrap_or(0).min(1 << 24);
    let inner = number("ssm.inner_size");
    let each = inner * (number("ssm.conv_kernel").saturating_sub(1) + number("ssm.state_size"));
    each.saturating_mul(number("block_count"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{self, Spec};

    fn summary(preset: &str) -> Summary {
        let file = tempfile::NamedTempFile::new().expect("a file");
        synthetic::write(&Spec::preset(preset).expect("a preset"), file.path(), |_| true)
            .expect("it is written");
        summarize(&crate::gguf::check(file.path()).expect("it is sound"))
    }

    #[test]
    fn a_transformer_is_summed_up() {
        let tiny = summary("tiny");
        assert_eq!((tiny.name.as_str(), tiny.architecture.as_str()), ("synthetic-tiny", "llama"));
        assert_eq!((tiny.layers, tiny.width, tiny.context, tiny.vocabulary_size), (2, 128, 512, 512));
        assert_eq!(tiny.quantization(), Some(TensorType::Q4_0));
        assert_eq!(tiny.types.iter().map(|share| share.tensors).sum::<u32>(), 20);
        // Two heads of 32 for keys and values each, in two layers.
        assert_eq!(tiny.cache_numbers_per_token, 2 * 2 * 32 * 2);
        assert_eq!(tiny.memory(300, 4, 16).cache, 256 * 512 * 4 * 2);
        assert!(tiny.chat_template.is_some() && tiny.sliding_window.is_none());
    }

    #[test]
    fn windows_and_states_are_seen() {
        assert_eq!(summary("tiny-window").sliding_window, Some(64));
        let recurrent = summary("tiny-recurrent");
        assert_eq!(recurrent.cache_numbers_per_token, 0);
        assert_eq!(recurrent.state_numbers_per_sequence, 2 * 256 * (3 + 16));
    }
}
