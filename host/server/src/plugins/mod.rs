//! `GET /v1/plugins`: what a request can name, how it stands, and what it has done.

pub(crate) mod admin;
pub(crate) mod choice;
pub(crate) mod metrics;

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::State;
use minerva_engine::plugin::{Counters, OnFault, Plugin, Plugins, Standing, Tier};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::openapi::{Operation, Schemas};

/// All plugins, in OpenAI's form of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PluginList")]
pub(crate) struct List {
    object: &'static str,
    data: Vec<Entry>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Plugin")]
struct Entry {
    id: String,
    object: &'static str,
    /// `ready`, `suspended` after too many faults, or `failed` where nothing could be loaded.
    state: &'static str,
    /// Until when it is out of service, in seconds of Unix time.
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_until: Option<u64>,
    /// For how many clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_clients: Option<usize>,
    /// Why the newest version is not the one that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    plugin: Option<Described>,
    counters: Value,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PluginDescribed")]
struct Described {
    version: String,
    summary: String,
    hash: String,
    kinds: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<Arguments>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampler: Option<Sampler>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<Arguments>,
    on_fault: &'static str,
    limits: Map<String, Value>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PluginArguments")]
struct Arguments {
    /// The JSON schema of the arguments; null where anything goes.
    args_schema: Value,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PluginSampler")]
struct Sampler {
    args_schema: Value,
    tier: &'static str,
    cut: u32,
    can_fork: bool,
    can_rollback: bool,
    backtrack_max: u32,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("plugins", "The plugins that a request can name").answers(schemas.answer::<List>())
}

/// Lists the plugins, by name.
pub(crate) async fn list(State(plugins): State<Plugins>) -> Json<List> {
    let data = plugins.standings().into_iter().map(|standing| entry(standing, &plugins)).collect();
    Json(List { object: "list", data })
}

fn entry(standing: Standing, plugins: &Plugins) -> Entry {
    let Standing { name, plugin, counters, suspended_tenants, suspended_until, trouble } = standing;
    Entry {
        object: "plugin",
        state: match (&plugin, suspended_until) {
            (None, _) => "failed",
            (Some(_), Some(_)) => "suspended",
            (Some(_), None) => "ready",
        },
        suspended_until: suspended_until
            .and_then(|until| until.duration_since(UNIX_EPOCH).ok())
            .map(|since| since.as_secs() + 1),
        suspended_clients: Some(suspended_tenants).filter(|clients| *clients > 0),
        error: trouble,
        plugin: plugin.map(|plugin| described(&plugin, plugins.on_fault(&name))),
        counters: shown(&counters),
        id: name,
    }
}

fn described(plugin: &Plugin, on_fault: OnFault) -> Described {
    let identity = &plugin.identity;
    let sampler = plugin.sampler.as_ref().map(|sampler| {
        let descriptor = sampler.descriptor();
        Sampler {
            args_schema: schema(&descriptor.args_schema),
            tier: match descriptor.tier {
                Tier::Plan => "plan",
                Tier::Cut => "cut",
                Tier::FullRow => "full-row",
            },
            cut: descriptor.cut,
            can_fork: descriptor.can_fork,
            can_rollback: descriptor.can_rollback,
            backtrack_max: descriptor.backtrack_max,
        }
    });
    Described {
        version: identity.version.clone(),
        summary: identity.summary.clone(),
        hash: identity.hash.clone(),
        kinds: plugin.kinds().map(|kind| kind.as_str()).collect(),
        template: plugin.template.as_ref().map(|it| Arguments { args_schema: schema(it.args_schema()) }),
        sampler,
        stream: plugin.stream.as_ref().map(|it| Arguments { args_schema: schema(it.args_schema()) }),
        on_fault: match on_fault {
            OnFault::Fail => "fail",
            OnFault::Skip => "skip",
            OnFault::Fallback => "fallback",
        },
        limits: plugin.limits.iter().map(|(name, limit)| (name.clone(), Value::from(*limit))).collect(),
    }
}

/// Counters by what they count: `calls` and `seconds` by call, `faults` by kind of fault.
fn shown(counters: &Counters) -> Value {
    let Counters { calls, faults, bytes_in, bytes_out, sessions } = counters;
    let mut by_call = Map::new();
    for call in calls {
        let one = json!({ "count": call.count, "seconds": call.seconds });
        by_call.insert(format!("{}.{}", call.kind.as_str(), call.call), one);
    }
    let mut by_fault: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, fault, count) in faults {
        *by_fault.entry(fault).or_default() += count;
    }
    json!({
        "calls": by_call, "faults": by_fault, "bytes_in": bytes_in, "bytes_out": bytes_out, "sessions": sessions,
    })
}

/// A schema that is not JSON is the plugin's mistake, and no reason to hide the plugin.
fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}
