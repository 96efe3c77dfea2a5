//! A sampler: sees the best candidates of every step, and says which of them may be chosen.

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// Keep tokens at least this probable, relative to the best one.
        p: f32 = 0.1, minimum: 0, maximum: 1;
    }
}

/// Its part in one answer.
struct Plugin {
    /// How far below the best logit a token may be.
    margin: f32,
}

impl Sampler for Plugin {
    type Args = Args;
    const ABOUT: About = about!("Keeps the tokens that are probable enough beside the best one.");
    // The best 64 candidates. Nothing is remembered between tokens, so forks and rollbacks are easy.
    const NEEDS: Needs = Needs::cut(64).with_fork().with_rollback();

    fn open(args: Args, _prompt: &[Token]) -> Result<Self, Error> {
        Ok(Self {
            margin: args.p.ln(),
        })
    }

    fn pick(&mut self, _step: &mut Step, cut: &Candidates) -> Choice {
        let least = cut.logits[0] + self.margin;
        Choice::Only(
            cut.iter()
                .take_while(|&(_, logit)| logit >= least)
                .map(|(id, _)| id)
                .collect(),
        )
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self {
            margin: self.margin,
        })
    }

    fn rollback(&mut self, _count: u32) -> Result<(), Error> {
        Ok(())
    }
}

export!(sampler: Plugin);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    #[test]
    fn keeps_what_is_probable_enough() {
        let mut plugin: Plugin =
            testing::open(r#"{"p": 0.3}"#, &[]).expect("the arguments are good");
        let cut = Candidates {
            ids: vec![7, 3, 9],
            logits: vec![5.0, 4.0, 2.0],
        };
        assert_eq!(
            plugin.pick(&mut Step::default(), &cut),
            Choice::Only(vec![7, 3])
        );
    }
}
