//! Min-p as a plugin: keeps the tokens at least `p` times as probable as the best one.
//!
//! The host draws from what is kept, so a seed means the same here as with the built-in min-p. Probabilities are
//! those before temperature, as they are there: `p` times the best probability is `ln p` below the best logit.

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// Keep tokens at least this probable, relative to the best one; 0 keeps all, 1 the best alone.
        p: f32 = 0.05, minimum: 0, maximum: 1;
    }
}

/// How far below the best logit a token may be.
pub struct MinP {
    margin: f32,
}

impl Sampler for MinP {
    type Args = Args;
    const ABOUT: About =
        about!("Min-p: keeps the tokens that are probable enough, relative to the best one.");
    // At the default p, 20 tokens can be kept at most when one has a third of the probability. 256 leaves room
    // for a flat distribution.
    const NEEDS: Needs = Needs::cut(256).with_fork().with_rollback();

    fn open(args: Args, _prompt: &[Token]) -> Result<Self, Error> {
        Ok(Self { margin: args.p.ln() })
    }

    fn pick(&mut self, _step: &mut Step, cut: &Candidates) -> Choice {
        let least = cut.logits[0] + self.margin;
        let kept = cut.logits.partition_point(|&logit| logit >= least);
        if kept == cut.len() { Choice::Host } else { Choice::Only(cut.ids[..kept].to_vec()) }
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self { margin: self.margin })
    }

    fn rollback(&mut self, _count: u32) -> Result<(), Error> {
        // Nothing is remembered of tokens.
        Ok(())
    }
}

export!(sampler: MinP);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    fn kept(args: &str, logits: &[f32]) -> Choice {
        let mut sampler: MinP = testing::open(args, &[]).expect("the arguments are good");
        let cut = Candidates { ids: (0..).take(logits.len()).collect(), logits: logits.to_vec() };
        sampler.pick(&mut Step::default(), &cut)
    }

    #[test]
    fn keeps_what_is_probable_enough() {
        // exp(-1) = 0.37, exp(-3) = 0.0498.
        let logits = [5.0, 4.0, 2.0, -10.0];
        assert_eq!(kept(r#"{"p": 0.3}"#, &logits), Choice::Only(vec![0, 1]));
        assert_eq!(kept("{}", &logits), Choice::Only(vec![0, 1]));
        assert_eq!(kept(r#"{"p": 0.04}"#, &logits), Choice::Only(vec![0, 1, 2]));
    }

    #[test]
    fn the_ends_of_the_scale() {
        let logits = [5.0, 5.0, 2.0];
        assert_eq!(kept(r#"{"p": 1}"#, &logits), Choice::Only(vec![0, 1]));
        assert_eq!(kept(r#"{"p": 0}"#, &logits), Choice::Host);
        assert_eq!(kept(r#"{"p": 1}"#, &[3.0]), Choice::Host);
    }
}
