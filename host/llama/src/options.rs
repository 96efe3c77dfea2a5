//! What can be chosen when a model is loaded.

use std::path::PathBuf;

use crate::TensorType;
use minerva_engine::model::Pooling;

/// The most sequences that llama.cpp holds side by side.
pub const SLOTS_MAX: u32 = 256;

/// The context of a slot when none is asked for and the model was trained for more.
///
/// Every slot's cache is allocated, and touched, in full: what today's models are trained for (131,072 tokens and
/// more) would take tens of gigabytes that most requests never use.
pub const CONTEXT_DEFAULT_MAX: u32 = 4096;

/// How to load a model and what to hold beside it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The GGUF file, or the first of a split model's files.
    pub path: PathBuf,
    /// Tokens that each slot can hold. 0: what the model was trained for, at most [`CONTEXT_DEFAULT_MAX`].
    pub context: u32,
    /// Sequences held side by side, 1 to [`SLOTS_MAX`]. Each has a cache of its own, allocated at load.
    pub slots: u32,
    /// The most tokens of one `decode`. Raised to `slots` if it is below.
    pub batch: u32,
    /// Tokens that are computed at a time. On a CPU 128 decodes as fast as any and keeps the buffers small; a GPU
    /// wants 512.
    pub ubatch: u32,
    /// Threads that decode one token. 0: one for each physical core this process may use.
    pub threads: u32,
    /// Threads that decode several tokens at a time. 0: as many as `threads`.
    pub threads_batch: u32,
    /// Layers to put on GPUs; the output counts as one. More than there are: all. Without a GPU this has no effect.
    /// `None` is for whoever plans it (`minerva_models::devices`), and 0 for [`load`](crate::load).
    pub gpu_layers: Option<u32>,
    /// The devices that get layers, by [`Device::name`](crate::Device::name). None at all is the processor alone;
    /// `None` is what llama.cpp takes by itself.
    pub devices: Option<Vec<String>>,
    /// Flash attention: attention as one operation.
    pub flash_attention: FlashAttention,
    /// The type of the cached keys.
    pub key_type: KvType,
    /// The type of the cached values. A quantised one needs flash attention, and is refused where that is off.
    pub value_type: KvType,
    /// One pool of cells for all slots, instead of one stream for each: slower on a CPU and not batch invariant,
    /// but a copy of a sequence is free. `context` is then what all slots share.
    pub kv_unified: bool,
    /// Keep all cells of sliding-window layers, so that a tail can be removed at any place, at the memory of full
    /// attention.
    pub sliding_window_full: bool,
    /// Map the file into memory instead of reading it. Off: repacked weights are not held twice, loading is slower.
    pub memory_map: bool,
    /// Forbid the operating system to swap the weights out.
    pub lock_memory: bool,
    /// Refuse to load where the logits of a sequence would depend, in their last bits, on what is decoded beside it or
    /// on how its prompt is cut: the error names what is in the way. Alone it changes nothing: the defaults on a CPU are
    /// batch invariant for the types of weights that have exact kernels.
    pub deterministic: bool,
    /// Compute embeddings instead of logits. Always so for a model that has nothing else. A text is then computed in
    /// one piece, so that `ubatch` is `batch`.
    pub embeddings: bool,
    /// How the tokens of a text become one row. `None`: as the file says, and their mean where it says nothing.
    pub pooling: Option<Pooling>,
}

impl Options {
    /// The defaults for a model on a CPU: four slots, the model's own context.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            context: 0,
            slots: 4,
            batch: 512,
            ubatch: 128,
            threads: 0,
            threads_batch: 0,
            gpu_layers: None,
            devices: None,
            flash_attention: FlashAttention::Auto,
            key_type: KvType::F16,
            value_type: KvType::F16,
            kv_unified: false,
            sliding_window_full: false,
            memory_map: true,
            lock_memory: false,
            deterministic: false,
            embeddings: false,
            pooling: None,
        }
    }
}

/// Whether attention runs as one fused operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlashAttention {
    /// Never.
    Off,
    /// Always.
    On,
    /// As is best: on a GPU where it has it; on a CPU, where it is slower and not batch invariant, only for quantised
    /// values, which need it.
    #[default]
    Auto,
}

/// The type of the numbers in the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// 32 bits.
    F32,
    /// 16 bits.
    #[default]
    F16,
    /// 16 bits with the range of 32.
    Bf16,
    /// 8.5 bits.
    Q8_0,
    /// 5.5 bits.
    Q5_0,
    /// 4.5 bits.
    Q4_0,
}

impl KvType {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q5_0, Self::Q4_0];

    /// The type in ggml's table.
    #[must_use]
    pub fn tensor_type(self) -> TensorType {
        match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::Bf16 => TensorType::Bf16,
            Self::Q8_0 => TensorType::Q8_0,
            Self::Q5_0 => TensorType::Q5_0,
            Self::Q4_0 => TensorType::Q4_0,
        }
    }

    /// The type with a name, in either case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.tensor_type().name().eq_ignore_ascii_case(name))
    }

    /// Whether it has fewer than 16 bits: quantised values need flash attention.
    #[must_use]
    pub fn is_quantised(self) -> bool {
        matches!(self, Self::Q8_0 | Self::Q5_0 | Self::Q4_0)
    }
}
