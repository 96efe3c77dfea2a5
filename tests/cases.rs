//! The cases that are data: `cases/NAME/case.json` says what is sent and what must come back.
//!
//! `request`: `method` (POST), `path`, `headers`, and one of `json`, `text` or `bytes` (hexadecimal).
//! `expect`: `status`, `json` (a subset of the answer), `contains` (texts in the body), `absent` (texts not in it).

use serde_json::Value;

use crate::harness::{Server, root};

#[tokio::test]
async fn every_case_gets_the_answer_it_says() {
    // A small context and a small body limit, so that cases can reach them.
    let server = Server::start(&["-np", "2", "-c", "1024", "--body-limit", "65536"]);
    let mut folders: Vec<_> = std::fs::read_dir(root().join("tests/cases"))
        .expect("the cases")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("case.json").exists())
        .collect();
    folders.sort();
    assert!(folders.len() >= 20, "only {} cases", folders.len());
    let mut failures = Vec::new();
    for folder in &folders {
        let text = std::fs::read_to_string(folder.join("case.json")).expect("a case");
        let case: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        if let Err(failure) = check(&server, &case).await {
            failures.push(format!("{}: {failure}", folder.file_name().expect("a name").to_string_lossy()));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases fail:\n{}",
        failures.len(),
        folders.len(),
        failures.join("\n")
    );

    // After all that, it serves on and holds nothing.
    server.becomes_idle().await;
    assert_eq!(server.get("/health").await.0, 200);
}

async fn check(server: &Server, case: &Value) -> Result<(), String> {
    let request = &case["request"];
    let method = request["method"].as_str().unwrap_or("POST").parse().expect("a method");
    let path = request["path"].as_str().unwrap_or("/v1/chat/completions");
    let mut sending = server.client.request(method, server.url(path));
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
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
    }
    let answer = sending.send().await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let body = answer.text().await.map_err(|error| error.to_string())?;

    let expect = &case["expect"];
    if Some(u64::from(status)) != expect["status"].as_u64() {
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
        let whole: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
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
