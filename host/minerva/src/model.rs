//! A model, and how it is to run.

use std::path::PathBuf;

use minerva_engine::recovery::Reload;
use minerva_engine::{Engine, Options as EngineOptions};
use minerva_isolate::Isolation;
use minerva_llama::{Device, FlashAttention, Options as LlamaOptions};
use minerva_models::devices::{Gpu, Plan, Wish, plan};
use minerva_models::gguf::Gguf;
use minerva_models::inspect::{Memory, Running, Summary, summarize};
use minerva_models::ladder::{self, Allowed};
use minerva_models::registry::{Progress, Source, SourceError};

use crate::error::Error;
use crate::memory;

/// Models below this are decoded by one thread, unless more are asked for. Their layers are so small that a second
/// thread gains little, and ggml's threads wait for each other by spinning, at every layer: beside anything else that
/// is busy, two took a thousand times as long as one.
const SMALL_MODEL_BYTES: u64 = 64 << 20;

/// Tokens that a GPU computes at a time.
const GPU_CHUNK: u32 = 512;

/// A model, and how it is to run. A registry can load it:
///
/// ```no_run
/// # async fn example(host: minerva::Host) -> Result<(), minerva::Error> {
/// use minerva::{Model, Spec};
///
/// let registry = host.registry();
/// registry.add(Spec::new("small", Model::file("small.gguf").context(4096)))?;
/// registry.add(Spec::new("large", Model::file("large.gguf").slots(2)))?;
/// let answer = host.ask("small", "Why is the sky blue?").text().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Model {
    path: Option<PathBuf>,
    context: Option<u32>,
    slots: Option<u32>,
    llama: LlamaOptions,
    gpu: Wish,
    cpu_fallback: bool,
    context_shrinks: bool,
    isolate: Isolate,
    engine: EngineOptions,
}

/// When a model runs in a process of its own: what ends llama.cpp then ends that one, and it is started anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Isolate {
    /// Never.
    #[default]
    Never,
    /// Where layers of it run on a GPU, whose errors are those that end a process.
    OnGpu(Isolation),
    /// Always.
    Always(Isolation),
}

impl Model {
    /// The small model in the box.
    pub fn built_in() -> Self {
        let (llama, engine) = (LlamaOptions::new(""), EngineOptions::default());
        Self {
            path: None,
            context: None,
            slots: None,
            llama,
            gpu: Wish::default(),
            cpu_fallback: false,
            context_shrinks: false,
            isolate: Isolate::Never,
            engine,
        }
    }

    /// A GGUF file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::built_in().path(path)
    }

    /// Another GGUF file, with what else was said.
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
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

    /// Says which devices may run it, and with how much of their memory. Default: the best GPU that there is, with as
    /// many layers as fit; the processor without one.
    pub fn gpu(mut self, wish: Wish) -> Self {
        self.gpu = wish;
        self
    }

    /// Whether the processor runs it where the device that was asked for is not there. Default: no, that is an error.
    pub fn cpu_fallback(mut self, falls_back: bool) -> Self {
        self.cpu_fallback = falls_back;
        self
    }

    /// Whether its context may be halved, down to [`ladder::CONTEXT_LEAST`], where memory runs out while it is loaded.
    /// Default: no, that is an error.
    pub fn context_shrinks(mut self, shrinks: bool) -> Self {
        self.context_shrinks = shrinks;
        self
    }

    /// Says when it runs in a process of its own. Default: never, because it takes a program to start.
    pub fn isolate(mut self, isolate: Isolate) -> Self {
        self.isolate = isolate;
        self
    }

    /// Changes how llama.cpp loads and runs it. Path, context and slots are set here.
    pub fn llama(mut self, change: impl FnOnce(&mut LlamaOptions)) -> Self {
        change(&mut self.llama);
        self
    }

    /// Changes how its requests are queued, batched and sampled.
    pub fn engine(mut self, change: impl FnOnce(&mut EngineOptions)) -> Self {
        change(&mut self.engine);
        self
    }

    /// Decides how it would be loaded on this machine, and loads nothing.
    ///
    /// # Errors
    ///
    /// When the file is missing or broken, or a device that was asked for is not there.
    pub fn plan(&self) -> Result<Planned, Error> {
        let path = match &self.path {
            Some(path) => path.clone(),
            None => minerva_models::builtin::path()?,
        };
        // llama.cpp ends the whole process on some damaged files: it sees only what was checked.
        let file = minerva_models::gguf::check(&path)?;
        let summary = summarize(&file);
        let mut llama = LlamaOptions { path, context: self.context.unwrap_or(0), ..self.llama.clone() };
        let devices = minerva_llama::devices()?;
        let plan = match settle(&mut llama, self.slots, &file, &summary, &self.gpu, &devices) {
            Err(error @ Error::Device(_)) if self.cpu_fallback => {
                tracing::warn!("{error}; the processor runs the model instead");
                let on_cpu = Wish { gpu: Gpu::Cpu, ..self.gpu };
                settle(&mut llama, self.slots, &file, &summary, &on_cpu, &devices)?
            }
            settled => settled?,
        };
        let context = if llama.context == 0 { memory::default_context(&summary) } else { llama.context };
        // What all slots share is in the one pool.
        let slots = if llama.kv_unified { 1 } else { llama.slots };
        let memory = summary.memory(&Running { context, slots, ..running(&llama) });
        Ok(Planned { llama, plan, summary, memory })
    }

    /// Loads it, and says how.
    pub(crate) fn start(&self, progress: &mut Progress<'_>) -> Result<(Engine, LlamaOptions), Error> {
        let Planned { mut llama, plan, summary, .. } = self.plan()?;
        for reason in &plan.reasons {
            tracing::debug!("devices: {reason}");
        }
        let cpu = self.gpu.gpu == Gpu::Auto || self.cpu_fallback;
        let allowed = Allowed { cpu, slots: self.slots.is_none(), context: self.context_shrinks };
        if allowed.context && llama.context == 0 {
            llama.context = memory::default_context(&summary);
        }
        let model = ladder::load(&mut llama, allowed, |options| self.isolate.load(options, &mut *progress))?;
        let reload = reload(&llama, allowed, self.isolate.clone());
        Ok((Engine::start_reloadable(model, reload, self.engine.clone())?, llama))
    }
}

