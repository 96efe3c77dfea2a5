//! The three traits that make Minerva programmable, and what stands around them.
//!
//! Each kind of plugin comes as a pair: the plugin, shared by all requests ([`Template`], [`SamplerPlugin`],
//! [`StreamPlugin`]), and the session that one request opens on it ([`Sampler`], [`StreamProcessor`]; a template
//! needs none). A WebAssembly component implements them through the crate `minerva-wasm`, native code directly.
//!
//! All of them may be slow or hang up to their own deadline: the engine calls them on threads made for that.

mod meter;
mod policy;
mod registry;
mod watched;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::event::{FinishReason, ToolDelta};
use crate::grammar::{self, Compiler};
use crate::model::{Token, Vocabulary};
use crate::request::Chat;
use crate::step::{Candidates, Step};
use crate::trace::Watched;

pub use meter::{CallCounts, Counters};
pub use policy::{BreakerOptions, Policy};
pub use registry::{Installer, Plugin, Plugins, Standing};

/// Who a plugin is. Every error, log line, metric and response field about it says this.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The name that requests use: the operator's choice, not the plugin's.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// The hash of the component, hexadecimal; empty for native code.
    pub hash: String,
    /// What it does, in one sentence of its author's.
    pub summary: String,
}

impl Identity {
    /// An identity of native code: the version is this crate's user's business.
    #[must_use]
    pub fn native(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into(), hash: String::new(), summary: String::new() }
    }
}

/// What a plugin may know of the request that it is called for.
#[derive(Clone)]
pub struct SessionContext {
    /// The request's id, for logs.
    pub request: String,
    /// Whose request it is ([`Params::tenant`](crate::request::Params::tenant)): who makes a plugin fail too often has to
    /// do without it for a while, and nobody else.
    pub tenant: u64,
    /// The vocabulary of the model that serves the request.
    pub vocabulary: Arc<dyn Vocabulary>,
    /// Compiles grammars for it.
    pub grammars: Arc<Compiler>,
    /// Who is told what plugins do for the request.
    pub watched: Option<Watched>,
}

impl SessionContext {
    /// The context of a request of nobody in particular to a model of this vocabulary, with a grammar compiler of its
    /// own.
    #[must_use]
    pub fn new(request: impl Into<String>, vocabulary: Arc<dyn Vocabulary>) -> Self {
        let grammars = Arc::new(Compiler::new(Arc::clone(&vocabulary), grammar::Limits::default()));
        Self { request: request.into(), tenant: 0, vocabulary, grammars, watched: None }
    }
}

/// Makes a prompt of a conversation.
pub trait Template: Send + Sync {
    /// Who it is.
    fn identity(&self) -> &Identity;

    /// The JSON schema of its arguments, as text; empty where anything goes.
    fn args_schema(&self) -> &str;

    /// Makes the prompt.
    ///
    /// # Errors
    ///
    /// When the plugin refuses the conversation or fails.
    fn render(&self, context: &SessionContext, chat: &Chat, args: &Value) -> Result<Prompt, Error>;
}

/// What a template makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The prompt, in order.
    pub parts: Vec<Part>,
    /// Texts that end the generation, beside the request's own.
    pub stops: Vec<String>,
    /// What the answer obeys: a notation and its source. The request must have no grammar of its own then.
    pub grammar: Option<(grammar::Kind, String)>,
}

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Plain text: what looks like a special token in it is text.
    Text(String),
    /// Text in which the text of special tokens means those tokens.
    Special(String),
    /// Tokens as they are.
    Tokens(Vec<Token>),
}

/// Chooses tokens, or narrows and bends the choice. Shared by all requests that use it.
pub trait SamplerPlugin: Send + Sync {
    /// Who it is.
    fn identity(&self) -> &Identity;

    /// What it needs and can.
    fn descriptor(&self) -> &SamplerDescriptor;

    /// Opens a session for one request.
    ///
    /// # Errors
    ///
    /// When the plugin refuses the arguments or fails.
    fn open(
        &self,
        context: &SessionContext,
        args: &Value,
        prompt: &[Token],
    ) -> Result<Box<dyn Sampler>, Error>;
}

