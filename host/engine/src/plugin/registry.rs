//! The plugins that requests can name.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use super::meter::{Counters, Meter};
use super::policy::{Breaker, Policy};
use super::watched::{Watch, WatchedSampler, WatchedStream, WatchedTemplate};
use super::{Identity, Kind, OnFault, SamplerPlugin, StreamPlugin, Template};

/// A named plugin: whatever of the three kinds it is.
#[derive(Clone)]
pub struct Plugin {
    /// Who it is.
    pub identity: Identity,
    /// As a template.
    pub template: Option<Arc<dyn Template>>,
    /// As a sampler.
    pub sampler: Option<Arc<dyn SamplerPlugin>>,
    /// As a stream processor.
    pub stream: Option<Arc<dyn StreamPlugin>>,
    /// What it may use, by name, the unit in the name: `pick_ms`, `memory_bytes`. Empty for native code.
    pub limits: Vec<(String, u64)>,
}

impl Plugin {
    /// A native template.
    #[must_use]
    pub fn of_template(template: Arc<dyn Template>) -> Self {
        let identity = template.identity().clone();
        Self { template: Some(template), ..Self::nothing(identity) }
    }

    /// A native sampler.
    #[must_use]
    pub fn of_sampler(sampler: Arc<dyn SamplerPlugin>) -> Self {
        let identity = sampler.identity().clone();
        Self { sampler: Some(sampler), ..Self::nothing(identity) }
    }

    /// A native stream processor.
    #[must_use]
    pub fn of_stream(stream: Arc<dyn StreamPlugin>) -> Self {
        let identity = stream.identity().clone();
        Self { stream: Some(stream), ..Self::nothing(identity) }
    }

    fn nothing(identity: Identity) -> Self {
        Self { identity, template: None, sampler: None, stream: None, limits: Vec::new() }
    }

    /// The kinds that it is.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        let kinds = [
            (self.template.is_some(), Kind::Template),
            (self.sampler.is_some(), Kind::Sampler),
            (self.stream.is_some(), Kind::Stream),
        ];
        kinds.into_iter().filter(|(is, _)| *is).map(|(_, kind)| kind)
    }

    /// The same plugin, with every call of it watched.
    fn watched(self, watch: &Watch) -> Self {
        Self {
            template: self.template.map(|inner| Arc::new(WatchedTemplate(watch.clone(), inner)) as _),
            sampler: self.sampler.map(|inner| Arc::new(WatchedSampler(watch.clone(), inner)) as _),
            stream: self.stream.map(|inner| Arc::new(WatchedStream(watch.clone(), inner)) as _),
            ..self
        }
    }
}

/// The plugins that requests can name, and what becomes of those that fail. Clones share them.
#[derive(Clone, Default)]
pub struct Plugins {
    shared: Arc<RwLock<Shared>>,
}

#[derive(Default)]
struct Shared {
    policy: Policy,
    by_name: BTreeMap<String, Entry>,
}

/// What is known under a name.
#[derive(Default)]
struct Entry {
    /// None where the only version there was could not be loaded.
    loaded: Option<Loaded>,
    meter: Arc<Meter>,
    trouble: Option<String>,
}

struct Loaded {
    plugin: Arc<Plugin>,
    breaker: Arc<Breaker>,
}

/// Makes plugins of components while a host runs.
pub trait Installer: Send + Sync {
    /// Loads a component and puts it under a name, in the place of what was there. Takes from milliseconds to seconds.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it. Then what was there goes on.
    fn install(&self, name: &str, component: &[u8]) -> Result<(), String>;
}

/// How a name stands.
#[derive(Clone)]
pub struct Standing {
    /// The name.
    pub name: String,
    /// The plugin that requests get; `None` where none could be loaded.
    pub plugin: Option<Arc<Plugin>>,
    /// What has been done under this name.
    pub counters: Counters,
    /// For how many tenants the plugin is out of service.
    pub suspended_tenants: usize,
    /// Until when, for the last of them.
    pub suspended_until: Option<SystemTime>,
    /// Why the newest version is not the one that runs.
    pub trouble: Option<String>,
}

impl Plugins {
    /// Says what happens when plugins fail: on faults from now on, and by the breaker of plugins inserted from now on.
    pub fn set_policy(&self, policy: Policy) {
        self.write(|shared| shared.policy = policy);
    }

    /// What happens to a request that does not say it when this plugin fails.
    #[must_use]
    pub fn on_fault(&self, name: &str) -> OnFault {
        self.read(|shared| shared.policy.on_fault(name))
    }

    /// Adds a plugin under its identity's name, and returns the one that had it. Requests in flight finish on
    /// what they began with.
    pub fn insert(&self, plugin: Plugin) -> Option<Arc<Plugin>> {
        self.write(|shared| {
            // A new version is a new chance, under the same counters.
            let breaker = Arc::new(Breaker::new(shared.policy.breaker));
            let entry = shared.by_name.entry(plugin.identity.name.clone()).or_default();
            let watch = Watch {
                identity: plugin.identity.clone(),
                meter: Arc::clone(&entry.meter),
                breaker: Arc::clone(&breaker),
            };
            entry.trouble = None;
            let plugin = Arc::new(plugin.watched(&watch));
            entry.loaded.replace(Loaded { plugin, breaker }).map(|old| old.plugin)
        })
    }

