//! Others' client libraries, from their packages. They need Python and a package registry: without, the test says so
//! and is skipped, unless `MINERVA_TEST_REQUIRE_CLIENTS` is set.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use crate::harness::{Server, root, shown};

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_cannot_tell_the_difference() {
    holds("openai_chat.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_anthropic_package_cannot_tell_the_difference() {
    holds("anthropic_messages.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parser_of_prometheus_reads_the_metrics() {
    holds("prometheus_metrics.py").await;
}

/// Runs a script of checks against a server.
async fn holds(script: &'static str) {
    let Some(python) = python() else { return };
    let server = Server::start(&["-np", "4"]);
    let script = root().join("tests/clients").join(script);
    let url = server.url.clone();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(python).arg("-B").arg(script).arg(url).output().expect("Python starts")
    });
    let output = output.await.expect("it ends");
    assert!(output.status.success(), "{}", shown(&output));
    server.becomes_idle().await;
}

/// Made once, by whichever test comes first.
static PYTHON: LazyLock<Option<PathBuf>> = LazyLock::new(make_python);

fn python() -> Option<PathBuf> {
    PYTHON.clone()
}

/// A Python that has the packages, in an environment of its own below the target folder.
fn make_python() -> Option<PathBuf> {
    let root = root();
    let environment = root.join("target/clients");
    let python = environment.join("bin/python");
    let requirements = root.join("tests/clients/requirements.txt");
    let made = |command: &mut Command| {
        command
            .output()
            .map_err(|error| error.to_string())
            .and_then(|output| if output.status.success() { Ok(()) } else { Err(shown(&output)) })
    };
    let ready = made(Command::new("python3").args(["-m", "venv"]).arg(&environment)).and_then(|()| {
        made(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(requirements))
    });
    match ready {
        Ok(()) => Some(python),
        Err(error) if std::env::var_os("MINERVA_TEST_REQUIRE_CLIENTS").is_none() => {
            eprintln!("skipped: the client packages cannot be had here: {error}");
            None
        }
        Err(error) => panic!("the clients are required here: {error}"),
    }
}