/// What a sampler needs and can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamplerDescriptor {
    /// How much of a step it sees.
    pub tier: Tier,
    /// How many of the best candidates [`Sampler::pick`] wants to see.
    pub cut: u32,
    /// It calls [`Step::summarize`], [`Step::top`] or [`Step::at`], which cost a copy of the row.
    pub reads_row: bool,
    /// A session can be forked.
    pub can_fork: bool,
    /// A session can take committed tokens back.
    pub can_rollback: bool,
    /// How many tokens at a time it may hold ([`Commands::hold`](crate::step::Commands::hold)) and take back
    /// ([`Commands::backtrack`](crate::step::Commands::backtrack)).
    pub backtrack_max: u32,
    /// How often it may take tokens back in one answer.
    pub backtracks_max: u32,
    /// The JSON schema of its arguments, as text; empty where anything goes.
    pub args_schema: String,
}

impl Default for SamplerDescriptor {
    fn default() -> Self {
        Self {
            tier: Tier::Cut,
            cut: 64,
            reads_row: false,
            can_fork: false,
            can_rollback: false,
            backtrack_max: 0,
            backtracks_max: 256,
            args_schema: String::new(),
        }
    }
}

/// How much of a step a sampler sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Nothing: it only commands, between tokens. [`Sampler::pick`] is never called.
    Plan,
    /// The best candidates.
    Cut,
    /// Every logit. The operator must grant it.
    FullRow,
}

/// One request's session with a sampler.
pub trait Sampler: Send {
    /// Tells of tokens that now are part of the answer. May run while the next decode is in flight: the row
    /// functions of the step are errors here.
    ///
    /// # Errors
    ///
    /// When the plugin fails. The session is not called again.
    fn advance(&mut self, step: &mut Step, committed: &[Token]) -> Result<(), Error>;

    /// Chooses, or narrows the choice. `cut` is what the commands and the samplers before this one left.
    ///
    /// # Errors
    ///
    /// When the plugin fails. The session is not called again.
    fn pick(&mut self, step: &mut Step, cut: &Candidates) -> Result<Choice, Error>;

    /// A second session that goes on exactly as this one would.
    ///
    /// # Errors
    ///
    /// When the plugin cannot, or fails.
    fn fork(&mut self) -> Result<Box<dyn Sampler>, Error>;

    /// Takes back the last `tokens` committed tokens.
    ///
    /// # Errors
    ///
    /// When the plugin cannot, or fails.
    fn rollback(&mut self, tokens: u32) -> Result<(), Error>;

    /// Ends the session. What it returns, JSON text, goes into the response's metadata.
    ///
    /// # Errors
    ///
    /// When the plugin fails.
    fn close(&mut self) -> Result<Option<String>, Error>;
}

/// What a sampler wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Whatever the next in the chain wants, and in the end the native sampler.
    Host,
    /// This token.
    Token(Token),
    /// One of these tokens of the cut.
    Only(Vec<Token>),
}

/// Turns the text of an answer into events. Shared by all requests that use it.
pub trait StreamPlugin: Send + Sync {
    /// Who it is.
    fn identity(&self) -> &Identity;

    /// The JSON schema of its arguments, as text; empty where anything goes.
    fn args_schema(&self) -> &str;

    /// Opens a session for one request.
    ///
    /// # Errors
    ///
    /// When the plugin refuses the arguments or fails.
    fn open(&self, context: &SessionContext, args: &Value) -> Result<Box<dyn StreamProcessor>, Error>;
}

/// One request's session with a stream processor. However the text is cut into chunks, the events, concatenated,
/// are the same.
pub trait StreamProcessor: Send {
    /// Takes more of the text.
    ///
    /// # Errors
    ///
    /// When the plugin fails. The session is not called again.
    fn push(&mut self, chunk: &Chunk) -> Result<Vec<Output>, Error>;

    /// Ends the session: what was held back comes out.
    ///
    /// # Errors
    ///
    /// When the plugin fails.
    fn close(&mut self, reason: FinishReason) -> Result<Vec<Output>, Error>;
}

/// A piece of an answer on its way through stream processors: whole UTF-8, and the tokens that it completes.
/// The tokens are empty after a processor that changed the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The text.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<Token>,
}

/// What a stream processor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Text of the answer. The next processor's chunk.
    Text(String),
    /// Text of the thinking before the answer. Passes the next processors untouched, as all that follows.
    Reasoning(String),
    /// A piece of a call of a tool.
    Tool(ToolDelta),
    /// Metadata, as JSON text.
    Meta(String),
    /// The answer ends here.
    Stop(FinishReason),
}

