//! What passes the checks does not stop llama.cpp: damaged files are checked, and those that pass are loaded and run,
//! in a child process, which must live. Checking takes at most twice the file's size in memory, whatever the damage.
//!
//! A thousand of them unless `MINERVA_SURVIVAL_SEEDS` says more. With `MINERVA_TEST_VOCABULARIES`, a folder of
//! vocabularies as llama.cpp publishes them, these are damaged too.

#[path = "../counting/mod.rs"]
mod counting;
mod damage;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use minerva_engine::model::{Batch, Model as _};
use minerva_llama::Options;
use minerva_models::gguf;

use damage::{Damaged, Sound};

const SEEDS: &str = "MINERVA_SURVIVAL_SEEDS";
const SEEDS_DEFAULT: u64 = 1000;
/// Asks a child for these seeds.
const RANGE: &str = "MINERVA_SURVIVAL_RANGE";
/// One file takes milliseconds: whoever says nothing for so long hangs, on any machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// So many deaths say enough.
const DEATHS_MAX: usize = 40;
/// Memory that checking the smallest files may take: the path, the keys of a few bytes each, an error's text.
const SMALL: usize = 16_384;

#[derive(Debug, Default)]
struct Count {
    tried: u64,
    refused: u64,
    refused_by_llama: u64,
    ran: u64,
    deaths: Vec<String>,
}

#[test]
fn llama_cpp_survives_what_passes_the_checks() {
    if let Ok(range) = std::env::var(RANGE) {
        let (begin, end) = range.split_once("..").expect("a range");
        return child(begin.parse().expect("a number")..end.parse().expect("a number"));
    }
    let number = |text: String| text.parse().unwrap_or_else(|_| panic!("{SEEDS} is `{text}`"));
    let seeds = std::env::var(SEEDS).map_or(SEEDS_DEFAULT, number);
    let mut count = Count::default();
    let mut begin = 0;
    while begin < seeds && count.deaths.len() < DEATHS_MAX {
        begin = watch(begin..seeds, &mut count);
    }
    report(&count);
    assert!(count.deaths.is_empty(), "{:#?}", count.deaths);
    assert_eq!((count.tried, count.refused + count.refused_by_llama + count.ran), (seeds, seeds));
    assert!(count.ran > 0, "some damage is harmless");
}

#[expect(clippy::print_stdout, reason = "for whoever runs it by hand")]
fn report(count: &Count) {
    let Count { tried, refused, refused_by_llama, ran, deaths } = count;
    println!(
        "{tried} damaged files: {refused} refused by the checks, {refused_by_llama} by llama.cpp, {ran} ran, {} deaths",
        deaths.len()
    );
}

/// Runs a child until it ends, dies or hangs; says which seed is next.
fn watch(seeds: Range<u64>, count: &mut Count) -> u64 {
    let last_words = tempfile::NamedTempFile::new().expect("a file");
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "llama_cpp_survives_what_passes_the_checks", "--nocapture"])
        .env(RANGE, format!("{}..{}", seeds.start, seeds.end))
        .envs([("GGML_NO_BACKTRACE", "1"), ("RUST_BACKTRACE", "0")])
        .stdout(Stdio::piped())
        .stderr(last_words.reopen().expect("the file again"))
        .spawn()
        .expect("a child");
    let lines = lines(&mut child);
    let (mut last, mut hangs): (Option<u64>, bool) = (None, false);
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => match line.as_str() {
                "refused" => count.refused += 1,
                "refused by llama.cpp" => count.refused_by_llama += 1,
                "ran" => count.ran += 1,
                _ => {
                    if let Some(seed) = line.strip_prefix("seed ").and_then(|seed| seed.parse().ok()) {
                        count.tried += 1;
                        last = Some(seed);
                    }
                }
            },
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                hangs = true;
                child.kill().expect("it can be killed");
                break;
            }
        }
    }
    let status = child.wait().expect("it ends");
    if status.success() {
        return seeds.end;
    }
    let mut words = String::new();
    let _ = last_words.reopen().and_then(|mut file| file.read_to_string(&mut words));
    let words: Vec<&str> = words.lines().filter(|line| !line.is_empty()).take(4).collect();
    let how = if hangs { "hangs".to_owned() } else { format!("{status}") };
    let last = last.expect("a child that died named a seed before");
    count.deaths.push(format!("seed {last}: {how}: {words:?}"));
    last + 1
}

fn lines(child: &mut Child) -> Receiver<String> {
    let (send, lines) = channel();
    let stdout = BufReader::new(child.stdout.take().expect("its output"));
    std::thread::spawn(move || {
        stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line).ok());
    });
    lines
}

/// Tries one damaged file after the other, and says which before each.
fn child(seeds: Range<u64>) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut sound = Sound::all(folder.path());
    for seed in seeds {
        say(&format!("seed {seed}"));
        let damaged = Damaged::new(&mut sound, folder.path(), seed);
        let bytes = fs::metadata(damaged.path()).expect("the file").len() as usize;
        let (checked, peak) = counting::peak(|| gguf::check(damaged.path()).map(drop));
        assert!(peak <= (2 * bytes).max(SMALL), "{peak} bytes for a file of {bytes}: {checked:?}");
        say(match checked {
            Err(_) => "refused",
            Ok(()) if run(damaged.path()) => "ran",
            Ok(()) => "refused by llama.cpp",
        });
    }
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn say(line: &str) {
    println!("{line}");
}

fn run(path: &Path) -> bool {
    let options = Options { slots: 1, context: 64, threads: 1, ..Options::new(path) };
    let Ok(mut llama) = minerva_llama::load(&options, |_| true) else { return false };
    let vocabulary = llama.vocabulary();
    let how = minerva_engine::model::Encode { add_special: true, parse_special: true };
    let _ = vocabulary.encode("The time: 12 o'clock, \u{e9}\u{4e16}\n<s>", how);
    let size = llama.info().vocabulary_size;
    let mut batch = Batch::default();
    for position in 0..3 {
        batch.push((300 + position) % size, position, 0, true);
    }
    // An error is fine: the process is still there to say so.
    let _ = llama.decode(&batch);
    let _ = llama.embed(&[vec![300 % size, 301 % size]]);
    true
}

/// A file that can be read and written at any place.
fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).expect("the file can be opened")
}
