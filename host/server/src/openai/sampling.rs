//! The fields that say how to sample and when to stop: OpenAI's, and llama-server's beside them.

use std::ops::RangeInclusive;

use minerva_engine::model::{Encode, Token, Vocabulary};
use minerva_engine::request::{Dry, Mirostat, MirostatVersion, Params};
use schemars::JsonSchema;
use serde_json::{Map, Value};

use super::sampling_values::{BIAS_TEXTS_BYTES_MAX, Biased, Biases, Seed, Stages, Stops};
use crate::failure::Failure;
use crate::json;
use crate::nearest;

/// The most other tokens reported beside each token.
pub(crate) const TOP_LOGPROBS_MAX: u32 = 20;

/// The most texts that break a repetition for DRY, and the most bytes of each: llama.cpp's.
const BREAKERS_MAX: usize = 64;
const BREAKER_BYTES_MAX: usize = 40;

/// The fields that a server can have defaults for.
const DEFAULTS: [&str; 35] = [
    "max_tokens",
    "max_completion_tokens",
    "n_predict",
    "stop",
    "ignore_eos",
    "seed",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "typ_p",
    "repeat_penalty",
    "repetition_penalty",
    "repeat_last_n",
    "frequency_penalty",
    "presence_penalty",
    "min_keep",
    "top_n_sigma",
    "xtc_probability",
    "xtc_threshold",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "dynatemp_range",
    "dynatemp_exponent",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "samplers",
    "context_shift",
    "n_keep",
    "n_discard",
];

/// The part of a body that these fields are.
#[derive(Default, serde::Deserialize, JsonSchema)]
pub(crate) struct Body {
    /// How many tokens an answer can have; -1 for as many as fit.
    #[schemars(range(min = -1), extend("not" = {"const": 0}))]
    max_tokens: Option<i64>,
    /// How many tokens an answer can have; -1 for as many as fit. Wins over `max_tokens`.
    #[schemars(range(min = -1), extend("not" = {"const": 0}))]
    max_completion_tokens: Option<i64>,
    /// How many tokens an answer can have; -1 for as many as fit. `max_tokens` wins over it.
    #[schemars(range(min = -1), extend("not" = {"const": 0}))]
    n_predict: Option<i64>,
    /// Texts that end the answer and are not part of it.
    stop: Option<Stops>,
    /// Go on when the model says that it is done.
    ignore_eos: Option<bool>,
    /// Reproduces an answer; -1 draws one.
    seed: Option<Seed>,
    /// 0 takes the best token.
    #[schemars(range(min = 0.0, max = 100.0))]
    temperature: Option<f32>,
    /// 0 and -1 for all.
    #[schemars(range(min = -1))]
    top_k: Option<i64>,
    #[schemars(range(min = 0.0, max = 1.0))]
    top_p: Option<f32>,
    #[schemars(range(min = 0.0, max = 1.0))]
    min_p: Option<f32>,
    #[schemars(extend("x-other-names" = ["typ_p"]))]
    #[schemars(range(min = 0.0, max = 1.0))]
    #[serde(alias = "typ_p")]
    typical_p: Option<f32>,
    #[schemars(extend("x-other-names" = ["repetition_penalty"]))]
    #[schemars(range(min = 0.01, max = 100.0))]
    #[serde(alias = "repetition_penalty")]
    repeat_penalty: Option<f32>,
    /// How many tokens the penalties look at; -1 for all.
    #[schemars(range(min = -1))]
    repeat_last_n: Option<i64>,
    #[schemars(range(min = -2.0, max = 2.0))]
    frequency_penalty: Option<f32>,
    #[schemars(range(min = -2.0, max = 2.0))]
    presence_penalty: Option<f32>,
    /// What is added to tokens' logits; -100 and `false` ban. Of a text, to those of all its tokens.
    logit_bias: Option<Biases>,

