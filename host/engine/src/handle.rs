//! The engine from outside: start it on a model, ask it for text.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::Error;
use crate::builtin::jinja::JinjaTemplate;
use crate::model::{Info, Model, Token, Vocabulary};
use crate::pipeline::{self, Generation};
use crate::queue::{Queue, Refused};
use crate::request::{Chat, GenerateRequest};
use crate::sequence::Submission;
use crate::worker::{Gauges, Worker};

/// How an engine serves. Every limit that it has is here.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most requests that wait for a slot; one more is [`Error::Overloaded`]. Default 256.
    pub queue_limit: usize,
    /// Most tokens that wait for a stream's reader before its sequence pauses. Default 256.
    pub token_buffer: usize,
    /// How long a stream may stand still before it is cancelled. Default 60 s.
    pub stall_limit: Duration,
    /// Threads that plugins' samplers run on, beside the worker. Default 2.
    pub sampling_threads: usize,
    /// How long a step waits for samplers before it goes on without the late ones. Default 10 ms.
    pub sampling_patience: Duration,
    /// Most tokens of prompts in a batch while a sequence generates; `None` is half of the model's chunk.
    pub prefill_tokens_beside: Option<u32>,
    /// The Jinja chat template, instead of the model's own.
    pub chat_template: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue_limit: 256,
            token_buffer: 256,
            stall_limit: Duration::from_secs(60),
            sampling_threads: 2,
            sampling_patience: Duration::from_millis(10),
            prefill_tokens_beside: None,
            chat_template: None,
        }
    }
}

/// A model being served. Dropping it refuses new requests, lets those in flight end, and waits for them.
pub struct Engine {
    handle: Handle,
    worker: Option<JoinHandle<()>>,
}

/// Asks an engine for text. Clones ask the same engine.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

/// What the handles and the worker share.
pub(crate) struct Shared {
    pub info: Info,
    pub vocabulary: Arc<dyn Vocabulary>,
    pub template: JinjaTemplate,
    pub end_tokens: Arc<[Token]>,
    pub options: Options,
    queue: Arc<Queue<Submission>>,
    wake: Sender<()>,
    gauges: Arc<Gauges>,
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
    /// Tokens of prompts decoded since the start.
    pub tokens_prefilled: u64,
    /// Tokens generated since the start.
    pub tokens_generated: u64,
    /// Requests that ended as they should.
    pub requests_finished: u64,
    /// Requests whose reader went away.
    pub requests_cancelled: u64,
    /// Requests that ended with an error.
    pub requests_failed: u64,
}

impl Engine {
    /// Starts the worker thread of a model.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn start(model: Box<dyn Model>, options: Options) -> Result<Self, Error> {
        let info = model.info().clone();
        let vocabulary = model.vocabulary();
        let source = options.chat_template.as_deref().or(info.chat_template.as_deref());
        let template = JinjaTemplate::new(source, vocabulary.as_ref());
        let end_tokens = (0..info.vocabulary_size).filter(|&token| vocabulary.is_end(token)).collect();
        let queue = Arc::new(Queue::new(options.queue_limit));
        let gauges = Arc::new(Gauges::default());
        // One wake-up that waits is as good as many.
        let (wake, woken) = crossbeam_channel::bounded(1);
        let worker = Worker::new(model, options.clone(), Arc::clone(&queue), woken, Arc::clone(&gauges));
        let closing = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("minerva-engine".into());
        let worker = thread
            .spawn(move || {
                // Whatever breaks in here, no request may wait for ever: the readers' channels close with it.
                if catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
                    tracing::error!("the engine's worker panicked; the engine serves no more");
                }
                closing.close();
                while closing.pop().is_some() {}
            })
            .map_err(|error| Error::Internal(format!("the engine's thread could not be started: {error}")))?;
        let shared = Shared { info, vocabulary, template, end_tokens, options, queue, wake, gauges };
        Ok(Self { handle: Handle { shared: Arc::new(shared) }, worker: Some(worker) })
    }

    /// Something to ask it with.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.handle.shared.queue.close();
        self.handle.shared.wake();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

impl Handle {
    /// Asks for text. All that can be refused is refused here, before anything runs: the prompt is rendered and
    /// tokenised, plugins are opened, and the request is in the queue when this returns. Dropping what it returns
    /// cancels.
    ///
    /// Must be called inside a tokio runtime: what may be slow runs on its blocking threads.
    ///
    /// # Errors
    ///
    /// Every kind of [`Error`] that a request can cause before its first token.
    pub async fn generate(&self, request: GenerateRequest) -> Result<Generation, Error> {
        pipeline::generate(Arc::clone(&self.shared), request).await
    }

    /// The prompt that the model's own template makes of a conversation, as text.
    ///
    /// # Errors
    ///
    /// When the template fails.
    pub async fn render(&self, chat: Chat) -> Result<String, Error> {
        let shared = Arc::clone(&self.shared);
        pipeline::blocking(move || Ok(shared.template.render(&chat)?)).await
    }

    /// What the model is.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.shared.info
    }

    /// The model's vocabulary.
    #[must_use]
    pub fn vocabulary(&self) -> Arc<dyn Vocabulary> {
        Arc::clone(&self.shared.vocabulary)
    }

    /// What the engine is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let Shared { info, queue, options, gauges, .. } = &*self.shared;
        Status {
            slots: info.slots as usize,
            running: gauges.running.load(Ordering::Relaxed),
            waiting: queue.len(),
            queue_limit: options.queue_limit,
            tokens_prefilled: gauges.tokens_prefilled.load(Ordering::Relaxed),
            tokens_generated: gauges.tokens_generated.load(Ordering::Relaxed),
            requests_finished: gauges.requests_finished.load(Ordering::Relaxed),
            requests_cancelled: gauges.requests_cancelled.load(Ordering::Relaxed),
            requests_failed: gauges.requests_failed.load(Ordering::Relaxed),
        }
    }

    /// Refuses new requests from now on; those in flight go on.
    pub fn close(&self) {
        self.shared.queue.close();
        self.shared.wake();
    }
}

impl Shared {
    pub(crate) fn submit(&self, submission: Submission) -> Result<(), Error> {
        self.queue.push(submission).map_err(|refused| match refused {
            Refused::Full(waiting) => Error::Overloaded {
                waiting,
                limit: self.options.queue_limit,
                retry_after: Duration::from_secs(1),
            },
            Refused::Closed => Error::ShuttingDown,
        })?;
        self.wake();
        Ok(())
    }

    /// Makes the worker look around.
    pub(crate) fn wake(&self) {
        let _ = self.wake.try_send(());
    }
}
