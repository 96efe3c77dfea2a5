//! Sources to grammars.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::toktrie::InferenceCapabilities;
use llguidance::toktrie::TokEnv;
use llguidance::{Logger, ParserFactory};
use serde_json::Value;

use super::matcher::Matcher;
use super::{Error, Kind, Limits, gbnf, schema, tools, trie};
use crate::model::Vocabulary;

/// The stack that a grammar is compiled on. Only what is used of it takes memory.
const STACK_BYTES: usize = 64 << 20;

/// The deepest nesting of brackets in Lark.
const NESTING_MAX: usize = 500;

/// Compiles grammars for one vocabulary. What it needs of the vocabulary takes a while to build for a large one, so
/// it is built once, and by the first who compiles.
pub struct Compiler {
    vocabulary: Arc<dyn Vocabulary>,
    limits: Limits,
    factory: OnceLock<Result<ParserFactory, Error>>,
    /// What was compiled lately, latest last.
    kept: Mutex<VecDeque<Kept>>,
}

/// What a grammar was compiled from, and what became of it.
struct Kept {
    kind: Kind,
    source: Arc<str>,
    lexer_states_max: usize,
    grammar: Grammar,
}

/// A compiled grammar. Clones share it.
#[derive(Clone)]
pub struct Grammar {
    fresh: Arc<llguidance::Matcher>,
    tokens: TokEnv,
}

impl Compiler {
    /// A compiler for a vocabulary.
    #[must_use]
    pub fn new(vocabulary: Arc<dyn Vocabulary>, limits: Limits) -> Self {
        Self { vocabulary, limits, factory: OnceLock::new(), kept: Mutex::default() }
    }

    /// Does what the first compilation would have to do for the vocabulary: on a large one some hundred milliseconds.
    pub fn prepare(&self) {
        // Who compiles is told of an error.
        let _ = self.factory();
    }

    /// Compiles a grammar, or finds it among those compiled lately. Takes from under a millisecond to some tens of
    /// them; never called on the engine's thread.
    ///
    /// # Errors
    ///
    /// When the source means nothing, asks for what cannot be obeyed, or is beyond a limit, and when the vocabulary is
    /// of no use. The error says where the source is wrong, where that is known.
    pub fn compile(&self, kind: Kind, source: &str) -> Result<Grammar, Error> {
        self.compile_within(kind, source, self.limits.lexer_states_max)
    }

    /// [`Compiler::compile`] with another limit in the place of [`Limits::lexer_states_max`], which is what bounds the
    /// memory of a matcher: 1 to 2 KB for each state.
    ///
    /// # Errors
    ///
    /// As [`Compiler::compile`].
    pub fn compile_within(
        &self,
        kind: Kind,
        source: &str,
        lexer_states_max: usize,
    ) -> Result<Grammar, Error> {
        let source = if kind == Kind::JsonObject { "" } else { source };
        if source.len() > self.limits.source_bytes_max {
            return Err(Error::TooLong { kind, bytes: source.len(), limit: self.limits.source_bytes_max });
        }
        if let Some(grammar) = self.find(kind, source, lexer_states_max) {
            return Ok(grammar);
        }
        let grammar = with_stack(|| self.build(kind, source, lexer_states_max))??;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(Kept { kind, source: source.into(), lexer_states_max, grammar: grammar.clone() });
        while kept.len() > self.limits.kept {
            kept.pop_front();
        }
        Ok(grammar)
    }

    fn find(&self, kind: Kind, source: &str, lexer_states_max: usize) -> Option<Grammar> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is = |known: &Kept| {
            (known.kind, known.lexer_states_max) == (kind, lexer_states_max) && *known.source == *source
        };
        let at = kept.iter().position(is)?;
        let found = kept.remove(at)?;
        let grammar = found.grammar.clone();
        kept.push_back(found);
        Some(grammar)
    }

    fn factory(&self) -> Result<&ParserFactory, Error> {
        let factory = self.factory.get_or_init(|| factory(Arc::clone(&self.vocabulary), &self.limits));
        factory.as_ref().map_err(Clone::clone)
    }

    fn build(&self, kind: Kind, source: &str, lexer_states_max: usize) -> Result<Grammar, Error> {
        let factory = self.factory()?;
        let (parsed, schema) = match kind {
            Kind::JsonSchema => {
                let schema = schema::parse(source)?;
                (TopLevelGrammar::from_json_schema(schema::prepared(&schema)), Some(schema))
            }
            Kind::JsonObject => (TopLevelGrammar::from_json_schema(schema::any_object()), None),
            Kind::Regex => (TopLevelGrammar::from_regex(source), None),
            Kind::Lark => {
                check_nesting(source)?;
                (TopLevelGrammar::from_lark(source.to_owned()), None)
            }
            Kind::ToolCall | Kind::ToolCalls => {
                (TopLevelGrammar::from_lark(tools::to_lark(kind, source)?), None)
            }
            Kind::Gbnf => (TopLevelGrammar::from_lark(gbnf::to_lark(source)?), None),
        };
        let parser = factory.create_parser_from_init_ext(
            GrammarInit::Serialized(parsed),
            Logger::new(factory.buffer_log_level(), factory.stderr_log_level()),
            InferenceCapabilities::default(),
            ParserLimits { max_lexer_states: lexer_states_max, ..factory.limits().clone() },
        );
        let matcher = llguidance::Matcher::new(parser);
        if let Some(error) = matcher.get_error() {
            return Err(refusal(kind, schema.as_ref(), &first_line(&error)));
        }
        Ok(Grammar { fresh: Arc::new(matcher), tokens: factory.tok_env().clone() })
    }
}

