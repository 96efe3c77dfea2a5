//! The context: the sequences of a model and the buffers to compute on them, owned over the raw bindings.
//!
//! Every function here is a thin, checked layer over one of llama.cpp's; what they mean is in `model`.

use std::ffi::CStr;
use std::ops::{Range, RangeInclusive};
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;
use minerva_engine::model::{Batch, Pooling};

use crate::weights::Weights;
use crate::{FlashAttention, KvType, log};

/// What a context is made with, everything decided.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) context_total: u32,
    pub(crate) slots: u32,
    pub(crate) batch: u32,
    pub(crate) ubatch: u32,
    pub(crate) threads: u32,
    pub(crate) threads_batch: u32,
    pub(crate) flash_attention: FlashAttention,
    /// Whether flash attention gives a token the same bits alone and beside others.
    pub(crate) exact_attention: bool,
    pub(crate) key_type: KvType,
    pub(crate) value_type: KvType,
    pub(crate) kv_unified: bool,
    pub(crate) sliding_window_full: bool,
    pub(crate) offload: bool,
    pub(crate) embeddings: bool,
    /// How the tokens of a sequence become one row, where the file does not decide it.
    pub(crate) pooling: Option<Pooling>,
}

/// How a decode ended: llama.cpp's return code, given its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// All rows are there.
    Done,
    /// No room; nothing changed.
    NoRoom,
    /// The batch is malformed; nothing changed.
    Refused,
    /// Stopped by a callback; some chunks are in the cache.
    Aborted,
    /// An allocation or a computation failed; some chunks are in the cache.
    Failed(i32),
}

/// A llama.cpp context.
pub(crate) struct Context {
    raw: NonNull<sys::llama_context>,
    /// Null for a model that keeps nothing between calls (an encoder).
    memory: sys::llama_memory_t,
    slots: u32,
    columns: Columns,
    /// Freed after the context, which points into it.
    weights: Arc<Weights>,
}

// SAFETY: a context is bound to no thread, and is used by one at a time: every method that changes it takes `&mut`,
// and without `Sync` the others are not called at the same time either.
unsafe impl Send for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `llama_init_from_model`, freed once, and its model outlives this call.
        unsafe { sys::llama_free(self.raw.as_ptr()) }
    }
}

impl Context {
    /// Makes a context, or says why there is none in llama.cpp's words.
    pub(crate) fn new(weights: Arc<Weights>, settings: &Settings) -> Result<Self, String> {
        let params = parameters(settings);
        // SAFETY: the model is valid and lives in the `Arc` that the context keeps; the parameters come from
        // llama.cpp's defaults and hold no pointers. It writes to the model only while it fits a stretched context,
        // which `weights`, new and not yet shared, allows.
        let (raw, cause) = log::complaints(|| unsafe { sys::llama_init_from_model(weights.raw(), params) });
        let raw = NonNull::new(raw).ok_or(cause)?;
        // SAFETY: a live context; its memory lives and dies with it.
        let memory = unsafe { sys::llama_get_memory(raw.as_ptr()) };
        Ok(Self { raw, memory, slots: settings.slots, columns: Columns::default(), weights })
    }

    /// The model that this is a context of.
    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Whether sequences are kept between calls.
    pub(crate) fn has_memory(&self) -> bool {
        !self.memory.is_null()
    }

    /// The cells of one sequence, the most tokens of a call, and the tokens computed at a time, as llama.cpp rounded
    /// them.
    pub(crate) fn sizes(&self) -> (u32, u32, u32) {
        let raw = self.raw.as_ptr();
        // SAFETY: plain getters on a live context.
        unsafe { (sys::llama_n_ctx_seq(raw), sys::llama_n_batch(raw), sys::llama_n_ubatch(raw)) }
    }

    /// Whether positions can be moved.
    pub(crate) fn can_shift(&self) -> bool {
        // SAFETY: a plain getter on live memory.
        self.has_memory() && unsafe { sys::llama_memory_can_shift(self.memory) }
    }

    /// Runs the network over a batch. The caller has checked the number of tokens, their range and their slots.
    pub(crate) fn decode(&mut self, batch: &Batch) -> Decoded {
        let raw = self.raw.as_ptr();
        let batch = self.columns.fill(batch);
        // SAFETY: the columns of the batch live in `self.columns` and have the length it says. It has at most
        // `n_batch` tokens, without which llama.cpp aborts.
        match unsafe { sys::llama_decode(raw, batch) } {
            0 => Decoded::Done,
            1 => Decoded::NoRoom,
            -1 => Decoded::Refused,
            2 => Decoded::Aborted,
            code => Decoded::Failed(code),
        }
    }

    /// Runs the network over a batch of whole sequences of which nothing is kept.
    pub(crate) fn encode(&mut self, batch: &Batch) -> Decoded {
        let raw = self.raw.as_ptr();
        let batch = self.columns.fill(batch);
        // SAFETY: as in `decode`; and `n_batch` is `n_ubatch` here, which an encoder cannot exceed.
        match unsafe { sys::llama_encode(raw, batch) } {
            0 => Decoded::Done,
            -1 => Decoded::Refused,
            code => Decoded::Failed(code),
        }
    }

