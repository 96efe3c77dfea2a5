//! An answer that obeys a grammar, from its beginning or behind a certain text.
//!
//! Everything happens in `advance`, while the model computes: the grammar is told of what was said, and its mask, or
//! what must come next anyway, is commanded for the next step.

use minerva_plugin::model::Special;
use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// How the source is written.
        notation: String, enum: ["json-schema", "regex", "lark", "gbnf"], examples: ["regex"];
        /// The grammar.
        source: String, minLength: 1, maxLength: 65536,
            examples: ["(yes|no)[.!]?", "[A-Z][a-z ]+( [0-9]{1,3})?\\n", "[\\s\\S]*"];
        /// The grammar begins with the token behind this text; empty for the beginning of the answer. `</think>` is
        /// the end of the thinking, however the model marks it.
        after: String = String::new(), maxLength: 256, examples: ["e"];
    }
}

/// The sampler.
pub struct Obey {
    fresh: Grammar,
    after: Vec<u8>,
    prompt_tokens: usize,
    running: Option<Running>,
}

/// The grammar on its way.
struct Running {
    grammar: Grammar,
    /// Tokens that came since it began.
    told: u32,
    /// Those of them that fit. Fewer where another sampler chose past the mask.
    fit: u32,
}

impl Sampler for Obey {
    type Args = Args;
    const ABOUT: About = about!("Makes the answer, or what follows a certain text, obey a grammar.");
    const NEEDS: Needs = Needs::plan().with_fork().with_rollback();

    fn open(args: Args, prompt: &[Token]) -> Result<Self, Error> {
        let notation = match args.notation.as_str() {
            "json-schema" => Notation::JsonSchema,
            "lark" => Notation::Lark,
            "gbnf" => Notation::Gbnf,
            _ => Notation::Regex,
        };
        Ok(Self {
            fresh: Grammar::compile(notation, &args.source)?,
            after: args.after.into_bytes(),
            prompt_tokens: prompt.len(),
            running: None,
        })
    }

    fn advance(&mut self, step: &mut Step, committed: &[Token]) {
        let mut rest = committed;
        if self.running.is_none() {
            let Some(begin) = self.begin(step, committed) else { return };
            self.running = Some(Running { grammar: self.fresh.fork(), told: 0, fit: 0 });
            rest = &committed[begin..];
        }
        if let Some(running) = &mut self.running
            && running.go_on(step, rest).is_err()
        {
            step.stop(Finish::Plugin);
        }
    }

    fn fork(&self) -> Result<Self, Error> {
        let running = self.running.as_ref();
        Ok(Self {
            fresh: self.fresh.fork(),
            after: self.after.clone(),
            running: running.map(|running| Running { grammar: running.grammar.fork(), ..*running }),
            ..*self
        })
    }

    fn rollback(&mut self, count: u32) -> Result<(), Error> {
        match &mut self.running {
            Some(running) if count <= running.told => running.go_back(count),
            // To before it began.
            _ => {
                self.running = None;
                Ok(())
            }
        }
    }

