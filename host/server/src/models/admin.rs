//! `POST /v1/models/load` and `POST /v1/models/unload`: for an administrator.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admission::Admission;
use crate::app::{Models, failure};
use crate::body::RawBody;
use crate::failure::Failure;
use crate::json;
use crate::openai::models;
use crate::openapi::{Operation, Schemas};

#[derive(Deserialize, JsonSchema)]
struct Body {
    model: String,
    /// Whether the answer comes when it is done, or at once. True unless it is said.
    wait: Option<bool>,
}

/// How it went.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelChanged")]
pub(crate) struct Changed {
    success: bool,
    /// Once it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<models::Entry>,
}

/// What the document says of loading.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    let changed = schemas.answer::<Changed>();
    Operation::new("models", "Loads a model")
        .takes(schemas.body("ModelRequest", &[Body::json_schema]), json!({"model": "the-id"}))
        .answers(changed.clone())
        .answers_as(202, "application/json", changed)
        .fails(&[404, 429, 500, 503])
}

/// What the document says of unloading.
pub(crate) fn describe_unload(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("models", "Unloads a model, when what it has begun has ended")
        .takes(schemas.body("ModelRequest", &[Body::json_schema]), json!({"model": "the-id"}))
        .answers(schemas.answer::<Changed>())
        .fails(&[404, 429, 500, 503])
}

/// Loads a model. A drain waits for it, and lets no new one begin.
pub(crate) async fn load(
    State(served): State<Models>,
    _admission: Admission,
    RawBody(body): RawBody,
) -> Result<(StatusCode, Json<Changed>), Failure> {
    let Body { model, wait } = json::read(json::text(&body)?)?;
    let registry = served.registry();
    named(&served, &model)?;
    tracing::info!(model, "an administrator loads the model '{model}'");
    if wait == Some(false) {
        registry.preload(&model).map_err(failure)?;
        return Ok((StatusCode::ACCEPTED, Json(Changed { success: true, model: None })));
    }
    registry.load(&model).await.map_err(failure)?;
    Ok((StatusCode::OK, Json(Changed { success: true, model: Some(models::named(&served, &model)?) })))
}

/// Unloads a model, when what it has begun has ended.
pub(crate) async fn unload(
    State(served): State<Models>,
    RawBody(body): RawBody,
) -> Result<Json<Changed>, Failure> {
    let Body { model, .. } = json::read(json::text(&body)?)?;
    named(&served, &model)?;
    tracing::info!(model, "an administrator unloads the model '{model}'");
    served.registry().unload(&model).await.map_err(failure)?;
    Ok(Json(Changed { success: true, model: Some(models::named(&served, &model)?) }))
}

/// Where one model is served, requests may call it anything; who loads and unloads means what he says.
fn named(served: &Models, name: &str) -> Result<(), Failure> {
    models::named(served, name).map(|_| ()).map_err(|failure| failure.param("model"))
}
