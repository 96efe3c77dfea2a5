//! Which models are served: one that was named, or those of the file and of a folder.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use minerva::engine::plugin::{Kind, Plugins};
use minerva::models::discover::is_model;
use minerva::models::hub::{Options, Reference};
use minerva::models::registry::{Condition, Error, Health};
use minerva::{Builder, Host, Model, Registry, Spec};

use crate::command::pull::fetch;
use crate::command::{progress_bar, show_part};
use crate::config::{Origin, Section, ServeArguments, Sources, model_name};

/// How often a load at the start is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Most models of a folder.
const FOLDER_MAX: usize = 1000;

/// The models to serve.
pub(super) struct Fleet {
    specs: Vec<Spec>,
    /// The sections that they come from, by id.
    sections: Vec<(String, Section)>,
    /// Those that come from the hub: which spec, what it is, and how it is to run.
    remote: Vec<(usize, Reference, Model)>,
    hub: Options,
    /// The ids of those that are loaded at the start.
    preloaded: Vec<String>,
    /// Whether the start fails if that fails.
    is_single: bool,
}

/// The models that a server was told of.
pub(super) struct Known {
    ids: Vec<String>,
    sections: Vec<(String, Section)>,
}

impl Fleet {
    /// A model that a flag or a variable names is served alone, with what a section of that name or file says of it.
    /// Without one it is the `[[models]]` and what is in the folder of models; and without these the built-in model.
    pub(super) fn of(sources: &Sources, arguments: &ServeArguments) -> Result<Self> {
        let mut fleet = Self {
            specs: Vec::new(),
            sections: Vec::new(),
            remote: Vec::new(),
            hub: arguments.hub.options(),
            preloaded: Vec::new(),
            is_single: false,
        };
        let resolved = sources.resolve(None)?;
        let is_typed = |flag| matches!(resolved.origin(flag), Some(Origin::Flag | Origin::Variable(_)));
        let is_named = (arguments.model.model.is_some() || arguments.model.hf_repo.is_some())
            && (sources.sections.is_empty() || is_typed("model") || is_typed("hf-repo"));
        let of_hub = arguments.model.hf_repo.as_deref().map(Into::into);
        let named =
            arguments.model.model.as_deref().map(Path::to_string_lossy).or(of_hub).filter(|_| is_named);
        for section in &sources.sections {
            let own = ["model", "hf-repo", "alias"].into_iter().flat_map(|flag| section.values(flag));
            if named.is_some() && own.clone().all(|own| Some(&**own) != named.as_deref()) {
                continue;
            }
            let mut of_section = sources.resolve(Some(section))?.arguments.into_serve();
            if is_named {
                // What was named is the section; the file is the section's.
                of_section.model.model = section.values("model").first().map(Into::into);
                of_section.model.hf_repo = section.values("hf-repo").first().cloned();
            }
            fleet.add(&of_section, &section.place)?;
            fleet.sections.extend(fleet.specs.last().map(|spec| (spec.id.clone(), section.clone())));
        }
        if is_named && fleet.specs.is_empty() {
            fleet.add(arguments, "--model")?;
        }
        if let Some(folder) = arguments.models_dir.as_deref().filter(|_| !is_named) {
            fleet.add_folder(arguments, folder)?;
        }
        if fleet.specs.is_empty() {
            if let Some(folder) = &arguments.models_dir {
                bail!("--models-dir {}: there is no GGUF file in it", folder.display());
            }
            fleet.add(arguments, "--alias")?;
        }
        if let [only] = fleet.specs.as_slice()
            && (is_named || sources.sections.is_empty() && arguments.models_dir.is_none())
        {
            (fleet.preloaded, fleet.is_single) = (vec![only.id.clone()], true);
        }
        Ok(fleet)
    }

    fn add(&mut self, arguments: &ServeArguments, place: &str) -> Result<()> {
        let model = described(arguments)?;
        let mut spec = arguments.served.spec(arguments.model.name(), model.clone())?;
        // The file's name is a name too, for the first model of that file.
        let is_taken =
            |name: &String| self.specs.iter().any(|other| other.id == *name || other.aliases.contains(name));
        spec.aliases.retain(|alias| arguments.served.alias.contains(alias) || !is_taken(alias));
        if let Some(other) = self.specs.iter().find(|other| other.id == spec.id) {
            bail!("two models are called `{}`; the second one is in {place}: give it another name", other.id);
        }
        if arguments.served.preload {
            self.preloaded.push(spec.id.clone());
        }
        if let Some(reference) = arguments.model.remote()? {
            self.remote.push((self.specs.len(), reference, model));
        }
        self.specs.push(spec);
        Ok(())
    }

    fn add_folder(&mut self, arguments: &ServeArguments, folder: &Path) -> Result<()> {
        let failed = || format!("--models-dir {} cannot be read", folder.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).with_context(failed)? {
            let path = entry.with_context(failed)?.path();
            if is_model(&path) {
                files.push(path);
            }
        }
        if files.len() > FOLDER_MAX {
            bail!(
                "--models-dir {}: it has {} models, and at most {FOLDER_MAX} are served",
                folder.display(),
                files.len()
            );
        }
        files.sort();
        for path in files {
            let name = model_name(&path);
            if self.specs.iter().any(|spec| spec.id == name) {
                tracing::warn!("{} is not served: a model of the file is called '{name}'", path.display());
                continue;
            }
            let model = described(arguments)?.path(path);
            let mut served = arguments.served.spec(name.clone(), model)?;
            (served.id, served.aliases) = (name, Vec::new());
            self.specs.push(served);
        }
        Ok(())
    }

    /// What is known of the models, to tell later what changed.
    pub(super) fn known(&self) -> Known {
        Known {
            ids: self.specs.iter().map(|spec| spec.id.clone()).collect(),
            sections: self.sections.clone(),
        }
    }

