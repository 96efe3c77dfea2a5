//! Builds a [`Minerva`]: for programs that embed it, and for the binary alike.

use std::path::PathBuf;
use std::sync::Arc;

use minerva_engine::plugin::{Plugin, Plugins, Policy, SamplerPlugin};
use minerva_engine::{Engine, Options as EngineOptions};
use minerva_llama::Options as LlamaOptions;
use minerva_wasm::{Folder, Options as WasmOptions};

use crate::error::Error;
use crate::host::Minerva;
use crate::memory;

/// Models below this are decoded by one thread, unless more are asked for. Their layers are so small that a second
/// thread gains little, and ggml's threads wait for each other by spinning, at every layer: beside anything else that
/// is busy, two took a thousand times as long as one.
const SMALL_MODEL_BYTES: u64 = 64 << 20;

/// Builds a [`Minerva`].
#[must_use]
pub struct Builder {
    model: Option<PathBuf>,
    context: Option<u32>,
    slots: Option<u32>,
    llama: LlamaOptions,
    engine: EngineOptions,
    wasm: WasmOptions,
    components: Vec<(String, PathBuf)>,
    folder: Option<PathBuf>,
    plugins: Plugins,
    progress: Box<dyn FnMut(f32) -> bool + Send>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            model: None,
            context: None,
            slots: None,
            llama: LlamaOptions::new(""),
            engine: EngineOptions::default(),
            wasm: WasmOptions::default(),
            components: Vec::new(),
            folder: None,
            plugins: Plugins::default(),
            progress: Box::new(|_| true),
        }
    }

    /// Loads this GGUF file instead of the built-in model.
    pub fn model(mut self, path: impl Into<PathBuf>) -> Self {
        self.model = Some(path.into());
        self
    }

    /// Tokens that each sequence can hold. Default: what the model was trained for, up to
    /// [`minerva_llama::CONTEXT_DEFAULT_MAX`].
    pub fn context(mut self, tokens: u32) -> Self {
        self.context = Some(tokens);
        self
    }

    /// Sequences side by side. Default: 16, or fewer where their caches would take over a quarter of the machine's
    /// memory.
    pub fn slots(mut self, sequences: u32) -> Self {
        self.slots = Some(sequences);
        self
    }

    /// Changes how llama.cpp loads and runs the model. Path, context and slots are set by this builder.
    pub fn llama(mut self, change: impl FnOnce(&mut LlamaOptions)) -> Self {
        change(&mut self.llama);
        self
    }

    /// Changes how requests are queued, batched and sampled.
    pub fn engine(mut self, change: impl FnOnce(&mut EngineOptions)) -> Self {
        change(&mut self.engine);
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

    /// Is told how much of the model is loaded, 0 to 1; false cancels.
    pub fn on_progress(mut self, progress: impl FnMut(f32) -> bool + Send + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// Loads everything. Takes as long as reading the model takes: on a server, call it on a blocking thread.
    ///
    /// # Errors
    ///
    /// When the model file or a plugin is missing, broken, or does not fit.
    pub fn build(mut self) -> Result<Minerva, Error> {
        let runtime = minerva_wasm::Runtime::new(self.wasm)?;
        // Plugins first: they are quick, and what is wrong with them is better known before a long load.
        for (name, path) in &self.components {
            self.plugins.insert(runtime.load(name, path.as_path())?);
        }
        let reserved = self.plugins.list().iter().map(|plugin| plugin.identity.name.clone()).collect();
        let watch = |folder: PathBuf| Folder::watch(&runtime, &self.plugins, &folder, reserved);
        let folder = self.folder.map(watch).transpose()?;
        let path = match self.model {
            Some(path) => path,
            None => minerva_models::builtin::path()?,
        };
        // llama.cpp ends the whole process on some damaged files: it sees only what was checked.
        let file = minerva_models::gguf::check(&path)?;
        self.llama.path = path;
        self.llama.context = self.context.unwrap_or(0);
        self.llama.slots = match self.slots {
            Some(slots) => slots,
            None => memory::slots(&file, self.llama.context),
        };
        if self.llama.threads == 0 && file.file_bytes() < SMALL_MODEL_BYTES {
            self.llama.threads = 1;
        }
        let model = minerva_llama::load(&self.llama, &mut self.progress)?;
        let engine = Engine::start(Box::new(model), self.engine)?;
        Ok(Minerva { engine, plugins: self.plugins, runtime, llama: self.llama, _folder: folder })
    }
}
