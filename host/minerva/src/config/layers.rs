//! Flags over environment over a model's section over the file over defaults.
//!
//! What is weaker than a flag becomes a default of clap's, so that one parser reads all of it, and whoever asks for
//! a setting need not know that there are layers.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, FromArgMatches};

use super::Arguments;
use super::definition::{self, Setting, nearest};
use super::file::{File, Node, Value};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Variable(String),
    /// A place in the file.
    File(String),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => out.write_str("flag"),
            Self::Variable(name) => out.write_str(name),
            Self::File(place) => out.write_str(place),
            Self::Default => out.write_str("default"),
        }
    }
}

/// Values, as text, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub values: Vec<String>,
    pub origin: Origin,
}

/// What the first users' files say of one setting.
const DEVICE_KEYS: [&str; 3] = ["enabled", "backend", "device"];

/// By flag.
type Layer = BTreeMap<String, Given>;

/// One of the `[[models]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Section {
    /// Where it begins.
    pub place: String,
    layer: Layer,
}

impl Section {
    /// Whether it says something of a setting.
    pub(crate) fn sets(&self, setting: &Setting) -> bool {
        self.layer.contains_key(&setting.flag)
    }

    /// Whether it says what another one says, wherever that stands.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let said = |section: &Self| -> Vec<(String, Vec<String>)> {
            section.layer.iter().map(|(flag, given)| (flag.clone(), given.values.clone())).collect()
        };
        said(self) == said(other)
    }

    /// What it says of a flag.
    pub(crate) fn values(&self, flag: &str) -> &[String] {
        self.layer.get(flag).map_or(&[], |given| &given.values)
    }
}

/// Everything that values come from.
#[derive(Debug)]
pub(crate) struct Sources {
    command_line: Vec<OsString>,
    environment: BTreeMap<String, String>,
    settings: Vec<Setting>,
    /// The file that was named, or found; none where there is none, or none is wanted.
    file: Option<PathBuf>,
    globals: Layer,
    /// The `[[models]]`, in their order.
    pub sections: Vec<Section>,
}

/// What holds in the end.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub arguments: Arguments,
    /// Every setting with its values, in the order of the definition.
    pub values: Vec<(Setting, Given)>,
}

impl Resolved {
    /// Where the value of a flag comes from.
    pub(crate) fn origin(&self, flag: &str) -> Option<&Origin> {
        self.values.iter().find(|(setting, _)| setting.flag == flag).map(|(_, given)| &given.origin)
    }
}

impl Sources {
    /// Reads the command line, the environment and the file. Prints help, version or what is wrong with the command
    /// line, and ends the process, where that is asked for.
    ///
    /// # Errors
    ///
    /// When a variable or the file is wrong: with the name, the place, and the nearest right name.
    pub(crate) fn read(command_line: Vec<OsString>, environment: BTreeMap<String, String>) -> Result<Self> {
        let typed = match without_variables(definition::command()).try_get_matches_from(&command_line) {
            Ok(typed) => typed,
            // Once more with the variables, so that help names them. This ends the process.
            Err(_) => definition::command().get_matches_from(&command_line),
        };
        let named = leaf(&typed).get_one::<PathBuf>("config").cloned();
        let named = named.or_else(|| environment.get("MINERVA_CONFIG").map(PathBuf::from));
        let file = match named {
            Some(path) if path.as_os_str() == "off" => None,
            Some(path) => Some(path),
            None if reads_settings(&typed) => File::usual()?,
            None => None,
        };
        let mut sources = Self {
            command_line,
            environment,
            settings: definition::settings(),
            file,
            globals: Layer::new(),
            sections: Vec::new(),
        };
        sources.read_file()?;
        Ok(sources)
    }

    /// The same command line and environment, and the file as it is now.
    ///
    /// # Errors
    ///
    /// As [`Sources::read`].
    pub(crate) fn read_again(&self) -> Result<Self> {
        let mut sources = Self {
            command_line: self.command_line.clone(),
            environment: self.environment.clone(),
            settings: self.settings.clone(),
            file: self.file.clone(),
            globals: Layer::new(),
            sections: Vec::new(),
        };
        sources.read_file()?;
        Ok(sources)
    }

