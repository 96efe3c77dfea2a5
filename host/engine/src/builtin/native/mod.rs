//! The native sampler: bias, penalties, truncation, temperature, a seeded draw.
//!
//! The stages, their order and what each does are llama.cpp's. Nothing of the length of the vocabulary is built where
//! top-k comes first; else the row is copied once.

mod chain;
mod dry;

use std::collections::{BTreeMap, HashMap};
use std::f64::consts::LN_2;

use chain::Chain;
use dry::Breakers;

use crate::model::{Token, Vocabulary};
use crate::request::{Mirostat, MirostatVersion, Params, Stage};
use crate::row;
use crate::step::{Candidates, Commands, Step};

/// Candidates to look at when no stage says how many: as many as it takes, in steps of these.
const GROWING_CUTS: [usize; 3] = [256, 4096, usize::MAX];

/// The tokens from which Mirostat 1 estimates how steeply probabilities fall, as in llama.cpp.
const MIROSTAT_TOKENS: usize = 100;

/// One request's native sampler: what it remembers between steps.
#[derive(Clone, Debug, Default)]
pub struct Native {
    breakers: Breakers,
    /// Mirostat's bound, in bits; `None` before the first step.
    mu: Option<f64>,
}

/// The candidates of a step, after bias, masks and what else was commanded, and before truncation.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The best of the row, best first; in no order where all of the row is kept and nothing truncates it.
    pub candidates: Candidates,
    /// The logarithm of the sum of the exponentials of all logits that the next stage chooses from; `None` where the
    /// candidates are all it chooses from.
    total: Option<f64>,
    /// How many of the active stages are done.
    done: usize,
    /// Penalties are in the logits, wherever they stand in the order.
    penalised: bool,
}

impl Cut {
    /// What samplers left of a cut that was made for them.
    #[must_use]
    pub fn picked(candidates: Candidates) -> Self {
        Self { candidates, total: None, done: 0, penalised: true }
    }
}

impl Native {
    /// The sampler of a request that begins.
    #[must_use]
    pub fn new(params: &Params, vocabulary: &dyn Vocabulary) -> Self {
        let is_dry = params.dry.multiplier != 0.0;
        let breakers =
            if is_dry { Breakers::new(vocabulary, &params.dry.breakers) } else { Breakers::default() };
        Self { breakers, mu: None }
    }

    /// Cuts a row to what this sampler has to look at, or to `wanted` candidates where others want to see them.
    #[must_use]
    pub fn cut(
        &self,
        row: &[f32],
        params: &Params,
        step: &Step,
        end_tokens: &[Token],
        wanted: Option<usize>,
    ) -> Cut {
        let commands = &step.commands;
        let stages = active(params, commands);
        let leading = stages.iter().take_while(|stage| is_local(**stage)).count();
        let local: Vec<Stage> = match wanted {
            Some(_) => stages.iter().copied().filter(|stage| is_local(*stage)).collect(),
            None => stages[..leading].to_vec(),
        };
        let adjusted = self.adjust(row, params, step, end_tokens, &local);
        if let Some(count) = wanted {
            return Cut::picked(best(row, &adjusted, commands, count));
        }
        let temperature = commands.temperature.unwrap_or(params.temperature);
        let cut = |candidates| Cut { candidates, total: None, done: leading, penalised: false };
        if params.mirostat.is_none() && is_greedy(&stages[leading..], params, temperature) {
            return cut(best(row, &adjusted, commands, 1));
        }
        if params.mirostat.is_none() && stages.get(leading) == Some(&Stage::TopK) {
            return cut(best(row, &adjusted, commands, params.top_k as usize));
        }
        let row = patched(row, &adjusted, commands);
        match params.mirostat {
            Some(mirostat) => self.mirostat_cut(row, mirostat, temperature),
            None => whole_row_cut(row, &stages, leading, params, temperature),
        }
    }

    /// Truncates and draws. `None` where there is no candidate.
    #[must_use]
    pub fn draw(&mut self, cut: Cut, params: &Params, step: &mut Step) -> Option<Token> {
        let kept = self.truncate(cut, params, step);
        let at = chain::draw(&kept, &mut step.random)?;
        if let Some(mirostat) = params.mirostat {
            let surprise = (chain::total(&kept) - f64::from(kept.logits[at])) / LN_2;
            self.mu =
                Some(self.mu(mirostat) - f64::from(mirostat.eta) * (surprise - f64::from(mirostat.tau)));
        }
        Some(kept.ids[at])
    }

