//! Structured output: what may come next, from a JSON schema, a regular expression, or a grammar in Lark's or
//! llama.cpp's notation. llguidance does the parsing; here are its limits, its errors in our words, and a matcher for
//! one sequence.
//!
//! A [`Compiler`] belongs to a vocabulary, a [`Grammar`] is compiled once and shared, a [`Matcher`] follows one
//! sequence. Nothing here fails open: what cannot be obeyed exactly is refused when it is compiled, and a matcher
//! that can go nowhere is an error.
//!
//! ```
//! use std::sync::Arc;
//! use minerva_engine::fake::ByteVocabulary;
//! use minerva_engine::grammar::{Compiler, Kind, Limits};
//!
//! let compiler = Compiler::new(Arc::new(ByteVocabulary::new()), Limits::default());
//! let mut matcher = compiler.compile(Kind::Regex, "ya?(es)?")?.matcher();
//! assert!(matcher.allowed()?.has(u32::from(b'y')));
//! matcher.commit(&[u32::from(b'y'), u32::from(b'e')])?;
//! assert_eq!(matcher.forced(), [u32::from(b's')]);
//! # Ok::<(), minerva_engine::grammar::Error>(())
//! ```

mod compiler;
mod gbnf;
mod matcher;
mod schema;
mod tools;
mod trie;

use std::fmt;
use std::str::FromStr;

pub use compiler::{Compiler, Grammar, with_stack};
pub use matcher::Matcher;

/// The notation of a grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A JSON schema, as JSON text. What of the standard is obeyed is llguidance's list; the rest is refused.
    JsonSchema,
    /// Any JSON object. The source is not read.
    JsonObject,
    /// A regular expression that the whole text matches, in the syntax of the crate `regex`.
    Regex,
    /// Lark's notation, with llguidance's extensions (`%json {…}`, special tokens).
    Lark,
    /// llama.cpp's notation, in which `root` is the whole text.
    ///
    /// It is rewritten as Lark. Rules that are not recursive, and what can be joined of the others, become regular
    /// expressions and are exact. Between those, where the text could be cut in two ways, the longer first piece is
    /// taken, so that some texts of an ambiguous recursive grammar cannot be generated. References to tokens
    /// (`<name>`, `<[id]>`) are refused.
    Gbnf,
    /// One call of one of some tools, in the form that Hermes and Qwen models are trained on:
    /// `<tool_call>\n{"name": …, "arguments": …}\n</tool_call>`. The source is OpenAI's array `tools`.
    ToolCall,
    /// One or more such calls, one a line.
    ToolCalls,
}

impl Kind {
    const NAMES: [(&'static str, Self); 7] = [
        ("json-schema", Self::JsonSchema),
        ("json-object", Self::JsonObject),
        ("regex", Self::Regex),
        ("lark", Self::Lark),
        ("gbnf", Self::Gbnf),
        ("tool-call", Self::ToolCall),
        ("tool-calls", Self::ToolCalls),
    ];

    /// Its name, as plugins and flags write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The notation of a text where llama.cpp's programs take either: Lark if it begins with `%llguidance`.
    #[must_use]
    pub fn of_llama(text: &str) -> Self {
        if text.starts_with("%llguidance") { Self::Lark } else { Self::Gbnf }
    }

    /// What it is, in words for an error.
    fn title(self) -> &'static str {
        match self {
            Self::JsonSchema => "JSON schema",
            Self::JsonObject => "JSON object",
            Self::Regex => "regular expression",
            Self::Lark => "Lark grammar",
            Self::Gbnf => "GBNF grammar",
            Self::ToolCall | Self::ToolCalls => "definition of the tools",
        }
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    /// Hyphens may be underscores.
    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        let wanted = name.replace('_', "-");
        let found = Self::NAMES.iter().find(|(known, _)| *known == wanted);
        found.map(|(_, kind)| *kind).ok_or(UnknownKind)
    }
}

/// There is no such kind of grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kinds of grammar are json-schema, json-object, regex, lark, gbnf, tool-call and tool-calls")]
pub struct UnknownKind;

/// How much a grammar may cost. What is beyond is refused, before anything runs or in the step that it would take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of source. Default 64 KiB: some sources cost the square of their length.
    pub source_bytes_max: usize,
    /// Most symbols in the productions of the compiled grammar. Default 200,000.
    pub symbols_max: usize,
    /// Work that compiling the regular expressions may take, in nodes built (about 50,000 a millisecond).
    /// Default 1,000,000.
    pub compile_fuel: u64,
    /// Most states of the lexer of one sequence, of 1 to 2 KB each, built as they are needed. Default 50,000.
    pub lexer_states_max: usize,
    /// Work of the lexer for the mask of one step (about 14,000 a millisecond). Default 200,000.
    pub step_fuel: u64,
    /// Items of the parser for the mask of one step (about 20,000 a millisecond). Default 50,000.
    pub step_items_max: usize,
    /// Compiled grammars that are kept for the next request with the same source. Default 16.
    pub kept: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            source_bytes_max: 64 << 10,
            symbols_max: 200_000,
            compile_fuel: 1_000_000,
            lexer_states_max: 50_000,
            step_fuel: 200_000,
            step_items_max: 50_000,
            kept: 16,
        }
    }
}

/// What can go wrong with a grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It means nothing, or something that cannot be obeyed.
    #[error("the {} cannot be used{}: {message}", .kind.title(), at(.place))]
    Invalid {
        /// Its notation.
        kind: Kind,
        /// Where in the source: a JSON pointer, a line and column. Empty where that is not known.
        place: String,
        /// What is wrong there.
        message: String,
    },
    /// Its source is too long.
    #[error("the {} has {bytes} bytes, and the limit is {limit}", .kind.title())]
    TooLong {
        /// Its notation.
        kind: Kind,
        /// Its bytes.
        bytes: usize,
        /// The most it may have.
        limit: usize,
    },
    /// The model's vocabulary is of no use for grammars.
    #[error("the model's vocabulary cannot be used with grammars: {0}")]
    Vocabulary(String),
    /// Nothing may come next, not even the end. The generation cannot go on.
    #[error("the grammar allows no token of the model here")]
    Stuck,
    /// A token came that may not come here.
    #[error("the grammar does not allow token {token} ({piece:?}) here")]
    Rejected {
        /// The token.
        token: crate::model::Token,
        /// What it stands for.
        piece: String,
    },
    /// Going on costs more than it may.
    #[error("the grammar is too complex to go on: {0}")]
    TooComplex(String),
}

fn at(place: &str) -> impl fmt::Display {
    if place.is_empty() { String::new() } else { format!(", at {place}") }
}
