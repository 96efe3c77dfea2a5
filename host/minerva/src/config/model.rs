//! Which model, and how it runs: the same for every command that loads one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use minerva::engine::dialect::Dialect;
use minerva::engine::model::Pooling;
use minerva::isolate::Isolation;
use minerva::llama::{FlashAttention, KvType};
use minerva::models::devices::{Gpu, Wish};
use minerva::models::hub::Reference;
use minerva::{Builder, Isolate, Model};

use super::{HubArguments, PluginArguments};
use crate::command::pull::fetch;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArguments {
    /// The GGUF file to load, or hf:OWNER/REPOSITORY[:QUANTISATION] of the hub; without it, the small built-in model
    #[arg(short, long, env = "MINERVA_MODEL", value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// A model of the hub (-hf): OWNER/REPOSITORY, with :QUANTISATION behind it or as the best there is
    #[arg(long, value_name = "MODEL", conflicts_with = "model")]
    pub hf_repo: Option<String>,
    /// Tokens of context, of all sequences together; 0 is what the model was trained for, for each
    #[arg(short, long, env = "MINERVA_CTX_SIZE", value_name = "N")]
    pub ctx_size: Option<u32>,
    /// Sequences side by side (-np) [default: up to 16, as memory allows]
    #[arg(help_heading = "Performance", long, env = "MINERVA_PARALLEL", value_name = "N")]
    pub parallel: Option<u32>,
    /// Most tokens in one decode
    #[arg(help_heading = "Performance", short, long, env = "MINERVA_BATCH", value_name = "N")]
    pub batch_size: Option<u32>,
    /// Most tokens computed at a time (-ub)
    #[arg(help_heading = "Performance", long, env = "MINERVA_UBATCH", value_name = "N")]
    pub ubatch_size: Option<u32>,
    /// Threads that decode [default: the physical cores]
    #[arg(help_heading = "Performance", short, long, env = "MINERVA_THREADS", value_name = "N")]
    pub threads: Option<u32>,
    /// Threads that decode several tokens at a time (-tb) [default: as --threads]
    #[arg(help_heading = "Performance", long, env = "MINERVA_THREADS_BATCH", value_name = "N")]
    pub threads_batch: Option<u32>,
    /// What runs the model: cpu, cuda, cuda:N, metal, vulkan, vulkan:N; debug says what would [default: auto]
    #[arg(help_heading = "GPU", long, env = "MINERVA_GPU", value_name = "DEVICE")]
    pub gpu: Option<String>,
    /// The most of each GPU's memory to use: 70%, 6GiB [default: 80 % of its own, half of one it shares]
    #[arg(help_heading = "GPU", long, env = "MINERVA_GPU_MEMORY_LIMIT", value_name = "AMOUNT")]
    pub gpu_memory_limit: Option<String>,
    /// Where the device of --gpu is not there, use the processor instead of not starting
    #[arg(help_heading = "GPU", long)]
    pub cpu_fallback: bool,
    /// Run the model in a process of its own, which is started anew when llama.cpp or a driver ends it; auto is where
    /// layers run on a GPU. Linux only [default: auto]
    #[arg(
        help_heading = "GPU",
        long,
        env = "MINERVA_ISOLATE",
        value_enum,
        value_name = "WHEN",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on"
    )]
    pub isolate: Option<IsolateArgument>,
    /// Seconds that a model's own process may be silent while it loads or decodes, before it is killed and started anew
    #[arg(
        help_heading = "GPU",
        long,
        env = "MINERVA_ISOLATE_TIMEOUT",
        value_name = "SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub isolate_timeout: u64,
    /// Where memory runs out while the model is loaded, halve its context, down to 512 tokens, instead of not starting
    #[arg(help_heading = "GPU", long, env = "MINERVA_CONTEXT_SHRINK")]
    pub context_shrink: bool,
    /// Layers to put on a GPU (-ngl) [default: as many as fit]
    #[arg(help_heading = "GPU", long, alias = "gpu-layers", env = "MINERVA_GPU_LAYERS", value_name = "N")]
    pub n_gpu_layers: Option<u32>,
    /// Flash attention (-fa) [default: auto]
    #[arg(help_heading = "Performance", long, env = "MINERVA_FLASH_ATTN", value_enum, value_name = "WHEN")]
    pub flash_attn: Option<Switch>,
    /// The type of cached keys (-ctk): f32, f16, bf16, q8_0, q5_0, q4_0
    #[arg(help_heading = "Performance", long, env = "MINERVA_CACHE_TYPE_K", value_name = "TYPE")]
    pub cache_type_k: Option<String>,
    /// The type of cached values (-ctv)
    #[arg(help_heading = "Performance", long, env = "MINERVA_CACHE_TYPE_V", value_name = "TYPE")]
    pub cache_type_v: Option<String>,
    /// One pool of cells for all sequences (-kvu)
    #[arg(help_heading = "Performance", long, env = "MINERVA_KV_UNIFIED")]
    pub kv_unified: bool,
    /// Refuse to start where an answer could depend on what else is decoded beside it: a GPU, one pool of cells, a
    /// quantised cache, weights of some types
    #[arg(help_heading = "Performance", long, env = "MINERVA_DETERMINISTIC")]
    pub deterministic: bool,
    /// Make embeddings instead of text; a model that is made for them always does
    #[arg(long, alias = "embeddings", env = "MINERVA_EMBEDDING")]
    pub embedding: bool,
    /// Judge documents by queries, with a model that is made for it
    #[arg(long, alias = "rerank", env = "MINERVA_RERANKING", conflicts_with = "pooling")]
    pub reranking: bool,
    /// How the tokens of a text become one embedding: none, mean, cls, last, rank [default: as the file says]
    #[arg(long, env = "MINERVA_POOLING", value_enum, value_name = "HOW")]
    pub pooling: Option<PoolingArgument>,
    /// The part of the time that prompts get while answers are being written, 0.05 to 0.95: beside a long prompt a
    /// token takes about 1/(1-f) times as long with a share f
    #[arg(
        help_heading = "Performance",
        long,
        env = "MINERVA_PREFILL_SHARE",
        value_name = "F",
        default_value_t = 0.5
    )]
    pub prefill_share: f64,
    /// Tokens by which answers that are being written may fall behind for short prompts, which are decoded at once; 0
    /// counts all as long
    #[arg(
        help_heading = "Performance",
        long,
        env = "MINERVA_PREFILL_BURST",
        value_name = "N",
        default_value_t = 64
    )]
    pub prefill_burst: u32,
    /// Most MiB of host memory for sequences that may be needed again; 0 keeps none
    #[arg(
        help_heading = "Performance",
        long,
        env = "MINERVA_CACHE_RAM",
        value_name = "MIB",
        default_value_t = 1024
    )]
    pub cache_ram: u64,
    /// Decode every prompt from its beginning, whatever was decoded before
    #[arg(help_heading = "Performance", long, env = "MINERVA_NO_CACHE_PROMPT")]
    pub no_cache_prompt: bool,
    /// A Jinja chat template instead of the model's own, from a file
    #[arg(long, env = "MINERVA_CHAT_TEMPLATE_FILE", value_name = "FILE")]
    pub chat_template_file: Option<PathBuf>,
    /// A Jinja chat template instead of the model's own
    #[arg(long, env = "MINERVA_CHAT_TEMPLATE", value_name = "JINJA", conflicts_with = "chat_template_file")]
    pub chat_template: Option<String>,
    /// Make prompts by the chat template of llama.cpp's own that the model's is recognised as, or that --chat-template
    /// names (chatml, llama3, …), instead of by Jinja; tools need Jinja
    #[arg(long, env = "MINERVA_NO_JINJA")]
    pub no_jinja: bool,
    /// How the model writes calls of tools (hermes, llama3, mistral, …) [default: as its chat template tells]
    #[arg(long, env = "MINERVA_TOOL_CALL_PARSER", value_name = "NAME")]
    pub tool_call_parser: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Switch {
    /// Always
    On,
    /// Never
    Off,
    /// On a GPU, and for quantised values, which need it
    Auto,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum IsolateArgument {
    /// Always
    On,
    /// Never
    Off,
    /// Where layers run on a GPU
    Auto,
}

/// llama-server's names for how tokens are pooled.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PoolingArgument {
    /// Not at all: an embedding for each token
    None,
    /// Their mean
    Mean,
    /// The first token's
    Cls,
    /// The last token's
    Last,
    /// The scores of a reranker
    Rank,
}

