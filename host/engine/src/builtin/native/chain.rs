//! The stages of sampling on a list of candidates, best first. Probabilities are 64 bits wide: a sum that a stage
//! compares with its parameter must not depend on the order of summing.

use super::dry::Breakers;
use super::{Penalty, penalty};
use crate::request::{Params, Stage};
use crate::row;
use crate::step::{Candidates, Random, Step};

/// What stages know besides the candidates.
pub(super) struct Chain<'a> {
    pub params: &'a Params,
    pub step: &'a mut Step,
    pub breakers: &'a Breakers,
}

impl Chain<'_> {
    /// Applies a stage. `known` is the logarithm of the sum of the exponentials of all logits that it chooses from,
    /// where the candidates are only the best of these.
    pub(super) fn apply(&mut self, stage: Stage, candidates: &mut Candidates, known: Option<f64>) {
        let params = self.params;
        let sum = |candidates: &Candidates| known.unwrap_or_else(|| total(candidates));
        let keep = |candidates: &mut Candidates, count: usize| {
            candidates.truncate(count.max(params.min_keep as usize).max(1));
        };
        match stage {
            Stage::Penalties | Stage::Dry => {
                let penalty = penalty(stage, params, self.step, self.breakers);
                penalise(candidates, &penalty, params);
            }
            Stage::TopNSigma => {
                let threshold = sigma_threshold(&candidates.logits, params.top_n_sigma);
                candidates.retain(|_, logit| logit >= threshold);
            }
            Stage::TopK => candidates.truncate(params.top_k as usize),
            Stage::TypicalP => keep_typical(candidates, sum(candidates), params),
            Stage::TopP => {
                let total = sum(candidates);
                let mut cumulative = 0.0;
                let below = |logit: &&f32| {
                    let is_below = cumulative < f64::from(params.top_p);
                    cumulative += (f64::from(**logit) - total).exp();
                    is_below
                };
                let count = candidates.logits.iter().take_while(below).count();
                keep(candidates, count);
            }
            Stage::MinP => {
                let Some(threshold) = min_p_threshold(candidates, params.min_p) else { return };
                let count = candidates.logits.iter().take_while(|logit| **logit >= threshold).count();
                keep(candidates, count);
            }
            Stage::Xtc => self.exclude_top(candidates),
            Stage::Temperature => self.divide(candidates),
        }
    }

    fn exclude_top(&mut self, candidates: &mut Candidates) {
        let xtc = self.params.xtc;
        if candidates.len() < 2 || self.step.random.next_f32() > xtc.probability {
            return;
        }
        let total = total(candidates);
        let is_top = |logit: &&f32| (f64::from(**logit) - total).exp() >= f64::from(xtc.threshold);
        let top = candidates.logits.iter().take_while(is_top).count();
        let excluded = top.saturating_sub(1);
        if excluded > 0 && candidates.len() - excluded >= self.params.min_keep as usize {
            candidates.ids.drain(..excluded);
            candidates.logits.drain(..excluded);
        }
    }

    fn divide(&self, candidates: &mut Candidates) {
        let mut temperature = self.step.commands.temperature.unwrap_or(self.params.temperature);
        let dynamic = self.params.dynamic_temperature;
        if dynamic.range > 0.0 && self.params.mirostat.is_none() {
            if candidates.len() <= 1 {
                return;
            }
            let (low, high) = ((temperature - dynamic.range).max(0.0), temperature + dynamic.range);
            #[expect(clippy::cast_precision_loss, reason = "a number of tokens")]
            let most = (candidates.len() as f64).ln();
            #[expect(clippy::cast_possible_truncation, reason = "between 0 and 1")]
            let share = (entropy(candidates, total(candidates)) / most) as f32;
            temperature = low + (high - low) * share.max(0.0).powf(dynamic.exponent);
        }
        if temperature <= 0.0 {
            candidates.truncate(1);
        } else {
            candidates.logits.iter_mut().for_each(|logit| *logit /= temperature);
        }
    }
}

/// Draws one of the candidates by its probability. They may be in any order.
pub(super) fn draw(candidates: &Candidates, random: &mut Random) -> Option<usize> {
    /// Candidates that are summed up together: of a whole row most are passed over with their sum.
    const CHUNK: usize = 2048;
    let weights = row::exponentials(&candidates.logits, row::max(&candidates.logits));
    let sums: Vec<f64> = weights.chunks(CHUNK).map(|chunk| row::sum(chunk, |weight| weight)).collect();
    let mut left = f64::from(random.next_f32()) * sums.iter().sum::<f64>();
    for ((at, chunk), sum) in weights.chunks(CHUNK).enumerate().zip(&sums) {
        if left >= *sum {
            left -= sum;
            continue;
        }
        let found = chunk.iter().position(|weight| {
            left -= f64::from(*weight);
            left < 0.0
        });
        // Sums in another order differ in their last bits.
        let found = found.or_else(|| chunk.iter().rposition(|weight| *weight > 0.0));
        return found.map(|found| at * CHUNK + found);
    }
    weights.iter().rposition(|weight| *weight > 0.0)
}

