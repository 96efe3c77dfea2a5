//! A budget for thinking: when it is used up, the model is made to close its thinking and to answer.
//!
//! The way of Muennighoff et al. 2025, "s1: Simple test-time scaling" (arXiv 2501.19393), for the upper bound.

use minerva_plugin::model::Special;
use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// How many tokens may be thought.
        tokens: u32 = 512, maximum: 1_000_000, examples: [0, 5];
        /// What the model is made to say before it closes its thinking.
        message: String = "\n\nI have thought about it enough; now I answer.\n".to_owned(), maxLength: 1024,
            examples: [""];
    }
}

/// The sampler.
#[derive(Clone)]
pub struct ThinkingBudget {
    budget: usize,
    /// What ends the thinking: the message, and the token that closes.
    ending: Vec<Token>,
    open: Token,
    close: Token,
    /// Whether the answer begins in a thinking that the prompt opened.
    begun: bool,
    /// The answer.
    tokens: Vec<Token>,
}

impl Sampler for ThinkingBudget {
    type Args = Args;
    const ABOUT: About = about!("Ends the thinking before an answer when its budget of tokens is used up.");
    const NEEDS: Needs = Needs::plan().with_fork().with_rollback();

    fn open(args: Args, prompt: &[Token]) -> Result<Self, Error> {
        let (Some(open), Some(close)) =
            (model::special(Special::ThinkStart), model::special(Special::ThinkEnd))
        else {
            return Err("this model has no tokens that open and close thinking".into());
        };
        let mut ending = model::encode(&args.message)?;
        ending.push(close);
        let begun = thinks(false, prompt, open, close).is_some();
        Ok(Self { budget: args.tokens as usize, ending, open, close, begun, tokens: Vec::new() })
    }

    fn advance(&mut self, step: &mut Step, committed: &[Token]) {
        self.tokens.extend_from_slice(committed);
        let spent = thinks(self.begun, &self.tokens, self.open, self.close);
        if spent.is_some_and(|spent| spent >= self.budget) {
            step.force(&self.ending);
        }
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(self.clone())
    }

    fn rollback(&mut self, count: u32) -> Result<(), Error> {
        self.tokens.truncate(self.tokens.len().saturating_sub(count as usize));
        Ok(())
    }
}

/// For how many tokens a thinking goes on that is not closed, if there is one after these tokens. Read from the end:
/// a thinking is as short as its budget.
fn thinks(begun: bool, tokens: &[Token], open: Token, close: Token) -> Option<usize> {
    match tokens.iter().rposition(|&token| token == open || token == close) {
        Some(at) if tokens[at] == open => Some(tokens.len() - at - 1),
        Some(_) => None,
        None => begun.then_some(tokens.len()),
    }
}

export!(sampler: ThinkingBudget);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing::{self, Vocabulary};

    const OPEN: Token = 3;
    const CLOSE: Token = 4;

    fn sampler(args: &str, prompt: &[Token]) -> Result<ThinkingBudget, Error> {
        let vocabulary = Vocabulary::of(["a", "b", "!"])
            .and_special(Special::ThinkStart, "<think>")
            .and_special(Special::ThinkEnd, "</think>");
        testing::set_vocabulary(vocabulary);
        testing::open(args, prompt)
    }

    fn forced(sampler: &mut ThinkingBudget, told: &[Token]) -> Vec<Token> {
        let mut step = Step::default();
        sampler.advance(&mut step, told);
        step.commands().force.clone()
    }

    #[test]
    fn the_budget_is_kept() {
        let mut sampler = sampler(r#"{"tokens": 2, "message": "!"}"#, &[0]).expect("good arguments");
        for (told, expected) in [
            (&[][..], &[][..]),
            (&[0, 1, 0], &[]),
            (&[OPEN], &[]),
            (&[0], &[]),
            (&[1], &[2, CLOSE]),
            (&[2, CLOSE], &[]),
            (&[0, 1, 0], &[]),
            // A second thinking has a budget of its own.
            (&[OPEN, 0, 0], &[2, CLOSE]),
        ] {
            assert_eq!(forced(&mut sampler, told), expected, "{told:?}");
        }
    }

    #[test]
    fn a_thinking_that_the_prompt_opened() {
        let mut opened = sampler(r#"{"tokens": 1, "message": ""}"#, &[0, OPEN, 0]).expect("good arguments");
        assert!(forced(&mut opened, &[]).is_empty());
        assert_eq!(forced(&mut opened, &[0]), [CLOSE]);
        opened.rollback(1).expect("it can");
        assert!(forced(&mut opened, &[CLOSE]).is_empty());
        let mut at_once = sampler(r#"{"tokens": 0, "message": ""}"#, &[OPEN]).expect("good arguments");
        assert_eq!(forced(&mut at_once, &[]), [CLOSE]);
        let mut closed = sampler(r#"{"tokens": 0, "message": ""}"#, &[OPEN, CLOSE]).expect("good arguments");
        assert!(forced(&mut closed, &[0]).is_empty());
    }

    #[test]
    fn a_model_that_does_not_think_is_refused() {
        testing::set_vocabulary(Vocabulary::of(["a"]));
        let said =
            testing::open::<ThinkingBudget>(r#"{"message": ""}"#, &[]).err().expect("refused").to_string();
        assert_eq!(said, "this model has no tokens that open and close thinking");
    }
}
