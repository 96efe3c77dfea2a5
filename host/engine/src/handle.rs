//! The engine from outside: start it on a model, ask it for text.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::TrySendError;
use tokio::sync::oneshot;

use crate::Error;
use crate::builtin::chat_template::{BuiltIn, ChatTemplate};
use crate::builtin::jinja::JinjaTemplate;
use crate::dialect::Dialect;
use crate::embedding::{self, Embedder, Embedding, Text};
use crate::grammar::Compiler;
use crate::latency::Latencies;
use crate::model::{Encode, Info, Model, Token, Vocabulary};
use crate::options::Options;
use crate::pipeline::{self, Generation};
use crate::queue::{self, Queue};
use crate::recovery::{Reload, State};
use crate::request::{Chat, GenerateRequest};
use crate::saved::{Command, Saved};
use crate::shared::{Gauges, Shared, SlotStatus, Status};
use crate::worker::Worker;

/// Most commands about slots that wait for the worker.
const COMMANDS_MAX: usize = 64;

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

impl Engine {
    /// Starts the worker thread of a model.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started, or there is no dialect of the name in the options.
    pub fn start(model: Box<dyn Model>, options: Options) -> Result<Self, Error> {
        Self::start_with(model, None, options)
    }

    /// Starts the worker thread of a model that can be loaded anew when its device fails. Requests in flight go on
    /// from the tokens that they have.
    ///
    /// # Errors
    ///
    /// As [`Engine::start`].
    pub fn start_reloadable(model: Box<dyn Model>, reload: Reload, options: Options) -> Result<Self, Error> {
        Self::start_with(model, Some(reload), options)
    }

    fn start_with(model: Box<dyn Model>, reload: Option<Reload>, options: Options) -> Result<Self, Error> {
        let info = model.info().clone();
        let vocabulary = model.vocabulary();
        let source = options.chat_template.as_deref().or(info.chat_template.as_deref());
        let template = if options.jinja {
            ChatTemplate::Jinja(Box::new(JinjaTemplate::new(source, vocabulary.as_ref())))
        } else {
            let built_in = BuiltIn::recognised(source, Arc::clone(&vocabulary));
            ChatTemplate::BuiltIn(built_in.ok_or_else(|| Error::Invalid {
                param: "jinja".into(),
                message: "without Jinja the chat template must be one that llama.cpp has built in, and it recognises this \
                          one as none of them"
                    .into(),
            })?)
        };
        let dialect = dialect(&options, template.source())?;
        let marks = marks(dialect, vocabulary.as_ref());
        let end_tokens = (0..info.vocabulary_size).filter(|&token| vocabulary.is_end(token)).collect();
        let limits = queue::Limits {
            requests: options.queue_limit,
            tokens: options.queue_tokens_limit,
            priority_step: options.priority_step,
        };
        let (queue, texts) = (Arc::new(Queue::new(limits)), Arc::new(Queue::new(limits)));
        let gauges = Arc::new(Gauges::of_slots(info.slots));
        // One wake-up that waits is as good as many.
        let (wake, woken) = crossbeam_channel::bounded(1);
        let (commands, asked) = crossbeam_channel::bounded(COMMANDS_MAX);
        let work: Box<dyn FnOnce() + Send> = if info.embeds.is_some() {
            let (texts, gauges) = (Arc::clone(&texts), Arc::clone(&gauges));
            let embedder = Embedder::new(model, reload, options.reload_pause, texts, woken, gauges);
            Box::new(move || embedder.run())
        } else {
            let waits = (Arc::clone(&queue), asked, woken);
            let worker = Worker::new(model, reload, options.clone(), waits, Arc::clone(&gauges));
            Box::new(move || worker.run())
        };
        let (closing, closing_texts) = (Arc::clone(&queue), Arc::clone(&texts));
        let state = Arc::clone(&gauges);
        let thread = std::thread::Builder::new().name("minerva-engine".into());
        let worker = thread
            .spawn(move || {
                // Whatever breaks in here, no request may wait for ever: the readers' channels close with it.
                if catch_unwind(AssertUnwindSafe(work)).is_err() {
                    tracing::error!("the engine's worker panicked; the engine serves no more");
                    state.recovery_state.store(State::Failed as u8, Ordering::Relaxed);
                }
                closing.close();
                closing_texts.close();
                while closing.pop().is_some() {}
                while closing_texts.pop().is_some() {}
            })
            .map_err(|error| Error::Internal(format!("the engine's thread could not be started: {error}")))?;
        let grammars = Arc::new(Compiler::new(Arc::clone(&vocabulary), options.grammar.clone()));
        let shared = Shared {
            info,
            vocabulary,
            grammars,
            template,
            dialect,
            marks,
            end_tokens,
            options,
            queue,
            texts,
            wake,
            commands,
            gauges,
        };
        Ok(Self { handle: Handle { shared: Arc::new(shared) }, worker: Some(worker) })
    }

