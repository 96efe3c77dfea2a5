//! SIGHUP: brings in what can change while the server runs, and names what cannot.

use anyhow::{Context as _, Result};
use minerva_server::ApiKeys;

use crate::config::{Given, Setting, Sources, log};

/// What can be changed, and what was last read.
pub(crate) struct Reload {
    sources: Sources,
    /// What the process runs with.
    applied: Vec<(Setting, Given)>,
    keys: ApiKeys,
    admin: ApiKeys,
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
        log: log::Change,
        exposed: bool,
    ) -> Result<Self> {
        let applied = sources.resolve(None)?.values;
        let keyed = exposed || !keys.is_empty();
        Ok(Self { sources, applied, keys, admin, log, keyed })
    }

    /// Reads the file again, whenever SIGHUP says so, for as long as the process lives. The signal is caught from
    /// here on: it would end a process that does not wait for it. Must be called inside a tokio runtime.
    #[cfg(unix)]
    pub(crate) fn follow(mut self) -> Result<()> {
        let hangup = tokio::signal::unix::SignalKind::hangup();
        let mut hangup = tokio::signal::unix::signal(hangup).context("SIGHUP cannot be waited for")?;
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                if let Err(error) = self.again() {
                    tracing::error!("the configuration stays as it was: {error:#}");
                }
            }
        });
        Ok(())
    }

    /// Changes nothing where anything is wrong.
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
        self.keyed |= !keys.is_empty();
        (self.log)(&log).map_err(|why| anyhow::anyhow!("the log filter '{log}': {why}"))?;
        self.keys.replace(keys);
        self.admin.replace(serve.admin_key);
        let mut changed = 0;
        for ((setting, given), (_, before)) in resolved.values.iter().zip(&mut self.applied) {
            if given.values == before.values {
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
        if sources.sections != self.sources.sections {
            tracing::warn!("the [[models]] changed, which takes a restart");
        }
        self.sources = sources;
        tracing::info!("the configuration was read again; {changed} settings changed");
        Ok(())
    }
}
