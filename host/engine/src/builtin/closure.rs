//! Samplers from native closures: for programs that embed the engine.

use serde_json::Value;

use crate::model::Token;
use crate::plugin::{
    Choice, Error, Fault, Identity, Sampler, SamplerDescriptor, SamplerPlugin, SessionContext, Tier,
};
use crate::step::{Candidates, Step};

/// A sampler made of a function that is asked at each step with the best candidates.
///
/// Every session gets a clone of the function, so that what it captures by value is the session's own.
///
/// ```
/// use minerva_engine::builtin::closure::ClosureSampler;
/// use minerva_engine::plugin::Choice;
///
/// // Never the best token, if there is another.
/// let contrarian = ClosureSampler::new("contrarian", 2, |_step, cut| match cut.ids.get(1) {
///     Some(&second) => Choice::Token(second),
///     None => Choice::Host,
/// });
/// ```
pub struct ClosureSampler<F> {
    identity: Identity,
    descriptor: SamplerDescriptor,
    pick: F,
}

impl<F> ClosureSampler<F>
where
    F: FnMut(&mut Step, &Candidates) -> Choice + Clone + Send + Sync + 'static,
{
    /// A sampler that sees the best `cut` candidates.
    pub fn new(name: impl Into<String>, cut: u32, pick: F) -> Self {
        let descriptor =
            SamplerDescriptor { tier: Tier::Cut, cut, can_fork: true, ..SamplerDescriptor::default() };
        Self { identity: Identity::native(name, "native"), descriptor, pick }
    }

    /// It may take back so many tokens at a time ([`Commands::backtrack`](crate::step::Commands::backtrack)), and holds
    /// that many all the time. The function is not told of tokens taken back: it reads the step's history, and keeps
    /// nothing of its own.
    #[must_use]
    pub fn with_backtracking(mut self, tokens_max: u32) -> Self {
        (self.descriptor.can_rollback, self.descriptor.backtrack_max) = (true, tokens_max);
        self
    }
}

impl<F> SamplerPlugin for ClosureSampler<F>
where
    F: FnMut(&mut Step, &Candidates) -> Choice + Clone + Send + Sync + 'static,
{
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn descriptor(&self) -> &SamplerDescriptor {
        &self.descriptor
    }

    fn open(&self, _: &SessionContext, _: &Value, _: &[Token]) -> Result<Box<dyn Sampler>, Error> {
        let (identity, hold) = (self.identity.clone(), self.descriptor.backtrack_max);
        Ok(Box::new(Session { identity, hold, pick: self.pick.clone() }))
    }
}

struct Session<F> {
    identity: Identity,
    /// It can take so many tokens back, if any.
    hold: u32,
    pick: F,
}

impl<F> Sampler for Session<F>
where
    F: FnMut(&mut Step, &Candidates) -> Choice + Clone + Send + 'static,
{
    fn advance(&mut self, step: &mut Step, _: &[Token]) -> Result<(), Error> {
        step.commands.hold = step.commands.hold.max(self.hold);
        Ok(())
    }

    fn pick(&mut self, step: &mut Step, cut: &Candidates) -> Result<Choice, Error> {
        Ok((self.pick)(step, cut))
    }

    fn fork(&mut self) -> Result<Box<dyn Sampler>, Error> {
        Ok(Box::new(Self { identity: self.identity.clone(), pick: self.pick.clone(), ..*self }))
    }

    fn rollback(&mut self, _: u32) -> Result<(), Error> {
        if self.hold > 0 {
            return Ok(());
        }
        Err(Error::new(&self.identity, "rollback", Fault::Unsupported("take tokens back")))
    }

    fn close(&mut self) -> Result<Option<String>, Error> {
        Ok(None)
    }
}
