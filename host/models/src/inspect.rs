//! What a model is, from its file alone: no weights are read.
//!
//! ```no_run
//! use minerva_models::inspect::{Running, summarize};
//!
//! let gguf = minerva_models::gguf::check("model.gguf".as_ref())?;
//! let summary = summarize(&gguf);
//! println!("{} has {} weights", summary.name, summary.parameters);
//! let running = Running { context: 4096, slots: 4, ..Running::default() };
//! println!("{} bytes at 4 slots of 4,096 tokens", summary.memory(&running).total());
//! # Ok::<(), minerva_models::gguf::Error>(())
//! ```

use std::collections::BTreeMap;

use minerva_llama::{KvType, TensorType};

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
    /// The layers, from the input to the output.
    pub layers: Vec<Layer>,
    /// The bytes of weights in front of the layers: the tokens' vectors. llama.cpp keeps them in the host's memory.
    pub input_bytes: u64,
    /// The bytes of weights behind the layers. Where the output is computed with the input's vectors, their bytes: a
    /// GPU that computes it gets a copy.
    pub output_bytes: u64,
    /// The length of a token's vector.
    pub width: u32,
    /// Attention heads; the most of any layer.
    pub heads: u32,
    /// Heads of keys and values; the most of any layer.
    pub kv_heads: u32,
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
    /// Experts, and how many of them a token uses, where there are any.
    pub experts: Option<(u32, u32)>,
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

/// What one layer takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// Numbers of keys that it keeps for each token.
    pub keys: u64,
    /// Numbers of values that it keeps for each token.
    pub values: u64,
    /// Numbers of recurrent state, of 32 bits, that it keeps for each sequence.
    pub state: u64,
}

/// How a model runs, as far as its memory depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Tokens that each slot can hold.
    pub context: u32,
    /// Sequences side by side.
    pub slots: u32,
    /// Tokens computed at a time.
    pub chunk: u32,
    /// The type of the cached keys.
    pub key_type: KvType,
    /// The type of the cached values.
    pub value_type: KvType,
    /// Whether attention is one operation, which keeps no table of every token against every other.
    pub flash_attention: bool,
}

impl Default for Running {
    /// One sequence of 4,096 tokens, as a CPU runs it.
    fn default() -> Self {
        Self {
            context: minerva_llama::CONTEXT_DEFAULT_MAX,
            slots: 1,
            chunk: 128,
            key_type: KvType::F16,
            value_type: KvType::F16,
            flash_attention: false,
        }
    }
}

/// The memory that running takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The weights. Mapped from the file, they are given back when memory is short.
    pub weights: u64,
    /// The cache of keys and values, and the recurrent state.
    pub cache: u64,
    /// What a computation needs besides, roughly.
    pub compute: u64,
}

impl Memory {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.cache).saturating_add(self.compute)
    }
}

impl Layer {
    /// The bytes that it keeps for all sequences. An upper bound: sliding windows are counted in full.
    #[must_use]
    pub fn cache_bytes(&self, running: &Running) -> u64 {
        // llama.cpp rounds the cells of a slot up.
        let cells = u64::from(running.context).next_multiple_of(256).saturating_mul(running.slots.into());
        let bytes = |numbers: u64, kind: KvType| {
            let kind = kind.tensor_type();
            numbers.saturating_mul(cells).div_ceil(kind.block_elements()).saturating_mul(kind.block_bytes())
        };
        let state = self.state.saturating_mul(4 * u64::from(running.slots));
        bytes(self.keys, running.key_type)
            .saturating_add(bytes(self.values, running.value_type))
            .saturating_add(state)
    }
}

impl Summary {
    /// The type that most bytes of weights have: what people call a model's quantisation.
    #[must_use]
    pub fn quantization(&self) -> Option<TensorType> {
        self.types.first().map(|share| share.kind)
    }

    /// The memory that it takes to run it so.
    #[must_use]
    pub fn memory(&self, running: &Running) -> Memory {
        let cache = self.layers.iter().map(|layer| layer.cache_bytes(running));
        Memory {
            weights: self.weight_bytes,
            cache: cache.fold(0, u64::saturating_add),
            compute: self.compute_bytes(running),
        }
    }

