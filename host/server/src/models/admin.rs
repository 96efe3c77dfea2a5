//! `POST /v1/models/load` and `POST /v1/models/unload`: for an administrator.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admission::Admission;
use crate::app::{Models, failure};
use crate::body::RawBody;
use crate::failure::Failure;
use crate::json;
use crate::openai::models;

#[derive(Deserialize)]
struct Body {
    model: String,
    /// Whether the answer comes when it is done, or at once. True unless it is said.
    wait: Option<bool>,
}

/// Loads a model. A drain waits for it, and lets no new one begin.
pub(crate) async fn load(
    State(served): State<Models>,
    _admission: Admission,
    RawBody(body): RawBody,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let Body { model, wait } = json::read(json::text(&body)?)?;
    let registry = served.registry();
    named(&served, &model)?;
    tracing::info!(model, "an administrator loads the model '{model}'");
    if wait == Some(false) {
        registry.preload(&model).map_err(failure)?;
        return Ok((StatusCode::ACCEPTED, Json(json!({ "success": true }))));
    }
    registry.load(&model).await.map_err(failure)?;
    Ok((StatusCode::OK, Json(json!({ "success": true, "model": models::named(&served, &model)? }))))
}

/// Unloads a model, when what it has begun has ended.
pub(crate) async fn unload(
    State(served): State<Models>,
    RawBody(body): RawBody,
) -> Result<Json<Value>, Failure> {
    let Body { model, .. } = json::read(json::text(&body)?)?;
    named(&served, &model)?;
    tracing::info!(model, "an administrator unloads the model '{model}'");
    served.registry().unload(&model).await.map_err(failure)?;
    Ok(Json(json!({ "success": true, "model": models::named(&served, &model)? })))
}

/// Where one model is served, requests may call it anything; who loads and unloads means what he says.
fn named(served: &Models, name: &str) -> Result<(), Failure> {
    models::named(served, name).map(|_| ()).map_err(|failure| failure.param("model"))
}
