//! What prefill costs, learned while running.
//!
//! The model: a call takes a fixed time, and for each token a time that grows with its place in the sequence, because
//! it attends to all before it. Its three weights follow each measurement by the normalised least-mean-squares rule
//! (Widrow and Hoff 1960): quick to follow a machine whose speed changes, and it cannot run away.

/// Tokens that, before anything is known, are taken to cost as much as the fixed part.
const FIXED_AS_TOKENS: f64 = 16.0;

/// Units that make the three inputs alike in size: tokens, and tokens times place.
const TOKENS: f64 = 32.0;
const DEPTH: f64 = 1024.0;

/// How much of an error a measurement corrects.
const GAIN: f64 = 0.5;

/// The learned cost of a call that decodes prompts, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PrefillCost {
    /// Of: the call, 32 tokens, 32 tokens that are 1,024 deep. `None` before the first measurement.
    weights: Option<[f64; 3]>,
}

impl PrefillCost {
    /// The time that a call of `tokens` at `depth` takes; `None` while nothing is known.
    pub(crate) fn of(&self, tokens: u32, depth: u32) -> Option<f64> {
        let weights = self.weights?;
        Some(inputs(tokens, depth).iter().zip(weights).map(|(input, weight)| input * weight).sum())
    }

    /// The most tokens whose call takes no longer than this.
    pub(crate) fn tokens_within(&self, milliseconds: f64, depth: u32) -> Option<u32> {
        let (fixed, each) = self.parts(depth)?;
        Some(whole((milliseconds - fixed) / each))
    }

    /// The fewest tokens, at least 1, whose own part of a call is half of its fixed part or more: of a smaller call
    /// most would be overhead.
    pub(crate) fn efficient_tokens(&self, depth: u32) -> Option<u32> {
        let (fixed, each) = self.parts(depth)?;
        Some(whole((fixed / each / 2.0).ceil()).max(1))
    }

    /// The fixed part of a call, and what each token adds to it.
    fn parts(&self, depth: u32) -> Option<(f64, f64)> {
        let [fixed, ..] = self.weights?;
        Some((fixed, (self.of(1, depth)? - fixed).max(1e-6)))
    }

    /// Learns from a call.
    pub(crate) fn learn(&mut self, tokens: u32, depth: u32, milliseconds: f64) {
        let inputs = inputs(tokens, depth);
        let Some(weights) = &mut self.weights else {
            let each = milliseconds / (f64::from(tokens) + FIXED_AS_TOKENS);
            self.weights = Some([each * FIXED_AS_TOKENS, each * TOKENS, 0.0]);
            return;
        };
        let expected: f64 = inputs.iter().zip(*weights).map(|(input, weight)| input * weight).sum();
        // One call that a busy machine held up must not stop prefill for long.
        let error = (milliseconds - expected).min(expected);
        let power: f64 = inputs.iter().map(|input| input * input).sum();
        for (weight, input) in weights.iter_mut().zip(inputs) {
            *weight = (*weight + GAIN * error * input / power).max(0.0);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it saturates, and is no less than 0"
)]
fn whole(tokens: f64) -> u32 {
    tokens.max(0.0) as u32
}

fn inputs(tokens: u32, depth: u32) -> [f64; 3] {
    let tokens = f64::from(tokens) / TOKENS;
    [1.0, tokens, tokens * f64::from(depth) / DEPTH]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was measured of a 0.5B model on two cores, roughly.
    fn truth(tokens: u32, depth: u32) -> f64 {
        12.5 + f64::from(tokens) * (1.2 + 0.0008 * f64::from(depth))
    }

    #[test]
    fn it_learns_what_calls_cost_and_follows_a_long_prompt_down() {
        let mut cost = PrefillCost::default();
        assert_eq!(cost.of(16, 0), None);
        let mut depth = 0;
        for call in 0..200 {
            let tokens = [16, 24, 48, 16][call % 4];
            cost.learn(tokens, depth, truth(tokens, depth));
            depth += tokens;
            if call > 20 {
                let (expected, learned) = (truth(24, depth), cost.of(24, depth).expect("something"));
                assert!((learned / expected - 1.0).abs() < 0.15, "call {call}: {learned} ms, not {expected}");
            }
        }
        let tokens = cost.tokens_within(100.0, depth).expect("something");
        assert!((70.0..130.0).contains(&truth(tokens, depth)), "{tokens} tokens at {depth}");
    }

    #[test]
    fn one_call_that_was_held_up_is_soon_forgotten() {
        let mut cost = PrefillCost::default();
        (0..50).for_each(|_| cost.learn(32, 0, 50.0));
        cost.learn(32, 0, 50_000.0);
        assert!(cost.of(32, 0) < Some(101.0));
        (0..6).for_each(|_| cost.learn(32, 0, 50.0));
        assert!(cost.of(32, 0) < Some(52.0), "{:?}", cost.of(32, 0));
    }
}
