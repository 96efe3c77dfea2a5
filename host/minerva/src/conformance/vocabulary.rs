//! A vocabulary that is small and has everything that a real one has: bytes, words, markup, parts of characters.

use minerva_engine::model::{Encode, Error, Special, Token, Vocabulary};

const WORDS: [&str; 40] = [
    " the", " a", " and", " of", " to", " is", " in", " it", " that", " was", " owl", " fox", " Hello",
    "Hello", " world", " not", "ing", "ed", " un", "the", " The", "\n\n", "  ", "    ", " 1", "12", "2026",
    ".\n", ", ", "://", "```", "**", "{\"", "\":", "\"}", "],", " größe", "日本", "🦉", " 🙂",
];

const MARKUP: [&str; 6] = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"];

/// The 256 bytes, forty words, and markup.
pub struct SmallVocabulary {
    pieces: Vec<Vec<u8>>,
    has_roles: bool,
}

impl SmallVocabulary {
    /// One whose markup has all the roles there are.
    #[must_use]
    pub fn new() -> Self {
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
        let texts = WORDS.iter().chain(&MARKUP).map(|text| text.as_bytes().to_vec());
        Self { pieces: bytes.chain(texts).collect(), has_roles: true }
    }

    /// One in which no token has a role, bar the end of the sequence: some models are like that.
    #[must_use]
    pub fn bare() -> Self {
        Self { has_roles: false, ..Self::new() }
    }

    fn first_markup(&self) -> usize {
        self.pieces.len() - MARKUP.len()
    }

    fn markup(&self, text: &str) -> Option<Token> {
        let at = MARKUP.iter().position(|markup| *markup == text)?;
        Token::try_from(self.first_markup() + at).ok()
    }
}

impl Default for SmallVocabulary {
    fn default() -> Self {
        Self::new()
    }
}

impl Vocabulary for SmallVocabulary {
    fn size(&self) -> u32 {
        u32::try_from(self.pieces.len()).unwrap_or(u32::MAX)
    }

    fn encode(&self, text: &str, how: Encode) -> Result<Vec<Token>, Error> {
        let (words, all) = (self.first_markup(), self.pieces.len());
        let known = if how.parse_special { all } else { words };
        let (mut tokens, mut rest) = (Vec::new(), text.as_bytes());
        while let Some(&first) = rest.first() {
            let fits = |at: &usize| rest.starts_with(&self.pieces[*at]);
            let best = (256..known).filter(fits).max_by_key(|&at| self.pieces[at].len());
            let token = best.map_or(Token::from(first), |at| Token::try_from(at).unwrap_or(0));
            rest = &rest[self.pieces[token as usize].len()..];
            tokens.push(token);
        }
        Ok(tokens)
    }

    fn piece(&self, token: Token) -> &[u8] {
        self.pieces.get(token as usize).map_or(&[], Vec::as_slice)
    }

    fn is_control(&self, token: Token) -> bool {
        (self.first_markup()..self.pieces.len()).contains(&(token as usize))
    }

    fn is_end(&self, token: Token) -> bool {
        Some(token) == self.markup("</s>") || Some(token) == self.markup("<|im_end|>")
    }

    fn special(&self, role: Special) -> Option<Token> {
        match role {
            Special::Eos => self.markup("</s>"),
            _ if !self.has_roles => None,
            Special::Bos => self.markup("<s>"),
            Special::Eot => self.markup("<|im_end|>"),
            Special::ThinkStart => self.markup("<think>"),
            Special::ThinkEnd => self.markup("</think>"),
            _ => None,
        }
    }
}
