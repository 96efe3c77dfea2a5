//! Asks for more candidates than there can be.

use minerva_plugin::prelude::*;

struct Greedy;

impl Sampler for Greedy {
    type Args = ();
    const ABOUT: About = about!("Wants it all.");
    const NEEDS: Needs = Needs::cut(1_000_000);

    fn open(_: (), _: &[Token]) -> Result<Self, Error> {
        Ok(Self)
    }
}

export!(sampler: Greedy);
