//! The cases that are data: `cases/NAME/case.json` says what is sent and what must come back.
//!
//! `request`: `method` (POST), `path`, `headers`, and one of `json`, `text`, `bytes` (hexadecimal) or `plugin` (a file). With `websocket` it
//! is that one message over a WebSocket, and the frames are the body, a line each. `until` is a text: a stream that has no
//! end is read that far.
//! `expect`: `status`, `json` (a subset of the answer), `contains` (texts in the body), `absent` (texts not in it).
//!
//! Instead of these, `steps` is an array of such pairs, one after another. `save` beside them is an object of names and
//! JSON pointers into the answer; in later steps `$NAME` stands for what was there. `server` is which server is asked, one
//! of [`SERVERS`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use futures::StreamExt;
use serde_json::{Map, Value};

use crate::harness::{Server, root, run, shown};

/// What servers are started with: the name of one, the model that is made for it, and its other arguments, of which
/// `FOLDER` stands for one.
const SERVERS: [(&str, Option<&str>, &[&str]); 7] = [
    // A small context and a small body limit, so that cases can reach them.
    ("builtin", None, &["-np", "2", "-c", "1024", "--body-limit", "65536"]),
    ("keys", None, &["-np", "1", "-c", "512", "--api-key", "secret", "--admin-key", "root"]),
    ("embedder", Some("tiny-embedding"), &["-np", "2"]),
    ("reranker", Some("tiny-reranker"), &["-np", "2", "--reranking"]),
    ("infill", Some("tiny-fim"), &["-np", "2", "-c", "512", "--slot-save-path", "FOLDER"]),
    // As llama-server's own tests start it.
    (
        "without-jinja",
        None,
        &["-np", "1", "-c", "512", "--no-jinja", "--chat-template", "llama3", "--no-slots"],
    ),
    // One of them at a time.
    ("two-models", None, &[]),
];

const TWO_MODELS: &str = "[server]\nport = 0\nmodels_max = 1\nadmin_key = \"root\"\n[performance]\nparallel = 1\n[model]\nctx_size = 512\n\
                          [[models]]\nname = \"one\"\npath = \"builtin\"\npreload = true\n\
                          [[models]]\nname = \"two\"\npath = \"builtin\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_case_gets_the_answer_it_says() {
    let mut folders: Vec<_> = std::fs::read_dir(root().join("tests/cases"))
        .expect("the cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("case.json").exists())
        .collect();
    folders.sort();
    let (mut failures, mut asked) = (Vec::new(), Asked::default());
    let models = tempfile::tempdir().expect("a folder");
    for (name, model, arguments) in SERVERS {
        let server = start(name, model, arguments, models.path());
        let mut count = 0;
        for folder in &folders {
            let text = std::fs::read_to_string(folder.join("case.json")).expect("a case");
            let case: Value =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            if case["server"].as_str().unwrap_or("builtin") != name {
                continue;
            }
            count += 1;
            if let Err(failure) = check(&server, &case, &mut asked).await {
                failures
                    .push(format!("{}: {failure}", folder.file_name().expect("a name").to_string_lossy()));
            }
        }
        assert!(count > 0, "no case asks the server {name}");
        // After all that, it serves on and holds nothing.
        server.becomes_idle().await;
        assert_eq!(server.get("/health").await.0, 200);
        if name == "builtin" {
            asked.document = server.get("/openapi.json").await.1;
        }
    }
    let (count, failing) = (folders.len(), failures.len());
    assert!(failures.is_empty(), "{failing} of {count} cases fail:\n{}", failures.join("\n"));
    let missing = asked.missing();
    assert!(missing.is_empty(), "no case of {}", missing.join(", "));
}

fn start(name: &str, model: Option<&str>, arguments: &[&str], folder: &Path) -> Server {
    let file = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let files = file("");
    let mut all: Vec<&str> =
        arguments.iter().map(|&argument| if argument == "FOLDER" { &*files } else { argument }).collect();
    let path = model.map(|preset| {
        let path = file(&format!("{preset}.gguf"));
        let made = run(&["models", "synthesize", "--preset", preset, "--type", "F16", "-o", &path]);
        assert!(made.status.success(), "{}", shown(&made));
        path
    });
    if let Some(path) = &path {
        all.extend(["serve", "--port", "0", "-m", path]);
        all.rotate_left(arguments.len());
        return Server::start_with(&all);
    }
    if name == "two-models" {
        let builtin = root().join("host/models/builtin/minerva-tiny.gguf");
        let config = file("config.toml");
        let text = TWO_MODELS.replace("\"builtin\"", &format!("{:?}", builtin.display().to_string()));
        std::fs::write(&config, text).expect("a file");
        return Server::start_with(&["serve", "--config", &config]);
    }
    Server::start(&all)
}

/// What was asked, and how it went.
#[derive(Default)]
struct Asked {
    /// Methods and paths, and whether it was an error.
    all: BTreeSet<(String, String, bool)>,
    document: Value,
}

