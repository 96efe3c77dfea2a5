//! From a file to a model with its sequences.

use std::path::Path;
use std::sync::Arc;

use minerva_engine::model::{Capabilities, Embeds, Info, Layout, Pooling};

use crate::context::{Context, Settings};
use crate::model::Llama;
use crate::state::Fingerprint;
use crate::vocabulary::Vocabulary;
use crate::weights::Weights;
use crate::{
    CONTEXT_DEFAULT_MAX, Error, FlashAttention, KvType, Options, SLOTS_MAX, attention, backend, kernels,
    physical_cores,
};

/// Loads a model and makes its sequences. `progress` sees the part of the weights that is read, 0 to 1, on this
/// thread, and says whether to go on.
///
/// The file should have been checked before (`minerva_models::gguf`): on some corrupt files llama.cpp stops the
/// process.
///
/// # Errors
///
/// When the file cannot be opened, is no model that llama.cpp can run, or its sequences do not fit into memory.
pub fn load(options: &Options, mut progress: impl FnMut(f32) -> bool) -> Result<Llama, Error> {
    check(options)?;
    let weights = Weights::load(options, false, &mut progress)?;
    let vocabulary =
        Vocabulary::new(&weights).map_err(|cause| Error::Load { path: options.path.clone(), cause })?;

    let encoder = weights.number("attention.causal").is_some_and(|causal| causal == 0)
        || weights.metadata(&format!("{}.attention.causal", weights.architecture())).as_deref()
            == Some("false");
    let embeddings = options.embeddings || encoder;
    let trained = weights.model().n_ctx_train();
    let context = if options.context == 0 { trained.clamp(1, CONTEXT_DEFAULT_MAX) } else { options.context };
    if options.context == 0 && trained > context {
        tracing::info!(
            context,
            trained,
            "each slot holds {context} tokens; the model was trained for {trained}"
        );
    }
    let settings = settle(options, &weights, context, embeddings)?;

    let (slots, path) = (settings.slots, &options.path);
    let running = Context::new(weights.clone(), &settings).map_err(|cause| Error::Context {
        path: path.clone(),
        context,
        slots,
        cause,
    })?;
    let on_cpu = !settings.offload;
    let info = describe(options, &settings, &running, context)?;
    let fingerprint = Fingerprint::new(&format!(
        "{} {} {} {} {:?} {:?} {:?} {:?} {} {}",
        info.architecture,
        info.name,
        info.parameters,
        info.weight_bytes,
        info.capabilities.layout,
        settings.flash_attention,
        options.key_type,
        options.value_type,
        slots,
        options.sliding_window_full
    ));
    let window = weights.sliding_window().filter(|_| !options.sliding_window_full);
    let vocabulary = Arc::new(vocabulary);
    Ok(Llama { info, context: running, vocabulary, fingerprint, rows: Vec::new(), window, on_cpu })
}

/// Loads the vocabulary of a file, and nothing else of it: for who has the rest in another process. As [`load`] it wants
/// a file that was checked.
///
/// # Errors
///
/// As [`load`].
pub fn load_vocabulary(path: &Path) -> Result<Arc<dyn minerva_engine::model::Vocabulary>, Error> {
    let options = Options { devices: Some(Vec::new()), ..Options::new(path) };
    let weights = Weights::load(&options, true, &mut |_| true)?;
    let vocabulary =
        Vocabulary::new(&weights).map_err(|cause| Error::Load { path: options.path.clone(), cause })?;
    Ok(Arc::new(vocabulary))
}

/// What can be refused before anything is read.
fn check(options: &Options) -> Result<(), Error> {
    let refuse = |cause: String| Err(Error::Options { path: options.path.clone(), cause });
    if !(1..=SLOTS_MAX).contains(&options.slots) {
        return refuse(format!("{} slots were asked for; llama.cpp holds 1 to {SLOTS_MAX}", options.slots));
    }
    if options.batch == 0 || options.ubatch == 0 {
        return refuse("a batch and a ubatch have at least one token".to_owned());
    }
    if let Some(names) = &options.devices {
        let devices = backend::devices()?;
        if let Some(missing) = names.iter().find(|name| devices.iter().all(|device| device.name != **name)) {
            let there: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
            return refuse(format!("there is no device {missing}; there are {}", there.join(", ")));
        }
    }
    if options.value_type.is_quantised() && options.flash_attention == FlashAttention::Off {
        return refuse(format!("values cached as {:?} need flash attention", options.value_type));
    }
    Ok(())
}

