//! Phrases that are never said: when one is, the answer goes back to where it began, and on in another way.
//!
//! As long as the end of the answer may be the beginning of a phrase, it is held; everything else is sent at once. Tokens
//! that are a phrase by themselves are not chosen in the first place.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// What is never said.
        phrases: Vec<String>, minItems: 1, maxItems: 256, examples: [vec!["owl", "the end", "🦉"], vec!["e"]];
        /// Whether A is a, too.
        ignore_case: bool = true, examples: [false];
    }
}

/// The longest phrase, in bytes.
const PHRASE_BYTES_MAX: usize = 256;

/// How many tokens are held at most. A token has a byte at least, so that every phrase fits, but for markup in it.
const HELD_MAX: u32 = 256;

/// How many ways to begin a phrase are tried at one place.
const TRIES_MAX: usize = 32;

/// The longest phrase that is looked for in single tokens, in bytes: the longer, the fewer tokens it is in, and those are
/// taken back as others are.
const TOKEN_BYTES_MAX: usize = 8;

/// How many phrases are looked for at a time. An expression of so many is short enough for the host, and three expressions
/// are what `open` may ask of it for a vocabulary of 262,144.
const PHRASES_AT_A_TIME: usize = 120;

/// Texts of tokens that are remembered: the likely ones are few.
const PIECES_MAX: usize = 4096;

/// The sampler.
#[derive(Clone)]
pub struct BanPhrases {
    phrases: Vec<Vec<u8>>,
    ignore_case: bool,
    /// Tokens of the answer.
    said: usize,
    /// What began a phrase, by its place in the answer.
    banned: BTreeMap<usize, Vec<Token>>,
    /// Tokens that have no phrase in them.
    free: Option<Rc<TokenSet>>,
    taken_back: u64,
    pieces: HashMap<Token, Vec<u8>>,
}

/// What the end of the answer is.
#[derive(Default)]
struct Found {
    /// How many tokens there are from the one on that a phrase begins in, where the phrase is complete.
    complete: Option<usize>,
    /// How many there are from the one on that a phrase may begin in.
    open: usize,
}

impl Sampler for BanPhrases {
    type Args = Args;
    const ABOUT: About =
        about!("Never says certain phrases: takes one back that was begun, and goes on in another way.");
    const NEEDS: Needs = Needs::plan().with_fork().with_backtracking(HELD_MAX);

    fn open(args: Args, _prompt: &[Token]) -> Result<Self, Error> {
        let Args { phrases, ignore_case } = args;
        if let Some(wrong) = phrases.iter().find(|phrase| !(1..=PHRASE_BYTES_MAX).contains(&phrase.len())) {
            let length = wrong.len();
            return Err(format!("phrases: one has {length} bytes; it is 1 to {PHRASE_BYTES_MAX}").into());
        }
        let phrases: Vec<Vec<u8>> =
            phrases.into_iter().map(|phrase| folded(phrase.into_bytes(), ignore_case)).collect();
        Ok(Self {
            free: free_of(&phrases, ignore_case).map(Rc::new),
            phrases,
            ignore_case,
            said: 0,
            banned: BTreeMap::new(),
            taken_back: 0,
            pieces: HashMap::new(),
        })
    }

    fn advance(&mut self, step: &mut Step, committed: &[Token]) {
        self.said += committed.len();
        let found = self.look(step, committed.len());
        if let Some(back) = found.complete
            && self.go_back(step, back)
        {
            return;
        }
        step.hold(u32::try_from(found.open).unwrap_or(HELD_MAX).min(HELD_MAX));
        if let Some(free) = &self.free {
            step.allow(free);
        }
        if let Some(tried) = self.banned.get(&self.said) {
            step.bias(tried, &vec![f32::NEG_INFINITY; tried.len()]);
        }
        // Nobody goes back so far.
        let oldest = self.said.saturating_sub(HELD_MAX as usize);
        self.banned = self.banned.split_off(&oldest);
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(self.clone())
    }

    fn rollback(&mut self, count: u32) -> Result<(), Error> {
        self.said -= count as usize;
        // What comes behind is another text.
        self.banned.split_off(&(self.said + 1));
        Ok(())
    }

