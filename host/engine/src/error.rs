//! What can go wrong with a request. The server maps each to a status; the words are for the client.

use std::time::Duration;

use crate::request::Deadline;
use crate::{builtin, model, plugin};

/// Why a request was refused or broken off.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request asks for something that cannot be.
    #[error("{message}")]
    Invalid {
        /// Which of its fields, as a path: `messages`, `minerva.samplers[0].args.p`.
        param: String,
        /// What is wrong with it, and what would be right.
        message: String,
    },
    /// The prompt, or the prompt and what was asked for, is longer than a sequence can be.
    #[error(
        "the prompt has {prompt} tokens{}, and the context holds {limit}: it exceeds the available context size; \
         shorten the prompt, lower max_tokens or serve with a larger context",
        asked(*.max_tokens)
    )]
    ContextExceeded {
        /// Tokens of the prompt.
        prompt: u32,
        /// Tokens explicitly asked for.
        max_tokens: Option<u32>,
        /// The most that fits.
        limit: u32,
    },
    /// A text to embed is longer than the model takes in one piece.
    #[error(
        "text {index} is too large: it has {tokens} tokens, and the model takes up to {limit} in one piece; shorten it, \
         or serve with a larger batch and context"
    )]
    TextTooLong {
        /// Which of the request's texts, from 0.
        index: usize,
        /// Its tokens.
        tokens: u32,
        /// The most that fit.
        limit: u32,
    },
    /// The queue is full.
    #[error("the server is busy: {waiting} {what} are waiting, and the limit is {limit}; try again in {} s", .retry_after.as_secs_f64().ceil().max(1.0))]
    Overloaded {
        /// What there is too much of: `requests`, or `tokens` of their prompts.
        what: &'static str,
        /// How many wait.
        waiting: usize,
        /// The most that may.
        limit: usize,
        /// When there is probably room, as fast as the queue has moved lately.
        retry_after: Duration,
    },
    /// A slot is to be saved, restored or erased while a request runs in it.
    #[error("slot {slot} is in use by a request; try again when it is idle")]
    SlotBusy {
        /// Which, from 0.
        slot: usize,
    },
    /// The model's own template failed on this conversation.
    #[error(transparent)]
    Template(#[from] builtin::jinja::Error),
    /// A plugin failed.
    #[error(transparent)]
    Plugin(#[from] plugin::Error),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// Nothing could be chosen: every token was banned, or every logit was not a number.
    #[error("no token could be sampled: {0}")]
    Sampling(String),
    /// The reader was too slow for too long.
    #[error("the stream was not read for {} s and was cancelled", .limit.as_secs())]
    Stalled {
        /// How long it may stand still.
        limit: Duration,
    },
    /// The request missed one of its deadlines.
    #[error(
        "{} within {} ms, the limit of this request; ask again when less is going on, or allow it more time",
        missed(*.deadline), .limit.as_millis()
    )]
    Late {
        /// Which.
        deadline: Deadline,
        /// How long it had.
        limit: Duration,
    },
    /// The engine is going away.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Something broke that should not.
    #[error("internal error: {0}")]
    Internal(String),
}

fn asked(max_tokens: Option<u32>) -> String {
    max_tokens.map_or_else(String::new, |count| format!(" and {count} more were asked for"))
}

fn missed(deadline: Deadline) -> &'static str {
    match deadline {
        Deadline::Queue => "no sequence was free for the request",
        Deadline::FirstToken => "no token came",
        Deadline::Total => "the answer was not complete",
    }
}
