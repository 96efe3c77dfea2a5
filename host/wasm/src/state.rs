//! What a store holds beside the instance: who is running, for whom, within which limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use minerva_engine::plugin::{Fault, SessionContext};
use minerva_engine::step::Step;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;

use crate::Limits;
use crate::deadline::Deadline;
use crate::fault::Denied;
use crate::imports::constraints::Patterns;
use crate::store::Store;
use crate::wasi;

/// A store's data.
pub(crate) struct State {
    pub(crate) speaker: Arc<Speaker>,
    /// `None` while the plugin describes itself: there is no model yet.
    pub(crate) context: Option<SessionContext>,
    pub(crate) quota: Quota,
    pub(crate) limits: Arc<Limits>,
    pub(crate) store: Arc<Store>,
    pub(crate) resources: ResourceTable,
    /// How many grammars are among them.
    pub(crate) grammars: usize,
    pub(crate) patterns: Arc<Patterns>,
    pub(crate) wasi: wasi::View,
    /// The step being decided: the caller's, swapped in for the time of a call.
    pub(crate) step: Step,
    pub(crate) phase: Phase,
    pub(crate) rows: Rows,
    /// How many tokens its descriptor says that it may hold and take back at a time.
    pub(crate) backtrack_max: u32,
    /// When the call under way has to be over.
    pub(crate) deadline: Option<Deadline>,
}

/// Who a log line is from.
pub(crate) struct Speaker {
    pub(crate) plugin: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) request: Arc<str>,
    /// What the session may still write to the log; less than nothing when it was told that it may no more.
    pub(crate) log_bytes_left: AtomicI64,
}

/// Which call of a sampler is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// None: there is no step.
    #[default]
    Outside,
    /// The step's row is not there yet.
    Advance,
    /// The row may be read.
    Pick,
}

/// How much of a row the plugin declared that it reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rows {
    #[default]
    Nothing,
    Functions,
    Everything,
}

/// The limits of an instance's size. wasmtime asks it before anything grows.
#[derive(Debug)]
pub(crate) struct Quota {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements: usize,
    table_elements_max: usize,
    core_instances_max: usize,
    /// Bytes of regular expressions, sets and text that host calls may still work through in this guest call.
    pub(crate) work_left: usize,
    /// The memory of all instances of the runtime.
    all_memory_bytes: Arc<AtomicUsize>,
}

/// What the host calls of one guest call may work through, in bytes. The host checks no deadline while it works
/// for a guest; this keeps the sum of it in the tens of milliseconds.
pub(crate) const WORK_BYTES_MAX: usize = 64 << 20;

impl Quota {
    pub(crate) fn new(limits: &Limits, all_memory_bytes: Arc<AtomicUsize>) -> Self {
        Self {
            memory_bytes: 0,
            memory_bytes_max: limits.memory_bytes,
            table_elements: 0,
            table_elements_max: limits.table_elements,
            core_instances_max: limits.core_instances as usize,
            work_left: WORK_BYTES_MAX,
            all_memory_bytes,
        }
    }

    /// Takes from what the host still does for the guest in this call.
    pub(crate) fn work(&mut self, bytes: usize) -> wasmtime::Result<()> {
        match self.work_left.checked_sub(bytes) {
            Some(left) => {
                self.work_left = left;
                Ok(())
            }
            None => Err(Denied::limit("work done by host calls", WORK_BYTES_MAX, "bytes")),
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.all_memory_bytes.fetch_sub(self.memory_bytes, Ordering::Relaxed);
    }
}

impl ResourceLimiter for Quota {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            // An error rather than a refusal: hardly a guest survives a refusal, and its trap would hide why.
            return Err(Denied::limit("memory", self.memory_bytes_max, "bytes"));
        }
        self.all_memory_bytes.fetch_add(total - self.memory_bytes, Ordering::Relaxed);
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > self.table_elements_max {
            return Err(Denied::limit("tables", self.table_elements_max, "elements"));
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.core_instances_max
    }
}

impl State {
    /// The request's model. Traps in `describe`.
    pub(crate) fn context(&self) -> wasmtime::Result<&SessionContext> {
        self.context.as_ref().ok_or_else(|| {
            let why =
                "called a function of `model` or `constraints` in `describe`, where there is no model yet";
            Denied::new(Fault::Invalid(why.to_owned()))
        })
    }
}
