//! Sees every logit, if it is let.

use minerva_plugin::prelude::*;

struct Argmax;

impl Sampler for Argmax {
    type Args = ();
    const ABOUT: About = about!("Chooses the best of all tokens, by looking at all of them.");
    const NEEDS: Needs = Needs::full_row(1);

    fn open(_: (), _: &[Token]) -> Result<Self, Error> {
        Ok(Self)
    }

    fn pick(&mut self, step: &mut Step, _: &Candidates) -> Choice {
        let row = step.full();
        let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a row is not empty");
        Choice::Token(best as Token)
    }
}

export!(sampler: Argmax);
