//! What the handles, the requests' tasks and the worker share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::Error;
use crate::builtin::chat_template::ChatTemplate;
use crate::dialect::Dialect;
use crate::embedding;
use crate::event::FinishReason;
use crate::grammar::Compiler;
use crate::latency::Recorder;
use crate::model::{Info, Layout, Token, Vocabulary};
use crate::options::Options;
use crate::queue::{Queue, Refused, Ticket};
use crate::recovery::State;
use crate::saved::Command;
use crate::sequence::Submission;

/// What the handles and the worker share.
pub(crate) struct Shared {
    pub info: Info,
    pub vocabulary: Arc<dyn Vocabulary>,
    pub grammars: Arc<Compiler>,
    pub template: ChatTemplate,
    pub dialect: Dialect,
    /// The control tokens that the dialect is written in.
    pub marks: Arc<[Token]>,
    pub end_tokens: Arc<[Token]>,
    pub options: Options,
    pub queue: Arc<Queue<Submission>>,
    /// Of a model that embeds: what waits for it.
    pub texts: Arc<Queue<embedding::Submission>>,
    pub wake: Sender<()>,
    /// To the worker of a model that generates text.
    pub commands: Sender<Command>,
    pub gauges: Arc<Gauges>,
}

/// What the worker tells about itself.
#[derive(Default)]
pub(crate) struct Gauges {
    pub running: AtomicUsize,
    pub tokens_prefilled: AtomicU64,
    pub tokens_generated: AtomicU64,
    pub tokens_taken_back: AtomicU64,
    pub prefill_calls: AtomicU64,
    pub decode_calls: AtomicU64,
    pub requests_finished: AtomicU64,
    pub requests_cancelled: AtomicU64,
    pub requests_failed: AtomicU64,
    /// By [`FinishReason`].
    pub answers_finished: [AtomicU64; FinishReason::ALL.len()],
    pub latencies: Recorder,
    pub tokens_cached: AtomicU64,
    pub tokens_held: AtomicUsize,
    pub tokens_held_idle: AtomicUsize,
    pub saved_sequences: AtomicUsize,
    pub saved_bytes: AtomicU64,
    pub sequences_restored: AtomicU64,
    pub sequences_evicted: AtomicU64,
    pub decode_retries: AtomicU64,
    pub model_reloads: AtomicU64,
    /// A [`State`] as its number.
    pub recovery_state: AtomicU8,
    /// One place a slot; written by the worker only.
    pub slots: Vec<SlotGauge>,
}

impl Gauges {
    pub(crate) fn of_slots(slots: u32) -> Self {
        Self { slots: (0..slots).map(|_| SlotGauge::default()).collect(), ..Self::default() }
    }
}

/// What the worker tells of a slot.
#[derive(Default)]
pub(crate) struct SlotGauge {
    /// Counts requests from 1; 0 where none is running.
    pub request: AtomicU64,
    pub tokens_held: AtomicUsize,
    pub tokens_left: AtomicUsize,
    pub generating: AtomicBool,
}

/// What a sequence of the model is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotStatus {
    /// The request that has it, counted from 1 since the start.
    pub request: Option<u64>,
    /// Whether its prompt is decoded.
    pub generating: bool,
    /// The tokens that it holds; of an idle one, those that lie ready for a prompt that begins with them.
    pub tokens_held: usize,
    /// The most tokens that its request may still generate.
    pub tokens_left: usize,
}

/// What an engine is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Sequences that can run side by side.
    pub slots: usize,
    /// Sequences that run.
    pub running: usize,
    /// Requests that wait for a slot.
    pub waiting: usize,
    /// Most that may wait.
    pub queue_limit: usize,
    /// Tokens of their prompts.
    pub waiting_tokens: usize,
    /// Most of these.
    pub queue_tokens_limit: usize,
    /// Tokens of prompts decoded since the start.
    pub tokens_prefilled: u64,
    /// Tokens generated since the start.
    pub tokens_generated: u64,
    /// Of these, how many samplers took back again.
    pub tokens_taken_back: u64,
    /// Calls of the model for prompts since the start.
    pub prefill_calls: u64,
    /// Calls of the model for those who generate since the start.
    pub decode_calls: u64,
    /// Requests that ended as they should.
    pub requests_finished: u64,
    /// Requests whose reader went away.
    pub requests_cancelled: u64,
    /// Requests that ended with an error.
    pub requests_failed: u64,
    /// Answers that were read to their end, by the reason, in the order of [`FinishReason::ALL`].
    pub answers_finished: [u64; FinishReason::ALL.len()],
    /// Tokens of prompts that were not decoded since the start, because a cached sequence had them.
    pub tokens_cached: u64,
    /// Tokens in the KV cache, of sequences that run.
    pub tokens_held: usize,
    /// The most tokens that the KV cache holds, of all sequences together.
    pub tokens_held_limit: usize,
    /// Tokens that lie ready in slots that nobody uses.
    pub tokens_held_idle: usize,
    /// Sequences saved in host memory.
    pub saved_sequences: usize,
    /// Their bytes.
    pub saved_bytes: u64,
    /// The most bytes that they may take.
    pub saved_bytes_limit: u64,
    /// Sequences restored from host memory since the start.
    pub sequences_restored: u64,
    /// Saved sequences that had to go for want of room since the start.
    pub sequences_evicted: u64,
    /// How the model is.
    pub state: State,
    /// Sequences that were decoded again because a decode failed, since the start.
    pub decode_retries: u64,
    /// Times that the model was loaded anew since the start.
    pub model_reloads: u64,
}