    /// The file that was read.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// Variables that look like ours and are not, with the name that may have been meant. Others may have set them:
    /// Kubernetes makes `MINERVA_SERVICE_HOST` for a service called minerva.
    pub(crate) fn unknown_variables(&self) -> Vec<(String, Option<String>)> {
        // Commands have variables of their own, which are no settings.
        let mut known = of_commands(&definition::command());
        known.extend(self.settings.iter().flat_map(|setting| setting.variables.iter().cloned()));
        let ours = self.environment.keys().filter(|name| name.starts_with("MINERVA_"));
        let unknown = ours.filter(|name| !known.contains(*name));
        unknown
            .map(|name| {
                let written = name.to_lowercase();
                let names: Vec<String> = known.iter().map(|name| name.to_lowercase()).collect();
                let meant = nearest(&written, names.iter().map(String::as_str)).map(str::to_uppercase);
                (name.clone(), meant)
            })
            .collect()
    }

    /// What holds, for one of the models or for all.
    ///
    /// # Errors
    ///
    /// When a variable has a value that its setting cannot have.
    pub(crate) fn resolve(&self, section: Option<&Section>) -> Result<Resolved> {
        let command = without_variables(definition::command());
        let typed = command.clone().try_get_matches_from(&self.command_line)?;
        let typed = leaf(&typed);
        let is_typed = |id: &str| {
            typed.try_contains_id(id).is_ok() && typed.value_source(id) == Some(ValueSource::CommandLine)
        };
        let mut below = BTreeMap::new();
        for setting in &self.settings {
            // A flag displaces what it excludes, too.
            let excludes = |one: &Setting, other: &Setting| {
                let excluded = command.get_arg_conflicts_with(&one.arg);
                excluded.iter().any(|arg| arg.get_id() == other.arg.get_id())
            };
            let displaces = |other: &&Setting| {
                is_typed(other.id()) && (excludes(other, setting) || excludes(setting, other))
            };
            if is_typed(setting.id()) || self.settings.iter().any(|other| displaces(&other)) {
                continue;
            }
            let of_section = || section.and_then(|section| section.layer.get(&setting.flag)).cloned();
            let of_file = || self.globals.get(&setting.flag).cloned();
            if let Some(given) = self.variable(setting)?.or_else(of_section).or_else(of_file) {
                below.insert(setting.id().to_owned(), given);
            }
        }
        let matches = with_defaults(command, &below).try_get_matches_from(&self.command_line)?;
        let last = leaf(&matches);
        let values = self.settings.iter().map(|setting| {
            let raw =
                if last.try_contains_id(setting.id()).is_ok() { last.get_raw(setting.id()) } else { None };
            let values =
                raw.into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect();
            let origin = match below.get(setting.id()) {
                Some(given) => given.origin.clone(),
                None if is_typed(setting.id()) => Origin::Flag,
                None => Origin::Default,
            };
            (setting.clone(), Given { values, origin })
        });
        let values = values.collect();
        Ok(Resolved { arguments: Arguments::from_arg_matches(&matches)?, values })
    }

    /// What the environment says of a setting.
    fn variable(&self, setting: &Setting) -> Result<Option<Given>> {
        let given = setting.variables.iter().find_map(|name| Some((name, self.environment.get(name)?)));
        let Some((name, text)) = given else { return Ok(None) };
        let values: Vec<String> = match setting.arg.get_value_delimiter() {
            Some(delimiter) => text.split(delimiter).map(str::to_owned).collect(),
            None => vec![text.clone()],
        };
        setting.check(&values).map_err(|why| anyhow!("the environment variable {name}: {why}"))?;
        Ok(Some(Given { values, origin: Origin::Variable(name.clone()) }))
    }

