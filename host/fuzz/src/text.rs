//! Tokens to text: whatever bytes they have, the text is what they decode to, up to the first stop text.
//!
//! The bytes up to the first line break are stop texts with `|` between them; the rest is the answer.

use std::sync::Arc;

use minerva_engine::decoder::TextDecoder;
use minerva_engine::fake::ByteVocabulary;
use minerva_engine::model::Token;

/// Decodes an answer byte by byte.
///
/// # Panics
///
/// When something else comes out than the text in front of a stop text, or one gets through.
pub fn check(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let stops: Vec<String> = String::from_utf8_lossy(&bytes[..end]).split('|').map(Into::into).collect();
    let whole = String::from_utf8_lossy(&bytes[end + 1..]);
    let mut decoder = TextDecoder::new(Arc::new(ByteVocabulary::new()), stops.clone());
    let (mut text, mut found) = (String::new(), None);
    for &byte in &bytes[end + 1..] {
        let decoded = decoder.push(Token::from(byte));
        text.push_str(&decoded.text);
        found = decoded.stop;
        if found.is_some() {
            break;
        }
    }
    if found.is_none() {
        let decoded = decoder.finish();
        text.push_str(&decoded.text);
        found = decoded.stop;
    }
    let through = stops.iter().find(|stop| !stop.is_empty() && text.contains(stop.as_str()));
    assert_eq!(through, None, "{stops:?} in {whole:?} gives {text:?}");
    match found {
        Some(stop) => {
            assert!(stops.contains(&stop));
            let rest = whole.strip_prefix(text.as_str());
            let is_next = rest.is_some_and(|rest| rest.starts_with(&stop));
            assert!(is_next, "{stops:?} in {whole:?} gives {text:?} and {stop:?}");
        }
        None => assert_eq!(text, whole, "{stops:?}"),
    }
}
