//! Requests that wait for a slot: bounded, first come first served.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A bounded queue between many request tasks and the one worker.
pub(crate) struct Queue<T> {
    limit: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    waiting: VecDeque<T>,
    closed: bool,
}

/// Why a queue did not take something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is full: this many wait.
    Full(usize),
    /// Nobody will take from it any more.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::new(State { waiting: VecDeque::new(), closed: false }) }
    }

    pub(crate) fn push(&self, item: T) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.waiting.len() >= self.limit {
            return Err(Refused::Full(state.waiting.len()));
        }
        state.waiting.push_back(item);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.lock().waiting.pop_front()
    }

    /// Drops what nobody waits for any more, so that it takes no place.
    pub(crate) fn retain(&self, keep: impl FnMut(&T) -> bool) {
        self.lock().waiting.retain(keep);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Refuses all that comes from now on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