    /// Takes a plugin out. Requests in flight finish on it.
    pub fn remove(&self, name: &str) -> Option<Arc<Plugin>> {
        self.write(|shared| shared.by_name.remove(name))?.loaded.map(|loaded| loaded.plugin)
    }

    /// Notes why what should have been inserted under a name was not. Whatever is there goes on. The next
    /// [`Plugins::insert`] or [`Plugins::remove`] ends it.
    pub fn set_trouble(&self, name: &str, trouble: String) {
        self.write(|shared| shared.by_name.entry(name.to_owned()).or_default().trouble = Some(trouble));
    }

    /// The plugin of a name, or of a name and version: `min-p@1.2` is the newest of the plugins `min-p`, `min-p@1`,
    /// `min-p@new` and so on whose own version is 1.2 or begins with `1.2.`. Where nothing is called just `min-p`,
    /// that is the newest of the `min-p@…`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Plugin>> {
        let list = self.list();
        if let Some(exact) = list.iter().find(|plugin| plugin.identity.name == name) {
            return Some(Arc::clone(exact));
        }
        let (base, wanted) = name.split_once('@').map_or((name, None), |(base, wanted)| (base, Some(wanted)));
        let is_of_base = |plugin: &&Arc<Plugin>| {
            plugin.identity.name.split('@').next() == Some(base)
                && wanted.is_none_or(|wanted| begins_with(&plugin.identity.version, wanted))
        };
        let of_base = list.iter().filter(is_of_base);
        of_base.max_by(|a, b| newer(&a.identity.version, &b.identity.version)).cloned()
    }

    /// All plugins, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Plugin>> {
        let plugin = |entry: &Entry| entry.loaded.as_ref().map(|loaded| Arc::clone(&loaded.plugin));
        self.read(|shared| shared.by_name.values().filter_map(plugin).collect())
    }

    /// How all names stand.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let now = Instant::now();
        let standing = |(name, entry): (&String, &Entry)| {
            let loaded = entry.loaded.as_ref();
            let (suspended_tenants, suspended_until) =
                loaded.map_or((0, None), |loaded| loaded.breaker.suspended(now));
            Standing {
                name: name.clone(),
                plugin: loaded.map(|loaded| Arc::clone(&loaded.plugin)),
                counters: entry.meter.counters(),
                suspended_tenants,
                suspended_until,
                trouble: entry.trouble.clone(),
            }
        };
        self.read(|shared| shared.by_name.iter().map(standing).collect())
    }

    fn read<T>(&self, look: impl FnOnce(&Shared) -> T) -> T {
        look(&self.shared.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Shared) -> T) -> T {
        change(&mut self.shared.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a version is `wanted`, or more exact than it.
fn begins_with(version: &str, wanted: &str) -> bool {
    version.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+']))
}

/// Compares versions number by number; what is no number, letter by letter.
fn newer(a: &str, b: &str) -> Ordering {
    let parts = |version: &str| -> Vec<(u64, String)> {
        let part = |part: &str| (part.parse().unwrap_or(0), part.to_owned());
        version.split(['.', '-', '+']).map(part).collect()
    };
    parts(a).cmp(&parts(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::closure::ClosureSampler;
    use crate::plugin::Choice;

    fn plugin(name: &str, version: &str) -> Plugin {
        let sampler = Arc::new(ClosureSampler::new(name, 1, |_, _| Choice::Host));
        let mut plugin = Plugin::of_sampler(sampler);
        plugin.identity.version = version.into();
        plugin
    }

    #[test]
    fn names_and_versions_find_plugins() {
        let plugins = Plugins::default();
        for (name, version) in
            [("a", "2.0.0"), ("a@1", "1.4.0"), ("a@old", "1.10.2"), ("b@1", "1.0.0"), ("b@2", "2.0.0")]
        {
            plugins.insert(plugin(name, version));
        }
        for (asked, found) in [
            ("a", Some("a")),
            ("a@1", Some("a@1")),
            ("a@1.1", None),
            ("a@1.10", Some("a@old")),
            ("a@1.4.0", Some("a@1")),
            ("a@2", Some("a")),
            ("a@3", None),
            ("b", Some("b@2")),
            ("b@1.0", Some("b@1")),
            ("c", None),
        ] {
            let plugin = plugins.get(asked);
            assert_eq!(plugin.as_ref().map(|plugin| plugin.identity.name.as_str()), found, "{asked}");
        }
        plugins.insert(plugin("b", "0.1.0"));
        assert_eq!(plugins.get("b").unwrap().identity.version, "0.1.0", "an exact name wins");
    }

    #[test]
    fn trouble_stays_until_something_works() {
        let plugins = Plugins::default();
        plugins.set_trouble("a", "broken".into());
        assert!(plugins.get("a").is_none() && plugins.list().is_empty());
        assert_eq!(plugins.standings()[0].trouble.as_deref(), Some("broken"));
        plugins.insert(plugin("a", "1.0.0"));
        assert_eq!(plugins.standings()[0].trouble, None);
        plugins.set_trouble("a", "broken".into());
        assert!(plugins.get("a").is_some(), "the old one goes on");
        assert!(plugins.remove("a").is_some());
        assert!(plugins.standings().is_empty());
    }
}
