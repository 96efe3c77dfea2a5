//! What is logged of a request, as text and as JSON.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Log, PATIENCE, Server, asking};

const ID: &str = "the-clients-own-id";

/// Sends a request that is answered and one that is refused, and gives the lines about them.
async fn lines(format: &str) -> (Vec<String>, Vec<String>) {
    let (server, log) =
        Server::start_with_log(&["--log", "info,minerva_server=debug", "--log-format", format], &[]);
    let mut request = asking("What is an ocelot?");
    request["max_tokens"] = json!(2);
    let url = server.url("/v1/chat/completions");
    let answer = server.client.post(&url).header("x-request-id", ID).json(&request).send().await;
    assert_eq!(answer.expect("an answer").headers()["x-request-id"], ID);
    request["temperature"] = json!("warm");
    let answer = server.client.post(&url).json(&request).send().await.expect("an answer");
    assert_eq!(answer.status(), 400);
    let made = answer.headers()["x-request-id"].to_str().expect("text").to_owned();
    let of = |log: &Log, id: &str| {
        let all = log.lock().expect("nobody panicked");
        all.iter().filter(|line| line.contains(id)).cloned().collect::<Vec<_>>()
    };
    let begun = Instant::now();
    while !of(&log, &made).iter().any(|line| line.contains("answered")) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", log.lock());
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let all = log.lock().expect("nobody panicked").join("\n");
    assert!(!all.contains("ocelot"), "what was asked is in the log: {all}");
    (of(&log, ID), of(&log, &made))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_for_programs_is_an_object_a_line_with_the_id_of_the_request() {
    let (answered, refused) = lines("json").await;
    let read = |lines: &[String]| -> Vec<Value> {
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    };
    let (answered, refused) = (read(&answered), read(&refused));
    let line = answered.iter().find(|line| line["fields"]["status"] == 200).expect("it was answered");
    assert_eq!((&line["level"], &line["span"]["id"]), (&json!("INFO"), &json!(ID)));
    assert_eq!(line["span"]["method"], json!("POST"));
    assert_eq!(line["span"]["path"], json!("/v1/chat/completions"));
    assert!(line["fields"]["milliseconds"].is_u64() && line["timestamp"].is_string(), "{line}");
    // What was refused says why, at a level that is off unless asked for.
    assert!(refused.iter().any(|line| line["level"] == "DEBUG" && line.to_string().contains("temperature")));
    assert!(refused.iter().any(|line| line["fields"]["status"] == 400), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_for_people_says_the_same_in_a_line() {
    let (answered, refused) = lines("text").await;
    let says = |lines: &[String], words: &[&str]| {
        let line = lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(line, "{words:?} in {lines:?}");
    };
    says(&answered, &["INFO", ID, "POST", "/v1/chat/completions", "answered 200 after"]);
    says(&refused, &["DEBUG", "temperature"]);
    says(&refused, &["INFO", "answered 400 after"]);
}
