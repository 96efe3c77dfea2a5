//! The fields that say how to sample and when to stop: OpenAI's, and llama-server's beside them.

use std::ops::RangeInclusive;

use minerva_engine::model::Token;
use minerva_engine::request::Params;

use super::sampling_values::{Biases, Seed, Stops};
use crate::failure::Failure;

/// The most other tokens reported beside each token.
pub(crate) const TOP_LOGPROBS_MAX: u32 = 20;

/// The part of a body that these fields are.
#[derive(Default, serde::Deserialize)]
pub(crate) struct Body {
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    n_predict: Option<i64>,
    stop: Option<Stops>,
    ignore_eos: Option<bool>,
    seed: Option<Seed>,
    temperature: Option<f32>,
    top_k: Option<i64>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    #[serde(alias = "typ_p")]
    typical_p: Option<f32>,
    #[serde(alias = "repetition_penalty")]
    repeat_penalty: Option<f32>,
    repeat_last_n: Option<i64>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    logit_bias: Option<Biases>,

    // What follows changes the answer and is not there yet: its neutral value is accepted, any other refused.
    xtc_probability: Option<f32>,
    dry_multiplier: Option<f32>,
    dynatemp_range: Option<f32>,
    mirostat: Option<i64>,
    top_n_sigma: Option<f32>,
}

impl Body {
    /// Puts what the request says over what the model's defaults are.
    pub(crate) fn apply(self, params: &mut Params, vocabulary_size: u32) -> Result<(), Failure> {
        self.refuse_unsupported()?;
        let max_tokens = [
            ("max_completion_tokens", self.max_completion_tokens),
            ("max_tokens", self.max_tokens),
            ("n_predict", self.n_predict),
        ];
        if let Some((name, limit)) = max_tokens.into_iter().find_map(|(name, limit)| Some((name, limit?))) {
            params.max_tokens = token_limit(name, limit)?;
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
        if let Some(Biases(biases)) = self.logit_bias {
            params.logit_bias =
                biases.into_iter().map(|bias| checked(bias, vocabulary_size)).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    fn refuse_unsupported(&self) -> Result<(), Failure> {
        let is_on = |value: Option<f32>| value.is_some_and(|value| value > 0.0);
        let unsupported = [
            ("xtc_probability", is_on(self.xtc_probability)),
            ("dry_multiplier", is_on(self.dry_multiplier)),
            ("dynatemp_range", is_on(self.dynatemp_range)),
            ("mirostat", self.mirostat.is_some_and(|mode| mode != 0)),
            ("top_n_sigma", is_on(self.top_n_sigma)),
        ];
        match unsupported.into_iter().find(|(_, is_asked)| *is_asked) {
            Some((name, _)) => Err(unsupported_field(name)),
            None => Ok(()),
        }
    }
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

fn checked((token, bias): (i64, f32), vocabulary_size: u32) -> Result<(Token, f32), Failure> {
    let invalid = |message| Failure::invalid("logit_bias", message);
    let in_vocabulary = u32::try_from(token).ok().filter(|token| *token < vocabulary_size);
    let token = in_vocabulary.ok_or_else(|| {
        let last = vocabulary_size.saturating_sub(1);
        invalid(format!("`logit_bias` names token {token}, and the model's tokens are 0 to {last}"))
    })?;
    match bias {
        // OpenAI's lowest bias and llama-server's `false` ban.
        _ if bias == f32::NEG_INFINITY || bias == -100.0 => Ok((token, f32::NEG_INFINITY)),
        _ if (-100.0..=100.0).contains(&bias) => Ok((token, bias)),
        _ => Err(invalid(format!("`logit_bias` of token {token} must be from -100 to 100, not {bias}"))),
    }
}
