//! The cases under `cases/`: a request, and what its response must look like.
//!
//! A file is `METHOD PATH`, headers, an empty line, the body; then `=== STATUS` and what is expected: a JSON
//! object, or the `data:` lines of a stream, all of them in order. An expected object may have fewer keys than the
//! real one; `"-key"` says that a key must be absent. The strings `<number>`, `<string>` and `<any>` stand for
//! whatever is one, and `~words` for a string that has the words in it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use minerva_engine::model::Pooling;
use serde_json::Value;

use crate::fixture::{Fixture, embedding_fixture, fixture, post, send};
use crate::openapi::{Document, Exchange};
use crate::plugins::SECRET;

#[tokio::test]
async fn every_case_gets_what_it_expects() {
    check("cases", 50, fixture()).await;
}

#[tokio::test]
async fn so_does_every_case_of_a_model_that_embeds() {
    check("cases-embedding", 10, embedding_fixture(Pooling::Mean)).await;
}

#[tokio::test]
async fn and_of_one_that_judges() {
    check("cases-reranking", 10, embedding_fixture(Pooling::Rank)).await;
}

async fn check(folder: &str, at_least: usize, fixture: Fixture) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let files = files(&root);
    assert!(files.len() >= at_least, "only {} cases were found", files.len());
    let router = minerva_server::router(fixture.app);
    let mut document = Document::of(&router).await;
    let mut wrong = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        let text = std::fs::read_to_string(&file).unwrap();
        let (request, expected) =
            text.split_once("\n=== ").unwrap_or_else(|| panic!("{name} expects nothing"));
        let (status, expected) = expected.split_once('\n').unwrap();
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let (method, path) = head.lines().next().unwrap().split_once(' ').unwrap();
        let (actual_status, headers, actual) = send(&router, parse(request)).await;
        let exchange = Exchange {
            method,
            path,
            request: body,
            status: actual_status,
            content_type: headers["content-type"].to_str().unwrap(),
            answer: &actual,
        };
        if let Err(complaint) = document.check(exchange) {
            wrong.push(format!("{name} is not what the document says: {complaint}"));
        }
        let words: Vec<&str> = SECRET.split(' ').collect();
        let leaks = words.iter().any(|word| word.len() > 3 && actual.contains(word));
        let matches = if expected.trim_start().starts_with("data: ") {
            let (expected, actual) = (data(expected), data(&actual));
            expected.len() == actual.len()
                && expected.iter().zip(&actual).all(|(expected, actual)| is_like(expected, actual))
        } else {
            is_like(&json(expected), &serde_json::from_str(&actual).unwrap_or(Value::Null))
        };
        if leaks || !matches || actual_status.as_str() != status.trim() {
            wrong.push(format!("{name}: {actual_status}\n{actual}"));
        }
    }
    assert!(wrong.is_empty(), "{}\n{} cases are wrong", wrong.join("\n"), wrong.len());
    assert_eq!(fixture.engine.handle().status().running, 0);
}

/// Bodies that were right and were then damaged: whatever is wrong with them is the client's mistake, or none.
/// `MINERVA_FUZZ_SECONDS` goes on for so long, with other damage each time.
#[tokio::test]
async fn damaged_bodies_are_never_the_servers_mistake() {
    let seconds = std::env::var("MINERVA_FUZZ_SECONDS").ok();
    let seconds = seconds.map_or(0, |seconds| seconds.parse().expect("MINERVA_FUZZ_SECONDS is a number"));
    let (began, mut round) = (Instant::now(), 0);
    while round == 0 || began.elapsed() < Duration::from_secs(seconds) {
        round += 1;
        damage_all(Random(round * 0x9E37_79B9)).await;
    }
    eprintln!("{round} rounds");
}

async fn damage_all(mut random: Random) {
    let fixture = fixture();
    let router = minerva_server::router(fixture.app);
    let mut document = Document::of(&router).await;
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")) {
        let text = std::fs::read_to_string(&file).unwrap();
        // The plugins that fail on purpose do so here too.
        if !text.starts_with("POST") || text.contains("trap") || text.contains("panic") {
            continue;
        }
        let (request, _) = text.split_once("\n=== ").unwrap();
        let (line, body) = request.split_once("\n\n").unwrap();
        let path = line.strip_prefix("POST ").unwrap();
        for _ in 0..12 {
            let damaged = damage(body.as_bytes().to_vec(), &mut random);
            let shown = String::from_utf8_lossy(&damaged).into_owned();
            let (status, headers, answer) = send(&router, post(path, damaged)).await;
            let is_fine =
                status.is_success() || status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED;
            assert!(is_fine, "{path} {shown}: {status} {answer}");
            let exchange = Exchange {
                method: "POST",
                path,
                request: &shown,
                status,
                content_type: headers["content-type"].to_str().unwrap(),
                answer: &answer,
            };
            assert_eq!(document.check(exchange), Ok(()), "{path} {shown}");
            if !status.is_success() {
                assert_eq!(headers["content-type"], "application/json", "{path} {shown}");
                assert!(json(&answer)["error"]["message"].is_string(), "{path} {shown}: {answer}");
            }
        }
    }
}

/// Replaces, removes, repeats or inserts something somewhere, once or a few times.
fn damage(mut body: Vec<u8>, random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 12] = [
        b"null",
        b"-1",
        b"1e400",
        b"[]",
        b"{}",
        b"\"",
        b",",
        b"\\u0000",
        b"\xff",
        b"true",
        b"99999999999999999999",
        b"0.5",
    ];
    for _ in 0..=random.below(2) {
        let at = random.below(body.len() + 1);
        let end = (at + random.below(6)).min(body.len());
        match random.below(3) {
            0 => drop(body.drain(at..end)),
            1 => drop(body.splice(at..end, PIECES[random.below(PIECES.len())].iter().copied())),
            _ => {
                let again = body[at..end].to_vec();
                drop(body.splice(at..at, again));
            }
        }
    }
    body
}

/// Marsaglia's xorshift: the same damage in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

fn parse(text: &str) -> Request<Body> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let mut lines = head.lines();
    let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

fn data(stream: &str) -> Vec<Value> {
    let lines = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|line| if line == "[DONE]" { Value::from("[DONE]") } else { json(line) }).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn is_like(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::String(expected), actual) => match (expected.as_str(), actual) {
            ("<any>", _) => true,
            ("<number>", actual) => actual.is_number(),
            ("<string>", actual) => actual.is_string(),
            (expected, Value::String(actual)) => match expected.strip_prefix('~') {
                Some(words) => actual.contains(words),
                None => expected == actual,
            },
            _ => false,
        },
        (Value::Object(expected), Value::Object(actual)) => {
            expected.iter().all(|(key, expected)| match key.strip_prefix('-') {
                Some(absent) => !actual.contains_key(absent),
                None => actual.get(key).is_some_and(|actual| is_like(expected, actual)),
            })
        }
        (Value::Array(expected), Value::Array(actual)) => {
            expected.len() == actual.len()
                && expected.iter().zip(actual).all(|(expected, actual)| is_like(expected, actual))
        }
        (expected, actual) => expected == actual,
    }
}
