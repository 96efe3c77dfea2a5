//! Tokens to text: bytes to whole characters, and stop texts held back until it is sure that they are none.

use std::sync::Arc;

use crate::model::{Token, Vocabulary};

/// Turns the tokens of one answer into its text.
pub struct TextDecoder {
    vocabulary: Arc<dyn Vocabulary>,
    stops: Vec<String>,
    /// Control tokens whose text is wanted.
    shown: Arc<[Token]>,
    /// Bytes that are not yet a character.
    bytes: Vec<u8>,
    /// Text that may be the beginning of a stop text.
    held: String,
}

/// What became of the text with one more token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Text that is final.
    pub text: String,
    /// The stop text that was found: nothing follows.
    pub stop: Option<String>,
}

impl TextDecoder {
    /// A decoder that ends at any of the given texts; empty ones are ignored.
    #[must_use]
    pub fn new(vocabulary: Arc<dyn Vocabulary>, mut stops: Vec<String>) -> Self {
        stops.retain(|stop| !stop.is_empty());
        Self { vocabulary, stops, shown: Arc::default(), bytes: Vec::new(), held: String::new() }
    }

    /// Shows the text of these control tokens: markup that somebody reads on the way.
    #[must_use]
    pub fn showing(self, shown: Arc<[Token]>) -> Self {
        Self { shown, ..self }
    }

    /// Takes the next token. Control tokens and those that end a generation have no text.
    pub fn push(&mut self, token: Token) -> Decoded {
        let is_hidden = self.vocabulary.is_control(token) && !self.shown.contains(&token);
        if !is_hidden && !self.vocabulary.is_end(token) {
            self.bytes.extend_from_slice(self.vocabulary.piece(token));
        }
        take_characters(&mut self.bytes, &mut self.held);
        self.release()
    }

    /// The text that was held back; no token follows.
    pub fn finish(&mut self) -> Decoded {
        let rest = String::from_utf8_lossy(&self.bytes).into_owned();
        self.bytes.clear();
        self.held.push_str(&rest);
        let mut decoded = self.release();
        if decoded.stop.is_none() {
            decoded.text.push_str(&std::mem::take(&mut self.held));
        }
        decoded
    }

    /// Takes from the held text what no stop text can begin in, or all before a stop text.
    fn release(&mut self) -> Decoded {
        let found = self.stops.iter().filter_map(|stop| Some((self.held.find(stop.as_str())?, stop)));
        if let Some((at, stop)) = found.min_by_key(|(at, stop)| (*at, std::cmp::Reverse(stop.len()))) {
            let text = self.held[..at].to_owned();
            let stop = Some(stop.clone());
            self.held.clear();
            return Decoded { text, stop };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let text = self.held.drain(..self.held.len() - keep).collect();
        Decoded { text, stop: None }
    }
}

/// Moves whole characters from bytes to text; bytes that cannot become one turn into U+FFFD.
fn take_characters(bytes: &mut Vec<u8>, text: &mut String) {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(valid) => {
                text.push_str(valid);
                bytes.clear();
                return;
            }
            Err(error) => {
                let valid = error.valid_up_to();
                text.push_str(&String::from_utf8_lossy(&bytes[..valid]));
                let Some(invalid) = error.error_len() else {
                    bytes.drain(..valid);
                    return;
                };
                text.push(char::REPLACEMENT_CHARACTER);
                bytes.drain(..valid + invalid);
            }
        }
    }
}

/// The length of the longest end of `text` that `stop` begins with.
pub(crate) fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    let begins = |&length: &usize| {
        let start = text.len() - length;
        text.is_char_boundary(start) && stop.as_bytes().starts_with(&text.as_bytes()[start..])
    };
    (1..=longest).rev().find(begins).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fake::ByteVocabulary;

    /// Feeds bytes as tokens of one byte each; pieces are joined by `|`, a stop is in brackets.
    fn decode(bytes: &[u8], stops: &[&str]) -> String {
        let stops = stops.iter().map(ToString::to_string).collect();
        let mut decoder = TextDecoder::new(Arc::new(ByteVocabulary::new()), stops);
        let mut pieces = Vec::new();
        for &byte in bytes {
            let decoded = decoder.push(Token::from(byte));
            if !decoded.text.is_empty() {
                pieces.push(decoded.text);
            }
            if let Some(stop) = decoded.stop {
                return format!("{}[{stop}]", pieces.join("|"));
            }
        }
        let decoded = decoder.finish();
        if !decoded.text.is_empty() {
            pieces.push(decoded.text);
        }
        pieces.join("|")
    }

    #[test]
    fn characters_are_whole_and_stops_are_held_back() {
        let cases: [(&[u8], &[&str], &str); 9] = [
            (b"ab", &[], "a|b"),
            ("aé€".as_bytes(), &[], "a|é|€"),
            (b"a\xffb", &[], "a|\u{fffd}|b"),
            (b"a\xe2\x82", &[], "a|\u{fffd}"),
            (b"one STOP two", &["STOP"], "o|n|e| [STOP]"),
            (b"a STOx", &["STOP"], "a| |STOx"),
            (b"a ST", &["STOP"], "a| |ST"),
            (b"aab", &["ab"], "a[ab]"),
            (b"x\n\nUser:", &["\nUser:", "\n\n"], "x[\n\n]"),
        ];
        for (bytes, stops, expected) in cases {
            assert_eq!(decode(bytes, stops), expected, "{bytes:?} {stops:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_join_to_the_text_before_the_first_stop(text in "[abé]{0,40}", stop in "[abé]{1,4}") {
            let expected = text.split(&stop).next().unwrap_or_default();
            let decoded = decode(text.as_bytes(), &[&stop]).replace('|', "");
            prop_assert_eq!(decoded.split('[').next().unwrap_or_default(), expected);
        }

        #[test]
        fn any_bytes_decode_as_the_lossy_conversion_does(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let expected = String::from_utf8_lossy(&bytes).replace('|', "");
            prop_assert_eq!(decode(&bytes, &[]).replace('|', ""), expected);
        }
    }
}
