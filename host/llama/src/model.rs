//! A loaded model: [`minerva_engine::model::Model`] over a context.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use minerva_engine::model::{self, Batch, Capabilities, Info, Layout, Position, Slot, Token};

use crate::context::{Context, Decoded, Settings};
use crate::state::{self, Fingerprint};
use crate::vocabulary::Vocabulary;
use crate::weights::Weights;
use crate::{
    CONTEXT_DEFAULT_MAX, DeviceKind, Error, FlashAttention, Options, SLOTS_MAX, backend, kernels, log,
    physical_cores,
};

/// A model in llama.cpp, with its sequences.
pub struct Llama {
    info: Info,
    context: Context,
    vocabulary: Arc<Vocabulary>,
    fingerprint: Fingerprint,
    /// The tokens of the last batch that have a row of logits.
    rows: Vec<i32>,
    /// The tokens of a sliding window whose cells are given up once it has passed.
    window: Option<u32>,
    on_cpu: bool,
    embeddings: bool,
}

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
    let weights = Weights::load(options, &mut progress)?;
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
        options.flash_attention,
        options.key_type,
        options.value_type,
        slots,
        options.sliding_window_full
    ));
    let window = weights.sliding_window().filter(|_| !options.sliding_window_full);
    let vocabulary = Arc::new(vocabulary);
    Ok(Llama {
        info,
        context: running,
        vocabulary,
        fingerprint,
        rows: Vec::new(),
        window,
        on_cpu,
        embeddings,
    })
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
    let quantised =
        !matches!(options.value_type, crate::KvType::F32 | crate::KvType::F16 | crate::KvType::Bf16);
    if quantised && options.flash_attention == FlashAttention::Off {
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
    let batch = options.batch.max(options.slots);
    let gpu = backend::devices()?.iter().any(|device| device.kind != DeviceKind::Cpu && has_memory(device));
    Ok(Settings {
        context_total,
        slots: options.slots,
        batch,
        // Without a causal mask a sequence must be computed in one piece.
        ubatch: if embeddings { batch } else { options.ubatch.min(batch) },
        threads,
        threads_batch: if options.threads_batch == 0 { threads } else { options.threads_batch },
        flash_attention: options.flash_attention,
        key_type: options.key_type,
        value_type: options.value_type,
        kv_unified: options.kv_unified,
        sliding_window_full: options.sliding_window_full,
        offload: gpu && options.gpu_layers > 0,
        embeddings,
        pool_mean: embeddings && weights.number("pooling_type").is_none_or(|pooling| pooling == 0),
    })
}

fn has_memory(device: &crate::Device) -> bool {
    device.kind != DeviceKind::Accelerator
}

fn describe(options: &Options, settings: &Settings, running: &Context, context: u32) -> Result<Info, Error> {
    let weights = running.weights();
    let model = weights.model();
    let (cells, batch_tokens_max, chunk_tokens) = running.sizes();
    let recurrent = model.is_recurrent() || model.is_hybrid();
    let plain = !settings.kv_unified && settings.flash_attention == FlashAttention::Off && !settings.offload;
    let stem = || options.path.file_stem().unwrap_or_else(|| Path::new("model").as_os_str());
    Ok(Info {
        name: weights.metadata("general.name").unwrap_or_else(|| stem().to_string_lossy().into_owned()),
        architecture: weights.architecture(),
        parameters: model.n_params(),
        weight_bytes: model.size(),
        device: device_name(settings, options.gpu_layers, model.n_layer() + 1)?,
        vocabulary_size: u32::try_from(model.n_vocab()).unwrap_or(0),
        context: if options.kv_unified { context } else { context.min(cells) },
        context_trained: model.n_ctx_train(),
        slots: settings.slots,
        batch_tokens_max,
        chunk_tokens,
        chat_template: weights.metadata("tokenizer.chat_template"),
        capabilities: Capabilities {
            layout: if settings.kv_unified { Layout::Unified } else { Layout::Streams },
            partial_removal: !recurrent
                && (weights.sliding_window().is_none() || options.sliding_window_full),
            copy: running.has_memory(),
            shift: running.can_shift(),
            batch_invariant: plain && !recurrent && kernels::are_exact(&options.path),
        },
    })
}

