//! Everything that choosing the tokens of one request needs, in one owned piece: it is handed to a sampling thread
//! while plugins think, and comes back with what they chose.

use std::sync::Arc;

use crate::Error;
use crate::builtin::native::{Cut, Native};
use crate::constraint::Constraint;
use crate::event::{FinishReason, TokenLogprob};
use crate::model::Token;
use crate::plugin::{self, Choice, OnFault, Report, Sampler, SamplerDescriptor, Tier};
use crate::request::Params;
use crate::row;
use crate::step::{Candidates, Commands, Random, Step};

/// One request's sampling.
pub(crate) struct Sampling {
    params: Params,
    step: Step,
    chain: Vec<Link>,
    constraint: Option<Constraint>,
    native: Native,
    end_tokens: Arc<[Token]>,
}

/// A sampler of the chain.
pub(crate) struct Link {
    /// Its session; `None` once a fault took it out.
    pub session: Option<Box<dyn Sampler>>,
    /// What it needs.
    pub descriptor: SamplerDescriptor,
    /// What happens when it fails.
    pub on_fault: OnFault,
    /// What it did.
    pub report: Report,
}

/// What a step came to.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    /// These tokens come next: one that was chosen, or all that were forced.
    Tokens(Vec<Chosen>),
    /// So many of the last tokens are taken back, at least one and at most those that are held; and the answer ends
    /// there, if it says why.
    Backtrack { count: u32, then: Option<FinishReason> },
    /// The generation ends.
    Stop(FinishReason),
}

/// A token of the answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chosen {
    pub token: Token,
    pub logprob: Option<Box<TokenLogprob>>,
}

/// What is left to do for a step after the row was looked at.
pub(crate) enum Prepared {
    /// Nothing.
    Decided(Outcome),
    /// Samplers of the chain must choose from this.
    Pick(Candidates),
}

impl Sampling {
    pub(crate) fn new(
        params: Params,
        seed: u64,
        prompt: Vec<Token>,
        chain: Vec<Link>,
        constraint: Option<Constraint>,
        native: Native,
        end_tokens: Arc<[Token]>,
    ) -> Self {
        let prompt_tokens = prompt.len();
        let step = Step { history: prompt, prompt_tokens, random: Random::new(seed), ..Step::default() };
        Self { params, step, chain, constraint, native, end_tokens }
    }

    /// Whether plugins have a say, so that calls may be slow.
    pub(crate) fn has_plugins(&self) -> bool {
        self.chain.iter().any(|link| link.session.is_some())
    }

    /// Whether [`Sampling::advance`] is worth a thread of its own.
    pub(crate) fn plans(&self) -> bool {
        self.constraint.is_some() || self.has_plugins()
    }

    /// What comes instead of a choice, if that is known before the row is there.
    pub(crate) fn decided(&self) -> Option<Outcome> {
        let commands = &self.step.commands;
        match (commands.backtrack, commands.stop) {
            (0, then) => then.map(Outcome::Stop),
            (count, then) => Some(Outcome::Backtrack { count, then }),
        }
    }

    /// Whether a sampler may take tokens back.
    pub(crate) fn backtracks(&self) -> bool {
        self.chain.iter().any(|link| link.descriptor.backtrack_max > 0)
    }

    /// How many of the last tokens are not for the reader yet, because they may be taken back.
    pub(crate) fn held(&self) -> usize {
        self.step.held
    }

    /// Takes back the last `count` tokens, in everything that was told of them. The randomness and the target of
    /// Mirostat go on: what was drawn was drawn.
    pub(crate) fn rollback(&mut self, count: u32) -> Result<(), Error> {
        let Self { step, chain, constraint, .. } = self;
        let tokens = step.held.min(count as usize);
        step.history.truncate(step.history.len() - tokens);
        step.held -= tokens;
        step.backtracks += 1;
        step.commands = Commands::default();
        if let Some(constraint) = constraint {
            constraint.rollback(tokens)?;
        }
        for link in chain.iter_mut() {
            link.call(step, |session, _| session.rollback(count))?;
        }
        Ok(())
    }

    /// Takes tokens into the history, and lets the grammar and the samplers command the next step. Called with no
    /// tokens before the first step.
    pub(crate) fn advance(&mut self, committed: &[Token]) -> Result<(), Error> {
        self.step.history.extend_from_slice(committed);
        self.step.held += committed.len();
        self.step.commands = Commands::default();
        if let Some(constraint) = &mut self.constraint {
            constraint.advance(committed)?;
            constraint.command(&mut self.step.commands)?;
        }
        let Self { step, chain, .. } = self;
        for link in chain.iter_mut() {
            link.call(step, |session, step| session.advance(step, committed))?;
        }
        check_backtrack(step, chain)?;
        if step.commands.backtrack == 0 {
            step.held = step.held.min(step.commands.hold as usize);
        }
        Ok(())
    }

