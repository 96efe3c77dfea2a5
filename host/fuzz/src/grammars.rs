//! Sources of grammars, and texts that follow them: what cannot be obeyed is refused, and a mask allows a token if and only
//! if it can be committed.
//!
//! The first byte chooses the notation; the source goes to the first zero byte, and the rest is a text.

use std::sync::{Arc, OnceLock};

use minerva_engine::fake::ByteVocabulary;
use minerva_engine::grammar::{Compiler, Kind, Limits};
use minerva_engine::model::Token;

const KINDS: [Kind; 5] = [Kind::JsonSchema, Kind::Regex, Kind::Lark, Kind::Gbnf, Kind::ToolCalls];

/// The most tokens that a text has here: of longer ones nothing new is learned.
const TOKENS_MAX: usize = 64;

/// Compiles a grammar, and lets a text follow it as far as it goes.
///
/// # Panics
///
/// When an error says nothing, or the mask and the matcher disagree.
pub fn check(bytes: &[u8]) {
    static COMPILER: OnceLock<Compiler> = OnceLock::new();
    let compiler = COMPILER.get_or_init(|| {
        // Small: what takes long here finds nothing that is worth it.
        let limits = Limits { source_bytes_max: 4 << 10, kept: 1, ..Limits::default() };
        Compiler::new(Arc::new(ByteVocabulary::new()), limits)
    });
    let [choice, rest @ ..] = bytes else { return };
    let kind = KINDS[usize::from(choice.wrapping_sub(b'a')) % KINDS.len()];
    let mut halves = rest.splitn(2, |byte| *byte == 0);
    let Ok(source) = std::str::from_utf8(halves.next().unwrap_or_default()) else { return };
    let grammar = match compiler.compile(kind, source) {
        Ok(grammar) => grammar,
        Err(error) => return assert!(!error.to_string().is_empty(), "{kind:?}: {source:?}"),
    };
    let mut matcher = grammar.matcher();
    for &byte in halves.next().unwrap_or_default().iter().take(TOKENS_MAX) {
        // A grammar may need more steps than it is given; that is an error, and a generation ends with it.
        let Ok(mask) = matcher.allowed() else { return };
        let token = Token::from(byte);
        let allowed = mask.has(token);
        let committed = matcher.commit(&[token]).is_ok();
        assert!(allowed || !committed, "{kind:?}: {source:?} commits {byte}, which its mask forbids");
        if !committed {
            return;
        }
    }
}