    /// The logits after a token of the last batch, which must have asked for them.
    pub(crate) fn logits(&self, token: i32) -> Option<&[f32]> {
        let size = usize::try_from(self.weights.vocab().n_tokens()).unwrap_or(0);
        // SAFETY: the context is live. The row is `size` numbers that stay until the next decode, which needs `&mut`.
        // llama.cpp puts the rows into batch order on the first call: it is not called by two threads at a time,
        // because `Context` is not `Sync`.
        unsafe {
            let row = sys::llama_get_logits_ith(self.raw.as_ptr(), token);
            (!row.is_null()).then(|| std::slice::from_raw_parts(row, size))
        }
    }

    /// How the tokens of a sequence become one row, and how many numbers it has.
    pub(crate) fn pooling(&self) -> (Pooling, u32) {
        let (raw, model) = (self.raw.as_ptr(), self.weights.raw());
        // SAFETY: plain getters on a live context and its model.
        let (pooling, classes, width) = unsafe {
            (
                sys::llama_pooling_type(raw),
                sys::llama_model_n_cls_out(model),
                sys::llama_model_n_embd_out(model).unsigned_abs(),
            )
        };
        match pooling {
            sys::LLAMA_POOLING_TYPE_MEAN => (Pooling::Mean, width),
            sys::LLAMA_POOLING_TYPE_CLS => (Pooling::Cls, width),
            sys::LLAMA_POOLING_TYPE_LAST => (Pooling::Last, width),
            sys::LLAMA_POOLING_TYPE_RANK => (Pooling::Rank, classes),
            _ => (Pooling::None, width),
        }
    }

    /// The pooled row of a sequence of the last batch.
    pub(crate) fn embedding_of_slot(&self, slot: u32) -> Option<&[f32]> {
        let (_, width) = self.pooling();
        // SAFETY: the row has `width` numbers and stays until the next decode, which needs `&mut`.
        unsafe {
            let row = sys::llama_get_embeddings_seq(self.raw.as_ptr(), slot.cast_signed());
            (!row.is_null()).then(|| std::slice::from_raw_parts(row, width as usize))
        }
    }

    /// The row of a token of the last batch, where rows are not pooled.
    pub(crate) fn embedding_of_token(&self, token: i32) -> Option<&[f32]> {
        let (_, width) = self.pooling();
        // SAFETY: as above.
        unsafe {
            let row = sys::llama_get_embeddings_ith(self.raw.as_ptr(), token);
            (!row.is_null()).then(|| std::slice::from_raw_parts(row, width as usize))
        }
    }

    /// Forgets a sequence from a position on. False: it cannot, and did not.
    pub(crate) fn remove(&mut self, slot: u32, from: u32) -> bool {
        self.check(slot);
        // SAFETY: live memory and a slot that it has, without which llama.cpp aborts.
        !self.has_memory()
            || unsafe { sys::llama_memory_seq_rm(self.memory, slot.cast_signed(), from.cast_signed(), -1) }
    }

    /// Forgets a part of a sequence and moves what stands behind it forward. Keys are turned to their new places at
    /// the next decode. False: it cannot, and did not.
    pub(crate) fn discard(&mut self, slot: u32, range: Range<u32>) -> bool {
        self.check(slot);
        if !self.can_shift() {
            return false;
        }
        let (slot, from, to) = (slot.cast_signed(), range.start.cast_signed(), range.end.cast_signed());
        // SAFETY: live memory that can be shifted, without which llama.cpp aborts, and a slot that it has.
        unsafe {
            let removed = sys::llama_memory_seq_rm(self.memory, slot, from, to);
            if removed {
                sys::llama_memory_seq_add(self.memory, slot, to, -1, from - to);
            }
            removed
        }
    }

    /// Makes the cells of a sequence belong to another one too. Only where all sequences share one pool: between
    /// streams llama.cpp copies the whole buffers, and only before the next decode.
    pub(crate) fn share(&mut self, from: u32, to: u32) {
        self.check(from);
        self.check(to);
        // SAFETY: as in `remove`; the range is the whole sequence, without which llama.cpp can abort.
        unsafe { sys::llama_memory_seq_cp(self.memory, from.cast_signed(), to.cast_signed(), -1, -1) }
    }

    /// The positions that a sequence holds.
    pub(crate) fn positions(&self, slot: u32) -> Option<RangeInclusive<u32>> {
        self.check(slot);
        if !self.has_memory() {
            return None;
        }
        let slot = slot.cast_signed();
        // SAFETY: plain getters on live memory, and a slot that it has.
        let (low, high) = unsafe {
            (
                sys::llama_memory_seq_pos_min(self.memory, slot),
                sys::llama_memory_seq_pos_max(self.memory, slot),
            )
        };
        Some(u32::try_from(low).ok()?..=u32::try_from(high).ok()?)
    }

