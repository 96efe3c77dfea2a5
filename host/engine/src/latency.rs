//! How long requests wait and run: histograms that the worker fills and a scrape reads. Atomics only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of times of whole requests, in seconds: vLLM's, and some below for models that are quick.
const REQUEST_BOUNDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0,
    50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
];

/// Upper bounds of times to the first token, in seconds: vLLM's.
const FIRST_TOKEN_BOUNDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];

/// Upper bounds of times between two tokens, in seconds: vLLM's, and some below.
const INTER_TOKEN_BOUNDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
    10.0, 20.0, 40.0, 80.0,
];

/// Times of an engine's requests since it was started.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies {
    /// From being submitted to having a slot.
    pub queue: Distribution,
    /// From being submitted to the first token.
    pub first_token: Distribution,
    /// From one token of a sequence to its next.
    pub inter_token: Distribution,
    /// From being submitted to the end, of requests that ended as they should.
    pub total: Distribution,
}

/// How often something took how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// How often.
    pub count: u64,
    /// How long, together, in seconds.
    pub seconds: f64,
    /// Upper bounds in seconds, ascending and ending in infinity, and how many lie between each and the bound before.
    pub buckets: Vec<(f64, u64)>,
}

/// [`Latencies`] while they are counted.
pub(crate) struct Recorder {
    pub queue: Histogram,
    pub first_token: Histogram,
    pub inter_token: Histogram,
    pub total: Histogram,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            queue: Histogram::new(REQUEST_BOUNDS),
            first_token: Histogram::new(FIRST_TOKEN_BOUNDS),
            inter_token: Histogram::new(INTER_TOKEN_BOUNDS),
            total: Histogram::new(REQUEST_BOUNDS),
        }
    }
}

impl Recorder {
    pub(crate) fn read(&self) -> Latencies {
        Latencies {
            queue: self.queue.read(),
            first_token: self.first_token.read(),
            inter_token: self.inter_token.read(),
            total: self.total.read(),
        }
    }
}

/// A [`Distribution`] while it is counted.
pub(crate) struct Histogram {
    bounds: &'static [f64],
    nanoseconds: AtomicU64,
    /// The last one is for what no bound holds.
    buckets: Box<[AtomicU64]>,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, nanoseconds: AtomicU64::new(0), buckets }
    }

    /// Notes that something took so long, so many times.
    pub(crate) fn observe(&self, took: Duration, times: u64) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(times, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).saturating_mul(times);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn read(&self) -> Distribution {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        Distribution {
            count: buckets.iter().map(|(_, count)| count).sum(),
            seconds: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_none_holds_is_counted() {
        let histogram = Histogram::new(FIRST_TOKEN_BOUNDS);
        histogram.observe(Duration::from_millis(5), 2);
        histogram.observe(Duration::from_millis(6), 1);
        histogram.observe(Duration::from_secs(9_000), 1);
        let read = histogram.read();
        assert_eq!(read.count, 4);
        assert!((read.seconds - 9_000.016).abs() < 1e-6, "{}", read.seconds);
        let filled: Vec<(f64, u64)> = read.buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.005, 2), (0.01, 1), (f64::INFINITY, 1)]);
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [REQUEST_BOUNDS, FIRST_TOKEN_BOUNDS, INTER_TOKEN_BOUNDS] {
            assert!(bounds.is_sorted_by(|before, after| before < after), "{bounds:?}");
        }
    }
}