impl From<PoolingArgument> for Pooling {
    fn from(argument: PoolingArgument) -> Self {
        match argument {
            PoolingArgument::None => Self::None,
            PoolingArgument::Mean => Self::Mean,
            PoolingArgument::Cls => Self::Cls,
            PoolingArgument::Last => Self::Last,
            PoolingArgument::Rank => Self::Rank,
        }
    }
}

impl ModelArguments {
    /// What the model is called where nobody gave it a name.
    pub(crate) fn name(&self) -> String {
        match self.remote() {
            Ok(Some(reference)) => reference.to_string(),
            _ => self.model.as_deref().map_or_else(|| minerva::models::builtin::NAME.into(), model_name),
        }
    }

    /// Whether only a report was asked for.
    pub(crate) fn wants_report(&self) -> bool {
        self.gpu.as_deref().is_some_and(|gpu| gpu.eq_ignore_ascii_case("debug"))
    }

    /// A builder that loads just this.
    pub(crate) fn builder(&self, plugins: &PluginArguments, hub: &HubArguments) -> Result<Builder> {
        Ok(plugins.apply(minerva::Minerva::builder())?.with_model(self.brought(hub)?))
    }

    /// The model, and how it is to run; one of the hub is pulled first.
    pub(crate) fn brought(&self, hub: &HubArguments) -> Result<Model> {
        let model = self.described()?;
        Ok(match self.remote()? {
            Some(reference) => model.path(fetch(&reference, &hub.options(), &|| true)?),
            None => model,
        })
    }

    /// Whether a process of its own was asked for.
    pub(crate) fn is_isolated(&self) -> bool {
        matches!(self.isolate, Some(IsolateArgument::On))
    }

