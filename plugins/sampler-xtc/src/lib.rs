//! XTC as a plugin: now and then the likely tokens are left out, all but the least likely of them.
//!
//! Source: p-e-w 2024, "Exclude Top Choices (XTC)", text-generation-webui pull request 6335.

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// How often likely tokens are left out.
        probability: f32 = 0.5, minimum: 0, maximum: 1, examples: [0.0, 1.0];
        /// From which probability on a token is likely.
        threshold: f32 = 0.1, minimum: 0, maximum: 1, examples: [0.0, 0.02];
    }
}

/// The sampler.
pub struct Xtc {
    probability: f32,
    threshold: f32,
}

impl Sampler for Xtc {
    type Args = Args;
    const ABOUT: About =
        about!("XTC: leaves out the likely tokens now and then, all but the least likely of them.");
    const NEEDS: Needs = Needs::cut(256).with_fork().with_rollback();

    fn open(Args { probability, threshold }: Args, _prompt: &[Token]) -> Result<Self, Error> {
        Ok(Self { probability, threshold })
    }

    fn pick(&mut self, step: &mut Step, cut: &Candidates) -> Choice {
        // Drawn in every step, so that whether one is spared says nothing about the next.
        let drawn = step.random();
        let best = cut.logits[0];
        let total: f32 = cut.logits.iter().map(|logit| (logit - best).exp()).sum();
        let likely = cut.logits.partition_point(|logit| (logit - best).exp() / total >= self.threshold);
        if likely < 2 || drawn >= self.probability {
            return Choice::Host;
        }
        Choice::Only(cut.ids[likely - 1..].to_vec())
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self { ..*self })
    }

    fn rollback(&mut self, _count: u32) -> Result<(), Error> {
        Ok(())
    }
}

export!(sampler: Xtc);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    fn kept(args: &str, logits: &[f32]) -> Choice {
        let mut sampler: Xtc = testing::open(args, &[]).expect("the arguments are good");
        let cut = Candidates { ids: (0..).take(logits.len()).collect(), logits: logits.to_vec() };
        sampler.pick(&mut Step::default(), &cut)
    }

    #[test]
    fn the_least_likely_of_the_likely_stays() {
        // 0.64, 0.24, 0.09, 0.03.
        let logits = [3.0, 2.0, 1.0, 0.0];
        assert_eq!(kept(r#"{"probability": 1, "threshold": 0.05}"#, &logits), Choice::Only(vec![2, 3]));
        assert_eq!(kept(r#"{"probability": 1, "threshold": 0.2}"#, &logits), Choice::Only(vec![1, 2, 3]));
        // One that is likely alone stays, and so do all where none is.
        assert_eq!(kept(r#"{"probability": 1, "threshold": 0.5}"#, &logits), Choice::Host);
        assert_eq!(kept(r#"{"probability": 1, "threshold": 0.9}"#, &logits), Choice::Host);
        assert_eq!(kept(r#"{"probability": 0, "threshold": 0.1}"#, &logits), Choice::Host);
    }

    #[test]
    fn as_often_as_it_says() {
        let mut sampler: Xtc = testing::open(r#"{"probability": 0.3}"#, &[]).expect("the arguments are good");
        let cut = Candidates { ids: vec![0, 1], logits: vec![0.0, 0.0] };
        let mut step = Step::default();
        let excluded = (0..10_000).filter(|_| sampler.pick(&mut step, &cut) != Choice::Host).count();
        assert!((2_800..3_200).contains(&excluded), "{excluded}");
    }
}
