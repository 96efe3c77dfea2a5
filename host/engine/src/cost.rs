//! What calls of the model cost, learned while running.
//!
//! A call takes a fixed time for each pass over the weights, and for each token a time that grows with the length that
//! it is computed at. The three weights follow each measurement by the normalised least-mean-squares rule
//! (Widrow and Hoff 1960): quick to follow a machine whose speed changes, and it cannot run away.

/// Tokens that, before anything is known, are taken to cost as much as the fixed part.
const FIXED_AS_TOKENS: f64 = 16.0;

/// Units that make the three inputs alike in size: tokens, and tokens times length.
const TOKENS: f64 = 32.0;
const LENGTH: f64 = 1024.0;

/// How much of an error a measurement corrects.
const GAIN: f64 = 0.5;

/// What a call has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// Passes over the weights.
    pub passes: u32,
    pub tokens: u32,
    /// The length of the longest sequence, which all are computed at.
    pub length: u32,
}

impl Work {
    /// Of one sequence.
    pub(crate) fn of_one(tokens: u32, length: u32) -> Self {
        Self { passes: 1, tokens, length }
    }

    fn inputs(self) -> [f64; 3] {
        let tokens = f64::from(self.tokens) / TOKENS;
        [f64::from(self.passes), tokens, tokens * f64::from(self.length) / LENGTH]
    }
}

/// The learned cost of one kind of call, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallCost {
    /// Of: a pass, 32 tokens, 32 tokens at a length of 1,024. `None` before the first measurement.
    weights: Option<[f64; 3]>,
}

impl CallCost {
    /// The time that a call takes; `None` while nothing is known.
    pub(crate) fn of(&self, work: Work) -> Option<f64> {
        Some(work.inputs().iter().zip(self.weights?).map(|(input, weight)| input * weight).sum())
    }

    /// The most tokens of one sequence whose call takes no longer than this.
    pub(crate) fn tokens_within(&self, milliseconds: f64, length: u32) -> Option<u32> {
        let (fixed, each) = self.parts(length)?;
        Some(whole((milliseconds - fixed) / each))
    }

    /// The fewest tokens, at least 1, whose own part of a call is half of its fixed part or more: of a smaller call
    /// most would be overhead.
    pub(crate) fn efficient_tokens(&self, length: u32) -> Option<u32> {
        let (fixed, each) = self.parts(length)?;
        Some(whole((fixed / each / 2.0).ceil()).max(1))
    }

    /// The fixed part of a call, and what each token adds to it.
    fn parts(&self, length: u32) -> Option<(f64, f64)> {
        let [fixed, ..] = self.weights?;
        Some((fixed, (self.of(Work::of_one(1, length))? - fixed).max(1e-6)))
    }

    /// Learns from a call.
    pub(crate) fn learn(&mut self, work: Work, milliseconds: f64) {
        let inputs = work.inputs();
        let Some(weights) = &mut self.weights else {
            let each = milliseconds / (f64::from(work.tokens) + FIXED_AS_TOKENS * f64::from(work.passes));
            self.weights = Some([each * FIXED_AS_TOKENS, each * TOKENS, 0.0]);
            return;
        };
        let expected: f64 = inputs.iter().zip(*weights).map(|(input, weight)| input * weight).sum();
        // One call that a busy machine held up must not count for long.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What was measured of a 0.5B model on two cores, roughly.
    fn truth(tokens: u32, depth: u32) -> f64 {
        12.5 + f64::from(tokens) * (1.2 + 0.0008 * f64::from(depth))
    }

    #[test]
    fn it_learns_what_calls_cost_and_follows_a_long_prompt_down() {
        let mut cost = CallCost::default();
        assert_eq!(cost.of(Work::of_one(16, 0)), None);
        let mut depth = 0;
        for call in 0..200 {
            let tokens = [16, 24, 48, 16][call % 4];
            cost.learn(Work::of_one(tokens, depth), truth(tokens, depth));
            depth += tokens;
            if call > 20 {
                let (expected, learned) =
                    (truth(24, depth), cost.of(Work::of_one(24, depth)).expect("something"));
                assert!((learned / expected - 1.0).abs() < 0.15, "call {call}: {learned} ms, not {expected}");
            }
        }
        let tokens = cost.tokens_within(100.0, depth).expect("something");
        assert!((70.0..130.0).contains(&truth(tokens, depth)), "{tokens} tokens at {depth}");
    }

    #[test]
    fn one_call_that_was_held_up_is_soon_forgotten() {
        let mut cost = CallCost::default();
        (0..50).for_each(|_| cost.learn(Work::of_one(32, 0), 50.0));
        cost.learn(Work::of_one(32, 0), 50_000.0);
        assert!(cost.of(Work::of_one(32, 0)) < Some(101.0));
        (0..6).for_each(|_| cost.learn(Work::of_one(32, 0), 50.0));
        assert!(cost.of(Work::of_one(32, 0)) < Some(52.0), "{:?}", cost.of(Work::of_one(32, 0)));
    }
}
