//! The vocabulary of the model that serves the request. Not there in `describe`, which this crate answers itself:
//! so there wherever a plugin's own code runs.

use crate::{Token, backend};

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
}

/// The number of tokens.
#[must_use]
pub fn vocab_size() -> u32 {
    backend::vocab_size()
}

/// The token with a role, if the model has one.
#[must_use]
pub fn special(role: Special) -> Option<Token> {
    backend::special(role)
}

/// Whether a token ends the generation.
#[must_use]
pub fn is_eog(id: Token) -> bool {
    backend::is_eog(id)
}

/// Text to tokens; what looks like a special token in it is text.
///
/// # Errors
///
/// For more than 1 MiB of text, or where the vocabulary lacks the characters.
pub fn encode(text: &str) -> Result<Vec<Token>, crate::Error> {
    backend::encode(text, false).map_err(Into::into)
}

/// Text to tokens; the text of special tokens (`<|im_end|>`) means those tokens. Never for a stranger's text.
///
/// # Errors
///
/// As [`encode`].
pub fn encode_special(text: &str) -> Result<Vec<Token>, crate::Error> {
    backend::encode(text, true).map_err(Into::into)
}

/// Tokens to the bytes they stand for, markup left out. Not always whole UTF-8.
#[must_use]
pub fn decode(ids: &[Token]) -> Vec<u8> {
    backend::decode(ids)
}

/// The whole vocabulary, about a megabyte: get it once and keep what is needed of it.
#[must_use]
pub fn pieces() -> Pieces {
    let (ends, bytes) = backend::pieces();
    Pieces { ends, bytes }
}

/// The bytes of every token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Pieces {
    /// The bytes of a token; empty outside the vocabulary.
    #[must_use]
    pub fn get(&self, id: Token) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// All tokens and their bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Token, &[u8])> {
        (0..).zip(0..self.ends.len()).map(|(id, _)| (id, self.get(id)))
    }
}
