//! The registry on models that take no time and no memory.

mod loading;
mod room;
mod swapping;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures::StreamExt;
use minerva_engine::event::Event;
use minerva_engine::fake::ScriptedModel;
use minerva_engine::request::{GenerateRequest, Input};
use minerva_engine::{Engine, Generation, Options as EngineOptions};
use minerva_models::registry::{
    Condition, Error, Options, Progress, Registry, Served, Source, SourceError, Spec,
};

/// How long anything here may take before the test fails: generous, for machines that are busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A source whose loads a test watches and holds up.
#[derive(Clone)]
struct Fake {
    bytes: u64,
    delay: Duration,
    watched: Arc<Watched>,
}

#[derive(Default)]
struct Watched {
    /// Loads that have begun.
    begun: AtomicUsize,
    /// Loads that go on at a time, and the most that ever did: shared with other sources, as a test wants it.
    side_by_side: Arc<Mutex<(usize, usize)>>,
    /// Loads that are to fail, one after the other.
    failing: Mutex<Vec<&'static str>>,
    gate: Gate,
}

/// Closed, loads wait in front of it.
#[derive(Default)]
struct Gate {
    is_closed: Mutex<bool>,
    moved: Condvar,
}

impl Gate {
    fn close(&self) {
        *self.is_closed.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.is_closed.lock().unwrap() = false;
        self.moved.notify_all();
    }

    /// Waits until it is open, or who waits is told to stop.
    fn pass(&self, mut goes_on: impl FnMut() -> bool) -> bool {
        let mut is_closed = self.is_closed.lock().unwrap();
        while *is_closed {
            if !goes_on() {
                return false;
            }
            is_closed = self.moved.wait_timeout(is_closed, Duration::from_millis(5)).unwrap().0;
        }
        true
    }
}

impl Fake {
    fn of(bytes: u64) -> Self {
        Self { bytes, delay: Duration::ZERO, watched: Arc::default() }
    }

    fn begun(&self) -> usize {
        self.watched.begun.load(Ordering::SeqCst)
    }
}

impl Source for Fake {
    fn bytes(&self) -> Result<u64, SourceError> {
        Ok(self.bytes)
    }

    fn load(&self, progress: &mut Progress<'_>) -> Result<Engine, SourceError> {
        let watched = &self.watched;
        watched.begun.fetch_add(1, Ordering::SeqCst);
        {
            let mut side_by_side = watched.side_by_side.lock().unwrap();
            side_by_side.0 += 1;
            side_by_side.1 = side_by_side.1.max(side_by_side.0);
        }
        let passed = watched.gate.pass(|| progress(0.5));
        watched.side_by_side.lock().unwrap().0 -= 1;
        if !passed {
            return Err("it was told to stop".into());
        }
        let failing = { watched.failing.lock().unwrap().pop() };
        match failing {
            Some("panic") => panic!("a source that panics"),
            Some(why) => Err(why.into()),
            None => {
                let model = ScriptedModel::new(
                    4,
                    &[("hello", " there"), ("long", " and on and on and on and on and on")],
                );
                let model = model.with_delay(self.delay);
                Ok(Engine::start(Box::new(model), EngineOptions::default())?)
            }
        }
    }
}

/// A registry of models, each known by its id.
fn registry(options: Options, models: &[(&str, &Fake)]) -> Registry {
    let registry = Registry::new(options);
    for (id, source) in models {
        registry.add(Spec::new(*id, (*source).clone())).unwrap();
    }
    registry
}

fn greedy(prompt: &str) -> GenerateRequest {
    let mut request = GenerateRequest::new("test", Input::Text(prompt.into()));
    request.params.temperature = 0.0;
    request
}

async fn ask(served: Arc<Served>, prompt: &str) -> Generation {
    served.handle.generate(greedy(prompt)).await.unwrap()
}

/// The whole text of an answer.
async fn text(mut generation: Generation) -> String {
    let mut text = String::new();
    while let Some(event) = generation.next().await {
        match event.unwrap() {
            Event::Text(piece) => text.push_str(&piece.text),
            Event::Finished(_) => return text,
            _ => {}
        }
    }
    panic!("an answer without an end: {text}");
}

fn condition(registry: &Registry, id: &str) -> Condition {
    registry.entry(id).unwrap().condition
}

/// Waits for something to become so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} never came"));
}

/// What a load fails with.
fn why(error: &Error) -> &str {
    match error {
        Error::Failed { why, .. } | Error::NoRoom { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

/// What is waited for, within patience.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes for ever")
}
