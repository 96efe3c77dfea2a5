//! Vocabularies: made ones, in which every text goes in and comes out unchanged, and copies.

use std::collections::HashSet;
use std::path::Path;

use super::random::Random;
use crate::gguf::write::Header;
use crate::gguf::{self, Gguf};

/// A template in the common ChatML form, for the tokens that a made vocabulary has.
const CHAT_TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}\
    <|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Frequent words, so that English is not spelled letter by letter.
const WORDS: &str = "the of and to in is you that it he was for on are as with his they at be this have from or one had \
    by word but not what all were we when your can said there use an each which she do how their if will up other about \
    out many then them these so some her would make like him into time has look two more write go see number no way \
    could people my than first water been call who oil its now find long down day did get come made may part";

/// The kinds of token, as the file numbers them.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// Tokens in the making.
#[derive(Default)]
struct Tokens {
    pieces: Vec<String>,
    kinds: Vec<i32>,
    seen: HashSet<String>,
}

impl Tokens {
    /// Adds a token unless there is one of the same text, and says whether it did.
    fn add(&mut self, piece: String, kind: i32) -> bool {
        let new = self.seen.insert(piece.clone());
        if new {
            self.pieces.push(piece);
            self.kinds.push(kind);
        }
        new
    }

    fn place(&self, piece: &str) -> u32 {
        let place = self.pieces.iter().position(|other| other == piece).expect("a token that was added");
        u32::try_from(place).expect("a vocabulary is small")
    }

    /// Chat and thinking marks, which both forms have.
    fn add_marks(&mut self) {
        self.add("<|im_start|>".to_owned(), CONTROL);
        self.add("<|im_end|>".to_owned(), CONTROL);
        self.add("<think>".to_owned(), USER_DEFINED);
        self.add("</think>".to_owned(), USER_DEFINED);
    }
}

/// SentencePiece: specials, bytes, letters, then pieces of two smaller ones each.
pub(super) fn sentence_piece(header: &mut Header, size: u32, fill_in_middle: bool) {
    let size = size as usize;
    let mut tokens = Tokens::default();
    tokens.add("<unk>".to_owned(), UNKNOWN);
    tokens.add("<s>".to_owned(), CONTROL);
    tokens.add("</s>".to_owned(), CONTROL);
    (0..=u8::MAX).for_each(|byte| _ = tokens.add(format!("<0x{byte:02X}>"), BYTE));
    tokens.add_marks();
    let middle = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"];
    if fill_in_middle {
        middle.iter().for_each(|mark| _ = tokens.add((*mark).to_owned(), CONTROL));
    }
    let smallest = tokens.pieces.len();
    // Letters by how likely they are; what is left out is spelled in bytes.
    let letters =
        "▁etaoinshrdlucmfwygpbvkxqjzETAOINSHRDLUCMFWYGPBVKXQJZ.,'\"!?-:;()0123456789[]{}<>/\\|@#$%^&*_+=~`";
    let further =
        ('\u{a1}'..='\u{17f}').chain('α'..='ω').chain('а'..='я').chain('ぁ'..='ん').chain('一'..='十');
    for letter in letters.chars().chain(further) {
        if tokens.pieces.len() < size {
            tokens.add(letter.to_string(), NORMAL);
        }
    }
    let prefixes = WORDS
        .split_whitespace()
        .flat_map(|word| (1..=word.len()).map(move |end| format!("▁{}", &word[..end])));
    for prefix in prefixes {
        if tokens.pieces.len() < size {
            tokens.add(prefix, NORMAL);
        }
    }
    grow(&mut tokens, smallest, size, '▁', |_, _| ());

    header.set("tokenizer.ggml.model", "llama");
    header.set("tokenizer.ggml.pre", "default");
    header.set("tokenizer.ggml.scores", (0..size).map(|place| -(place as f32)).collect::<Vec<_>>());
    header.set("tokenizer.ggml.bos_token_id", 1_u32);
    header.set("tokenizer.ggml.eos_token_id", 2_u32);
    header.set("tokenizer.ggml.unknown_token_id", 0_u32);
    header.set("tokenizer.ggml.add_bos_token", true);
    header.set("tokenizer.ggml.add_eos_token", false);
    // Else a space comes out that never went in.
    header.set("tokenizer.ggml.add_space_prefix", false);
    if fill_in_middle {
        for (key, mark) in ["fim_pre", "fim_suf", "fim_mid"].iter().zip(middle) {
            header.set(&format!("tokenizer.ggml.{key}_token_id"), tokens.place(mark));
        }
    }
    finish(header, tokens);
}