impl Shared {
    /// Puts requests into the queue: all of them or none.
    pub(crate) fn submit(&self, submissions: Vec<Submission>, ticket: Ticket) -> Result<(), Error> {
        self.queue.push(submissions, ticket).map_err(|why| refused(&why))?;
        self.wake();
        Ok(())
    }

    /// Puts texts into the queue of a model that embeds.
    pub(crate) fn submit_texts(&self, submission: embedding::Submission) -> Result<(), Error> {
        let ticket = Ticket { priority: 0, tenant: 0, tokens: submission.tokens(), came: Instant::now() };
        self.texts.push(vec![submission], ticket).map_err(|why| refused(&why))?;
        self.wake();
        Ok(())
    }

    /// Whether several requests can share the decoding of one prompt.
    pub(crate) fn can_fork(&self) -> bool {
        let can = &self.info.capabilities;
        self.options.prefix_cache && can.copy && can.partial_removal && self.info.slots > 1
    }

    pub(crate) fn status(&self) -> Status {
        let Self { info, queue, options, gauges, .. } = self;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            slots: info.slots as usize,
            running: gauges.running.load(Ordering::Relaxed),
            waiting: queue.len() + self.texts.len(),
            queue_limit: options.queue_limit,
            waiting_tokens: queue.tokens(),
            queue_tokens_limit: options.queue_tokens_limit,
            tokens_prefilled: count(&gauges.tokens_prefilled),
            tokens_generated: count(&gauges.tokens_generated),
            tokens_taken_back: count(&gauges.tokens_taken_back),
            prefill_calls: count(&gauges.prefill_calls),
            decode_calls: count(&gauges.decode_calls),
            requests_finished: count(&gauges.requests_finished),
            requests_cancelled: count(&gauges.requests_cancelled),
            requests_failed: count(&gauges.requests_failed),
            answers_finished: gauges.answers_finished.each_ref().map(count),
            tokens_cached: count(&gauges.tokens_cached),
            tokens_held: gauges.tokens_held.load(Ordering::Relaxed),
            tokens_held_limit: match info.capabilities.layout {
                Layout::Streams => info.context as usize * info.slots as usize,
                Layout::Unified => info.context as usize,
            },
            tokens_held_idle: gauges.tokens_held_idle.load(Ordering::Relaxed),
            saved_sequences: gauges.saved_sequences.load(Ordering::Relaxed),
            saved_bytes: count(&gauges.saved_bytes),
            saved_bytes_limit: if options.prefix_cache { options.prefix_cache_bytes } else { 0 },
            sequences_restored: count(&gauges.sequences_restored),
            sequences_evicted: count(&gauges.sequences_evicted),
            state: State::from_number(gauges.recovery_state.load(Ordering::Relaxed)),
            decode_retries: count(&gauges.decode_retries),
            model_reloads: count(&gauges.model_reloads),
        }
    }

    pub(crate) fn slots(&self) -> Vec<SlotStatus> {
        let read = |slot: &SlotGauge| SlotStatus {
            request: Some(slot.request.load(Ordering::Relaxed)).filter(|request| *request > 0),
            generating: slot.generating.load(Ordering::Relaxed),
            tokens_held: slot.tokens_held.load(Ordering::Relaxed),
            tokens_left: slot.tokens_left.load(Ordering::Relaxed),
        };
        self.gauges.slots.iter().map(read).collect()
    }

    /// Makes the worker look around.
    pub(crate) fn wake(&self) {
        let _ = self.wake.try_send(());
    }
}

fn refused(refused: &Refused) -> Error {
    match *refused {
        Refused::Full { what, waiting, limit, retry_after } => {
            Error::Overloaded { what, waiting, limit, retry_after }
        }
        Refused::Closed => Error::ShuttingDown,
    }
}
