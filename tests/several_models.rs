//! The configuration file, several models in one server, and what changes while it runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, minerva, plugins, root, run, shown};

fn builtin() -> PathBuf {
    root().join("host/models/builtin/minerva-tiny.gguf")
}

/// Replaces the file in one go: a server that reads it meanwhile sees the old text or the new one.
fn written(folder: &Path, text: &str) -> String {
    let path = folder.join("config.toml");
    let new = folder.join("config.toml.new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(&new, &path).expect("a file");
    path.to_str().expect("a path").to_owned()
}

/// A file with two models, of which one fits.
fn two_models(folder: &Path) -> String {
    let path = builtin();
    let path = path.display();
    written(
        folder,
        &format!(
            "[server]\nport = 0\nmodels_max = 1\nadmin_key = \"root\"\n\
             [performance]\nparallel = 2\n[model]\nctx_size = 512\n\
             [[models]]\nname = \"one\"\npath = \"{path}\"\naliases = [\"first\"]\npreload = true\ntemperature = 0\n\
             [[models]]\nname = \"two\"\npath = \"{path}\"\nparallel = 1\nctx_size = 128\npredict = 3\n"
        ),
    )
}

fn asking(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "What is a plugin?"}], "max_tokens": 8})
}

#[tokio::test(flavor = "multi_thread")]
async fn models_of_the_file_are_served_each_with_its_own_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = two_models(folder.path());
    let server = Server::start_with(&["serve", "--config", &config]);
    let (_, list) = server.get("/v1/models").await;
    assert_eq!(list["data"][0]["status"]["value"], "loaded", "it was to be preloaded: {list}");
    assert_eq!(list["data"][1]["status"]["value"], "unloaded");
    let first = server.chat(&asking("first")).await;
    assert_eq!(first, server.chat(&asking("one")).await, "temperature 0 is the model's default");
    let mut request = asking("two");
    request.as_object_mut().expect("an object").remove("max_tokens");
    let (status, answer) = server.post("/v1/chat/completions", &request).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["model"], &answer["usage"]["completion_tokens"]), (&json!("two"), &json!(3)));
    let (_, list) = server.get("/v1/models").await;
    let [one, two] = list["data"].as_array().expect("a list").as_slice() else { panic!("{list}") };
    assert_eq!((&one["status"]["value"], &one["usage"]["evictions"]), (&json!("unloaded"), &json!(1)));
    assert_eq!((&two["meta"]["n_parallel"], &two["meta"]["n_ctx"]), (&json!(1), &json!(128)));
    let (status, answer) = server.post("/v1/chat/completions", &asking("three")).await;
    assert_eq!(status, 404, "{answer}");
    assert_eq!(server.terminate().await, Some(0));
}

