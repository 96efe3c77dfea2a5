//! One sequence on its way through a grammar.

use llguidance::api::StopReason;
use llguidance::toktrie::TokEnv;

use super::Error;
use super::compiler::first_line;
use crate::model::Token;
use crate::step::TokenSet;

/// What may come next in one sequence. Owned by one thread at a time.
pub struct Matcher {
    inner: llguidance::Matcher,
    tokens: TokEnv,
    /// Tokens that end a generation, taken after the text was complete. llguidance takes none of these.
    ends: usize,
}

impl Matcher {
    pub(super) fn new(inner: llguidance::Matcher, tokens: TokEnv) -> Self {
        Self { inner, tokens, ends: 0 }
    }

    /// The tokens that may come next. Where the text may end, the tokens that end a generation are among them; once
    /// it must, they are all.
    ///
    /// This is what is worth doing beside a decode: from some microseconds to a few milliseconds.
    ///
    /// # Errors
    ///
    /// [`Error::Stuck`] when no token may come; [`Error::TooComplex`] beyond the limits of a step. The sequence
    /// cannot go on after either.
    pub fn allowed(&mut self) -> Result<TokenSet, Error> {
        match self.inner.compute_mask_or_eos() {
            Ok(mask) => Ok(TokenSet::from_words(mask.into())),
            Err(error) => Err(Self::failure(&error)),
        }
    }

    /// Takes tokens into the sequence. One that ends a generation is taken where the text may end.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] for a token that may not come, which is not taken, nor are those after it.
    pub fn commit(&mut self, tokens: &[Token]) -> Result<(), Error> {
        match self.accept(tokens)? {
            taken if taken == tokens.len() => Ok(()),
            taken => {
                let token = tokens[taken];
                let trie = self.tokens.tok_trie();
                let known = (token as usize) < trie.vocab_size();
                let piece = if known { trie.token_str(token) } else { String::new() };
                Err(Error::Rejected { token, piece })
            }
        }
    }

    /// Takes tokens up to the first that may not come, and tells how many.
    ///
    /// # Errors
    ///
    /// [`Error::TooComplex`].
    pub fn accept(&mut self, tokens: &[Token]) -> Result<usize, Error> {
        let mut taken = 0;
        for &token in tokens {
            if !self.accepts(token)? {
                break;
            }
            if self.is_complete() {
                self.ends += 1;
                taken += 1;
                continue;
            }
            self.inner.consume_token(token).map_err(|error| Self::failure(&error))?;
            taken += 1;
        }
        Ok(taken)
    }

    /// Whether a token may come next.
    ///
    /// # Errors
    ///
    /// [`Error::TooComplex`].
    pub fn accepts(&mut self, token: Token) -> Result<bool, Error> {
        let trie = self.tokens.tok_trie();
        if (token as usize) >= trie.vocab_size() {
            return Ok(false);
        }
        if trie.eos_tokens().contains(&token) && self.may_end()? {
            return Ok(true);
        }
        if self.is_complete() {
            return Ok(false);
        }
        self.inner.validate_tokens(&[token]).map(|valid| valid == 1).map_err(|error| Self::failure(&error))
    }

    /// Tokens that come next whatever is sampled, as the model's own tokeniser would write them. Empty where there
    /// is a choice, or where another way to write them could follow from what comes behind, or where the tokeniser
    /// is no guide (it puts a space in front of every text).
    pub fn forced(&mut self) -> Vec<Token> {
        if self.is_complete() { Vec::new() } else { self.inner.compute_ff_tokens() }
    }

    /// Whether the text may end here.
    ///
    /// # Errors
    ///
    /// [`Error::TooComplex`].
    pub fn may_end(&mut self) -> Result<bool, Error> {
        if self.is_complete() {
            return Ok(true);
        }
        self.inner.is_accepting().map_err(|error| Self::failure(&error))
    }

    /// Whether the text is complete: it may end here, and nothing may follow.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.inner.stop_reason(), StopReason::NoExtension | StopReason::EndOfSentence)
    }

    /// Takes back the last `tokens` tokens.
    ///
    /// # Errors
    ///
    /// When there are not so many, or after an error.
    pub fn rollback(&mut self, tokens: usize) -> Result<(), Error> {
        let ends = self.ends.min(tokens);
        self.ends -= ends;
        self.inner.rollback(tokens - ends).map_err(|error| Error::TooComplex(first_line(&error.to_string())))
    }

    /// A second matcher that goes on from here on its own.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { inner: self.inner.deep_clone(), tokens: self.tokens.clone(), ends: self.ends }
    }

    fn failure(error: &dyn std::fmt::Display) -> Error {
        let message = first_line(&error.to_string());
        // After an error the reason is left in the words alone.
        if message == StopReason::NoExtensionBias.to_string() {
            Error::Stuck
        } else {
            Error::TooComplex(message)
        }
    }
}
