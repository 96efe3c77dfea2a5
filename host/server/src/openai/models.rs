//! `GET /v1/models` and `GET /v1/models/{id}`.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;

use crate::app::{Models, ServedModel};
use crate::failure::Failure;

#[derive(Serialize)]
pub(crate) struct List {
    object: &'static str,
    data: Vec<Entry>,
}

#[derive(Serialize)]
pub(crate) struct Entry {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    aliases: Vec<String>,
    meta: Meta,
}

/// What llama-server says of a model, under its names.
#[derive(Serialize)]
struct Meta {
    n_vocab: u32,
    n_ctx: u32,
    n_ctx_train: u32,
    n_params: u64,
    size: u64,
    n_parallel: u32,
    architecture: String,
    device: String,
}

/// Lists what `model` can be.
pub(crate) async fn list(State(models): State<Models>) -> Json<List> {
    Json(List { object: "list", data: models.list().iter().map(|model| entry(model)).collect() })
}

/// One model, by its id or an alias.
pub(crate) async fn get(
    State(models): State<Models>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Entry>, Failure> {
    let Path(id) = id.map_err(|_| Failure::malformed("the model's id in the path is not UTF-8"))?;
    models.get(&id).map(|model| Json(entry(&model))).ok_or_else(|| models.unknown(&id))
}

fn entry(model: &ServedModel) -> Entry {
    let info = model.handle.info();
    Entry {
        id: model.id.clone(),
        object: "model",
        created: unix_seconds(model.created),
        owned_by: "minerva",
        aliases: model.aliases.clone(),
        meta: Meta {
            n_vocab: info.vocabulary_size,
            n_ctx: info.context,
            n_ctx_train: info.context_trained,
            n_params: info.parameters,
            size: info.weight_bytes,
            n_parallel: info.slots,
            architecture: info.architecture.clone(),
            device: info.device.clone(),
        },
    }
}

/// Times on the wire; 0 for a clock before 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