/// What happens to a request when one of its plugins fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFault {
    /// The request fails.
    #[default]
    Fail,
    /// The request goes on without the plugin.
    Skip,
    /// The request goes on with the engine's own in the plugin's place: the model's template, the native sampler,
    /// the text as it is.
    Fallback,
}

/// What a plugin did for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it was used as.
    pub kind: Kind,
    /// How often it was called.
    pub calls: u64,
    /// The fault that took it out, if one did and the request went on.
    pub fault: Option<String>,
    /// What it said when it was closed, as JSON text.
    pub meta: Option<String>,
}

impl Report {
    /// The report of a plugin that is about to be called for the first time.
    pub(crate) fn new(identity: &Identity, kind: Kind) -> Self {
        let (name, version) = (identity.name.clone(), identity.version.clone());
        Self { name, version, kind, calls: 1, fault: None, meta: None }
    }

    /// Notes, here and in the log, a fault that the request survives.
    pub(crate) fn survive(&mut self, error: &Error) {
        let Error { name, version, call, fault } = error;
        tracing::warn!(plugin = name, version, call, %fault, kind = self.kind.as_str(), "a request goes on without a plugin");
        self.fault = Some(error.to_string());
    }
}

/// The three kinds of plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Conversation to prompt.
    Template,
    /// Candidates to token.
    Sampler,
    /// Text to events.
    Stream,
}

impl Kind {
    /// Its name in requests, metrics and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Sampler => "sampler",
            Self::Stream => "stream",
        }
    }
}

/// A plugin failed. The message names the plugin, its version, the call and the cause.
#[derive(Clone, Debug, thiserror::Error)]
#[error("plugin '{name}' {version}, in {call}: {fault}")]
pub struct Error {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The call that failed: `open`, `pick`, `render`, …
    pub call: &'static str,
    /// What went wrong.
    pub fault: Fault,
}

impl Error {
    /// A fault of a plugin.
    #[must_use]
    pub fn new(identity: &Identity, call: &'static str, fault: Fault) -> Self {
        Self { name: identity.name.clone(), version: identity.version.clone(), call, fault }
    }
}

/// What went wrong in a plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The plugin refused, in its own words: bad arguments, an impossible conversation. The client's mistake.
    #[error("refused: {0}")]
    Refused(String),
    /// The plugin trapped or panicked.
    #[error("trapped: {0}")]
    Trap(String),
    /// The call took longer than it may.
    #[error("took longer than its deadline of {limit_ms} ms")]
    Deadline {
        /// The limit.
        limit_ms: u64,
    },
    /// The plugin wanted more of something than it may have.
    #[error("exceeded its limit of {limit} {unit} of {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// Its unit.
        unit: &'static str,
    },
    /// The plugin returned something that means nothing: a token outside the vocabulary, an unsorted list.
    #[error("returned something invalid: {0}")]
    Invalid(String),
    /// The plugin cannot do what the request needs.
    #[error("cannot {0}")]
    Unsupported(&'static str),
    /// The host could not run it: no instance was free.
    #[error("could not be run: {0}")]
    Host(String),
    /// It failed so often that it is not called for a while.
    #[error(
        "is out of service until {} after {faults} faults within {} s",
        policy::shown(*until),
        .window.as_secs_f64()
    )]
    Suspended {
        /// When it is called again.
        until: SystemTime,
        /// How often it failed.
        faults: u32,
        /// In what time.
        window: Duration,
    },
}

impl Fault {
    /// Its kind, as metrics label it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Trap(_) => "trap",
            Self::Deadline { .. } => "deadline",
            Self::Limit { .. } => "limit",
            Self::Invalid(_) => "invalid",
            Self::Unsupported(_) => "unsupported",
            Self::Host(_) => "host",
            Self::Suspended { .. } => "suspended",
        }
    }

    /// All kinds, in the order of [`Fault::index`].
    pub(crate) const KINDS: [&str; 8] =
        ["refused", "trap", "deadline", "limit", "invalid", "unsupported", "host", "suspended"];

    /// The place of its kind in [`Fault::KINDS`].
    pub(crate) fn index(&self) -> usize {
        Self::KINDS.iter().position(|kind| *kind == self.kind()).unwrap_or(0)
    }

    /// Whether it is the plugin's own: a circuit breaker counts it.
    pub(crate) fn is_misbehaviour(&self) -> bool {
        matches!(self, Self::Trap(_) | Self::Deadline { .. } | Self::Limit { .. } | Self::Invalid(_))
    }
}
