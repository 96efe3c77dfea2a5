//! Text to tokens and back.

use std::sync::Arc;

use minerva_engine::model::{Encode, Model as _, Special, Vocabulary};
use minerva_models::synthetic::{self, Spec};

use crate::models;

fn vocabulary(spec: &Spec) -> Arc<dyn Vocabulary> {
    models::load(spec, |_| ()).vocabulary()
}

fn made(made: synthetic::Vocabulary, name: &str) -> Arc<dyn Vocabulary> {
    vocabulary(&Spec { name: name.to_owned(), vocabulary: made, ..Spec::preset("tiny").expect("a preset") })
}

/// Text of every script, with controls, marks, emoji and what looks like special tokens.
fn random_text(random: &mut impl FnMut(u32) -> u32) -> String {
    const SPECIAL: [&str; 8] = ["<s>", "</s>", "<|im_end|>", "<unk>", "<0x41>", " ", "\n\n", "<|endoftext|>"];
    let length = random(60);
    let mut text = String::new();
    for _ in 0..length {
        match random(10) {
            0..=3 => text.push(char::from(32 + random(95) as u8)),
            4 => text.push_str(SPECIAL[random(8) as usize]),
            5 => text.push(char::from(random(128) as u8)),
            6 => text.extend(char::from_u32(random(0x3000))),
            7 => text.extend(char::from_u32(0x1f300 + random(0x400))),
            _ => text.extend(char::from_u32(random(0x11_0000))),
        }
    }
    text
}

/// Asserts that text comes out as it went in, 10,000 times.
fn round_trips(vocabulary: &dyn Vocabulary, unlike: impl Fn(&str) -> bool) {
    let mut state = 1_u64;
    let mut random = |limit: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % u64::from(limit)) as u32
    };
    for round in 0..10_000 {
        let text = random_text(&mut random);
        if unlike(&text) {
            continue;
        }
        let tokens = vocabulary.encode(&text, Encode::default()).expect("it can be encoded");
        let back: Vec<u8> = tokens.iter().flat_map(|&token| vocabulary.piece(token)).copied().collect();
        assert_eq!(String::from_utf8_lossy(&back), text, "round {round}: {tokens:?}");
        assert!(
            tokens.iter().all(|&token| !vocabulary.is_control(token)),
            "a stranger's text has no control tokens"
        );
        assert_eq!(vocabulary.decode(&tokens), back);
    }
}

#[test]
fn any_text_survives_sentence_piece() {
    let made = made(synthetic::Vocabulary::SentencePiece { tokens: 2000, fill_in_middle: true }, "spm");
    // SentencePiece writes a space as this letter: it cannot tell the two apart.
    round_trips(&*made, |text| text.contains('▁'));
}

#[test]
fn any_text_survives_byte_level_bpe() {
    round_trips(&*made(synthetic::Vocabulary::Bpe { tokens: 2000 }, "bpe"), |_| false);
}

#[test]
fn vocabularies_of_real_models_are_those_of_their_makers() {
    // Files from llama.cpp's own tests, far too large to keep here: named by a variable where they are at hand.
    let Some(folder) = std::env::var_os("MINERVA_TEST_VOCABULARIES") else { return };
    let mut tried = 0;
    for entry in std::fs::read_dir(folder).expect("the folder").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "gguf") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let vocabulary = made(synthetic::Vocabulary::FromFile(path.clone()), &name);
        let with =
            |end: &str| std::fs::read_to_string(format!("{}.{end}", path.display())).expect("its example");
        let (texts, expected) = (with("inp"), with("out"));
        for (text, expected) in texts.split("\n__ggml_vocab_test__\n").zip(expected.lines()) {
            let tokens = vocabulary.encode(text, Encode::default()).expect("it can be encoded");
            let expected: Vec<u32> =
                expected.split_whitespace().map(|token| token.parse().expect("a token")).collect();
            assert_eq!(tokens, expected, "{name}: {text:?}");
        }
        if !name.ends_with("spm") {
            round_trips(&*vocabulary, |_| false);
        }
        tried += 1;
    }
    assert!(tried > 0);
}

#[test]
fn tokens_have_their_roles() {
    let vocabulary = vocabulary(&Spec::preset("tiny-fim").expect("a preset"));
    let special = |role| vocabulary.special(role).expect("it has one");
    assert_eq!(vocabulary.piece(special(Special::Bos)), b"<s>");
    assert_eq!(vocabulary.piece(special(Special::Eos)), b"</s>");
    assert_eq!(vocabulary.piece(special(Special::Eot)), b"<|im_end|>");
    assert_eq!(vocabulary.piece(special(Special::ThinkStart)), b"<think>");
    assert_eq!(vocabulary.piece(special(Special::ThinkEnd)), b"</think>");
    assert!(vocabulary.is_end(special(Special::Eos)) && vocabulary.is_end(special(Special::Eot)));
    assert!(!vocabulary.is_end(special(Special::Bos)) && vocabulary.is_control(special(Special::Bos)));
    assert!(!vocabulary.is_control(special(Special::ThinkStart)), "thinking is printed");
    assert!(vocabulary.is_control(0), "the unknown token is never printed");
    assert_eq!(vocabulary.piece(3 + u32::from(b'A')), b"A", "a byte token is its byte");
    assert_eq!(vocabulary.piece(vocabulary.size()), b"");
    assert!(!vocabulary.is_end(u32::MAX));
}

#[test]
fn marks_are_tokens_only_when_asked_for() {
    let vocabulary = vocabulary(&Spec::preset("tiny").expect("a preset"));
    let encode = |how| vocabulary.encode("<|im_start|>user", how).expect("it can be encoded");
    let stranger = encode(Encode::default());
    let template = encode(Encode { parse_special: true, ..Encode::default() });
    let prompt = encode(Encode { add_special: true, parse_special: true });
    assert!(stranger.len() > template.len());
    assert_eq!(vocabulary.piece(template[0]), b"<|im_start|>");
    assert_eq!((prompt[0], &prompt[1..]), (1, &template[..]));
    assert_eq!(vocabulary.decode(&template), b"user");
    assert!(vocabulary.encode("", Encode::default()).expect("nothing").is_empty());
}

#[test]
fn several_threads_tokenise_at_once() {
    let vocabulary = vocabulary(&Spec::preset("tiny").expect("a preset"));
    let text = "the time of the day and the way it is ".repeat(50);
    let expected = vocabulary.encode(&text, Encode::default()).expect("it can be encoded");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(
                        vocabulary.encode(&text, Encode::default()).expect("it can be encoded"),
                        expected
                    );
                }
            });
        }
    });
}