    /// What a computation needs besides weights and cache: a row of logits for every token of a chunk and for every
    /// slot, the vectors of a chunk in some stages, and without flash attention a table of every token of the chunk
    /// against the whole context for every head. A rough upper bound.
    #[must_use]
    pub fn compute_bytes(&self, running: &Running) -> u64 {
        let (chunk, slots) = (u64::from(running.chunk), u64::from(running.slots));
        let rows = u64::from(self.vocabulary_size) * (chunk + slots);
        let vectors = u64::from(self.width) * chunk * 24;
        let context = u64::from(running.context).next_multiple_of(256);
        let table = if running.flash_attention { 0 } else { context * chunk * u64::from(self.heads) };
        4_u64.saturating_mul(rows.saturating_add(vectors).saturating_add(table))
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
    let most = |key: &str| {
        let layers = u64::from(number("block_count"));
        let heads = (0..layers.min(LAYERS_MAX)).map(|layer| of_layer(gguf.get_own(key), layer)).max();
        u32::try_from(heads.unwrap_or(0)).unwrap_or(0)
    };
    let types = types(gguf);
    let (layers, input_bytes, output_bytes) = parts(gguf);
    let heads = most("attention.head_count");
    let experts = (number("expert_count"), number("expert_used_count"));
    Summary {
        name: gguf.text("general.name").map_or_else(stem, str::to_owned),
        architecture: gguf.architecture().unwrap_or_default().to_owned(),
        parameters: types.iter().map(|share| share.parameters).sum(),
        weight_bytes: types.iter().map(|share| share.bytes).sum(),
        types,
        layers,
        input_bytes,
        output_bytes,
        width: number("embedding_length"),
        heads,
        kv_heads: gguf.get_own("attention.head_count_kv").map_or(heads, |_| most("attention.head_count_kv")),
        context: number("context_length"),
        vocabulary_size: tokens
            .and_then(|tokens| u32::try_from(tokens).ok())
            .unwrap_or_else(|| number("vocab_size")),
        tokenizer: gguf.text("tokenizer.ggml.model").unwrap_or_default().to_owned(),
        chat_template: gguf.text("tokenizer.chat_template").map(str::to_owned),
        sliding_window: Some(number("attention.sliding_window")).filter(|&window| window > 0),
        experts: Some(experts).filter(|&(count, _)| count > 0),
    }
}

/// The limit that the checks hold a file to; for files that were only opened.
const LAYERS_MAX: u64 = 512;

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

/// The layers, and the bytes in front of them and behind.
fn parts(gguf: &Gguf) -> (Vec<Layer>, u64, u64) {
    let count = gguf.own_unsigned("block_count").unwrap_or(0).min(LAYERS_MAX);
    let mut layers: Vec<Layer> = (0..count).map(|layer| kept(gguf, layer)).collect();
    let (mut input, mut output, mut is_tied) = (0, 0, true);
    for tensor in gguf.tensors() {
        let block = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
        let layer = block.and_then(|(layer, _)| layer.parse::<usize>().ok());
        match layer.and_then(|layer| layers.get_mut(layer)) {
            Some(layer) => layer.weight_bytes += tensor.bytes,
            None if tensor.name.starts_with("output") || tensor.name.starts_with("cls") => {
                is_tied &= tensor.name != "output.weight";
                output += tensor.bytes;
            }
            None => input += tensor.bytes,
        }
    }
    if is_tied {
        output += gguf.tensor("token_embd.weight").map_or(0, |embedding| embedding.bytes);
    }
    (layers, input, output)
}

/// What a layer keeps of its tokens and its sequences.
fn kept(gguf: &Gguf, layer: u64) -> Layer {
    let number = |key: &str| gguf.own_unsigned(key);
    let heads = gguf.get_own("attention.head_count");
    let shared = of_layer(gguf.get_own("attention.head_count_kv").or(heads), layer);
    let head = number("embedding_length").unwrap_or(0).checked_div(of_layer(heads, layer)).unwrap_or(0);
    let state = |key: &str| number(key).unwrap_or(0).min(1 << 24);
    // The convolution's and the scan's.
    let each = state("ssm.conv_kernel").saturating_sub(1) + state("ssm.state_size");
    Layer {
        weight_bytes: 0,
        keys: shared.saturating_mul(number("attention.key_length").unwrap_or(head)),
        values: shared.saturating_mul(number("attention.value_length").unwrap_or(head)),
        state: state("ssm.inner_size").saturating_mul(each),
    }
}

/// The number of a layer, where there is one for all layers or one for each.
fn of_layer(value: Option<Value<'_>>, layer: u64) -> u64 {
    let number = match value {
        Some(Value::Array(each)) => each.iter().nth(usize::try_from(layer).unwrap_or(0)),
        other => other,
    };
    number.and_then(|number| number.as_unsigned()).unwrap_or(0)
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
        assert_eq!((tiny.layers.len(), tiny.width, tiny.context, tiny.vocabulary_size), (2, 128, 512, 512));
        assert_eq!((tiny.heads, tiny.kv_heads, tiny.experts), (4, 2, None));
        assert_eq!(tiny.quantization(), Some(TensorType::Q4_0));
        assert_eq!(tiny.types.iter().map(|share| share.tensors).sum::<u32>(), 20);
        // Two heads of 32 for keys and values each.
        assert!(tiny.layers.iter().all(|layer| (layer.keys, layer.values) == (2 * 32, 2 * 32)));
        let in_layers: u64 = tiny.layers.iter().map(|layer| layer.weight_bytes).sum();
        // 512 tokens of 128 numbers, and the norm of the output.
        assert_eq!(
            (tiny.input_bytes, tiny.output_bytes),
            (512 * 128 / 32 * 18, 512 * 128 / 32 * 18 + 128 * 4)
        );
        assert_eq!(tiny.weight_bytes, in_layers + tiny.output_bytes);
        assert!(tiny.chat_template.is_some() && tiny.sliding_window.is_none());
        assert_eq!(summary("tiny-moe").experts, Some((4, 2)));
    }

    #[test]
    fn the_cache_grows_with_slots_and_shrinks_with_its_types() {
        let tiny = summary("tiny");
        let running = Running { context: 300, slots: 4, ..Running::default() };
        assert_eq!(tiny.memory(&running).cache, 512 * 4 * 2 * (64 + 64) * 2);
        let quantised = Running { key_type: KvType::Q8_0, value_type: KvType::Q4_0, ..running };
        assert_eq!(tiny.memory(&quantised).cache, 512 * 4 * 2 * (64 * 34 + 64 * 18) / 32);
        let lean = Running { flash_attention: true, ..running };
        assert!(tiny.memory(&lean).compute < tiny.memory(&running).compute);
    }

    #[test]
    fn windows_and_states_are_seen() {
        assert_eq!(summary("tiny-window").sliding_window, Some(64));
        let recurrent = summary("tiny-recurrent");
        let kept = Layer { weight_bytes: 0, keys: 0, values: 0, state: 256 * (3 + 16) };
        assert!(recurrent.layers.iter().all(|layer| Layer { weight_bytes: 0, ..*layer } == kept));
        let two = Running { slots: 2, ..Running::default() };
        assert_eq!(recurrent.memory(&two).cache, 2 * 2 * 256 * (3 + 16) * 4);
    }
}