    /// Whether every model's default plugins are there.
    pub(super) fn check(&self, plugins: &Plugins) -> Result<()> {
        self.specs.iter().try_for_each(|spec| check_defaults(spec, plugins))
    }

    /// Brings in what changed since, as far as that can be while the server runs: a model that is loaded stays as it
    /// is, and one of the hub is not pulled. Names what it leaves.
    pub(super) fn change(self, known: &mut Known, registry: &Registry) {
        let ids: Vec<String> = self.specs.iter().map(|spec| spec.id.clone()).collect();
        known.ids.retain(|id| {
            let stays = ids.contains(id) || !registry.forget(id);
            if !stays {
                tracing::info!(model = id, "the model `{id}` is not served any more");
            } else if !ids.contains(id) {
                tracing::warn!(
                    model = id,
                    "the model `{id}` is loaded, and stays until it is unloaded and SIGHUP comes again"
                );
            }
            stays
        });
        for (at, spec) in self.specs.into_iter().enumerate() {
            let id = spec.id.clone();
            let section = |sections: &[(String, Section)]| {
                sections.iter().find(|(of, _)| *of == id).map(|(_, section)| section.clone())
            };
            let (now, then) = (section(&self.sections), section(&known.sections));
            let is_new = !known.ids.contains(&id);
            let is_same = match (&now, &then) {
                (Some(now), Some(then)) => now.is_like(then),
                (now, then) => now.is_none() && then.is_none(),
            };
            if is_same && !is_new {
                continue;
            }
            if self.remote.iter().any(|(place, _, _)| *place == at) {
                tracing::warn!(model = id, "the model `{id}` comes from the hub: that takes a restart");
                continue;
            }
            let changed = if is_new { registry.add(spec).map(|()| true) } else { registry.replace(spec) };
            match changed {
                Ok(true) => {
                    let what = if is_new { "is served now" } else { "was changed" };
                    tracing::info!(model = id, "the model `{id}` {what}");
                    if self.preloaded.contains(&id) {
                        let _ = registry.preload(&id);
                    }
                    known.ids.retain(|other| *other != id);
                    known.ids.push(id.clone());
                    known.sections.retain(|(other, _)| *other != id);
                    known.sections.extend(now.map(|section| (id, section)));
                }
                Ok(false) => tracing::warn!(
                    model = id,
                    "the model `{id}` is loaded, and stays as it is until it is unloaded and SIGHUP comes again"
                ),
                Err(error) => tracing::error!(model = id, "the model `{id}` stays as it is: {error}"),
            }
        }
    }

    /// Loads the plugins, makes the models known, and loads those that are there from the start.
    pub(super) fn start(mut self, builder: Builder) -> Result<Host> {
        let registry = builder.registry();
        let goes_on = || registry.health() != Health::Closing;
        for (at, reference, model) in std::mem::take(&mut self.remote) {
            self.specs[at].source = Some(Arc::new(model.path(fetch(&reference, &self.hub, &goes_on)?)));
        }
        let host = builder.build_host()?;
        for spec in &self.specs {
            check_defaults(spec, &host.plugins())?;
        }
        for spec in self.specs {
            registry.add(spec)?;
        }
        for id in &self.preloaded {
            registry.preload(id)?;
        }
        let bar = progress_bar("loading the model");
        let mut left = self.preloaded.iter().filter_map(|id| registry.entry(id));
        let mut next = left.next();
        while let Some(entry) = next.take().filter(|_| goes_on()) {
            match (entry.condition, entry.failure) {
                (Condition::Ready | Condition::Retiring | Condition::Unloading, _) => next = left.next(),
                // To whoever starts it, the reason itself.
                (Condition::Failed, Some(Error::Failed { why, .. })) if self.is_single => bail!("{why}"),
                (Condition::Failed, Some(error)) if self.is_single => return Err(error.into()),
                (Condition::Failed | Condition::Unloaded, _) => next = left.next(),
                (condition @ (Condition::Queued | Condition::Loading(_)), _) => {
                    if let Condition::Loading(part) = condition {
                        show_part(&bar, part);
                    }
                    std::thread::sleep(LOOK_AGAIN);
                    next = registry.entry(&entry.id);
                }
            }
        }
        bar.finish_and_clear();
        Ok(host)
    }
}

/// A model of the arguments, queued and buffered as the server's are.
fn described(arguments: &ServeArguments) -> Result<Model> {
    Ok(arguments.model.described()?.engine(|engine| {
        engine.queue_limit = arguments.max_num_queued_reqs;
        engine.queue_tokens_limit = arguments.operation.max_num_queued_tokens;
        engine.token_buffer = arguments.token_buffer;
        engine.stall_limit = Duration::from_secs(arguments.stall_timeout);
    }))
}

/// A default that is not there would fail every request: better now.
fn check_defaults(spec: &Spec, plugins: &Plugins) -> Result<()> {
    let defaults = &spec.defaults.plugins;
    let of = |kind: Kind, choices: &[minerva_server::PluginChoice]| {
        for choice in choices {
            let is_kind = |plugin: &minerva::engine::plugin::Plugin| plugin.kinds().any(|of| of == kind);
            if !plugins.get(&choice.id).is_some_and(|plugin| is_kind(&plugin)) {
                let (id, kind) = (&choice.id, kind.as_str());
                bail!(
                    "a default of the model `{}`: there is no {kind} plugin '{id}'; load one with --plugin {id}=FILE",
                    spec.id
                );
            }
        }
        Ok(())
    };
    of(Kind::Template, defaults.template.as_slice())?;
    of(Kind::Sampler, &defaults.samplers)?;
    of(Kind::Stream, &defaults.stream)
}
