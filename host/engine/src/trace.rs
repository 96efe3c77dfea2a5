//! What a request goes through, for somebody who watches: its stages and the plugins that it uses, each told once, when
//! it is over. However a request ends, what it had begun is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::plugin::{Identity, Kind};

/// Watches requests. It is told on the engine's own thread among others, and so must not wait for anything.
pub trait Observer: Send + Sync {
    /// A part of a request is over.
    fn saw(&self, part: Part);
}

/// A part of a request.
#[derive(Clone, Debug)]
pub struct Part {
    /// To which of the answers that were asked for it belongs, from 0.
    pub answer: usize,
    /// What it was.
    pub what: What,
    /// When it began.
    pub began: Instant,
    /// When it was over.
    pub ended: Instant,
}

/// What a part of a request was.
#[derive(Clone, Debug)]
pub enum What {
    /// Waiting for a slot.
    Queue,
    /// From having a slot to the first token.
    Prefill {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Of these, how many were in the cache.
        cached_tokens: u32,
    },
    /// From the first token to the last.
    Decode {
        /// Tokens generated.
        tokens: u32,
    },
    /// A plugin at work, from its first call to its last.
    Plugin(Work),
}

/// What a plugin did for one answer.
#[derive(Clone, Debug)]
pub struct Work {
    /// Which plugin.
    pub identity: Identity,
    /// What it was used as.
    pub kind: Kind,
    /// Its calls by name (`open`, `pick`, …), how many there were, and how long all of them took.
    pub calls: Vec<(&'static str, u32, Duration)>,
    /// The kind of its fault, if it had one.
    pub fault: Option<&'static str>,
}

/// Who watches one answer, for the engine's own use.
#[derive(Clone)]
pub struct Watched {
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) answer: usize,
}

impl Watched {
    pub(crate) fn tell(&self, what: What, began: Instant, ended: Instant) {
        self.observer.saw(Part { answer: self.answer, what, began, ended });
    }
}

/// The stages of one answer. Dropping it tells of the one that it is in.
pub(crate) struct Stages {
    watched: Watched,
    stage: What,
    began: Instant,
}

impl Stages {
    /// In the queue from now on.
    pub(crate) fn new(watched: Watched, now: Instant) -> Self {
        Self { watched, stage: What::Queue, began: now }
    }

    /// The stage is over, and another begins.
    pub(crate) fn next(&mut self, stage: What, now: Instant) {
        let over = std::mem::replace(&mut self.stage, stage);
        self.watched.tell(over, self.began, now);
        self.began = now;
    }

    /// More tokens were generated.
    pub(crate) fn generated(&mut self, more: u32) {
        if let What::Decode { tokens } = &mut self.stage {
            *tokens += more;
        }
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        self.watched.tell(self.stage.clone(), self.began, Instant::now());
    }
}