    /// What is left to draw from, its logits divided by the temperature. [`Native::draw`] begins with this.
    #[must_use]
    pub fn truncate(&self, mut cut: Cut, params: &Params, step: &mut Step) -> Candidates {
        let stages = active(params, &step.commands);
        let mut chain = Chain { params, step, breakers: &self.breakers };
        let picked = cut.done == 0;
        for &stage in stages.iter().skip(cut.done).filter(|stage| !(cut.penalised && is_local(**stage))) {
            let total = cut.total.take();
            chain.apply(stage, &mut cut.candidates, total);
        }
        let Some(mirostat) = params.mirostat else { return cut.candidates };
        let (candidates, mu) = (&mut cut.candidates, self.mu(mirostat));
        let total = cut.total.unwrap_or_else(|| chain::total(candidates));
        match mirostat.version {
            MirostatVersion::V1 if picked => {
                candidates.truncate(chain::mirostat_k(candidates, total, candidates.len(), mu));
            }
            MirostatVersion::V1 => {}
            MirostatVersion::V2 => {
                let below = |logit: &&f32| (total - f64::from(**logit)) / LN_2 <= mu;
                let kept = candidates.logits.iter().take_while(below).count();
                candidates.truncate(kept.max(1));
            }
        }
        cut.candidates
    }

    fn mu(&self, mirostat: Mirostat) -> f64 {
        self.mu.unwrap_or_else(|| 2.0 * f64::from(mirostat.tau))
    }

    /// Mirostat looks at the whole row, at the temperature, and at nothing else.
    fn mirostat_cut(&self, mut row: Vec<f32>, mirostat: Mirostat, temperature: f32) -> Cut {
        let cut = |candidates, total| Cut { candidates, total, done: 1, penalised: true };
        if temperature <= 0.0 {
            return cut(row::top(&row, 1), None);
        }
        scale(&mut row, temperature);
        let total = row::logsumexp(&row);
        let mu = self.mu(mirostat);
        if mirostat.version == MirostatVersion::V1 {
            let head = row::top(&row, MIROSTAT_TOKENS);
            let count = chain::mirostat_k(&head, total, row.len(), mu);
            return cut(row::top(&row, count), None);
        }
        let surprise = |logit: f32| (total - f64::from(logit)) / LN_2;
        let candidates =
            grow(&row, |candidates| candidates.logits.last().is_some_and(|last| surprise(*last) > mu));
        cut(candidates, Some(total))
    }

    /// The tokens whose logits are not what the row says, and what they are instead; sorted by token.
    fn adjust(
        &self,
        row: &[f32],
        params: &Params,
        step: &Step,
        end_tokens: &[Token],
        local: &[Stage],
    ) -> Vec<(Token, f32)> {
        let commands = &step.commands;
        let penalties: Vec<Penalty> =
            local.iter().map(|stage| penalty(*stage, params, step, &self.breakers)).collect();
        let end_allowed = commands.allow_end.unwrap_or(!params.ignore_end);
        let mut touched: Vec<Token> = penalties.iter().flat_map(Penalty::tokens).collect();
        touched.extend(params.logit_bias.iter().map(|(token, _)| *token));
        touched.extend(commands.bias.iter().map(|(token, _)| *token));
        if !end_allowed {
            touched.extend(end_tokens);
        }
        touched.sort_unstable();
        touched.dedup();
        touched.retain(|token| (*token as usize) < row.len());

        let adjusted = touched.into_iter().map(|token| {
            let mut logit = row[token as usize];
            for (_, add) in params.logit_bias.iter().filter(|(biased, _)| *biased == token) {
                logit += add;
            }
            for penalty in &penalties {
                logit = penalty.apply(token, logit, params);
            }
            for (_, add) in commands.bias.iter().filter(|(biased, _)| *biased == token) {
                logit += add;
            }
            if !end_allowed && end_tokens.contains(&token) {
                logit = f32::NEG_INFINITY;
            }
            (token, logit)
        });
        adjusted.collect()
    }
}

/// What a local stage does to single tokens.
enum Penalty {
    /// How often each token was seen lately.
    Seen(BTreeMap<Token, u32>),
    /// What each token loses.
    Dry(HashMap<Token, f32>),
}

impl Penalty {
    fn tokens(&self) -> Vec<Token> {
        match self {
            Self::Seen(seen) => seen.keys().copied().collect(),
            Self::Dry(lost) => lost.keys().copied().collect(),
        }
    }

