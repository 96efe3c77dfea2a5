//! The grammar of one request on its way: it waits for the end of the thinking, and then says what may come next.

use std::sync::Arc;

use crate::Error;
use crate::event::FinishReason;
use crate::grammar::{self, Matcher};
use crate::model::{Special, Token, Vocabulary};
use crate::step::{Commands, TokenSet};

/// A matcher, and where in the answer it is.
pub(crate) struct Constraint {
    matcher: Matcher,
    thinking: Option<Thinking>,
    stage: Stage,
    /// Where it began.
    first: Stage,
    /// Tokens of the answer so far.
    said: usize,
    /// How many of them came before the grammar began; as many as can be while it has not.
    before: usize,
}

/// The tokens around thinking.
#[derive(Clone, Copy)]
struct Thinking {
    start: Token,
    end: Token,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The first token may begin to think.
    Open,
    Thinking,
    Answering,
}

impl Constraint {
    /// A constraint on what follows a prompt. The grammar begins behind the thinking where the prompt ends inside of
    /// it, or where `may_think` lets the model begin with it.
    pub(crate) fn new(
        matcher: Matcher,
        prompt: &[Token],
        vocabulary: &Arc<dyn Vocabulary>,
        may_think: bool,
    ) -> Self {
        let start = vocabulary.special(Special::ThinkStart);
        let thinking =
            start.zip(vocabulary.special(Special::ThinkEnd)).map(|(start, end)| Thinking { start, end });
        let is_blank = |token: &&Token| vocabulary.piece(**token).iter().all(u8::is_ascii_whitespace);
        let last = prompt.iter().rev().find(|token| !is_blank(token)).copied();
        let stage = match thinking {
            Some(thinking) if last == Some(thinking.start) => Stage::Thinking,
            Some(thinking) if may_think && last != Some(thinking.end) => Stage::Open,
            _ => Stage::Answering,
        };
        let before = if stage == Stage::Answering { 0 } else { usize::MAX };
        Self { matcher, thinking, stage, first: stage, said: 0, before }
    }

    /// Takes tokens that now are part of the answer.
    pub(crate) fn advance(&mut self, committed: &[Token]) -> Result<(), Error> {
        let is = |token: Token, of: fn(Thinking) -> Token| self.thinking.map(of) == Some(token);
        let mut rest = committed;
        self.said += committed.len();
        if let [first, ..] = rest
            && self.stage == Stage::Open
        {
            self.stage =
                if is(*first, |thinking| thinking.start) { Stage::Thinking } else { Stage::Answering };
        }
        if self.stage == Stage::Answering && self.before == usize::MAX {
            self.before = 0;
        }
        if self.stage == Stage::Thinking {
            let Some(end) = rest.iter().position(|&token| is(token, |thinking| thinking.end)) else {
                return Ok(());
            };
            rest = &rest[end + 1..];
            self.before = self.said - rest.len();
            self.stage = Stage::Answering;
        }
        self.matcher.commit(rest).map_err(failure)
    }

    /// Commands the next step: the mask, or what comes without a choice, or the end.
    pub(crate) fn command(&mut self, commands: &mut Commands) -> Result<(), Error> {
        if self.stage == Stage::Thinking {
            // An answer that ends here would be none.
            commands.allow_end = Some(false);
            return Ok(());
        }
        if self.matcher.is_complete() {
            commands.stop = Some(FinishReason::Stop);
            return Ok(());
        }
        if self.stage == Stage::Answering {
            commands.force = self.matcher.forced();
            if !commands.force.is_empty() {
                return Ok(());
            }
        }
        let mut allowed = self.matcher.allowed().map_err(failure)?;
        if let Some(thinking) = self.thinking.filter(|_| self.stage == Stage::Open) {
            allowed.unite(&TokenSet::from_ids(&[thinking.start]));
        }
        // The first to command: there is nothing to intersect with.
        commands.allowed = Some(allowed);
        Ok(())
    }

    /// Takes back the last `count` tokens.
    pub(crate) fn rollback(&mut self, count: usize) -> Result<(), Error> {
        let matched = self.said.saturating_sub(self.before);
        self.said = self.said.saturating_sub(count);
        let left = self.said.saturating_sub(self.before);
        self.matcher.rollback(matched - left).map_err(failure)?;
        if self.said == 0 {
            self.stage = self.first;
        } else if self.said < self.before && self.before < usize::MAX {
            self.stage = Stage::Thinking;
        }
        if self.stage != Stage::Answering {
            self.before = usize::MAX;
        }
        Ok(())
    }