    fn close(&mut self) -> Option<String> {
        let running = self.running.as_mut();
        let obeyed = running.is_some_and(|running| {
            running.fit == running.told && running.grammar.may_end().is_ok_and(|may_end| may_end)
        });
        Some(format!(r#"{{"obeyed":{obeyed}}}"#))
    }
}

impl Obey {
    /// How many of the last tokens come before the grammar begins, if it does.
    fn begin(&self, step: &Step, committed: &[Token]) -> Option<usize> {
        if self.after.is_empty() {
            return Some(0);
        }
        let answer = (step.position() as usize).saturating_sub(self.prompt_tokens);
        let before = answer - committed.len().min(answer);
        // A token has a byte at least.
        let count = (before.min(self.after.len()) + committed.len()).min(answer);
        let said = step.history(u32::try_from(count).unwrap_or(u32::MAX));
        let mut text = model::decode(&said[..count - committed.len().min(count)]);
        let mark = model::special(Special::ThinkEnd).filter(|_| self.after == b"</think>");
        let ends = |(at, &token): (usize, &Token)| {
            let from = (text.len() + 1).saturating_sub(self.after.len());
            text.extend(model::decode(&[token]));
            let found = text[from..].windows(self.after.len()).any(|window| window == self.after.as_slice());
            (found || Some(token) == mark).then_some(at + 1)
        };
        committed.iter().enumerate().find_map(ends)
    }
}

impl Running {
    /// Takes in what was said, and commands what comes next.
    fn go_on(&mut self, step: &mut Step, said: &[Token]) -> Result<(), Error> {
        let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        if self.fit == self.told {
            self.fit += count(self.grammar.accept(said)?);
        }
        self.told += count(said.len());
        if self.fit < self.told {
            return Err("a token was chosen that does not fit".into());
        }
        if self.grammar.is_complete() {
            step.stop(Finish::Stop);
            return Ok(());
        }
        let forced = self.grammar.forced();
        if forced.is_empty() {
            return step.obey(&self.grammar);
        }
        step.force(&forced);
        Ok(())
    }

    fn go_back(&mut self, count: u32) -> Result<(), Error> {
        self.told -= count;
        let too_many = self.fit.saturating_sub(self.told);
        self.fit -= too_many;
        self.grammar.rollback(too_many)
    }
}

export!(sampler: Obey);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing::{self, Vocabulary};

    /// What is commanded after each part of an answer.
    fn commanded(after: &str, parts: &[&[Token]]) -> Vec<String> {
        let vocabulary = Vocabulary::of(["ye", "s", "no", "not", ": ", " y"]);
        testing::set_vocabulary(vocabulary.and_special(Special::Eos, "</s>"));
        let args = format!(r#"{{"notation": "regex", "source": "yes|no", "after": "{after}"}}"#);
        let mut sampler: Obey = testing::open(&args, &[0, 1]).expect("the arguments are good");
        let mut history = vec![0, 1];
        let step = |part: &&[Token]| {
            history.extend_from_slice(part);
            let mut step = Step::with_history(history.clone());
            sampler.advance(&mut step, part);
            match (step.commands().stop, &step.commands().allowed) {
                (Some(reason), _) => format!("{reason:?}"),
                (None, Some(allowed)) => format!("{allowed:?}"),
                (None, None) => "free".to_owned(),
            }
        };
        parts.iter().map(step).collect()
    }

    #[test]
    fn the_mask_follows_the_answer() {
        assert_eq!(commanded("", &[&[], &[0], &[1]]), ["[0, 2]", "[1]", "Stop"]);
        // Another sampler chose past the mask.
        assert_eq!(commanded("", &[&[], &[3], &[1]]), ["[0, 2]", "Plugin", "Plugin"]);
        assert_eq!(commanded(": ", &[&[], &[2], &[4], &[2]]), ["free", "free", "[0, 2]", "Stop"]);
        // What is looked for ends inside of a token, or comes with others at once.
        assert_eq!(commanded("no: ", &[&[2], &[4]]), ["free", "[0, 2]"]);
        assert_eq!(commanded(": ", &[&[2, 4, 0]]), ["[1]"]);
    }

    #[test]
    fn what_was_taken_back_can_come_otherwise() {
        testing::set_vocabulary(Vocabulary::of(["ye", "s", "no", ":"]));
        let args = r#"{"notation": "regex", "source": "yes|no", "after": ":"}"#;
        let mut sampler: Obey = testing::open(args, &[]).expect("the arguments are good");
        let mut advance = |history: &[Token], told: usize, back: u32| {
            sampler.rollback(back).expect("it goes back");
            let mut step = Step::with_history(history);
            sampler.advance(&mut step, &history[history.len() - told..]);
            step.commands().allowed.clone()
        };
        assert_eq!(advance(&[3, 0], 2, 0), Some(vec![1]));
        assert_eq!(advance(&[3], 0, 1), Some(vec![0, 2]));
        assert_eq!(advance(&[2], 1, 1), None);
        assert_eq!(advance(&[2, 3], 1, 0), Some(vec![0, 2]));
    }
}