    /// The model of the hub, if it is one.
    pub(crate) fn remote(&self) -> Result<Option<Reference>> {
        let of_path =
            self.model.as_deref().and_then(|path| path.to_str()).filter(|path| path.starts_with("hf:"));
        Ok(self.hf_repo.as_deref().or(of_path).map(str::parse).transpose()?)
    }

    /// When the model gets a process of its own: this program once more.
    fn isolated(&self) -> Isolate {
        // The program that runs, even where its file was replaced meanwhile.
        let program = "/proc/self/exe".into();
        let isolation = Isolation { program, timeout: Duration::from_secs(self.isolate_timeout) };
        match self.isolate {
            Some(IsolateArgument::Off) => Isolate::Never,
            Some(IsolateArgument::On) => Isolate::Always(isolation),
            _ if !minerva::isolate::IS_SUPPORTED => Isolate::Never,
            _ => Isolate::OnGpu(isolation),
        }
    }

    /// The model, and how it is to run.
    pub(crate) fn described(&self) -> Result<Model> {
        let mut model = match &self.model {
            Some(path) => Model::file(path),
            None => Model::built_in(),
        };
        if let Some(slots) = self.parallel {
            if !(1..=minerva::llama::SLOTS_MAX).contains(&slots) {
                bail!("--parallel is {slots}, and must be from 1 to {}", minerva::llama::SLOTS_MAX);
            }
            model = model.slots(slots);
        }
        if let Some(total) = self.ctx_size.filter(|total| *total > 0) {
            // The flag counts all sequences together, as llama-server does. Without --parallel that is one share
            // for each of the default's sequences.
            let slots = self.parallel.unwrap_or(4);
            let each = if self.kv_unified { total } else { total / slots };
            model = model.slots(slots).context(each.max(1));
        }
        let template = match &self.chat_template_file {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .with_context(|| format!("the chat template {} cannot be read", path.display()))?,
            ),
            None => self.chat_template.clone(),
        };
        if let Some(name) = &self.tool_call_parser
            && Dialect::named(name, "").is_none()
        {
            let names: Vec<&str> = Dialect::names().collect();
            bail!("--tool-call-parser: there is no `{name}`; there are {}", names.join(", "));
        }
        if !(0.05..=0.95).contains(&self.prefill_share) {
            bail!("--prefill-share is {}, and must be from 0.05 to 0.95", self.prefill_share);
        }
        let dialect = self.tool_call_parser.clone();
        model = model.engine(|engine| {
            engine.chat_template = template;
            engine.jinja = !self.no_jinja;
            engine.dialect = dialect;
            engine.prefill_share = self.prefill_share;
            engine.prefill_burst = self.prefill_burst;
            engine.prefix_cache = !self.no_cache_prompt;
            engine.prefix_cache_bytes = self.cache_ram.saturating_mul(1 << 20);
        });
        let gpu = match &self.gpu {
            Some(gpu) if !self.wants_report() => gpu.parse(),
            _ => Ok(Gpu::Auto),
        };
        let limit = self.gpu_memory_limit.as_deref().map(str::parse).transpose();
        model = model.gpu(Wish {
            gpu: gpu.map_err(|error: String| anyhow!("--gpu: {error}"))?,
            limit: limit.map_err(|error: String| anyhow!("--gpu-memory-limit: {error}"))?,
            layers: None,
        });
        model = model
            .cpu_fallback(self.cpu_fallback)
            .isolate(self.isolated())
            .context_shrinks(self.context_shrink);
        let key_type = self.cache_type_k.as_deref().map(kv_type).transpose().context("--cache-type-k")?;
        let value_type = self.cache_type_v.as_deref().map(kv_type).transpose().context("--cache-type-v")?;
        Ok(model.llama(|llama| {
            let set = |to: &mut u32, from: Option<u32>| *to = from.unwrap_or(*to);
            set(&mut llama.batch, self.batch_size);
            set(&mut llama.ubatch, self.ubatch_size);
            set(&mut llama.threads, self.threads);
            set(&mut llama.threads_batch, self.threads_batch);
            llama.gpu_layers = self.n_gpu_layers;
            llama.key_type = key_type.unwrap_or(llama.key_type);
            llama.value_type = value_type.unwrap_or(llama.value_type);
            llama.kv_unified = self.kv_unified;
            llama.deterministic = self.deterministic;
            llama.embeddings = self.embedding || self.reranking || self.pooling.is_some();
            llama.pooling =
                if self.reranking { Some(Pooling::Rank) } else { self.pooling.map(Pooling::from) };
            llama.flash_attention = match self.flash_attn {
                None => llama.flash_attention,
                Some(Switch::On) => FlashAttention::On,
                Some(Switch::Off) => FlashAttention::Off,
                Some(Switch::Auto) => FlashAttention::Auto,
            };
        }))
    }
}

/// What a file's model is called.
pub(crate) fn model_name(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// The type of a cache by its name.
pub(crate) fn kv_type(name: &str) -> Result<KvType> {
    KvType::from_name(name).with_context(|| {
        format!("'{name}' is no type for a cache; there are f32, f16, bf16, q8_0, q5_0 and q4_0")
    })
}
