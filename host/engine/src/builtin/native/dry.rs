//! DRY: "don't repeat yourself". A token that would continue a repetition is penalised, the more the longer it is.
//!
//! Invented by p-e-w (<https://github.com/oobabooga/text-generation-webui/pull/5677>); the rules, down to how sequence
//! breakers become tokens, are llama.cpp's.

use std::collections::HashMap;

use crate::model::{Encode, Token, Vocabulary};
use crate::request::Dry;

/// The most tokens of a breaker behind its first.
const TAIL_MAX: usize = 20;

/// Where `base ^ exponent` would leave the range of floats.
const FLOAT_MAX_LOG: f32 = 88.722_84;

/// Texts over which no repetition is counted, as tokens: each token in which one of them begins, and the tokens that
/// then follow.
#[derive(Clone, Debug, Default)]
pub(super) struct Breakers(HashMap<Token, Vec<Vec<Token>>>);

impl Breakers {
    pub(super) fn new(vocabulary: &dyn Vocabulary, texts: &[String]) -> Self {
        let mut breakers = Self::default();
        for text in texts.iter().map(String::as_bytes).filter(|text| !text.is_empty()) {
            for token in 0..vocabulary.size() {
                let piece = vocabulary.piece(token);
                if piece.windows(text.len()).any(|window| window == text) {
                    breakers.insert(token, Vec::new());
                    continue;
                }
                for at in 1..=piece.len().min(text.len() - 1) {
                    // The piece ends with the first `at` bytes of the text.
                    if piece.ends_with(&text[..at]) {
                        let rest = String::from_utf8_lossy(&text[at..]);
                        let mut tail = vocabulary.encode(&rest, Encode::default()).unwrap_or_default();
                        tail.truncate(TAIL_MAX);
                        breakers.insert(token, tail);
                    }
                }
            }
        }
        breakers
    }

    fn insert(&mut self, token: Token, tail: Vec<Token>) {
        let tails = self.0.entry(token).or_default();
        if !tails.contains(&tail) {
            tails.push(tail);
        }
    }

    fn is_single(&self, token: Token) -> bool {
        self.0.get(&token).is_some_and(|tails| tails.iter().any(Vec::is_empty))
    }

    /// How many of the last tokens are free of breakers.
    fn reach(&self, recent: &[Token]) -> usize {
        for back in 0..recent.len() {
            let from = recent.len() - 1 - back;
            let Some(tails) = self.0.get(&recent[from]) else { continue };
            let follows = |tail: &&Vec<Token>| recent[from + 1..].starts_with(tail);
            if let Some(longest) = tails.iter().filter(follows).map(Vec::len).max() {
                return back - longest;
            }
        }
        recent.len()
    }
}

/// What is subtracted from the logits of tokens that would continue a repetition.
pub(super) fn penalties(history: &[Token], dry: &Dry, breakers: &Breakers) -> HashMap<Token, f32> {
    let recent = match usize::try_from(dry.last_n) {
        Ok(count) => &history[history.len().saturating_sub(count)..],
        Err(_) => history,
    };
    let allowed = dry.allowed_length as usize;
    let reach = breakers.reach(recent);
    if recent.len() <= allowed || reach < allowed {
        return HashMap::new();
    }
    let mut longest: HashMap<Token, usize> = HashMap::new();
    let repeats = suffix_repeats(recent);
    for (at, &token) in recent.iter().enumerate().skip(1) {
        let repeated = repeats[at - 1].min(reach);
        if repeated >= allowed {
            let known = longest.entry(token).or_default();
            *known = repeated.max(*known);
        }
    }
    let exponent_max = if dry.base > 1.000_001 { FLOAT_MAX_LOG / dry.base.ln() } else { f32::INFINITY };
    let penalty = |repeated: usize| {
        #[expect(clippy::cast_precision_loss, reason = "a length of at most the context's")]
        let exponent = ((repeated - allowed) as f32).min(exponent_max.trunc());
        // At the edge, rounding may still overflow.
        (dry.multiplier * dry.base.powf(exponent)).min(f32::MAX)
    };
    longest.retain(|token, _| !breakers.is_single(*token));
    longest.into_iter().map(|(token, repeated)| (token, penalty(repeated))).collect()
}

/// For each place, how many tokens that end there are the tokens at the end, in order. The Z-algorithm, from the end.
fn suffix_repeats(tokens: &[Token]) -> Vec<usize> {
    let count = tokens.len();
    // Index 0 is the end.
    let at = |index: usize| tokens[count - 1 - index];
    let mut z = vec![0; count];
    let (mut left, mut right) = (0, 0);
    for start in 1..count {
        let mut length = if start < right { z[start - left].min(right - start) } else { 0 };
        while start + length < count && at(length) == at(start + length) {
            length += 1;
        }
        z[start] = length;
        if start + length > right {
            (left, right) = (start, start + length);
        }
    }
    z.reverse();
    z
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::ByteVocabulary;

    fn dry(allowed_length: u32, last_n: i32) -> Dry {
        Dry { multiplier: 1.0, base: 2.0, allowed_length, last_n, ..Dry::default() }
    }

    fn tokens(text: &str) -> Vec<Token> {
        text.bytes().map(Token::from).collect()
    }

    #[test]
    fn breakers_of_several_tokens_end_a_repetition() {
        let vocabulary = ByteVocabulary::new();
        let breakers = Breakers::new(&vocabulary, &["#!".to_owned()]);
        let history = tokens("xabcd#!abcd#!abc");
        // Only `abc` behind the breaker counts.
        let found = penalties(&history, &dry(2, -1), &breakers);
        assert_eq!(found, HashMap::from([(u32::from(b'd'), 2.0)]));
        let unbroken = penalties(&history, &dry(2, -1), &Breakers::default());
        assert_eq!(unbroken[&u32::from(b'd')], 2.0_f32.powi(7));
    }

    #[test]
    fn a_penalty_stays_finite() {
        let history = vec![7; 3000];
        let found = penalties(&history, &Dry { base: 4.0, ..dry(2, -1) }, &Breakers::default());
        assert!(found[&7].is_finite() && found[&7] > 1e37, "{found:?}");
    }
}
