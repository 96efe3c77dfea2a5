//! What happens when plugins fail: the operator's policy, and the breaker that takes a plugin out of service.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Error, Fault, OnFault};

/// What happens when plugins fail, where requests do not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For plugins that are not named in `on_fault_of`. Default [`OnFault::Fail`].
    pub on_fault: OnFault,
    /// For plugins by name.
    pub on_fault_of: BTreeMap<String, OnFault>,
    /// When a plugin is taken out of service; `None` is never.
    pub breaker: Option<BreakerOptions>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            on_fault: OnFault::Fail,
            on_fault_of: BTreeMap::new(),
            breaker: Some(BreakerOptions::default()),
        }
    }
}

impl Policy {
    pub(super) fn on_fault(&self, name: &str) -> OnFault {
        self.on_fault_of.get(name).copied().unwrap_or(self.on_fault)
    }
}

/// When a plugin is taken out of service, and for how long. What counts are traps, missed deadlines, exceeded limits
/// and invalid results; a refusal is the client's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// So many faults. Default 10, at most 1,000.
    pub faults: u32,
    /// In so much time. Default 60 s.
    pub window: Duration,
    /// Take it out for so long. Default 30 s.
    pub pause: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self { faults: 10, window: Duration::from_secs(60), pause: Duration::from_secs(30) }
    }
}

/// The most faults that a breaker remembers.
const FAULTS_MAX: u32 = 1_000;

/// Counts the faults of one plugin.
pub(super) struct Breaker {
    options: Option<BreakerOptions>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The latest faults, oldest first.
    recent: VecDeque<Instant>,
    /// Until when it is out of service.
    until: Option<(Instant, SystemTime)>,
}

impl Breaker {
    pub(super) fn new(options: Option<BreakerOptions>) -> Self {
        Self { options, state: Mutex::default() }
    }

    /// Whether the plugin may begin something new. What has begun goes on.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Fault> {
        match (self.options, self.until(now)) {
            (Some(BreakerOptions { faults, window, .. }), Some(until)) => {
                Err(Fault::Suspended { until, faults, window })
            }
            _ => Ok(()),
        }
    }

    /// Until when the plugin is out of service, if it is.
    pub(super) fn until(&self, now: Instant) -> Option<SystemTime> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.until.filter(|(until, _)| *until > now).map(|(_, until)| until)
    }

    /// Counts a fault. The last one that it takes is logged.
    pub(super) fn note(&self, error: &Error, now: Instant) {
        let Some(BreakerOptions { faults, window, pause }) = self.options else { return };
        if !error.fault.is_misbehaviour() {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.until.is_some_and(|(until, _)| until > now) {
            // What was under way when it was taken out: the pause is for all of that.
            return;
        }
        while state.recent.front().is_some_and(|at| now.duration_since(*at) > window) {
            state.recent.pop_front();
        }
        state.recent.push_back(now);
        if state.recent.len() >= faults.clamp(1, FAULTS_MAX) as usize {
            state.recent.clear();
            let until = SystemTime::now() + pause;
            state.until = Some((now + pause, until));
            tracing::warn!(plugin = error.name, version = error.version, faults, until = shown(until), last = %error.fault,
                "a plugin failed too often and is out of service for {} s", pause.as_secs_f64());
        }
    }
}

/// A time of the clock, in seconds of UTC.
pub(super) fn shown(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs_f64().ceil() as i64);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "?".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Identity;

    fn fault(fault: Fault) -> Error {
        Error::new(&Identity::native("bad", "1.0.0"), "pick", fault)
    }

    #[test]
    fn so_many_faults_in_so_much_time_take_a_plugin_out_for_a_while() {
        let seconds = Duration::from_secs;
        let breaker =
            Breaker::new(Some(BreakerOptions { faults: 3, window: seconds(10), pause: seconds(5) }));
        let begin = Instant::now();
        let trap = fault(Fault::Trap("boom".into()));
        // The first is forgotten when the fourth comes, and refusals are nobody's fault.
        for (at, error) in [(0, &trap), (4, &trap), (5, &fault(Fault::Refused("no".into()))), (11, &trap)] {
            breaker.note(error, begin + seconds(at));
            assert_eq!(breaker.admit(begin + seconds(at)), Ok(()), "after {at} s");
        }
        breaker.note(&trap, begin + seconds(12));
        let refusal = breaker.admit(begin + seconds(12)).unwrap_err();
        let said = refusal.to_string();
        assert!(
            said.starts_with("is out of service until 2") && said.ends_with("Z after 3 faults within 10 s"),
            "{said}"
        );
        // What was under way and fails meanwhile does not make it longer.
        breaker.note(&trap, begin + seconds(16));
        assert!(breaker.admit(begin + Duration::from_millis(16_999)).is_err());
        assert_eq!(breaker.admit(begin + seconds(17)), Ok(()));
        // It begins anew.
        breaker.note(&trap, begin + seconds(18));
        assert_eq!(breaker.admit(begin + seconds(18)), Ok(()));
    }

    #[test]
    fn without_a_breaker_nothing_is_counted() {
        let breaker = Breaker::new(None);
        let now = Instant::now();
        (0..10_000).for_each(|_| breaker.note(&fault(Fault::Trap("boom".into())), now));
        assert_eq!(breaker.admit(now), Ok(()));
        assert!(breaker.state.lock().unwrap().recent.is_empty());
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(shown(UNIX_EPOCH + Duration::from_millis(1_500)), "1970-01-01T00:00:02Z");
    }
}
