//! Plugins that come, change and go while the server serves.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, asking, plugins};

fn min_p() -> Vec<u8> {
    std::fs::read(plugins().join("min-p.wasm")).expect("a plugin")
}

/// The same component, saying that it is of another version.
fn with_version(component: &[u8], version: &str) -> Vec<u8> {
    let mut changed = component.to_vec();
    for at in 1..changed.len() - 5 {
        // After an @ it is the interface's.
        if &changed[at..at + 5] == b"0.1.0" && changed[at - 1] != b'@' {
            changed[at..at + 5].copy_from_slice(version.as_bytes());
        }
    }
    changed
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let unfinished = folder.join("unfinished");
    std::fs::write(&unfinished, bytes).expect("a file");
    std::fs::rename(unfinished, folder.join(name)).expect("a file in its place");
}

async fn version(server: &Server) -> Value {
    let (_, list) = server.get("/v1/plugins").await;
    list["data"][0]["version"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_swaps_under_sixteen_streams() {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), "p.wasm", &min_p());
    let path = folder.path().display().to_string();
    let server = Server::start_with(&["serve", "--port", "0", "-np", "16", "--plugins-dir", &path]);
    let versions = ["0.2.0", "0.3.0"];
    let components = versions.map(|version| with_version(&min_p(), version));
    let (done, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = async |client: usize| {
        let mut request = asking(&format!("Tell me about the number {client}."));
        request["max_tokens"] = json!(12);
        // Twice in one request: both are the same version, whatever is swapped in between.
        request["minerva"] = json!({ "samplers": [{ "id": "p" }, { "id": "p", "args": { "p": 0.2 } }] });
        while !done.load(Ordering::Relaxed) {
            let chunks = server.stream(&request).await;
            let reports = &chunks.last().expect("chunks")["minerva"]["plugins"];
            let seen: Vec<&str> = reports
                .as_array()
                .expect("reports")
                .iter()
                .filter_map(|report| report["version"].as_str())
                .collect();
            assert_eq!(seen.len(), 2, "{reports}");
            assert_eq!(seen[0], seen[1]);
            assert!(["0.1.0"].iter().chain(&versions).any(|version| *version == seen[0]), "{seen:?}");
            assert!(
                reports.as_array().expect("reports").iter().all(|report| report["fault"].is_null()),
                "{reports}"
            );
            answers.fetch_add(1, Ordering::Relaxed);
        }
    };
    let swaps = async {
        for swap in 0..100 {
            put(folder.path(), "p.wasm", &components[swap % 2]);
            let begun = Instant::now();
            while version(&server).await != versions[swap % 2] {
                assert!(begun.elapsed() < PATIENCE, "swap {swap} does not come");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(swaps, futures::future::join_all((0..16).map(client)));
    assert!(answers.load(Ordering::Relaxed) >= 16);
    server.becomes_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_installs_a_plugin_and_it_is_used() {
    let server = Server::start_with(&["serve", "--port", "0", "--admin-key", "root"]);
    let post = async |name: &str, key: &str, body: Vec<u8>| {
        let url = server.url(&format!("/v1/plugins?name={name}"));
        let answer = server.client.post(url).bearer_auth(key).body(body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.expect("JSON"))
    };
    let (status, answer) = post("new", "wrong", min_p()).await;
    assert_eq!(status, 401, "{answer}");
    let (status, answer) = post("new", "root", min_p()).await;
    assert_eq!((status, &answer["version"]), (201, &json!("0.1.0")), "{answer}");
    let (status, answer) = post("new", "root", min_p()[..500].to_vec()).await;
    assert_eq!((status, &answer["error"]["type"]), (400, &json!("invalid_request_error")), "{answer}");
    let mut request = asking("What is a plugin?");
    request["max_tokens"] = json!(8);
    request["minerva"] = json!({ "samplers": [{ "id": "new@0.1" }] });
    let (status, answer) = server.post("/v1/chat/completions", &request).await;
    assert_eq!((status, &answer["minerva"]["plugins"][0]["name"]), (200, &json!("new")), "{answer}");
    let removed = server
        .client
        .delete(server.url("/v1/plugins/new"))
        .bearer_auth("root")
        .send()
        .await
        .expect("an answer");
    assert_eq!(removed.status().as_u16(), 200);
    let (status, answer) = server.post("/v1/chat/completions", &request).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &json!("minerva.samplers[0].id")), "{answer}");
}
