//! Whether the process lives, has a model, and takes work.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::admission::{Lifecycle, Phase, ending};
use crate::app::Models;
use crate::failure::Failure;

#[derive(Serialize)]
pub(crate) struct Health {
    status: &'static str,
}

/// `GET /live`: 200 while the process serves at all.
pub(crate) async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// `GET /health`: 200 once a model is there, as llama-server has it.
pub(crate) async fn health(State(models): State<Models>) -> Result<Json<Health>, Failure> {
    if models.list().is_empty() {
        return Err(Failure::unavailable("Loading model"));
    }
    Ok(Json(Health { status: "ok" }))
}

/// `GET /ready`: 200 while work is let in.
pub(crate) async fn ready(
    State(models): State<Models>,
    State(lifecycle): State<Lifecycle>,
) -> Result<Json<Health>, Failure> {
    if lifecycle.phase() != Phase::Serving {
        return Err(ending());
    }
    health(State(models)).await
}
