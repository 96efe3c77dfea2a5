//! The seam between the engine and whatever runs a network: llama.cpp in this process, the same in a child
//! process, or a script in a test.
//!
//! [`Model`] is owned by the engine's one worker thread and is `&mut` there. What other threads need of a model
//! (its vocabulary) is a [`Vocabulary`], shared and immutable.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

/// An index into the model's vocabulary.
pub type Token = u32;

/// One of the sequences that a model holds side by side: `0..Info::slots`.
///
/// Slots are the model's; requests come and go on them. Nothing outside the engine sees one.
pub type Slot = u32;

/// A place in a sequence, counted from 0.
pub type Position = u32;

/// What a model says of itself. Fixed from load to unload.
#[derive(Clone, Debug)]
pub struct Info {
    /// The name in the file's metadata, or the file's stem.
    pub name: String,
    /// The file's name, without the folders that it lies in.
    pub file: String,
    /// The architecture in the file's metadata: `llama`, `qwen2`, …
    pub architecture: String,
    /// The number of weights.
    pub parameters: u64,
    /// The bytes of weights.
    pub weight_bytes: u64,
    /// Where the layers run, in words: `CPU`, `CUDA0 (24 of 24 layers)`.
    pub device: String,
    /// The length of a logits row.
    pub vocabulary_size: u32,
    /// The most tokens that one slot can hold.
    pub context: u32,
    /// The context that the network was trained for.
    pub context_trained: u32,
    /// How many sequences are held side by side.
    pub slots: u32,
    /// The most tokens that one [`Model::decode`] takes.
    pub batch_tokens_max: u32,
    /// The tokens that the device computes at a time: a chunk of prefill of this size is efficient.
    pub chunk_tokens: u32,
    /// The model's own Jinja chat template, if its file has one.
    pub chat_template: Option<String>,
    /// The text that a reranker wants a query and a document put into, at `{query}` and `{document}`, if its file
    /// has one.
    pub rerank_template: Option<String>,
    /// What it makes of whole texts, where it was loaded for that. Such a model generates no text.
    pub embeds: Option<Embeds>,
    /// What can be done to its sequences.
    pub capabilities: Capabilities,
}

/// What a model can do to the sequences it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// How the cache of keys and values is laid out.
    pub layout: Layout,
    /// A tail of a sequence can be removed and the head kept. Recurrent models cannot.
    pub partial_removal: bool,
    /// [`Model::copy`] works; otherwise a fork is a save and a restore.
    pub copy: bool,
    /// Positions can be shifted, so that the middle of a sequence can be dropped.
    pub shift: bool,
    /// The logits of a sequence do not depend, to the bit, on what else is in the batch.
    pub batch_invariant: bool,
}

/// How the cache of keys and values is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One stream per slot: a slot costs its own length, and every slot has the same limit.
    Streams,
    /// One pool that all slots share: every token attends over the pool's highest used cell.
    Unified,
}

/// What [`Model::embed`] makes of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embeds {
    /// How the tokens of a text become one row.
    pub pooling: Pooling,
    /// The numbers of a row: the width of the network's output, or the classes of a reranker.
    pub width: u32,
    /// The most tokens of one text: it is computed in one piece.
    pub tokens_max: u32,
}

/// How the tokens of a text become one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// They do not: a row for each.
    None,
    /// Their mean.
    Mean,
    /// The row of the first.
    Cls,
    /// The row of the last.
    Last,
    /// The scores of a head that judges a query and a document.
    Rank,
}

impl Pooling {
    /// llama.cpp's name for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
            Self::Rank => "rank",
        }
    }
}

/// The tokens of one [`Model::decode`], as columns. All columns have the same length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// What is decoded.
    pub tokens: Vec<Token>,
    /// Where each token stands in its sequence.
    pub positions: Vec<Position>,
    /// Whose each token is. Tokens of a slot stand together, slots ascend.
    pub slots: Vec<Slot>,
    /// Whether a row of logits is wanted after this token.
    pub wants_logits: Vec<bool>,
}

impl Batch {
    /// Adds one token.
    pub fn push(&mut self, token: Token, position: Position, slot: Slot, wants_logits: bool) {
        self.tokens.push(token);
        self.positions.push(position);
        self.slots.push(slot);
        self.wants_logits.push(wants_logits);
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.slots.clear();
        self.wants_logits.clear();
    }

    /// The number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// A loaded network and the sequences it holds.
///
/// Called by one thread at a time. No method blocks on anything but its own computation.
pub trait Model: Send {
    /// What it is.
    fn info(&self) -> &Info;

    /// Its vocabulary, for any thread.
    fn vocabulary(&self) -> Arc<dyn Vocabulary>;

    /// Runs the network over a batch and extends the sequences in it.
    ///
    /// The batch has at most [`Info::batch_tokens_max`] tokens, and the positions of a slot continue where the
    /// slot ends. Afterwards [`Model::logits`] has one row for each token that wanted one.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`] changes nothing. After any other error the slots in the batch are in an unknown state:
    /// [`Model::remove`] them before they are used again.
    fn decode(&mut self, batch: &Batch) -> Result<(), Error>;

    /// A row of logits of the last [`Model::decode`]: `row` counts the tokens that wanted one, in batch order.
    /// Its length is [`Info::vocabulary_size`].
    ///
    /// # Panics
    ///
    /// If there is no such row.
    fn logits(&self, row: usize) -> &[f32];

