//! Plugins that misbehave, through the server: their own request gets an error that names them, and no other
//! request notices.

use serde_json::{Value, json};

use crate::harness::{Server, asking, guests, plugins, run, shown};

/// Serves the good plugins and the bad ones.
fn start() -> Server {
    let mut named: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(guests()).expect("the guests") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a stem").to_string_lossy().into_owned();
        // What does not load is another test's.
        if run(&["plugin", "check", path.to_str().expect("a path")]).status.success() {
            named.push(format!("--plugin={name}={}", path.display()));
        }
    }
    let plugins = plugins().display().to_string();
    let mut arguments = vec!["serve", "--port", "0", "-np", "8", "--plugins-dir", plugins.as_str()];
    arguments.extend(named.iter().map(String::as_str));
    Server::start_with(&arguments)
}

fn using(kind: &str, id: &str) -> Value {
    let mut request = asking("What is Minerva?");
    request["max_tokens"] = json!(40);
    request["temperature"] = json!(0);
    let one = json!({ "id": id });
    request["minerva"] = if kind == "template" { json!({ "template": one }) } else { json!({ kind: [one] }) };
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_plugin_fails_its_own_request_and_no_other() {
    let server = start();
    let neighbour = using("samplers", "min-p");
    let alone = server.chat(&neighbour).await;
    let (_, listed) = server.get("/v1/plugins").await;
    let listed = listed["data"].as_array().expect("a list").clone();
    let mut tried = 0;
    for plugin in &listed {
        let name = plugin["id"].as_str().or(plugin["name"].as_str()).expect("a name");
        if ["min-p", "persona", "redact"].contains(&name) {
            continue;
        }
        let kinds = plugin["kinds"].as_array().cloned().unwrap_or_else(|| vec![plugin["kind"].clone()]);
        for kind in kinds {
            let key = match kind.as_str() {
                Some("sampler") => "samplers",
                Some(other) => other,
                None => panic!("no kind: {plugin}"),
            };
            let bad = using(key, name);
            let ((status, answer), said) =
                tokio::join!(server.post("/v1/chat/completions", &bad), server.chat(&neighbour));
            assert_eq!(said, alone, "beside {name}");
            if status != 200 {
                let message = answer["error"]["message"].as_str().expect("a message");
                assert!(message.contains(name), "{name}: {message}");
                assert!(status == 500 || status == 400, "{name}: {status} {message}");
            }
            tried += 1;
        }
    }
    assert!(tried >= 5, "only {tried} bad plugins were tried: {listed:?}");
    server.becomes_idle().await;
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
