//! What happens when plugins fail: the operator's policy, and the breaker that takes a plugin out of service.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
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

/// When a plugin is taken out of service for a client, and for how long. What counts are traps, missed deadlines,
/// exceeded limits and invalid results in that client's requests; a refusal is the client's mistake.
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

/// The most tenants whose faults a breaker remembers; one more is remembered instead of the one whose last fault is
/// longest ago.
const TENANTS_MAX: usize = 1_024;

/// Counts the faults of one plugin, each tenant's apart: whose arguments make it fail does not take it from others. One
/// that always fails is soon out of service for everybody who uses it.
pub(super) struct Breaker {
    options: Option<BreakerOptions>,
    tenants: Mutex<HashMap<u64, State>>,
}

/// What a tenant had of it.
struct State {
    /// The latest faults, oldest first.
    recent: VecDeque<Instant>,
    last: Instant,
    /// Until when it is out of service.
    until: Option<(Instant, SystemTime)>,
}

impl State {
    fn until(&self, now: Instant) -> Option<SystemTime> {
        self.until.filter(|(until, _)| *until > now).map(|(_, until)| until)
    }
}

impl Breaker {
    pub(super) fn new(options: Option<BreakerOptions>) -> Self {
        Self { options, tenants: Mutex::default() }
    }

    /// Whether the plugin may begin something new for a tenant. What has begun goes on.
    pub(super) fn admit(&self, tenant: u64, now: Instant) -> Result<(), Fault> {
        let until = self.tenants().get(&tenant).and_then(|state| state.until(now));
        match (self.options, until) {
            (Some(BreakerOptions { faults, window, .. }), Some(until)) => {
                Err(Fault::Suspended { until, faults, window })
            }
            _ => Ok(()),
        }
    }

    /// For how many tenants the plugin is out of service, and until when for the last of them.
    pub(super) fn suspended(&self, now: Instant) -> (usize, Option<SystemTime>) {
        let tenants = self.tenants();
        let until: Vec<SystemTime> = tenants.values().filter_map(|state| state.until(now)).collect();
        (until.len(), until.into_iter().max())
    }

    /// Counts a fault. The last one that it takes is logged.
    pub(super) fn note(&self, tenant: u64, error: &Error, now: Instant) {
        let Some(BreakerOptions { faults, window, pause }) = self.options else { return };
        if !error.fault.is_misbehaviour() {
            return;
        }
        let mut tenants = self.tenants();
        if tenants.len() >= TENANTS_MAX
            && !tenants.contains_key(&tenant)
            && let Some(oldest) =
                tenants.iter().min_by_key(|(_, state)| state.last).map(|(tenant, _)| *tenant)
        {
            tenants.remove(&oldest);
        }
        let new = || State { recent: VecDeque::new(), last: now, until: None };
        let state = tenants.entry(tenant).or_insert_with(new);
        state.last = now;
        if state.until(now).is_some() {
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
                "a plugin failed too often and is out of service for {} s, for the client whose requests it failed", pause.as_secs_f64());
        }
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<u64, State>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
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
            breaker.note(7, error, begin + seconds(at));
            assert_eq!(breaker.admit(7, begin + seconds(at)), Ok(()), "after {at} s");
        }
        breaker.note(7, &trap, begin + seconds(12));
        let refusal = breaker.admit(7, begin + seconds(12)).unwrap_err();
        let said = refusal.to_string();
        assert!(
            said.starts_with("is out of service until 2") && said.ends_with("Z after 3 faults within 10 s"),
            "{said}"
        );
        // What was under way and fails meanwhile does not make it longer.
        breaker.note(7, &trap, begin + seconds(16));
        assert!(breaker.admit(7, begin + Duration::from_millis(16_999)).is_err());
        assert_eq!(breaker.admit(7, begin + seconds(17)), Ok(()));
        // It begins anew.
        breaker.note(7, &trap, begin + seconds(18));
        assert_eq!(breaker.admit(7, begin + seconds(18)), Ok(()));
    }

    #[test]
    fn without_a_breaker_nothing_is_counted() {
        let breaker = Breaker::new(None);
        let now = Instant::now();
        (0..10_000).for_each(|_| breaker.note(7, &fault(Fault::Trap("boom".into())), now));
        assert_eq!(breaker.admit(7, now), Ok(()));
        assert!(breaker.tenants().is_empty());
    }

    #[test]
    fn who_makes_a_plugin_fail_takes_it_from_nobody_else() {
        let pause = Duration::from_secs(5);
        let breaker = Breaker::new(Some(BreakerOptions { faults: 2, window: pause, pause }));
        let (begin, trap) = (Instant::now(), fault(Fault::Trap("boom".into())));
        for tenant in [7, 7, 8] {
            breaker.note(tenant, &trap, begin);
        }
        assert!(breaker.admit(7, begin).is_err());
        assert_eq!((breaker.admit(8, begin), breaker.admit(9, begin)), (Ok(()), Ok(())));
        breaker.note(8, &trap, begin + Duration::from_secs(1));
        let (count, until) = breaker.suspended(begin + Duration::from_secs(1));
        assert_eq!((count, until.is_some()), (2, true));
        assert_eq!(breaker.suspended(begin + pause).0, 1);
        assert_eq!(breaker.suspended(begin + 2 * pause), (0, None));
    }

    #[test]
    fn so_many_tenants_are_remembered() {
        let hour = Duration::from_secs(3_600);
        let breaker = Breaker::new(Some(BreakerOptions { faults: 1, window: hour, pause: hour }));
        let (begin, trap) = (Instant::now(), fault(Fault::Trap("boom".into())));
        for tenant in 0..=TENANTS_MAX as u64 {
            breaker.note(tenant, &trap, begin + Duration::from_millis(tenant));
        }
        assert_eq!(breaker.suspended(begin + Duration::from_secs(2)).0, TENANTS_MAX);
        assert_eq!(breaker.admit(0, begin), Ok(()), "the oldest is forgotten");
        assert!((1..=TENANTS_MAX as u64).all(|tenant| breaker.admit(tenant, begin).is_err()));
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(shown(UNIX_EPOCH + Duration::from_millis(1_500)), "1970-01-01T00:00:02Z");
    }
}
