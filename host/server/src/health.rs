//! Whether the process lives, has a model, and takes work.

use axum::Json;
use axum::extract::State;
use minerva_models::registry;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admission::{Lifecycle, Phase, ending};
use crate::app::Models;
use crate::failure::Failure;
use crate::openapi::{Operation, Schemas};

#[derive(Serialize, JsonSchema)]
pub(crate) struct Health {
    status: &'static str,
}

/// What the document says of `GET /live`.
pub(crate) fn describe_live(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("operations", "Whether the process serves at all").answers(schemas.answer::<Health>())
}

/// What the document says of `GET /health`.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    let operation =
        Operation::new("operations", "Whether a model is loaded, or could be when it is asked for");
    operation.answers(schemas.answer::<Health>()).fails(&[503])
}

/// What the document says of `GET /ready`.
pub(crate) fn describe_ready(schemas: &mut Schemas<'_>) -> Operation {
    let operation = Operation::new("operations", "Whether requests are let in");
    operation.answers(schemas.answer::<Health>()).fails(&[503])
}

/// `GET /live`: 200 while the process serves at all.
pub(crate) async fn live() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// `GET /health`: 200 once a model is there, or could be, as llama-server has it.
pub(crate) async fn health(State(models): State<Models>) -> Result<Json<Health>, Failure> {
    match models.registry().health() {
        registry::Health::Ready => Ok(Json(Health { status: "ok" })),
        registry::Health::Loading => Err(Failure::unavailable("Loading model")),
        registry::Health::Closing => Err(ending()),
    }
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
