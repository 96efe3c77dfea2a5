//! Passes over a row of logits. The row is as long as the vocabulary, so these are the only loops in sampling
//! whose cost shows; each reads the row once and builds nothing of its length.

use std::cmp::Ordering;

use crate::model::Token;
use crate::step::{Candidates, RowSummary, TokenSet};

/// Logits in a block: one maximum each is kept, and a block is looked into only if its maximum is good enough.
const BLOCK: usize = 64;

/// Logits that are summed up exactly; of more, so many at a time are summed in 32 bits.
const SHORT: usize = 2048;

/// The best `count` candidates of a row, best first; ties go to the lower token. Logits that are not a number
/// count as negative infinity, and negative infinity is never a candidate.
#[must_use]
pub fn top(row: &[f32], count: usize) -> Candidates {
    top_where(row, count, None)
}

/// The best `count` candidates among the tokens of a set.
///
/// One pass takes each block's maximum. The `count`-th best of the maxima bounds from below the `count`-th best
/// logit (so many logits are at least as good), so blocks below that bound are skipped.
#[must_use]
pub fn top_where(row: &[f32], count: usize, allowed: Option<&TokenSet>) -> Candidates {
    if count == 0 || row.is_empty() {
        return Candidates::default();
    }
    let maxima: Vec<f32> = match allowed {
        None => row.chunks(BLOCK).map(block_max).collect(),
        Some(set) => row.chunks(BLOCK).enumerate().map(|(b, block)| allowed_max(block, b, set)).collect(),
    };
    let bound = if count < maxima.len() {
        let mut sorted = maxima.clone();
        let (_, bound, _) = sorted.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
        *bound
    } else {
        f32::NEG_INFINITY
    };

    let mut best: Vec<(Token, f32)> = Vec::with_capacity(count.min(row.len()) * 2);
    for (index, block) in row.chunks(BLOCK).enumerate() {
        if maxima[index] < bound || maxima[index] == f32::NEG_INFINITY {
            continue;
        }
        for (offset, &logit) in block.iter().enumerate() {
            let id = token(index * BLOCK + offset);
            if logit >= bound && logit > f32::NEG_INFINITY && allowed.is_none_or(|set| set.has(id)) {
                best.push((id, logit));
            }
        }
    }
    if best.len() > count {
        best.select_nth_unstable_by(count - 1, better);
        best.truncate(count);
    }
    best.sort_unstable_by(better);
    let (ids, logits) = best.into_iter().unzip();
    Candidates { ids, logits }
}

/// What a row looks like as a distribution at temperature 1.
#[must_use]
pub fn summarize(row: &[f32]) -> RowSummary {
    let best = top(row, 1);
    let (Some(&argmax), Some(&max)) = (best.ids.first(), best.logits.first()) else {
        return RowSummary { argmax: 0, max: f32::NEG_INFINITY, logsumexp: f32::NEG_INFINITY, entropy: 0.0 };
    };
    let (mut sum, mut weighted) = (0.0_f64, 0.0_f64);
    for &logit in row {
        let shifted = logit - max;
        if shifted > -80.0 {
            let weight = f64::from(shifted.exp());
            sum += weight;
            weighted += weight * f64::from(shifted);
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "a result as precise as the logits is wanted")]
    let (log_sum, entropy) = (sum.ln() as f32, (sum.ln() - weighted / sum).max(0.0) as f32);
    RowSummary { argmax, max, logsumexp: max + log_sum, entropy }
}

/// The logarithm of the sum of the exponentials of a row.
#[must_use]
pub fn logsumexp(row: &[f32]) -> f64 {
    let max = max(row);
    if max == f32::NEG_INFINITY {
        return f64::from(max);
    }
    if row.len() <= SHORT {
        let numbers = row.iter().filter(|logit| !logit.is_nan());
        let sum: f64 = numbers.map(|logit| (f64::from(*logit) - f64::from(max)).exp()).sum();
        return f64::from(max) + sum.ln();
    }
    let sum: f64 = row.chunks(SHORT).map(|chunk| f64::from(sum_of_exponentials(chunk, max))).sum();
    f64::from(max) + sum.ln()
}

/// The best logit; negative infinity where there is no number.
pub(crate) fn max(row: &[f32]) -> f32 {
    row.chunks(BLOCK).map(block_max).fold(f32::NEG_INFINITY, f32::max)
}

/// The sum over all logits that are finite. In lanes, as [`block_max`].
pub(crate) fn sum(logits: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    let term = |logit: f32| if logit.is_finite() { of(f64::from(logit)) } else { 0.0 };
    let mut lanes = [0.0_f64; 8];
    let (chunks, rest) = logits.as_chunks::<8>();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane += term(logit);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&logit| term(logit)).sum::<f64>()
}

/// The exponential of each logit less a maximum; 0 for a NaN.
pub(crate) fn exponentials(logits: &[f32], max: f32) -> Vec<f32> {
    logits.iter().map(|&logit| exponential(logit - max)).collect()
}

/// The sum of the exponentials of logits below a maximum, a NaN being none. In lanes, as [`block_max`].
fn sum_of_exponentials(logits: &[f32], max: f32) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let (chunks, rest) = logits.as_chunks::<16>();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane += exponential(logit - max);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|&logit| exponential(logit - max)).sum::<f32>()
}

