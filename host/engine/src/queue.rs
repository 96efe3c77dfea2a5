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

    /// Takes all of them, or none.
    pub(crate) fn push(&self, items: Vec<T>) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.waiting.len() + items.len() > self.limit {
            return Err(Refused::Full(state.waiting.len()));
        }
        state.waiting.extend(items);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.pop_first(|_| true)
    }

    /// The first that is ready. Those before it keep their places.
    pub(crate) fn pop_first(&self, is_ready: impl FnMut(&T) -> bool) -> Option<T> {
        let mut state = self.lock();
        let place = state.waiting.iter().position(is_ready)?;
        state.waiting.remove(place)
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
