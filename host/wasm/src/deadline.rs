//! When a call of a guest has taken too long.
//!
//! What counts is the time that the guest computed, not the time that passed: on a machine with more work than cores,
//! or whose cores are somebody else's too, a thread waits for its turn longer than most calls take, and a plugin is
//! not to blame for that. So that a call ends all the same, what passed on the clock may be so many times the limit.

use std::time::{Duration, Instant};

/// How many times its limit a call may take by the clock.
const PATIENCE: u32 = 10;

/// The deadline of the call that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    limit: Duration,
    begun: Instant,
    /// When the limit is reached if the guest computes all the time.
    soonest: Instant,
    /// When the call ends in any case.
    latest: Instant,
    /// The thread's time when it was first looked at, about a tick into the call: most calls are over before, and
    /// do not pay for the question.
    computed_before: Option<Duration>,
}

impl Deadline {
    /// The deadline of a call that begins now; `None` where it is beyond what the clock can say.
    pub(crate) fn of(limit: Duration) -> Option<Self> {
        let begun = Instant::now();
        let soonest = begun.checked_add(limit)?;
        let latest = begun.checked_add(limit.checked_mul(PATIENCE)?)?;
        Some(Self { limit, begun, soonest, latest, computed_before: None })
    }

    /// How long to go on before asking again; `None` when the call must end.
    pub(crate) fn left(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let computed = computed(self.begun);
        let before = *self.computed_before.get_or_insert(computed);
        if now < self.soonest {
            return Some(self.soonest - now);
        }
        let left = self.limit.checked_sub(computed.saturating_sub(before))?;
        let left = left.min(self.latest.saturating_duration_since(now));
        (!left.is_zero()).then_some(left)
    }
}

/// How long this thread has computed.
#[cfg(unix)]
fn computed(_begun: Instant) -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// How long the call has lasted: where a thread's own time is not to be had, all time counts.
#[cfg(not(unix))]
fn computed(begun: Instant) -> Duration {
    begun.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    #[test]
    fn who_computes_ends_at_the_limit_and_who_waits_at_its_multiple() {
        let begun = Instant::now();
        let mut computing = Deadline::of(LIMIT).expect("a deadline");
        while computing.left().is_some() {}
        assert!(begun.elapsed() >= LIMIT);

        let begun = Instant::now();
        let mut waiting = Deadline::of(LIMIT).expect("a deadline");
        assert!(waiting.left().is_some());
        std::thread::sleep(LIMIT * 2);
        #[cfg(unix)]
        assert!(waiting.left().is_some_and(|left| left <= LIMIT), "it has not computed");
        while waiting.left().is_some() {
            std::thread::sleep(LIMIT);
        }
        assert!(begun.elapsed() >= LIMIT * if cfg!(unix) { PATIENCE } else { 1 });
    }

    #[test]
    fn a_limit_beyond_the_clock_is_none() {
        assert!(Deadline::of(Duration::MAX).is_none());
    }
}
