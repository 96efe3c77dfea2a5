//! One instance of a component, alive for one request, and the only way to call it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32};
use std::time::Duration;

use minerva_engine::plugin::{Error, Fault, Identity, SessionContext};
use minerva_engine::step::Step;
use wasmtime::component::{Instance as Wasm, InstancePre, ResourceTable};
use wasmtime::{Store, UpdateDeadline};

use crate::Limits;
use crate::deadline::Deadline;
use crate::runtime::{Permit, Runtime};
use crate::state::{Phase, Quota, Rows, Speaker, State, WORK_BYTES_MAX};
use crate::ticker::Ticker;
use crate::wasi;

/// A loaded component: what every request's instance is made from.
#[derive(Clone)]
pub(crate) struct Component {
    pub(crate) runtime: Runtime,
    pub(crate) identity: Identity,
    pub(crate) limits: Arc<Limits>,
    pub(crate) store: Arc<crate::store::Store>,
    /// Instances alive.
    pub(crate) sessions: Arc<AtomicU32>,
    pub(crate) pre: InstancePre<State>,
}

/// A store, and in it an instance once the first call made it. A fault is its end: it is never called again.
pub(crate) struct Instance {
    store: Store<State>,
    pre: InstancePre<State>,
    identity: Identity,
    limits: Arc<Limits>,
    dead: Option<Fault>,
    /// After the store: a place is free when its instance is gone.
    permit: Permit,
}

impl Component {
    /// A store for one request. Nothing of the guest has run yet.
    ///
    /// # Errors
    ///
    /// When too many instances are alive.
    pub(crate) fn instance(
        &self,
        call: &'static str,
        context: Option<&SessionContext>,
        rows: Rows,
    ) -> Result<Instance, Error> {
        let permit = self
            .runtime
            .permit(&self.sessions, self.limits.sessions)
            .map_err(|fault| Error::new(&self.identity, call, fault))?;
        let limits = &self.limits;
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(limits.handles);
        let state = State {
            speaker: Arc::new(Speaker {
                plugin: self.identity.name.as_str().into(),
                version: self.identity.version.as_str().into(),
                request: context.map_or_else(|| Arc::from(""), |context| context.request.as_str().into()),
                log_bytes_left: AtomicI64::new(limits.log_bytes.try_into().unwrap_or(i64::MAX)),
            }),
            context: context.cloned(),
            quota: Quota::new(limits, self.runtime.all_memory_bytes()),
            limits: Arc::clone(&self.limits),
            store: Arc::clone(&self.store),
            resources,
            grammars: 0,
            patterns: self.runtime.patterns(),
            wasi: wasi::View::default(),
            step: Step::default(),
            phase: Phase::Outside,
            rows,
            backtrack_max: 0,
            deadline: None,
        };
        let mut store = Store::new(self.runtime.engine(), state);
        store.limiter(|state| &mut state.quota);
        store.epoch_deadline_callback(|mut store| {
            Ok(match store.data_mut().deadline.as_mut().map(Deadline::left) {
                Some(None) => UpdateDeadline::Interrupt,
                Some(Some(left)) => UpdateDeadline::Continue(Ticker::ticks(left)),
                None => UpdateDeadline::Continue(Ticker::ticks(Duration::MAX)),
            })
        });
        store.set_hostcall_fuel(limits.output_bytes);
        let (pre, identity, limits) = (self.pre.clone(), self.identity.clone(), Arc::clone(&self.limits));
        Ok(Instance { store, pre, identity, limits, dead: None, permit })
    }
}

impl Instance {
    /// Makes the instance and calls it for the first time, all within one deadline.
    pub(crate) fn start<R>(
        &mut self,
        call: &'static str,
        deadline: Duration,
        body: impl FnOnce(&mut Store<State>, &Wasm) -> wasmtime::Result<R>,
    ) -> Result<R, Error> {
        let pre = self.pre.clone();
        self.call(call, deadline, |store| {
            let instance = pre.instantiate(&mut *store)?;
            body(store, &instance)
        })
    }

    /// Calls the guest. What goes wrong is the end of the instance.
    pub(crate) fn call<R>(
        &mut self,
        call: &'static str,
        deadline: Duration,
        body: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, Error> {
        if let Some(fault) = &self.dead {
            return Err(Error::new(&self.identity, call, fault.clone()));
        }
        let state = self.store.data_mut();
        state.wasi.begin_call();
        state.quota.work_left = WORK_BYTES_MAX;
        let result = {
            let _running = self.permit.runtime().ticker().call();
            self.store.data_mut().deadline = Deadline::of(deadline);
            // The first look is early: what the thread has computed before is then known.
            self.store.set_epoch_deadline(1);
            body(&mut self.store)
        };
        result.map_err(|error| {
            let last_words = self.store.data().wasi.last_words();
            let fault = crate::fault::of(&error, deadline, &last_words, &self.limits);
            self.fail(call, fault)
        })
    }

    /// Calls the guest about a step, which it has for the time of the call.
    pub(crate) fn call_in_step<R>(
        &mut self,
        call: &'static str,
        deadline: Duration,
        phase: Phase,
        step: &mut Step,
        body: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, Error> {
        let state = self.store.data_mut();
        std::mem::swap(&mut state.step, step);
        state.phase = phase;
        let result = self.call(call, deadline, body);
        let state = self.store.data_mut();
        state.phase = Phase::Outside;
        std::mem::swap(&mut state.step, step);
        result
    }

    /// Ends the instance with a fault that the host found.
    pub(crate) fn fail(&mut self, call: &'static str, fault: Fault) -> Error {
        self.dead = Some(fault.clone());
        Error::new(&self.identity, call, fault)
    }

    /// Lets the guest take back so many tokens at a time.
    pub(crate) fn allow_backtracking(&mut self, tokens_max: u32) {
        self.store.data_mut().backtrack_max = tokens_max;
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn state(&self) -> &State {
        self.store.data()
    }
}
