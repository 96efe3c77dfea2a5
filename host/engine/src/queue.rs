//! Requests that wait for a slot: bounded by number and by tokens. The tenant with the fewest running is next, of
//! several the one whose turn is longest ago, and of its requests the first by priority and time.
//!
//! A priority is a head start: a request stands where it would if it had come so much earlier. So the order of two
//! requests of one tenant never changes while they wait, and whoever waits is passed only by those of its tenant that
//! come within a bounded time, and by a turn of every other tenant.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many of the last departures tell how fast the queue moves.
const DEPARTURES: usize = 32;

/// The longest time to try again that is told: what is estimated from now does not hold for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Most tenants whose last turn is remembered.
const TENANTS_MAX: usize = 4096;

/// A bounded queue between many request tasks and the one worker.
pub(crate) struct Queue<T> {
    limits: Limits,
    epoch: Instant,
    state: Mutex<State<T>>,
}

/// What a queue holds, and how it orders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most requests.
    pub requests: usize,
    /// Most tokens of prompts, unless one alone has more.
    pub tokens: usize,
    /// The head start that a step of priority is.
    pub priority_step: Duration,
}

/// What counts of a request while it waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub priority: i8,
    /// Whose it is.
    pub tenant: u64,
    /// Tokens of its prompt.
    pub tokens: usize,
    pub came: Instant,
}

struct State<T> {
    /// In order of their ranks.
    waiting: Vec<Waiting<T>>,
    /// Of all that wait.
    tokens: usize,
    /// When the last ones left, and with how many tokens.
    departures: VecDeque<(Instant, usize)>,
    /// When each tenant had its last turn, counted in turns.
    turns: HashMap<u64, u64>,
    turns_taken: u64,
    closed: bool,
}

struct Waiting<T> {
    rank: Rank,
    ticket: Ticket,
    item: T,
}

/// When it came, less its head start: nanoseconds since the queue began.
type Rank = i128;

