//! Others' client libraries, from their packages. They need Python and a package registry: without, the test says so
//! and is skipped, unless `MINERVA_TEST_REQUIRE_CLIENTS` is set.

use std::process::Command;

use crate::harness::{Server, root, shown};

#[tokio::test(flavor = "multi_thread")]
async fn the_openai_package_cannot_tell_the_difference() {
    let Some(python) = python() else { return };
    let server = Server::start(&["-np", "4"]);
    let script = root().join("tests/clients/openai_chat.py");
    let url = server.url.clone();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(python).arg(script).arg(url).output().expect("Python starts")
    });
    let output = output.await.expect("it ends");
    assert!(output.status.success(), "{}", shown(&output));
    server.becomes_idle().await;
}

/// A Python that has the packages, in an environment of its own below the target folder.
fn python() -> Option<std::path::PathBuf> {
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
            eprintln!("skipped: the openai package cannot be had here: {error}");
            None
        }
        Err(error) => panic!("the clients are required here: {error}"),
    }
}
