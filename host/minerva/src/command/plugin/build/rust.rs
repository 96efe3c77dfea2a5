//! Rust: a package of cargo's.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

/// The target of rustc that makes components.
const TARGET: &str = "wasm32-wasip2";

/// Builds a package; its name, and the component.
pub(super) fn build(folder: &Path, offline: bool) -> Result<(String, PathBuf)> {
    let has_target = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .output()
        .map(|said| Path::new(String::from_utf8_lossy(&said.stdout).trim()).is_dir());
    match has_target {
        Err(_) => bail!("Rust is missing; install it from https://rustup.rs, then try again"),
        Ok(false) => {
            bail!("the Rust target {TARGET} is missing; install it with: rustup target add {TARGET}")
        }
        Ok(true) => {}
    }
    // Its progress and complaints go straight to the terminal, what it made comes here.
    let cargo = Command::new("cargo")
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .args(offline.then_some("--offline"))
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| anyhow!("cargo cannot be run ({error}); install Rust from https://rustup.rs"))?;
    if !cargo.status.success() {
        bail!("cargo could not build {}; what it says is above", folder.display());
    }
    let manifest = folder.join("Cargo.toml").canonicalize().context("the folder is gone")?;
    let messages = String::from_utf8_lossy(&cargo.stdout);
    messages.lines().filter_map(|line| artifact(line, &manifest)).next_back().ok_or_else(|| {
        anyhow!("{} made no component; it needs [lib] crate-type = [\"cdylib\"]", manifest.display())
    })
}

/// The name and the component that a line of cargo's messages tells of, if they are this package's.
fn artifact(line: &str, manifest: &Path) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    let of = Path::new(message["manifest_path"].as_str()?).canonicalize().ok()?;
    if message["reason"] != "compiler-artifact" || of != manifest {
        return None;
    }
    let component = message["filenames"]
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .find(|file| Path::new(file).extension().is_some_and(|extension| extension == "wasm"))?;
    let name = message["target"]["name"].as_str()?.replace('_', "-");
    Some((name, component.into()))
}
