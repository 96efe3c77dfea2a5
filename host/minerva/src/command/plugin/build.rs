//! `minerva plugin build`: from a project to a component that loads.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use minerva::engine::plugin::Kind;
use minerva::wasm::{Options, Runtime};
use serde_json::Value;

use crate::command::plugin::{check, new};
use crate::config::{BuildArguments, PluginKind};

/// The target of rustc that makes components.
const RUST_TARGET: &str = "wasm32-wasip2";

/// Builds a project, and says where the component is and how to try it.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(arguments: &BuildArguments) -> Result<()> {
    let BuildArguments { folder, output } = arguments;
    if !folder.is_dir() {
        bail!("{} is no folder; `minerva plugin new` makes a project", folder.display());
    }
    let built = if folder.join("Cargo.toml").is_file() {
        rust(folder)?
    } else {
        bail!("{} is no plugin's project: it has no Cargo.toml", folder.display());
    };
    let output = output.clone().unwrap_or_else(|| folder.join(format!("{}.wasm", built.name)));
    std::fs::copy(&built.component, &output)
        .with_context(|| format!("{} cannot be copied to {}", built.component.display(), output.display()))?;

    let runtime = Runtime::new(Options { full_row: true, ..Options::default() })?;
    let name = check::name(&output);
    let inspection = runtime.inspect(&name, &output)?;
    let (file, identity) = (output.display(), &inspection.identity);
    println!("{file}: {} {}, {} bytes. To try it:\n", identity.name, identity.version, inspection.bytes);
    println!("  minerva plugin test {file}");
    for kind in &inspection.kinds {
        let kind = match kind.kind {
            Kind::Sampler => PluginKind::Sampler,
            Kind::Template => PluginKind::Template,
            Kind::Stream => PluginKind::Stream,
        };
        println!("  {}", new::try_it(&name, &file.to_string(), kind));
    }
    Ok(())
}

/// What a toolchain made.
struct Built {
    name: String,
    component: PathBuf,
}

fn rust(folder: &Path) -> Result<Built> {
    let has_target = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", RUST_TARGET])
        .current_dir(folder)
        .output()
        .map(|said| Path::new(String::from_utf8_lossy(&said.stdout).trim()).is_dir());
    match has_target {
        Err(_) => bail!("Rust is missing; install it from https://rustup.rs, then try again"),
        Ok(false) => bail!(
            "the Rust target {RUST_TARGET} is missing; install it with: rustup target add {RUST_TARGET}"
        ),
        Ok(true) => {}
    }
    // Its progress and complaints go straight to the terminal, what it made comes here.
    let cargo = Command::new("cargo")
        .args(["build", "--release", "--target", RUST_TARGET])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| anyhow!("cargo cannot be run ({error}); install Rust from https://rustup.rs"))?;
    if !cargo.status.success() {
        bail!("cargo could not build {}; what it says is above", folder.display());
    }
    let manifest = folder.join("Cargo.toml").canonicalize().context("the folder is gone")?;
    String::from_utf8_lossy(&cargo.stdout)
        .lines()
        .filter_map(|line| artifact(line, &manifest))
        .next_back()
        .ok_or_else(|| {
            anyhow!("{} made no component; it needs [lib] crate-type = [\"cdylib\"]", manifest.display())
        })
}

/// The component that a line of cargo's messages tells of, if it is this package's.
fn artifact(line: &str, manifest: &Path) -> Option<Built> {
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
    Some(Built { name, component: component.into() })
}