    /// Appends the state of a sequence to `bytes`. False: llama.cpp could not write it.
    pub(crate) fn save(&mut self, slot: u32, bytes: &mut Vec<u8>) -> bool {
        self.check(slot);
        let raw = self.raw.as_ptr();
        // SAFETY: a live context and a slot that it has.
        let size = unsafe { sys::llama_state_seq_get_size(raw, slot.cast_signed()) };
        bytes.reserve_exact(size);
        let space = bytes.spare_capacity_mut();
        // SAFETY: `space` has at least `size` bytes, and llama.cpp writes no more than the size it is told.
        let written = unsafe {
            sys::llama_state_seq_get_data(raw, space.as_mut_ptr().cast(), size, slot.cast_signed())
        };
        if written != size {
            return false;
        }
        // SAFETY: these `size` bytes have just been written.
        unsafe { bytes.set_len(bytes.len() + size) };
        true
    }

    /// Puts a saved state into a sequence. False: llama.cpp refused it, and the sequence is in no known state.
    pub(crate) fn restore(&mut self, slot: u32, bytes: &[u8]) -> bool {
        self.check(slot);
        // SAFETY: a live context, a slot that it has, and a buffer of the length it is told, which it reads with
        // bounds checks.
        let read = unsafe {
            sys::llama_state_seq_set_data(self.raw.as_ptr(), bytes.as_ptr(), bytes.len(), slot.cast_signed())
        };
        read == bytes.len()
    }

    /// llama.cpp aborts the process on a sequence that it does not have: here it is a panic.
    fn check(&self, slot: u32) {
        assert!(slot < self.slots, "slot {slot} of a model with {} slots", self.slots);
    }
}

/// llama.cpp's own line on its build and the processor.
pub(crate) fn system_info() -> String {
    // SAFETY: a pointer to a static buffer that is written again with the same text at every call.
    unsafe { CStr::from_ptr(sys::llama_print_system_info()) }.to_string_lossy().into_owned()
}

fn parameters(settings: &Settings) -> sys::llama_context_params {
    // SAFETY: returns a struct of plain values.
    let mut params = unsafe { sys::llama_context_default_params() };
    params.n_ctx = settings.context_total;
    params.n_batch = settings.batch;
    params.n_ubatch = settings.ubatch;
    params.n_seq_max = settings.slots;
    params.n_threads = settings.threads.cast_signed();
    params.n_threads_batch = settings.threads_batch.cast_signed();
    params.flash_attn_type = match settings.flash_attention {
        FlashAttention::Off => sys::LLAMA_FLASH_ATTN_TYPE_DISABLED,
        FlashAttention::On => sys::LLAMA_FLASH_ATTN_TYPE_ENABLED,
        FlashAttention::Auto => sys::LLAMA_FLASH_ATTN_TYPE_AUTO,
    };
    params.type_k = settings.key_type.tensor_type().id();
    params.type_v = settings.value_type.tensor_type().id();
    params.kv_unified = settings.kv_unified;
    params.swa_full = settings.sliding_window_full;
    params.offload_kqv = settings.offload;
    params.op_offload = settings.offload;
    params.embeddings = settings.embeddings;
    if let Some(pooling) = settings.pooling {
        params.pooling_type = match pooling {
            Pooling::None => sys::LLAMA_POOLING_TYPE_NONE,
            Pooling::Mean => sys::LLAMA_POOLING_TYPE_MEAN,
            Pooling::Cls => sys::LLAMA_POOLING_TYPE_CLS,
            Pooling::Last => sys::LLAMA_POOLING_TYPE_LAST,
            Pooling::Rank => sys::LLAMA_POOLING_TYPE_RANK,
        };
    }
    // Timing for llama.cpp's own report, which nobody asks for.
    params.no_perf = true;
    params
}

/// The columns of a batch as llama.cpp wants them, kept from call to call for their memory.
#[derive(Default)]
struct Columns {
    tokens: Vec<sys::llama_token>,
    positions: Vec<sys::llama_pos>,
    slots: Vec<sys::llama_seq_id>,
    slot_counts: Vec<i32>,
    slot_lists: Vec<*mut sys::llama_seq_id>,
    outputs: Vec<i8>,
}

impl Columns {
    fn fill(&mut self, batch: &Batch) -> sys::llama_batch {
        fn copy<T: Copy, U>(to: &mut Vec<U>, from: &[T], convert: impl Fn(T) -> U) {
            to.clear();
            to.extend(from.iter().map(|&value| convert(value)));
        }
        copy(&mut self.tokens, &batch.tokens, u32::cast_signed);
        copy(&mut self.positions, &batch.positions, u32::cast_signed);
        copy(&mut self.slots, &batch.slots, u32::cast_signed);
        copy(&mut self.slot_counts, &batch.slots, |_| 1);
        copy(&mut self.outputs, &batch.wants_logits, i8::from);
        self.slot_lists.clear();
        self.slot_lists.extend(self.slots.iter_mut().map(std::ptr::from_mut));
        sys::llama_batch {
            n_tokens: i32::try_from(batch.len()).unwrap_or(i32::MAX),
            token: self.tokens.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.slot_counts.as_mut_ptr(),
            seq_id: self.slot_lists.as_mut_ptr(),
            logits: self.outputs.as_mut_ptr(),
        }
    }
}
