//! How text is sampled, under llama-server's names: what it is told in a completion, and what holds where a request
//! says nothing.

use minerva_engine::model::{Token, Vocabulary};
use minerva_engine::request::{MirostatVersion, Params};
use schemars::JsonSchema;
use serde::Serialize;

/// llama-server's `generation_settings`.
#[derive(Clone, Serialize, JsonSchema)]
#[schemars(rename = "GenerationSettings")]
pub(crate) struct Settings {
    n_predict: i64,
    max_tokens: i64,
    seed: u64,
    temperature: f32,
    dynatemp_range: f32,
    dynatemp_exponent: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    top_n_sigma: f32,
    xtc_probability: f32,
    xtc_threshold: f32,
    typical_p: f32,
    repeat_last_n: i64,
    repeat_penalty: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
    dry_multiplier: f32,
    dry_base: f32,
    dry_allowed_length: u32,
    dry_penalty_last_n: i32,
    dry_sequence_breakers: Vec<String>,
    mirostat: u8,
    mirostat_tau: f32,
    mirostat_eta: f32,
    /// Less than 0: off.
    adaptive_target: f32,
    adaptive_decay: f32,
    stop: Vec<String>,
    n_keep: i64,
    n_discard: u32,
    ignore_eos: bool,
    stream: bool,
    logit_bias: Vec<Bias>,
    n_probs: u32,
    min_keep: u32,
    grammar: String,
    samplers: Vec<&'static str>,
    cache_prompt: bool,
}

#[derive(Clone, Serialize, JsonSchema)]
#[schemars(rename = "TokenBias")]
struct Bias {
    token: Token,
    /// Null for a ban, as in llama-server: JSON has no infinity.
    bias: Option<f32>,
}

impl Settings {
    /// Of a request; `seed` is the one that was drawn where none was asked for.
    pub(crate) fn new(
        params: &Params,
        seed: u64,
        stream: bool,
        n_probs: u32,
        grammar: &str,
        vocabulary: &dyn Vocabulary,
    ) -> Self {
        // As in llama-server: what ends an answer shows as banned where nothing may.
        let ends = (0..vocabulary.size()).filter(|token| params.ignore_end && vocabulary.is_end(*token));
        let ends = ends.map(|token| Bias { token, bias: None });
        let biases = params
            .logit_bias
            .iter()
            .map(|&(token, bias)| Bias { token, bias: bias.is_finite().then_some(bias) });
        let limit = params.max_tokens.map_or(-1, i64::from);
        let mirostat = params.mirostat;
        let shift = params.context_shift.unwrap_or_default();
        Self {
            n_predict: limit,
            max_tokens: limit,
            seed,
            temperature: params.temperature,
            dynatemp_range: params.dynamic_temperature.range,
            dynatemp_exponent: params.dynamic_temperature.exponent,
            top_k: params.top_k,
            top_p: params.top_p,
            min_p: params.min_p,
            top_n_sigma: params.top_n_sigma,
            xtc_probability: params.xtc.probability,
            xtc_threshold: params.xtc.threshold,
            typical_p: params.typical_p,
            repeat_last_n: if params.repeat_last_n == u32::MAX { -1 } else { params.repeat_last_n.into() },
            repeat_penalty: params.repeat_penalty,
            presence_penalty: params.presence_penalty,
            frequency_penalty: params.frequency_penalty,
            dry_multiplier: params.dry.multiplier,
            dry_base: params.dry.base,
            dry_allowed_length: params.dry.allowed_length,
            dry_penalty_last_n: params.dry.last_n,
            dry_sequence_breakers: params.dry.breakers.clone(),
            mirostat: mirostat.map_or(0, |mirostat| match mirostat.version {
                MirostatVersion::V1 => 1,
                MirostatVersion::V2 => 2,
            }),
            mirostat_tau: mirostat.map_or(5.0, |mirostat| mirostat.tau),
            mirostat_eta: mirostat.map_or(0.1, |mirostat| mirostat.eta),
            adaptive_target: -1.0,
            adaptive_decay: 0.9,
            stop: params.stop.clone(),
            // The context is never shifted: an answer ends where it is full.
            n_keep: shift.keep.map_or(-1, i64::from),
            n_discard: shift.discard,
            ignore_eos: params.ignore_end,
            stream,
            logit_bias: biases.chain(ends).collect(),
            n_probs,
            min_keep: params.min_keep,
            grammar: grammar.to_owned(),
            samplers: params.samplers.iter().map(|stage| stage.as_str()).collect(),
            cache_prompt: params.cache_prompt,
        }
    }
}
