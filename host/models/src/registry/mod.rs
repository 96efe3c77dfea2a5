//! Several models in one process: loaded when they are asked for, unloaded when the room is needed.
//!
//! ```
//! use minerva_engine::{Engine, Options as EngineOptions};
//! use minerva_models::registry::{Options, Registry, Source, SourceError, Spec};
//!
//! struct OnDisk; // knows a file, and how to make an engine of it
//! # use minerva_models::registry::Progress;
//! impl Source for OnDisk {
//!     fn bytes(&self) -> Result<u64, SourceError> { Ok(1 << 30) }
//!     fn load(&self, progress: &mut Progress<'_>) -> Result<Engine, SourceError> {
//!         progress(0.5);
//!         Err("there is no such file".into())
//!     }
//! }
//!
//! let registry = Registry::new(Options::default());
//! registry.add(Spec::new("small", OnDisk))?;
//! // `registry.get(Some("small")).await` loads it, once for all who ask meanwhile.
//! assert_eq!(registry.entries()[0].id, "small");
//! # Ok::<(), minerva_models::registry::Error>(())
//! ```
//!
//! One thread, the keeper, loads one model at a time: two loads at once would fight for the disk, and neither would
//! know what room the other needs. Who asks for a model that is not there waits for it, and all who wait share one
//! load. A model that has to make room takes no new requests, ends what it has begun, and is unloaded then; those who
//! ask for it meanwhile wait for its next load. Nothing here is global: two registries know nothing of each other.

mod error;
mod event;
mod keeper;
mod spec;
mod state;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{broadcast, watch};

pub use error::Error;
pub use event::{Event, What};
pub use spec::{Defaults, PluginChoice, PluginChoices, Progress, Served, Source, SourceError, Spec};
pub use state::{Condition, Entry, Health};
use state::{Loaded, Phase, Slot, State};

/// The most events that wait for a slow listener, who then misses the oldest.
const EVENTS_MAX: usize = 256;

/// How a registry keeps models. Every limit that it has is here.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most models that are loaded at a time. Default 4.
    pub models_max: usize,
    /// Most bytes that they take together, as their sources estimate it; `None` is no limit. Default none.
    pub bytes_max: Option<u64>,
    /// Most requests that wait for one model to be loaded. Default 256.
    pub waiting_max: usize,
    /// How long a load waits for busy models to make room. Default ten minutes.
    pub room_patience: Duration,
    /// How long requests for a model that could not be loaded are refused, before the next one tries again. Doubles
    /// with every failure, up to 64 times as long. Default 1 s.
    pub retry_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            models_max: 4,
            bytes_max: None,
            waiting_max: 256,
            room_patience: Duration::from_secs(600),
            retry_pause: Duration::from_secs(1),
        }
    }
}

/// The models of a process, or of a part of it. Clones share them; when the last one is gone, what is loaded ends its
/// requests and is freed, on the thread that drops it.
#[derive(Clone)]
pub struct Registry {
    owner: Arc<Owner>,
}

/// Ends the keeper and frees the models.
struct Owner {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// What the registry's handles and its keeper share.
struct Shared {
    options: Options,
    state: Mutex<State>,
    /// Wakes the keeper.
    work: Condvar,
    /// Wakes those who wait for a model.
    changed: watch::Sender<()>,
    events: broadcast::Sender<Event>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let shared = Shared {
            options,
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            changed: watch::Sender::new(()),
            events: broadcast::Sender::new(EVENTS_MAX),
        };
        Self { owner: Arc::new(Owner { shared: Arc::new(shared), keeper: Mutex::new(None) }) }
    }

    /// Makes a model known. It is loaded when it is first asked for.
    ///
    /// # Errors
    ///
    /// When one of its names is taken.
    pub fn add(&self, spec: Spec) -> Result<(), Error> {
        let mut state = self.shared().lock();
        let names = || std::iter::once(&spec.id).chain(&spec.aliases);
        if let Some(name) = names().find(|name| state.slots.iter().any(|slot| slot.spec.is_called(name))) {
            return Err(Error::Taken { name: name.clone() });
        }
        state.slots.push(Slot::new(spec));
        Ok(())
    }

    /// Changes what is known of a model that is not loaded and that nobody waits for. False: it is, or somebody does,
    /// and nothing was changed.
    ///
    /// # Errors
    ///
    /// When there is no such model, or one of the new names is another's.
    pub fn replace(&self, spec: Spec) -> Result<bool, Error> {
        let mut state = self.shared().lock();
        let names = || std::iter::once(&spec.id).chain(&spec.aliases);
        let others = || state.slots.iter().filter(|slot| slot.spec.id != spec.id);
        if let Some(name) = names().find(|name| others().any(|slot| slot.spec.is_called(name))) {
            return Err(Error::Taken { name: name.clone() });
        }
        let slot = state.slot_mut(&spec.id).ok_or_else(|| Error::unknown(&spec.id))?;
        if !slot.is_at_rest() {
            return Ok(false);
        }
        *slot = Slot::new(spec);
        Ok(true)
    }

