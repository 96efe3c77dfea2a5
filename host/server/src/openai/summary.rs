//! What stands at the end of a response: OpenAI's usage, llama-server's timings, and what our plugins did.

use std::time::Duration;

use minerva_engine::event::Meta;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::generation::Tally;
use crate::origin::public_fault;

/// What made the response: `system_fingerprint`. It begins as llama-server's does, whose clients look at the first letter.
pub(crate) const FINGERPRINT: &str = concat!("build-minerva-", env!("CARGO_PKG_VERSION"));

/// OpenAI's count of tokens.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptTokensDetails,
}

#[derive(Serialize, JsonSchema)]
struct PromptTokensDetails {
    cached_tokens: u32,
}

impl Usage {
    pub(crate) fn of(tally: &Tally) -> Self {
        let (prompt_tokens, completion_tokens) = (tally.prompt_tokens(), tally.completion_tokens());
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            prompt_tokens_details: PromptTokensDetails { cached_tokens: tally.cached_tokens() },
        }
    }
}

/// llama-server's account of time. Of several choices it has the tokens of all and the longest time.
#[derive(Clone, Serialize, JsonSchema)]
pub(crate) struct Timings {
    cache_n: u32,
    prompt_n: u32,
    prompt_ms: f64,
    prompt_per_token_ms: f64,
    prompt_per_second: f64,
    predicted_n: u32,
    predicted_ms: f64,
    predicted_per_token_ms: f64,
    predicted_per_second: f64,
    /// Ours: how long the request waited for a slot.
    queue_ms: f64,
}

impl Timings {
    pub(crate) fn of(tally: &Tally) -> Self {
        let cache_n = tally.cached_tokens();
        let prompt_n = tally.prompt_tokens().saturating_sub(cache_n);
        let predicted_n = tally.completion_tokens();
        let prompt = Pace::of(prompt_n, tally.longest(|finished| finished.usage.prefill_time));
        let predicted = Pace::of(predicted_n, tally.longest(|finished| finished.usage.decode_time));
        Self {
            cache_n,
            prompt_n,
            prompt_ms: prompt.ms,
            prompt_per_token_ms: prompt.per_token_ms,
            prompt_per_second: prompt.per_second,
            predicted_n,
            predicted_ms: predicted.ms,
            predicted_per_token_ms: predicted.per_token_ms,
            predicted_per_second: predicted.per_second,
            queue_ms: milliseconds(tally.longest(|finished| finished.usage.queue_time)),
        }
    }
}

struct Pace {
    ms: f64,
    per_token_ms: f64,
    per_second: f64,
}

impl Pace {
    /// Of nothing in no time, 0: JSON has no infinity.
    fn of(tokens: u32, time: Duration) -> Self {
        let ratio = |above: f64, below: f64| if below > 0.0 { above / below } else { 0.0 };
        let (tokens, ms) = (f64::from(tokens), milliseconds(time));
        Self { ms, per_token_ms: ratio(ms, tokens), per_second: ratio(tokens, time.as_secs_f64()) }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The `minerva` object of a response.
#[derive(Clone, Serialize, JsonSchema)]
#[schemars(rename = "MinervaReport")]
pub(crate) struct Minerva {
    seed: u64,
    plugins: Vec<PluginReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    meta: Vec<MetaObject>,
}

#[derive(Clone, Serialize, JsonSchema)]
struct PluginReport {
    /// Where there are several choices, which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<usize>,
    name: String,
    version: String,
    kind: &'static str,
    calls: u64,
    fault: Option<String>,
    meta: Option<Box<RawValue>>,
}

/// What a stream processor had to say.
#[derive(Clone, Serialize, JsonSchema)]
#[schemars(rename = "PluginMeta")]
pub(crate) struct MetaObject {
    choice: usize,
    plugin: String,
    value: Option<Box<RawValue>>,
}

impl MetaObject {
    pub(crate) fn new(choice: usize, meta: Meta) -> Self {
        Self { choice, plugin: meta.plugin, value: raw(&meta.json) }
    }
}

impl Minerva {
    pub(crate) fn of(tally: &Tally, meta: Vec<MetaObject>) -> Self {
        let reports = tally.reports().map(|(choice, report)| PluginReport {
            choice: tally.has_several().then_some(choice),
            name: report.name.clone(),
            version: report.version.clone(),
            kind: report.kind.as_str(),
            calls: report.calls,
            fault: report.fault.as_deref().map(|fault| public_fault(fault).to_owned()),
            meta: report.meta.as_deref().and_then(raw),
        });
        Self { seed: tally.seed(), plugins: reports.collect(), meta }
    }
}

/// A plugin's JSON as it is; what is not JSON becomes a string.
fn raw(json: &str) -> Option<Box<RawValue>> {
    let raw = serde_json::from_str::<Box<RawValue>>(json);
    raw.or_else(|_| serde_json::value::to_raw_value(json)).ok()
}