    fn read_file(&mut self) -> Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let file = File::read(path)?;
        let reader = Reader { file: &file, settings: &self.settings };
        let mut globals = Layer::new();
        let mut sections = Vec::new();
        for (name, node) in &file.entries {
            match (&**name, &node.value) {
                ("models", Value::List(models)) => {
                    for model in models {
                        sections.push(reader.model(model)?);
                    }
                }
                ("plugins", Value::List(plugins)) => {
                    for plugin in plugins {
                        reader.plugin(plugin, &mut globals)?;
                    }
                }
                ("models" | "plugins", _) => {
                    bail!(
                        "`{name}` in {} is {}, and has to be a list of tables: write [[{name}]]",
                        file.place(node.line),
                        node.kind()
                    );
                }
                (_, Value::Table(entries)) => reader.section(name, node, entries, &mut globals)?,
                _ => return Err(reader.stray(name, node)),
            }
        }
        (self.globals, self.sections) = (globals, sections);
        Ok(())
    }
}

/// The variables that clap knows, of a command and of those below it.
fn of_commands(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()));
    own.chain(command.get_subcommands().flat_map(of_commands)).collect()
}

/// Whether a command has settings that a file can change.
fn reads_settings(typed: &ArgMatches) -> bool {
    matches!(
        typed.subcommand_name(),
        None | Some("serve" | "run" | "config" | "bench" | "doctor" | "pull" | "models")
    )
}

/// The matches of the command that was called in the end.
fn leaf(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, below)| leaf(below))
}

/// Variables are read here, not by clap: to name them in errors, and to know their several names.
fn without_variables(command: Command) -> Command {
    let none = |arg: clap::Arg| arg.env(None::<&'static str>);
    command.mut_args(none).mut_subcommands(without_variables)
}

fn with_defaults(command: Command, below: &BTreeMap<String, Given>) -> Command {
    let with = |arg: clap::Arg| match below.get(arg.get_id().as_str()) {
        Some(given) if definition::is_setting(&arg) => {
            arg.default_values(given.values.clone()).value_delimiter(None)
        }
        _ => arg,
    };
    command.mut_args(with).mut_subcommands(|below_it| with_defaults(below_it, below))
}

/// Makes settings of what a file says.
struct Reader<'a> {
    file: &'a File,
    settings: &'a [Setting],
}