    /// Forgets a model that is not loaded and that nobody waits for. False: it is, or somebody does, or it is not known.
    pub fn forget(&self, name: &str) -> bool {
        let mut state = self.shared().lock();
        let found = |slot: &Slot| slot.spec.is_called(name) && slot.is_at_rest();
        let place = state.slots.iter().position(found);
        place.map(|place| state.slots.remove(place)).is_some()
    }

    /// Makes a model known that is running already, in place of the one with its id, which is returned if it was
    /// running. It is never unloaded: its engine is somebody else's.
    pub fn insert(&self, served: Served) -> Option<Arc<Served>> {
        let shared = self.shared();
        let mut state = shared.lock();
        let place = state.slots.iter().position(|slot| slot.spec.id == served.id);
        let spec = Spec { aliases: served.aliases.clone(), pinned: true, ..Spec::of_running(&served.id) };
        let mut slot = Slot::new(spec);
        slot.loads = 1;
        slot.phase =
            Phase::Ready(Loaded { served: Arc::new(served), engine: None, bytes: 0, began: Instant::now() });
        let before = match place {
            Some(place) => std::mem::replace(&mut state.slots[place], slot).phase.into_loaded(),
            None => {
                state.slots.push(slot);
                None
            }
        };
        drop(state);
        shared.bump();
        before.map(let_go)
    }

    /// Forgets a model. Requests in flight finish on it first, in the background; those who wait for it are told that
    /// it is not known. Returns it if it was running.
    pub fn remove(&self, name: &str) -> Option<Arc<Served>> {
        let shared = self.shared();
        let mut state = shared.lock();
        let place = state.slots.iter().position(|slot| slot.spec.is_called(name))?;
        let slot = state.slots.remove(place);
        state.line.retain(|id| *id != slot.spec.id);
        drop(state);
        shared.bump();
        slot.phase.into_loaded().map(let_go)
    }

    /// The model that a request wants, loaded if it is not. Where one is known, that is it, whatever the request calls
    /// it: clients written for another server have that server's names built in.
    ///
    /// Holding what is returned keeps the model from being unloaded. Dropping the future while it waits takes no load
    /// back: the next one may want it.
    ///
    /// # Errors
    ///
    /// Every kind of [`Error`], bar [`Error::Taken`].
    pub async fn get(&self, name: Option<&str>) -> Result<Arc<Served>, Error> {
        self.wait_for(name, true).await
    }

    /// Loads a model, and returns when that is done. It does not count as a use.
    ///
    /// # Errors
    ///
    /// As [`Registry::get`].
    pub async fn load(&self, name: &str) -> Result<Arc<Served>, Error> {
        self.wait_for(Some(name), false).await
    }

    /// Begins to load a model, and returns at once. Until it is loaded, or cannot be, [`Registry::health`] says so.
    ///
    /// # Errors
    ///
    /// When there is no such model.
    pub fn preload(&self, name: &str) -> Result<(), Error> {
        let mut state = self.shared().lock();
        let id = state.id_of(Some(name))?;
        let slot = state.slot_mut(&id).ok_or_else(|| Error::unknown(name))?;
        slot.preloading = slot.phase.loaded().is_none();
        self.enqueue(&mut state, &id);
        Ok(())
    }

    /// Unloads a model when what it has begun has ended, and returns then. A load under way is cancelled, and fails.
    /// The model stays known: the next request for it loads it again.
    ///
    /// # Errors
    ///
    /// When there is no such model, it runs elsewhere, or the registry closes.
    pub async fn unload(&self, name: &str) -> Result<(), Error> {
        let shared = self.shared();
        let mut changed = shared.changed.subscribe();
        let id = shared.lock().id_of(Some(name))?;
        if shared.begin_unloading(&id)? {
            let (shared, id) = (Arc::clone(shared), id.clone());
            let thread = std::thread::Builder::new().name("minerva-unload".into());
            let retired = thread.spawn(move || shared.retire(&id));
            retired.map_err(|error| Error::Broken { what: format!("no thread to unload on: {error}") })?;
        }
        loop {
            changed.borrow_and_update();
            match shared.lock().slot(&id).map(|slot| &slot.phase) {
                None | Some(Phase::Unloaded | Phase::Queued | Phase::Ready(_)) => return Ok(()),
                Some(Phase::Loading { .. } | Phase::Retiring(_) | Phase::Unloading { .. }) => {}
            }
            changed.changed().await.map_err(|_| Error::Closing)?;
        }
    }

