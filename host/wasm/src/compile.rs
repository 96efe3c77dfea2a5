//! From the bytes of a component to machine code: out of the cache, or by Cranelift on threads that give way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::Cache;

/// The most components that are compiled at a time. One that takes for ever holds one of these places.
const JOBS_MAX: u32 = 4;

/// Compiles components.
pub(crate) struct Compiler {
    cache: Option<Cache>,
    jobs: Arc<AtomicU32>,
}

impl Compiler {
    pub(crate) fn new(cache: Option<Cache>) -> Self {
        Self { cache, jobs: Arc::default() }
    }

    /// The component of these bytes, whose SHA-256 is `digest`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as text: it is not valid, it takes too long, or too many are being compiled.
    pub(crate) fn component(
        &self,
        engine: &Engine,
        bytes: &Arc<[u8]>,
        digest: &[u8],
        deadline: Duration,
    ) -> Result<Component, String> {
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.load(engine, digest)) {
            return Ok(component);
        }
        let component = self.compile(engine, bytes, deadline)?;
        if let Some(cache) = &self.cache {
            cache.store(engine, digest, &component);
        }
        Ok(component)
    }

    fn compile(&self, engine: &Engine, bytes: &Arc<[u8]>, deadline: Duration) -> Result<Component, String> {
        let job = Job::begin(&self.jobs)?;
        // Threads of this job's own: nobody queues behind one that never ends. Half of the cores stay free of it.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads((cores / 2).max(1))
            .thread_name(|index| format!("plugin-compile-{index}"))
            .start_handler(|_| give_way())
            .build()
            .map_err(|error| error.to_string())?;
        let (done, compiled) = mpsc::channel();
        let (engine, bytes) = (engine.clone(), Arc::clone(bytes));
        pool.spawn(move || {
            let component = Component::from_binary(&engine, &bytes);
            drop(job);
            // Nobody waits for what comes too late.
            let _ = done.send(component);
        });
        match compiled.recv_timeout(deadline) {
            Ok(component) => component.map_err(|error| reason(&error)),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(format!(
                "compiling it takes longer than {} s; a larger limit is --plugin-limit compile=…",
                deadline.as_secs_f64()
            )),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err("the compiler panicked".to_owned()),
        }
    }
}

/// A place among those who compile.
struct Job(Arc<AtomicU32>);

impl Job {
    fn begin(jobs: &Arc<AtomicU32>) -> Result<Self, String> {
        let more = |jobs: u32| (jobs < JOBS_MAX).then_some(jobs + 1);
        match jobs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Self(Arc::clone(jobs))),
            Err(_) => Err(format!("{JOBS_MAX} others are being compiled; try again later")),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets every other thread go first. On Linux niceness is a thread's own; elsewhere it is the whole process's, and is
/// left alone.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(19) {
        tracing::debug!(%error, "a compiling thread keeps its priority");
    }
}

/// wasmtime's error and its causes in one line.
pub(crate) fn reason(error: &wasmtime::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}