impl Reader<'_> {
    /// A table such as `[server]`.
    fn section(&self, name: &str, node: &Node, entries: &[(String, Node)], layer: &mut Layer) -> Result<()> {
        let in_section = format!("{name}.");
        let known = |setting: &Setting| setting.keys.iter().any(|key| key.starts_with(&in_section));
        if !self.settings.iter().any(known) {
            return Err(self.stray(name, node));
        }
        for (key, node) in entries {
            if name == "gpu" && DEVICE_KEYS.contains(&&**key) {
                continue;
            }
            let path = format!("{name}.{key}");
            let setting = self.settings.iter().find(|setting| setting.keys.contains(&path));
            let setting = setting.ok_or_else(|| self.unknown_key(name, key, node))?;
            self.set(setting, &path, node, layer)?;
        }
        if name == "gpu" { self.device(entries, layer) } else { Ok(()) }
    }

    /// `gpu.enabled`, `gpu.backend` and `gpu.device` are one setting: `--gpu cuda:1`.
    fn device(&self, entries: &[(String, Node)], layer: &mut Layer) -> Result<()> {
        let of = |wanted: &str| entries.iter().find(|(key, _)| key == wanted).map(|(_, node)| node);
        let Some(node) = DEVICE_KEYS.iter().find_map(|key| of(key)) else { return Ok(()) };
        let text = |key: &str| match of(key) {
            None => anyhow::Ok("auto".to_owned()),
            Some(node) => Ok(self.scalar(&format!("gpu.{key}"), node)?.to_lowercase()),
        };
        let (enabled, backend, device) = (text("enabled")?, text("backend")?, text("device")?);
        let is_number = !device.is_empty() && device.bytes().all(|byte| byte.is_ascii_digit());
        let chosen = match (&*enabled, &*backend, &*device) {
            ("false", ..) => "cpu".to_owned(),
            ("auto" | "true", "auto", "0") | ("auto" | "true", _, "auto") => backend,
            ("auto" | "true", "auto", _) if is_number => {
                bail!("`gpu.device` in {} needs `gpu.backend`: which {device}?", self.file.place(node.line))
            }
            ("auto" | "true", ..) if is_number => format!("{backend}:{device}"),
            ("auto" | "true", ..) => device,
            _ => bail!("`gpu.enabled` in {} has to be true or false", self.file.place(node.line)),
        };
        let setting = self.settings.iter().find(|setting| setting.flag == "gpu");
        let setting = setting.ok_or_else(|| self.unknown_key("gpu", "device", node))?;
        self.set(setting, "gpu.device", &Node { line: node.line, value: Value::Text(chosen) }, layer)
    }

    /// One of the `[[models]]`.
    fn model(&self, node: &Node) -> Result<Section> {
        let place = self.file.place(node.line);
        let Value::Table(entries) = &node.value else {
            bail!("a model in {place} is {}, and has to be a table", node.kind());
        };
        let mut layer = Layer::new();
        let mut name = None;
        for (key, node) in entries {
            if key == "name" {
                let Value::Text(text) = &node.value else {
                    bail!(
                        "`models.name` in {} is {}, and has to be a text",
                        self.file.place(node.line),
                        node.kind()
                    );
                };
                name = Some(text.clone());
                continue;
            }
            let of_models = || self.settings.iter().filter(|setting| setting.of_model);
            let is = |known: &String| known.split_once('.').is_some_and(|(_, known)| known == key);
            let Some(setting) = of_models().find(|setting| setting.keys.iter().any(is)) else {
                let names = of_models().flat_map(|setting| &setting.keys);
                let names = names.filter_map(|key| Some(key.split_once('.')?.1)).chain(["name"]);
                let hint = meant(key, names);
                bail!("`{key}` of a model in {}: a model has no such key{hint}", self.file.place(node.line));
            };
            self.set(setting, &format!("models.{key}"), node, &mut layer)?;
        }
        if let Some(name) = name {
            // The first of its names is the one that it is listed under.
            let given = Given { values: Vec::new(), origin: Origin::File(place.clone()) };
            layer.entry("alias".into()).or_insert(given).values.insert(0, name);
        }
        Ok(Section { place, layer })
    }

    /// One of the `[[plugins]]`: a component, and what it may.
    fn plugin(&self, node: &Node, layer: &mut Layer) -> Result<()> {
        let place = self.file.place(node.line);
        let Value::Table(entries) = &node.value else {
            bail!("a plugin in {place} is {}, and has to be a table", node.kind());
        };
        let text =
            |wanted: &str| match entries.iter().find(|(key, _)| key == wanted).map(|(_, node)| &node.value) {
                Some(Value::Text(text)) => Ok(Some(text.as_str())),
                None => Ok(None),
                Some(_) => Err(anyhow!("`plugins.{wanted}` in {place} has to be a text")),
            };
        let (Some(name), Some(path)) = (text("name")?, text("path")?) else {
            bail!("a plugin in {place} needs a name and a path");
        };
        let mut add = |flag: &str, value: String| {
            let given = Given { values: Vec::new(), origin: Origin::File(place.clone()) };
            layer.entry(flag.into()).or_insert(given).values.push(value);
        };
        add("plugin", format!("{name}={path}"));
        if let Some(what) = text("on_fault")? {
            add("plugin-on-fault", format!("{name}={what}"));
        }
        for (key, node) in entries {
            match (&**key, &node.value) {
                ("name" | "path" | "on_fault", _) => {}
                ("limits", Value::Table(limits)) => {
                    for (limit, node) in limits {
                        add(
                            "plugin-limit",
                            format!(
                                "{name}:{limit}={}",
                                self.scalar(&format!("plugins.limits.{limit}"), node)?
                            ),
                        );
                    }
                }
                ("limits", _) => {
                    bail!("`plugins.limits` in {} has to be a table", self.file.place(node.line))
                }
                _ => {
                    let hint = meant(key, ["name", "path", "on_fault", "limits"].into_iter());
                    bail!(
                        "`{key}` of a plugin in {}: a plugin has no such key{hint}",
                        self.file.place(node.line)
                    );
                }
            }
        }
        Ok(())
    }

    fn set(&self, setting: &Setting, path: &str, node: &Node, layer: &mut Layer) -> Result<()> {
        let wrong = |why: String| anyhow!("`{path}` in {}: {why}", self.file.place(node.line));
        let values = match &node.value {
            Value::Null => return Ok(()),
            Value::List(list) if setting.is_list() => {
                list.iter().map(|node| self.value(setting, path, node)).collect::<Result<_>>()?
            }
            _ => vec![self.value(setting, path, node)?],
        };
        setting.check(&values).map_err(wrong)?;
        let given = Given { values, origin: Origin::File(self.file.place(node.line)) };
        if layer.insert(setting.flag.clone(), given).is_some() {
            return Err(wrong(format!(
                "it is set twice, under two of its names: {}",
                setting.keys.join(", ")
            )));
        }
        Ok(())
    }

    /// One value, as its flag would take it.
    fn value(&self, setting: &Setting, path: &str, node: &Node) -> Result<String> {
        match &node.value {
            Value::Switch(on) if setting.choices().iter().any(|choice| choice == "on") => {
                Ok(if *on { "on" } else { "off" }.into())
            }
            Value::Number(number) if path == "gpu.max_memory_mb" => Ok(format!("{number}mb")),
            Value::Table(entries) if takes_plugins(setting) => {
                let of = |wanted: &str| entries.iter().find(|(key, _)| key == wanted).map(|(_, node)| node);
                let id = of("id").map(|node| &node.value);
                let Some(Value::Text(id)) =
                    id.filter(|_| entries.iter().all(|(key, _)| key == "id" || key == "args"))
                else {
                    bail!(
                        "`{path}` in {}: write {{ id = \"NAME\", args = {{ … }} }}",
                        self.file.place(node.line)
                    );
                };
                Ok(of("args").map_or_else(|| id.clone(), |args| format!("{id}={}", args.to_json())))
            }
            // What takes JSON on the command line takes a table here.
            Value::Table(_) => Ok(node.to_json().to_string()),
            _ => self.scalar(path, node),
        }
    }

    fn scalar(&self, path: &str, node: &Node) -> Result<String> {
        match &node.value {
            Value::Text(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.clone()),
            Value::Switch(on) => Ok(on.to_string()),
            _ => bail!(
                "`{path}` in {} is {}, and has to be one value",
                self.file.place(node.line),
                node.kind()
            ),
        }
    }

    /// Something at the top that is no section.
    fn stray(&self, name: &str, node: &Node) -> anyhow::Error {
        let place = self.file.place(node.line);
        let keys = || self.settings.iter().flat_map(|setting| &setting.keys);
        if let Some(key) = keys().find(|key| key.split_once('.').is_some_and(|(_, key)| key == name)) {
            let (section, _) = key.split_once('.').unwrap_or_default();
            return anyhow!("`{name}` in {place} belongs into the section [{section}]");
        }
        let sections = keys().filter_map(|key| Some(key.split_once('.')?.0)).chain(["models", "plugins"]);
        anyhow!("`{name}` in {place}: there is no such section{}", meant(name, sections))
    }

    fn unknown_key(&self, section: &str, key: &str, node: &Node) -> anyhow::Error {
        let place = self.file.place(node.line);
        let keys = || self.settings.iter().flat_map(|setting| &setting.keys);
        if let Some(other) = keys().find(|known| known.split_once('.').is_some_and(|(_, known)| known == key))
        {
            return anyhow!("`{section}.{key}` in {place}: there is no such key; did you mean `{other}`?");
        }
        let here = keys().filter_map(|known| known.strip_prefix(section)?.strip_prefix('.'));
        let hint = match nearest(key, here) {
            Some(name) => format!("; did you mean `{section}.{name}`?"),
            None => meant(&format!("{section}.{key}"), keys().map(String::as_str)),
        };
        anyhow!("`{section}.{key}` in {place}: there is no such key{hint}")
    }
}

fn takes_plugins(setting: &Setting) -> bool {
    setting.arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "NAME[=JSON]"))
}

fn meant<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> String {
    nearest(written, names).map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

#[cfg(test)]
mod tests;
