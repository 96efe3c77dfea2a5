//! The vocabulary.

use super::super::{Array, Gguf, Kind, Value};
use super::{Problem, problem};

const TOKENS: &str = "tokenizer.ggml.tokens";

/// The vocabulary's size, if the file has one.
pub(super) fn size(gguf: &Gguf) -> Option<u64> {
    Some(gguf.get(TOKENS)?.as_array()?.length)
}

pub(super) fn check(gguf: &Gguf) -> Result<(), Problem> {
    let Some(model) = gguf.text("tokenizer.ggml.model") else {
        return problem("tokenizer.ggml.model", "is missing, or no text");
    };
    if matches!(model, "none" | "no_vocab") {
        return Ok(());
    }
    let tokens = match gguf.get(TOKENS) {
        Some(Value::Array(array)) if array.kind == Kind::Text && array.length > 0 => array,
        _ => return problem(TOKENS, "is missing, or no array of texts"),
    };
    if tokens.length > 1 << 24 {
        return problem(TOKENS, format!("has {} texts", tokens.length));
    }
    unique(tokens)?;
    columns(gguf, tokens.length)?;
    specials(gguf, tokens.length)?;
    if model == "llama" {
        bytes(tokens)?;
    }
    Ok(())
}

/// A token as llama.cpp reads it: only up to a zero byte.
fn as_read(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// llama.cpp stops the process on two tokens of one text. Empty ones it names apart.
fn unique(tokens: Array<'_>) -> Result<(), Problem> {
    // Sorted places instead of a set of texts: a small part of the memory.
    let mut order = Vec::with_capacity(usize::try_from(tokens.length).unwrap_or(0));
    order.extend(tokens.places());
    order.sort_unstable_by_key(|&place| as_read(tokens.text_at(place)));
    for pair in order.windows(2) {
        let piece = as_read(tokens.text_at(pair[0]));
        if !piece.is_empty() && piece == as_read(tokens.text_at(pair[1])) {
            let shown = piece[..piece.len().min(40)].escape_ascii();
            let number = |place| tokens.places().position(|other| other == place).unwrap_or(0);
            let (one, other) = (number(pair[0]), number(pair[1]));
            let what = format!("has `{shown}` twice, as {} and as {}", one.min(other), one.max(other));
            return problem(TOKENS, what);
        }
    }
    Ok(())
}

/// What stands beside each token.
fn columns(gguf: &Gguf, tokens: u64) -> Result<(), Problem> {
    for (key, kinds) in
        [("tokenizer.ggml.scores", &[Kind::F32][..]), ("tokenizer.ggml.token_type", &[Kind::I32, Kind::U32])]
    {
        match gguf.get(key) {
            None => {}
            Some(Value::Array(array)) if kinds.contains(&array.kind) && array.length >= tokens => {}
            Some(Value::Array(array)) => {
                let what =
                    format!("has {} values of kind {:?} for {tokens} tokens", array.length, array.kind);
                return problem(key, what);
            }
            Some(_) => return problem(key, "is no array"),
        }
    }
    match gguf.get("tokenizer.ggml.merges") {
        None => Ok(()),
        Some(Value::Array(array)) if array.kind == Kind::Text => Ok(()),
        Some(_) => problem("tokenizer.ggml.merges", "is no array of texts"),
    }
}

fn specials(gguf: &Gguf, tokens: u64) -> Result<(), Problem> {
    let named = |key: &str| key.starts_with("tokenizer.ggml.") && key.ends_with("_token_id");
    for (key, value) in gguf.entries().filter(|(key, _)| named(key)) {
        // Some converters write the largest number for "none"; llama.cpp ignores what is out of range.
        match value {
            Value::Unsigned(token) if token < tokens || token == u64::from(u32::MAX) => {}
            Value::Negative(-1) => {}
            Value::Unsigned(token) => return problem(key, format!("is {token}, of {tokens} tokens")),
            _ => return problem(key, "is no number of a token"),
        }
    }
    Ok(())
}

/// SentencePiece spells in bytes what it has no token for. llama.cpp throws, through C, where a byte has none either.
fn bytes(tokens: Array<'_>) -> Result<(), Problem> {
    let mut there = [false; 256];
    for piece in tokens.places().map(|place| as_read(tokens.text_at(place))) {
        if let [byte] = piece {
            there[usize::from(*byte)] = true;
        } else if let Some(byte) = named_byte(piece) {
            there[usize::from(byte)] = true;
        }
    }
    match there.iter().position(|there| !there) {
        Some(byte) => problem(TOKENS, format!("has no token for the byte 0x{byte:02X}")),
        None => Ok(()),
    }
}

/// The byte in `<0x0A>`.
fn named_byte(piece: &[u8]) -> Option<u8> {
    let digits = piece.strip_prefix(b"<0x")?.strip_suffix(b">").filter(|digits| digits.len() == 2)?;
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| !digits.contains(|c: char| c.is_lowercase()))?;
    u8::from_str_radix(digits, 16).ok()
}
