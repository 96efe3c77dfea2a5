//! The vocabulary in the form that llguidance walks: a trie of the bytes of all tokens.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::toktrie::{INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};

use super::Error;
use crate::model::{Encode, Special, Token, Vocabulary};

/// The trie has no place for deeper nodes. A token this long is text that no grammar misses.
const PIECE_BYTES_MAX: usize = 1000;

/// Texts that a tokeniser that can force tokens takes apart and puts together again. Some put a space in front of
/// every text; what they make of a text is not what stands in the middle of one.
const PROBES: [&str; 6] = ["a", " a", "{\"a\": 1}", "0.5", "\n\n", "é"];

/// The trie of a vocabulary, and its tokeniser.
struct Environment {
    trie: TokTrie,
    vocabulary: Arc<dyn Vocabulary>,
    canonical: bool,
}

/// Builds the trie of a vocabulary: some milliseconds for a thousand tokens.
pub(super) fn build(vocabulary: Arc<dyn Vocabulary>) -> Result<TokEnv, Error> {
    let size = vocabulary.size();
    let ends: Vec<Token> = (0..size).filter(|&token| vocabulary.is_end(token)).collect();
    let words: Vec<Vec<u8>> = (0..size).map(|token| word(vocabulary.as_ref(), token)).collect();
    if words.iter().all(Vec::is_empty) {
        return Err(Error::Vocabulary("it has no tokens with text".into()));
    }
    let info = TokRxInfo {
        tok_bos: vocabulary.special(Special::Bos),
        ..TokRxInfo::new(size, ends.first().copied().unwrap_or(INVALID_TOKEN))
    };
    // The trie asserts its own limits: 16 M tokens, 4 M nodes.
    let trie = catch_unwind(AssertUnwindSafe(|| {
        let trie = TokTrie::from(&info, &words);
        if ends.len() > 1 { trie.with_eos_tokens(&ends) } else { trie }
    }));
    let trie = trie.map_err(|_| Error::Vocabulary(format!("its {size} tokens are too many or too long")))?;
    let canonical = PROBES.iter().all(|probe| {
        let tokens = vocabulary.encode(probe, Encode::default()).unwrap_or_default();
        let pieces = tokens.iter().flat_map(|&token| vocabulary.piece(token));
        pieces.eq(probe.as_bytes())
    });
    Ok(Arc::new(Environment { trie, vocabulary, canonical }))
}

/// The bytes under which a token stands in the trie. Markup stands under a byte that no text has, so that only a
/// grammar that names it allows it.
fn word(vocabulary: &dyn Vocabulary, token: Token) -> Vec<u8> {
    let piece = vocabulary.piece(token);
    if piece.len() > PIECE_BYTES_MAX {
        return Vec::new();
    }
    if vocabulary.is_control(token) || vocabulary.is_end(token) {
        return [&[TokTrie::SPECIAL_TOKEN_MARKER], piece].concat();
    }
    piece.to_vec()
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<Token> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            let tokens = self.vocabulary.encode(text, Encode::default()).unwrap_or_default();
            let same = tokens.iter().flat_map(|&token| self.vocabulary.piece(token)).eq(text.as_bytes());
            if same { tokens } else { self.trie.greedy_tokenize(text.as_bytes()) }
        })
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.canonical
    }
}