    /// Something to ask it with.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

/// The dialect that answers are read in.
fn dialect(options: &Options, template: &str) -> Result<Dialect, Error> {
    let Some(name) = &options.dialect else { return Ok(Dialect::of_template(template)) };
    Dialect::named(name, template).ok_or_else(|| {
        let names: Vec<&str> = Dialect::names().collect();
        let message = format!("there is no dialect `{name}`; there are {}", names.join(", "));
        Error::Invalid { param: "dialect".into(), message }
    })
}

/// The control tokens among a dialect's marks.
fn marks(dialect: Dialect, vocabulary: &dyn Vocabulary) -> Arc<[Token]> {
    let as_token = |mark: &str| {
        let how = Encode { add_special: false, parse_special: true };
        match vocabulary.encode(mark, how).ok()?.as_slice() {
            [token] if vocabulary.is_control(*token) => Some(*token),
            _ => None,
        }
    };
    dialect.marks().into_iter().filter_map(as_token).collect()
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.handle.close();
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
        let mut generations = self.generate_many(request, 1).await?;
        generations.pop().ok_or_else(|| Error::Internal("one answer was asked for, and none came".into()))
    }

    /// Asks for several answers to one request; none are none. Answer `i` has the seed of the first one plus `i`,
    /// and is what a request of its own with that seed would be answered.
    ///
    /// The prompt is rendered and tokenised once. It is decoded once, and copied for the others, where the model can
    /// copy a sequence and forget a tail, and [`Params::cache_prompt`](crate::request::Params::cache_prompt) allows
    /// it. Plugins are opened for each answer: a sampler need not know how to fork.
    ///
    /// # Errors
    ///
    /// As [`Handle::generate`]. All answers are admitted, or none is.
    pub async fn generate_many(
        &self,
        request: GenerateRequest,
        answers: usize,
    ) -> Result<Vec<Generation>, Error> {
        pipeline::generate(Arc::clone(&self.shared), request, answers).await
    }

    /// What the model makes of each of some texts, in their order. Texts of several requests are computed together.
    /// Dropping the future cancels.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`model::Error::Unsupported`](crate::model::Error::Unsupported) where the model was not loaded for it; the
    /// limits of [`Options`] and of the model; and what can go wrong with any request.
    pub async fn embed(&self, texts: Vec<Text>) -> Result<Vec<Embedding>, Error> {
        embedding::embed(&self.shared, texts).await
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

    /// The tokens of the prompt that the model's own template makes of a conversation.
    ///
    /// # Errors
    ///
    /// When the template fails, or the text cannot be tokenised.
    pub async fn tokenise(&self, chat: Chat) -> Result<Vec<Token>, Error> {
        let shared = Arc::clone(&self.shared);
        pipeline::blocking(move || pipeline::prompt(&shared, &chat)).await
    }

    /// How the model's answers are read.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.shared.dialect
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

    /// Compiles grammars for the model's vocabulary.
    #[must_use]
    pub fn grammars(&self) -> Arc<Compiler> {
        Arc::clone(&self.shared.grammars)
    }

    /// What the engine is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// How long its requests waited and ran.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        self.shared.gauges.latencies.read()
    }

    /// What each of the model's sequences is used for.
    #[must_use]
    pub fn slots(&self) -> Vec<SlotStatus> {
        self.shared.slots()
    }

    /// What an idle slot holds, to be kept elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::SlotBusy`], where there is no such slot or nothing in it, and where the state cannot be read.
    pub async fn save_slot(&self, slot: usize) -> Result<Saved, Error> {
        self.command(slot, |to| Command::Save { slot, to }).await
    }

    /// Puts what was saved into an idle slot, where prompts that begin with its tokens find it. What the slot held is
    /// treated as if another request needed it.
    ///
    /// # Errors
    ///
    /// [`Error::SlotBusy`], where there is no such slot, and where it was saved by another model or with other
    /// settings; the slot is then empty.
    pub async fn restore_slot(&self, slot: usize, saved: Saved) -> Result<(), Error> {
        self.command(slot, |to| Command::Restore { slot, saved, to }).await
    }

    /// Forgets what an idle slot holds, and says how many tokens that were.
    ///
    /// # Errors
    ///
    /// [`Error::SlotBusy`], and where there is no such slot.
    pub async fn erase_slot(&self, slot: usize) -> Result<usize, Error> {
        self.command(slot, |to| Command::Erase { slot, to }).await
    }

    async fn command<T>(
        &self,
        slot: usize,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Error> {
        let Shared { info, options, .. } = self.shared.as_ref();
        let invalid = |message| Error::Invalid { param: "id_slot".into(), message };
        if info.embeds.is_some() || !options.prefix_cache {
            return Err(invalid("slots keep nothing here: the prefix cache is off".into()));
        }
        if slot >= info.slots as usize {
            return Err(invalid(format!("there is no slot {slot}; there are {}, from 0", info.slots)));
        }
        let (to, answer) = oneshot::channel();
        match self.shared.commands.try_send(command(to)) {
            Ok(()) => self.shared.wake(),
            Err(TrySendError::Disconnected(_)) => return Err(Error::ShuttingDown),
            Err(TrySendError::Full(_)) => {
                let (waiting, limit, retry_after) = (COMMANDS_MAX, COMMANDS_MAX, Duration::from_secs(1));
                return Err(Error::Overloaded { what: "commands", waiting, limit, retry_after });
            }
        }
        answer.await.map_err(|_| Error::ShuttingDown)?
    }

    /// The template that conversations become prompts by: Jinja, or a name.
    #[must_use]
    pub fn chat_template(&self) -> &str {
        self.shared.template.source()
    }

    /// Refuses new requests from now on; those in flight go on.
    pub fn close(&self) {
        self.shared.queue.close();
        self.shared.texts.close();
        self.shared.wake();
    }
}
