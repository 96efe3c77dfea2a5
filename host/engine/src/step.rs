//! The step being decided: what a sampler can ask about it and command for it.
//!
//! A [`Step`] owns all that it needs, so that it can be handed to another thread, or into the store of a
//! WebAssembly instance, and back.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::event::FinishReason;
use crate::model::Token;
use crate::row;

/// The step being decided for one request.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The prompt and what is committed, oldest first. The step decides the token after these.
    pub history: Vec<Token>,
    /// How many of `history` are the prompt.
    pub prompt_tokens: usize,
    /// The request's randomness.
    pub random: Random,
    /// What samplers have commanded for this step so far.
    pub commands: Commands,
    /// How many of the last tokens can be taken back: those that were held in the step before, and those that this
    /// step's `advance` tells of.
    pub held: usize,
    /// How often tokens were taken back in this answer.
    pub backtracks: u32,
    /// The whole row of logits, where a sampler of the chain declared that it reads it, during `pick`.
    pub row: Option<Arc<Vec<f32>>>,
}

impl Step {
    /// The position that the step decides.
    #[must_use]
    pub fn position(&self) -> u32 {
        u32::try_from(self.history.len()).unwrap_or(u32::MAX)
    }

    /// The last `count` tokens of prompt and answer, or as many as there are.
    #[must_use]
    pub fn last(&self, count: usize) -> &[Token] {
        &self.history[self.history.len().saturating_sub(count)..]
    }

    /// The row as it came out of the model.
    ///
    /// # Errors
    ///
    /// Outside `pick`, or when no sampler of the chain declared that it reads the row.
    pub fn row(&self) -> Result<&[f32], RowUnavailable> {
        self.row.as_deref().map(Vec::as_slice).ok_or(RowUnavailable)
    }

    /// What the row looks like as a distribution.
    ///
    /// # Errors
    ///
    /// As [`Step::row`].
    pub fn summarize(&self) -> Result<RowSummary, RowUnavailable> {
        self.row().map(row::summarize)
    }

    /// The best `count` candidates of the row, whatever the commands are.
    ///
    /// # Errors
    ///
    /// As [`Step::row`].
    pub fn top(&self, count: usize) -> Result<Candidates, RowUnavailable> {
        Ok(row::top(self.row()?, count))
    }

    /// The logits of some tokens; negative infinity for one outside the vocabulary.
    ///
    /// # Errors
    ///
    /// As [`Step::row`].
    pub fn at(&self, tokens: &[Token]) -> Result<Vec<f32>, RowUnavailable> {
        let row = self.row()?;
        let logit = |&token: &Token| row.get(token as usize).copied().unwrap_or(f32::NEG_INFINITY);
        Ok(tokens.iter().map(logit).collect())
    }
}

/// The row of logits was asked for where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the row of logits can only be read in pick, by a sampler whose descriptor says that it reads it")]
pub struct RowUnavailable;

/// What samplers command for one step. Masks intersect, biases add, the last temperature wins, and so do the most tokens
/// held and taken back. `backtrack` and `stop` beat `force`, and that beats whatever is picked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commands {
    /// Only these tokens may be chosen.
    pub allowed: Option<TokenSet>,
    /// Added to logits, in order of command.
    pub bias: Vec<(Token, f32)>,
    /// The temperature of the native draw, instead of the request's.
    pub temperature: Option<f32>,
    /// Whether a token that ends the generation may be chosen.
    pub allow_end: Option<bool>,
    /// Tokens that come next without being chosen.
    pub force: Vec<Token>,
    /// So many of the last tokens are kept from the reader, to be taken back later perhaps. Commanded in `advance`.
    pub hold: u32,
    /// So many of the last tokens are taken back, instead of choosing one; with `stop`, the answer ends there.
    pub backtrack: u32,
    /// The generation ends here.
    pub stop: Option<FinishReason>,
}

impl Commands {
    /// Narrows what may be chosen to a set as well.
    pub fn allow(&mut self, set: &TokenSet) {
        match &mut self.allowed {
            Some(allowed) => allowed.intersect(set),
            None => self.allowed = Some(set.clone()),
        }
    }

    /// Whether nothing was commanded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Tokens that may be chosen. Sorted best first; both columns have the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Candidates {
    /// The tokens.
    pub ids: Vec<Token>,
    /// Their logits.
    pub logits: Vec<f32>,
}

impl Candidates {
    /// The number of candidates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Keeps the candidates for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(Token, f32) -> bool) {
        let mut kept = 0;
        for index in 0..self.ids.len() {
            if keep(self.ids[index], self.logits[index]) {
                self.ids[kept] = self.ids[index];
                self.logits[kept] = self.logits[index];
                kept += 1;
            }
        }
        self.truncate(kept);
    }

    /// Keeps the best `count`.
    pub fn truncate(&mut self, count: usize) {
        self.ids.truncate(count);
        self.logits.truncate(count);
    }
}

/// What a row looks like as a distribution at temperature 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowSummary {
    /// The best token.
    pub argmax: Token,
    /// Its logit.
    pub max: f32,
    /// The logarithm of the sum of the exponentials of all logits.
    pub logsumexp: f32,
    /// In nats.
    pub entropy: f32,
}

/// A set of tokens: bit `t % 32` of word `t / 32`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSet {
    words: Vec<u32>,
}

impl TokenSet {
    /// The tokens of a list.
    #[must_use]
    pub fn from_ids(ids: &[Token]) -> Self {
        let mut set = Self::default();
        for &id in ids {
            let word = id as usize / 32;
            if word >= set.words.len() {
                set.words.resize(word + 1, 0);
            }
            set.words[word] |= 1 << (id % 32);
        }
        set
    }

    /// The tokens whose bits are set.
    #[must_use]
    pub fn from_words(words: Vec<u32>) -> Self {
        Self { words }
    }

    /// Whether a token is in it.
    #[must_use]
    pub fn has(&self, token: Token) -> bool {
        self.words.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// The bits, lowest tokens first. Words that are missing at the end are 0.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Keeps what is in both.
    pub fn intersect(&mut self, other: &Self) {
        self.words.truncate(other.words.len());
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// Adds what is in another.
    pub fn unite(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Makes it the set of the tokens of a vocabulary that were not in it.
    pub fn invert(&mut self, vocabulary_size: u32) {
        let size = vocabulary_size as usize;
        self.words.resize(size.div_ceil(32), 0);
        for word in &mut self.words {
            *word = !*word;
        }
        if let (Some(last), used @ 1..) = (self.words.last_mut(), size % 32) {
            *last &= (1 << used) - 1;
        }
    }
}

/// A request's randomness: ChaCha with 8 rounds, so that a seed means the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The randomness of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number in [0, 1), of 24 bits.
    pub fn next_f32(&mut self) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "24 bits fit a float exactly")]
        let bits = (self.0.next_u32() >> 8) as f32;
        bits / 16_777_216.0
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new(0)
    }
}
