//! The wasmtime engine, and what all plugins on it share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use minerva_engine::plugin::{Fault, Plugin};
use semver::Version;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::cache::Cache;
use crate::compile::Compiler;
use crate::imports::constraints::Patterns;
use crate::state::State;
use crate::store::Stores;
use crate::ticker::Ticker;
use crate::{Error, Inspection, Limits, Options, Source, imports, load};

/// The version of the package `minerva:plugin` that this host speaks.
pub const INTERFACE_VERSION: Version = Version::new(0, 1, 0);

/// How much of an instance's memory is wiped for the next one rather than given back to the kernel. Most plugins
/// fit, and more makes the wiping slower than the page faults that it saves.
const KEEP_RESIDENT_BYTES: usize = 64 << 10;

/// Runs plugins. Clones share everything; the last one to go, plugins included, ends the deadline thread.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

struct Shared {
    // The ticker goes first: it holds the engine weakly.
    ticker: Ticker,
    engine: Engine,
    linker: Linker<State>,
    compiler: Compiler,
    options: Options,
    sessions: AtomicU32,
    memory_bytes: Arc<AtomicUsize>,
    patterns: Arc<Patterns>,
    stores: Stores,
}

impl Runtime {
    /// A runtime with nothing loaded.
    ///
    /// # Errors
    ///
    /// When the options ask for more address space, or threads, than there is.
    pub fn new(options: Options) -> Result<Self, Error> {
        let fails = |error: &dyn std::fmt::Display| Error::Runtime { reason: error.to_string() };
        let engine =
            Engine::new(&config(&options.limits_max())).map_err(|error| fails(&format!("{error:#}")))?;
        let mut linker = Linker::new(&engine);
        imports::link(&mut linker).map_err(|error| fails(&format!("{error:#}")))?;
        let ticker = Ticker::start(&engine).map_err(|error| fails(&error))?;
        let cache = options.cache.as_deref().and_then(|folder| {
            // A host without a cache works, only its start is slower.
            let opened = Cache::open(folder, options.cache_bytes);
            opened.inspect_err(|error| tracing::warn!(folder = %folder.display(), %error, "compiled plugins are not kept")).ok()
        });
        let compiler = Compiler::new(cache);
        let (sessions, memory_bytes) = (AtomicU32::new(0), Arc::new(AtomicUsize::new(0)));
        let (patterns, stores) = (Arc::default(), Stores::default());
        Ok(Self {
            shared: Arc::new(Shared {
                ticker,
                engine,
                linker,
                compiler,
                options,
                sessions,
                memory_bytes,
                patterns,
                stores,
            }),
        })
    }

    /// Loads a plugin from a file or from bytes. Compiles it, so this takes from milliseconds to seconds.
    ///
    /// # Errors
    ///
    /// When the source is not a component that can be a plugin of this host: see [`Error`].
    pub fn load<'a>(&self, name: &str, source: impl Into<Source<'a>>) -> Result<Plugin, Error> {
        load::load(self, name, source.into())
    }

    /// Says what a plugin is, without asking whether the operator grants what it wants.
    ///
    /// # Errors
    ///
    /// As [`Runtime::load`].
    pub fn inspect<'a>(&self, name: &str, source: impl Into<Source<'a>>) -> Result<Inspection, Error> {
        load::inspect(self, name, source.into())
    }

    /// What plugins may use.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// How many instances of plugins are alive.
    #[must_use]
    pub fn sessions(&self) -> u32 {
        self.shared.sessions.load(Ordering::Relaxed)
    }

    /// The linear memory of all instances that are alive, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.shared.memory_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn all_memory_bytes(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.shared.memory_bytes)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    pub(crate) fn compiler(&self) -> &Compiler {
        &self.shared.compiler
    }

    pub(crate) fn stores(&self) -> &Stores {
        &self.shared.stores
    }

    pub(crate) fn linker(&self) -> Linker<State> {
        self.shared.linker.clone()
    }

    pub(crate) fn ticker(&self) -> &Ticker {
        &self.shared.ticker
    }

    pub(crate) fn patterns(&self) -> Arc<Patterns> {
        Arc::clone(&self.shared.patterns)
    }

    /// A place for one more instance.
    pub(crate) fn permit(&self, of_plugin: &Arc<AtomicU32>, limit: u32) -> Result<Permit, Fault> {
        let one_more = |count: &AtomicU32, limit: u32| {
            let more = |count: u32| (count < limit).then_some(count + 1);
            count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
        };
        let of_all = self.options().limits.sessions_of_all;
        let full = |limit: u32, of: &str| {
            Fault::Host(format!("{limit} instances of {of} are alive, and that is the limit"))
        };
        if !one_more(of_plugin, limit) {
            return Err(full(limit, "this plugin"));
        }
        if !one_more(&self.shared.sessions, of_all) {
            of_plugin.fetch_sub(1, Ordering::Relaxed);
            return Err(full(of_all, "all plugins"));
        }
        Ok(Permit { runtime: self.clone(), of_plugin: Arc::clone(of_plugin) })
    }
}

/// The place of one instance.
pub(crate) struct Permit {
    runtime: Runtime,
    of_plugin: Arc<AtomicU32>,
}

impl Permit {
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.runtime.shared.sessions.fetch_sub(1, Ordering::Relaxed);
        self.of_plugin.fetch_sub(1, Ordering::Relaxed);
    }
}

fn config(limits: &Limits) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    // One more than sessions: a finished instance's slot may still be on its way back.
    let sessions = limits.sessions_of_all.saturating_add(1);
    pool.total_component_instances(sessions)
        .total_core_instances(sessions.saturating_mul(8))
        .total_memories(sessions)
        .total_tables(sessions.saturating_mul(4))
        .max_core_instances_per_component(limits.core_instances)
        .max_memories_per_component(8)
        .max_tables_per_component(limits.core_instances)
        .max_memory_size(limits.memory_bytes)
        .table_elements(limits.table_elements)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES);

    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .epoch_interruption(true)
        .memory_init_cow(true);
    config
}
