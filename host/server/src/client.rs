//! Who asks: what one key may do at once and a minute, and what it is doing.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::failure::Failure;

/// The longest time to try again that is told: what is estimated from now does not hold for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What one key may do; where no keys are asked for, all clients are one. `None` is as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// Most requests at once, those that wait among them.
    pub concurrent_requests: Option<usize>,
    /// Most requests a minute. So many may come together; after that each has to wait its part of the minute.
    pub requests_per_minute: Option<NonZeroU32>,
}

/// Who asks. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Client(Arc<State>);

struct State {
    /// Tells clients apart in the engine's queue.
    id: u64,
    running: AtomicUsize,
    /// How long its requests took lately, in nanoseconds; 0 is not known.
    typical_nanoseconds: AtomicU64,
    rate: OnceLock<DefaultDirectRateLimiter>,
}

impl Client {
    /// A client that has done nothing yet.
    pub(crate) fn new(id: u64) -> Self {
        let (running, typical_nanoseconds) = (AtomicUsize::new(0), AtomicU64::new(0));
        Self(Arc::new(State { id, running, typical_nanoseconds, rate: OnceLock::new() }))
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    /// Lets a request in, unless the client has too many running, or had too many lately.
    pub(crate) fn enter(&self, limits: ClientLimits) -> Result<Permit, Failure> {
        // Whoever is refused below gives its place back.
        let place = Place(Arc::clone(&self.0));
        let others = self.0.running.fetch_add(1, Ordering::AcqRel);
        if let Some(limit) = limits.concurrent_requests.filter(|limit| others >= *limit) {
            let message = format!(
                "{limit} requests of this key are running or waiting, as many as it may have; wait for one to end"
            );
            return Err(Failure::rate_limit(message, self.next_end(limit)));
        }
        if let Some(limit) = limits.requests_per_minute {
            let limiter = self.0.rate.get_or_init(|| RateLimiter::direct(Quota::per_minute(limit)));
            if let Err(until) = limiter.check() {
                let wait = until.wait_time_from(limiter.clock().now());
                let seconds = wait.as_secs() + 1;
                let message =
                    format!("this key may send {limit} requests a minute; try again in {seconds} s");
                return Err(Failure::rate_limit(message, wait));
            }
        }
        Ok(Permit { place, began: Instant::now() })
    }

    /// When one of so many requests has ended, if they end one after another within the time that one takes.
    fn next_end(&self, running: usize) -> Duration {
        let typical = Duration::from_nanos(self.0.typical_nanoseconds.load(Ordering::Relaxed));
        let running = u32::try_from(running).unwrap_or(u32::MAX).max(1);
        (typical / running).min(RETRY_AFTER_MAX)
    }
}

/// Held as long as a request of a client runs.
pub(crate) struct Permit {
    place: Place,
    began: Instant,
}

impl Drop for Permit {
    fn drop(&mut self) {
        // A moving average over the last few; of two at once one may be lost.
        let took = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let typical = &self.place.0.typical_nanoseconds;
        let before = typical.load(Ordering::Relaxed);
        let after = if before == 0 { took } else { before / 4 * 3 + took / 4 };
        typical.store(after, Ordering::Relaxed);
    }
}

struct Place(Arc<State>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(client: &Client, limits: ClientLimits) -> (u64, String) {
        let Err(failure) = client.enter(limits) else { panic!("it was let in") };
        let body = serde_json::to_value(failure.body()).unwrap();
        let response = axum::response::IntoResponse::into_response(failure);
        assert_eq!(response.status(), 429);
        let seconds = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        (seconds, body["error"]["message"].as_str().unwrap().to_owned())
    }

    #[test]
    fn one_more_than_may_run_is_told_when_one_of_them_will_have_ended() {
        let limits = ClientLimits { concurrent_requests: Some(2), ..ClientLimits::default() };
        let client = Client::new(0);
        let first = client.enter(limits).unwrap();
        let second = client.enter(limits).unwrap();
        let (seconds, message) = refusal(&client, limits);
        assert_eq!(seconds, 1, "nothing is known yet");
        assert!(message.starts_with("2 requests of this key are running"), "{message}");
        drop(first);
        let third = client.enter(limits).unwrap();
        client.0.typical_nanoseconds.store(9_000_000_000, Ordering::Relaxed);
        assert_eq!(refusal(&client, limits).0, 5);
        client.0.typical_nanoseconds.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(refusal(&client, limits).0, 60);
        // Others are as free as before.
        assert!(Client::new(1).enter(limits).is_ok());
        drop((second, third));
        assert_eq!(client.0.running.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_a_minute_allows_comes_back_piece_by_piece() {
        let limits = ClientLimits { requests_per_minute: NonZeroU32::new(3), ..ClientLimits::default() };
        let client = Client::new(0);
        for _ in 0..3 {
            client.enter(limits).unwrap();
        }
        let (seconds, message) = refusal(&client, limits);
        assert!((1..=20).contains(&seconds), "{seconds}");
        assert!(message.starts_with("this key may send 3 requests a minute; try again in "), "{message}");
        assert_eq!(client.0.running.load(Ordering::Relaxed), 0);
    }
}
