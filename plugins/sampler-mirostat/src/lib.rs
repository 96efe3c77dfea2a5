//! Mirostat version 2 as a plugin: keeps the surprise of an answer near a target.
//!
//! Source: Basu et al. 2020, "Mirostat: A Neural Text Decoding Algorithm that Directly Controls Perplexity" (arXiv
//! 2007.14966), the second algorithm.

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// The surprise to keep to, in bits a token.
        tau: f32 = 5.0, minimum: 0, maximum: 20, examples: [0.0, 2.0];
        /// How fast the limit follows.
        eta: f32 = 0.1, minimum: 0, maximum: 1, examples: [1.0];
    }
}

/// The sampler.
#[derive(Clone)]
pub struct Mirostat {
    tau: f32,
    eta: f32,
    /// The most surprise that a token may have, in bits.
    limit: f32,
    /// What the last step could be drawn from, and how surprising each would be.
    offered: Vec<(Token, f32)>,
}

impl Sampler for Mirostat {
    type Args = Args;
    const ABOUT: About = about!("Mirostat 2: keeps the surprise of the answer near a target.");
    const NEEDS: Needs = Needs::cut(512).with_fork();

    fn open(Args { tau, eta }: Args, _prompt: &[Token]) -> Result<Self, Error> {
        Ok(Self { tau, eta, limit: 2.0 * tau, offered: Vec::new() })
    }

    fn advance(&mut self, _step: &mut Step, committed: &[Token]) {
        // Only the first was drawn; others may have been forced.
        let drawn = committed.first().and_then(|token| self.offered.iter().find(|(id, _)| id == token));
        if let Some((_, surprise)) = drawn {
            self.limit -= self.eta * (surprise - self.tau);
        }
        self.offered.clear();
    }

    fn pick(&mut self, _step: &mut Step, cut: &Candidates) -> Choice {
        let bits = surprises(&cut.logits);
        let kept = bits.partition_point(|&bits| bits <= self.limit).max(1);
        // The surprise that counts is the one among what is kept: that is what is drawn from.
        let among = surprises(&cut.logits[..kept]);
        self.offered = cut.ids.iter().copied().zip(among).collect();
        if kept == cut.len() { Choice::Host } else { Choice::Only(cut.ids[..kept].to_vec()) }
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(self.clone())
    }
}

/// How surprising each would be, in bits.
fn surprises(logits: &[f32]) -> Vec<f32> {
    let best = logits[0];
    let total = logits.iter().map(|logit| (logit - best).exp()).sum::<f32>().ln();
    logits.iter().map(|logit| (best + total - logit) / std::f32::consts::LN_2).collect()
}

export!(sampler: Mirostat);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    #[test]
    fn surprise_is_in_bits() {
        assert_eq!(surprises(&[1.0; 8]), [3.0; 8]);
        assert_eq!(surprises(&[0.0]), [0.0]);
    }

    #[test]
    fn the_limit_follows() {
        let mut sampler: Mirostat = testing::open(r#"{"tau": 1, "eta": 0.5}"#, &[]).expect("good arguments");
        let cut = Candidates { ids: vec![0, 1, 2, 3], logits: vec![0.0; 4] };
        let mut step = Step::default();
        // Two bits each, and that is the limit.
        assert_eq!(sampler.pick(&mut step, &cut), Choice::Host);
        sampler.advance(&mut step, &[1]);
        assert!((sampler.limit - 1.5).abs() < 1e-6, "{}", sampler.limit);
        // Now all are too surprising, and the best stays.
        assert_eq!(sampler.pick(&mut step, &cut), Choice::Only(vec![0]));
        sampler.advance(&mut step, &[0]);
        assert!((sampler.limit - 2.0).abs() < 1e-6, "{}", sampler.limit);
        // What it did not offer teaches it nothing.
        sampler.advance(&mut step, &[9, 9]);
        assert!((sampler.limit - 2.0).abs() < 1e-6, "{}", sampler.limit);
    }

    #[test]
    fn keeps_to_the_target() {
        let mut sampler: Mirostat = testing::open(r#"{"tau": 3}"#, &[]).expect("good arguments");
        let logits: Vec<f32> = (0..512_u16).map(|rank| -f32::from(rank).ln_1p() * 1.2).collect();
        let cut = Candidates { ids: (0..512).collect(), logits };
        let mut step = Step::default();
        let mut sum = 0.0;
        for round in 0..2_000 {
            let choice = sampler.pick(&mut step, &cut);
            let kept = if let Choice::Only(ids) = choice { ids.len() } else { cut.len() };
            // A draw from what is kept.
            let weights: Vec<f32> = cut.logits[..kept].iter().map(|logit| logit.exp()).collect();
            let mut left = step.random() * weights.iter().sum::<f32>();
            let at = weights.iter().position(|weight| {
                left -= weight;
                left <= 0.0
            });
            let token = cut.ids[at.unwrap_or(0)];
            let surprise = sampler.offered.iter().find(|(id, _)| *id == token).expect("it was offered").1;
            sum += if round >= 1_000 { surprise } else { 0.0 };
            sampler.advance(&mut step, &[token]);
        }
        assert!((sum / 1_000.0 - 3.0).abs() < 0.2, "{}", sum / 1_000.0);
    }
}