/// The options with everything decided that they leave open.
fn settle(options: &Options, weights: &Weights, context: u32, embeddings: bool) -> Result<Settings, Error> {
    let streams = if options.kv_unified { 1 } else { options.slots };
    let context_total = context.checked_next_multiple_of(256).and_then(|cells| cells.checked_mul(streams));
    let Some(context_total) = context_total.filter(|&cells| i32::try_from(cells).is_ok()) else {
        let cause = format!("{streams} times {context} tokens of context are more than llama.cpp can count");
        return Err(Error::Options { path: options.path.clone(), cause });
    };
    let threads = if options.threads == 0 { physical_cores() } else { options.threads };
    let has_gpu = !backend::gpus(options.devices.as_deref())?.is_empty();
    let offload = has_gpu && options.gpu_layers.is_some_and(|layers| layers > 0);
    let exact_attention = !offload && !embeddings && has_exact_attention(options, weights);
    let flash_attention = match options.flash_attention {
        FlashAttention::Auto if options.value_type.is_quantised() => FlashAttention::On,
        FlashAttention::Auto if !offload && exact_attention => FlashAttention::On,
        FlashAttention::Auto if !offload => FlashAttention::Off,
        asked => asked,
    };
    let mut batch = options.batch.max(options.slots);
    if embeddings {
        // llama.cpp plans for as many tokens of each sequence, and aborts where that does not come out even.
        batch = batch.next_multiple_of(options.slots);
        if batch > context_total {
            batch = context_total / options.slots * options.slots;
        }
    }
    Ok(Settings {
        context_total,
        slots: options.slots,
        batch,
        // Without a causal mask a sequence must be computed in one piece.
        ubatch: if embeddings { batch } else { options.ubatch.min(batch) },
        threads,
        threads_batch: if options.threads_batch == 0 { threads } else { options.threads_batch },
        flash_attention,
        exact_attention,
        key_type: options.key_type,
        value_type: options.value_type,
        kv_unified: options.kv_unified,
        sliding_window_full: options.sliding_window_full,
        offload,
        embeddings,
        pooling: pooling(options, weights, embeddings)?,
    })
}

/// Whether this build has a flash attention for the processor that gives a token the same bits alone and beside others
/// (`kernels/attention.h`), for this model's heads. It is faster than attention in several operations; ggml's own is not.
fn has_exact_attention(options: &Options, weights: &Weights) -> bool {
    if (options.key_type, options.value_type) != (KvType::F16, KvType::F16) {
        return false;
    }
    let number = |key: &str| weights.number(key).map(|number| number as usize);
    let width = number("embedding_length").zip(number("attention.head_count").filter(|&heads| heads > 0));
    let width = width.map(|(embedding, heads)| embedding / heads);
    let (keys, values) =
        (number("attention.key_length").or(width), number("attention.value_length").or(width));
    // Layers with a sliding window may have heads of their own.
    let windowed =
        (number("attention.key_length_swa").or(keys), number("attention.value_length_swa").or(values));
    [(keys, values), windowed]
        .into_iter()
        .all(|heads| matches!(heads, (Some(keys), Some(values)) if attention::same_alone(keys, values) == Some(true)))
}

/// The file's number for a model with a head of scores.
const POOLING_RANK: u32 = 4;

