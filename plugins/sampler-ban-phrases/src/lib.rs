//! Phrases that are never said: a token that would complete one is not chosen.
//!
//! The answer so far is read from the host in each step, so there is nothing to fork or to take back.

use std::collections::HashMap;

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

/// Texts of tokens that are remembered: the likely ones are few.
const PIECES_MAX: usize = 4096;

/// The sampler.
pub struct BanPhrases {
    phrases: Vec<Vec<u8>>,
    ignore_case: bool,
    prompt_tokens: usize,
    pieces: HashMap<Token, Vec<u8>>,
}

impl Sampler for BanPhrases {
    type Args = Args;
    const ABOUT: About =
        about!("Never says certain phrases: the token that would complete one is not chosen.");
    const NEEDS: Needs = Needs::cut(128).with_fork().with_rollback();

    fn open(args: Args, prompt: &[Token]) -> Result<Self, Error> {
        let Args { phrases, ignore_case } = args;
        let mut sampler =
            Self { phrases: Vec::new(), ignore_case, prompt_tokens: prompt.len(), pieces: HashMap::new() };
        for phrase in phrases {
            if phrase.is_empty() || phrase.len() > PHRASE_BYTES_MAX {
                let length = phrase.len();
                return Err(format!("phrases: one has {length} bytes; it is 1 to {PHRASE_BYTES_MAX}").into());
            }
            sampler.phrases.push(sampler.folded(phrase.into_bytes()));
        }
        Ok(sampler)
    }

    fn pick(&mut self, step: &mut Step, cut: &Candidates) -> Choice {
        let said = self.said(step);
        if self.pieces.len() > PIECES_MAX {
            self.pieces.clear();
        }
        let mut kept = Vec::with_capacity(cut.len());
        for &id in &cut.ids {
            if !self.completes(&said, id) {
                kept.push(id);
            }
        }
        if kept.is_empty() {
            step.stop(Finish::Filter);
            return Choice::Host;
        }
        if kept.len() == cut.len() { Choice::Host } else { Choice::Only(kept) }
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self { phrases: self.phrases.clone(), pieces: HashMap::new(), ..*self })
    }

    fn rollback(&mut self, _count: u32) -> Result<(), Error> {
        Ok(())
    }
}

impl BanPhrases {
    /// The end of the answer, as much as a phrase can begin in.
    fn said(&self, step: &Step) -> Vec<u8> {
        let longest = self.phrases.iter().map(Vec::len).max().unwrap_or(0);
        let answer = (step.position() as usize).saturating_sub(self.prompt_tokens);
        let count = u32::try_from(longest.min(answer)).unwrap_or(u32::MAX);
        let bytes = self.folded(model::decode(&step.history(count)));
        bytes[bytes.len().saturating_sub(longest)..].to_vec()
    }

    /// Whether a token completes a phrase: one that ends in the token's own text.
    fn completes(&mut self, said: &[u8], id: Token) -> bool {
        let Self { phrases, ignore_case, pieces, .. } = self;
        let piece = pieces.entry(id).or_insert_with(|| folded(model::decode(&[id]), *ignore_case));
        let mut text = said.to_vec();
        text.extend_from_slice(piece);
        phrases.iter().any(|phrase| {
            let from = (said.len() + 1).saturating_sub(phrase.len());
            text.get(from..)
                .is_some_and(|end| end.windows(phrase.len()).any(|window| window == phrase.as_slice()))
        })
    }

    fn folded(&self, bytes: Vec<u8>) -> Vec<u8> {
        folded(bytes, self.ignore_case)
    }
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

    fn kept(args: &str, prompt: u32, said: &[Token], offered: &[Token]) -> (Choice, Option<Finish>) {
        testing::set_vocabulary(Vocabulary::of(["The", " owl", "s", " O", "wl", ".", "owls owl"]));
        let prompt: Vec<Token> = (0..prompt).collect();
        let mut sampler: BanPhrases = testing::open(args, &prompt).expect("the arguments are good");
        let mut step = Step::with_history([prompt, said.to_vec()].concat());
        let cut = Candidates { ids: offered.to_vec(), logits: vec![0.0; offered.len()] };
        let choice = sampler.pick(&mut step, &cut);
        (choice, step.commands().stop)
    }

    #[test]
    fn what_completes_a_phrase_is_not_chosen() {
        let owls = r#"{"phrases": ["owls"]}"#;
        assert_eq!(kept(owls, 0, &[0, 1], &[2, 5]), (Choice::Only(vec![5]), None));
        assert_eq!(kept(owls, 0, &[0, 3, 4], &[2, 5]), (Choice::Only(vec![5]), None));
        // Whole within one token, and not at its beginning.
        assert_eq!(kept(owls, 0, &[], &[6, 5]), (Choice::Only(vec![5]), None));
        assert_eq!(kept(owls, 0, &[0, 5], &[2, 1]), (Choice::Host, None));
    }

    #[test]
    fn case_prompt_and_no_way_out() {
        let exact = r#"{"phrases": ["owls"], "ignore_case": false}"#;
        assert_eq!(kept(exact, 0, &[3, 4], &[2, 5]), (Choice::Host, None));
        // What the prompt says is not the answer's.
        assert_eq!(kept(r#"{"phrases": ["owls"]}"#, 2, &[], &[2, 5]), (Choice::Host, None));
        assert_eq!(kept(r#"{"phrases": ["s", "."]}"#, 0, &[], &[2, 5]), (Choice::Host, Some(Finish::Filter)));
        let long = format!(r#"{{"phrases": ["{}"]}}"#, "x".repeat(257));
        assert!(
            testing::open::<BanPhrases>(&long, &[])
                .err()
                .expect("too long")
                .to_string()
                .contains("257 bytes")
        );
    }
}