/// The logarithm of the sum of the exponentials of all logits.
pub(super) fn total(candidates: &Candidates) -> f64 {
    row::logsumexp(&candidates.logits)
}

/// The probability of all candidates together.
pub(super) fn mass(candidates: &Candidates, total: f64) -> f64 {
    candidates.logits.iter().map(|logit| (f64::from(*logit) - total).exp()).sum()
}

/// Whether the worst candidate is below what min-p keeps.
pub(super) fn falls_below_min_p(candidates: &Candidates, min_p: f32) -> bool {
    let threshold = min_p_threshold(candidates, min_p);
    threshold.zip(candidates.logits.last()).is_some_and(|(threshold, worst)| *worst < threshold)
}

fn min_p_threshold(candidates: &Candidates, min_p: f32) -> Option<f32> {
    let max = *candidates.logits.first()?;
    (min_p > 0.0).then(|| max + min_p.ln())
}

/// Top-n-sigma: what is less than `n` standard deviations below the best. Tang et al. 2024,
/// <https://arxiv.org/abs/2411.07641>.
pub(super) fn sigma_threshold(logits: &[f32], n: f32) -> f32 {
    let count = row::sum(logits, |_| 1.0).max(1.0);
    let mean = row::sum(logits, |logit| logit) / count;
    let deviation = (row::sum(logits, |logit| (logit - mean) * (logit - mean)) / count).sqrt();
    let max = row::max(logits);
    #[expect(clippy::cast_possible_truncation, reason = "as precise as the logits")]
    let deviation = deviation as f32;
    max - n * deviation
}

/// Mirostat 1's number of tokens to keep, for a bound on the surprise in bits. `head` is the best of all.
pub(super) fn mirostat_k(head: &Candidates, total: f64, vocabulary_size: usize, mu: f64) -> usize {
    let probability = |at: usize| (f64::from(head.logits[at]) - total).exp();
    let (mut sum_tb, mut sum_tt) = (0.0, 0.0);
    for at in 0..head.len().min(super::MIROSTAT_TOKENS).saturating_sub(1) {
        #[expect(clippy::cast_precision_loss, reason = "at most a hundred")]
        let t = ((at + 2) as f64 / (at + 1) as f64).ln();
        sum_tb += t * (probability(at) / probability(at + 1)).ln();
        sum_tt += t * t;
    }
    let s = sum_tb / sum_tt;
    let epsilon = s - 1.0;
    #[expect(clippy::cast_precision_loss, reason = "a number of tokens")]
    let size = vocabulary_size as f64;
    let k = ((epsilon * mu.exp2()) / (1.0 - size.powf(-epsilon))).powf(1.0 / s);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and NaN is 0")]
    let k = k as usize;
    k.max(1)
}

/// In nats.
fn entropy(candidates: &Candidates, total: f64) -> f64 {
    let surprise = |logit: &f32| total - f64::from(*logit);
    candidates.logits.iter().map(|logit| (-surprise(logit)).exp() * surprise(logit)).sum()
}

/// Keeps the tokens whose surprise is closest to the expected one, up to a probability. Locally Typical Sampling,
/// Meister et al. 2022, <https://arxiv.org/abs/2202.00666>.
fn keep_typical(candidates: &mut Candidates, total: f64, params: &Params) {
    let entropy = entropy(candidates, total);
    let mut by_typicality: Vec<usize> = (0..candidates.len()).collect();
    let distance = |at: &usize| ((total - f64::from(candidates.logits[*at])) - entropy).abs();
    by_typicality.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    let mut kept = vec![false; candidates.len()];
    let mut cumulative = 0.0;
    for (count, at) in by_typicality.into_iter().enumerate() {
        kept[at] = true;
        cumulative += (f64::from(candidates.logits[at]) - total).exp();
        if cumulative > f64::from(params.typical_p) && count + 1 >= params.min_keep as usize {
            break;
        }
    }
    let mut kept = kept.into_iter();
    candidates.retain(|_, _| kept.next().unwrap_or(false));
}

fn penalise(candidates: &mut Candidates, penalty: &Penalty, params: &Params) {
    let mut all: Vec<_> = candidates.ids.iter().copied().zip(candidates.logits.iter().copied()).collect();
    for (token, logit) in &mut all {
        *logit = penalty.apply(*token, *logit, params);
    }
    all.sort_by(row::better);
    (candidates.ids, candidates.logits) = all.into_iter().unzip();
}
