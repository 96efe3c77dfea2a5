//! What plugins have done: calls, their times, faults, bytes, open sessions. Atomics only: it is in the path of every
//! token.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Fault, Kind};

/// A call that the engine makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Render,
    SamplerOpen,
    Advance,
    Pick,
    Fork,
    Rollback,
    SamplerClose,
    StreamOpen,
    Push,
    StreamClose,
}

impl Call {
    const ALL: [Self; 10] = [
        Self::Render,
        Self::SamplerOpen,
        Self::Advance,
        Self::Pick,
        Self::Fork,
        Self::Rollback,
        Self::SamplerClose,
        Self::StreamOpen,
        Self::Push,
        Self::StreamClose,
    ];

    fn kind(self) -> Kind {
        match self {
            Self::Render => Kind::Template,
            Self::StreamOpen | Self::Push | Self::StreamClose => Kind::Stream,
            _ => Kind::Sampler,
        }
    }

    /// Its name, as in errors.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Render => "render",
            Self::SamplerOpen | Self::StreamOpen => "open",
            Self::Advance => "advance",
            Self::Pick => "pick",
            Self::Fork => "fork",
            Self::Rollback => "rollback",
            Self::SamplerClose | Self::StreamClose => "close",
            Self::Push => "push",
        }
    }
}

/// Upper ends of the histogram's buckets, in nanoseconds: from what crossing a boundary takes to a deadline.
const BUCKETS: [u64; 15] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    5_000_000,
    20_000_000,
    100_000_000,
    500_000_000,
    2_000_000_000,
];

/// The counters of one plugin's name. Versions that come after one another share them.
#[derive(Default)]
pub(super) struct Meter {
    calls: [Times; 10],
    /// By kind of plugin and kind of fault.
    faults: [[AtomicU64; Fault::KINDS.len()]; 3],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    pub(super) sessions: AtomicU64,
}

#[derive(Default)]
struct Times {
    nanoseconds: AtomicU64,
    /// The last one is for what no bound holds.
    buckets: [AtomicU64; BUCKETS.len() + 1],
}

/// What a plugin has done since its name is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Calls, for each kind of call that came.
    pub calls: Vec<CallCounts>,
    /// Faults, by the kind of plugin and of fault; refusals are among them.
    pub faults: Vec<(Kind, &'static str, u64)>,
    /// Bytes of arguments, prompts, tokens, candidates and text that went in.
    pub bytes_in: u64,
    /// Bytes that came back.
    pub bytes_out: u64,
    /// Sessions that are open.
    pub sessions: u64,
}

/// The calls of one function.
#[derive(Clone, Debug, PartialEq)]
pub struct CallCounts {
    /// What the plugin was used as.
    pub kind: Kind,
    /// The function: `pick`, `render`, …
    pub call: &'static str,
    /// How often it was called.
    pub count: u64,
    /// How long all calls took.
    pub seconds: f64,
    /// Upper bounds in seconds, ascending and ending in infinity, and how many calls lie between each and the bound
    /// before.
    pub buckets: Vec<(f64, u64)>,
}

impl Meter {
    pub(super) fn called(&self, call: Call, took: Duration, bytes_in: usize) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let times = &self.calls[call as usize];
        let bucket = BUCKETS.partition_point(|bound| *bound < nanoseconds);
        times.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        times.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes_in as u64, Ordering::Relaxed);
    }

    pub(super) fn returned(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, call: Call, fault: &Fault) {
        self.faults[call.kind() as usize][fault.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counters(&self) -> Counters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let calls = Call::ALL.into_iter().map(|call| {
            let times = &self.calls[call as usize];
            let bounds = BUCKETS.iter().map(|bound| Duration::from_nanos(*bound).as_secs_f64());
            let buckets: Vec<(f64, u64)> =
                bounds.chain([f64::INFINITY]).zip(times.buckets.iter().map(load)).collect();
            CallCounts {
                kind: call.kind(),
                call: call.as_str(),
                count: buckets.iter().map(|(_, count)| count).sum(),
                seconds: Duration::from_nanos(load(&times.nanoseconds)).as_secs_f64(),
                buckets,
            }
        });
        let kinds = [Kind::Template, Kind::Sampler, Kind::Stream];
        let faults = kinds.into_iter().flat_map(|kind| {
            let counts = &self.faults[kind as usize];
            Fault::KINDS.iter().zip(counts).map(move |(fault, count)| (kind, *fault, load(count)))
        });
        Counters {
            calls: calls.filter(|call| call.count > 0).collect(),
            faults: faults.filter(|(.., count)| *count > 0).collect(),
            bytes_in: load(&self.bytes_in),
            bytes_out: load(&self.bytes_out),
            sessions: load(&self.sessions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_has_a_place_of_its_own() {
        let meter = Meter::default();
        for (at, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, at);
            meter.called(call, Duration::from_micros(3), 7);
        }
        meter.called(Call::Pick, Duration::from_micros(2), 0);
        meter.called(Call::Pick, Duration::from_secs(9), 0);
        meter.failed(Call::Push, &Fault::Deadline { limit_ms: 1 });
        meter.returned(11);
        let counters = meter.counters();
        assert_eq!(counters.calls.len(), 10);
        assert_eq!((counters.bytes_in, counters.bytes_out), (70, 11));
        assert_eq!(counters.faults, [(Kind::Stream, "deadline", 1)]);
        let pick = counters.calls.iter().find(|call| call.call == "pick").unwrap();
        assert_eq!((pick.kind, pick.count), (Kind::Sampler, 3));
        let filled: Vec<(f64, u64)> = pick.buckets.iter().copied().filter(|(_, count)| *count > 0).collect();
        // A bound belongs to its bucket.
        assert_eq!(filled, [(2e-6, 1), (5e-6, 1), (f64::INFINITY, 1)]);
    }
}
