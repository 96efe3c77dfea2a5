//! Top-n-sigma as a plugin: keeps the tokens whose logit is within `n` standard deviations of the best one.
//!
//! Source: Tang et al. 2024, "Top-nσ: Not All Logits Are You Need" (arXiv 2411.07641).

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// How many standard deviations below the best logit a token may be; 0 keeps the best alone.
        n: f32 = 1.0, minimum: 0, maximum: 20, examples: [0.0, 0.5, 3.0];
    }
}

/// How many logits the deviation is taken of: enough for some hundredths, and a hundredth of the whole row's cost.
const SAMPLE: u32 = 4096;

/// The sampler.
pub struct TopNSigma {
    n: f32,
    /// Tokens evenly spread over the vocabulary.
    sample: Vec<Token>,
}

impl Sampler for TopNSigma {
    type Args = Args;
    const ABOUT: About =
        about!("Top-n-sigma: keeps the tokens within n standard deviations of the best logit.");
    const NEEDS: Needs = Needs::cut(256).with_row().with_fork().with_rollback();

    fn open(args: Args, _prompt: &[Token]) -> Result<Self, Error> {
        let size = model::vocab_size();
        let step = size.div_ceil(SAMPLE).max(1);
        Ok(Self { n: args.n, sample: (0..size).step_by(step as usize).collect() })
    }

    fn pick(&mut self, step: &mut Step, cut: &Candidates) -> Choice {
        let least = cut.logits[0] - self.n * deviation(&step.at(&self.sample));
        let kept = cut.logits.partition_point(|&logit| logit >= least).max(1);
        if kept == cut.len() { Choice::Host } else { Choice::Only(cut.ids[..kept].to_vec()) }
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self { n: self.n, sample: self.sample.clone() })
    }

    fn rollback(&mut self, _count: u32) -> Result<(), Error> {
        Ok(())
    }
}

/// The standard deviation of the logits that are numbers, in two passes so that large ones lose nothing.
#[allow(clippy::cast_precision_loss, reason = "some thousand")]
fn deviation(logits: &[f32]) -> f32 {
    let numbers = || logits.iter().copied().filter(|logit| logit.is_finite()).map(f64::from);
    let count = numbers().count().max(1) as f64;
    let mean = numbers().sum::<f64>() / count;
    let variance = numbers().map(|logit| (logit - mean).powi(2)).sum::<f64>() / count;
    variance.sqrt() as f32
}

export!(sampler: TopNSigma);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing::{self, Vocabulary};

    fn kept(args: &str, row: &[f32]) -> Choice {
        testing::set_vocabulary(Vocabulary::of(["a", "b", "c", "d"]));
        let mut sampler: TopNSigma = testing::open(args, &[]).expect("the arguments are good");
        let mut step = Step::default().with_row(row);
        let cut = step.top(4);
        sampler.pick(&mut step, &cut)
    }

    #[test]
    fn within_the_deviation() {
        // The mean is 2.5 and the deviation 2.5.
        let row = [5.0, 5.0, 0.0, 0.0];
        assert_eq!(kept(r#"{"n": 1.9}"#, &row), Choice::Only(vec![0, 1]));
        assert_eq!(kept(r#"{"n": 2.1}"#, &row), Choice::Host);
        assert_eq!(kept(r#"{"n": 0}"#, &[1.0, 3.0, 2.0, 0.0]), Choice::Only(vec![1]));
        // All alike, and what is banned.
        assert_eq!(kept("{}", &[1.0; 4]), Choice::Host);
        assert_eq!(kept("{}", &[4.0, 0.0, f32::NEG_INFINITY, f32::NEG_INFINITY]), Choice::Only(vec![0]));
    }
}