/// Byte-level BPE: every byte, then pairs in the order of their merges.
pub(super) fn bpe(header: &mut Header, size: u32) {
    let size = size as usize;
    let mut tokens = Tokens::default();
    (0..=u8::MAX).for_each(|byte| _ = tokens.add(byte_letter(byte).to_string(), NORMAL));
    tokens.add("<|endoftext|>".to_owned(), CONTROL);
    let end = tokens.place("<|endoftext|>");
    tokens.add_marks();

    let mut merges = Vec::new();
    for word in WORDS.split_whitespace() {
        // A space is `Ġ` in this alphabet. Each word is put together from the left.
        let mut left = byte_letter(b' ').to_string();
        for letter in word.chars() {
            let whole = format!("{left}{letter}");
            if tokens.pieces.len() < size && tokens.add(whole.clone(), NORMAL) {
                merges.push(format!("{left} {letter}"));
            }
            left = whole;
        }
    }
    let merged = |left: &str, right: &str| merges.push(format!("{left} {right}"));
    grow(&mut tokens, 0, size, byte_letter(b' '), merged);

    header.set("tokenizer.ggml.model", "gpt2");
    header.set("tokenizer.ggml.pre", "gpt-2");
    header.set("tokenizer.ggml.merges", merges);
    header.set("tokenizer.ggml.bos_token_id", end);
    header.set("tokenizer.ggml.eos_token_id", end);
    header.set("tokenizer.ggml.add_bos_token", false);
    finish(header, tokens);
}

/// Takes all settings of another file's tokeniser, and says how many tokens it has.
pub(super) fn copy(header: &mut Header, path: &Path) -> Result<u64, gguf::Error> {
    const TOKENS: &str = "tokenizer.ggml.tokens";
    let from = Gguf::open(path)?;
    let Some(tokens) = from.get(TOKENS).and_then(|value| value.as_array()).filter(|tokens| tokens.length > 0)
    else {
        return Err(gguf::Error::NotModel { path: path.to_owned(), problem: format!("it has no {TOKENS}") });
    };
    // How many kinds of segment a network tells apart is its own affair, and described with it.
    let entries = from.encoded("tokenizer.").filter(|(key, ..)| *key != "tokenizer.ggml.token_type_count");
    for (key, kind, bytes) in entries {
        header.set_encoded(key, kind, bytes);
    }
    Ok(tokens.length)
}

/// Fills up with pieces put together from two that are there, so that a tokeniser that merges can reach them.
fn grow(tokens: &mut Tokens, smallest: usize, size: usize, space: char, mut merged: impl FnMut(&str, &str)) {
    const LETTERS_MAX: usize = 14;
    let mut random = Random::new(0, 0);
    while tokens.pieces.len() < size {
        let mut pick = || {
            let place = smallest + random.below(tokens.pieces.len() - smallest);
            (tokens.kinds[place] == NORMAL).then(|| tokens.pieces[place].clone())
        };
        let (Some(left), Some(right)) = (pick(), pick()) else { continue };
        // A word begins with a space and has none inside.
        if right.starts_with(space) || left.chars().count() + right.chars().count() > LETTERS_MAX {
            continue;
        }
        if tokens.add(format!("{left}{right}"), NORMAL) {
            merged(&left, &right);
        }
    }
}

fn finish(header: &mut Header, tokens: Tokens) {
    let turn = tokens.place("<|im_end|>");
    header.set("tokenizer.ggml.eot_token_id", turn);
    header.set("tokenizer.ggml.token_type", tokens.kinds);
    header.set("tokenizer.ggml.tokens", tokens.pieces);
    header.set("tokenizer.chat_template", CHAT_TEMPLATE);
}

/// The letter that stands for a byte in byte-level BPE: itself if it can be seen, else one from U+0100 on.
fn byte_letter(byte: u8) -> char {
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if visible(byte) {
        return char::from(byte);
    }
    let hidden_before = (0..byte).filter(|&other| !visible(other)).count();
    char::from_u32(0x100 + u32::try_from(hidden_before).unwrap_or(0)).expect("a letter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_letters_that_gpt_2_gave_them() {
        assert_eq!(byte_letter(b' '), 'Ġ');
        assert_eq!(byte_letter(b'\n'), 'Ċ');
        assert_eq!(byte_letter(b'a'), 'a');
        let all: HashSet<char> = (0..=u8::MAX).map(byte_letter).collect();
        assert_eq!(all.len(), 256);
    }
}
