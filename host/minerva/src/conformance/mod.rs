//! The laws of plugins, as checks that run on the real host: what `minerva plugin test` prints.
//!
//! ```no_run
//! # fn example() -> Result<(), minerva::wasm::Error> {
//! use minerva::conformance::{self, Outcome};
//!
//! let runtime = minerva::wasm::Runtime::new(conformance::patient())?;
//! let plugin = runtime.load("mine", std::path::Path::new("mine.wasm"))?;
//! for check in conformance::check(&runtime, &plugin, &conformance::Options::default()) {
//!     assert!(!matches!(check.outcome, Outcome::Failed(_)), "{}: {:?}", check.law, check.outcome);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The plugin meets a vocabulary of some hundred tokens and rows of logits out of a seed; no model is needed. The
//! arguments it is opened with come out of its own schema: the defaults, and the `examples` of each property.

mod sampler;
mod template;
mod stream;

mod arguments;
mod texts;
mod vocabulary;

use std::sync::Arc;
use std::time::Duration;

use minerva_engine::plugin::{Error, Fault, Kind, Plugin, SessionContext};
use minerva_wasm::Runtime;
use serde_json::Value;

pub use vocabulary::SmallVocabulary;

/// How thoroughly to check.
#[derive(Clone, Debug)]
pub struct Options {
    /// Calls of the check of memory. Default 2,000; thorough is 50,000.
    pub calls: u32,
    /// Seeds that each of the other checks is run with. Default 12.
    pub rounds: u32,
    /// These arguments, instead of those that the schema suggests.
    pub args: Option<Value>,
}

impl Default for Options {
    fn default() -> Self {
        Self { calls: 2_000, rounds: 12, args: None }
    }
}

/// What came of checking one law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What the plugin was used as.
    pub kind: Kind,
    /// Which law, in a word or two.
    pub law: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of checking one law. The text says what was done, why nothing was, or how the law was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed(String),
    /// It does not apply.
    Skipped(String),
    /// It is broken.
    Failed(String),
}

/// Limits for checking: as in service, but for deadlines, so that a machine that is busy fails nobody.
#[must_use]
pub fn patient() -> minerva_wasm::Options {
    let mut options = minerva_wasm::Options { full_row: true, ..minerva_wasm::Options::default() };
    let limits = &mut options.limits;
    for deadline in [
        &mut limits.describe,
        &mut limits.open,
        &mut limits.advance,
        &mut limits.pick,
        &mut limits.fork,
        &mut limits.rollback,
        &mut limits.render,
        &mut limits.push,
        &mut limits.close,
    ] {
        *deadline = Duration::from_secs(30);
    }
    limits.compile = Duration::from_mins(20);
    options
}

/// Checks a plugin, as each kind that it is. `runtime` is the one that it was loaded by, and runs nothing else
/// meanwhile: the check of memory looks at all of it.
#[must_use]
pub fn check(runtime: &Runtime, plugin: &Plugin, options: &Options) -> Vec<Check> {
    let mut checks = Vec::new();
    let subject = Subject { runtime, options };
    if let Some(sampler) = &plugin.sampler {
        sampler::check(&subject, sampler.as_ref(), &mut checks);
    }
    if let Some(template) = &plugin.template {
        template::check(&subject, template.as_ref(), &mut checks);
    }
    if let Some(stream) = &plugin.stream {
        stream::check(&subject, stream.as_ref(), &mut checks);
    }
    checks
}

/// Arguments that a plugin should take, out of its schema: what is required, by the first of its examples.
///
/// # Errors
///
/// When something is required of which the schema gives no example.
pub fn example_args(schema: &str) -> Result<Value, String> {
    arguments::good(schema, &Options::default()).map(|mut sets| sets.swap_remove(0))
}

/// What a check works with.
struct Subject<'a> {
    runtime: &'a Runtime,
    options: &'a Options,
}

/// What a law came to: what was done, or how it was broken.
type Law = Result<Outcome, String>;

impl Check {
    fn new(kind: Kind, law: &'static str, outcome: Law) -> Self {
        Self { kind, law, outcome: outcome.unwrap_or_else(Outcome::Failed) }
    }
}

fn passed(what: impl Into<String>) -> Law {
    Ok(Outcome::Passed(what.into()))
}

fn skipped(why: impl Into<String>) -> Law {
    Ok(Outcome::Skipped(why.into()))
}

/// What a plugin is told of a request.
fn context(vocabulary: SmallVocabulary) -> SessionContext {
    SessionContext::new("conformance", Arc::new(vocabulary))
}

/// A refusal in words is good manners; anything else is a fault.
fn unless_refused(error: &Error) -> Result<(), String> {
    if matches!(error.fault, Fault::Refused(_)) { Ok(()) } else { Err(error.to_string()) }
}

/// How much memory may grow in a session: an allocator's slack, and what is remembered of an answer.
fn growth_allowed(calls: u32) -> usize {
    (128 << 10) + 64 * calls as usize
}

/// Judges the growth of a session's memory.
fn steady(calls: u32, before: usize, after: usize) -> Law {
    let (grown, allowed) = (after.saturating_sub(before), growth_allowed(calls));
    if grown > allowed {
        return Err(format!(
            "memory grew by {} KiB in {calls} calls, from {} KiB; {} KiB are allowed",
            grown >> 10,
            before >> 10,
            allowed >> 10
        ));
    }
    passed(format!(
        "{calls} calls, {} KiB of memory, {} KiB more than after the first",
        after >> 10,
        grown >> 10
    ))
}
