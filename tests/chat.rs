//! Chats with the built-in model.

use serde_json::json;

use crate::harness::{Server, asking, minerva, run, shown, streamed_text};

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says() {
    let server = Server::start(&[]);
    let mut question = asking("What is a plugin?");
    question["temperature"] = json!(0);
    question["max_tokens"] = json!(60);
    let whole = server.chat(&question).await;
    assert!(whole.len() > 10, "an answer of a trained model: {whole:?}");
    question["stream_options"] = json!({ "include_usage": true });
    let chunks = server.stream(&question).await;
    assert_eq!(streamed_text(&chunks), whole);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let last = chunks.last().expect("a usage chunk");
    assert_eq!(last["choices"], json!([]));
    assert!(last["usage"]["completion_tokens"].as_u64().expect("a count") > 3, "{last}");
}

#[tokio::test]
async fn each_hook_changes_the_answer_and_is_reported() {
    let server = Server::start(&[]);
    let mut plain = asking("What is a plugin?");
    plain["temperature"] = json!(0);
    plain["max_tokens"] = json!(40);
    let said = server.chat(&plain).await;

    let mut with = plain.clone();
    with["minerva"] = json!({
        "template": { "id": "persona" },
        "samplers": [{ "id": "min-p", "args": { "p": 0.5 } }],
        "stream": [{ "id": "redact", "args": { "patterns": ["[a-z]"], "replacement": "#" } }],
    });
    let (status, answer) = server.post("/v1/chat/completions", &with).await;
    assert_eq!(status, 200, "{answer}");
    let redacted = answer["choices"][0]["message"]["content"].as_str().expect("text");
    assert!(redacted.contains('#') && !redacted.contains(|c: char| c.is_ascii_lowercase()), "{redacted}");
    assert_ne!(redacted, said);
    let plugins = answer["minerva"]["plugins"].as_array().expect("reports");
    let named: Vec<&str> = plugins.iter().filter_map(|report| report["name"].as_str()).collect();
    assert_eq!(named, ["persona", "min-p", "redact"], "{answer}");
    assert!(
        plugins.iter().all(|report| report["fault"].is_null() && report["calls"].as_u64() >= Some(1)),
        "{answer}"
    );
}

#[tokio::test]
async fn thinking_that_the_server_switches_off_is_a_variable_and_ended_in_the_prompt() {
    let server = Server::start(&[
        "--reasoning",
        "off",
        "--chat-template",
        "{{ enable_thinking }}, {{ style }}<think>",
    ]);
    let rendered = async |more: serde_json::Value| {
        let body = json!({ "messages": [{ "role": "user", "content": "x" }], "chat_template_kwargs": more });
        let (status, answer) = server.post("/apply-template", &body).await;
        assert_eq!(status, 200, "{answer}");
        answer["prompt"].as_str().expect("a prompt").to_owned()
    };
    assert_eq!(rendered(json!({ "style": "plain" })).await, "False, plain<think></think>");
    assert_eq!(rendered(json!({ "enable_thinking": true })).await, "True, <think>");
}

#[test]
fn without_jinja_a_template_must_be_one_that_is_built_in() {
    let output = run(&["serve", "--port", "0", "--no-jinja", "--chat-template", "{{ messages }}"]);
    assert!(!output.status.success(), "{}", shown(&output));
    assert!(shown(&output).contains("recognises this one as none"), "{}", shown(&output));
}

#[test]
fn run_answers_on_the_terminal() {
    let output = run(&["run", "-n", "20", "--temperature", "0", "Hello!"]);
    assert!(output.status.success(), "{}", shown(&output));
    assert!(String::from_utf8_lossy(&output.stdout).trim().len() > 3, "{}", shown(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tokens/s"), "{}", shown(&output));

    // From standard input, with a plugin that is not there.
    let output = minerva(&["run", "--sampler", "nope", "Hello!"]).output().expect("the program starts");
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("no sampler plugin 'nope'"),
        "{}",
        shown(&output)
    );
}
