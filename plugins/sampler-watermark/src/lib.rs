//! A watermark in the choice of words, and its detector.
//!
//! Source: Kirchenbauer et al. 2023, "A Watermark for Large Language Models" (arXiv 2301.10226), the soft watermark
//! with one token of context. Instead of a permutation of the vocabulary, each token is hashed on its own: so only
//! the candidates have to be looked at.

use std::collections::BTreeSet;

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// The secret: the same to write and to detect.
        key: String = String::new(), maxLength: 1024, examples: ["secret"];
        /// How much of the vocabulary is green.
        fraction: f32 = 0.25, minimum: 0.01, maximum: 0.99, examples: [0.5];
        /// Added to the logits of green tokens.
        bias: f32 = 2.0, minimum: 0, maximum: 100, examples: [10.0];
        /// A text to look for the watermark in, instead of answering.
        detect: Option<String> = None, examples: ["The owl hunts at night."];
    }
}

/// The sampler.
#[derive(Clone)]
pub struct Watermark {
    key: u64,
    fraction: f32,
    bias: f32,
    /// The answer so far, the last token of the prompt in front; or the text to detect in.
    tokens: Vec<Token>,
    detects: bool,
}

impl Sampler for Watermark {
    type Args = Args;
    const ABOUT: About = about!("A watermark in the choice of words, and with `detect` its detector.");
    const NEEDS: Needs = Needs::cut(256).with_fork().with_rollback();

    fn open(args: Args, prompt: &[Token]) -> Result<Self, Error> {
        let Args { key, fraction, bias, detect } = args;
        let tokens = match &detect {
            Some(text) => model::encode(text)?,
            None => prompt.last().copied().into_iter().collect(),
        };
        let key = key.bytes().fold(0, |hash, byte| mixed(hash ^ u64::from(byte)));
        Ok(Self { key, fraction, bias, tokens, detects: detect.is_some() })
    }

    fn advance(&mut self, step: &mut Step, committed: &[Token]) {
        if self.detects {
            step.stop(Finish::Plugin);
        } else {
            self.tokens.extend_from_slice(committed);
        }
    }

    fn pick(&mut self, step: &mut Step, cut: &Candidates) -> Choice {
        if let Some(&before) = self.tokens.last() {
            let green: Vec<Token> = cut.ids.iter().copied().filter(|&id| self.is_green(before, id)).collect();
            step.bias(&green, &vec![self.bias; green.len()]);
        }
        Choice::Host
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(self.clone())
    }

    fn rollback(&mut self, count: u32) -> Result<(), Error> {
        self.tokens.truncate(self.tokens.len().saturating_sub(count as usize));
        Ok(())
    }