fn device_name(settings: &Settings, gpu_layers: u32, layers: u32) -> Result<String, Error> {
    if !settings.offload {
        return Ok("CPU".to_owned());
    }
    let devices = backend::devices()?;
    let gpus =
        devices.iter().filter(|device| matches!(device.kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu));
    let names: Vec<_> = gpus.map(|device| device.name.as_str()).collect();
    Ok(format!("{} ({} of {layers} layers)", names.join(" + "), gpu_layers.min(layers)))
}

impl Llama {
    /// The embedding of each of some texts, as the model pools it; for a reranker its scores.
    ///
    /// # Errors
    ///
    /// [`model::Error::Unsupported`] unless loaded for embeddings, and where a text is longer than a batch.
    pub fn embed(&mut self, texts: &[Vec<Token>]) -> Result<Vec<Vec<f32>>, model::Error> {
        if !self.embeddings {
            return Err(self.unsupported("make embeddings unless they are loaded for it"));
        }
        let limit = self.info.batch_tokens_max as usize;
        let mut embeddings = Vec::with_capacity(texts.len());
        let mut batch = Batch::default();
        let mut group = 0;
        for (index, text) in texts.iter().enumerate() {
            if text.is_empty() || text.len() > limit {
                let why = format!("a text of {} tokens; an embedding takes 1 to {limit}", text.len());
                return Err(model::Error::Decode(why));
            }
            for (position, &token) in (0..).zip(text) {
                batch.push(token, position, group, true);
            }
            group += 1;
            let full = texts.get(index + 1).is_none_or(|next| batch.len() + next.len() > limit);
            if full || group == self.info.slots {
                self.embed_batch(&batch, group, &mut embeddings)?;
                batch.clear();
                group = 0;
            }
        }
        Ok(embeddings)
    }

    fn embed_batch(
        &mut self,
        batch: &Batch,
        group: u32,
        into: &mut Vec<Vec<f32>>,
    ) -> Result<(), model::Error> {
        self.validate(batch)?;
        let (decoded, cause) = log::complaints(|| {
            if self.context.has_memory() { self.context.decode(batch) } else { self.context.encode(batch) }
        });
        self.judge(decoded, batch, &cause)?;
        for slot in 0..group {
            let row = self.context.embedding(slot);
            into.push(row.ok_or_else(|| self.unsupported("pool their embeddings"))?.to_vec());
        }
        (0..group).for_each(|slot| _ = self.context.remove(slot, 0));
        Ok(())
    }

    /// What llama.cpp would abort on, or read beyond.
    fn validate(&self, batch: &Batch) -> Result<(), model::Error> {
        let refuse = |why: String| Err(model::Error::Decode(why));
        let (tokens, limit) = (batch.len(), self.info.batch_tokens_max as usize);
        if [batch.positions.len(), batch.slots.len(), batch.wants_logits.len()] != [tokens; 3] {
            return refuse("the columns of the batch differ in length".to_owned());
        }
        if tokens == 0 || tokens > limit {
            return refuse(format!("a batch of {tokens} tokens; it takes 1 to {limit}"));
        }
        if let Some(token) = batch.tokens.iter().find(|&&token| token >= self.info.vocabulary_size) {
            return refuse(format!("token {token} of a vocabulary of {}", self.info.vocabulary_size));
        }
        if let Some(slot) = batch.slots.iter().find(|&&slot| slot >= self.info.slots) {
            return refuse(format!("slot {slot} of {}", self.info.slots));
        }
        match batch.positions.iter().find(|&&position| i32::try_from(position).is_err()) {
            Some(position) => refuse(format!("position {position} is more than llama.cpp can count")),
            None => Ok(()),
        }
    }