impl Asked {
    /// The operations of the document that no case asks with success, or none without.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (path, methods) in self.document["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                if operation["tags"][0] == "other names" {
                    continue;
                }
                let of_path = |asked: &str| match path.split_once('{') {
                    // The paths of others begin so, too.
                    Some((start, _)) => {
                        asked.len() > start.len() && asked.starts_with(start) && !self.is_known(asked)
                    }
                    None => asked == path,
                };
                let succeeds = |(by, at, is_error): &(String, String, bool)| {
                    !is_error && by.eq_ignore_ascii_case(method) && of_path(at)
                };
                // Where nothing can go wrong, another method can.
                let fails = |(_, at, is_error): &(String, String, bool)| *is_error && of_path(at);
                if !self.all.iter().any(succeeds) {
                    missing.push(format!("{method} {path} with success"));
                }
                if !self.all.iter().any(fails) {
                    missing.push(format!("{method} {path} without"));
                }
            }
        }
        missing
    }

    fn is_known(&self, path: &str) -> bool {
        self.document["paths"].get(path).is_some()
    }
}

async fn check(server: &Server, case: &Value, asked: &mut Asked) -> Result<(), String> {
    let alone = [case.clone()];
    let steps = case["steps"].as_array().map_or(&alone[..], Vec::as_slice);
    let mut saved: BTreeMap<String, String> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        let mut text = step.to_string();
        for (name, value) in &saved {
            text = text.replace(&format!("${name}"), value);
        }
        let step: Value = serde_json::from_str(&text).expect("what is saved has no quotes");
        let answer = send(server, &step["request"], asked).await?;
        is_expected(&answer, &step["expect"]).map_err(|failure| format!("step {at}: {failure}"))?;
        for (name, pointer) in step["save"].as_object().into_iter().flatten() {
            let whole: Value = serde_json::from_str(&answer.1).map_err(|error| error.to_string())?;
            let value = whole.pointer(pointer.as_str().expect("a pointer")).and_then(Value::as_str);
            saved.insert(name.clone(), value.ok_or("nothing to save")?.to_owned());
        }
    }
    Ok(())
}

/// Sends a request; gives the status and the body.
async fn send(server: &Server, request: &Value, asked: &mut Asked) -> Result<(u16, String), String> {
    let path = request["path"].as_str().unwrap_or("/v1/chat/completions");
    let known = path.split('?').next().unwrap_or_default().to_owned();
    if let Some(message) = request.get("websocket") {
        let (status, frames) = server.websocket(path, &message.to_string()).await;
        asked.all.insert(("GET".into(), known, status != 101));
        return Ok((status, frames.join("\n")));
    }
    let method = request["method"].as_str().unwrap_or("POST");
    let mut sending = server.client.request(method.parse().expect("a method"), server.url(path));
    for (name, value) in request["headers"].as_object().unwrap_or(&Map::new()) {
        sending = sending.header(name, value.as_str().expect("a header's value"));
    }
    if let Some(json) = request.get("json") {
        sending = sending.json(json);
    } else if let Some(text) = request["text"].as_str() {
        sending = sending.header("content-type", "application/json").body(text.to_owned());
    } else if let Some(bytes) = request["bytes"].as_str() {
        let byte = |at: usize| u8::from_str_radix(&bytes[at..at + 2], 16).expect("hexadecimal");
        let bytes: Vec<u8> = (0..bytes.len()).step_by(2).map(byte).collect();
        sending = sending.header("content-type", "application/json").body(bytes);
    } else if let Some(name) = request["plugin"].as_str() {
        sending = sending.body(std::fs::read(crate::harness::plugins().join(name)).expect("a plugin"));
    }
    let answer = sending.send().await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    asked.all.insert((method.to_owned(), known, status >= 400));
    let Some(until) = request["until"].as_str() else {
        return Ok((status, answer.text().await.map_err(|error| error.to_string())?));
    };
    let (mut body, mut pieces) = (String::new(), answer.bytes_stream());
    while !body.contains(until) {
        let piece = pieces.next().await.ok_or_else(|| format!("it ends: {body}"))?;
        body.push_str(&String::from_utf8_lossy(&piece.map_err(|error| error.to_string())?));
    }
    Ok((status, body))
}

fn is_expected((status, body): &(u16, String), expect: &Value) -> Result<(), String> {
    if Some(u64::from(*status)) != expect["status"].as_u64() {
        return Err(format!("status {status}, not {}: {body}", expect["status"]));
    }
    for text in expect["contains"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !body.contains(text) {
            return Err(format!("no '{text}' in {body}"));
        }
    }
    for text in expect["absent"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if body.contains(text) {
            return Err(format!("'{text}' in {body}"));
        }
    }
    if let Some(subset) = expect.get("json") {
        let whole: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?;
        holds(&whole, subset, "").map_err(|place| format!("{place} in {body}"))?;
    }
    Ok(())
}

/// Whether a value has all that another says, at every depth; `"*"` is anything that is there.
fn holds(whole: &Value, subset: &Value, place: &str) -> Result<(), String> {
    match (whole, subset) {
        (found, Value::String(any)) if any == "*" && !found.is_null() => Ok(()),
        (Value::Object(whole), Value::Object(subset)) => subset.iter().try_for_each(|(key, value)| {
            holds(whole.get(key).unwrap_or(&Value::Null), value, &format!("{place}.{key}"))
        }),
        (Value::Array(whole), Value::Array(subset)) if whole.len() == subset.len() => {
            (whole.iter().zip(subset))
                .enumerate()
                .try_for_each(|(at, (whole, subset))| holds(whole, subset, &format!("{place}[{at}]")))
        }
        (whole, subset) if whole == subset => Ok(()),
        (whole, subset) => Err(format!("{place} is {whole}, not {subset},")),
    }
}
