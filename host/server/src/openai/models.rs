//! `GET /v1/models` and `GET /v1/models/{id}`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use minerva_models::registry::{self, Condition};
use schemars::JsonSchema;
use serde::Serialize;

use crate::app::Models;
use crate::failure::Failure;
use crate::nearest;
use crate::openapi::{Operation, Schemas};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelList")]
pub(crate) struct List {
    object: &'static str,
    data: Vec<Entry>,
}

/// A model. What it is only shows when it is loaded; `created` is then when that was, and else 0.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Model")]
pub(crate) struct Entry {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    aliases: Vec<String>,
    status: Status,
    usage: Usage,
    meta: Option<Meta>,
}

/// llama-server's router has `value` too, and clients wait on it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelStatus")]
struct Status {
    value: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    pinned: bool,
    keep_alive_seconds: Option<f64>,
    load_seconds: Option<f64>,
    memory_bytes: Option<u64>,
}

/// How often a model was wanted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelUsage")]
struct Usage {
    hits: u64,
    misses: u64,
    loads: u64,
    load_failures: u64,
    evictions: u64,
    waiting: usize,
    last_used: Option<u64>,
}

/// What llama-server says of a model, under its names.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelMeta")]
struct Meta {
    n_vocab: u32,
    n_ctx: u32,
    n_ctx_train: u32,
    n_params: u64,
    size: u64,
    n_parallel: u32,
    architecture: String,
    device: String,
    /// `healthy`, `retrying`, `reloading` or `failed`.
    state: &'static str,
    decode_retries: u64,
    model_reloads: u64,
}

/// What the document says of the list.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("models", "The models that are served").answers(schemas.answer::<List>())
}

/// What the document says of one model.
pub(crate) fn describe_get(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("models", "One model, by its id or an alias")
        .named("id", "The id, which may have slashes in it.")
        .answers(schemas.answer::<Entry>())
        .fails(&[400, 404])
}

/// Lists what `model` can be.
pub(crate) async fn list(State(models): State<Models>) -> Json<List> {
    Json(List { object: "list", data: models.registry().entries().into_iter().map(entry).collect() })
}

/// One model, by its id or an alias.
pub(crate) async fn get(
    State(models): State<Models>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Entry>, Failure> {
    let Path(id) = id.map_err(|_| Failure::malformed("the model's id in the path is not UTF-8"))?;
    named(&models, &id).map(Json)
}

/// What there is to say of a model, by its id or an alias.
pub(crate) fn named(models: &Models, name: &str) -> Result<Entry, Failure> {
    let registry = models.registry();
    registry.entry(name).map(entry).ok_or_else(|| {
        let known: Vec<String> = registry.entries().into_iter().map(|entry| entry.id).collect();
        let hint = nearest::hint(name, known.iter().map(String::as_str));
        Failure::not_found(format!("the model `{}` is not served here{hint}", nearest::shown(name)))
    })
}

fn entry(entry: registry::Entry) -> Entry {
    let seconds = |time: Duration| time.as_secs_f64();
    Entry {
        id: entry.id,
        object: "model",
        created: entry.served.as_ref().map_or(0, |served| unix_seconds(served.created)),
        owned_by: "minerva",
        aliases: entry.aliases,
        status: Status {
            value: entry.condition.as_str(),
            progress: if let Condition::Loading(part) = entry.condition { Some(part) } else { None },
            error: entry.failure.map(|failure| failure.to_string()),
            pinned: entry.pinned,
            keep_alive_seconds: entry.keep_alive.map(seconds),
            load_seconds: entry.load_time.map(seconds),
            memory_bytes: entry.bytes,
        },
        usage: Usage {
            hits: entry.hits,
            misses: entry.misses,
            loads: entry.loads,
            load_failures: entry.failures,
            evictions: entry.evictions,
            waiting: entry.waiting,
            last_used: entry.last_used.map(unix_seconds),
        },
        meta: entry.served.map(|served| {
            let (info, status) = (served.handle.info(), served.handle.status());
            Meta {
                n_vocab: info.vocabulary_size,
                n_ctx: info.context,
                n_ctx_train: info.context_trained,
                n_params: info.parameters,
                size: info.weight_bytes,
                n_parallel: info.slots,
                architecture: info.architecture.clone(),
                device: info.device.clone(),
                state: status.state.as_str(),
                decode_retries: status.decode_retries,
                model_reloads: status.model_reloads,
            }
        }),
    }
}

/// Times on the wire; 0 for a clock before 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
