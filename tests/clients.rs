//! Others' client libraries, from their packages. They need Python or Node and a package registry: without, the test
//! says so and is skipped, unless `MINERVA_TEST_REQUIRE_CLIENTS` is set.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::json;

use crate::harness::{Server, asking, root, run, shown};
use crate::traces::Collector;

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_cannot_tell_the_difference() {
    let Some(python) = PYTHON.clone() else { return };
    holds(python, "openai_chat.py", Server::start(&["-np", "4"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_can_it_of_embeddings() {
    let Some(python) = PYTHON.clone() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    holds(python, "openai_embeddings.py", embedder(folder.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_anthropic_package_cannot_tell_the_difference() {
    let Some(python) = PYTHON.clone() else { return };
    holds(python, "anthropic_messages.py", Server::start(&["-np", "4"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parser_of_prometheus_reads_the_metrics() {
    let Some(python) = PYTHON.clone() else { return };
    holds(python, "prometheus_metrics.py", Server::start(&["-np", "4"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opentelemetrys_own_messages_read_the_spans() {
    let Some(python) = PYTHON.clone() else { return };
    let collector = Collector::start().await;
    let server = collector.serving(&[]);
    let mut request = asking("What is a fox?");
    request["max_tokens"] = json!(3);
    request["ignore_eos"] = json!(true);
    request["frequency_penalty"] = json!(-0.5);
    request["minerva"] = json!({ "samplers": [{ "id": "min-p" }] });
    server.chat(&request).await;
    assert_eq!(server.terminate().await, Some(0));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), collector.sent()).expect("it can be written");
    run_script(python, root().join("tests/clients/otlp_spans.py"), file.path().display().to_string(), &[])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_and_litellm_cannot_tell_the_difference() {
    // A Python of their own: LiteLLM takes an older `openai`.
    let Some(python) = python("frameworks", "requirements-frameworks.txt") else { return };
    holds(python, "frameworks.py", Server::start(&["-np", "4"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_packages_for_javascript_cannot_tell_the_difference() {
    let Some(scripts) = node() else { return };
    for script in ["openai.mjs", "ai.mjs"] {
        holds("node".into(), &scripts.join(script), Server::start(&["-np", "4"])).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    holds("node".into(), &scripts.join("embeddings.mjs"), embedder(folder.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemathesis_finds_what_the_openapi_document_says() {
    let Some(python) = python("openapi", "requirements-openapi.txt") else { return };
    // Short answers, for there are thousands; what a request says itself still holds. The key is the script's.
    let limits = ["-np", "4", "-c", "2048", "--predict", "4", "--api-key", "schemathesis"];
    let script = "openapi_schemathesis.py";
    holds_with(python.clone(), script, &[], Server::start(&limits)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let embedder = synthesized(folder.path(), "tiny-embedding", &["--api-key", "schemathesis"]);
    holds_with(python.clone(), script, &["/v1/embeddings", "/embedding"], embedder).await;
    let reranker = synthesized(folder.path(), "tiny-reranker", &["--api-key", "schemathesis"]);
    holds_with(python, script, &["/v1/rerank"], reranker).await;
}

/// A server of a model of random weights that makes embeddings.
fn embedder(folder: &Path) -> Server {
    synthesized(folder, "tiny-embedding", &[])
}

/// A server of a model of random weights.
fn synthesized(folder: &Path, preset: &str, arguments: &[&str]) -> Server {
    let path = folder.join(format!("{preset}.gguf"));
    let path = path.to_str().expect("UTF-8");
    let output = run(&["models", "synthesize", "--preset", preset, "-o", path]);
    assert!(output.status.success(), "{}", shown(&output));
    Server::start_with(&[&["serve", "--port", "0", "-np", "4", "-m", path], arguments].concat())
}

/// Runs a script of checks against a server; the script is in `tests/clients`, or has a path of its own.
async fn holds(program: PathBuf, script: impl AsRef<Path>, server: Server) {
    holds_with(program, script, &[], server).await;
}

/// The same, with more arguments behind the server's address.
async fn holds_with(
    program: PathBuf,
    script: impl AsRef<Path>,
    more: &'static [&'static str],
    server: Server,
) {
    let script = root().join("tests/clients").join(script);
    run_script(program, script, server.url.clone(), more).await;
    server.becomes_idle().await;
}

async fn run_script(program: PathBuf, script: PathBuf, argument: String, more: &'static [&'static str]) {
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(&program);
        // No compiled scripts beside those of the repository.
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(script)
            .arg(argument)
            .args(more)
            .output()
            .expect("it starts")
    });
    let output = output.await.expect("it ends");
    assert!(output.status.success(), "{}", shown(&output));
}

/// Made once, by whichever test comes first.
static PYTHON: LazyLock<Option<PathBuf>> = LazyLock::new(|| python("clients", "requirements.txt"));

/// A Python that has some packages, in an environment of its own below the target folder.
fn python(name: &str, requirements: &str) -> Option<PathBuf> {
    let environment = root().join("target").join(name);
    let python = environment.join("bin/python");
    let requirements = root().join("tests/clients").join(requirements);
    ready(made(Command::new("python3").args(["-m", "venv"]).arg(&environment)).and_then(|()| {
        made(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(requirements))
    }))?;
    Some(python)
}

/// The folder of scripts for Node, with their packages, below the target folder.
fn node() -> Option<PathBuf> {
    let (from, to) = (root().join("tests/clients/js"), root().join("target/clients-js"));
    std::fs::create_dir_all(&to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the scripts") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
    let install = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    ready(made(Command::new("npm").args(install).current_dir(&to)))?;
    Some(to)
}

fn made(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(shown(&output)) }
}

/// Says why a test is skipped, or fails it where it must not be.
fn ready(made: Result<(), String>) -> Option<()> {
    match made {
        Ok(()) => Some(()),
        Err(error) if std::env::var_os("MINERVA_TEST_REQUIRE_CLIENTS").is_none() => {
            eprintln!("skipped: the client packages cannot be had here: {error}");
            None
        }
        Err(error) => panic!("the clients are required here: {error}"),
    }
}