    /// The fewest tokens that typical-p, top-p, min-p and XTC leave.
    #[schemars(range(min = -1))]
    min_keep: Option<i64>,
    /// Keeps the logits within so many standard deviations of the best; 0 and -1 are off.
    #[schemars(range(min = -1.0, max = 100.0))]
    top_n_sigma: Option<f32>,
    #[schemars(range(min = 0.0, max = 1.0))]
    xtc_probability: Option<f32>,
    #[schemars(range(min = 0.0, max = 1.0))]
    xtc_threshold: Option<f32>,
    #[schemars(range(min = 0.0, max = 100.0))]
    dry_multiplier: Option<f32>,
    #[schemars(range(min = 1.0, max = 100.0))]
    dry_base: Option<f32>,
    #[schemars(range(min = 0, max = u32::MAX))]
    dry_allowed_length: Option<i64>,
    /// How many tokens DRY looks at; -1 for all.
    #[schemars(range(min = -1, max = i32::MAX))]
    dry_penalty_last_n: Option<i64>,
    /// No repetition is counted over these.
    #[schemars(length(max = BREAKERS_MAX), inner(length(min = 1, max = BREAKER_BYTES_MAX)))]
    dry_sequence_breakers: Option<Vec<String>>,
    /// The temperature moves by so much, with the entropy.
    #[schemars(range(min = 0.0, max = 100.0))]
    dynatemp_range: Option<f32>,
    #[schemars(range(min = 0.0, max = 100.0))]
    dynatemp_exponent: Option<f32>,
    /// 0 is off.
    #[schemars(range(min = 0, max = 2))]
    mirostat: Option<i64>,
    /// The surprise that is aimed at, in bits.
    #[schemars(range(min = 0.0, max = 100.0))]
    mirostat_tau: Option<f32>,
    #[schemars(range(min = 0.0, max = 1.0))]
    mirostat_eta: Option<f32>,
    /// Only less than 0, which is off.
    #[schemars(extend("exclusiveMaximum" = 0))]
    adaptive_target: Option<f32>,
    /// The stages, in order: names, or a string of their letters.
    samplers: Option<Stages>,
    /// When the context is full, forget a part of it and go on.
    context_shift: Option<bool>,
    /// How many tokens at the beginning are never forgotten; -1 for the whole prompt.
    #[schemars(range(min = -1))]
    n_keep: Option<i64>,
    /// How many tokens behind them are forgotten at a time; 0 and -1 for half of them.
    #[schemars(range(min = -1))]
    n_discard: Option<i64>,
}

impl Body {
    /// Puts what the request says over what the model's defaults are.
    pub(crate) fn apply(
        self,
        params: &mut Params,
        vocabulary: Option<&dyn Vocabulary>,
    ) -> Result<(), Failure> {
        if self.adaptive_target.is_some_and(|target| target >= 0.0) {
            return Err(unsupported_field("adaptive_target"));
        }
        self.apply_dry(&mut params.dry)?;
        self.apply_mirostat(params)?;
        self.apply_context_shift(params)?;
        let max_tokens = [
            ("max_completion_tokens", self.max_completion_tokens),
            ("max_tokens", self.max_tokens),
            ("n_predict", self.n_predict),
        ];
        // The first one holds; the others must be right all the same.
        for (name, limit) in max_tokens.into_iter().rev() {
            if let Some(limit) = limit {
                params.max_tokens = token_limit(name, limit)?;
            }
        }
        if let Some(Stops(stops)) = self.stop {
            params.stop = stops;
        }
        if let Some(Seed(seed)) = self.seed {
            params.seed = seed;
        }
        if let Some(ignore) = self.ignore_eos {
            params.ignore_end = ignore;
        }
        set("temperature", self.temperature, 0.0..=100.0, &mut params.temperature)?;
        set("top_p", self.top_p, 0.0..=1.0, &mut params.top_p)?;
        set("min_p", self.min_p, 0.0..=1.0, &mut params.min_p)?;
        set("typical_p", self.typical_p, 0.0..=1.0, &mut params.typical_p)?;
        set("repeat_penalty", self.repeat_penalty, 0.01..=100.0, &mut params.repeat_penalty)?;
        set("frequency_penalty", self.frequency_penalty, -2.0..=2.0, &mut params.frequency_penalty)?;
        set("presence_penalty", self.presence_penalty, -2.0..=2.0, &mut params.presence_penalty)?;
        // In both, llama-server says -1 for as many as there are: of tokens to keep that is what 0 says here.
        set_count("top_k", self.top_k, 0, &mut params.top_k)?;
        set_count("repeat_last_n", self.repeat_last_n, u32::MAX, &mut params.repeat_last_n)?;
        set_count("min_keep", self.min_keep, u32::MAX, &mut params.min_keep)?;
        // -1 is llama-server's way to say off.
        set("top_n_sigma", self.top_n_sigma, -1.0..=100.0, &mut params.top_n_sigma)?;
        set("xtc_probability", self.xtc_probability, 0.0..=1.0, &mut params.xtc.probability)?;
        set("xtc_threshold", self.xtc_threshold, 0.0..=1.0, &mut params.xtc.threshold)?;
        set("dynatemp_range", self.dynatemp_range, 0.0..=100.0, &mut params.dynamic_temperature.range)?;
        set(
            "dynatemp_exponent",
            self.dynatemp_exponent,
            0.0..=100.0,
            &mut params.dynamic_temperature.exponent,
        )?;
        if let Some(Stages(stages)) = self.samplers {
            params.samplers = stages;
        }
        if let Some(Biases(biases)) = self.logit_bias {
            params.logit_bias = biased(biases, vocabulary)?;
        }
        Ok(())
    }

