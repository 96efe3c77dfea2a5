//! What passes the checks does not stop llama.cpp: damaged headers are loaded in a child process, which must live.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use minerva_engine::model::{Batch, Model as _};
use minerva_llama::Options;
use minerva_models::gguf;
use minerva_models::synthetic::{self, Spec};

/// Asks the child to begin with this seed.
const BEGIN: &str = "MINERVA_SURVIVAL_BEGIN";
/// How many seeds are tried; more by this variable.
const SEEDS: &str = "MINERVA_SURVIVAL_SEEDS";

fn seeds() -> u64 {
    std::env::var(SEEDS).ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(600)
}

#[test]
fn llama_cpp_survives_what_passes_the_checks() {
    if let Some(begin) = std::env::var(BEGIN).ok().and_then(|begin| begin.parse().ok()) {
        return child(begin);
    }
    let (mut begin, mut deaths, mut loaded) = (0, Vec::new(), 0);
    while begin < seeds() {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "llama_cpp_survives_what_passes_the_checks", "--nocapture"])
            .env(BEGIN, begin.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        let mut last = begin;
        for line in BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok) {
            if let Some(seed) = line.strip_prefix("seed ") {
                last = seed.parse().expect("a seed");
            }
            loaded += u32::from(line == "loaded");
        }
        if child.wait().expect("it ends").success() {
            break;
        }
        deaths.push(last);
        begin = last + 1;
    }
    assert!(deaths.is_empty(), "llama.cpp died of the seeds {deaths:?}");
    assert!(loaded > 0, "some damage is harmless");
}

/// Loads one damaged file after the other, saying which before each.
fn child(begin: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let sound: Vec<Vec<u8>> = ["tiny", "tiny-moe", "tiny-window", "tiny-recurrent", "tiny-embedding"]
        .map(|preset| {
            let path = folder.path().join(preset);
            synthetic::write(&Spec::preset(preset).expect("a preset"), &path, |_| true)
                .expect("it is written");
            fs::read(path).expect("it can be read")
        })
        .into();
    let path = folder.path().join("damaged.gguf");
    for seed in begin..seeds() {
        say(&format!("seed {seed}"));
        fs::write(&path, damage(&sound[seed as usize % sound.len()], seed)).expect("it can be written");
        if gguf::check(&path).is_ok() && run(&path) {
            say("loaded");
        }
    }
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn say(line: &str) {
    println!("{line}");
}

/// Changes some bytes of the header: of the network, the vocabulary, or the table of tensors.
fn damage(sound: &[u8], seed: u64) -> Vec<u8> {
    let find =
        |word: &[u8]| sound.windows(word.len()).position(|window| window == word).expect("it is there");
    let (vocabulary, tensors) = (find(b"tokenizer.ggml.model"), find(b"token_embd.weight"));
    let end = tensors + (sound.len() - tensors).min(3000);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % limit
    };
    let mut bytes = sound.to_vec();
    let zone = [24..vocabulary, 24..vocabulary, vocabulary..tensors, tensors..end][random(4)].clone();
    for _ in 0..=random(3) {
        let place = zone.start + random(zone.len());
        bytes[place] = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8][random(6)];
    }
    bytes
}

fn run(path: &std::path::Path) -> bool {
    let options = Options { slots: 1, context: 64, threads: 1, ..Options::new(path) };
    let Ok(mut llama) = minerva_llama::load(&options, |_| true) else { return false };
    let mut batch = Batch::default();
    for position in 0..3 {
        batch.push(300 + position, position, 0, true);
    }
    // An error is fine: the process is still there to say so.
    let _ = llama.decode(&batch);
    let _ = llama.embed(&[vec![300, 301]]);
    true
}
