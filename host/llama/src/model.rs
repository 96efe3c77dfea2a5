//! A loaded model: [`minerva_engine::model::Model`] over a context.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use minerva_engine::model::{self, Batch, Info, Layout, Position, Slot, Token};

use crate::context::{Context, Decoded};
use crate::log;
use crate::state::{self, Fingerprint};
use crate::vocabulary::Vocabulary;

/// A model in llama.cpp, with its sequences.
pub struct Llama {
    pub(crate) info: Info,
    pub(crate) context: Context,
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) fingerprint: Fingerprint,
    /// The tokens of the last batch that have a row of logits.
    pub(crate) rows: Vec<i32>,
    /// The tokens of a sliding window whose cells are given up once it has passed.
    pub(crate) window: Option<u32>,
    pub(crate) on_cpu: bool,
}

impl Llama {
    /// What llama.cpp would abort on, or read beyond.
    pub(crate) fn validate(&self, batch: &Batch) -> Result<(), model::Error> {
        let refuse = |why: String| Err(model::Error::Decode(why));
        let (tokens, limit) = (batch.len(), self.info.batch_tokens_max as usize);
        if [batch.positions.len(), batch.slots.len(), batch.wants_logits.len()] != [tokens; 3] {
            return refuse("the columns of the batch differ in length".to_owned());
        }
        if tokens == 0 || tokens > limit {
            return refuse(format!("a batch of {tokens} tokens; it takes 1 to {limit}"));
        }
        if let Some(token) = batch.tokens.iter().find(|&&token| token >= self.info.vocabulary_size) {
            return refuse(format!("token {token} of a vocabulary of {}", self.info.vocabulary_size));
        }
        if let Some(slot) = batch.slots.iter().find(|&&slot| slot >= self.info.slots) {
            return refuse(format!("slot {slot} of {}", self.info.slots));
        }
        match batch.positions.iter().find(|&&position| i32::try_from(position).is_err()) {
            Some(position) => refuse(format!("position {position} is more than llama.cpp can count")),
            None => Ok(()),
        }
    }

    pub(crate) fn judge(&self, decoded: Decoded, batch: &Batch, cause: &str) -> Result<(), model::Error> {
        match decoded {
            Decoded::Done => Ok(()),
            Decoded::NoRoom => Err(model::Error::NoRoom { tokens: batch.len() }),
            Decoded::Refused => Err(model::Error::Decode(format!("the batch is refused: {cause}"))),
            Decoded::Aborted => Err(model::Error::Decode("it was stopped".to_owned())),
            // -2 is an allocation that failed. -3 is a computation: on a GPU that means the device.
            Decoded::Failed(-2) => Err(model::Error::Device(format!("out of memory: {cause}"))),
            Decoded::Failed(code) if self.on_cpu => {
                Err(model::Error::Decode(format!("{cause} (code {code})")))
            }
            Decoded::Failed(code) => Err(model::Error::Device(format!("{cause} (code {code})"))),
        }
    }

    pub(crate) fn unsupported(&self, operation: &'static str) -> model::Error {
        model::Error::Unsupported {
            operation: operation.into(),
            architecture: self.info.architecture.clone(),
        }
    }
}

impl model::Model for Llama {
    fn info(&self) -> &Info {
        &self.info
    }

    fn vocabulary(&self) -> Arc<dyn model::Vocabulary> {
        self.vocabulary.clone()
    }

    fn decode(&mut self, batch: &Batch) -> Result<(), model::Error> {
        // A decode that fails leaves the rows of the one before: they must not be taken for its own.
        self.rows.clear();
        if self.info.embeds.is_some() {
            return Err(self.unsupported("decode text when they are loaded for embeddings"));
        }
        self.validate(batch)?;
        let (decoded, cause) = log::complaints(|| self.context.decode(batch));
        self.judge(decoded, batch, &cause)?;
        self.rows
            .extend((0..).zip(&batch.wants_logits).filter_map(|(token, &wanted)| wanted.then_some(token)));
        Ok(())
    }

    fn logits(&self, row: usize) -> &[f32] {
        let Some(&token) = self.rows.get(row) else {
            panic!("row {row} of logits; the last decode made {}", self.rows.len())
        };
        let logits = self.context.logits(token).expect("a token that wanted logits has them");
        debug_assert!(
            logits.len() == self.info.vocabulary_size as usize && !logits[0].is_nan(),
            "a whole, sane row"
        );
        logits
    }

    fn embed(&mut self, texts: &[Vec<Token>]) -> Result<Vec<Vec<f32>>, model::Error> {
        self.embed_all(texts)
    }

    fn remove(&mut self, slot: Slot, from: Position) -> Result<(), model::Error> {
        let Some(held) = self.context.positions(slot) else { return Ok(()) };
        if from > 0 && from > *held.end() {
            return Ok(());
        }
        // A sliding window that has moved on is gone, although llama.cpp removes the tail behind it without a word.
        let needed = from.saturating_sub(self.window.unwrap_or(from));
        if from > 0 && self.window.is_some() && *held.start() > needed {
            return Err(self.unsupported("go back behind their sliding window"));
        }
        if self.context.remove(slot, from) {
            Ok(())
        } else {
            Err(self.unsupported("forget the tail of a sequence"))
        }
    }

    fn discard(&mut self, slot: Slot, range: Range<Position>) -> Result<(), model::Error> {
        let held = self.context.positions(slot).map_or(0..0, |held| *held.start()..held.end() + 1);
        if !self.info.capabilities.shift || held.start > range.start || held.end < range.end {
            return Err(self.unsupported("forget the middle of a sequence"));
        }
        if range.is_empty() || self.context.discard(slot, range) {
            Ok(())
        } else {
            Err(self.unsupported("forget the middle of a sequence"))
        }
    }

    fn copy(&mut self, from: Slot, to: Slot) -> Result<(), model::Error> {
        if !self.info.capabilities.copy {
            return Err(self.unsupported("hold a sequence"));
        }
        if from == to {
            return Ok(());
        }
        self.context.remove(to, 0);
        if self.info.capabilities.layout == Layout::Unified {
            self.context.share(from, to);
            return Ok(());
        }
        // Between streams llama.cpp's own copy moves the whole buffers whatever their content, and only at the next
        // decode: a save or a restore in between would see the wrong cells.
        let state = self.save(from)?;
        self.restore(to, &state)
    }

    fn save(&mut self, slot: Slot) -> Result<Vec<u8>, model::Error> {
        let mut bytes = state::begin(self.fingerprint);
        let (saved, cause) = log::complaints(|| self.context.save(slot, &mut bytes));
        if !saved {
            return Err(model::Error::State(cause));
        }
        state::finish(&mut bytes);
        Ok(bytes)
    }

    fn restore(&mut self, slot: Slot, state: &[u8]) -> Result<(), model::Error> {
        self.context.remove(slot, 0);
        let payload = state::payload(state, self.fingerprint).map_err(model::Error::State)?;
        let (restored, cause) = log::complaints(|| self.context.restore(slot, payload));
        if restored {
            return Ok(());
        }
        self.context.remove(slot, 0);
        Err(model::Error::State(cause))
    }

    fn positions(&self, slot: Slot) -> Option<RangeInclusive<Position>> {
        self.context.positions(slot)
    }
}