    fn apply_dry(&self, dry: &mut Dry) -> Result<(), Failure> {
        set("dry_multiplier", self.dry_multiplier, 0.0..=100.0, &mut dry.multiplier)?;
        set("dry_base", self.dry_base, 1.0..=100.0, &mut dry.base)?;
        if let Some(length) = self.dry_allowed_length {
            dry.allowed_length = u32::try_from(length).map_err(|_| {
                let message = format!("`dry_allowed_length` must be 0 or more, not {length}");
                Failure::invalid("dry_allowed_length", message)
            })?;
        }
        if let Some(count) = self.dry_penalty_last_n {
            let message = format!("`dry_penalty_last_n` must be 0 or more, or -1 for all, not {count}");
            let checked = i32::try_from(count).ok().filter(|count| *count >= -1);
            dry.last_n = checked.ok_or_else(|| Failure::invalid("dry_penalty_last_n", message))?;
        }
        if let Some(breakers) = &self.dry_sequence_breakers {
            let is_wrong = |text: &String| text.is_empty() || text.len() > BREAKER_BYTES_MAX;
            if breakers.len() > BREAKERS_MAX || breakers.iter().any(is_wrong) {
                let message = format!(
                    "`dry_sequence_breakers` must be at most {BREAKERS_MAX} texts of 1 to {BREAKER_BYTES_MAX} bytes"
                );
                return Err(Failure::invalid("dry_sequence_breakers", message));
            }
            dry.breakers.clone_from(breakers);
        }
        Ok(())
    }

    /// How much is kept and forgotten is of interest only where the context shifts, and checked anyway.
    fn apply_context_shift(&self, params: &mut Params) -> Result<(), Failure> {
        let mut shift = params.context_shift.unwrap_or_default();
        if let Some(keep) = self.n_keep {
            let message = format!("`n_keep` must be 0 or more, or -1 for the whole prompt, not {keep}");
            shift.keep = match keep {
                ..-1 => return Err(Failure::invalid("n_keep", message)),
                -1 => None,
                // More than any prompt has is all of it.
                0.. => Some(u32::try_from(keep).unwrap_or(u32::MAX)),
            };
        }
        set_count("n_discard", self.n_discard, 0, &mut shift.discard)?;
        let shifts = self.context_shift.unwrap_or(params.context_shift.is_some());
        params.context_shift = shifts.then_some(shift);
        Ok(())
    }

