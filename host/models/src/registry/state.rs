//! What a registry knows of its models.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use minerva_engine::Engine;

use super::{Error, Served, Spec};

/// Everything behind the lock. Nothing slow happens under it.
#[derive(Default)]
pub(super) struct State {
    pub slots: Vec<Slot>,
    /// Who waits to be loaded, in turn.
    pub line: VecDeque<String>,
    pub is_closing: bool,
}

/// One model.
pub(super) struct Slot {
    pub spec: Arc<Spec>,
    pub phase: Phase,
    /// Requests that wait for it to be loaded.
    pub waiting: usize,
    /// Whether it is being loaded because the operator wants it from the start on.
    pub preloading: bool,
    /// Requests that found it loaded.
    pub hits: u64,
    /// Requests that had to wait for a load.
    pub misses: u64,
    pub loads: u64,
    pub failures: u64,
    pub evictions: u64,
    pub last_used: Option<(Instant, SystemTime)>,
    pub load_time: Option<Duration>,
    /// Why the last load failed, until one succeeds.
    pub failure: Option<Failure>,
}

/// How far a model is. The only ways: unloaded, queued, loading, ready, retiring, unloading, unloaded; back from queued
/// and loading to unloaded (failed or cancelled), and from retiring to ready (nobody needs the room any more).
pub(super) enum Phase {
    Unloaded,
    Queued,
    Loading {
        part: f32,
        bytes: u64,
        is_cancelled: bool,
    },
    Ready(Loaded),
    Retiring(Loaded),
    /// Its memory counts until it is free.
    Unloading {
        bytes: u64,
    },
}

/// A model in memory.
pub(super) struct Loaded {
    pub served: Arc<Served>,
    /// `None` if it is somebody else's.
    pub engine: Option<Engine>,
    pub bytes: u64,
    pub began: Instant,
}

/// A load that failed.
pub(super) struct Failure {
    pub error: Error,
    pub until: Instant,
    /// Loads that failed one after the other.
    pub in_a_row: u32,
}

impl Failure {
    pub(super) fn is_fresh(&self) -> bool {
        Instant::now() < self.until
    }

    /// What requests are told, with the pause that is left.
    pub(super) fn error(&self) -> Error {
        let left = self.until.saturating_duration_since(Instant::now());
        match self.error.clone() {
            Error::Failed { model, why, .. } => Error::Failed { model, why, retry_after: left },
            Error::NoRoom { model, why, .. } => Error::NoRoom { model, why, retry_after: left },
            other => other,
        }
    }
}

impl Loaded {
    /// Whether nobody uses it, or is about to.
    pub(super) fn is_idle(&self) -> bool {
        let status = self.served.handle.status();
        Arc::strong_count(&self.served) == 1 && status.running == 0 && status.waiting == 0
    }
}

impl Phase {
    pub(super) fn loaded(&self) -> Option<&Loaded> {
        match self {
            Self::Ready(loaded) | Self::Retiring(loaded) => Some(loaded),
            Self::Unloaded | Self::Queued | Self::Loading { .. } | Self::Unloading { .. } => None,
        }
    }

    pub(super) fn into_loaded(self) -> Option<Loaded> {
        match self {
            Self::Ready(loaded) | Self::Retiring(loaded) => Some(loaded),
            Self::Unloaded | Self::Queued | Self::Loading { .. } | Self::Unloading { .. } => None,
        }
    }

    /// What it takes of the memory.
    pub(super) fn bytes(&self) -> Option<u64> {
        match self {
            Self::Unloaded | Self::Queued => None,
            Self::Loading { bytes, .. } | Self::Unloading { bytes } => Some(*bytes),
            Self::Ready(loaded) | Self::Retiring(loaded) => Some(loaded.bytes),
        }
    }
}

impl Slot {
    pub(super) fn new(spec: Spec) -> Self {
        Self {
            spec: Arc::new(spec),
            phase: Phase::Unloaded,
            waiting: 0,
            preloading: false,
            hits: 0,
            misses: 0,
            loads: 0,
            failures: 0,
            evictions: 0,
            last_used: None,
            load_time: None,
            failure: None,
        }
    }