    fn close(&mut self) -> Option<String> {
        let (tokens, green) = self.count();
        let z = z(tokens, green, f64::from(self.fraction));
        Some(format!(r#"{{"tokens":{tokens},"green":{green},"z":{z:.3},"p":{:e}}}"#, above(z)))
    }
}

impl Watermark {
    /// Whether a token is green after another.
    fn is_green(&self, before: Token, token: Token) -> bool {
        let hash = mixed(self.key ^ (u64::from(before) << 32 | u64::from(token)));
        #[expect(clippy::cast_precision_loss, reason = "24 bits fit a float exactly")]
        let part = (hash >> 40) as f32 / 16_777_216.0;
        part < self.fraction
    }

    /// How many pairs of tokens there are, and how many end in a green one.
    fn count(&self) -> (usize, usize) {
        let pairs: BTreeSet<(Token, Token)> = self.tokens.windows(2).map(|pair| (pair[0], pair[1])).collect();
        (pairs.len(), pairs.iter().filter(|(before, token)| self.is_green(*before, *token)).count())
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mixed(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How many standard deviations more are green than chance would have; 0 for nothing.
#[allow(clippy::cast_precision_loss, reason = "counts of tokens")]
fn z(tokens: usize, green: usize, fraction: f64) -> f64 {
    let (tokens, green) = (tokens as f64, green as f64);
    if tokens == 0.0 {
        0.0
    } else {
        (green - fraction * tokens) / (tokens * fraction * (1.0 - fraction)).sqrt()
    }
}

/// How often a standard normal variable is above. Abramowitz and Stegun 1964, 7.1.26, with an error below 1e-7.
fn above(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let terms = [0.254_829_592, -0.284_496_736, 1.421_413_741, -1.453_152_027, 1.061_405_429];
    let tail = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t) * (-x * x).exp() / 2.0;
    if z >= 0.0 { tail } else { 1.0 - tail }
}

export!(sampler: Watermark);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    /// An answer of 300 tokens, each the best of 40 random candidates after the bias.
    fn answer(args: &str, seed: u64) -> (Vec<Token>, Watermark) {
        let mut sampler: Watermark = testing::open(args, &[1]).expect("the arguments are good");
        let (mut said, mut random) = (Vec::new(), seed);
        for _ in 0..300 {
            let mut step = Step::default();
            let mut next = || {
                random = mixed(random);
                (random >> 40) as f32 / 16_777_216.0
            };
            let ids: Vec<Token> = (0..40).map(|_| (next() * 256.0) as Token).collect();
            let logits: Vec<f32> = (0..40).map(|_| next() * 4.0).collect();
            sampler.pick(&mut step, &Candidates { ids: ids.clone(), logits: logits.clone() });
            let add = |id: Token| {
                step.commands()
                    .bias
                    .iter()
                    .filter(|(biased, _)| *biased == id)
                    .map(|(_, add)| add)
                    .sum::<f32>()
            };
            let scored = ids.iter().zip(&logits).map(|(&id, logit)| (id, logit + add(id)));
            let best = scored.max_by(|a, b| a.1.total_cmp(&b.1)).expect("some").0;
            sampler.advance(&mut step, &[best]);
            said.push(best);
        }
        (said, sampler)
    }

    fn found(sampler: &Watermark) -> f64 {
        let (tokens, green) = sampler.count();
        z(tokens, green, f64::from(sampler.fraction))
    }

    #[test]
    fn a_watermark_is_found_with_its_key_only() {
        let (said, written) = answer(r#"{"key": "secret"}"#, 1);
        assert!(found(&written) > 10.0, "{}", found(&written));
        // The same tokens read with the key, and with another.
        let reader = |key: &str| {
            let mut reader: Watermark = testing::open(&format!(r#"{{"key": "{key}"}}"#), &[]).expect("good");
            reader.tokens.clone_from(&said);
            found(&reader)
        };
        assert!(reader("secret") > 10.0);
        assert!(reader("other").abs() < 4.0, "{}", reader("other"));
        let (_, plain) = answer(r#"{"key": "secret", "bias": 0}"#, 2);
        assert!(found(&plain).abs() < 4.0, "{}", found(&plain));
    }

    #[test]
    fn detection_answers_nothing() {
        let mut sampler: Watermark =
            testing::open(r#"{"detect": "abab"}"#, &[1]).expect("the arguments are good");
        let mut step = Step::default();
        sampler.advance(&mut step, &[]);
        assert_eq!(step.commands().stop, Some(Finish::Plugin));
        // ab, ba, and ab again, which does not count.
        assert!(sampler.close().expect("a report").starts_with(r#"{"tokens":2,"#));
    }

    #[test]
    fn the_tail_of_the_normal_distribution() {
        for (z, p) in [(0.0, 0.5), (1.0, 0.158_655), (1.96, 0.024_998), (3.0, 0.001_350), (-1.0, 0.841_345)] {
            assert!((above(z) - p).abs() < 1e-6, "{z}: {}", above(z));
        }
        assert_eq!(z(0, 0, 0.25), 0.0);
        assert!((z(100, 50, 0.25) - 5.773_5).abs() < 1e-3);
    }
}
