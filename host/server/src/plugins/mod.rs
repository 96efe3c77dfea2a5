//! `GET /v1/plugins`: what a request can name.

pub(crate) mod choice;

use axum::Json;
use axum::extract::State;
use minerva_engine::plugin::{Plugin, Plugins, Tier};
use serde::Serialize;
use serde_json::Value;

/// All plugins, in OpenAI's form of a list.
#[derive(Serialize)]
pub(crate) struct List {
    object: &'static str,
    data: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    id: String,
    object: &'static str,
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
}

#[derive(Serialize)]
struct Arguments {
    /// The JSON schema of the arguments; null where anything goes.
    args_schema: Value,
}

#[derive(Serialize)]
struct Sampler {
    args_schema: Value,
    tier: &'static str,
    cut: u32,
    can_fork: bool,
    can_rollback: bool,
}

/// Lists the plugins, by name.
pub(crate) async fn list(State(plugins): State<Plugins>) -> Json<List> {
    Json(List { object: "list", data: plugins.list().iter().map(|plugin| entry(plugin)).collect() })
}

fn entry(plugin: &Plugin) -> Entry {
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
        }
    });
    Entry {
        id: identity.name.clone(),
        object: "plugin",
        version: identity.version.clone(),
        summary: identity.summary.clone(),
        hash: identity.hash.clone(),
        kinds: plugin.kinds().map(|kind| kind.as_str()).collect(),
        template: plugin.template.as_ref().map(|it| Arguments { args_schema: schema(it.args_schema()) }),
        sampler,
        stream: plugin.stream.as_ref().map(|it| Arguments { args_schema: schema(it.args_schema()) }),
    }
}

/// A schema that is not JSON is the plugin's mistake, and no reason to hide the plugin.
fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}
