//! DRY as a plugin: tokens that would go on with a repetition are made less likely, the longer it is the more.
//!
//! Source: p-e-w 2024, "DRY: A modern repetition penalty", text-generation-webui pull request 5677. All repetitions
//! of the end of the text are found in linear time by the Z function of the text read backwards.

use std::collections::BTreeMap;

use minerva_plugin::prelude::*;

args! {
    pub struct Args {
        /// How much a repetition costs; 0 is off.
        multiplier: f32 = 0.8, minimum: 0, maximum: 100, examples: [0.0, 2.0];
        /// How much more for each token that it is longer.
        base: f32 = 1.75, minimum: 1, maximum: 10;
        /// Repetitions up to this long cost nothing.
        allowed_length: u32 = 2, minimum: 1, maximum: 1000, examples: [1];
        /// How many tokens are looked back on, prompt included.
        range: u32 = 1024, minimum: 1, maximum: 16384, examples: [8];
        /// A repetition does not go on beyond a token that contains one of these.
        breakers: Vec<String> = ["\n", ":", "\"", "*"].map(str::to_owned).to_vec(), maxItems: 64,
            examples: [[" "]];
    }
}

/// The largest cost: beyond it nothing is chosen anyhow, and sums stay numbers.
const COST_MAX: f32 = 1e4;

/// The sampler.
#[derive(Clone)]
pub struct Dry {
    multiplier: f32,
    base: f32,
    allowed_length: usize,
    range: usize,
    breakers: Vec<String>,
    /// Prompt and answer.
    tokens: Vec<Token>,
    /// Which tokens break repetitions, of those that came up.
    breaks: BTreeMap<Token, bool>,
}

impl Sampler for Dry {
    type Args = Args;
    const ABOUT: About = about!("DRY: makes tokens less likely that would go on with a repetition.");
    const NEEDS: Needs = Needs::plan().with_fork().with_rollback();

    fn open(args: Args, prompt: &[Token]) -> Result<Self, Error> {
        let Args { multiplier, base, allowed_length, range, breakers } = args;
        Ok(Self {
            multiplier,
            base,
            allowed_length: allowed_length as usize,
            range: range as usize,
            breakers,
            tokens: prompt.to_vec(),
            breaks: BTreeMap::new(),
        })
    }

    fn advance(&mut self, step: &mut Step, committed: &[Token]) {
        self.tokens.extend_from_slice(committed);
        let longest = self.repetitions();
        let (mut ids, mut costs) = (Vec::new(), Vec::new());
        for (token, length) in longest {
            let beyond = i32::try_from(length - self.allowed_length).unwrap_or(i32::MAX);
            ids.push(token);
            costs.push(-(self.multiplier * self.base.powi(beyond)).min(COST_MAX));
        }
        step.bias(&ids, &costs);
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(self.clone())
    }

    fn rollback(&mut self, count: u32) -> Result<(), Error> {
        self.tokens.truncate(self.tokens.len().saturating_sub(count as usize));
        Ok(())
    }
}

impl Dry {
    /// The tokens that would go on with a repetition, and the length of the longest that each would go on with.
    fn repetitions(&mut self) -> BTreeMap<Token, usize> {
        let start = self.tokens.len().saturating_sub(self.range);
        let backwards: Vec<Token> = self.tokens[start..].iter().rev().copied().collect();
        // A repetition lies within what came since the last breaker.
        let limit = backwards.iter().position(|&token| self.is_breaker(token)).unwrap_or(backwards.len());
        let mut longest = BTreeMap::new();
        for (at, length) in z_function(&backwards).into_iter().enumerate().skip(1) {
            let length = length.min(limit);
            let next = backwards[at - 1];
            if length >= self.allowed_length && !model::is_eog(next) && !self.is_breaker(next) {
                let before = longest.entry(next).or_insert(0);
                *before = length.max(*before);
            }
        }
        longest
    }

    fn is_breaker(&mut self, token: Token) -> bool {
        let Self { breaks, breakers, .. } = self;
        *breaks.entry(token).or_insert_with(|| {
            let bytes = model::decode(&[token]);
            let text = String::from_utf8_lossy(&bytes);
            // Nothing at all is markup.
            text.is_empty() || breakers.iter().any(|breaker| text.contains(breaker.as_str()))
        })
    }
}

/// For each place, how long what begins there agrees with the beginning. Gusfield 1997, chapter 1.
fn z_function(tokens: &[Token]) -> Vec<usize> {
    let mut lengths = vec![0; tokens.len()];
    let (mut left, mut right) = (0, 0);
    for at in 1..tokens.len() {
        let mut length = if at < right { (right - at).min(lengths[at - left]) } else { 0 };
        while at + length < tokens.len() && tokens[length] == tokens[at + length] {
            length += 1;
        }
        if at + length > right {
            (left, right) = (at, at + length);
        }
        lengths[at] = length;
    }
    lengths
}

export!(sampler: Dry);

#[cfg(test)]
mod tests {
    use super::*;
    use minerva_plugin::testing;

    fn cost(args: &str, text: &str) -> Vec<(char, f32)> {
        let (prompt, answer) = text.split_at(text.len() / 2);
        let tokens = |text: &str| text.bytes().map(Token::from).collect::<Vec<_>>();
        let mut sampler: Dry = testing::open(args, &tokens(prompt)).expect("the arguments are good");
        let mut step = Step::default();
        sampler.advance(&mut step, &tokens(answer));
        let bias = &step.commands().bias;
        bias.iter().map(|&(id, add)| (char::from_u32(id).expect("a byte"), add)).collect()
    }

    #[test]
    fn the_longer_the_dearer() {
        assert_eq!(cost("{}", "xab yab"), [(' ', -0.8)]);
        assert_eq!(cost("{}", "zxab yxab"), [(' ', -0.8 * 1.75)]);
        assert_eq!(cost("{}", "xb yb"), []);
        assert_eq!(cost(r#"{"allowed_length": 1}"#, "xb yb"), [(' ', -0.8)]);
        // Of several repetitions the longest counts.
        assert_eq!(cost("{}", "abc. bc. .abc"), [('.', -0.8 * 1.75)]);
    }

    #[test]
    fn breakers_and_range() {
        assert_eq!(cost("{}", "ab:cd ab:cd"), [(' ', -0.8)]);
        assert_eq!(cost(r#"{"breakers": ["d"]}"#, "abcde abcd"), []);
        // What it would go on with breaks it too.
        assert_eq!(cost("{}", "abc:abc"), []);
        assert_eq!(cost(r#"{"range": 5}"#, "abc.abc"), []);
    }

    #[test]
    fn agrees_with_the_definition() {
        let text = b"abaababaabaabababaab";
        let tokens: Vec<Token> = text.iter().map(|&byte| Token::from(byte)).collect();
        let slow: Vec<usize> = (0..tokens.len())
            .map(|at| tokens[at..].iter().zip(&tokens).take_while(|(a, b)| a == b).count())
            .collect();
        assert_eq!(z_function(&tokens)[1..], slow[1..]);
    }

    #[test]
    fn a_cost_is_a_number() {
        let costs = cost(r#"{"base": 10, "multiplier": 100}"#, &"a".repeat(2_000));
        assert_eq!(costs, [('a', -COST_MAX)]);
    }
}