    /// What the network makes of each of some whole texts, none of which is kept: [`Embeds::width`] numbers, or so
    /// many for each token where they are not pooled. Neither scaled nor cut.
    ///
    /// The texts have 1 to [`Embeds::tokens_max`] tokens each. What fits into one batch of [`Info::slots`] texts and
    /// [`Info::batch_tokens_max`] tokens is computed together.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where [`Info::embeds`] is none.
    fn embed(&mut self, texts: &[Vec<Token>]) -> Result<Vec<Vec<f32>>, Error> {
        let _ = texts;
        let architecture = self.info().architecture.clone();
        Err(Error::Unsupported {
            operation: "make embeddings unless they are loaded for it".into(),
            architecture,
        })
    }

    /// Forgets a slot from a position to its end. `from` 0 empties it, which always works.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where the model cannot forget a tail; the slot is then unchanged.
    fn remove(&mut self, slot: Slot, from: Position) -> Result<(), Error>;

    /// Forgets a part of the middle of a slot; what stands behind it moves forward, as if it had always stood there.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where [`Capabilities::shift`] is false; the slot is then unchanged.
    fn discard(&mut self, slot: Slot, range: Range<Position>) -> Result<(), Error> {
        let _ = (slot, range);
        let architecture = self.info().architecture.clone();
        Err(Error::Unsupported { operation: "forget the middle of a sequence".into(), architecture })
    }

    /// Makes `to` a copy of the whole of `from`. What `to` held is forgotten.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where [`Capabilities::copy`] is false.
    fn copy(&mut self, from: Slot, to: Slot) -> Result<(), Error>;

    /// The whole state of a slot, in a form that only the same model with the same settings can restore.
    ///
    /// # Errors
    ///
    /// When the state cannot be read.
    fn save(&mut self, slot: Slot) -> Result<Vec<u8>, Error>;

    /// Makes a slot what it was when its state was saved, in this or another slot.
    ///
    /// # Errors
    ///
    /// When the state is of another model or does not fit; the slot is then empty.
    fn restore(&mut self, slot: Slot, state: &[u8]) -> Result<(), Error>;

    /// The positions that a slot holds, or `None` when it is empty. With a sliding window the lowest may be
    /// above 0, and what lies below it is gone.
    fn positions(&self, slot: Slot) -> Option<RangeInclusive<Position>>;
}

/// Tokens with a role of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    /// Begin of sequence.
    Bos,
    /// End of sequence.
    Eos,
    /// End of turn.
    Eot,
    /// Opens a block of thinking.
    ThinkStart,
    /// Closes a block of thinking.
    ThinkEnd,
    /// Between two texts that an encoder compares.
    Separator,
    /// In front of what stands before a gap to fill (fill in the middle).
    FimPrefix,
    /// In front of what stands behind the gap.
    FimSuffix,
    /// Where the filling begins.
    FimMiddle,
    /// In front of the name of a repository.
    FimRepository,
    /// In front of the name of a file.
    FimFile,
}

/// How text becomes tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encode {
    /// Put the tokens around it that the model wants around a whole prompt (usually one BOS in front).
    pub add_special: bool,
    /// Read the text of special tokens (`<|im_end|>`) as those tokens. Never for a stranger's text.
    pub parse_special: bool,
}

/// The vocabulary of a model: text to tokens and back. Immutable, and called by any thread.
pub trait Vocabulary: Send + Sync {
    /// The number of tokens.
    fn size(&self) -> u32;

    /// Text to tokens.
    ///
    /// # Errors
    ///
    /// When the text cannot be encoded (it is longer than 2 GiB, or the vocabulary lacks the bytes).
    fn encode(&self, text: &str, how: Encode) -> Result<Vec<Token>, Error>;

    /// The bytes that a token stands for. Often not whole UTF-8. Control tokens have their text here too.
    /// Empty for a token outside the vocabulary.
    fn piece(&self, token: Token) -> &[u8];

    /// Whether a token is markup that a reader of the text never sees.
    fn is_control(&self, token: Token) -> bool;

    /// Whether a token ends the generation: end of sequence, end of turn, and what else the model declares.
    fn is_end(&self, token: Token) -> bool;

    /// The token with a role, if the model has one.
    fn special(&self, role: Special) -> Option<Token>;

    /// Whether the model wants a token around texts: [`Special::Bos`] in front, [`Special::Eos`] behind,
    /// [`Special::Separator`] between two.
    fn adds(&self, role: Special) -> bool {
        let _ = role;
        false
    }

    /// The prompt of messages (their roles and texts) by the templates that are built into llama.cpp: of Jinja those
    /// only recognise which of them is meant, and some have names (`chatml`, `llama3`). `open` begins the answer.
    /// `None` where none of them is meant, and from vocabularies that know none.
    fn render_built_in(&self, template: &str, messages: &[(&str, &str)], open: bool) -> Option<String> {
        let _ = (template, messages, open);
        None
    }

    /// Tokens to the bytes they stand for, control tokens left out.
    fn decode(&self, tokens: &[Token]) -> Vec<u8> {
        let printed = tokens.iter().filter(|&&token| !self.is_control(token));
        printed.flat_map(|&token| self.piece(token)).copied().collect()
    }
}

/// What can go wrong in a model. Clonable, because one failed batch is the failure of every request in it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cache is full; nothing was changed.
    #[error("the cache has no room for {tokens} more tokens")]
    NoRoom {
        /// The tokens of the batch that was refused.
        tokens: usize,
    },
    /// The model cannot do this at all.
    #[error("{architecture} models cannot {operation}")]
    Unsupported {
        /// What was asked for.
        operation: Cow<'static, str>,
        /// Who cannot.
        architecture: String,
    },
    /// Text could not be tokenised.
    #[error("the text cannot be tokenised: {0}")]
    Encode(String),
    /// A saved state was refused.
    #[error("the saved state cannot be used: {0}")]
    State(String),
    /// The computation failed.
    #[error("the model failed to decode: {0}")]
    Decode(String),
    /// The device ran out of memory or is gone.
    #[error("the device failed: {0}")]
    Device(String),
}
