//! What the two processes say to each other. The engine's and llama's types are not serialisable: here are their forms
//! on the wire, which the compiler holds to be the same.

use std::ops::Range;
use std::path::PathBuf;

use minerva_engine::model::{
    self, Batch, Capabilities, Embeds, Info, Layout, Pooling, Position, Slot, Token,
};
use minerva_llama::{FlashAttention, KvType, Options};
use serde::{Deserialize, Serialize};

/// Both sides are of one version, or do not talk.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// From the parent. The child answers each with one [`Reply`], and [`Command::Load`] with progress before it.
#[derive(Serialize, Deserialize)]
pub(crate) enum Command {
    /// The first one.
    Load {
        version: String,
        #[serde(with = "OptionsForm")]
        options: Options,
    },
    /// The memory for rows has its size.
    MapRows,
    Decode(#[serde(with = "BatchForm")] Batch),
    Embed(Vec<Vec<Token>>),
    Remove {
        slot: Slot,
        from: Position,
    },
    Discard {
        slot: Slot,
        range: Range<Position>,
    },
    Copy {
        from: Slot,
        to: Slot,
    },
    /// The answer brings the state.
    Save(Slot),
    /// Brings the state.
    Restore(Slot),
    Positions(Slot),
}

/// From the child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// So much is loaded, 0 to 1.
    Progress(f32),
    Loaded(#[serde(with = "InfoForm")] Info),
    NotLoaded(LoadFailure),
    Done,
    /// The rows, one after the other in the bytes; these are their lengths.
    Embedded(Vec<u32>),
    Positions(Option<(Position, Position)>),
    Failed(Failure),
}

/// [`model::Error`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    NoRoom(usize),
    Unsupported { operation: String, architecture: String },
    Encode(String),
    State(String),
    Decode(String),
    Device(String),
}

impl From<model::Error> for Failure {
    fn from(error: model::Error) -> Self {
        match error {
            model::Error::NoRoom { tokens } => Self::NoRoom(tokens),
            model::Error::Unsupported { operation, architecture } => {
                Self::Unsupported { operation: operation.into_owned(), architecture }
            }
            model::Error::Encode(why) => Self::Encode(why),
            model::Error::State(why) => Self::State(why),
            model::Error::Decode(why) => Self::Decode(why),
            model::Error::Device(why) => Self::Device(why),
            other => Self::Decode(other.to_string()),
        }
    }
}

impl From<Failure> for model::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoRoom(tokens) => Self::NoRoom { tokens },
            Failure::Unsupported { operation, architecture } => {
                Self::Unsupported { operation: operation.into(), architecture }
            }
            Failure::Encode(why) => Self::Encode(why),
            Failure::State(why) => Self::State(why),
            Failure::Decode(why) => Self::Decode(why),
            Failure::Device(why) => Self::Device(why),
        }
    }
}

/// [`minerva_llama::Error`], as far as it is about one model.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum LoadFailure {
    Open { code: Option<i32>, why: String },
    Options(String),
    Load(String),
    Context { context: u32, slots: u32, cause: String },
}

impl From<minerva_llama::Error> for LoadFailure {
    fn from(error: minerva_llama::Error) -> Self {
        use minerva_llama::Error;
        match error {
            Error::Open { source, .. } => Self::Open { code: source.raw_os_error(), why: source.to_string() },
            Error::Options { cause, .. } => Self::Options(cause),
            Error::Load { cause, .. } => Self::Load(cause),
            Error::Context { context, slots, cause, .. } => Self::Context { context, slots, cause },
            other => Self::Load(other.to_string()),
        }
    }
}

impl LoadFailure {
    /// The error of loading a file.
    pub(crate) fn of(self, path: PathBuf) -> minerva_llama::Error {
        use minerva_llama::Error;
        match self {
            Self::Open { code, why } => {
                let source =
                    code.map_or_else(|| std::io::Error::other(why), std::io::Error::from_raw_os_error);
                Error::Open { path, source }
            }
            Self::Options(cause) => Error::Options { path, cause },
            Self::Load(cause) => Error::Load { path, cause },
            Self::Context { context, slots, cause } => Error::Context { path, context, slots, cause },
        }
    }
}

/// The form of an `Option` of something that has a form.
macro_rules! optional {
    ($module:ident, $kind:ty, $form:literal) => {
        mod $module {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            #[derive(Serialize, Deserialize)]
            struct Some(#[serde(with = $form)] $kind);

            pub(super) fn serialize<S: Serializer>(value: &Option<$kind>, to: S) -> Result<S::Ok, S::Error> {
                value.map(Some).serialize(to)
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<$kind>, D::Error> {
                Ok(Option::<Some>::deserialize(from)?.map(|Some(value)| value))
            }
        }
    };
}

optional!(optional_pooling, minerva_engine::model::Pooling, "super::PoolingForm");
optional!(optional_embeds, minerva_engine::model::Embeds, "super::EmbedsForm");

#[derive(Serialize, Deserialize)]
#[serde(remote = "Batch")]
struct BatchForm {
    tokens: Vec<Token>,
    positions: Vec<Position>,
    slots: Vec<Slot>,
    wants_logits: Vec<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Info")]
struct InfoForm {
    name: String,
    file: String,
    architecture: String,
    parameters: u64,
    weight_bytes: u64,
    device: String,
    vocabulary_size: u32,
    context: u32,
    context_trained: u32,
    slots: u32,
    batch_tokens_max: u32,
    chunk_tokens: u32,
    chat_template: Option<String>,
    rerank_template: Option<String>,
    #[serde(with = "optional_embeds")]
    embeds: Option<Embeds>,
    #[serde(with = "CapabilitiesForm")]
    capabilities: Capabilities,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Capabilities")]
struct CapabilitiesForm {
    #[serde(with = "LayoutForm")]
    layout: Layout,
    partial_removal: bool,
    copy: bool,
    shift: bool,
    batch_invariant: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Layout")]
enum LayoutForm {
    Streams,
    Unified,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Embeds")]
struct EmbedsForm {
    #[serde(with = "PoolingForm")]
    pooling: Pooling,
    width: u32,
    tokens_max: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Pooling")]
enum PoolingForm {
    None,
    Mean,
    Cls,
    Last,
    Rank,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Options")]
struct OptionsForm {
    path: PathBuf,
    context: u32,
    slots: u32,
    batch: u32,
    ubatch: u32,
    threads: u32,
    threads_batch: u32,
    gpu_layers: Option<u32>,
    devices: Option<Vec<String>>,
    #[serde(with = "FlashAttentionForm")]
    flash_attention: FlashAttention,
    #[serde(with = "KvTypeForm")]
    key_type: KvType,
    #[serde(with = "KvTypeForm")]
    value_type: KvType,
    kv_unified: bool,
    sliding_window_full: bool,
    memory_map: bool,
    lock_memory: bool,
    deterministic: bool,
    embeddings: bool,
    #[serde(with = "optional_pooling")]
    pooling: Option<Pooling>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FlashAttention")]
enum FlashAttentionForm {
    Off,
    On,
    Auto,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "KvType")]
enum KvTypeForm {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q5_0,
    Q4_0,
}
