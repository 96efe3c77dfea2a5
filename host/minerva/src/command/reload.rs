//! SIGHUP: brings in what can change while the server runs, and names what cannot.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};
use minerva::Registry;
use minerva::engine::plugin::{Installer, Plugins};
use minerva_server::ApiKeys;

use crate::command::fleet::{Fleet, Known};
use crate::config::{Given, Setting, Sources, log};

/// The models and plugins of a server, and what it was last told of them.
pub(crate) struct Models {
    pub(super) known: Known,
    pub(super) registry: Registry,
    pub(super) plugins: Plugins,
    /// There once everything is that the server was started with.
    pub(super) installer: Arc<OnceLock<Box<dyn Installer>>>,
}

/// What can be changed, and what was last read.
pub(crate) struct Reload {
    sources: Sources,
    /// What the process runs with.
    applied: Vec<(Setting, Given)>,
    keys: ApiKeys,
    admin: ApiKeys,
    models: Models,
    log: log::Change,
    /// Whether a key has to be asked for: because others can reach the server, or because one has been asked for
    /// since it started. A file that is empty for a moment, while it is being written, lets no one in.
    keyed: bool,
}

impl Reload {
    /// Begins with what the process was started with. `exposed`: other machines can reach the server.
    pub(crate) fn new(
        sources: Sources,
        keys: ApiKeys,
        admin: ApiKeys,
        models: Models,
        log: log::Change,
        exposed: bool,
    ) -> Result<Self> {
        let applied = sources.resolve(None)?.values;
        let keyed = exposed || !keys.is_empty();
        Ok(Self { sources, applied, keys, admin, models, log, keyed })
    }

    /// Reads the file again, whenever SIGHUP says so, for as long as the process lives. The signal is caught from
    /// here on: it would end a process that does not wait for it. Must be called inside a tokio runtime.
    #[cfg(unix)]
    pub(crate) fn follow(mut self) -> Result<()> {
        let hangup = tokio::signal::unix::SignalKind::hangup();
        let mut hangup = tokio::signal::unix::signal(hangup).context("SIGHUP cannot be waited for")?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                // It reads files, and may compile plugins.
                if let Err(error) = tokio::task::block_in_place(|| self.again()) {
                    tracing::error!("the configuration stays as it was: {error:#}");
                }
            }
        });
        Ok(())
    }

    /// Changes nothing where anything is wrong, bar plugins, each of which stands for itself.
    fn again(&mut self) -> Result<()> {
        let sources = self.sources.read_again()?;
        let resolved = sources.resolve(None)?;
        let arguments = resolved.arguments;
        let log = arguments.log.log.clone();
        let serve = arguments.into_serve();
        let keys = serve.keys()?;
        anyhow::ensure!(
            !(self.keyed && keys.is_empty()),
            "no key would be left, and everyone would be let in; a server without keys takes a restart"
        );
        let installer = Arc::clone(&self.models.installer);
        let mut fleet = None;
        if let Some(installer) = installer.get() {
            let changed = Fleet::of(&sources, &serve)?;
            self.add_plugins(&resolved.values, installer.as_ref());
            changed.check(&self.models.plugins)?;
            fleet = Some(changed);
        } else {
            // What is still to be made known would be taken for what is new.
            tracing::warn!("the server is still starting: its models and plugins are what they were");
        }
        self.keyed |= !keys.is_empty();
        (self.log)(&log).map_err(|why| anyhow::anyhow!("the log filter '{log}': {why}"))?;
        self.keys.replace(keys);
        self.admin.replace(serve.admin_key);
        let mut changed = 0;
        for ((setting, given), (_, before)) in resolved.values.iter().zip(&mut self.applied) {
            if given.values == before.values || setting.flag == PLUGIN {
                continue;
            }
            if setting.reloadable {
                changed += 1;
                *before = given.clone();
            } else {
                let [now, then] = [&given.values, &before.values].map(|values| values.join(", "));
                let key = &setting.keys[0];
                tracing::warn!(key, "`{key}` changed from '{then}' to '{now}', which takes a restart");
            }
        }
        if let Some(fleet) = fleet {
            fleet.change(&mut self.models.known, &self.models.registry);
        }
        self.sources = sources;
        tracing::info!("the configuration was read again; {changed} settings changed");
        Ok(())
    }

    /// Loads the plugins that are new, or come from another file; names those that are there no more.
    fn add_plugins(&mut self, values: &[(Setting, Given)], installer: &dyn Installer) {
        let of_plugins = |(setting, _): &&(Setting, Given)| setting.flag == PLUGIN;
        let Some((_, given)) = values.iter().find(of_plugins) else { return };
        let Some((_, before)) = self.applied.iter_mut().find(|one| of_plugins(&&**one)) else { return };
        let name = |plugin: &str| plugin.split('=').next().unwrap_or_default().to_owned();
        before.values.retain(|plugin| {
            let is_known = given.values.iter().any(|other| name(other) == name(plugin));
            if !is_known {
                let name = name(plugin);
                tracing::warn!(
                    plugin = name,
                    "plugin '{name}' stays: DELETE /v1/plugins/{name} or a restart takes it out"
                );
            }
            is_known
        });
        for plugin in &given.values {
            if before.values.contains(plugin) {
                continue;
            }
            let name = name(plugin);
            let path = Path::new(plugin.split_once('=').map_or("", |(_, path)| path));
            let read =
                std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()));
            match read.and_then(|component| installer.install(&name, &component)) {
                Ok(()) => {
                    tracing::info!(plugin = name, "plugin '{name}' was loaded from {}", path.display());
                    before.values.retain(|other| other.split('=').next() != Some(&*name));
                    before.values.push(plugin.clone());
                }
                Err(why) => tracing::error!(plugin = name, "plugin '{name}' was not loaded: {why}"),
            }
        }
    }
}

/// The flag that names a plugin.
const PLUGIN: &str = "plugin";