/// Runs on a stack of its own. llguidance recurses as deep as an object has properties: an ordinary thread's 2 MiB
/// overflow at some thousands of them, which ends the process.
///
/// # Errors
///
/// When there is no thread, or the work panics.
pub fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("minerva-grammar".into()).stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, work);
        let running =
            running.map_err(|error| Error::TooComplex(format!("no thread could be started: {error}")))?;
        running.join().map_err(|_| Error::TooComplex("it is beyond what the grammar library can do".into()))
    })
}

/// Refuses parentheses nested deeper than a parser that recurses should go. Those in texts count as well.
fn check_nesting(source: &str) -> Result<(), Error> {
    let mut depth = 0_usize;
    for (line, text) in source.lines().enumerate() {
        for character in text.chars() {
            match character {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > NESTING_MAX {
                let place = format!("line {}", line + 1);
                let message = format!("brackets are nested deeper than {NESTING_MAX}");
                return Err(Error::Invalid { kind: Kind::Lark, place, message });
            }
        }
    }
    Ok(())
}

/// What llguidance needs of a vocabulary.
fn factory(vocabulary: Arc<dyn Vocabulary>, limits: &Limits) -> Result<ParserFactory, Error> {
    let tokens = trie::build(vocabulary)?;
    let factory = catch_unwind(AssertUnwindSafe(|| ParserFactory::new_simple(&tokens)));
    let mut factory = match factory {
        Ok(Ok(factory)) => factory,
        Ok(Err(error)) => return Err(Error::Vocabulary(first_line(&error.to_string()))),
        Err(_) => return Err(Error::Vocabulary("it is too large".into())),
    };
    factory.quiet();
    *factory.limits_mut() = ParserLimits {
        initial_lexer_fuel: limits.compile_fuel,
        step_lexer_fuel: limits.step_fuel,
        step_max_items: limits.step_items_max,
        max_lexer_states: limits.lexer_states_max,
        max_grammar_size: limits.symbols_max,
        // Errors go to clients: no dumps of the parser in them.
        verbose_errors: false,
        ..ParserLimits::default()
    };
    Ok(factory)
}

impl Grammar {
    /// Follows a sequence from its start.
    #[must_use]
    pub fn matcher(&self) -> Matcher {
        Matcher::new(self.fresh.deep_clone(), self.tokens.clone())
    }
}

/// What llguidance refused, with the place: of a schema it says none, of Lark it says `at 3(7): …` and shows the lines.
fn refusal(kind: Kind, schema: Option<&Value>, said: &str) -> Error {
    if let Some(schema) = schema {
        return Error::Invalid { kind, place: schema::locate(schema, said), message: said.to_owned() };
    }
    let position = said.strip_prefix("at ").and_then(|rest| rest.split_once("): "));
    let position = position.and_then(|(position, rest)| Some((position.split_once('(')?, rest)));
    let Some(((line, column), rest)) = position else {
        return Error::Invalid { kind, place: String::new(), message: said.to_owned() };
    };
    // Of a grammar that was rewritten, the place is not one that its author knows.
    let place = if kind == Kind::Lark { format!("line {line}, column {column}") } else { String::new() };
    let message = rest.lines().next().unwrap_or_default().to_owned();
    Error::Invalid { kind, place, message }
}

/// What llguidance says, without what it appends for its own developers.
pub(super) fn first_line(message: &str) -> String {
    let end =
        ["\n<state>", "\n<backtrace>", "<non-verbose/>"].iter().filter_map(|mark| message.find(mark)).min();
    let message = message[..end.unwrap_or(message.len())].trim();
    if message.starts_with("panic:") {
        return "it is beyond what the grammar library can do".into();
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::ByteVocabulary;

    #[test]
    fn the_latest_grammars_are_kept() {
        let limits = Limits { kept: 2, ..Limits::default() };
        let compiler = Compiler::new(Arc::new(ByteVocabulary::new()), limits);
        let shared = |source: &str| compiler.compile(Kind::Regex, source).unwrap().fresh;
        let first = shared("a");
        shared("b");
        assert!(Arc::ptr_eq(&shared("a"), &first));
        shared("c");
        assert!(Arc::ptr_eq(&shared("a"), &first), "b was the oldest");
        assert_eq!(compiler.kept.lock().unwrap().len(), 2);
    }
}