    /// The repetition penalty of CTRL (Keskar et al. 2019, <https://arxiv.org/abs/1909.05858>), as llama.cpp applies
    /// it below 0, and OpenAI's frequency and presence penalties; or DRY's.
    fn apply(&self, token: Token, logit: f32, params: &Params) -> f32 {
        let seen = match self {
            Self::Seen(seen) => seen.get(&token).copied().unwrap_or(0),
            Self::Dry(lost) => return logit - lost.get(&token).copied().unwrap_or(0.0),
        };
        if seen == 0 {
            return logit;
        }
        let repeated =
            if logit <= 0.0 { logit * params.repeat_penalty } else { logit / params.repeat_penalty };
        #[expect(clippy::cast_precision_loss, reason = "a count of at most the context's length")]
        let seen = seen as f32;
        repeated - seen * params.frequency_penalty - params.presence_penalty
    }
}

fn penalty(stage: Stage, params: &Params, step: &Step, breakers: &Breakers) -> Penalty {
    if stage == Stage::Dry {
        return Penalty::Dry(dry::penalties(&step.history, &params.dry, breakers));
    }
    let mut seen = BTreeMap::new();
    for &token in step.last(params.repeat_last_n as usize) {
        *seen.entry(token).or_default() += 1;
    }
    Penalty::Seen(seen)
}

/// The stages that do something, in order.
fn active(params: &Params, commands: &Commands) -> Vec<Stage> {
    let temperature = commands.temperature.unwrap_or(params.temperature);
    let does = |stage: &Stage| match stage {
        Stage::Temperature => temperature != 1.0 || params.dynamic_temperature.range > 0.0,
        // Mirostat is instead of all others.
        _ if params.mirostat.is_some() => false,
        Stage::Penalties => {
            params.repeat_penalty != 1.0 || params.frequency_penalty != 0.0 || params.presence_penalty != 0.0
        }
        Stage::Dry => params.dry.multiplier != 0.0 && params.dry.base >= 1.0 && params.dry.last_n != 0,
        Stage::TopNSigma => params.top_n_sigma > 0.0,
        Stage::TopK => params.top_k > 0,
        Stage::TypicalP => params.typical_p < 1.0,
        Stage::TopP => params.top_p < 1.0,
        Stage::MinP => params.min_p > 0.0,
        Stage::Xtc => params.xtc.probability > 0.0 && params.xtc.threshold <= 0.5,
    };
    let mut stages: Vec<Stage> = params.samplers.iter().copied().filter(does).collect();
    let commanded = commands.temperature.is_some() || params.mirostat.is_some();
    if commanded && does(&Stage::Temperature) && !stages.contains(&Stage::Temperature) {
        stages.push(Stage::Temperature);
    }
    stages
}

/// Whether a stage changes single tokens, without looking at the others.
fn is_local(stage: Stage) -> bool {
    matches!(stage, Stage::Penalties | Stage::Dry)
}

/// Whether nothing but the best token can come out.
fn is_greedy(stages: &[Stage], params: &Params, temperature: f32) -> bool {
    let keeps_best = |stage: &&Stage| {
        matches!(stage, Stage::TopNSigma | Stage::TopK | Stage::TopP | Stage::MinP | Stage::Temperature)
    };
    temperature <= 0.0
        && params.dynamic_temperature.range <= 0.0
        && stages.iter().take_while(keeps_best).any(|stage| *stage == Stage::Temperature)
}

