//! What wasmtime's errors mean in the engine's words.

use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use minerva_engine::plugin::Fault;
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::Limits;

/// A fault that the host itself found while it worked for a guest. Travels through the guest's frames as the
/// cause of the trap.
#[derive(Debug)]
pub(crate) struct Denied(Fault);

impl Denied {
    #[expect(clippy::new_ret_no_self, reason = "only ever used as an error")]
    pub(crate) fn new(fault: Fault) -> wasmtime::Error {
        wasmtime::Error::new(Self(fault))
    }

    pub(crate) fn invalid(what: impl Into<String>) -> wasmtime::Error {
        Self::new(Fault::Invalid(what.into()))
    }

    pub(crate) fn limit(what: &'static str, limit: usize, unit: &'static str) -> wasmtime::Error {
        Self::new(Fault::Limit { what, limit: limit as u64, unit })
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Denied {}

/// What an error of a call means. `last_words` is what the guest printed as an error in the same call: for a
/// panic, the reason.
pub(crate) fn of(error: &wasmtime::Error, deadline: Duration, last_words: &str, limits: &Limits) -> Fault {
    if let Some(Denied(fault)) = error.downcast_ref() {
        return fault.clone();
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Fault::Host("the memory set aside for plugin instances is used up".to_owned());
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Fault::Limit { what: "resources", limit: limits.handles as u64, unit: "handles" };
    }
    if error.is::<I32Exit>() {
        return Fault::Trap("called exit".to_owned());
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            Fault::Deadline { limit_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX) }
        }
        Some(Trap::UnreachableCodeReached) if !last_words.is_empty() => Fault::Trap(last_words.to_owned()),
        Some(trap) => {
            let reason = trap.to_string();
            Fault::Trap(format!("{}{}", reason.trim_start_matches("wasm trap: "), functions(error)))
        }
        // wasmtime has no type for this one.
        None if format!("{error:#}").contains("fuel allocated for hostcalls has been exhausted") => {
            Fault::Limit { what: "output of one call", limit: limits.output_bytes as u64, unit: "bytes" }
        }
        None => Fault::Trap(error.root_cause().to_string()),
    }
}

/// A refusal in the plugin's own words, as many of them as a client wants to read.
pub(crate) fn refused(words: &str) -> Fault {
    const CHARS_MAX: usize = 2_000;
    let mut short: String = words.chars().take(CHARS_MAX).collect();
    if short.len() < words.len() {
        short.push('…');
    }
    Fault::Refused(short)
}

/// The innermost functions, where the component has names.
fn functions(error: &wasmtime::Error) -> String {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    let names = frames.iter().filter_map(|frame| frame.func_name()).take(4);
    let mut text = String::new();
    for (index, name) in names.enumerate() {
        let word = if index == 0 { " in" } else { ", called by" };
        // Writing to a string cannot fail.
        let _ = write!(text, "{word} {name}");
    }
    text
}
