//! What fuzzing found once, and what it begins with, under the checks of fuzzing.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn what_was_found_once_is_mended_and_seeds_are_fine() {
    type Check = fn(&[u8]);
    let checks: [(&str, Check); 5] = [
        ("requests", minerva_fuzz::requests::check),
        ("streams", minerva_fuzz::streams::check),
        ("text", minerva_fuzz::text::check),
        ("grammars", minerva_fuzz::grammars::check),
        ("gguf", minerva_fuzz::gguf::check),
    ];
    for (target, check) in checks {
        let (seeds, found) = (files("seeds", target), files("found", target));
        // Those of requests are the cases of the HTTP tests.
        assert!(!seeds.is_empty() || target == "requests", "{target} has no seeds");
        for file in seeds.iter().chain(&found) {
            eprintln!("{}", file.display());
            check(&fs::read(file).expect("it can be read"));
        }
    }
}

#[test]
fn no_target_is_without_a_check_or_a_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("it can be read");
    let script = fs::read_to_string(root.join("run")).expect("it can be read");
    let listed =
        script.lines().find_map(|line| line.strip_prefix("targets=${*:-")).expect("the list of them");
    let mut listed: Vec<&str> = listed.trim_end_matches('}').split(' ').collect();
    let mut programs: Vec<&str> =
        manifest.lines().filter_map(|line| line.strip_prefix("name = \"fuzz-")?.strip_suffix('"')).collect();
    listed.sort_unstable();
    programs.sort_unstable();
    assert_eq!(listed, programs);
}

fn files(kind: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}