    /// Refuses tokens that a plugin chose past the mask.
    pub(crate) fn check(&mut self, tokens: &[Token]) -> Result<(), Error> {
        if self.stage != Stage::Answering {
            return Ok(());
        }
        let accepted = self.matcher.accept(tokens).map_err(failure)?;
        self.matcher.rollback(accepted).map_err(failure)?;
        match tokens.get(accepted) {
            None => Ok(()),
            Some(token) => Err(Error::Sampling(format!(
                "a plugin chose token {token}, and the grammar of the request does not allow it here"
            ))),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn failure(error: grammar::Error) -> Error {
    Error::Sampling(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::ByteVocabulary;
    use crate::grammar::{Compiler, Kind, Limits};
    use crate::model::{self, Encode};

    /// Bytes, of which `(` and `)` are the tokens around thinking.
    struct Thinker(ByteVocabulary);

    impl Vocabulary for Thinker {
        fn size(&self) -> u32 {
            self.0.size()
        }

        fn encode(&self, text: &str, how: Encode) -> Result<Vec<Token>, model::Error> {
            self.0.encode(text, how)
        }

        fn piece(&self, token: Token) -> &[u8] {
            self.0.piece(token)
        }

        fn is_control(&self, token: Token) -> bool {
            self.0.is_control(token)
        }

        fn is_end(&self, token: Token) -> bool {
            self.0.is_end(token)
        }

        fn special(&self, role: Special) -> Option<Token> {
            match role {
                Special::ThinkStart => Some(u32::from(b'(')),
                Special::ThinkEnd => Some(u32::from(b')')),
                other => self.0.special(other),
            }
        }
    }

    fn tokens(text: &str) -> Vec<Token> {
        text.bytes().map(Token::from).collect()
    }

    /// What is commanded after a prompt and the beginning of an answer.
    fn commanded(prompt: &str, may_think: bool, answer: &str) -> Result<String, Error> {
        let vocabulary: Arc<dyn Vocabulary> = Arc::new(Thinker(ByteVocabulary::new()));
        let compiler = Compiler::new(Arc::clone(&vocabulary), Limits::default());
        let matcher = compiler.compile(Kind::Regex, "[ab]c?").expect("a grammar").matcher();
        let mut constraint = Constraint::new(matcher, &tokens(prompt), &vocabulary, may_think);
        for token in tokens(answer) {
            if token == u32::from(b'<') {
                constraint.rollback(1)?;
            } else {
                constraint.advance(&[token])?;
            }
        }
        let mut commands = Commands::default();
        constraint.command(&mut commands)?;
        let allowed =
            |set: &TokenSet| (0..=255).filter(|&token| set.has(u32::from(token))).map(char::from).collect();
        Ok(match (commands.stop, &commands.allowed) {
            (Some(_), _) => "stop".into(),
            (None, Some(set)) => allowed(set),
            (None, None) if commands.allow_end == Some(false) => "thinks".into(),
            (None, None) => format!("{commands:?}"),
        })
    }

    #[test]
    fn the_grammar_begins_behind_the_thinking() {
        let cases = [
            ("hi", false, "", "ab"),
            ("hi", false, "a", "c"),
            ("hi", false, "ac", "stop"),
            ("(", false, "", "thinks"),
            ("( \n", true, "xyz", "thinks"),
            ("(", false, "xyz)", "ab"),
            ("(", false, "x)bc", "stop"),
            ("()", true, "", "ab"),
            ("() \n", false, "", "ab"),
            ("() and (then", true, "", "(ab"),
            ("hi", true, "", "(ab"),
            ("hi", true, "(", "thinks"),
            ("hi", true, "(()", "ab"),
            ("hi", true, "a", "c"),
        ];
        for (prompt, may_think, answer, expected) in cases {
            let commanded = commanded(prompt, may_think, answer).expect("a command");
            assert_eq!(commanded, expected, "{prompt:?} {may_think} {answer:?}");
        }
        assert!(commanded("hi", false, "(").is_err());
        // `<` takes a token back.
        for (prompt, may_think, answer, expected) in [
            ("hi", false, "a<", "ab"),
            ("hi", false, "a<b", "c"),
            ("hi", true, "a<", "(ab"),
            ("hi", true, "(<", "(ab"),
            ("(", false, "x)a<<", "thinks"),
            ("(", false, "x)a<<)", "ab"),
            ("(", false, "x)<<<", "thinks"),
            ("hi", true, "(x)b<<<<b", "c"),
        ] {
            let commanded = commanded(prompt, may_think, answer).expect("a command");
            assert_eq!(commanded, expected, "{prompt:?} {may_think} {answer:?}");
        }
        assert!(commanded("(", false, ")(").is_err());
    }
}
