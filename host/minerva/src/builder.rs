//! Builds a [`Minerva`]: for programs that embed it, and for the binary alike.

use std::path::PathBuf;
use std::sync::Arc;

use minerva_engine::Options as EngineOptions;
use minerva_engine::plugin::{Plugin, Plugins, Policy, SamplerPlugin};
use minerva_isolate::Isolation;
use minerva_llama::Options as LlamaOptions;
use minerva_models::devices::Wish;
use minerva_models::registry::{self, Registry, Served};
use minerva_wasm::{Folder, Options as WasmOptions};

use crate::error::Error;
use crate::host::{Host, Minerva};
use crate::model::{Isolate, Model, Planned};

/// Builds a [`Minerva`].
#[must_use]
pub struct Builder {
    model: Model,
    registry: Registry,
    wasm: WasmOptions,
    components: Vec<(String, PathBuf)>,
    folder: Option<PathBuf>,
    plugins: Plugins,
    progress: Box<dyn FnMut(f32) -> bool + Send>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            model: Model::built_in(),
            registry: Registry::default(),
            wasm: WasmOptions::default(),
            components: Vec::new(),
            folder: None,
            plugins: Plugins::default(),
            progress: Box::new(|_| true),
        }
    }

    /// Loads this GGUF file instead of the built-in model.
    pub fn model(mut self, path: impl Into<PathBuf>) -> Self {
        self.model = self.model.path(path);
        self
    }

    /// Loads this model, with what it says of itself.
    pub fn with_model(mut self, model: Model) -> Self {
        self.model = model;
        self
    }

    /// Tokens that each sequence can hold. Default: what the model was trained for, up to
    /// [`minerva_llama::CONTEXT_DEFAULT_MAX`].
    pub fn context(mut self, tokens: u32) -> Self {
        self.model = self.model.context(tokens);
        self
    }

    /// Sequences side by side. Default: 16, or fewer where their caches would take over a quarter of the machine's
    /// memory.
    pub fn slots(mut self, sequences: u32) -> Self {
        self.model = self.model.slots(sequences);
        self
    }

    /// Says which devices may run the model, and with how much of their memory. Default: the best GPU that there is,
    /// with as many layers as fit; the processor without one.
    pub fn gpu(mut self, wish: Wish) -> Self {
        self.model = self.model.gpu(wish);
        self
    }

    /// Runs the model in a process of its own, so that what ends llama.cpp ends only that one, and it is started anew.
    /// `program` is `minerva`, of this library's version; [`minerva_isolate`] says how another one can do it. Linux only.
    pub fn isolate(mut self, program: impl Into<PathBuf>) -> Self {
        self.model = self.model.isolate(Isolate::Always(Isolation::new(program)));
        self
    }

    /// Changes how llama.cpp loads and runs the model. Path, context and slots are set by this builder.
    pub fn llama(mut self, change: impl FnOnce(&mut LlamaOptions)) -> Self {
        self.model = self.model.llama(change);
        self
    }

    /// Changes how requests are queued, batched and sampled.
    pub fn engine(mut self, change: impl FnOnce(&mut EngineOptions)) -> Self {
        self.model = self.model.engine(change);
        self
    }

    /// Changes what plugins may use.
    pub fn limits(mut self, change: impl FnOnce(&mut WasmOptions)) -> Self {
        change(&mut self.wasm);
        self
    }

    /// Says what happens to requests whose plugins fail, and when a plugin is taken out of service.
    pub fn plugin_policy(self, policy: Policy) -> Self {
        self.plugins.set_policy(policy);
        self
    }

    /// Loads a WebAssembly component under a name.
    pub fn plugin(mut self, name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.components.push((name.into(), path.into()));
        self
    }

    /// Loads every `.wasm` file of a folder under the file's name, and follows what changes in it for as long as the
    /// host lives. Names that [`Builder::plugin`] loads are left alone.
    pub fn plugins_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Makes a native sampler available under its own name.
    pub fn sampler(self, sampler: impl SamplerPlugin + 'static) -> Self {
        self.plugins.insert(Plugin::of_sampler(Arc::new(sampler)));
        self
    }

    /// The plugins that requests will be able to name: the same list that the host has when it is built.
    #[must_use]
    pub fn plugins(&self) -> Plugins {
        self.plugins.clone()
    }

    /// Says how many models may be in memory, and for how long; counts from here on.
    pub fn registry_options(mut self, options: registry::Options) -> Self {
        self.registry = Registry::new(options);
        self
    }

    /// The models that the host will have: the same list that it has when it is built.
    #[must_use]
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// Is told how much of the model is loaded, 0 to 1; false cancels.
    pub fn on_progress(mut self, progress: impl FnMut(f32) -> bool + Send + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Decides how the model would be loaded on this machine, and loads nothing.
    ///
    /// # Errors
    ///
    /// As [`Model::plan`].
    pub fn plan(self) -> Result<Planned, Error> {
        self.model.plan()
    }

    /// Loads the plugins and the model. Takes as long as reading the model takes: on a server, call it on a blocking
    /// thread.
    ///
    /// # Errors
    ///
    /// When the model file or a plugin is missing, broken, or does not fit.
    pub fn build(mut self) -> Result<Minerva, Error> {
        let model = self.model.clone();
        let mut progress = std::mem::replace(&mut self.progress, Box::new(|_| true));
        // Plugins first: they are quick, and what is wrong with them is better known before a long load.
        let host = self.build_host()?;
        let (engine, llama) = model.start(&mut progress)?;
        let id = engine.handle().info().name.clone();
        host.registry().insert(Served::new(id.clone(), engine.handle()));
        Ok(Minerva { host, engine, id, llama })
    }

    /// Loads the plugins and no model: those are [added](Registry::add) to the host's registry, and loaded when they are
    /// asked for.
    ///
    /// # Errors
    ///
    /// When a plugin is missing or broken.
    pub fn build_host(self) -> Result<Host, Error> {
        let runtime = minerva_wasm::Runtime::new(self.wasm)?;
        for (name, path) in &self.components {
            self.plugins.insert(runtime.load(name, path.as_path())?);
        }
        let reserved = self.plugins.list().iter().map(|plugin| plugin.identity.name.clone()).collect();
        let watch = |folder: PathBuf| Folder::watch(&runtime, &self.plugins, &folder, reserved);
        let folder = self.folder.map(watch).transpose()?;
        Ok(Host { plugins: self.plugins, runtime, registry: self.registry, _folder: folder })
    }
}
