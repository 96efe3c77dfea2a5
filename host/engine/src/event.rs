//! What a generation says while it runs.

use std::time::Duration;

use crate::model::Token;
use crate::plugin::Report;

/// A step of a generation, as its reader sees it. [`Event::Finished`] is the last.
#[derive(Clone, Debug)]
pub enum Event {
    /// More of the answer: whole characters, never cut inside one.
    Text(Text),
    /// More of what the model thinks before it answers.
    Reasoning(String),
    /// More of a call of a tool.
    Tool(ToolDelta),
    /// Something a stream processor has to say, as JSON text.
    Meta(Meta),
    /// The end, and what it took.
    Finished(Finished),
}

/// A piece of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// The text.
    pub text: String,
    /// The tokens that became final with this piece, when log-probabilities were asked for.
    pub logprobs: Vec<TokenLogprob>,
}

/// How probable a token was, before temperature and truncation.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub token: Token,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// The most probable tokens at its place, best first.
    pub top: Vec<(Token, f32)>,
}

/// A piece of a call of a tool. The first piece of a call has its id and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolDelta {
    /// Which call of this answer, from 0.
    pub index: u32,
    /// Names the call.
    pub id: Option<String>,
    /// Names the tool.
    pub name: Option<String>,
    /// More of its arguments, as JSON text.
    pub arguments: String,
}

/// Something a stream processor has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The plugin that says it.
    pub plugin: String,
    /// What it says, as JSON text.
    pub json: String,
}

/// The end of a generation.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Why it ended.
    pub reason: FinishReason,
    /// The stop text that ended it, if one did.
    pub stop: Option<String>,
    /// What it took.
    pub usage: Usage,
    /// The seed that reproduces it.
    pub seed: u64,
    /// What each plugin of the request did, in order: template, samplers, stream processors.
    pub plugins: Vec<Report>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model was done, or a stop text came.
    Stop,
    /// `max_tokens` or the context was reached.
    Length,
    /// A plugin found something that must not be said.
    Filter,
    /// A plugin was done.
    Plugin,
}

impl FinishReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Stop, Self::Length, Self::Filter, Self::Plugin];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Filter => "filter",
            Self::Plugin => "plugin",
        }
    }
}

/// What a generation took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of these, how many were already in the cache.
    pub cached_tokens: u32,
    /// Tokens that were forgotten on the way because the context was full, where
    /// [`Params::context_shift`](crate::request::Params::context_shift) asks for that.
    pub discarded_tokens: u32,
    /// Tokens generated, the one that ended it included.
    pub completion_tokens: u32,
    /// Waiting for a slot.
    pub queue_time: Duration,
    /// From having a slot to the first token.
    pub prefill_time: Duration,
    /// From the first token to the last.
    pub decode_time: Duration,
}
