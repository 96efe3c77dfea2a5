//! Many streams at once.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};

use crate::harness::{QUESTIONS, Server, asking, streamed_text};

/// Sixteen requests, with every combination of plugins.
fn requests() -> Vec<Value> {
    let request = |index: usize| {
        let mut request = asking(QUESTIONS[index % QUESTIONS.len()]);
        request["temperature"] = json!(0);
        request["max_tokens"] = json!(30 + index);
        let mut plugins = json!({});
        if index & 1 != 0 {
            plugins["samplers"] = json!([{ "id": "min-p", "args": { "p": 0.1 } }]);
        }
        if index & 2 != 0 {
            plugins["stream"] = json!([{ "id": "redact", "args": { "patterns": ["[aeiou]{1,2}"] } }]);
        }
        if index & 4 != 0 {
            plugins["template"] = json!({ "id": "persona" });
        }
        request["minerva"] = plugins;
        request
    };
    (0..16).map(request).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_streams_with_different_plugins_say_what_each_says_alone() {
    let server = Server::start(&["-np", "16"]);
    let requests = requests();
    let mut alone = Vec::new();
    for request in &requests {
        alone.push(streamed_text(&server.stream(request).await));
    }
    for round in 0..3 {
        let together = futures::future::join_all(requests.iter().map(|request| server.stream(request))).await;
        for (index, chunks) in together.iter().enumerate() {
            assert_eq!(
                streamed_text(chunks),
                alone[index],
                "round {round}, request {index}: {}",
                requests[index]
            );
        }
    }
    assert!(alone.iter().filter(|text| text.len() > 20).count() >= 8, "too little was said: {alone:?}");
    server.becomes_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_disconnects_leave_no_sequence() {
    let server = Server::start(&["-np", "8"]);
    let hang_up = |index: usize| {
        let server = &server;
        async move {
            let mut request = asking(QUESTIONS[index % QUESTIONS.len()]);
            request["stream"] = json!(!index.is_multiple_of(3));
            request["ignore_eos"] = json!(true);
            request["max_tokens"] = json!(1000);
            if index.is_multiple_of(2) {
                request["minerva"] =
                    json!({ "samplers": [{ "id": "min-p" }], "stream": [{ "id": "redact" }] });
            }
            let sending = server.client.post(server.url("/v1/chat/completions")).json(&request).send();
            // In the queue, in prefill, in the first tokens, later: wherever this finds it. The numbers only spread.
            let wait = Duration::from_millis((index as u64 * 37) % 180);
            let read = async {
                if let Ok(answer) = sending.await {
                    let mut bytes = answer.bytes_stream();
                    while bytes.next().await.is_some() {}
                }
            };
            let _ = tokio::time::timeout(wait, read).await;
        }
    };
    for batch in 0..10 {
        futures::future::join_all((0..20).map(|index| hang_up(batch * 20 + index))).await;
    }
    server.becomes_idle().await;
    assert!(server.chat(&asking("Hello!")).await.len() > 1);
}
