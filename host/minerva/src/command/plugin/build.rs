//! `minerva plugin build`: from a project to a component that loads.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::ValueEnum as _;
use minerva::engine::plugin::Kind;
use minerva::wasm::{Options, Runtime};
use serde_json::Value;

use crate::command::plugin::{check, new};
use crate::config::{BuildArguments, Language, PluginKind};

/// The target of rustc that makes components.
const RUST_TARGET: &str = "wasm32-wasip2";

/// Builds a project, and says where the component is and how to try it.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(arguments: &BuildArguments) -> Result<()> {
    let BuildArguments { folder, output } = arguments;
    if !folder.is_dir() {
        bail!("{} is no folder; `minerva plugin new` makes a project", folder.display());
    }
    let output = if folder.join("plugin.json").is_file() {
        scripted(folder, output.as_deref())?
    } else if folder.join("Cargo.toml").is_file() {
        rust(folder, output.as_deref())?
    } else {
        bail!("{} is no plugin's project: it has neither Cargo.toml nor plugin.json", folder.display());
    };

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

/// Where a component goes.
fn place(folder: &Path, name: &str, output: Option<&Path>) -> PathBuf {
    output.map_or_else(|| folder.join(format!("{name}.wasm")), Path::to_owned)
}

/// The command that installs the toolchain of a language into a project, where that is not cargo's business.
pub(super) fn install(language: Language, folder: &Path) -> Option<String> {
    let folder = folder.display();
    match language {
        Language::Rust => None,
        Language::Python => {
            let pip = format!("{folder}/.venv/bin/pip install -r {folder}/requirements.txt");
            Some(format!("python3 -m venv {folder}/.venv && {pip}"))
        }
        Language::Js => Some(format!("npm install --prefix {folder}")),
    }
}

/// A project of a language that is put into a component together with its engine.
fn scripted(folder: &Path, output: Option<&Path>) -> Result<PathBuf> {
    let manifest = folder.join("plugin.json");
    let text = std::fs::read_to_string(&manifest)?;
    let field = |name: &str| {
        let value: Value = serde_json::from_str(&text).ok()?;
        value[name].as_str().map(str::to_owned)
    };
    let wrong = |name: &str, values: &str| anyhow!("{}: \"{name}\" is not {values}", manifest.display());
    let name = field("name").ok_or_else(|| wrong("name", "a text"))?;
    let kind = field("kind").and_then(|kind| PluginKind::from_str(&kind, false).ok());
    let kind = kind.ok_or_else(|| wrong("kind", "sampler, template or stream"))?.as_str();
    let language = field("language").and_then(|language| Language::from_str(&language, false).ok());

    // Whole paths, because the tool is run in the project's folder.
    let whole = folder.canonicalize()?;
    let shown = place(folder, &name, output);
    let place = std::path::absolute(&shown)?;
    let (tool, own, language) = match language {
        Some(language @ Language::Python) => ("componentize-py", ".venv/bin/componentize-py", language),
        Some(language @ Language::Js) => ("componentize-qjs", "node_modules/.bin/componentize-qjs", language),
        _ => return Err(wrong("language", "python or js")),
    };
    // The project's own before the machine's.
    let own = whole.join(own);
    let program = if own.exists() { own } else { tool.into() };
    let mut command = Command::new(&program);
    let world = format!("{kind}-plugin");
    if language == Language::Python {
        let glue = format!("minerva_plugin/glue/{kind}");
        command.args(["-d", "wit", "-w", &world, "componentize", "-p", ".", "-p", &glue, "app"]);
    } else {
        let glue = format!("minerva-plugin/glue/{kind}.js");
        command.args(["-w", "wit", "-j", &glue, "--module-root", ".", "-n", &world]);
        command.args(["--sync", "--stub-wasi", "-m"]);
    }
    let made = command.arg("-o").arg(&place).current_dir(folder).output().map_err(|error| {
        let install = install(language, folder).unwrap_or_default();
        anyhow!("{tool} cannot be run ({error}); install it with: {install}")
    })?;
    if !made.status.success() {
        let said = [made.stdout, made.stderr].concat();
        bail!("{tool} could not build {}:\n{}", folder.display(), String::from_utf8_lossy(&said).trim());
    }
    Ok(shown)
}

fn rust(folder: &Path, output: Option<&Path>) -> Result<PathBuf> {
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
    let messages = String::from_utf8_lossy(&cargo.stdout);
    let (name, component) =
        messages.lines().filter_map(|line| artifact(line, &manifest)).next_back().ok_or_else(|| {
            anyhow!("{} made no component; it needs [lib] crate-type = [\"cdylib\"]", manifest.display())
        })?;
    let place = place(folder, &name, output);
    std::fs::copy(&component, &place)
        .with_context(|| format!("{} cannot be copied to {}", component.display(), place.display()))?;
    Ok(place)
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