/// e to the power of a number up to 0, within 2e-7 of itself; 0 below -87 and for a NaN. Cephes' `expf`, without
/// branches, so that the compiler vectorises it.
#[expect(clippy::excessive_precision, reason = "the constants as Cephes gives them")]
fn exponential(x: f32) -> f32 {
    // Adding this rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let weighs = x > -87.0;
    let x = if weighs { x } else { -87.0 };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let r = x - whole * 0.693_359_375 + whole * 2.121_944_4e-4;
    let mut p = 1.987_569_15e-4;
    p = p * r + 1.398_199_95e-3;
    p = p * r + 8.333_451_9e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5.000_000_1e-1;
    let fraction = p * r * r + r + 1.0;
    // The lowest bits of what was rounded are the whole number. A cast would saturate, which is not vectorised.
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    if weighs { fraction * f32::from_bits(exponent) } else { 0.0 }
}

/// The maximum of a block, a NaN being no candidate. Lanes of their own let the compiler vectorise it.
fn block_max(block: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (chunks, rest) = block.as_chunks::<16>();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    for (lane, &logit) in lanes.iter_mut().zip(rest) {
        *lane = if logit > *lane { logit } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// The maximum of what is allowed of a block. A block is two words of the set: most are all or nothing.
fn allowed_max(block: &[f32], index: usize, set: &TokenSet) -> f32 {
    let word = |at: usize| set.words().get(index * 2 + at).copied().unwrap_or(0);
    match (word(0), word(1)) {
        (0, 0) => f32::NEG_INFINITY,
        (u32::MAX, u32::MAX) => block_max(block),
        _ => {
            let allowed = block.iter().enumerate().filter(|(at, _)| set.has(token(index * BLOCK + at)));
            allowed.map(|(_, &logit)| logit).fold(f32::NEG_INFINITY, f32::max)
        }
    }
}

pub(crate) fn better(a: &(Token, f32), b: &(Token, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

#[expect(clippy::cast_possible_truncation, reason = "a vocabulary has far fewer than 2^32 tokens")]
fn token(index: usize) -> Token {
    index as Token
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: sort everything.
    fn sorted(row: &[f32], count: usize, allowed: Option<&TokenSet>) -> Vec<(Token, f32)> {
        let mut all: Vec<_> = row.iter().enumerate().map(|(id, &logit)| (token(id), logit)).collect();
        all.retain(|&(id, logit)| logit > f32::NEG_INFINITY && allowed.is_none_or(|set| set.has(id)));
        all.sort_by(better);
        all.truncate(count);
        all
    }

    fn pairs(candidates: &Candidates) -> Vec<(Token, f32)> {
        candidates.ids.iter().copied().zip(candidates.logits.iter().copied()).collect()
    }

    fn logit() -> impl Strategy<Value = f32> {
        prop_oneof![
            20 => -30.0_f32..30.0,
            // Ties across and inside blocks.
            5 => (-3_i8..3).prop_map(f32::from),
            1 => Just(f32::NAN),
            1 => Just(f32::NEG_INFINITY),
        ]
    }

    proptest! {
        #[test]
        fn top_is_the_head_of_the_sorted_row(
            row in prop::collection::vec(logit(), 0..700),
            count in 0_usize..100,
        ) {
            prop_assert_eq!(pairs(&top(&row, count)), sorted(&row, count, None));
        }

        #[test]
        fn top_where_never_leaves_the_set(
            row in prop::collection::vec(logit(), 0..700),
            words in prop::collection::vec(prop_oneof![Just(0), Just(u32::MAX), any::<u32>()], 0..22),
            count in 0_usize..100,
        ) {
            let set = TokenSet::from_words(words);
            prop_assert_eq!(pairs(&top_where(&row, count, Some(&set))), sorted(&row, count, Some(&set)));
        }
    }

    #[test]
    fn long_rows_sum_up_as_short_ones_do() {
        let mut random = crate::step::Random::new(5);
        let mut row: Vec<f32> = (0..151_936).map(|_| random.next_f32() * 40.0 - 30.0).collect();
        row[7] = f32::NAN;
        row[8] = f32::NEG_INFINITY;
        let exact: f64 =
            row.iter().filter(|logit| !logit.is_nan()).map(|logit| f64::from(*logit).exp()).sum();
        assert!((logsumexp(&row) - exact.ln()).abs() < 1e-6, "{} {}", logsumexp(&row), exact.ln());
        for tenth in 0..1000 {
            let x = -0.09 * f32::from(u16::try_from(tenth).unwrap());
            let exact = f64::from(x).exp();
            let error = (f64::from(exponential(x)) - exact).abs();
            assert!(error <= 2e-7 * exact || x < -87.0 && error < 1e-37, "{x}");
        }
        assert_eq!((exponential(f32::NAN), exponential(f32::NEG_INFINITY)), (0.0, 0.0));
    }

    #[test]
    fn summary_of_a_uniform_row() {
        let summary = summarize(&[2.0; 100]);
        assert_eq!(summary.argmax, 0);
        assert!((summary.entropy - 100.0_f32.ln()).abs() < 1e-4, "{summary:?}");
        assert!((summary.logsumexp - (2.0 + 100.0_f32.ln())).abs() < 1e-4, "{summary:?}");
        assert!((logsumexp(&[2.0; 100]) - f64::from(summary.logsumexp)).abs() < 1e-5);
    }
}