    fn judge(&self, decoded: Decoded, batch: &Batch, cause: &str) -> Result<(), model::Error> {
        match decoded {
            Decoded::Done => Ok(()),
            Decoded::NoRoom => Err(model::Error::NoRoom { tokens: batch.len() }),
            Decoded::Refused => Err(model::Error::Decode(format!("the batch is refused: {cause}"))),
            Decoded::Aborted => Err(model::Error::Decode("it was stopped".to_owned())),
            // -2 is an allocation that failed. -3 is a computation: on a GPU that means the device.
            Decoded::Failed(-2) => Err(model::Error::Device(format!("out of memory: {cause}"))),
            Decoded::Failed(code) if self.on_cpu => {
                Err(model::Error::Decode(format!("{cause} (code {code})")))
            }
            Decoded::Failed(code) => Err(model::Error::Device(format!("{cause} (code {code})"))),
        }
    }

    fn unsupported(&self, operation: &'static str) -> model::Error {
        model::Error::Unsupported { operation, architecture: self.info.architecture.clone() }
    }
}

impl model::Model for Llama {
    fn info(&self) -> &Info {
        &self.info
    }

    fn vocabulary(&self) -> Arc<dyn model::Vocabulary> {
        self.vocabulary.clone()
    }

    fn decode(&mut self, batch: &Batch) -> Result<(), model::Error> {
        // A decode that fails leaves the rows of the one before: they must not be taken for its own.
        self.rows.clear();
        if self.embeddings {
            return Err(self.unsupported("decode text when they are loaded for embeddings"));
        }
        self.validate(batch)?;
        let (decoded, cause) = log::complaints(|| self.context.decode(batch));
        self.judge(decoded, batch, &cause)?;
        self.rows
            .extend((0..).zip(&batch.wants_logits).filter_map(|(token, &wanted)| wanted.then_some(token)));
        Ok(())
    }

    fn logits(&self, row: usize) -> &[f32] {
        let Some(&token) = self.rows.get(row) else {
            panic!("row {row} of logits; the last decode made {}", self.rows.len())
        };
        let logits = self.context.logits(token).expect("a token that wanted logits has them");
        debug_assert!(
            logits.len() == self.info.vocabulary_size as usize && !logits[0].is_nan(),
            "a whole, sane row"
        );
        logits
    }

    fn remove(&mut self, slot: Slot, from: Position) -> Result<(), model::Error> {
        let Some(held) = self.context.positions(slot) else { return Ok(()) };
        if from > 0 && from > *held.end() {
            return Ok(());
        }
        // A sliding window that has moved on is gone, although llama.cpp removes the tail behind it without a word.
        let needed = from.saturating_sub(self.window.unwrap_or(from));
        if from > 0 && self.window.is_some() && *held.start() > needed {
            return Err(self.unsupported("go back behind their sliding window"));
        }
        if self.context.remove(slot, from) {
            Ok(())
        } else {
            Err(self.unsupported("forget the tail of a sequence"))
        }
    }

    fn copy(&mut self, from: Slot, to: Slot) -> Result<(), model::Error> {
        if !self.info.capabilities.copy {
            return Err(self.unsupported("hold a sequence"));
        }
        if from == to {
            return Ok(());
        }
        self.context.remove(to, 0);
        if self.info.capabilities.layout == Layout::Unified {
            self.context.share(from, to);
            return Ok(());
        }
        // Between streams llama.cpp's own copy moves the whole buffers whatever their content, and only at the next
        // decode: a save or a restore in between would see the wrong cells.
        let state = self.save(from)?;
        self.restore(to, &state)
    }

    fn save(&mut self, slot: Slot) -> Result<Vec<u8>, model::Error> {
        let mut bytes = state::begin(self.fingerprint);
        let (saved, cause) = log::complaints(|| self.context.save(slot, &mut bytes));
        if !saved {
            return Err(model::Error::State(cause));
        }
        state::finish(&mut bytes);
        Ok(bytes)
    }

    fn restore(&mut self, slot: Slot, state: &[u8]) -> Result<(), model::Error> {
        self.context.remove(slot, 0);
        let payload = state::payload(state, self.fingerprint).map_err(model::Error::State)?;
        let (restored, cause) = log::complaints(|| self.context.restore(slot, payload));
        if restored {
            return Ok(());
        }
        self.context.remove(slot, 0);
        Err(model::Error::State(cause))
    }

    fn positions(&self, slot: Slot) -> Option<RangeInclusive<Position>> {
        self.context.positions(slot)
    }
}
