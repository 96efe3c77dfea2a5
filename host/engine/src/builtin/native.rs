//! The native sampler: penalties and bias, truncation, temperature, a seeded draw.
//!
//! The order is llama.cpp's default: penalties, top-k, typical-p, top-p, min-p, temperature, draw. Nothing of the
//! length of the vocabulary is built unless the parameters keep the whole vocabulary.

use crate::model::Token;
use crate::request::Params;
use crate::row;
use crate::step::{Candidates, Commands, Random, Step};

/// Candidates to look at when `top_k` keeps all: as many as it takes, in steps of these.
const GROWING_CUTS: [usize; 3] = [256, 4096, usize::MAX];

/// The candidates of a step, after bias, penalties, masks and what else was commanded, and before truncation.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// The best of the row.
    pub candidates: Candidates,
    /// The logarithm of the sum of the exponentials of all logits that the truncation chooses from; `None` where
    /// the candidates are all it chooses from.
    pub total: Option<f32>,
}

/// Cuts a row to what the native sampler has to look at, or to `wanted` candidates where samplers want to see them.
#[must_use]
pub fn cut(row: &[f32], params: &Params, step: &Step, end_tokens: &[Token], wanted: Option<usize>) -> Cut {
    let adjusted = adjust(row, params, step, end_tokens);
    let commands = &step.commands;
    let temperature = commands.temperature.unwrap_or(params.temperature);
    if let Some(count) = wanted {
        return Cut { candidates: best(row, &adjusted, commands, count), total: None };
    }
    if temperature <= 0.0 {
        return Cut { candidates: best(row, &adjusted, commands, 1), total: None };
    }
    if params.top_k > 0 {
        return Cut { candidates: best(row, &adjusted, commands, params.top_k as usize), total: None };
    }
    let total = total(row, &adjusted, commands);
    for count in GROWING_CUTS {
        let count = count.min(row.len());
        let candidates = best(row, &adjusted, commands, count);
        if candidates.len() < count || count == row.len() || holds_truncation(&candidates, total, params) {
            return Cut { candidates, total: Some(total) };
        }
    }
    unreachable!("the last cut is the whole row")
}

/// Truncates and draws. `None` where there is no candidate.
#[must_use]
pub fn draw(mut cut: Cut, params: &Params, temperature: Option<f32>, random: &mut Random) -> Option<Token> {
    let temperature = temperature.unwrap_or(params.temperature);
    if temperature <= 0.0 {
        return cut.candidates.ids.first().copied();
    }
    truncate(&mut cut, params);
    let Candidates { ids, logits } = &cut.candidates;
    let max = *logits.first()?;
    let weights: Vec<f32> = logits.iter().map(|logit| ((logit - max) / temperature).exp()).collect();
    let total: f32 = weights.iter().sum();
    let mut left = random.next_f32() * total;
    for (id, weight) in ids.iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return Some(*id);
        }
    }
    ids.last().copied()
}

fn truncate(cut: &mut Cut, params: &Params) {
    let candidates = &mut cut.candidates;
    if params.top_k > 0 {
        candidates.truncate(params.top_k as usize);
        cut.total = None;
    }
    if params.typical_p < 1.0 {
        keep_typical(candidates, cut.total, params.typical_p);
        cut.total = None;
    }
    if params.top_p < 1.0 {
        let total = cut.total.unwrap_or_else(|| row::logsumexp(&candidates.logits));
        let mut cumulative = 0.0;
        let mut kept = 0;
        for logit in &candidates.logits {
            kept += 1;
            cumulative += (logit - total).exp();
            if cumulative >= params.top_p {
                break;
            }
        }
        candidates.truncate(kept);
    }
    if let Some(threshold) = min_p_threshold(candidates, params.min_p) {
        let kept = candidates.logits.iter().take_while(|logit| **logit >= threshold).count();
        candidates.truncate(kept.max(1));
    }
}

fn min_p_threshold(candidates: &Candidates, min_p: f32) -> Option<f32> {
    let max = *candidates.logits.first()?;
    (min_p > 0.0).then(|| max + min_p.ln())
}

/// Whether what the truncation keeps is among the candidates.
fn holds_truncation(candidates: &Candidates, total: f32, params: &Params) -> bool {
    if params.typical_p < 1.0 {
        return false;
    }
    let by_min_p = min_p_threshold(candidates, params.min_p)
        .is_some_and(|threshold| candidates.logits.last().is_some_and(|worst| *worst < threshold));
    let mass = || -> f32 { candidates.logits.iter().map(|logit| (logit - total).exp()).sum() };
    by_min_p || (params.top_p < 1.0 && mass() >= params.top_p)
}