/// Cuts a row whose first stage does not say how many candidates it needs.
fn whole_row_cut(
    mut row: Vec<f32>,
    stages: &[Stage],
    mut done: usize,
    params: &Params,
    temperature: f32,
) -> Cut {
    loop {
        let (candidates, total) = match stages.get(done) {
            Some(Stage::Temperature) if params.dynamic_temperature.range <= 0.0 && temperature > 0.0 => {
                scale(&mut row, temperature);
                done += 1;
                continue;
            }
            Some(Stage::TopNSigma) => {
                let threshold = chain::sigma_threshold(&row, params.top_n_sigma);
                row.iter_mut()
                    .filter(|logit| **logit < threshold)
                    .for_each(|logit| *logit = f32::NEG_INFINITY);
                done += 1;
                continue;
            }
            Some(Stage::TopK) => (row::top(&row, params.top_k as usize), None),
            Some(stage @ (Stage::TopP | Stage::MinP)) => {
                let total = row::logsumexp(&row);
                let min_p_follows = stages.get(done + 1) == Some(&Stage::MinP);
                let holds = |candidates: &Candidates| {
                    let by_min_p = || chain::falls_below_min_p(candidates, params.min_p);
                    let enough = candidates.len() >= params.min_keep as usize;
                    enough
                        && match stage {
                            Stage::MinP => by_min_p(),
                            _ => {
                                (min_p_follows && by_min_p())
                                    || chain::mass(candidates, total) >= f64::from(params.top_p)
                            }
                        }
                };
                (grow(&row, holds), Some(total))
            }
            // Nothing truncates: no order is needed to draw.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a vocabulary has far fewer than 2^32 tokens"
            )]
            None => {
                let banned = row.iter().filter(|logit| **logit == f32::NEG_INFINITY).count();
                if banned == 0 {
                    let ids = (0..row.len() as Token).collect();
                    return Cut {
                        candidates: Candidates { ids, logits: row },
                        total: None,
                        done,
                        penalised: false,
                    };
                }
                let finite = row.iter().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY);
                let (ids, logits) = finite.map(|(id, &logit)| (id as Token, logit)).unzip();
                (Candidates { ids, logits }, None)
            }
            Some(_) => (row::top(&row, row.len()), None),
        };
        return Cut { candidates, total, done, penalised: false };
    }
}

/// The best candidates of a row: as many as it takes.
fn grow(row: &[f32], enough: impl Fn(&Candidates) -> bool) -> Candidates {
    for count in GROWING_CUTS {
        let count = count.min(row.len());
        let candidates = row::top(row, count);
        if candidates.len() < count || count == row.len() || enough(&candidates) {
            return candidates;
        }
    }
    unreachable!("the last cut is the whole row")
}

fn scale(row: &mut [f32], temperature: f32) {
    row.iter_mut().for_each(|logit| *logit /= temperature);
}

/// The row with what is adjusted and masked in it; what is not a number is negative infinity.
fn patched(row: &[f32], adjusted: &[(Token, f32)], commands: &Commands) -> Vec<f32> {
    let number = |logit: f32| if logit.is_nan() { f32::NEG_INFINITY } else { logit };
    let mut row: Vec<f32> = row.iter().copied().map(number).collect();
    for &(token, logit) in adjusted {
        row[token as usize] = number(logit);
    }
    if let Some(allowed) = &commands.allowed {
        for (index, chunk) in row.chunks_mut(32).enumerate() {
            let word = allowed.words().get(index).copied().unwrap_or(0);
            if word != u32::MAX {
                let banned = chunk.iter_mut().enumerate().filter(|(bit, _)| word >> bit & 1 == 0);
                banned.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
            }
        }
    }
    row
}

