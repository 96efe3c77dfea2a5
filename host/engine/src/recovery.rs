//! What follows when the model fails: one state machine, without a clock and without the model.
//!
//! ```text
//!            a decode fails          100, 200, 400 ms later, alone
//! Healthy ──────────────────▶ Retrying ──────────────────▶ Healthy, when a token came of it
//!    ▲                           └── the fourth time: that request fails, the others go on
//!    │
//!    │ the device fails, the model panics         loaded
//!    └──────────────────▶ Reloading ──────────────────▶ Healthy; all sequences go on from their tokens
//!                            └── the fourth time: Failed. Who waits or comes is told why; after a while a request
//!                                that comes is a reason to try again.
//! ```
//!
//! A model that cannot be loaded anew (nobody said how) is retried instead.

use std::time::Duration;

use crate::model::{Error, Model};

/// How long to wait before a failed decode is tried again, in the order of the tries; then the request fails. A model
/// is loaded anew after the same times.
const BACK_OFF: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];

/// Loads the model anew after its device failed: the same file with the same slots and context, on as much of the
/// device as is left. What there was has been dropped by then.
pub type Reload = Box<dyn FnMut(&Error) -> Result<Box<dyn Model>, String> + Send>;

/// How a model is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It decodes.
    #[default]
    Healthy,
    /// A decode failed and is tried again.
    Retrying,
    /// It is loaded anew.
    Reloading,
    /// It could not be loaded anew.
    Failed,
}

impl State {
    /// Its name, for logs and the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Retrying => "retrying",
            Self::Reloading => "reloading",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn from_number(number: u8) -> Self {
        [Self::Healthy, Self::Retrying, Self::Reloading, Self::Failed]
            .into_iter()
            .find(|state| *state as u8 == number)
            .unwrap_or_default()
    }
}

/// What a sequence whose decode failed does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is decoded again from its first token, after a while. `clears`: what others left in the cache goes before.
    Retry { after: Duration, clears: bool },
    /// It fails, and nobody else.
    Fail,
}

/// Where the machine stands.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    state: State,
    /// Loads that failed since the last one that did not, or loads since a token came.
    reloads: usize,
}

impl Recovery {
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// A decode failed that a sequence was part of, for the `failures`th time since its last token.
    pub(crate) fn decode_failed(&mut self, failures: usize) -> Answer {
        self.state = State::Retrying;
        match failures.checked_sub(1).and_then(|tried| BACK_OFF.get(tried)) {
            // What is in the cache may be what it stumbles over: it is gone before the second try.
            Some(&after) => Answer::Retry { after, clears: failures == 1 },
            None => Answer::Fail,
        }
    }

    /// The model has to be loaded anew: how long to wait before, if it is to be tried at all.
    pub(crate) fn reload(&mut self) -> Option<Duration> {
        let after = BACK_OFF.get(self.reloads).copied();
        self.reloads += 1;
        self.state = if after.is_some() { State::Reloading } else { State::Failed };
        after
    }

    /// It is loaded. A device that fails again before a token came counts on.
    pub(crate) fn reloaded(&mut self) {
        self.state = State::Healthy;
    }

    /// A token came of a decode. `suspects`: other sequences are still to be tried again.
    pub(crate) fn token_came(&mut self, suspects: bool) {
        self.reloads = 0;
        self.state = if suspects { State::Retrying } else { State::Healthy };
    }

    /// Whether a token that came would change nothing.
    pub(crate) fn is_calm(&self) -> bool {
        self.state == State::Healthy && self.reloads == 0
    }

    /// Nobody is left to try again with.
    pub(crate) fn idle(&mut self) {
        if self.state == State::Retrying {
            self.state = State::Healthy;
        }
    }

    /// After it failed for good a request came, a good while later: it may be tried again.
    pub(crate) fn try_again(&mut self) {
        self.reloads = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decode_is_tried_three_times_more_and_a_token_forgives_all() {
        let mut recovery = Recovery::default();
        let answers: Vec<Answer> = (1..=4).map(|failures| recovery.decode_failed(failures)).collect();
        let retry =
            |milliseconds, clears| Answer::Retry { after: Duration::from_millis(milliseconds), clears };
        assert_eq!(answers, [retry(100, true), retry(200, false), retry(400, false), Answer::Fail]);
        assert_eq!(recovery.state(), State::Retrying);
        recovery.token_came(true);
        assert_eq!(recovery.state(), State::Retrying);
        recovery.token_came(false);
        assert_eq!(recovery.state(), State::Healthy);
    }

    #[test]
    fn a_model_is_loaded_three_times_and_is_then_failed_until_somebody_asks() {
        let mut recovery = Recovery::default();
        let waits: Vec<Option<Duration>> = (0..4).map(|_| recovery.reload()).collect();
        assert_eq!(waits, [Some(BACK_OFF[0]), Some(BACK_OFF[1]), Some(BACK_OFF[2]), None]);
        assert_eq!(recovery.state(), State::Failed);
        recovery.try_again();
        assert!(recovery.reload().is_some());
        recovery.reloaded();
        assert_eq!(recovery.state(), State::Healthy);
        // It fails again before a token came: the count goes on.
        assert_eq!(recovery.reload(), Some(BACK_OFF[1]));
        recovery.reloaded();
        recovery.token_came(false);
        assert_eq!(recovery.reload(), Some(BACK_OFF[0]));
    }

    #[test]
    fn states_have_numbers_and_names() {
        for state in [State::Healthy, State::Retrying, State::Reloading, State::Failed] {
            assert_eq!(State::from_number(state as u8), state);
            assert!(!state.as_str().is_empty());
        }
    }
}