/// Why a queue did not take something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// So many requests or tokens wait, which is as many as may; and when there is probably room.
    Full { what: &'static str, waiting: usize, limit: usize, retry_after: Duration },
    /// Nobody will take from it any more.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State {
            waiting: Vec::new(),
            tokens: 0,
            departures: VecDeque::new(),
            turns: HashMap::new(),
            turns_taken: 0,
            closed: false,
        };
        Self { limits, epoch: Instant::now(), state: Mutex::new(state) }
    }

    /// Takes all of them, with a ticket each like this one, or none.
    pub(crate) fn push(&self, items: Vec<T>, ticket: Ticket) -> Result<(), Refused> {
        let nanoseconds = |time: Duration| Rank::try_from(time.as_nanos()).unwrap_or(Rank::MAX);
        let rank = nanoseconds(ticket.came.saturating_duration_since(self.epoch))
            .saturating_sub(nanoseconds(self.limits.priority_step).saturating_mul(ticket.priority.into()));
        let Limits { requests: requests_max, tokens: tokens_max, .. } = self.limits;
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        let (requests, tokens) = (items.len(), ticket.tokens.saturating_mul(items.len()));
        let waiting = state.waiting.len();
        if waiting + requests > requests_max {
            let surplus = waiting + requests - requests_max;
            let retry_after = state.time_for(surplus, |_| 1);
            return Err(Refused::Full { what: "requests", waiting, limit: requests_max, retry_after });
        }
        // What is too large for the limit would never be served: it may wait alone.
        if state.tokens > 0 && state.tokens + tokens > tokens_max {
            let surplus = (state.tokens + tokens - tokens_max).min(state.tokens);
            let retry_after = state.time_for(surplus, |tokens| tokens);
            let waiting = state.tokens;
            return Err(Refused::Full { what: "tokens", waiting, limit: tokens_max, retry_after });
        }
        state.tokens += tokens;
        let place = state.waiting.partition_point(|other| other.rank <= rank);
        state.waiting.splice(place..place, items.into_iter().map(|item| Waiting { rank, ticket, item }));
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.pop_next(|_| true, |_| 0, |_| true)
    }

    /// The next of those that are ready, if there is room for it: nobody else is let past it then. `running` says how
    /// many requests of a tenant have a slot.
    pub(crate) fn pop_next(
        &self,
        is_ready: impl Fn(&T) -> bool,
        running: impl Fn(u64) -> usize,
        has_room: impl FnOnce(&T) -> bool,
    ) -> Option<T> {
        let mut state = self.lock();
        let ready = state.waiting.iter().enumerate().filter(|(_, waiting)| is_ready(&waiting.item));
        // Of equals `min_by_key` takes the first.
        let (place, next) = ready.min_by_key(|(_, waiting)| {
            let tenant = waiting.ticket.tenant;
            (running(tenant), state.turns.get(&tenant).copied().unwrap_or(0))
        })?;
        if !has_room(&next.item) {
            return None;
        }
        let next = state.waiting.remove(place);
        state.took_turn(next.ticket.tenant);
        state.left(next.ticket.tokens);
        Some(next.item)
    }

    /// Takes out what need not wait any longer, so that it takes no place.
    pub(crate) fn take_out(&self, mut is_out: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut state = self.lock();
        let out: Vec<Waiting<T>> = state.waiting.extract_if(.., |waiting| is_out(&waiting.item)).collect();
        out.into_iter()
            .map(|waiting| {
                state.left(waiting.ticket.tokens);
                waiting.item
            })
            .collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Tokens of all that wait.
    pub(crate) fn tokens(&self) -> usize {
        self.lock().tokens
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

impl<T> State<T> {
    fn took_turn(&mut self, tenant: u64) {
        if self.turns.len() == TENANTS_MAX {
            // Then all are as new ones, which is fair enough for so many.
            self.turns.clear();
        }
        self.turns_taken += 1;
        self.turns.insert(tenant, self.turns_taken);
    }

    fn left(&mut self, tokens: usize) {
        self.tokens -= tokens;
        if self.departures.len() == DEPARTURES {
            self.departures.pop_front();
        }
        self.departures.push_back((Instant::now(), tokens));
    }

    /// How long it will take until so much has left, if it goes on as lately. Zero where nothing has left yet.
    fn time_for(&self, surplus: usize, weight: impl Fn(usize) -> usize) -> Duration {
        let Some((since, _)) = self.departures.front() else { return Duration::ZERO };
        let left: usize = self.departures.iter().map(|(_, tokens)| weight(*tokens)).sum();
        #[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
        let times = surplus as f64 / left.max(1) as f64;
        since.elapsed().mul_f64(times).min(RETRY_AFTER_MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { requests: 10, tokens: 1000, priority_step: Duration::from_secs(10) };

    fn ticket(priority: i8, came: Instant) -> Ticket {
        Ticket { priority, tenant: 0, tokens: 1, came }
    }

    #[test]
    fn the_more_urgent_pass_those_who_came_a_little_earlier() {
        let queue = Queue::new(LIMITS);
        let came = |seconds| queue.epoch + Duration::from_secs(seconds);
        for (name, priority, seconds) in
            [("first", 0, 0), ("second", 0, 1), ("urgent", 2, 15), ("too late", 2, 21), ("low", -1, 5)]
        {
            assert_eq!(queue.push(vec![name], ticket(priority, came(seconds))), Ok(()));
        }
        assert_eq!(queue.push(vec!["a", "group"], ticket(1, came(31))), Ok(()));
        assert_eq!(
            queue.push(vec!["too"; 4], ticket(i8::MAX, came(31))),
            Err(Refused::Full { what: "requests", waiting: 7, limit: 10, retry_after: Duration::ZERO }),
            "for the urgent as well"
        );
        assert_eq!(queue.pop_next(|name| *name != "urgent", |_| 0, |_| true), Some("first"));
        assert_eq!(queue.take_out(|name| *name == "second"), ["second"]);
        let order: Vec<&str> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["urgent", "too late", "low", "a", "group"]);
    }

    #[test]
    fn who_has_the_fewest_running_is_next() {
        let queue = Queue::new(LIMITS);
        let now = queue.epoch;
        for (name, tenant, priority) in
            [("a1", 1, 0), ("a2", 1, 9), ("a3", 1, 0), ("b1", 2, 0), ("b2", 2, 0), ("c1", 3, -9)]
        {
            queue.push(vec![name], Ticket { tenant, ..ticket(priority, now) }).expect("room");
        }
        let mut running = [0_usize; 4];
        let mut order = Vec::new();
        while let Some(name) = queue.pop_next(|_| true, |tenant| running[tenant as usize], |_| true) {
            running[usize::from(name.as_bytes()[0] - b'a') + 1] += 1;
            order.push(name);
        }
        assert_eq!(order, ["a2", "b1", "c1", "a1", "b2", "a3"]);
    }

    #[test]
    fn tenants_take_turns_where_only_one_can_run() {
        let queue = Queue::new(LIMITS);
        for (name, tenant) in [("a1", 1), ("a2", 1), ("a3", 1), ("b1", 2), ("b2", 2)] {
            queue.push(vec![name], Ticket { tenant, ..ticket(0, queue.epoch) }).expect("room");
        }
        let order: Vec<&str> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["a1", "b1", "a2", "b2", "a3"]);
    }

    #[test]
    fn where_there_is_no_room_for_the_next_nobody_passes_it() {
        let queue = Queue::new(LIMITS);
        queue.push(vec!["large", "small"], ticket(0, queue.epoch)).expect("room");
        assert_eq!(queue.pop_next(|_| true, |_| 0, |name| *name == "small"), None);
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn tokens_are_limited_as_well_and_what_is_too_large_may_wait_alone() {
        let queue = Queue::new(LIMITS);
        let of = |tokens| Ticket { tokens, ..ticket(0, queue.epoch) };
        assert_eq!(queue.push(vec!["huge"], of(5000)), Ok(()));
        let refused = queue.push(vec!["one"], of(1));
        assert!(matches!(refused, Err(Refused::Full { what: "tokens", waiting: 5000, limit: 1000, .. })));
        assert_eq!(queue.pop(), Some("huge"));
        assert_eq!(queue.push(vec!["half", "half"], of(500)), Ok(()));
        assert_eq!(queue.tokens(), 1000);
        assert!(queue.push(vec!["one"], of(1)).is_err());
        assert_eq!(queue.take_out(|_| true).len(), 2);
        assert_eq!(queue.tokens(), 0);
    }

    #[test]
    fn when_to_try_again_is_told_by_how_fast_the_queue_moves() {
        let queue = Queue::new(LIMITS);
        let full = vec!["full"; 10];
        queue.push(full, Ticket { tokens: 100, ..ticket(0, queue.epoch) }).expect("room");
        let estimate = |surplus| queue.lock().time_for(surplus, |_| 1);
        assert_eq!(estimate(1), Duration::ZERO, "nothing has left yet");
        queue.pop();
        queue.pop();
        let long_ago = Instant::now().checked_sub(Duration::from_secs(10)).expect("it was up then");
        queue.lock().departures[0].0 = long_ago;
        let seconds = |surplus| estimate(surplus).as_secs_f64();
        // Two left in ten seconds.
        assert!((5.0..6.0).contains(&seconds(1)), "{}", seconds(1));
        assert!((20.0..24.0).contains(&seconds(4)), "{}", seconds(4));
        assert_eq!(estimate(1000), RETRY_AFTER_MAX);
    }

    proptest! {
        /// However many urgent requests keep coming, one of the lowest priority is served once those who came within
        /// its bound are.
        #[test]
        fn nobody_starves(priorities in prop::collection::vec(any::<i8>(), 1..200), lowest in any::<i8>()) {
            let queue = Queue::new(Limits { requests: 1000, ..LIMITS });
            let came = |seconds: usize| queue.epoch + Duration::from_secs(seconds as u64);
            queue.push(vec![usize::MAX], ticket(lowest, came(0))).expect("room");
            for (second, priority) in priorities.iter().enumerate() {
                queue.push(vec![second], ticket(*priority, came(second + 1))).expect("room");
            }
            let passed_it = std::iter::from_fn(|| queue.pop().filter(|name| *name != usize::MAX));
            for second in passed_it {
                let steps = i64::from(priorities[second]) - i64::from(lowest);
                prop_assert!((second as i64) + 1 < steps * 10, "{second} came too late to pass");
            }
        }
    }
}