/// Keeps the tokens whose surprise is closest to the expected one, up to a probability. Locally Typical Sampling,
/// Meister et al. 2022, <https://arxiv.org/abs/2202.00666>.
fn keep_typical(candidates: &mut Candidates, total: Option<f32>, typical_p: f32) {
    let total = total.unwrap_or_else(|| row::logsumexp(&candidates.logits));
    let probability = |logit: f32| (logit - total).exp();
    let entropy: f32 = candidates.logits.iter().map(|&l| -probability(l) * (l - total)).sum();
    let mut by_typicality: Vec<usize> = (0..candidates.len()).collect();
    let distance = |&at: &usize| ((total - candidates.logits[at]) - entropy).abs();
    by_typicality.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
    let mut kept = vec![false; candidates.len()];
    let mut cumulative = 0.0;
    for at in by_typicality {
        kept[at] = true;
        cumulative += probability(candidates.logits[at]);
        if cumulative > typical_p {
            break;
        }
    }
    let mut kept = kept.into_iter();
    candidates.retain(|_, _| kept.next().unwrap_or(false));
}

/// The tokens whose logits are not what the row says, and what they are instead; sorted by token.
fn adjust(row: &[f32], params: &Params, step: &Step, end_tokens: &[Token]) -> Vec<(Token, f32)> {
    let recent = step.last(params.repeat_last_n as usize);
    let penalised =
        params.repeat_penalty != 1.0 || params.frequency_penalty != 0.0 || params.presence_penalty != 0.0;
    let commands = &step.commands;
    let end_allowed = commands.allow_end.unwrap_or(!params.ignore_end);
    let mut touched: Vec<Token> = Vec::new();
    if penalised {
        touched.extend(recent);
    }
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
        if penalised {
            logit = penalise(logit, recent.iter().filter(|seen| **seen == token).count(), params);
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

/// The repetition penalty of CTRL (Keskar et al. 2019, <https://arxiv.org/abs/1909.05858>), as llama.cpp applies it
/// below 0, and OpenAI's frequency and presence penalties.
fn penalise(logit: f32, seen: usize, params: &Params) -> f32 {
    if seen == 0 {
        return logit;
    }
    let repeated = if logit <= 0.0 { logit * params.repeat_penalty } else { logit / params.repeat_penalty };
    #[expect(clippy::cast_precision_loss, reason = "a count of at most the context's length")]
    let seen = seen as f32;
    repeated - seen * params.frequency_penalty - params.presence_penalty
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
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(count);
    let (ids, logits) = all.into_iter().unzip();
    Candidates { ids, logits }
}

/// The logarithm of the sum of the exponentials of what may be chosen.
fn total(row: &[f32], adjusted: &[(Token, f32)], commands: &Commands) -> f32 {
    if adjusted.is_empty() && commands.allowed.is_none() {
        return row::logsumexp(row);
    }
    row::logsumexp(&best(row, adjusted, commands, row.len()).logits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::TokenSet;

    fn step(history: &[Token]) -> Step {
        Step { history: history.to_vec(), ..Step::default() }
    }

    fn ids(row: &[f32], params: &Params, step: &Step) -> Vec<Token> {
        let mut cut = cut(row, params, step, &[0], None);
        truncate(&mut cut, params);
        cut.candidates.ids
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
            let cut = cut(&row, &params, &step, &[0], None);
            assert_eq!(draw(cut, &params, None, &mut Random::new(1)), Some(expected), "{name}");
        }
    }

    /// A cut of the whole row is what a cut that grows must agree with.
    #[test]
    fn growing_cuts_draw_as_the_whole_row_does() {
        let mut random = Random::new(7);
        for (top_p, min_p) in [(0.9, 0.0), (1.0, 0.02), (0.99, 0.001), (1.0, 0.0)] {
            let params = Params { top_p, min_p, ..open() };
            let row: Vec<f32> = (0..20_000).map(|_| random.next_f32() * 12.0).collect();
            let whole = Cut { candidates: row::top(&row, row.len()), total: Some(row::logsumexp(&row)) };
            for seed in 0..50 {
                let grown =
                    draw(cut(&row, &params, &step(&[]), &[], None), &params, None, &mut Random::new(seed));
                let expected = draw(whole.clone(), &params, None, &mut Random::new(seed));
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
            let cut = cut(&row, &open(), &step(&[]), &[], None);
            counts[draw(cut, &open(), None, &mut random).unwrap() as usize] += 1;
        }
        for (count, probability) in counts.iter().zip([0.6, 0.3, 0.1]) {
            let share = f64::from(*count) / 20_000.0;
            // Four standard deviations of the worst of the three.
            assert!((share - probability).abs() < 4.0 * (0.25_f64 / 20_000.0).sqrt(), "{counts:?}");
        }
    }
}
