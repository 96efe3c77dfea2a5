//! Matching text that is not all there yet: an automaton, stepped byte by byte, says when nothing that may follow
//! can change the answer.

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

/// What there is at a place of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// That depends on what follows.
    Undecided,
    /// No match begins here.
    Nothing,
    /// A match of so many bytes begins here.
    Match(usize),
}

pub(crate) struct Scanner {
    dfa: DFA,
    cache: Cache,
    max_length: usize,
}

/// The largest automaton, in bytes, before it is made deterministic.
const NFA_BYTES_MAX: usize = 1 << 20;

impl Scanner {
    /// # Errors
    ///
    /// Says what is wrong with the patterns.
    pub(crate) fn new(patterns: &[String], max_length: usize) -> Result<Self, String> {
        let dfa = DFA::builder()
            .configure(DFA::config().match_kind(MatchKind::LeftmostFirst).cache_capacity(4 << 20))
            .thompson(thompson::Config::new().nfa_size_limit(Some(NFA_BYTES_MAX)))
            .build_many(patterns)
            .map_err(|error| format!("patterns: {}", causes(&error)))?;
        let cache = dfa.create_cache();
        Ok(Self { dfa, cache, max_length })
    }

    /// What begins with the first byte of `text`, which comes after the byte `before`. The answer is that for the
    /// whole text, of which `text` is what is there of the rest, or all of it if `is_end`.
    pub(crate) fn at(&mut self, text: &[u8], before: Option<u8>, is_end: bool) -> Found {
        let Self { dfa, cache, max_length } = self;
        let start = start::Config::new().anchored(Anchored::Yes).look_behind(before);
        let Ok(mut state) = dfa.start_state(cache, &start) else { return Found::Nothing };
        let mut matched = 0;
        // States know of a match one byte late, so one byte more than a match can have is looked at.
        for (at, &byte) in text.iter().enumerate().take(*max_length + 1) {
            let Ok(next) = dfa.next_state(cache, state, byte) else { return found(matched) };
            state = next;
            if state.is_match() {
                matched = at;
            }
            if state.is_dead() || state.is_quit() {
                return found(matched);
            }
        }
        if text.len() > *max_length {
            return found(matched);
        }
        let clears = cache.clear_count();
        let matches_at_end = dfa.next_eoi_state(cache, state).is_ok_and(|state| state.is_match());
        if is_end {
            return found(if matches_at_end { text.len() } else { matched });
        }
        let is_decided = matched > 0 && !matches_at_end && is_last(dfa, cache, state, clears);
        if is_decided { found(matched) } else { Found::Undecided }
    }
}

/// Whether no byte leads on from a state. It would be seen a byte later anyhow; but at the end of a sentence the
/// next byte may be long in coming.
fn is_last(dfa: &DFA, cache: &mut Cache, state: LazyStateID, clears: usize) -> bool {
    let mut bytes = dfa.byte_classes().representatives(0..=u8::MAX).filter_map(|unit| unit.as_u8());
    bytes.all(|byte| {
        // A cache that was full and cleared no longer knows the state. Then the next byte will tell.
        cache.clear_count() == clears && dfa.next_state(cache, state, byte).is_ok_and(|next| next.is_dead())
    })
}

fn found(length: usize) -> Found {
    if length == 0 { Found::Nothing } else { Found::Match(length) }
}

fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", causes(source)),
        None => error.to_string(),
    }
}