/// The best candidates of a row in which some logits are replaced. What is best among the others is among the best
/// `count` + replaced ones of the row as it is.
fn best(row: &[f32], adjusted: &[(Token, f32)], commands: &Commands, count: usize) -> Candidates {
    let allowed = commands.allowed.as_ref();
    let mut candidates = row::top_where(row, count.saturating_add(adjusted.len()), allowed);
    if adjusted.is_empty() {
        return candidates;
    }
    candidates.retain(|id, _| adjusted.binary_search_by_key(&id, |(token, _)| *token).is_err());
    let mut all: Vec<(Token, f32)> = candidates.ids.into_iter().zip(candidates.logits).collect();
    let eligible = |(token, logit): &&(Token, f32)| {
        *logit > f32::NEG_INFINITY && allowed.is_none_or(|set| set.has(*token))
    };
    all.extend(adjusted.iter().filter(eligible));
    all.sort_by(row::better);
    all.truncate(count);
    let (ids, logits) = all.into_iter().unzip();
    Candidates { ids, logits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::ByteVocabulary;
    use crate::step::{Random, TokenSet};

    fn step(history: &[Token]) -> Step {
        Step { history: history.to_vec(), ..Step::default() }
    }

    fn ids(row: &[f32], params: &Params, step: &Step) -> Vec<Token> {
        let native = Native::new(params, &ByteVocabulary::new());
        let cut = native.cut(row, params, step, &[0], None);
        let mut ids = native.truncate(cut, params, &mut step.clone()).ids;
        ids.sort_unstable();
        ids
    }

    fn drawn(
        row: &[f32],
        params: &Params,
        step: &Step,
        end_tokens: &[Token],
        random: &mut Random,
    ) -> Option<Token> {
        let mut native = Native::new(params, &ByteVocabulary::new());
        let cut = native.cut(row, params, step, end_tokens, None);
        let mut step = Step { random: random.clone(), ..step.clone() };
        let drawn = native.draw(cut, params, &mut step);
        *random = step.random;
        drawn
    }

    fn open() -> Params {
        Params { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Params::default() }
    }

    #[test]
    fn each_truncation_keeps_what_its_definition_says() {
        let row: Vec<f32> = [0.5, 0.25, 0.125, 0.0625, 0.0625].iter().map(|p: &f32| p.ln()).collect();
        let cases: [(&str, Params, &[Token]); 7] = [
            ("all", open(), &[0, 1, 2, 3, 4]),
            ("top-k", Params { top_k: 2, ..open() }, &[0, 1]),
            ("top-p", Params { top_p: 0.7, ..open() }, &[0, 1]),
            ("top-p is of what top-k left", Params { top_k: 2, top_p: 0.6, ..open() }, &[0]),
            ("min-p", Params { min_p: 0.2, ..open() }, &[0, 1, 2]),
            ("greedy", Params { temperature: 0.0, ..open() }, &[0]),
            ("typical", Params { typical_p: 0.2, ..open() }, &[1]),
        ];
        for (name, params, expected) in cases {
            assert_eq!(ids(&row, &params, &step(&[])), expected, "{name}");
        }
    }

    #[test]
    fn bias_penalties_masks_and_bans_reach_the_candidates() {
        let row = [3.0, 2.0, 1.0, 0.0, -1.0];
        let greedy = Params { temperature: 0.0, ..open() };
        let with = |commands: Commands| Step { commands, ..step(&[]) };
        let cases: [(&str, Params, Step, Token); 7] = [
            ("nothing", greedy.clone(), step(&[]), 0),
            ("bias", Params { logit_bias: vec![(4, 10.0)], ..greedy.clone() }, step(&[]), 4),
            ("repeat", Params { repeat_penalty: 2.0, ..greedy.clone() }, step(&[0]), 1),
            ("frequency", Params { frequency_penalty: 1.0, ..greedy.clone() }, step(&[0, 0, 0, 1, 1]), 2),
            ("end banned", Params { ignore_end: true, ..greedy.clone() }, step(&[]), 1),
            (
                "mask",
                greedy.clone(),
                with(Commands { allowed: Some(TokenSet::from_ids(&[2, 3])), ..Commands::default() }),
                2,
            ),
            (
                "a command lifts the ban",
                Params { ignore_end: true, ..greedy },
                with(Commands { allow_end: Some(true), ..Commands::default() }),
                0,
            ),
        ];
        for (name, params, step, expected) in cases {
            assert_eq!(drawn(&row, &params, &step, &[0], &mut Random::new(1)), Some(expected), "{name}");
        }
    }

    /// A cut of the whole row is what a cut that grows must agree with.
    #[test]
    fn growing_cuts_draw_as_the_whole_row_does() {
        let mut random = Random::new(7);
        for (top_p, min_p) in [(0.9, 0.0), (1.0, 0.02), (0.99, 0.001), (0.5, 0.5)] {
            let params = Params { top_p, min_p, ..open() };
            let row: Vec<f32> = (0..20_000).map(|_| random.next_f32() * 12.0).collect();
            let whole = Cut { candidates: row::top(&row, row.len()), total: None, done: 0, penalised: false };
            for seed in 0..50 {
                let grown = drawn(&row, &params, &step(&[]), &[], &mut Random::new(seed));
                let mut step = Step { random: Random::new(seed), ..Step::default() };
                let expected = Native::default().draw(whole.clone(), &params, &mut step);
                assert_eq!(grown, expected, "top_p {top_p}, min_p {min_p}, seed {seed}");
            }
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let row: Vec<f32> = [0.6, 0.3, 0.1].iter().map(|p: &f32| p.ln()).collect();
        let mut random = Random::new(3);
        let mut counts = [0_u32; 3];
        for _ in 0..20_000 {
            counts[drawn(&row, &open(), &step(&[]), &[], &mut random).unwrap() as usize] += 1;
        }
        for (count, probability) in counts.iter().zip([0.6, 0.3, 0.1]) {
            let share = f64::from(*count) / 20_000.0;
            // Four standard deviations of the worst of the three.
            assert!((share - probability).abs() < 4.0 * (0.25_f64 / 20_000.0).sqrt(), "{counts:?}");
        }
    }
}