    fn apply_mirostat(&self, params: &mut Params) -> Result<(), Failure> {
        let version = match self.mirostat {
            None => params.mirostat.map(|mirostat| mirostat.version),
            Some(0) => None,
            Some(1) => Some(MirostatVersion::V1),
            Some(2) => Some(MirostatVersion::V2),
            Some(other) => {
                let message = format!("`mirostat` must be 0 (off), 1 or 2, not {other}");
                return Err(Failure::invalid("mirostat", message));
            }
        };
        let defaults = params.mirostat.unwrap_or(Mirostat::new(MirostatVersion::V2));
        let (mut tau, mut eta) = (defaults.tau, defaults.eta);
        set("mirostat_tau", self.mirostat_tau, 0.0..=100.0, &mut tau)?;
        set("mirostat_eta", self.mirostat_eta, 0.0..=1.0, &mut eta)?;
        params.mirostat = version.map(|version| Mirostat { version, tau, eta });
        Ok(())
    }
}

/// Puts fields of a request, and nothing else, over parameters. Before there is a vocabulary no token can be biased.
pub(crate) fn defaults(fields: &str, params: &mut Params) -> Result<(), Failure> {
    let known: Map<String, Value> = json::read(json::text(fields.as_bytes())?)?;
    if let Some(name) = known.keys().find(|name| !DEFAULTS.contains(&name.as_str())) {
        let hint = nearest::hint(name, DEFAULTS.iter().copied());
        let message = format!("there is no field `{}` about sampling{hint}", nearest::shown(name));
        return Err(Failure::invalid(name.as_str(), message));
    }
    json::read::<Body>(fields)?.apply(params, None)
}

/// What a field is told that would change the answer, if only this server could do it. Ignoring it would be a lie.
pub(crate) fn unsupported_field(name: &str) -> Failure {
    let message = format!("`{name}` is not supported yet, and would change the answer; leave it out");
    Failure::not_supported(message).param(name)
}

/// How many choices a request wants, within limits.
pub(crate) fn choices(n: Option<i64>, prompts: usize, limit: usize) -> Result<usize, Failure> {
    let n = n.unwrap_or(1);
    match usize::try_from(n) {
        Ok(n) if n > 0 && n.saturating_mul(prompts) <= limit => Ok(n),
        _ if prompts > 1 => {
            let message = format!(
                "`n` is {n} for each of {prompts} prompts, and a request can have 1 to {limit} answers"
            );
            Err(Failure::invalid("n", message))
        }
        _ => Err(Failure::invalid("n", format!("`n` must be from 1 to {limit}, not {n}"))),
    }
}

pub(super) fn token_limit(name: &'static str, limit: i64) -> Result<Option<u32>, Failure> {
    match limit {
        -1 => Ok(None),
        1.. => Ok(Some(u32::try_from(limit).unwrap_or(u32::MAX))),
        _ => {
            let message = format!("`{name}` must be 1 or more, or -1 for as many as fit, not {limit}");
            Err(Failure::invalid(name, message))
        }
    }
}

fn set(name: &str, value: Option<f32>, range: RangeInclusive<f32>, param: &mut f32) -> Result<(), Failure> {
    let Some(value) = value else { return Ok(()) };
    if !range.contains(&value) {
        let message = format!("`{name}` must be from {} to {}, not {value}", range.start(), range.end());
        return Err(Failure::invalid(name, message));
    }
    *param = value;
    Ok(())
}

fn set_count(name: &str, value: Option<i64>, all: u32, param: &mut u32) -> Result<(), Failure> {
    let Some(value) = value else { return Ok(()) };
    *param = match value {
        -1 => all,
        0.. => u32::try_from(value).unwrap_or(u32::MAX),
        _ => {
            let message = format!("`{name}` must be 0 or more, or -1 for all, not {value}");
            return Err(Failure::invalid(name, message));
        }
    };
    Ok(())
}

