//! `minerva:plugin/step`.

use minerva_engine::event::FinishReason;
use minerva_engine::model::Token;
use minerva_engine::plugin::Fault;
use minerva_engine::step::{Commands, RowUnavailable, Step};
use wasmtime::Result;
use wasmtime::component::Resource;

use super::constraints::TokenSet;
use super::grammar::Grammar;
use crate::bindings::minerva::plugin::step::{self, RowSummary};
use crate::bindings::minerva::plugin::types::{Candidates, Finish};
use crate::fault::Denied;
use crate::state::{Phase, Rows, State};

/// The most tokens that may be forced at a time.
const FORCE_MAX: usize = 4_096;

/// The most candidates of `top`.
const TOP_MAX: u32 = 4_096;

/// The most biases of one step, over all calls: a row has fewer tokens than that.
const BIAS_MAX: usize = 1 << 20;

impl State {
    fn step(&mut self) -> Result<&mut Step> {
        match self.phase {
            Phase::Outside => Err(Denied::invalid("called a function of `step` outside advance and pick")),
            Phase::Advance | Phase::Pick => Ok(&mut self.step),
        }
    }

    fn commands(&mut self) -> Result<&mut Commands> {
        Ok(&mut self.step()?.commands)
    }

    /// The step, if its row may be read in the way that the plugin declared.
    fn row_step(&mut self, needs: Rows) -> Result<&Step> {
        let declared = self.rows;
        let in_pick = self.phase == Phase::Pick;
        let step = self.step()?;
        if !in_pick {
            return Err(Denied::invalid("read the row of logits in advance; it can only be read in pick"));
        }
        if declared < needs {
            let word = if needs == Rows::Everything { "tier is full-row" } else { "reads-row is set" };
            let why = format!("read the row of logits, and its descriptor does not say that {word}");
            return Err(Denied::invalid(why));
        }
        Ok(step)
    }
}

/// The host owes a declared reader the row.
fn unavailable(error: RowUnavailable) -> wasmtime::Error {
    Denied::new(Fault::Host(error.to_string()))
}

impl step::Host for State {
    fn position(&mut self) -> Result<u32> {
        Ok(self.step()?.position())
    }

    fn history(&mut self, count: u32) -> Result<Vec<Token>> {
        let history = self.step()?.last(count as usize).to_vec();
        self.quota.work(history.len() * 4)?;
        Ok(history)
    }

    fn random(&mut self) -> Result<f32> {
        Ok(self.step()?.random.next_f32())
    }

    fn allow(&mut self, set: Resource<TokenSet>) -> Result<()> {
        let set = self.token_set(&set)?;
        self.quota.work(set.words().len() * 4)?;
        self.commands()?.allow(&set);
        Ok(())
    }

    fn obey(&mut self, by: Resource<Grammar>) -> Result<Result<(), String>> {
        self.step()?;
        let fitting = self.fitting(&by)?;
        self.quota.work(fitting.as_ref().map_or(0, |set| set.words().len() * 4))?;
        Ok(fitting.map(|set| self.step.commands.allow(&set)))
    }

    fn bias(&mut self, ids: Vec<Token>, add: Vec<f32>) -> Result<()> {
        self.check_tokens(&ids, "bias")?;
        if ids.len() != add.len() {
            return Err(Denied::invalid(format!("bias with {} tokens and {} numbers", ids.len(), add.len())));
        }
        if let Some(wrong) = add.iter().find(|add| add.is_nan() || **add == f32::INFINITY) {
            return Err(Denied::invalid(format!("a bias of {wrong}")));
        }
        let bias = &mut self.commands()?.bias;
        if bias.len() + ids.len() > BIAS_MAX {
            return Err(Denied::limit("biases of a step", BIAS_MAX, "tokens"));
        }
        bias.extend(ids.into_iter().zip(add));
        Ok(())
    }

    fn temperature(&mut self, value: f32) -> Result<()> {
        if !value.is_finite() || value < 0.0 {
            return Err(Denied::invalid(format!("a temperature of {value}")));
        }
        self.commands()?.temperature = Some(value);
        Ok(())
    }