    /// Looks at the row of the step: decides without plugins, or cuts the row for them.
    pub(crate) fn prepare(&mut self, row: &[f32]) -> Result<Prepared, Error> {
        if let Some(outcome) = self.commanded(row)? {
            return Ok(Prepared::Decided(outcome));
        }
        let picks = |link: &&Link| link.session.is_some() && link.descriptor.tier >= Tier::Cut;
        let wanted = self.chain.iter().filter(picks).map(|link| link.descriptor.cut as usize).max();
        let cut = self.native.cut(
            row,
            &self.params,
            &self.step,
            &self.end_tokens,
            wanted.map(|count| count.max(1)),
        );
        if wanted.is_none() {
            let token = self.draw(cut)?;
            return Ok(Prepared::Decided(self.tokens(&[token], row)));
        }
        let reads = |link: &Link| link.descriptor.reads_row || link.descriptor.tier == Tier::FullRow;
        if self.params.logprobs.is_some() || self.chain.iter().any(reads) {
            self.step.row = Some(Arc::new(row.to_vec()));
        }
        // These are in the cut now; what samplers command in `pick` is applied to the cut as it comes.
        self.step.commands.bias.clear();
        self.step.commands.allowed = None;
        Ok(Prepared::Pick(cut.candidates))
    }

    /// Lets the samplers choose from a cut, and draws from what they leave.
    pub(crate) fn pick(&mut self, mut cut: Candidates) -> Result<Outcome, Error> {
        let chosen = self.ask_chain(&mut cut);
        let row = self.step.row.take();
        let chosen = chosen?;
        if let Some(outcome) = self.commanded(row.as_deref().map_or(&[], Vec::as_slice))? {
            return Ok(outcome);
        }
        let token = match chosen {
            Some(token) => {
                self.check(&[token])?;
                token
            }
            None => self.draw(Cut::picked(cut))?,
        };
        Ok(self.tokens(&[token], row.as_deref().map_or(&[], Vec::as_slice)))
    }

    /// Ends all sessions and tells what they did.
    pub(crate) fn close(mut self) -> Vec<Report> {
        for link in &mut self.chain {
            if let Some(mut session) = link.session.take() {
                link.report.calls += 1;
                match session.close() {
                    Ok(meta) => link.report.meta = meta,
                    // The answer is complete: nothing is left that could fail.
                    Err(error) => link.report.survive(&error),
                }
            }
        }
        self.chain.into_iter().map(|link| link.report).collect()
    }

    /// Asks the chain; the first token chosen wins, and narrows what the later ones see to itself.
    fn ask_chain(&mut self, cut: &mut Candidates) -> Result<Option<Token>, Error> {
        let Self { step, chain, end_tokens, .. } = self;
        let mut chosen = None;
        for link in chain.iter_mut().filter(|link| link.descriptor.tier >= Tier::Cut) {
            if cut.is_empty() {
                return Err(nothing_left());
            }
            let mut view = cut.clone();
            view.truncate(link.descriptor.cut as usize);
            let choice = link.call(step, |session, step| session.pick(step, &view))?;
            apply_commands(step, cut, end_tokens);
            match choice {
                None | Some(Choice::Host) => {}
                Some(Choice::Token(token)) => {
                    chosen = chosen.or(Some(token));
                }
                Some(Choice::Only(ids)) => {
                    let kept: std::collections::HashSet<Token> = ids.into_iter().collect();
                    cut.retain(|id, _| kept.contains(&id));
                }
            }
        }
        Ok(chosen)
    }

    /// What was commanded instead of a choice: `backtrack` and `stop` beat `force`.
    fn commanded(&mut self, row: &[f32]) -> Result<Option<Outcome>, Error> {
        check_backtrack(&self.step, &self.chain)?;
        if let Some(outcome) = self.decided() {
            return Ok(Some(outcome));
        }
        let forced = std::mem::take(&mut self.step.commands.force);
        if forced.is_empty() {
            return Ok(None);
        }
        self.check(&forced)?;
        Ok(Some(self.tokens(&forced, row)))
    }