/// How tokens are pooled, where the file does not decide it.
fn pooling(options: &Options, weights: &Weights, embeddings: bool) -> Result<Option<Pooling>, Error> {
    let own = weights.number("pooling_type");
    match options.pooling {
        // Without a head there would be numbers, but no scores.
        Some(Pooling::Rank) if own != Some(POOLING_RANK) => {
            let cause = "it is no reranker: it has no head of scores".to_owned();
            Err(Error::Options { path: options.path.clone(), cause })
        }
        Some(pooling) => Ok(Some(pooling)),
        None => Ok((embeddings && own.is_none_or(|pooling| pooling == 0)).then_some(Pooling::Mean)),
    }
}

fn describe(options: &Options, settings: &Settings, running: &Context, context: u32) -> Result<Info, Error> {
    let weights = running.weights();
    let model = weights.model();
    let (cells, batch_tokens_max, chunk_tokens) = running.sizes();
    let recurrent = model.is_recurrent() || model.is_hybrid();
    let obstacles = obstacles(options, settings, recurrent);
    if options.deterministic && !obstacles.is_empty() {
        let cause = format!(
            "what a request is answered would depend on what else is decoded beside it, because of {}; change that, or \
             do without `deterministic`",
            obstacles.join(", and of ")
        );
        return Err(Error::Options { path: options.path.clone(), cause });
    }
    let stem = || options.path.file_stem().unwrap_or_else(|| Path::new("model").as_os_str());
    let file = options.path.file_name().unwrap_or_else(|| Path::new("model.gguf").as_os_str());
    Ok(Info {
        name: weights.metadata("general.name").unwrap_or_else(|| stem().to_string_lossy().into_owned()),
        file: file.to_string_lossy().into_owned(),
        architecture: weights.architecture(),
        parameters: model.n_params(),
        weight_bytes: model.size(),
        device: device_name(settings, options, model.n_layer() + 1)?,
        vocabulary_size: u32::try_from(model.n_vocab()).unwrap_or(0),
        context: if options.kv_unified { context } else { context.min(cells) },
        context_trained: model.n_ctx_train(),
        slots: settings.slots,
        batch_tokens_max,
        chunk_tokens,
        chat_template: weights.metadata("tokenizer.chat_template"),
        rerank_template: weights.metadata("tokenizer.chat_template.rerank"),
        embeds: settings.embeddings.then(|| embeds(running, context.min(model.n_ctx_train()))),
        capabilities: Capabilities {
            layout: if settings.kv_unified { Layout::Unified } else { Layout::Streams },
            partial_removal: !recurrent
                && (weights.sliding_window().is_none() || options.sliding_window_full),
            copy: running.has_memory(),
            shift: running.can_shift() && !recurrent,
            batch_invariant: obstacles.is_empty(),
        },
    })
}

/// What makes the logits of a sequence depend on what else is in a batch, in words.
fn obstacles(options: &Options, settings: &Settings, recurrent: bool) -> Vec<String> {
    let named = [
        (settings.kv_unified, "one pool of cells for all sequences (`kv_unified`)"),
        (
            settings.flash_attention != FlashAttention::Off && !settings.exact_attention,
            "flash attention (`flash_attention`)",
        ),
        (settings.offload, "layers on a GPU (`gpu_layers`)"),
        (recurrent, "a recurrent architecture"),
    ];
    let named = named.into_iter().filter(|(is_so, _)| *is_so).map(|(_, name)| name.to_owned());
    named.chain(kernels::obstacle(&options.path)).collect()
}

/// What it makes of a text. Positions beyond those that it was trained for may be beyond its table of them.
fn embeds(running: &Context, context: u32) -> Embeds {
    let (cells, batch, ubatch) = running.sizes();
    let (pooling, width) = running.pooling();
    Embeds { pooling, width, tokens_max: context.min(cells).min(batch).min(ubatch) }
}

fn device_name(settings: &Settings, options: &Options, layers: u32) -> Result<String, Error> {
    if !settings.offload {
        return Ok("CPU".to_owned());
    }
    let gpus = backend::gpus(options.devices.as_deref())?;
    let names: Vec<_> = gpus.iter().map(|device| device.name.as_str()).collect();
    let on_gpu = options.gpu_layers.unwrap_or(0).min(layers);
    Ok(format!("{} ({on_gpu} of {layers} layers)", names.join(" + ")))
}
