//! The clock of deadlines: a thread that moves the engine's epoch on while guests run, and sleeps while none do.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an epoch is.
const TICK: Duration = Duration::from_millis(1);

/// How many ticks without a call it takes before the thread sleeps. Waking it costs some microseconds, so it
/// stays awake from one token to the next.
const IDLE_TICKS_MAX: u32 = 500;

/// Owns the thread. Dropping it ends the thread.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Calls under way.
    calls: AtomicUsize,
    /// The thread waits to be woken. Written under the lock.
    asleep: AtomicBool,
    stopped: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Ticker {
    pub(crate) fn start(engine: &wasmtime::Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (engine, at_thread) = (engine.weak(), Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("plugin-deadlines".to_owned()).spawn(move || {
            at_thread.run(|| engine.upgrade().map(|engine| engine.increment_epoch()).is_some());
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Keeps the epoch moving until the guard is dropped.
    pub(crate) fn call(&self) -> Running<'_> {
        // Either this sees the thread asleep and wakes it, or the thread sees the call and stays awake: both
        // write before they read, in one order that all see.
        self.shared.calls.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.shared.rouse();
        }
        Running(&self.shared)
    }

    /// How many epochs a deadline is. They may pass early, where the thread had to catch up: whoever is told that
    /// they have passed looks at the clock.
    pub(crate) fn ticks(limit: Duration) -> u64 {
        let ticks = limit.as_micros().div_ceil(TICK.as_micros());
        // Half the range, because wasmtime adds it to the epoch that it is.
        u64::try_from(ticks).unwrap_or(u64::MAX).min(u64::MAX / 2)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.rouse();
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked in a way that matters here.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, tick: impl Fn() -> bool) {
        let (mut idle_ticks, mut ticked) = (0, Instant::now());
        while !self.stopped.load(Ordering::SeqCst) {
            std::thread::sleep(TICK);
            // On a busy machine a millisecond's sleep takes several: all that are over count.
            while ticked.elapsed() >= TICK {
                ticked += TICK;
                if !tick() {
                    return;
                }
            }
            idle_ticks = if self.calls.load(Ordering::SeqCst) == 0 { idle_ticks + 1 } else { 0 };
            if idle_ticks > IDLE_TICKS_MAX {
                self.sleep();
                (idle_ticks, ticked) = (0, Instant::now());
            }
        }
    }

    fn sleep(&self) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.asleep.store(true, Ordering::SeqCst);
        while self.asleep.load(Ordering::SeqCst)
            && self.calls.load(Ordering::SeqCst) == 0
            && !self.stopped.load(Ordering::SeqCst)
        {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn rouse(&self) {
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.asleep.store(false, Ordering::SeqCst);
        self.wake.notify_all();
    }
}

/// A call is under way.
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}
