//! `minerva:plugin/sampler` as the engine's [`SamplerPlugin`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minerva_engine::model::Token;
use minerva_engine::plugin::{
    Choice, Error, Fault, Identity, Sampler, SamplerDescriptor, SamplerPlugin, SessionContext, Tier,
};
use minerva_engine::step::{Candidates, Step};
use serde_json::Value;
use wasmtime::component::ResourceAny;

use crate::args::Schema;
use crate::bindings::exports::minerva::plugin::sampler::{self as wit, Guest, GuestIndices};
use crate::bindings::minerva::plugin::types;
use crate::fault::refused;
use crate::instance::{Component, Instance};
use crate::state::{Phase, Rows};

/// The most candidates that `pick` can ask for.
pub(crate) const CUT_MAX: u32 = 4_096;

/// A component as a sampler.
pub(crate) struct WasmSampler {
    pub(crate) component: Component,
    pub(crate) indices: GuestIndices,
    pub(crate) descriptor: SamplerDescriptor,
    pub(crate) schema: Schema,
    /// It can compile grammars.
    pub(crate) compiles: bool,
}

impl WasmSampler {
    fn rows(&self) -> Rows {
        match self.descriptor {
            SamplerDescriptor { tier: Tier::FullRow, .. } => Rows::Everything,
            SamplerDescriptor { reads_row: true, .. } => Rows::Functions,
            _ => Rows::Nothing,
        }
    }
}

impl SamplerPlugin for WasmSampler {
    fn identity(&self) -> &Identity {
        &self.component.identity
    }

    fn descriptor(&self) -> &SamplerDescriptor {
        &self.descriptor
    }

    fn open(
        &self,
        context: &SessionContext,
        args: &Value,
        prompt: &[Token],
    ) -> Result<Box<dyn Sampler>, Error> {
        let refuse = |fault| Error::new(&self.component.identity, "open", fault);
        let args = self.schema.check(args).map_err(refuse)?;
        if self.compiles {
            // The first of a model takes a while, and that is not the plugin's.
            context.grammars.prepare();
        }
        let mut instance = self.component.instance("open", Some(context), self.rows())?;
        instance.allow_backtracking(self.descriptor.backtrack_max);
        let deadline = instance.limits().open;
        let opened = instance.start("open", deadline, |store, wasm| {
            let guest = self.indices.load(&mut *store, wasm)?;
            let session = guest.session().call_open(&mut *store, &args, prompt)?;
            Ok(session.map(|session| (guest, session)))
        })?;
        let (guest, session) = opened.map_err(|words| refuse(refused(&words)))?;
        let shared =
            Arc::new(Shared { instance: Mutex::new(instance), guest, descriptor: self.descriptor.clone() });
        Ok(Box::new(Session {
            shared,
            session,
            cut: types::Candidates { ids: Vec::new(), logits: Vec::new() },
        }))
    }
}

/// What a session and its forks share: they live in one instance and are called one after another.
struct Shared {
    instance: Mutex<Instance>,
    guest: Guest,
    descriptor: SamplerDescriptor,
}

impl Shared {
    fn instance(&self) -> MutexGuard<'_, Instance> {
        self.instance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Session {
    shared: Arc<Shared>,
    session: ResourceAny,
    /// The guest's form of the cut, kept for its memory.
    cut: types::Candidates,
}

impl Sampler for Session {
    fn advance(&mut self, step: &mut Step, committed: &[Token]) -> Result<(), Error> {
        let mut instance = self.shared.instance();
        let deadline = instance.limits().advance;
        instance.call_in_step("advance", deadline, Phase::Advance, step, |store| {
            self.shared.guest.session().call_advance(store, self.session, committed)
        })
    }

    fn pick(&mut self, step: &mut Step, cut: &Candidates) -> Result<Choice, Error> {
        self.cut.ids.clone_from(&cut.ids);
        self.cut.logits.clone_from(&cut.logits);
        let mut instance = self.shared.instance();
        let deadline = instance.limits().pick;
        let choice = instance.call_in_step("pick", deadline, Phase::Pick, step, |store| {
            self.shared.guest.session().call_pick(store, self.session, &self.cut)
        })?;
        checked(choice, cut, &instance).map_err(|why| instance.fail("pick", Fault::Invalid(why)))
    }

    fn fork(&mut self) -> Result<Box<dyn Sampler>, Error> {
        let mut instance = self.shared.instance();
        if !self.shared.descriptor.can_fork {
            return Err(Error::new(instance.identity(), "fork", Fault::Unsupported("fork a session")));
        }
        let deadline = instance.limits().fork;
        let forked = instance
            .call("fork", deadline, |store| self.shared.guest.session().call_fork(store, self.session))?;
        let session = forked.map_err(|words| Error::new(instance.identity(), "fork", refused(&words)))?;
        let cut = types::Candidates { ids: Vec::new(), logits: Vec::new() };
        Ok(Box::new(Self { shared: Arc::clone(&self.shared), session, cut }))
    }

    fn rollback(&mut self, tokens: u32) -> Result<(), Error> {
        let mut instance = self.shared.instance();
        if !self.shared.descriptor.can_rollback {
            return Err(Error::new(instance.identity(), "rollback", Fault::Unsupported("take tokens back")));
        }
        let deadline = instance.limits().rollback;
        let result = instance.call("rollback", deadline, |store| {
            self.shared.guest.session().call_rollback(store, self.session, tokens)
        })?;
        result.map_err(|words| instance.fail("rollback", refused(&words)))
    }

    fn close(&mut self) -> Result<Option<String>, Error> {
        let mut instance = self.shared.instance();
        let deadline = instance.limits().close;
        let meta = instance
            .call("close", deadline, |store| self.shared.guest.session().call_close(store, self.session))?;
        crate::stream::check_json(meta.iter()).map_err(|why| instance.fail("close", Fault::Invalid(why)))?;
        Ok(meta)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The last session goes with its instance, destructor or not: no guest code runs for it. A fork that goes
        // before leaves memory behind that its siblings may need.
        if Arc::strong_count(&self.shared) > 1 {
            let mut instance = self.shared.instance();
            let deadline = instance.limits().close;
            if let Err(error) = instance.call("drop", deadline, |store| self.session.resource_drop(store)) {
                tracing::debug!(target: "minerva::plugin", "{error}");
            }
        }
    }
}

/// The engine's form of a choice, if it means something.
fn checked(choice: wit::Choice, cut: &Candidates, instance: &Instance) -> Result<Choice, String> {
    match choice {
        wit::Choice::Host => Ok(Choice::Host),
        wit::Choice::Token(id) => {
            let size = instance.state().context.as_ref().map_or(0, |context| context.vocabulary.size());
            if id < size {
                Ok(Choice::Token(id))
            } else {
                Err(format!("token {id}; the vocabulary has {size} tokens"))
            }
        }
        wit::Choice::Only(ids) if ids.is_empty() => Err("`only` of no tokens".to_owned()),
        wit::Choice::Only(ids) => match stranger(&ids, &cut.ids) {
            None => Ok(Choice::Only(ids)),
            Some(id) => Err(format!("`only` with token {id}, which was not a candidate")),
        },
    }
}

/// A token that is not a candidate. Most plugins keep the order, and then one walk over both lists is enough.
fn stranger(ids: &[Token], candidates: &[Token]) -> Option<Token> {
    let mut rest = candidates.iter();
    let misplaced = ids.iter().position(|id| !rest.any(|candidate| candidate == id))?;
    let all: HashSet<Token> = candidates.iter().copied().collect();
    ids[misplaced..].iter().copied().find(|id| !all.contains(id))
}
