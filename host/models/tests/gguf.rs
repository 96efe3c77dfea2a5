//! Damaged files are refused with a clear word, before llama.cpp sees them.

use std::fs;
use std::path::{Path, PathBuf};

use minerva_models::gguf::{self, Error};
use minerva_models::synthetic::{self, Spec};

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

/// The tiny model in two files, as llama.cpp's own tool cuts one; the changes are made to the second's keys.
fn split(folder: &Path, change: impl Fn(&mut Vec<(&str, u16)>), repeat: bool) -> PathBuf {
    let whole = folder.join("whole.gguf");
    synthetic::write(&Spec::preset("tiny").expect("a preset"), &whole, |_| true).expect("it is written");
    let bytes = fs::read(&whole).expect("it can be read");
    let gguf = gguf::check(&whole).expect("it is sound");
    let half = gguf.tensors().len() / 2;
    let second = if repeat { half - 1 } else { half };
    for (number, tensors) in [(0_u16, &gguf.tensors()[..half]), (1, &gguf.tensors()[second..])] {
        let mut header = gguf::write::Header::new();
        if number == 0 {
            for (key, kind, value) in gguf.encoded("") {
                header.set_encoded(key, kind, value);
            }
        }
        let mut keys = vec![("split.no", number), ("split.count", 2)];
        if number == 1 {
            change(&mut keys);
        }
        keys.iter().for_each(|&(key, value)| header.set(key, value));
        header.set("split.tensors.count", i32::try_from(gguf.tensors().len()).expect("a few"));
        for tensor in tensors {
            header.tensor(&tensor.name, &tensor.dimensions, tensor.kind);
        }
        let mut file = header.begin(Vec::new()).expect("memory takes everything");
        for tensor in tensors {
            let data = tensor.offset as usize..(tensor.offset + tensor.bytes) as usize;
            file.write(&bytes[data]).expect("memory takes everything");
        }
        let part = file.finish().expect("memory takes everything");
        let name = format!("split-{:05}-of-00002.gguf", number + 1);
        fs::write(folder.join(name), part).expect("it can be written");
    }
    folder.join("split-00001-of-00002.gguf")
}

#[test]
fn a_split_model_is_one_whose_files_fit_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let first = split(folder, |_| {}, false);
    let whole = gguf::check(&folder.join("whole.gguf")).expect("it is sound");
    let gguf = gguf::check(&first).expect("it is sound");
    assert_eq!((gguf.shards(), gguf.tensors().len()), (2, whole.tensors().len()));
    let sizes = ["split-00001-of-00002.gguf", "split-00002-of-00002.gguf"]
        .map(|name| fs::metadata(folder.join(name)).expect("it is there").len());
    assert_eq!(gguf.file_bytes(), sizes.iter().sum::<u64>());
    let options =
        minerva_llama::Options { slots: 1, context: 64, threads: 1, ..minerva_llama::Options::new(&first) };
    minerva_llama::load(&options, |_| true).expect("llama.cpp loads it too");

    let second = folder.join("split-00002-of-00002.gguf");
    assert!(complaint(&second).contains("name the first"), "{}", complaint(&second));
    let sound = fs::read(&second).expect("it can be read");
    fs::write(&second, &sound[..sound.len() / 2]).expect("it can be written");
    assert!(complaint(&first).contains("00002-of-00002.gguf ends too early"), "{}", complaint(&first));
    fs::remove_file(&second).expect("it can be removed");
    assert!(complaint(&first).contains("00002-of-00002.gguf"), "{}", complaint(&first));

    for (change, repeat, words) in [
        (("split.no", 0), false, "split.no is"),
        (("split.count", 3), false, "split.count is"),
        (("split.count", 2), true, "is in two of its files"),
    ] {
        let set = |keys: &mut Vec<(&str, u16)>| {
            keys.iter_mut().filter(|(key, _)| *key == change.0).for_each(|(_, value)| *value = change.1);
        };
        let complaint = complaint(&split(folder, set, repeat));
        assert!(complaint.contains(words), "{words}: {complaint}");
    }
}

fn vocabulary_only() -> Vec<u8> {
    let mut header = gguf::write::Header::new();
    header.set("general.architecture", "llama");
    header.begin(Vec::new()).and_then(gguf::write::Tensors::finish).expect("memory takes everything")
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipe.gguf");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    assert!(complaint(&path).contains("no file"), "{}", complaint(&path));
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
        // Heads that divide the width, and are not those that the matrices were made for.
        (with(&sound, "llama.attention.head_count_kv", &4_u32.to_le_bytes()), "4 heads of 32"),
    ] {
        let complaint = verdict(&bytes).expect_err("it is refused").to_string();
        assert!(complaint.contains(words), "{words}: {complaint}");
    }
}