    /// Whether it is neither loaded nor about to be.
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.phase, Phase::Unloaded) && self.waiting == 0
    }

    /// When it was last used, or loaded.
    pub(super) fn last_touched(&self) -> Option<Instant> {
        let loaded = self.phase.loaded()?;
        Some(self.last_used.map_or(loaded.began, |(at, _)| at.max(loaded.began)))
    }

    pub(super) fn entry(&self) -> Entry {
        Entry {
            id: self.spec.id.clone(),
            aliases: self.spec.aliases.clone(),
            condition: match &self.phase {
                Phase::Unloaded if self.failure.is_some() => Condition::Failed,
                Phase::Unloaded => Condition::Unloaded,
                Phase::Queued => Condition::Queued,
                Phase::Loading { part, .. } => Condition::Loading(*part),
                Phase::Ready(_) => Condition::Ready,
                Phase::Retiring(_) => Condition::Retiring,
                Phase::Unloading { .. } => Condition::Unloading,
            },
            served: self.phase.loaded().map(|loaded| Arc::clone(&loaded.served)),
            pinned: self.spec.pinned,
            keep_alive: self.spec.keep_alive,
            bytes: self.phase.bytes(),
            waiting: self.waiting,
            hits: self.hits,
            misses: self.misses,
            loads: self.loads,
            failures: self.failures,
            evictions: self.evictions,
            last_used: self.last_used.map(|(_, at)| at),
            load_time: self.load_time,
            failure: self.failure.as_ref().map(Failure::error),
        }
    }
}

impl State {
    pub(super) fn slot(&self, id: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.spec.id == id)
    }

    pub(super) fn slot_mut(&mut self, id: &str) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.spec.id == id)
    }

    /// The id of the model that a request means.
    pub(super) fn id_of(&self, name: Option<&str>) -> Result<String, Error> {
        let known = || self.slots.iter().map(|slot| slot.spec.id.clone()).collect();
        match (self.slots.as_slice(), name) {
            ([], _) => Err(Error::Empty),
            ([only], _) => Ok(only.spec.id.clone()),
            (_, None) => Err(Error::Unnamed { known: known() }),
            (slots, Some(name)) => {
                let found = slots.iter().find(|slot| slot.spec.is_called(name));
                let unknown = || Error::Unknown { name: name.to_owned(), known: known() };
                found.map(|slot| slot.spec.id.clone()).ok_or_else(unknown)
            }
        }
    }

    pub(super) fn health(&self) -> Health {
        if self.is_closing {
            return Health::Closing;
        }
        let is_ready = self.slots.iter().any(|slot| slot.phase.loaded().is_some());
        let can_load = self.slots.iter().any(|slot| slot.spec.source.is_some());
        let is_preloading = self.slots.iter().any(|slot| slot.preloading);
        if is_ready || (can_load && !is_preloading) { Health::Ready } else { Health::Loading }
    }
}

/// Whether requests can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// A model is there, or is loaded when it is asked for.
    Ready,
    /// Nothing is there yet.
    Loading,
    /// Nothing is loaded any more.
    Closing,
}

/// How a model is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// Not in memory.
    Unloaded,
    /// Not in memory, because the last load failed.
    Failed,
    /// Waits to be loaded.
    Queued,
    /// So much of it is loaded, 0 to 1.
    Loading(f32),
    /// Answers requests.
    Ready,
    /// Ends what it has begun, and goes.
    Retiring,
    /// Is being freed.
    Unloading,
}

impl Condition {
    /// One word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Failed => "failed",
            Self::Queued => "queued",
            Self::Loading(_) => "loading",
            Self::Ready => "loaded",
            Self::Retiring => "retiring",
            Self::Unloading => "unloading",
        }
    }
}

/// What a registry knows of a model.
#[derive(Clone)]
pub struct Entry {
    /// Its name in requests and responses.
    pub id: String,
    /// Other names that requests may use for it.
    pub aliases: Vec<String>,
    /// How it is doing.
    pub condition: Condition,
    /// The model, where it is loaded. Holding it keeps it from being unloaded.
    pub served: Option<Arc<Served>>,
    /// Whether it stays even where another needs its room.
    pub pinned: bool,
    /// How long it stays when nobody uses it; `None` is for ever.
    pub keep_alive: Option<Duration>,
    /// The bytes that it counts for, where it is in memory or on its way.
    pub bytes: Option<u64>,
    /// Requests that wait for it to be loaded.
    pub waiting: usize,
    /// Requests that found it loaded.
    pub hits: u64,
    /// Requests that had to wait for a load.
    pub misses: u64,
    /// Loads that succeeded.
    pub loads: u64,
    /// Loads that failed.
    pub failures: u64,
    /// How often it had to make room, or was not used for long.
    pub evictions: u64,
    /// When it was last used.
    pub last_used: Option<SystemTime>,
    /// What the last load took.
    pub load_time: Option<Duration>,
    /// Why the last load failed, if none has succeeded since.
    pub failure: Option<Error>,
}
