use minerva_plugin::prelude::*;

args! {
    pub struct Nothing {}
}

struct Calm {
    words: TokenSet,
    steps: usize,
}

impl Sampler for Calm {
    type Args = Nothing;
    const ABOUT: About =
        about!("Says no digits, repeats itself less, and is calmer where it is unsure.");
    const NEEDS: Needs = Needs::cut(64).with_row().with_fork().with_rollback();

    fn open(_: Nothing, _: &[Token]) -> Result<Self, Error> {
        let mut words = TokenSet::matching(r".*\d.*")?;
        words.invert();
        Ok(Self { words, steps: 0 })
    }

    fn advance(&mut self, step: &mut Step, committed: &[Token]) {
        self.steps += committed.len();
        step.allow(&self.words);
    }

    fn pick(&mut self, step: &mut Step, _: &Candidates) -> Choice {
        let latest = step.history(8);
        step.bias(&latest, &vec![-1.0; latest.len()]);
        let row = step.summarize();
        step.temperature(if row.entropy > 2.0 { 0.5 } else { 1.0 });
        Choice::Host
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self { steps: self.steps, ..Self::open(Nothing {}, &[])? })
    }

    fn rollback(&mut self, count: u32) -> Result<(), Error> {
        self.steps -= count as usize;
        Ok(())
    }

    fn close(&mut self) -> Option<String> {
        Some(format!(r#"{{"steps": {}}}"#, self.steps))
    }
}

export!(sampler: Calm);
