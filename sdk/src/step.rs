use crate::{Candidates, Error, Finish, Grammar, Token, backend};

/// The step being decided, and commands for it.
///
/// What is commanded holds for this step only, except that forced tokens last until they are used up. Commands
/// of several samplers add up: sets intersect, biases add, the last temperature, the longest `hold` and the longest
/// `backtrack` win, `stop` and `backtrack` beat `force`, and `force` beats what is picked.
#[derive(Debug, Default)]
pub struct Step {
    pub(crate) data: backend::StepData,
}

impl Step {
    /// The position that the step decides: the number of tokens before it, prompt included.
    #[must_use]
    pub fn position(&self) -> u32 {
        backend::position(&self.data)
    }

    /// The last `count` tokens of prompt and answer, oldest first, or as many as there are.
    #[must_use]
    pub fn history(&self, count: u32) -> Vec<Token> {
        backend::history(&self.data, count)
    }

    /// A number in [0, 1). The same seed gives the same numbers in the same calls.
    pub fn random(&mut self) -> f32 {
        backend::random(&mut self.data)
    }

    /// Only tokens of the set may be chosen.
    pub fn allow(&mut self, set: &TokenSet) {
        backend::allow(&mut self.data, &set.data);
    }

    /// Only tokens that fit next in a grammar may be chosen. Best done in
    /// [`Sampler::advance`](crate::Sampler::advance), where it costs no time while the model computes.
    ///
    /// # Errors
    ///
    /// Where no token fits, or to find out would take too long.
    pub fn obey(&mut self, grammar: &Grammar) -> Result<(), Error> {
        Ok(backend::obey(&mut self.data, &grammar.data)?)
    }

    /// Adds to the logits of tokens: negative infinity bans one. Both slices have the same length; NaN and
    /// positive infinity trap.
    pub fn bias(&mut self, ids: &[Token], add: &[f32]) {
        backend::bias(&mut self.data, ids, add);
    }

    /// The temperature of the host's draw, instead of the request's; 0 takes the best token.
    pub fn temperature(&mut self, value: f32) {
        backend::temperature(&mut self.data, value);
    }

    /// Whether the answer may end here.
    pub fn allow_eog(&mut self, allowed: bool) {
        backend::allow_eog(&mut self.data, allowed);
    }

    /// These tokens come next, without being chosen. At most 4,096 at a time.
    pub fn force(&mut self, ids: &[Token]) {
        backend::force(&mut self.data, ids);
    }

    /// How many of the last tokens of the answer can be taken back now: those that were held in the step before, and those
    /// that [`Sampler::advance`](crate::Sampler::advance) tells of. At most
    /// [`Needs::backtrack_max`](crate::Needs::backtrack_max).
    #[must_use]
    pub fn held(&self) -> u32 {
        backend::held(&self.data)
    }

    /// Keeps the last `count` tokens of the answer from the client, so that they can be taken back in the next step.
    /// Only in [`Sampler::advance`](crate::Sampler::advance), and for this step only: what nobody holds is sent. Traps for
    /// more than [`Needs::backtrack_max`](crate::Needs::backtrack_max); of more than [`Step::held`], those are held.
    pub fn hold(&mut self, count: u32) {
        backend::hold(&mut self.data, count);
    }

    /// Takes back the last `count` tokens of the answer, instead of choosing one. All samplers, this one too, are told
    /// by [`Sampler::rollback`](crate::Sampler::rollback), then the step before them begins with an `advance` without
    /// tokens, where whoever does not want them again has to say so. With [`Step::stop`], the answer ends there. Traps
    /// for more than [`Step::held`], and after 256 times in an answer, where the operator does not say otherwise.
    pub fn backtrack(&mut self, count: u32) {
        backend::backtrack(&mut self.data, count);
    }

    /// The answer ends before this step's token.
    pub fn stop(&mut self, reason: Finish) {
        backend::stop(&mut self.data, reason);
    }

    /// What the row looks like as a distribution. Needs [`Needs::with_row`](crate::Needs::with_row), as do `top`
    /// and `at`, and like them traps outside `pick`.
    #[must_use]
    pub fn summarize(&self) -> RowSummary {
        backend::summarize(&self.data)
    }

    /// The best `count` candidates of the row, whatever is commanded; at most 4,096.
    #[must_use]
    pub fn top(&self, count: u32) -> Candidates {
        backend::top(&self.data, count)
    }

    /// The logits of tokens, in their order; negative infinity for one outside the vocabulary.
    #[must_use]
    pub fn at(&self, ids: &[Token]) -> Vec<f32> {
        backend::at(&self.data, ids)
    }

    /// Every logit, a token's at its index. Needs [`Needs::full_row`](crate::Needs::full_row).
    #[must_use]
    pub fn full(&self) -> Vec<f32> {
        backend::full(&self.data)
    }
}

/// What a row of logits looks like as a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowSummary {
    /// The best token.
    pub argmax: Token,
    /// Its logit.
    pub max: f32,
    /// The logarithm of the sum of the exponentials of all logits: `logit - logsumexp` is a log-probability.
    pub logsumexp: f32,
    /// In nats, at temperature 1.
    pub entropy: f32,
}

/// A set of tokens, kept by the host: made once, used in many steps.
///
/// ```
/// use minerva_plugin::TokenSet;
///
/// // Natively the vocabulary is the 256 bytes, unless a test sets another.
/// let mut set = TokenSet::from_ids(&[1, 2, 3]);
/// set.invert();
/// assert!(!set.has(2) && set.has(4));
/// assert_eq!(set.size(), 253);
/// ```
#[derive(Debug)]
pub struct TokenSet {
    pub(crate) data: backend::TokenSetData,
}

impl TokenSet {
    /// The tokens of a list.
    #[must_use]
    pub fn from_ids(ids: &[Token]) -> Self {
        Self { data: backend::set_from_ids(ids) }
    }

    /// The tokens whose bits are set: token `t` is bit `t % 32` of word `t / 32`.
    #[must_use]
    pub fn from_words(words: &[u32]) -> Self {
        Self { data: backend::set_from_words(words) }
    }

    /// The tokens whose text, as a whole, matches a regular expression in the syntax of the crate `regex`.
    /// Natively only plain text can be matched, for want of that crate.
    ///
    /// # Errors
    ///
    /// For an expression that is wrong, longer than 4 KiB, or larger than 1 MiB compiled.
    pub fn matching(regex: &str) -> Result<Self, Error> {
        Ok(Self { data: backend::set_matching(regex)? })
    }

    /// Keeps what is in both.
    pub fn intersect(&mut self, other: &Self) {
        backend::set_intersect(&mut self.data, &other.data);
    }

    /// Adds what is in the other.
    pub fn unite(&mut self, other: &Self) {
        backend::set_unite(&mut self.data, &other.data);
    }

    /// Makes it the tokens of the vocabulary that were not in it.
    pub fn invert(&mut self) {
        backend::set_invert(&mut self.data);
    }

    /// Whether a token is in it.
    #[must_use]
    pub fn has(&self, id: Token) -> bool {
        backend::set_has(&self.data, id)
    }

    /// How many tokens are in it.
    #[must_use]
    pub fn size(&self) -> u32 {
        backend::set_size(&self.data)
    }
}