    /// Refuses what a plugin chose against the grammar.
    fn check(&mut self, tokens: &[Token]) -> Result<(), Error> {
        self.constraint.as_mut().map_or(Ok(()), |constraint| constraint.check(tokens))
    }

    fn draw(&mut self, cut: Cut) -> Result<Token, Error> {
        let drawn = self.native.draw(cut, &self.params, &mut self.step);
        drawn.ok_or_else(|| match self.constraint {
            Some(_) => Error::Sampling("what the grammar allows here is banned, or has no logit".into()),
            None => nothing_left(),
        })
    }

    /// Tokens as chosen; the first has the log-probability of the row, those forced behind it have none.
    fn tokens(&self, tokens: &[Token], row: &[f32]) -> Outcome {
        let mut logprob = match self.params.logprobs {
            Some(count) if !row.is_empty() => {
                tokens.first().map(|token| Box::new(logprob(*token, count, row)))
            }
            _ => None,
        };
        let chosen = |&token: &Token| Chosen { token, logprob: logprob.take() };
        Outcome::Tokens(tokens.iter().map(chosen).collect())
    }
}

impl Link {
    /// Calls the session about a step, unless a fault took it out. `None` if it is out, or goes out now; then what it
    /// commanded in this call is undone.
    fn call<T>(
        &mut self,
        step: &mut Step,
        call: impl FnOnce(&mut dyn Sampler, &mut Step) -> Result<T, plugin::Error>,
    ) -> Result<Option<T>, Error> {
        let Some(session) = &mut self.session else { return Ok(None) };
        self.report.calls += 1;
        let before = (self.on_fault != OnFault::Fail).then(|| step.commands.clone());
        match (call(session.as_mut(), step), before) {
            (Ok(value), _) => Ok(Some(value)),
            (Err(error), None) => {
                self.session = None;
                Err(error.into())
            }
            (Err(error), Some(before)) => {
                self.session = None;
                step.commands = before;
                self.report.survive(&error);
                Ok(None)
            }
        }
    }
}

/// Refuses to take back what the reader may have, and to do so for ever. A component's is refused before, by name.
fn check_backtrack(step: &Step, chain: &[Link]) -> Result<(), Error> {
    let count = step.commands.backtrack;
    if count == 0 {
        return Ok(());
    }
    let (held, times) = (step.held, step.backtracks);
    let may = chain.iter().map(|link| link.descriptor.backtrack_max).max().unwrap_or(0);
    let may_often = chain.iter().map(|link| link.descriptor.backtracks_max).max().unwrap_or(0);
    if count > may || count as usize > held {
        return Err(Error::Sampling(format!(
            "a plugin takes {count} tokens back; {held} are held, and it may take back {may} at a time"
        )));
    }
    if times >= may_often {
        return Err(Error::Sampling(format!(
            "a plugin takes tokens back once more, after {times} times in one answer, which is the limit"
        )));
    }
    Ok(())
}

fn nothing_left() -> Error {
    Error::Sampling("every token is banned, or no logit is a number".into())
}

/// What was commanded inside `pick` holds for the rest of the step: masks narrow and biases move the cut.
fn apply_commands(step: &mut Step, cut: &mut Candidates, end_tokens: &[Token]) {
    if step.commands.allow_end == Some(false) {
        cut.retain(|id, _| !end_tokens.contains(&id));
    }
    if let Some(allowed) = step.commands.allowed.take() {
        cut.retain(|id, _| allowed.has(id));
    }
    let bias = std::mem::take(&mut step.commands.bias);
    if bias.is_empty() {
        return;
    }
    let mut all: Vec<(Token, f32)> = cut.ids.iter().copied().zip(cut.logits.iter().copied()).collect();
    for (token, logit) in &mut all {
        *logit += bias.iter().filter(|(biased, _)| biased == token).map(|(_, add)| add).sum::<f32>();
    }
    all.retain(|(_, logit)| *logit > f32::NEG_INFINITY);
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    (cut.ids, cut.logits) = all.into_iter().unzip();
}

fn logprob(token: Token, count: u32, row: &[f32]) -> TokenLogprob {
    let total = row::logsumexp(row);
    let top = row::top(row, count as usize);
    #[expect(clippy::cast_possible_truncation, reason = "as precise as the logits")]
    let of = |logit: f32| (f64::from(logit) - total) as f32;
    TokenLogprob {
        token,
        logprob: row.get(token as usize).map_or(f32::NEG_INFINITY, |&logit| of(logit)),
        top: top.ids.iter().copied().zip(top.logits.iter().map(|&logit| of(logit))).collect(),
    }
}