    /// Everything that is known, in the order in which it was made known.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.shared().lock().slots.iter().map(Slot::entry).collect()
    }

    /// What is known of one model.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<Entry> {
        self.shared().lock().slots.iter().find(|slot| slot.spec.is_called(name)).map(Slot::entry)
    }

    /// The models that are loaded. Holding them keeps them from being unloaded.
    #[must_use]
    pub fn loaded(&self) -> Vec<Arc<Served>> {
        let state = self.shared().lock();
        state.slots.iter().filter_map(|slot| Some(Arc::clone(&slot.phase.loaded()?.served))).collect()
    }

    /// Whether requests can be answered.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared().lock().health()
    }

    /// What happens to the models from now on. Who listens too slowly misses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared().events.subscribe()
    }

    /// Loads no more: a load under way is cancelled, and who waits for one is refused. What is loaded stays.
    pub fn close(&self) {
        self.shared().close();
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    async fn wait_for(&self, name: Option<&str>, is_use: bool) -> Result<Arc<Served>, Error> {
        let shared = self.shared();
        let mut changed = shared.changed.subscribe();
        let id = shared.lock().id_of(name)?;
        let mut waiter = None;
        loop {
            // Marked as seen before looking: what changes behind the look is seen by the next one.
            changed.borrow_and_update();
            if let Some(served) = self.look(&id, is_use, &mut waiter)? {
                return Ok(served);
            }
            changed.changed().await.map_err(|_| Error::Closing)?;
        }
    }

    /// The model if it is loaded. If not, makes sure that somebody loads it.
    fn look(
        &self,
        id: &str,
        is_use: bool,
        waiter: &mut Option<Waiter>,
    ) -> Result<Option<Arc<Served>>, Error> {
        let shared = self.shared();
        let mut state = shared.lock();
        let is_closing = state.is_closing;
        let slot = state.slot_mut(id).ok_or_else(|| Error::unknown(id))?;
        if let Phase::Ready(loaded) = &slot.phase {
            let served = Arc::clone(&loaded.served);
            if is_use {
                slot.hits += u64::from(waiter.is_none());
                slot.last_used = Some((Instant::now(), SystemTime::now()));
            }
            return Ok(Some(served));
        }
        if is_closing {
            return Err(Error::Closing);
        }
        match (&waiter, &slot.failure) {
            (Some(waiter), Some(failure)) if waiter.failures != slot.failures => return Err(failure.error()),
            (None, Some(failure)) if failure.is_fresh() && matches!(slot.phase, Phase::Unloaded) => {
                return Err(failure.error());
            }
            (None, _) => {
                let (waiting, limit) = (slot.waiting, shared.options.waiting_max);
                if waiting >= limit {
                    return Err(Error::Overloaded { model: id.to_owned(), waiting, limit });
                }
                slot.waiting += 1;
                slot.misses += u64::from(is_use);
                let (shared, id) = (Arc::clone(shared), id.to_owned());
                *waiter = Some(Waiter { shared, id, failures: slot.failures });
            }
            (Some(_), _) => {}
        }
        self.enqueue(&mut state, id);
        Ok(None)
    }

    /// Puts a model that is not loaded into the line, once.
    fn enqueue(&self, state: &mut MutexGuard<'_, State>, id: &str) {
        let Some(slot) = state.slot_mut(id).filter(|slot| matches!(slot.phase, Phase::Unloaded)) else {
            return;
        };
        slot.phase = Phase::Queued;
        state.line.push_back(id.to_owned());
        self.shared().tell(id, What::Queued);
        self.start_keeper();
        self.shared().work.notify_all();
    }

    /// The keeper is there from the first load on.
    fn start_keeper(&self) {
        let mut keeper = self.owner.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if keeper.is_none() {
            let shared = Arc::clone(self.shared());
            let thread = std::thread::Builder::new().name("minerva-models".into());
            match thread.spawn(move || shared.keep()) {
                Ok(thread) => *keeper = Some(thread),
                Err(error) => tracing::error!("no model can be loaded: no thread to load on: {error}"),
            }
        }
    }
}

/// Frees a model that nobody can name any more, when its requests have ended: not on the caller's thread, which may be
/// one of them.
fn let_go(loaded: Loaded) -> Arc<Served> {
    let served = Arc::clone(&loaded.served);
    if loaded.engine.is_some() {
        let free = std::thread::Builder::new().name("minerva-unload".into());
        let _ = free.spawn(move || drop(loaded));
    }
    served
}

/// One who waits for a load.
struct Waiter {
    shared: Arc<Shared>,
    id: String,
    /// How often the load had failed before.
    failures: u64,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(slot) = state.slot_mut(&self.id) {
            slot.waiting = slot.waiting.saturating_sub(1);
        }
        // A model that somebody waited for can go now.
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bump(&self) {
        self.changed.send_replace(());
        self.work.notify_all();
    }

    fn tell(&self, id: &str, what: What) {
        let event = Event { model: id.to_owned(), at: SystemTime::now(), what };
        event.log();
        // Nobody has to listen.
        let _ = self.events.send(event);
    }

    fn close(&self) {
        self.lock().is_closing = true;
        self.bump();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.close();
        let keeper = self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            let _ = keeper.join();
        }
        // Outside the lock: an engine ends its requests before it goes.
        let slots = std::mem::take(&mut self.shared.lock().slots);
        drop(slots);
    }
}
