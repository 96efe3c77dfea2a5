//! Requests that wait for a slot: bounded, by priority, and among equals first come first served.
//!
//! A priority is a head start: a request stands where it would if it had come so much earlier. So the order of two
//! requests never changes while they wait, and whoever waits is passed only by those who come within a bounded time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A bounded queue between many request tasks and the one worker.
pub(crate) struct Queue<T> {
    limit: usize,
    /// The head start that a step of priority is.
    step: Duration,
    epoch: Instant,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// In order of their ranks.
    waiting: Vec<(Rank, T)>,
    closed: bool,
}

/// When it came, less its head start: nanoseconds since the queue began.
type Rank = i128;

/// Why a queue did not take something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is full: this many wait.
    Full(usize),
    /// Nobody will take from it any more.
    Closed,
}

impl<T> Queue<T> {
    /// A queue for so many, in which a step of priority is a head start of `step`.
    pub(crate) fn new(limit: usize, step: Duration) -> Self {
        let state = State { waiting: Vec::new(), closed: false };
        Self { limit, step, epoch: Instant::now(), state: Mutex::new(state) }
    }

    /// Takes all of them, which came at a time with a priority, or none.
    pub(crate) fn push(&self, items: Vec<T>, priority: i8, came: Instant) -> Result<(), Refused> {
        let nanoseconds = |time: Duration| Rank::try_from(time.as_nanos()).unwrap_or(Rank::MAX);
        let rank = nanoseconds(came.saturating_duration_since(self.epoch))
            .saturating_sub(nanoseconds(self.step).saturating_mul(priority.into()));
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.waiting.len() + items.len() > self.limit {
            return Err(Refused::Full(state.waiting.len()));
        }
        let place = state.waiting.partition_point(|(other, _)| *other <= rank);
        state.waiting.splice(place..place, items.into_iter().map(|item| (rank, item)));
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.pop_first(|_| true)
    }

    /// The first that is ready. Those before it keep their places.
    pub(crate) fn pop_first(&self, mut is_ready: impl FnMut(&T) -> bool) -> Option<T> {
        let mut state = self.lock();
        let place = state.waiting.iter().position(|(_, item)| is_ready(item))?;
        Some(state.waiting.remove(place).1)
    }

    /// Takes out what need not wait any longer, so that it takes no place.
    pub(crate) fn take_out(&self, mut is_out: impl FnMut(&T) -> bool) -> Vec<T> {
        self.lock().waiting.extract_if(.., |(_, item)| is_out(item)).map(|(_, item)| item).collect()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: Duration = Duration::from_secs(10);

    #[test]
    fn the_more_urgent_pass_those_who_came_a_little_earlier() {
        let queue = Queue::new(10, STEP);
        let came = |seconds| queue.epoch + Duration::from_secs(seconds);
        for (name, priority, seconds) in
            [("first", 0, 0), ("second", 0, 1), ("urgent", 2, 15), ("too late", 2, 21), ("low", -1, 5)]
        {
            assert_eq!(queue.push(vec![name], priority, came(seconds)), Ok(()));
        }
        assert_eq!(queue.push(vec!["a", "group"], 1, came(31)), Ok(()));
        assert_eq!(
            queue.push(vec!["too"; 4], i8::MAX, came(31)),
            Err(Refused::Full(7)),
            "for the urgent as well"
        );
        assert_eq!(queue.pop_first(|name| *name != "urgent"), Some("first"));
        assert_eq!(queue.take_out(|name| *name == "second"), ["second"]);
        let order: Vec<&str> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["urgent", "too late", "low", "a", "group"]);
    }

    proptest! {
        /// However many urgent requests keep coming, one of the lowest priority is served once those who came within
        /// its bound are.
        #[test]
        fn nobody_starves(priorities in prop::collection::vec(any::<i8>(), 1..200), lowest in any::<i8>()) {
            let queue = Queue::new(1000, STEP);
            let came = |seconds: usize| queue.epoch + Duration::from_secs(seconds as u64);
            queue.push(vec![usize::MAX], lowest, came(0)).expect("room");
            for (second, priority) in priorities.iter().enumerate() {
                queue.push(vec![second], *priority, came(second + 1)).expect("room");
            }
            let passed_it = std::iter::from_fn(|| queue.pop().filter(|name| *name != usize::MAX));
            for second in passed_it {
                let steps = i64::from(priorities[second]) - i64::from(lowest);
                prop_assert!((second as i64) + 1 < steps * 10, "{second} came too late to pass");
            }
        }
    }
}