impl Isolate {
    /// Loads a model here, or in a process of its own.
    fn load(
        &self,
        options: &LlamaOptions,
        progress: &mut Progress<'_>,
    ) -> Result<Box<dyn minerva_engine::model::Model>, minerva_llama::Error> {
        let isolation = match self {
            Self::Always(isolation) => Some(isolation),
            Self::OnGpu(isolation) => {
                Some(isolation).filter(|_| options.gpu_layers.is_some_and(|layers| layers > 0))
            }
            Self::Never => None,
        };
        Ok(match isolation {
            Some(isolation) => Box::new(minerva_isolate::load(isolation, options, progress)?),
            None => Box::new(minerva_llama::load(options, progress)?),
        })
    }
}

/// Loads the model anew when its device failed: from its file, if that is still sound, with as many sequences as
/// before, and with fewer layers on the GPU where memory ran out.
fn reload(options: &LlamaOptions, allowed: Allowed, isolate: Isolate) -> Reload {
    let (mut options, allowed) = (options.clone(), Allowed { slots: false, context: false, ..allowed });
    Box::new(move |error| {
        minerva_models::gguf::check(&options.path).map_err(|error| told(&error))?;
        if error.to_string().contains("out of memory") {
            ladder::shrink(&mut options, allowed);
        }
        let model = ladder::load(&mut options, allowed, |options| isolate.load(options, &mut |_| true));
        model.map_err(|error| told(&error))
    })
}

/// An error with its cause.
fn told(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

impl Source for Model {
    fn bytes(&self) -> Result<u64, SourceError> {
        Ok(self.plan()?.memory.total())
    }

    fn load(&self, progress: &mut Progress<'_>) -> Result<Engine, SourceError> {
        Ok(self.start(progress)?.0)
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

/// Decides what was left open, for this machine: slots, threads, and what runs where.
fn settle(
    llama: &mut LlamaOptions,
    slots: Option<u32>,
    file: &Gguf,
    summary: &Summary,
    wish: &Wish,
    devices: &[Device],
) -> Result<Plan, Error> {
    llama.slots = slots.unwrap_or_else(|| memory::slots(summary, running(llama)));
    if llama.threads == 0 && file.file_bytes() < SMALL_MODEL_BYTES {
        llama.threads = 1;
    }
    let context = if llama.context == 0 { memory::default_context(summary) } else { llama.context };
    // What a GPU is given if it is given anything: attention in one operation, and larger chunks.
    let chunk = llama.ubatch.max(GPU_CHUNK);
    let flash_attention = llama.flash_attention != FlashAttention::Off;
    let on_gpu = Running { context, slots: llama.slots, chunk, flash_attention, ..running(llama) };
    let wish = Wish { layers: llama.gpu_layers.or(wish.layers), ..*wish };
    let plan = plan(summary, &on_gpu, devices, &wish)?;
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
