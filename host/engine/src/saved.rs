//! What a slot holds, outside of the engine: kept in a file, and put back later, perhaps by another process.

use std::io::{self, Read, Write};

use tokio::sync::oneshot;

use crate::Error;
use crate::model::Token;

const MAGIC: [u8; 8] = *b"MNRVSEQ1";
const HEADER_BYTES: u64 = 24;
const CHECKSUM_BYTES: u64 = 4;

/// A sequence's tokens, and the state of the model after them. Only the same model with the same settings can use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Saved {
    pub(crate) tokens: Vec<Token>,
    pub(crate) state: Vec<u8>,
}

/// Why bytes are no saved sequence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// They could not be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// They are something else, or were damaged.
    #[error("it is no saved sequence: {0}")]
    Damaged(&'static str),
    /// There are more than may be.
    #[error("it has {bytes} bytes, and the limit is {limit}")]
    TooLarge {
        /// What it says it has.
        bytes: u64,
        /// The most it may have.
        limit: u64,
    },
}

impl Saved {
    /// The tokens, first to last.
    #[must_use]
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The bytes that [`Saved::write`] writes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        HEADER_BYTES + self.tokens.len() as u64 * 4 + self.state.len() as u64 + CHECKSUM_BYTES
    }

    /// Writes it: the number of tokens and of bytes of state, both, and a checksum over all.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        let mut checksum = crc32fast::Hasher::new();
        let mut put = |bytes: &[u8]| {
            checksum.update(bytes);
            to.write_all(bytes)
        };
        put(&MAGIC)?;
        put(&(self.tokens.len() as u64).to_le_bytes())?;
        put(&(self.state.len() as u64).to_le_bytes())?;
        let tokens: Vec<u8> = self.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        put(&tokens)?;
        put(&self.state)?;
        to.write_all(&checksum.finalize().to_le_bytes())?;
        to.flush()
    }

    /// Reads what [`Saved::write`] wrote, of at most so many bytes. Takes no more memory than there is to read.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn read(mut from: impl Read, limit: u64) -> Result<Self, ReadError> {
        let mut header = [0; HEADER_BYTES as usize];
        from.read_exact(&mut header).map_err(|_| ReadError::Damaged("it is too short"))?;
        if header[..8] != MAGIC {
            return Err(ReadError::Damaged("it does not begin as one"));
        }
        let number = |place: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[place..place + 8]);
            u64::from_le_bytes(bytes)
        };
        let (token_bytes, state_bytes) = (number(8).saturating_mul(4), number(16));
        let bytes = token_bytes.saturating_add(state_bytes).saturating_add(HEADER_BYTES + CHECKSUM_BYTES);
        if bytes > limit {
            return Err(ReadError::TooLarge { bytes, limit });
        }
        let mut part = |length: u64| {
            let mut bytes = Vec::new();
            from.by_ref().take(length).read_to_end(&mut bytes)?;
            if bytes.len() as u64 == length {
                Ok(bytes)
            } else {
                Err(ReadError::Damaged("its end is missing"))
            }
        };
        let (tokens, state, noted) = (part(token_bytes)?, part(state_bytes)?, part(CHECKSUM_BYTES)?);
        let mut checksum = crc32fast::Hasher::new();
        [&header[..], &tokens, &state].into_iter().for_each(|bytes| checksum.update(bytes));
        if checksum.finalize().to_le_bytes() != *noted {
            return Err(ReadError::Damaged("its checksum is wrong"));
        }
        let tokens = tokens.as_chunks::<4>().0.iter().map(|&bytes| Token::from_le_bytes(bytes)).collect();
        Ok(Self { tokens, state })
    }
}

/// What the worker is asked to do to an idle slot, between two steps.
pub(crate) enum Command {
    Save { slot: usize, to: oneshot::Sender<Result<Saved, Error>> },
    Restore { slot: usize, saved: Saved, to: oneshot::Sender<Result<(), Error>> },
    Erase { slot: usize, to: oneshot::Sender<Result<usize, Error>> },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let saved = Saved { tokens: vec![1, 2, 70_000], state: vec![7; 100] };
        let mut bytes = Vec::new();
        saved.write(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, saved.bytes());
        assert!(Saved::read(&*bytes, saved.bytes()).unwrap() == saved);
        assert!(matches!(
            Saved::read(&*bytes, saved.bytes() - 1),
            Err(ReadError::TooLarge { bytes: 140, .. })
        ));
        for length in 0..bytes.len() {
            assert!(matches!(Saved::read(&bytes[..length], 1000), Err(ReadError::Damaged(_))), "{length}");
        }
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 4;
            assert!(Saved::read(&*damaged, 1000).is_err(), "{place}");
        }
        // A length that nobody could hold.
        let mut huge = bytes.clone();
        huge[8..16].fill(0xff);
        assert!(matches!(Saved::read(&*huge, u64::MAX - 1), Err(ReadError::TooLarge { .. })));
    }
}
