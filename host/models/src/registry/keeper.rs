//! The keeper: one thread that makes room, loads, and unloads what nobody uses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use minerva_engine::Engine;

use super::state::{Failure, Loaded, Phase, Slot, State};
use super::{Error, Served, Shared, Source, What};

/// How often a model that has to go is looked at: whether it has ended what it had begun.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A pause after a failure doubles so often at most.
const PAUSE_DOUBLINGS_MAX: u32 = 6;

/// The least part of a load that is an event of its own.
const PROGRESS_STEP: f32 = 0.01;

impl Shared {
    /// The keeper's whole life.
    pub(super) fn keep(&self) {
        loop {
            let mut state = self.lock();
            if state.is_closing {
                return;
            }
            if let Some(id) = state.line.pop_front() {
                drop(state);
                self.load(&id);
                continue;
            }
            match self.expired(&mut state) {
                Expiry::Now(id) => {
                    drop(state);
                    self.retire(&id);
                }
                Expiry::Within(time) => drop(self.wait(state, time)),
            }
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.work.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The model that nobody has used for as long as it stays, made to retire; or when there may be one.
    fn expired(&self, state: &mut State) -> Expiry {
        let now = Instant::now();
        let mut next = Duration::from_secs(3600);
        for slot in &mut state.slots {
            let (Some(keep_alive), Some(touched)) = (slot.spec.keep_alive, slot.last_touched()) else {
                continue;
            };
            if slot.spec.pinned || !matches!(slot.phase, Phase::Ready(_)) {
                continue;
            }
            let left = keep_alive.saturating_sub(now.saturating_duration_since(touched));
            if !left.is_zero() {
                next = next.min(left);
                continue;
            }
            let is_idle = slot.waiting == 0 && slot.phase.loaded().is_some_and(Loaded::is_idle);
            if !is_idle {
                // In use: its time begins anew when that is over.
                slot.last_used = Some((now, std::time::SystemTime::now()));
                next = next.min(keep_alive.max(LOOK_AGAIN));
                continue;
            }
            slot.evictions += 1;
            let id = slot.spec.id.clone();
            slot.retire();
            return Expiry::Now(id);
        }
        Expiry::Within(next)
    }

    fn load(&self, id: &str) {
        let began = Instant::now();
        // Who was cancelled and asked for again may stand in the line twice.
        let queued = |slot: &&Slot| matches!(slot.phase, Phase::Queued);
        let spec = self.lock().slot(id).filter(queued).map(|slot| Arc::clone(&slot.spec));
        let Some((spec, source)) = spec.and_then(|spec| Some((Arc::clone(&spec), spec.source.clone()?)))
        else {
            return;
        };
        let loaded = self.make_room(id, source.as_ref()).and_then(|bytes| {
            let engine = self.read(id, source.as_ref())?;
            // What the file says may be less than what is there in the end.
            let bytes = bytes.max(engine.handle().info().weight_bytes);
            let served = Served {
                aliases: spec.aliases.clone(),
                defaults: spec.defaults.clone(),
                ..Served::new(id, engine.handle())
            };
            Ok(Loaded { served: Arc::new(served), engine: Some(engine), bytes, began: Instant::now() })
        });
        let took = began.elapsed();
        let mut state = self.lock();
        let Some(slot) = state.slot_mut(id) else {
            // Forgotten meanwhile: freed outside the lock.
            drop(state);
            return;
        };
        slot.preloading = false;
        let what = match loaded {
            Ok(loaded) => {
                let bytes = loaded.bytes;
                slot.phase = Phase::Ready(loaded);
                slot.loads += 1;
                slot.failure = None;
                slot.load_time = Some(took);
                What::Ready { took, bytes }
            }
            // Who cancelled it while it waited for room has noted that.
            Err(_) if matches!(slot.phase, Phase::Unloaded) => return,
            Err(error) => slot.fail(error, self.options.retry_pause),
        };
        self.tell(id, what);
        drop(state);
        self.bump();
    }

    /// Makes room for a model, and counts it as there.
    fn make_room(&self, id: &str, source: &dyn Source) -> Result<u64, Error> {
        let failed = |why: String| Error::Failed { model: id.to_owned(), why, retry_after: Duration::ZERO };
        let measured = catch_unwind(AssertUnwindSafe(|| source.bytes()));
        let bytes = measured
            .map_err(|_| failed("looking at it panicked".into()))?
            .map_err(|error| failed(words(error.as_ref())))?;
        let deadline = Instant::now() + self.options.room_patience;
        loop {
            let mut state = self.lock();
            if state.is_closing {
                return Err(Error::Closing);
            }
            // Forgotten, or cancelled, while it waited.
            if !matches!(state.slot(id).map(|slot| &slot.phase), Some(Phase::Queued)) {
                return Err(Error::Cancelled { model: id.to_owned() });
            }
            match state.room_for(bytes, &self.options) {
                Room::There => {
                    if let Some(slot) = state.slot_mut(id) {
                        slot.phase = Phase::Loading { part: 0.0, bytes, is_cancelled: false };
                    }
                    self.tell(id, What::Loading(0.0));
                    return Ok(bytes);
                }
                Room::Never(why) => {
                    return Err(Error::NoRoom { model: id.to_owned(), why, retry_after: Duration::ZERO });
                }
                Room::After(victim) => {
                    if let Some(victim) = victim {
                        if let Some(slot) = state.slot_mut(&victim) {
                            slot.evictions += 1;
                            slot.retire();
                        }
                        self.tell(&victim, What::Retiring);
                    }
                    let idle = state.retired_and_idle();
                    if let Some(idle) = idle {
                        drop(state);
                        self.retire(&idle);
                    } else if Instant::now() >= deadline {
                        let busy = state.forgive();
                        drop(state);
                        self.bump();
                        let why = format!(
                            "{} did not end in {} s",
                            busy.join(", "),
                            self.options.room_patience.as_secs()
                        );
                        return Err(Error::NoRoom { model: id.to_owned(), why, retry_after: Duration::ZERO });
                    } else {
                        drop(self.wait(state, LOOK_AGAIN));
                    }
                }
            }
        }
    }

    /// Reads a model from its source.
    fn read(&self, id: &str, source: &dyn Source) -> Result<Engine, Error> {
        let mut told = 0.0;
        let mut progress = |now: f32| {
            let now = now.clamp(0.0, 1.0);
            if let Some(Phase::Loading { part, .. }) = self.lock().slot_mut(id).map(|slot| &mut slot.phase) {
                *part = now;
            }
            if now - told >= PROGRESS_STEP {
                told = now;
                self.tell(id, What::Loading(now));
            }
            !self.is_stopped(id)
        };
        let loaded = catch_unwind(AssertUnwindSafe(|| source.load(&mut progress)));
        let is_stopped = self.is_stopped(id);
        let failed = |why| Error::Failed { model: id.to_owned(), why, retry_after: Duration::ZERO };
        match loaded {
            _ if is_stopped && self.lock().is_closing => Err(Error::Closing),
            _ if is_stopped => Err(Error::Cancelled { model: id.to_owned() }),
            Ok(Ok(engine)) => Ok(engine),
            Ok(Err(error)) => Err(failed(words(error.as_ref()))),
            Err(_) => Err(failed("loading it panicked".into())),
        }
    }

    /// Whether nobody wants a load any more that is under way.
    fn is_stopped(&self, id: &str) -> bool {
        let state = self.lock();
        let goes_on = |phase: &Phase| matches!(phase, Phase::Loading { is_cancelled: false, .. });
        state.is_closing || !state.slot(id).is_some_and(|slot| goes_on(&slot.phase))
    }

    /// Makes a model go that is loaded, or whose load is under way. True if it has to be retired yet.
    pub(super) fn begin_unloading(&self, id: &str) -> Result<bool, Error> {
        let mut state = self.lock();
        let pause = Duration::ZERO;
        let slot = state.slot_mut(id).ok_or_else(|| Error::unknown(id))?;
        let is_retiring = match &mut slot.phase {
            Phase::Ready(loaded) | Phase::Retiring(loaded) if loaded.engine.is_none() => {
                return Err(Error::NotOurs { model: id.to_owned() });
            }
            Phase::Ready(_) => {
                slot.retire();
                self.tell(id, What::Retiring);
                true
            }
            Phase::Queued => {
                slot.fail(Error::Cancelled { model: id.to_owned() }, pause);
                slot.preloading = false;
                state.line.retain(|waiting| waiting != id);
                false
            }
            Phase::Loading { is_cancelled, .. } => {
                *is_cancelled = true;
                false
            }
            Phase::Retiring(_) => true,
            Phase::Unloaded | Phase::Unloading { .. } => false,
        };
        drop(state);
        self.bump();
        Ok(is_retiring)
    }

    /// Waits until a model that retires has ended what it had begun, and frees it.
    pub(super) fn retire(&self, id: &str) {
        loop {
            let mut state = self.lock();
            if state.is_closing {
                return;
            }
            let Some(slot) = state.slot_mut(id) else { return };
            let Phase::Retiring(loaded) = &slot.phase else { return };
            if loaded.is_idle() {
                let bytes = loaded.bytes;
                let gone = std::mem::replace(&mut slot.phase, Phase::Unloading { bytes });
                drop(state);
                drop(gone);
                let mut state = self.lock();
                if let Some(slot) = state.slot_mut(id) {
                    slot.phase = Phase::Unloaded;
                }
                self.tell(id, What::Unloaded);
                drop(state);
                self.bump();
                return;
            }
            drop(self.wait(state, LOOK_AGAIN));
        }
    }
}

enum Expiry {
    Now(String),
    Within(Duration),
}

/// Whether there is room for a model.
enum Room {
    There,
    /// After another has gone; with the next one that has to.
    After(Option<String>),
    Never(String),
}

impl State {
    fn room_for(&self, bytes: u64, options: &super::Options) -> Room {
        let bytes_max = options.bytes_max.unwrap_or(u64::MAX);
        let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
        if bytes > bytes_max {
            return Room::Never(format!(
                "it needs {}, and the limit for all is {}",
                mib(bytes),
                mib(bytes_max)
            ));
        }
        let there = || self.slots.iter().filter(|slot| slot.phase.bytes().is_some());
        let sum = |of: &mut dyn Iterator<Item = &Slot>| {
            of.fold((0_usize, 0_u64), |(count, sum), slot| {
                (count + 1, sum.saturating_add(slot.phase.bytes().unwrap_or(0)))
            })
        };
        let fits = |(count, used): (usize, u64)| {
            count < options.models_max.max(1) && used.saturating_add(bytes) <= bytes_max
        };
        if fits(sum(&mut there())) {
            return Room::There;
        }
        let can_go = |slot: &Slot| {
            !slot.spec.pinned && matches!(&slot.phase, Phase::Ready(loaded) if loaded.engine.is_some())
        };
        let goes = |slot: &Slot| {
            matches!(slot.phase, Phase::Retiring(_) | Phase::Unloading { .. } | Phase::Loading { .. })
        };
        if fits(sum(&mut there().filter(|slot| !goes(slot)))) {
            return Room::After(None);
        }
        if !fits(sum(&mut there().filter(|slot| !goes(slot) && !can_go(slot)))) {
            let stay: Vec<&str> =
                there().filter(|slot| !can_go(slot)).map(|slot| slot.spec.id.as_str()).collect();
            return Room::Never(format!("it needs {} beside {}, which stay", mib(bytes), stay.join(", ")));
        }
        // Idle ones first, and of these the one that was not used for longest. Who was loaded for requests that have
        // not taken it yet stays until they have.
        let is_busy = |slot: &Slot| !slot.phase.loaded().is_some_and(Loaded::is_idle);
        let candidates = there().filter(|slot| can_go(slot) && slot.waiting == 0);
        let victim = candidates.min_by_key(|slot| (is_busy(slot), slot.last_touched()));
        Room::After(victim.map(|slot| slot.spec.id.clone()))
    }

    fn retired_and_idle(&self) -> Option<String> {
        let gone = |phase: &Phase| matches!(phase, Phase::Retiring(loaded) if loaded.is_idle());
        self.slots.iter().find(|slot| gone(&slot.phase)).map(|slot| slot.spec.id.clone())
    }

    /// Lets those stay that were to make room, and says who they are.
    fn forgive(&mut self) -> Vec<String> {
        let mut busy = Vec::new();
        for slot in &mut self.slots {
            match std::mem::replace(&mut slot.phase, Phase::Unloaded) {
                Phase::Retiring(loaded) => {
                    busy.push(slot.spec.id.clone());
                    slot.phase = Phase::Ready(loaded);
                }
                other => slot.phase = other,
            }
        }
        busy
    }
}

impl Slot {
    /// Takes no new requests any more.
    fn retire(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Unloaded) {
            Phase::Ready(loaded) => self.phase = Phase::Retiring(loaded),
            other => self.phase = other,
        }
    }

    /// Notes why it could not be loaded; who waits is told.
    fn fail(&mut self, error: Error, pause: Duration) -> What {
        self.phase = Phase::Unloaded;
        self.failures += 1;
        let before = self.failure.as_ref().map_or(0, |failure| failure.in_a_row);
        let doublings = before.min(PAUSE_DOUBLINGS_MAX);
        let pause = match error {
            Error::Failed { .. } => pause.saturating_mul(1 << doublings),
            // Room comes back at any time, and looking for it costs little.
            _ => Duration::ZERO,
        };
        let why = match &error {
            Error::Failed { why, .. } => why.clone(),
            other => other.to_string(),
        };
        self.failure = Some(Failure { error, until: Instant::now() + pause, in_a_row: before + 1 });
        What::Failed(why)
    }
}

/// An error and its causes, in one line.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !words.contains(&said) {
            words = format!("{words}: {said}");
        }
        cause = error.source();
    }
    words
}
