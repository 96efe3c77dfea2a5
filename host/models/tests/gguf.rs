//! Damaged files are refused with a clear word, before llama.cpp sees them.

use std::fs;
use std::path::{Path, PathBuf};

use minerva_models::gguf::{self, Error};
use minerva_models::synthetic::{self, Spec};
use proptest::prelude::*;

/// A sound file and the length of its header.
fn sound(name: &str) -> (Vec<u8>, usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sound.gguf");
    synthetic::write(&Spec::preset(name).expect("a preset"), &path, |_| true).expect("it is written");
    let gguf = gguf::check(&path).expect("it is sound");
    let header = gguf.tensors().iter().map(|tensor| tensor.offset).min().expect("tensors");
    (fs::read(&path).expect("it can be read"), header as usize)
}

/// What the checks say of these bytes in a file.
fn verdict(bytes: &[u8]) -> Result<(), Error> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), bytes).expect("it can be written");
    gguf::check(file.path()).map(drop)
}

fn complaint(path: &Path) -> String {
    let error = gguf::check(path).expect_err("it is refused");
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

#[test]
fn files_that_are_no_models_are_named_and_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("it can be written");
        path
    };
    let (sound, header) = sound("tiny");
    for (path, words) in [
        (folder.path().join("missing.gguf"), "No such file"),
        (folder.path().to_owned(), "directory"),
        (file("empty.gguf", b""), "it is empty"),
        (file("short.gguf", b"GG"), "only 2 bytes"),
        (file("page.gguf", b"<!DOCTYPE html>"), "a web page"),
        (file("pointer.gguf", b"version https://git-lfs"), "git-lfs"),
        (file("model.bin", b"PK\x03\x04"), "zip archive"),
        (file("old.gguf", b"GGUF\x01\0\0\0"), "version 1"),
        (file("big-endian.gguf", b"GGUF\0\0\0\x03"), "big-endian"),
        (file("header.gguf", &sound[..header / 2]), "ends too early"),
        (file("half.gguf", &sound[..sound.len() / 2]), "get it again"),
        (file("vocabulary.gguf", &vocabulary_only()), "it has no weights"),
    ] {
        let complaint = complaint(&path);
        let name = path.file_name().expect("a name").to_string_lossy();
        assert!(complaint.contains(words) && complaint.contains(&*name), "{name}: {complaint}");
    }
}

fn vocabulary_only() -> Vec<u8> {
    let mut header = gguf::write::Header::new();
    header.set("general.architecture", "llama");
    header.begin(Vec::new()).and_then(gguf::write::Tensors::finish).expect("memory takes everything")
}

/// Replaces the value of a number that follows a key and the number of its kind.
fn with(sound: &[u8], key: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    let place = sound.windows(key.len()).position(|window| window == key.as_bytes()).expect("the key")
        + key.len()
        + 4;
    bytes[place..place + value.len()].copy_from_slice(value);
    bytes
}

#[test]
fn what_stops_llama_cpp_is_found_before() {
    let (sound, _) = sound("tiny-moe");
    let twice = {
        let first = sound.windows(6).position(|window| window == b"<0x41>").expect("a token");
        let mut bytes = sound.clone();
        bytes[first..first + 6].copy_from_slice(b"<0x42>");
        bytes
    };
    for (bytes, words) in [
        (with(&sound, "llama.block_count", &0_u32.to_le_bytes()), "llama.block_count is 0"),
        (with(&sound, "llama.block_count", &513_u32.to_le_bytes()), "llama.block_count is 513"),
        (with(&sound, "llama.block_count", &3_u32.to_le_bytes()), "tensors for 2 layers"),
        (with(&sound, "llama.block_count", &1_u32.to_le_bytes()), "beyond the 1"),
        (with(&sound, "layer_norm_rms_epsilon", &(-1.0_f32).to_le_bytes()), "epsilon is -1"),
        (with(&sound, "layer_norm_rms_epsilon", &f32::NAN.to_le_bytes()), "epsilon is NaN"),
        (with(&sound, "llama.expert_used_count", &0_u32.to_le_bytes()), "is 0, of 4 experts"),
        (with(&sound, "llama.expert_used_count", &9_u32.to_le_bytes()), "is 9, of 4 experts"),
        (with(&sound, "llama.attention.head_count", &5_u32.to_le_bytes()), "does not divide"),
        (with(&sound, "llama.attention.head_count_kv", &3_u32.to_le_bytes()), "does not divide 4 heads"),
        (with(&sound, "llama.rope.dimension_count", &7_u32.to_le_bytes()), "dimension_count is 7"),
        (with(&sound, "llama.embedding_length", &64_u32.to_le_bytes()), "with heads of 16"),
        (with(&sound, "tokenizer.ggml.bos_token_id", &512_u32.to_le_bytes()), "512, of 512 tokens"),
        (twice, "`<0x42>` twice"),
    ] {
        let complaint = verdict(&bytes).expect_err("it is refused").to_string();
        assert!(complaint.contains(words), "{words}: {complaint}");
    }
}

proptest! {
    // Enough to touch every field of the header many times over; more by PROPTEST_CASES.
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_makes_the_reader_panic_or_hang(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        static SOUND: std::sync::OnceLock<(Vec<u8>, usize)> = std::sync::OnceLock::new();
        let (sound, header) = SOUND.get_or_init(|| sound("tiny"));
        // The data need not be there: damage to the header is found first or not at all.
        let mut bytes = sound.clone();
        for (place, value) in changes {
            bytes[place.index(*header)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Err(error) = verdict(&bytes) {
            prop_assert!(error.to_string().len() < 2000);
        }
    }
}
