//! What a synthetic model is to look like.

use std::path::PathBuf;

use minerva_llama::TensorType;

/// The names that [`Spec::preset`] knows.
pub const PRESETS: [&str; 10] = [
    "tiny",
    "tiny-moe",
    "tiny-window",
    "tiny-recurrent",
    "tiny-embedding",
    "tiny-reranker",
    "tiny-fim",
    "0.5b",
    "1b",
    "8b",
];

/// The shape of a model. Its weights are random: it speaks nonsense, at the speed of a real one.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name in the file.
    pub name: String,
    /// The kind of network.
    pub kind: Kind,
    /// Layers.
    pub layers: u32,
    /// The length of the vector of a token; a multiple of `heads`.
    pub width: u32,
    /// Attention heads.
    pub heads: u32,
    /// Heads of keys and values; divides `heads`.
    pub kv_heads: u32,
    /// The width of the feed-forward part (of each expert, where there are several).
    pub feed_forward: u32,
    /// The context that it claims to be trained for.
    pub context: u32,
    /// The type of its matrices. Where a row is no multiple of the type's block, the type that llama.cpp's own
    /// quantiser falls back to. Norms and biases are always F32.
    pub quantization: TensorType,
    /// Whether the output is computed with the embedding's matrix.
    pub tied: bool,
    /// Its vocabulary.
    pub vocabulary: Vocabulary,
    /// What makes one file differ from another of the same shape.
    pub seed: u64,
}

/// A kind of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Llama: the plain transformer that most are.
    Llama,
    /// Qwen2: Llama with a bias on queries, keys and values.
    Qwen2,
    /// Llama with several feed-forward parts, of which each token uses some, as Mixtral has it.
    Experts {
        /// How many there are.
        count: u32,
        /// How many a token uses.
        used: u32,
    },
    /// Gemma 2: every other layer sees only the last tokens.
    SlidingWindow {
        /// How many it sees.
        window: u32,
    },
    /// Mamba: a recurrent state instead of attention.
    Recurrent {
        /// The numbers of state for each channel.
        state: u32,
    },
    /// BERT, averaging its tokens to one embedding.
    Embedding,
    /// BERT with a head that scores a pair of texts.
    Reranker,
}

/// Where the vocabulary comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// Made: SentencePiece with a token for every byte, so that any text goes in and comes out unchanged.
    SentencePiece {
        /// Its size, at least [`Vocabulary::TOKENS_MIN`].
        tokens: u32,
        /// Whether it has tokens to fill in the middle of code.
        fill_in_middle: bool,
    },
    /// Made: byte-level BPE, as GPT-2 has it.
    Bpe {
        /// Its size, at least [`Vocabulary::TOKENS_MIN`].
        tokens: u32,
    },
    /// Taken from another GGUF file with all its settings.
    FromFile(PathBuf),
}

impl Vocabulary {
    /// The fewest tokens of one that is made: all bytes, the special tokens, and some letters.
    pub const TOKENS_MIN: u32 = 320;
}

impl Spec {
    /// A shape by name: one of [`PRESETS`].
    ///
    /// `0.5b` has the shape of Qwen2 0.5B, `1b` of Llama 3.2 1B and `8b` of Llama 3 8B; the tiny ones are for tests,
    /// a few hundred kilobytes each, one of every kind.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        let tiny = Self {
            name: format!("synthetic-{name}"),
            kind: Kind::Llama,
            layers: 2,
            width: 128,
            heads: 4,
            kv_heads: 2,
            feed_forward: 256,
            context: 512,
            quantization: TensorType::Q4_0,
            tied: true,
            vocabulary: Vocabulary::SentencePiece { tokens: 512, fill_in_middle: false },
            seed: 1,
        };
        let large = |tokens| Vocabulary::SentencePiece { tokens, fill_in_middle: false };
        Some(match name {
            "tiny" => tiny,
            "tiny-moe" => Self { kind: Kind::Experts { count: 4, used: 2 }, ..tiny },
            "tiny-window" => Self { kind: Kind::SlidingWindow { window: 64 }, context: 2048, ..tiny },
            "tiny-recurrent" => Self { kind: Kind::Recurrent { state: 16 }, ..tiny },
            "tiny-embedding" => Self { kind: Kind::Embedding, kv_heads: 4, ..tiny },
            "tiny-reranker" => Self { kind: Kind::Reranker, kv_heads: 4, ..tiny },
            "tiny-fim" => {
                Self { vocabulary: Vocabulary::SentencePiece { tokens: 512, fill_in_middle: true }, ..tiny }
            }
            "0.5b" => Self {
                kind: Kind::Qwen2,
                layers: 24,
                width: 896,
                heads: 14,
                kv_heads: 2,
                feed_forward: 4864,
                context: 32_768,
                vocabulary: large(151_936),
                ..tiny
            },
            "1b" => Self {
                layers: 16,
                width: 2048,
                heads: 32,
                kv_heads: 8,
                feed_forward: 8192,
                context: 131_072,
                vocabulary: large(128_256),
                ..tiny
            },
            "8b" => Self {
                layers: 32,
                width: 4096,
                heads: 32,
                kv_heads: 8,
                feed_forward: 14_336,
                context: 8192,
                tied: false,
                vocabulary: large(128_256),
                ..tiny
            },
            _ => return None,
        })
    }

    /// What is wrong with it, if anything is.
    pub(super) fn problem(&self) -> Option<String> {
        let positive = [
            ("layers", self.layers),
            ("width", self.width),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("feed_forward", self.feed_forward),
            ("context", self.context),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Some(format!("{name} is 0"));
        }
        if self.layers > 512 {
            return Some(format!("{} layers are more than llama.cpp's 512", self.layers));
        }
        if !self.width.is_multiple_of(self.heads * 2) {
            return Some(format!("a width of {} is no even multiple of {} heads", self.width, self.heads));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Some(format!("{} heads are no multiple of {} kv_heads", self.heads, self.kv_heads));
        }
        match self.kind {
            Kind::Experts { count, used } if used == 0 || used > count || count > 512 => {
                Some(format!("{used} of {count} experts"))
            }
            Kind::SlidingWindow { window: 0 } => Some("a window of 0 tokens".to_owned()),
            Kind::Recurrent { state: 0 } => Some("a state of 0 numbers".to_owned()),
            _ => self.vocabulary_problem(),
        }
    }

    fn vocabulary_problem(&self) -> Option<String> {
        match self.vocabulary {
            Vocabulary::SentencePiece { tokens, .. } | Vocabulary::Bpe { tokens }
                if tokens < Vocabulary::TOKENS_MIN =>
            {
                Some(format!(
                    "a vocabulary of {tokens} tokens; a made one has {} or more",
                    Vocabulary::TOKENS_MIN
                ))
            }
            _ => None,
        }
    }
}