    fn allow_eog(&mut self, allowed: bool) -> Result<()> {
        self.commands()?.allow_end = Some(allowed);
        Ok(())
    }

    fn force(&mut self, ids: Vec<Token>) -> Result<()> {
        self.check_tokens(&ids, "force")?;
        let force = &mut self.commands()?.force;
        if force.len() + ids.len() > FORCE_MAX {
            return Err(Denied::limit("forced tokens", FORCE_MAX, "tokens"));
        }
        force.extend(ids);
        Ok(())
    }

    fn held(&mut self) -> Result<u32> {
        let held = self.step()?.held;
        Ok(u32::try_from(held).unwrap_or(u32::MAX).min(self.backtrack_max))
    }

    fn hold(&mut self, count: u32) -> Result<()> {
        self.check_backtrack_max(count, "holds")?;
        if self.phase != Phase::Advance {
            return Err(Denied::invalid("holds tokens in pick; what is not held in advance is sent"));
        }
        let most = &mut self.commands()?.hold;
        *most = count.max(*most);
        Ok(())
    }

    fn backtrack(&mut self, count: u32) -> Result<()> {
        self.check_backtrack_max(count, "takes back")?;
        let times_max = self.limits.backtracks;
        let step = self.step()?;
        if count as usize > step.held {
            let held = step.held;
            return Err(Denied::invalid(format!("takes back {count} tokens; {held} are held")));
        }
        if step.backtracks >= times_max {
            return Err(Denied::limit("taking tokens back", times_max as usize, "times"));
        }
        let most = &mut step.commands.backtrack;
        *most = count.max(*most);
        Ok(())
    }

    fn stop(&mut self, reason: Finish) -> Result<()> {
        self.commands()?.stop = Some(reason.into());
        Ok(())
    }

    fn summarize(&mut self) -> Result<RowSummary> {
        let summary = self.row_step(Rows::Functions)?.summarize().map_err(unavailable)?;
        self.charge_row_pass()?;
        let minerva_engine::step::RowSummary { argmax, max, logsumexp, entropy } = summary;
        Ok(RowSummary { argmax, max, logsumexp, entropy })
    }

    fn top(&mut self, count: u32) -> Result<Candidates> {
        let best = self.row_step(Rows::Functions)?.top(count.min(TOP_MAX) as usize).map_err(unavailable)?;
        self.charge_row_pass()?;
        Ok(Candidates { ids: best.ids, logits: best.logits })
    }

    fn at(&mut self, ids: Vec<Token>) -> Result<Vec<f32>> {
        let logits = self.row_step(Rows::Functions)?.at(&ids).map_err(unavailable)?;
        self.quota.work(ids.len() * 4)?;
        Ok(logits)
    }

    fn full(&mut self) -> Result<Vec<f32>> {
        let row = self.row_step(Rows::Everything)?.row().map_err(unavailable)?.to_vec();
        self.charge_row_pass()?;
        Ok(row)
    }
}

impl State {
    fn check_backtrack_max(&self, count: u32, does: &str) -> Result<()> {
        let limit = self.backtrack_max;
        if count > limit {
            let why = format!("{does} {count} tokens, and its descriptor says backtrack-max {limit}");
            return Err(Denied::invalid(why));
        }
        Ok(())
    }

    fn charge_row_pass(&mut self) -> Result<()> {
        let bytes = self.step.row.as_ref().map_or(0, |row| row.len() * 4);
        self.quota.work(bytes)
    }
}

impl From<Finish> for FinishReason {
    fn from(reason: Finish) -> Self {
        match reason {
            Finish::Stop => Self::Stop,
            Finish::Length => Self::Length,
            Finish::Filter => Self::Filter,
            Finish::Plugin => Self::Plugin,
        }
    }
}

impl From<FinishReason> for Finish {
    fn from(reason: FinishReason) -> Self {
        match reason {
            FinishReason::Stop => Self::Stop,
            FinishReason::Length => Self::Length,
            FinishReason::Filter => Self::Filter,
            FinishReason::Plugin => Self::Plugin,
        }
    }
}