    fn close(&mut self) -> Option<String> {
        Some(format!(r#"{{"taken_back":{}}}"#, self.taken_back))
    }
}

impl BanPhrases {
    /// Takes the last `back` tokens back, and bans the first of them there. False where that was done before, and a
    /// sampler that forces its tokens has said it again.
    fn go_back(&mut self, step: &mut Step, back: usize) -> bool {
        let held = step.held() as usize;
        // Where more was sent already, the rest goes: then it is no phrase any more.
        let back = back.min(held);
        if back == 0 {
            return false;
        }
        let first = step.history(u32::try_from(back).unwrap_or(HELD_MAX))[0];
        let tried = self.banned.entry(self.said - back).or_default();
        if tried.contains(&first) {
            return false;
        }
        if tried.len() == TRIES_MAX {
            step.stop(Finish::Filter);
        }
        tried.push(first);
        self.taken_back += back as u64;
        step.backtrack(u32::try_from(back).unwrap_or(HELD_MAX));
        true
    }

    /// Looks for phrases that one of the last `new` tokens completes, and for the beginning of one at the end.
    fn look(&mut self, step: &Step, new: usize) -> Found {
        let longest = self.phrases.iter().map(Vec::len).max().unwrap_or(0);
        // A token has a byte at least, bar markup, which parts phrases for good.
        let count = self.said.min(longest + new);
        let tokens = step.history(u32::try_from(count).unwrap_or(u32::MAX));
        let (mut text, mut begins) = (Vec::new(), Vec::with_capacity(tokens.len()));
        for &token in &tokens {
            begins.push(text.len());
            text.extend_from_slice(self.piece(token));
        }
        // From the last token on that begins before or where a phrase does.
        let tokens_from = |at: usize| tokens.len() - (begins.partition_point(|&begin| begin <= at) - 1);
        let old = begins.get(tokens.len() - new).copied().unwrap_or(text.len());
        let complete = |phrase: &Vec<u8>| {
            let from = (old + 1).saturating_sub(phrase.len()).min(text.len());
            let windows = &mut text[from..].windows(phrase.len());
            windows.position(|window| window == phrase.as_slice()).map(|at| from + at)
        };
        let open = |phrase: &Vec<u8>| {
            let lengths = (1..phrase.len().min(text.len() + 1)).rev();
            let begins_with_end = |length: &usize| text.ends_with(&phrase[..*length]);
            lengths.into_iter().find(begins_with_end).map(|length| text.len() - length)
        };
        Found {
            // The first to begin.
            complete: self.phrases.iter().filter_map(complete).min().map(tokens_from),
            open: self.phrases.iter().filter_map(open).min().map_or(0, tokens_from),
        }
    }

    fn piece(&mut self, token: Token) -> &[u8] {
        if self.pieces.len() > PIECES_MAX {
            self.pieces.clear();
        }
        let ignore_case = self.ignore_case;
        self.pieces.entry(token).or_insert_with(|| folded(model::decode(&[token]), ignore_case))
    }
}

/// The tokens without a phrase in them. `None` where that cannot be found out: then they are taken back like others.
fn free_of(phrases: &[Vec<u8>], ignore_case: bool) -> Option<TokenSet> {
    let flags = if ignore_case { "is-u" } else { "s-u" };
    let escaped =
        |phrase: &&Vec<u8>| -> String { phrase.iter().map(|byte| format!(r"\x{byte:02x}")).collect() };
    let short: Vec<String> = phrases
        .iter()
        .filter(|phrase| phrase.len() <= TOKEN_BYTES_MAX)
        .map(|phrase| escaped(&phrase))
        .collect();
    let mut all: Option<TokenSet> = None;
    for some in short.chunks(PHRASES_AT_A_TIME) {
        let set = TokenSet::matching(&format!("(?{flags}).*(?:{}).*", some.join("|"))).ok()?;
        match &mut all {
            Some(all) => all.unite(&set),
            None => all = Some(set),
        }
    }
    all.as_mut()?.invert();
    all
}

fn folded(mut bytes: Vec<u8>, ignore_case: bool) -> Vec<u8> {
    if ignore_case {
        bytes.make_ascii_lowercase();
    }
    bytes
}

export!(sampler: BanPhrases);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing::{self, Vocabulary};

    /// What came of an answer.
    #[derive(Debug, PartialEq)]
    struct Said {
        tokens: Vec<Token>,
        /// At the end.
        held: u32,
        banned: Vec<Token>,
        stop: Option<Finish>,
    }

    fn said(tokens: &[Token], held: u32, banned: &[Token]) -> Said {
        Said { tokens: tokens.to_vec(), held, banned: banned.to_vec(), stop: None }
    }

    /// Says tokens as they come, and goes back where it must.
    fn after(args: &str, says: &[&[Token]]) -> Said {
        let pieces = ["The", " owl", "s", " O", "wl", ".", "owls owl", "", " fly"];
        testing::set_vocabulary(Vocabulary::of(pieces));
        let mut sampler: BanPhrases = testing::open(args, &[0, 1]).expect("the arguments are good");
        let mut history: Vec<Token> = vec![0, 1];
        let mut held = 0;
        let (mut banned, mut stop) = (Vec::new(), None);
        for said in says {
            history.extend_from_slice(said);
            held += said.len() as u32;
            let mut committed = *said;
            loop {
                let mut step = Step::with_history(history.clone()).with_held(held);
                sampler.advance(&mut step, committed);
                let commands = step.commands();
                (banned, stop) = (commands.bias.iter().map(|(id, _)| *id).collect(), commands.stop);
                if commands.backtrack == 0 {
                    held = held.min(commands.hold);
                    break;
                }
                history.truncate(history.len() - commands.backtrack as usize);
                held -= commands.backtrack;
                sampler.rollback(commands.backtrack).expect("it goes back");
                committed = &[];
                if stop.is_some() {
                    break;
                }
            }
        }
        Said { tokens: history.split_off(2), held, banned, stop }
    }

    const OWLS: &str = r#"{"phrases": ["owls"]}"#;

    #[test]
    fn a_phrase_is_taken_back_to_where_it_began() {
        assert_eq!(after(OWLS, &[&[0], &[1], &[2]]), said(&[0], 0, &[1]));
        assert_eq!(after(OWLS, &[&[0], &[3], &[4], &[2]]), said(&[0], 0, &[3]));
        // Both ways to begin it, and then a third.
        let ways = [&[0][..], &[1], &[2], &[3], &[4], &[2]];
        assert_eq!(after(OWLS, &ways), said(&[0], 0, &[1, 3]));
        assert_eq!(after(OWLS, &[&ways[..], &[&[5]]].concat()), said(&[0, 5], 0, &[]));
        // Told at once.
        assert_eq!(after(OWLS, &[&[0, 3, 4, 2, 5]]), said(&[0], 0, &[3]));
        // It begins and ends inside of a token.
        assert_eq!(after(OWLS, &[&[5], &[6]]), said(&[5], 0, &[6]));
        assert_eq!(after(OWLS, &[&[5], &[6], &[0], &[5]]), said(&[5, 0, 5], 0, &[]));
    }

    #[test]
    fn only_what_may_be_a_phrase_is_held() {
        assert_eq!(after(OWLS, &[&[0]]), said(&[0], 0, &[]));
        assert_eq!(after(OWLS, &[&[0], &[3]]), said(&[0, 3], 1, &[]));
        assert_eq!(after(OWLS, &[&[0], &[3], &[4]]), said(&[0, 3, 4], 2, &[]));
        // Markup and what is no character yet has no text.
        assert_eq!(after(OWLS, &[&[0], &[3], &[7], &[4]]), said(&[0, 3, 7, 4], 3, &[]));
        assert_eq!(after(OWLS, &[&[0], &[1], &[8]]), said(&[0, 1, 8], 0, &[]));
        // Of two that may be, the longer.
        let two = r#"{"phrases": ["owls", "the owl flies"]}"#;
        assert_eq!(after(two, &[&[5], &[0], &[1]]), said(&[5, 0, 1], 2, &[]));
    }

    #[test]
    fn case_prompt_and_no_way_out() {
        let exact = r#"{"phrases": ["owls"], "ignore_case": false}"#;
        assert_eq!(after(exact, &[&[3], &[4], &[2]]).tokens, [3, 4, 2]);
        // The prompt ends in ` owl`: what it says is not the answer's.
        assert_eq!(after(OWLS, &[&[2]]).tokens, [2]);
        // What is forced on the answer stays.
        assert_eq!(after(r#"{"phrases": ["."]}"#, &[&[5], &[5]]), said(&[5], 0, &[]));
        let long = format!(r#"{{"phrases": ["{}"]}}"#, "x".repeat(257));
        let refused = testing::open::<BanPhrases>(&long, &[]).err().expect("too long");
        assert!(refused.to_string().contains("257 bytes"));
    }

    #[test]
    fn where_all_ways_were_tried_the_answer_ends_before_the_phrase() {
        let mut pieces: Vec<String> = (0..40).map(|at| format!("{at:02}o")).collect();
        pieces.push("wl".into());
        testing::set_vocabulary(Vocabulary::of(pieces.iter().map(String::as_str)));
        let mut sampler: BanPhrases = testing::open(r#"{"phrases": ["owl"]}"#, &[]).expect("good arguments");
        for way in 0..40 {
            let mut step = Step::with_history([way]).with_held(1);
            sampler.advance(&mut step, &[way]);
            assert_eq!((step.commands().hold, step.commands().backtrack), (1, 0));
            let mut step = Step::with_history([way, 40]).with_held(2);
            sampler.advance(&mut step, &[40]);
            assert_eq!(step.commands().backtrack, 2);
            if way == TRIES_MAX as Token {
                assert_eq!(step.commands().stop, Some(Finish::Filter));
                return;
            }
            assert_eq!(step.commands().stop, None);
            sampler.rollback(2).expect("it goes back");
            let mut step = Step::with_history([]);
            sampler.advance(&mut step, &[]);
            assert_eq!(step.commands().bias.len(), way as usize + 1);
        }
        panic!("it never ends");
    }
}
