//! What `plugin.json` says: the project of a language that has no manifest of its own for such things.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::ValueEnum as _;
use serde_json::Value;

use crate::config::{Language, PluginKind};

/// What the world is called that a project is bound to.
pub(super) const WORLD: &str = "plugin";

/// A project.
pub(super) struct Project {
    pub folder: PathBuf,
    pub name: String,
    pub kind: PluginKind,
    pub language: Language,
    /// Whether it imports the interface `store`.
    store: bool,
    /// Whether nothing may be installed.
    offline: bool,
}

/// A program of a toolchain.
pub(super) struct Tool {
    /// What it is called, on the machine too.
    pub name: &'static str,
    /// Where it lies in a project that it is installed into.
    pub own: &'static str,
}

impl Project {
    /// Reads `plugin.json`.
    pub(super) fn read(folder: &Path, offline: bool) -> Result<Self> {
        let manifest = folder.join("plugin.json");
        let shown = manifest.display();
        let text = std::fs::read_to_string(&manifest).with_context(|| format!("{shown} cannot be read"))?;
        let value: Value = serde_json::from_str(&text).with_context(|| format!("{shown} is not JSON"))?;
        let wrong = |name: &str, values: &str| anyhow!("{shown}: \"{name}\" is not {values}");
        let word = |name: &str| value[name].as_str();
        let name = word("name").ok_or_else(|| wrong("name", "a text"))?.to_owned();
        let kind = word("kind").and_then(|kind| PluginKind::from_str(kind, false).ok());
        let kind = kind.ok_or_else(|| wrong("kind", "sampler, template or stream"))?;
        let language = word("language").and_then(|language| Language::from_str(language, false).ok());
        let language = language.filter(|&language| language != Language::Rust);
        let language = language.ok_or_else(|| wrong("language", "c, python, js or ts"))?;
        let store = match &value["store"] {
            Value::Null => false,
            Value::Bool(store) => *store,
            _ => return Err(wrong("store", "true or false")),
        };
        Ok(Self { folder: folder.to_owned(), name, kind, language, store, offline })
    }

    /// Makes the folder of the interface with the project's world in it: that of its kind, with `store` if it wants it.
    /// Where the toolchain links only what is used, wanting is using.
    pub(super) fn world(&self) -> Result<PathBuf> {
        let folder = self.folder.canonicalize()?;
        let into = folder.join("build/wit");
        let store = if self.store || self.language == Language::C { "import store; " } else { "" };
        let world = format!("world {WORLD} {{ include {}-plugin; {store}}}\n", self.kind.as_str());
        std::fs::create_dir_all(&into)
            .and_then(|()| std::fs::copy(folder.join("wit/plugin.wit"), into.join("plugin.wit")))
            .and_then(|_| std::fs::write(into.join("world.wit"), world))
            .with_context(|| format!("wit/plugin.wit cannot be copied to {}", into.display()))?;
        Ok(into)
    }

    /// Runs a tool in the project's folder, with what `arguments` adds, and returns what it says. The project's own goes
    /// before the machine's; where there is neither, it is installed.
    pub(super) fn run(&self, tool: &Tool, arguments: impl Fn(&mut Command)) -> Result<String> {
        let folder = self.folder.canonicalize()?;
        let own = folder.join(tool.own);
        let output = |program: &Path| {
            let mut command = Command::new(program);
            arguments(&mut command);
            command.current_dir(&folder).output()
        };
        let name = tool.name;
        let mut made = output(if own.exists() { &own } else { Path::new(name) });
        if made.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            self.install(name)?;
            made = output(&own);
        }
        let made = made.map_err(|error| anyhow!("{name} cannot be run: {error}"))?;
        let said = [made.stdout, made.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if !made.status.success() {
            let missing = !self.store && said.contains("minerva:plugin/store");
            let hint = if missing { "\nto use the store, say \"store\": true in plugin.json" } else { "" };
            bail!("{name} could not build {}:\n{}{hint}", self.folder.display(), said.trim());
        }
        Ok(said)
    }

    /// Installs the toolchain into the project, as its own requirements say.
    fn install(&self, name: &str) -> Result<()> {
        let steps = match self.language {
            Language::Rust => Vec::new(),
            Language::C | Language::Python => {
                let environment = self.folder.join(".venv");
                let pip = environment.join("bin/pip").display().to_string();
                let requirements = self.folder.join("requirements.txt").display().to_string();
                vec![
                    ["python3", "-m", "venv", &environment.display().to_string()].map(str::to_owned).to_vec(),
                    [&pip, "install", "--quiet", "-r", &requirements].map(str::to_owned).to_vec(),
                ]
            }
            Language::Js | Language::Ts => {
                let folder = self.folder.display().to_string();
                vec![["npm", "install", "--silent", "--prefix", &folder].map(str::to_owned).to_vec()]
            }
        };
        let shown = steps.iter().map(|step| step.join(" ")).collect::<Vec<_>>().join(" && ");
        if self.offline {
            bail!("{name} is not there; install it with: {shown}");
        }
        eprintln!("{name} is not there; installing it into the project with: {shown}");
        for step in steps {
            let status = Command::new(&step[0]).args(&step[1..]).stdout(std::io::stderr()).status();
            let failed = |reason: String| {
                anyhow!("{name} is not there, and {} {reason}; what installs it: {shown}", step[0])
            };
            let status = status.map_err(|error| failed(format!("cannot be run ({error})")))?;
            if !status.success() {
                return Err(failed("failed, as it says above".to_owned()));
            }
        }
        Ok(())
    }
}
