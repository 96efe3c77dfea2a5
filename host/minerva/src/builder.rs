//! Builds a [`Minerva`]: for programs that embed it, and for the binary alike.

use std::path::PathBuf;
use std::sync::Arc;

use minerva_engine::plugin::{Plugin, Plugins, Policy, SamplerPlugin};
use minerva_engine::{Engine, Options as EngineOptions};
use minerva_llama::{FlashAttention, Options as LlamaOptions};
use minerva_models::devices::{Plan, Wish, plan};
use minerva_models::gguf::Gguf;
use minerva_models::inspect::{Memory, Running, Summary, summarize};
use minerva_wasm::{Folder, Options as WasmOptions};

use crate::error::Error;
use crate::host::Minerva;
use crate::memory;

/// Models below this are decoded by one thread, unless more are asked for. Their layers are so small that a second
/// thread gains little, and ggml's threads wait for each other by spinning, at every layer: beside anything else that
/// is busy, two took a thousand times as long as one.
const SMALL_MODEL_BYTES: u64 = 64 << 20;

/// Tokens that a GPU computes at a time.
const GPU_CHUNK: u32 = 512;

/// Builds a [`Minerva`].
#[must_use]
pub struct Builder {
    model: Option<PathBuf>,
    context: Option<u32>,
    slots: Option<u32>,
    llama: LlamaOptions,
    gpu: Wish,
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
            gpu: Wish::default(),
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

    /// Says which devices may run the model, and with how much of their memory. Default: the best GPU that there is,
    /// with as many layers as fit; the processor without one.
    pub fn gpu(mut self, wish: Wish) -> Self {
        self.gpu = wish;
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

    /// Decides how the model would be loaded on this machine, and loads nothing.
    ///
    /// # Errors
    ///
    /// When the model file is missing or broken, or a device that was asked for is not there.
    pub fn plan(self) -> Result<Planned, Error> {
        let file = check(self.model)?;
        let mut llama = LlamaOptions { context: self.context.unwrap_or(0), ..self.llama };
        llama.path = file.path().to_owned();
        let plan = settle(&mut llama, self.slots, &file, &self.gpu, &minerva_llama::devices()?)?;
        let summary = summarize(&file);
        let context = if llama.context == 0 { memory::default_context(&summary) } else { llama.context };
        let memory = summary.memory(&Running { context, slots: llama.slots, ..running(&llama) });
        Ok(Planned { llama, plan, summary, memory })
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
        let file = check(self.model)?;
        self.llama.path = file.path().to_owned();
        self.llama.context = self.context.unwrap_or(0);
        let plan = settle(&mut self.llama, self.slots, &file, &self.gpu, &minerva_llama::devices()?)?;
        for reason in &plan.reasons {
            tracing::debug!("devices: {reason}");
        }
        let model = minerva_llama::load(&self.llama, &mut self.progress)?;
        let engine = Engine::start(Box::new(model), self.engine)?;
        Ok(Minerva { engine, plugins: self.plugins, runtime, llama: self.llama, _folder: folder })
    }
}

/// How a model would be loaded.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What llama.cpp would be told.
    pub llama: LlamaOptions,
    /// What would run where, and why.
    pub plan: Plan,
    /// What its file says.
    pub summary: Summary,
    /// The memory that it would take, wherever it runs.
    pub memory: Memory,
}

/// The model's file, or the built-in one. llama.cpp ends the whole process on some damaged files: it sees only what
/// was checked.
fn check(path: Option<PathBuf>) -> Result<Gguf, Error> {
    let path = match path {
        Some(path) => path,
        None => minerva_models::builtin::path()?,
    };
    Ok(minerva_models::gguf::check(&path)?)
}

/// Decides what was left open, for this machine: slots, threads, and what runs where.
fn settle(
    llama: &mut LlamaOptions,
    slots: Option<u32>,
    file: &Gguf,
    wish: &Wish,
    devices: &[minerva_llama::Device],
) -> Result<Plan, Error> {
    llama.slots = slots.unwrap_or_else(|| memory::slots(file, running(llama)));
    if llama.threads == 0 && file.file_bytes() < SMALL_MODEL_BYTES {
        llama.threads = 1;
    }
    let summary = summarize(file);
    let context = if llama.context == 0 { memory::default_context(&summary) } else { llama.context };
    // What a GPU is given if it is given anything: attention in one operation, and larger chunks.
    let chunk = llama.ubatch.max(GPU_CHUNK);
    let flash_attention = llama.flash_attention != FlashAttention::Off;
    let on_gpu = Running { context, slots: llama.slots, chunk, flash_attention, ..running(llama) };
    let wish = Wish { layers: llama.gpu_layers.or(wish.layers), ..*wish };
    let plan = plan(&summary, &on_gpu, devices, &wish)?;
    llama.gpu_layers = Some(plan.gpu_layers);
    llama.devices = Some(plan.devices.iter().map(|share| share.name.clone()).collect());
    if plan.gpu_layers > 0 {
        llama.ubatch = chunk;
    }
    Ok(plan)
}

/// How a sequence is to run, as far as its memory depends on it.
fn running(llama: &LlamaOptions) -> Running {
    Running {
        context: llama.context,
        slots: 1,
        chunk: llama.ubatch,
        key_type: llama.key_type,
        value_type: llama.value_type,
        flash_attention: llama.flash_attention == FlashAttention::On || llama.value_type.is_quantised(),
    }
}
