//! A temperature that follows the entropy of the step: low where the model is sure, high where it is not.
//!
//! The same as the "dynamic temperature" of KoboldCpp and llama.cpp (2023), over the best 64 candidates.

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// The temperature where the model is sure.
        low: f32 = 0.3, minimum: 0, maximum: 10, examples: [0.0];
        /// The temperature where all candidates are alike.
        high: f32 = 1.2, minimum: 0, maximum: 10;
        /// More keeps the temperature low for longer.
        exponent: f32 = 1.0, minimum: 0.01, maximum: 100, examples: [0.5, 3.0];
    }
}

/// The candidates that are looked at.
const CUT: u32 = 64;

/// The sampler.
pub struct AdaptiveTemperature(Args);

impl Sampler for AdaptiveTemperature {
    type Args = Args;
    const ABOUT: About = about!("A temperature that follows the entropy: low where the model is sure.");
    const NEEDS: Needs = Needs::cut(CUT).with_fork().with_rollback();

    fn open(args: Args, _prompt: &[Token]) -> Result<Self, Error> {
        Ok(Self(args))
    }

    fn pick(&mut self, step: &mut Step, cut: &Candidates) -> Choice {
        let Args { low, high, exponent } = self.0;
        step.temperature(low + (high - low) * unsureness(&cut.logits).powf(exponent));
        Choice::Host
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self(Args { ..self.0 }))
    }

    fn rollback(&mut self, _count: u32) -> Result<(), Error> {
        Ok(())
    }
}

/// The entropy of candidates, as a part of the most that it could be.
#[allow(clippy::cast_precision_loss, reason = "64")]
fn unsureness(logits: &[f32]) -> f32 {
    let weights: Vec<f32> = logits.iter().map(|logit| (logit - logits[0]).exp()).collect();
    let total: f32 = weights.iter().sum();
    let entropy: f32 =
        weights.iter().map(|weight| weight / total).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
    (entropy / (CUT as f32).ln()).clamp(0.0, 1.0)
}

export!(sampler: AdaptiveTemperature);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    fn temperature(args: &str, logits: Vec<f32>) -> f32 {
        let mut sampler: AdaptiveTemperature = testing::open(args, &[]).expect("the arguments are good");
        let mut step = Step::default();
        let cut = Candidates { ids: (0..).take(logits.len()).collect(), logits };
        assert_eq!(sampler.pick(&mut step, &cut), Choice::Host);
        step.commands().temperature.expect("a temperature")
    }

    #[test]
    fn follows_the_entropy() {
        let args = r#"{"low": 0.2, "high": 1.0}"#;
        assert!((temperature(args, vec![50.0, 0.0]) - 0.2).abs() < 1e-4);
        assert!((temperature(args, vec![0.0; 64]) - 1.0).abs() < 1e-4);
        // Eight alike: ln 8 is half of ln 64.
        assert!((temperature(args, vec![0.0; 8]) - 0.6).abs() < 1e-4);
        let late = r#"{"low": 0.2, "high": 1.0, "exponent": 2}"#;
        assert!((temperature(late, vec![0.0; 8]) - 0.4).abs() < 1e-4);
        assert!((temperature("{}", vec![1.0]) - 0.3).abs() < 1e-4);
    }
}