#[test]
fn what_holds_is_printed_with_where_it_comes_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = two_models(folder.path());
    let mut command = minerva(&["config", "--config", &config, "--stall-timeout", "7"]);
    let output = command.env("MINERVA_DRAIN_TIMEOUT", "9").output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "stall_timeout = 7   # flag",
        "drain_timeout = 9   # MINERVA_DRAIN_TIMEOUT",
        "body_limit = 33554432   # default",
        "admin_key = [\"(hidden)\"]   # ",
        "[[models]]",
    ] {
        assert!(text.contains(line), "{line} is not in {}", shown(&output));
    }
    assert!(text.contains(&format!("models_max = 1   # {config}, line 3")), "{}", shown(&output));
    assert!(!text.contains("root"), "a key is shown: {text}");
    let wrong = written(folder.path(), "[server]\nprot = 1\n");
    for command in ["config", "serve", "run"] {
        let output = run(&[command, "--config", &wrong]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        assert!(said.contains("line 2") && said.contains("did you mean `server.port`?"), "{said}");
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_changes_the_keys_and_a_wrong_file_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = written(folder.path(), "[server]\napi_key = [\"old\"]\n");
    let server = Server::start_with(&["serve", "--port", "0", "-np", "1", "--config", &config]);
    let lets_in = async |key: &str| {
        let asked = server.client.get(server.url("/v1/plugins")).bearer_auth(key).send().await;
        asked.expect("an answer").status().as_u16() == 200
    };
    assert!(lets_in("old").await && !lets_in("new").await);
    // Wrong, and what is there while an editor writes: no keys, which would let everyone in.
    for wrong in ["[server]\napi_key = [\"new\"]\nprot = 1\n", ""] {
        written(folder.path(), wrong);
        for _ in 0..5 {
            server.signal("-HUP");
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(lets_in("old").await && !lets_in("new").await);
        }
    }
    written(folder.path(), "[server]\napi_key = [\"new\"]\ndrain_timeout = 7\n");
    let begun = Instant::now();
    while !lets_in("new").await {
        assert!(begun.elapsed() < PATIENCE, "the new key never came");
        server.signal("-HUP");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!lets_in("old").await);
    assert_eq!(server.terminate().await, Some(0));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_brings_in_models_that_are_not_loaded_and_new_plugins() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = builtin();
    let path = path.display();
    let model =
        |name: &str, more: &str| format!("[[models]]\nname = \"{name}\"\npath = \"{path}\"\n{more}\n");
    let head = "[server]\nport = 0\n[performance]\nparallel = 1\n[model]\nctx_size = 512\n";
    let at_first =
        [head, &model("stays", "preload = true"), &model("goes", ""), &model("changes", "predict = 3")]
            .concat();
    let config = written(folder.path(), &at_first);
    let server = Server::start_with(&["serve", "--config", &config]);
    let names = async || {
        let (_, list) = server.get("/v1/models").await;
        let data = list["data"].as_array().expect("a list").clone();
        let mut names: Vec<String> =
            data.iter().map(|model| model["id"].as_str().expect("an id").to_owned()).collect();
        names.sort();
        names
    };
    let tokens = async |model: &str| {
        let mut request = asking(model);
        request.as_object_mut().expect("an object").remove("max_tokens");
        let (status, answer) = server.post("/v1/chat/completions", &request).await;
        assert_eq!(status, 200, "{answer}");
        answer["usage"]["completion_tokens"].as_u64()
    };
    assert_eq!(names().await, ["changes", "goes", "stays"]);
    // One goes, one comes, one changes that is not loaded, one that is loaded would; and there is a plugin.
    let plugin = plugins().join("min-p.wasm");
    let then = [
        head,
        &model("stays", "preload = true\npredict = 2"),
        &model("comes", "predict = 4\nsampler = [\"min-p\"]"),
        &model("changes", "predict = 5"),
        &format!("[[plugins]]\nname = \"min-p\"\npath = \"{}\"\n", plugin.display()),
    ];
    written(folder.path(), &then.concat());
    server.signal("-HUP");
    let begun = Instant::now();
    while names().await != ["changes", "comes", "stays"] {
        assert!(begun.elapsed() < PATIENCE, "{:?}", names().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_, listed) = server.get("/v1/plugins").await;
    assert!(listed.to_string().contains("\"min-p\""), "{listed}");
    assert_eq!((tokens("comes").await, tokens("changes").await), (Some(4), Some(5)));
    assert!(tokens("stays").await > Some(2), "what is loaded stays as it is");
    // Something wrong changes nothing.
    written(folder.path(), &[head, &model("twin", ""), &model("twin", "")].concat());
    server.signal("-HUP");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(names().await, ["changes", "comes", "stays"]);
    assert_eq!(server.terminate().await, Some(0));
}

/// Two models take turns in one place. `MINERVA_TEST_SWAPS=200` for more of it.
#[tokio::test(flavor = "multi_thread")]
async fn swapping_models_under_load_loses_no_request_and_leaks_no_memory() {
    let swaps: u64 =
        std::env::var("MINERVA_TEST_SWAPS").ok().and_then(|swaps| swaps.parse().ok()).unwrap_or(12);
    let folder = tempfile::tempdir().expect("a folder");
    let config = two_models(folder.path());
    let server = Server::start_with(&["serve", "--config", &config]);
    let evictions = async || {
        let (_, list) = server.get("/v1/models").await;
        let of = |model: &Value| model["usage"]["evictions"].as_u64().expect("a number");
        list["data"].as_array().expect("a list").iter().map(of).sum::<u64>()
    };
    let client = async |model: &'static str, until: u64| {
        let mut answered = 0;
        while evictions().await < until {
            let (status, answer) = server.post("/v1/chat/completions", &asking(model)).await;
            assert_eq!(status, 200, "{answer}");
            answered += 1;
        }
        answered
    };
    let mut resident = Vec::new();
    let mut answered = 0;
    // The first half fills allocators and caches; what the second adds is what is lost.
    for until in [swaps / 2, swaps] {
        let (a, b, c, d) = tokio::join!(
            client("one", until),
            client("two", until),
            client("one", until),
            client("two", until)
        );
        answered += a + b + c + d;
        server.becomes_idle().await;
        resident.push(server.resident());
    }
    assert!(answered >= swaps, "{answered} answers");
    let grown = resident[1].saturating_sub(resident[0]);
    // A model with its caches takes more than this by itself.
    assert!(grown < 8 << 20, "{grown} bytes more after {swaps} swaps: {resident:?}");
    assert_eq!(server.terminate().await, Some(0));
}

#[test]
fn models_are_listed_from_folders_and_pulled_models_are_not_pulled_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("hub");
    let repository = cache.join("models--owner--tiny");
    let snapshot = repository.join("snapshots/0123abc");
    std::fs::create_dir_all(&snapshot).expect("a folder");
    std::fs::create_dir_all(repository.join("refs")).expect("a folder");
    std::fs::write(repository.join("refs/main"), "0123abc").expect("a file");
    let path = snapshot.join("tiny-Q8_0.gguf");
    std::fs::copy(builtin(), &path).expect("a copy");
    let with_cache = |arguments: &[&str]| {
        minerva(arguments).env("HF_HUB_CACHE", &cache).output().expect("the program starts")
    };
    let listed = with_cache(&["models", "list", "--json"]);
    let list: Value = serde_json::from_slice(&listed.stdout).unwrap_or_else(|_| panic!("{}", shown(&listed)));
    assert_eq!(
        (&list[0]["name"], &list[0]["origin"]),
        (&json!("hf:owner/tiny/tiny-Q8_0.gguf"), &json!("hub"))
    );
    let snapshot = snapshot.to_str().expect("a path");
    let listed = run(&["models", "list", snapshot]);
    assert!(String::from_utf8_lossy(&listed.stdout).starts_with("tiny-Q8_0 "), "{}", shown(&listed));
    let pulled = with_cache(&["pull", "hf:owner/tiny", "--offline"]);
    assert_eq!(
        String::from_utf8_lossy(&pulled.stdout).trim(),
        path.to_str().expect("a path"),
        "{}",
        shown(&pulled)
    );
    let arguments = ["run", "-hf", "owner/tiny:Q8_0", "--offline", "-n", "3", "--quiet", "Hello"];
    let answer = with_cache(&arguments);
    assert!(answer.status.success() && !answer.stdout.is_empty(), "{}", shown(&answer));
    let missing = with_cache(&["serve", "--port", "0", "-m", "hf:owner/other", "--offline"]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && said.contains("owner/other is not in the cache"), "{said}");
    let wrong = run(&["pull", "tiny"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("hf:OWNER/REPOSITORY"), "{}", shown(&wrong));
}