/// Biases by token. A text stands for all of its tokens, as in llama-server.
fn biased(
    biases: Vec<(Biased, f32)>,
    vocabulary: Option<&dyn Vocabulary>,
) -> Result<Vec<(Token, f32)>, Failure> {
    let invalid = |message| Failure::invalid("logit_bias", message);
    let (mut checked_biases, mut bytes) = (Vec::with_capacity(biases.len()), 0);
    for (biased, bias) in biases {
        let size = vocabulary.map_or(0, Vocabulary::size);
        match (biased, vocabulary) {
            (Biased::Token(token), _) => {
                checked_biases
                    .push((in_vocabulary(token, size)?, strength(bias, &format!("token {token}"))?));
            }
            (Biased::Text(text), Some(vocabulary)) => {
                // Also of one that has no tokens.
                let bias = strength(bias, &format!("`{}`", nearest::shown(&text)))?;
                bytes += text.len();
                if bytes > BIAS_TEXTS_BYTES_MAX {
                    let message =
                        format!("the texts of `logit_bias` have more than {BIAS_TEXTS_BYTES_MAX} bytes");
                    return Err(invalid(message));
                }
                let how = Encode { add_special: false, parse_special: false };
                let tokens = vocabulary.encode(&text, how).map_err(|error| invalid(error.to_string()))?;
                checked_biases.extend(tokens.into_iter().map(|token| (token, bias)));
            }
            (Biased::Text(_), None) => {
                return Err(invalid("`logit_bias` names a text, and there is no model to read it".into()));
            }
        }
    }
    Ok(checked_biases)
}

fn in_vocabulary(token: i64, size: u32) -> Result<Token, Failure> {
    let token_there = u32::try_from(token).ok().filter(|token| *token < size);
    token_there.ok_or_else(|| {
        let last = size.saturating_sub(1);
        let message = format!("`logit_bias` names token {token}, and the model's tokens are 0 to {last}");
        Failure::invalid("logit_bias", message)
    })
}

/// A bias within its range; `of` is what it is for.
fn strength(bias: f32, of: &str) -> Result<f32, Failure> {
    match bias {
        // OpenAI's lowest bias and llama-server's `false` ban.
        _ if bias == f32::NEG_INFINITY || bias == -100.0 => Ok(f32::NEG_INFINITY),
        _ if (-100.0..=100.0).contains(&bias) => Ok(bias),
        _ => {
            let message = format!("`logit_bias` of {of} must be from -100 to 100, not {bias}");
            Err(Failure::invalid("logit_bias", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use minerva_engine::fake::ByteVocabulary;

    use super::*;

    #[test]
    fn the_texts_that_biases_are_for_have_a_limit() {
        let vocabulary = ByteVocabulary::new();
        let of = |bytes: usize| {
            let biases = vec![(Biased::Text("a".repeat(bytes)), 1.0), (Biased::Token(3), -100.0)];
            biased(biases, Some(&vocabulary))
        };
        let most = of(BIAS_TEXTS_BYTES_MAX).unwrap();
        assert_eq!(most.len(), BIAS_TEXTS_BYTES_MAX + 1);
        assert_eq!((most[0], most[BIAS_TEXTS_BYTES_MAX]), ((97, 1.0), (3, f32::NEG_INFINITY)));
        let refused = of(BIAS_TEXTS_BYTES_MAX + 1).expect_err("it is too much");
        assert!(refused.message().contains("more than 65536 bytes"), "{}", refused.message());
        // A text without tokens has a bias to be checked all the same.
        assert!(biased(vec![(Biased::Text(String::new()), -101.0)], Some(&vocabulary)).is_err());
    }

    #[test]
    fn a_server_has_defaults_for_every_field_that_is_listed_and_no_other() {
        for name in DEFAULTS {
            let refused = defaults(&format!("{{\"{name}\": {{\"no\": \"such\"}}}}"), &mut Params::default());
            let refused = refused.err().unwrap_or_else(|| panic!("{name} takes anything"));
            assert!(refused.message().contains(name), "{name}: {}", refused.message());
        }
        let mut params = Params::default();
        defaults("{\"temperature\": 0.5, \"samplers\": [\"top_k\"], \"stop\": \"x\"}", &mut params).unwrap();
        assert_eq!((params.temperature, params.stop), (0.5, vec!["x".to_owned()]));
        for (fields, words) in [
            ("{\"temprature\": 1}", "temperature"),
            ("{\"temperature\": 101}", "from 0 to 100"),
            ("{\"logit_bias\": {}}", "no field `logit_bias`"),
            ("{", "not valid JSON"),
        ] {
            let refused =
                defaults(fields, &mut Params::default()).err().unwrap_or_else(|| panic!("{fields}"));
            assert!(refused.message().contains(words), "{fields}: {}", refused.message());
        }
    }
}
