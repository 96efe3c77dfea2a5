//! Plugins that misbehave, through the server: their own request gets an error that names them, and no other
//! request notices.

use serde_json::{Value, json};

use crate::harness::{Server, asking, guests, plugins, run, shown};

/// Serves the good plugins, and one that misbehaves as its arguments say.
fn start() -> Server {
    let plugins = plugins().display().to_string();
    let bad = format!("bad={}", guests().join("guest-misbehaving.wasm").display());
    Server::start_with(&["serve", "--port", "0", "-np", "8", "--plugins-dir", &plugins, "--plugin", &bad])
}

fn using(choice: Value) -> Value {
    let mut request = asking("What is Minerva?");
    request["max_tokens"] = json!(40);
    request["temperature"] = json!(0);
    request["minerva"] = choice;
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_plugin_fails_its_own_request_and_no_other() {
    let server = start();
    let neighbour = using(json!({ "samplers": [{ "id": "min-p" }], "stream": [{ "id": "redact" }] }));
    let alone = server.chat(&neighbour).await;
    // What it does, and what the error must say (two limits race for the last); each in the first and in a later call of every kind.
    let misdeeds = [
        ("panic", "trapped"),
        ("trap", "trapped"),
        ("spin", "deadline"),
        ("hog", "memory"),
        ("recurse", "trapped"),
        ("hoard handles", "limit"),
        ("encode for ever", "its"),
    ];
    let places = [
        ("template", "render"),
        ("samplers", "open"),
        ("samplers", "advance"),
        ("samplers", "pick"),
        ("stream", "open"),
        ("stream", "push"),
        ("stream", "close"),
    ];
    for (how, expected) in misdeeds {
        for (kind, at) in places {
            if how == "hoard handles" && kind != "samplers" {
                continue;
            }
            let one = json!({ "id": "bad", "args": { "at": at, "how": how } });
            let choice = if kind == "template" { json!({ kind: one }) } else { json!({ kind: [one] }) };
            let bad = using(choice);
            let (answer, said) =
                tokio::join!(server.post("/v1/chat/completions", &bad), server.chat(&neighbour));
            let (status, answer) = answer;
            assert_eq!(said, alone, "beside one that does {how} in {at}");
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            assert_eq!(status, 500, "{how} in {kind} {at}: {answer}");
            for part in ["bad", "0.1.0", at, expected] {
                assert!(message.contains(part), "{how} in {kind} {at}: no '{part}' in {message}");
            }
        }
    }
    server.becomes_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_that_may_be_skipped_is_reported_and_the_answer_goes_on() {
    let server = start();
    let plain = server.chat(&using(json!({}))).await;
    for (kind, at) in [("samplers", "pick"), ("stream", "push"), ("template", "render")] {
        let one = json!({ "id": "bad", "args": { "at": at, "how": "panic" }, "on_fault": "skip" });
        let choice = if kind == "template" { json!({ kind: one }) } else { json!({ kind: [one] }) };
        let (status, answer) = server.post("/v1/chat/completions", &using(choice)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["choices"][0]["message"]["content"], plain, "{at}");
        let fault = &answer["minerva"]["plugins"][0]["fault"];
        assert!(fault.is_string() || fault.is_object(), "{at}: {answer}");
    }
}

#[test]
fn files_that_are_no_plugins_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = std::fs::read(plugins().join("min-p.wasm")).expect("a plugin");
    let cases: [(&str, Vec<u8>); 4] = [
        ("text.wasm", b"no WebAssembly at all".to_vec()),
        ("empty.wasm", Vec::new()),
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec()),
        ("truncated.wasm", good[..good.len() / 2].to_vec()),
    ];
    for (name, bytes) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        let path = path.to_str().expect("a path");
        let checked = run(&["plugin", "check", path]);
        assert_eq!(checked.status.code(), Some(1), "{name}: {}", shown(&checked));
        assert!(String::from_utf8_lossy(&checked.stderr).contains(name), "{}", shown(&checked));
        let served = run(&["serve", "--port", "0", "--plugin", &format!("bad={path}")]);
        assert_eq!(served.status.code(), Some(1), "{name}: {}", shown(&served));
        assert!(String::from_utf8_lossy(&served.stderr).contains("'bad'"), "{}", shown(&served));
    }
    let output = run(&["plugin", "check", plugins().join("min-p.wasm").to_str().expect("a path")]);
    assert!(output.status.success(), "{}", shown(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("is a       sampler"), "{}", shown(&output));
}
