//! `GET /openapi.json`: the API as an OpenAPI document. Its schemas are derived from the types that bodies are read
//! into and written from, and its paths are those of the router's table, so that it says what the server does.

mod operation;
mod schemas;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};

pub(crate) use self::operation::{Dialect, Operation};
pub(crate) use self::schemas::{Part, Schemas};
use crate::app::Options;
use crate::failure::{self, ErrorBody};
use crate::router::Shared;

/// Says what an operation is.
pub(crate) type Describe = fn(&mut Schemas<'_>) -> Operation;

/// A method of a path, and what there is to say of it.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub(crate) path: &'static str,
    /// In small letters, as the document has it.
    pub(crate) method: &'static str,
    pub(crate) access: Access,
    /// The path that this one is another name of.
    pub(crate) other_name_of: Option<&'static str>,
    pub(crate) describe: Describe,
}

/// Who may ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everyone.
    Open,
    /// Who has an API key, where there are any.
    Key,
    /// Who has an administrator's key; where there are none, nobody.
    Administrator,
}

/// The document of this server.
pub(crate) async fn document(State(shared): State<Shared>) -> Response {
    let made = shared.document.get_or_init(|| {
        let document = build(&shared.routes, &shared.app.options);
        // A JSON value always serialises.
        Bytes::from(serde_json::to_vec(&document).unwrap_or_default())
    });
    ([(CONTENT_TYPE, "application/json")], made.clone()).into_response()
}

pub(crate) fn describe(_: &mut Schemas<'_>) -> Operation {
    Operation::new("operations", "This document").answers(json!({"type": "object"}))
}

/// The document of a table of routes.
pub(crate) fn build(routes: &[Route], options: &Options) -> Value {
    let mut schemas = Schemas::new(options);
    let (mut paths, mut failures) = (Map::new(), Map::new());
    for route in routes {
        let operation = (route.describe)(&mut schemas).with_access(route.access, options);
        for (dialect, status) in operation.failures() {
            failures.entry(operation::failure_name(dialect, status)).or_insert_with(|| {
                let schema = match dialect {
                    Dialect::OpenAi => schemas.answer::<ErrorBody<'static>>(),
                    Dialect::Anthropic => schemas.answer::<failure::AnthropicError<'static>>(),
                };
                operation::failure(status, &schema)
            });
        }
        // axum's wildcard is a parameter like any other in the document.
        let path = paths.entry(route.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[route.method] = operation.into_json(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Minerva",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Local language models, programmable by WebAssembly components: OpenAI's API, with \
                            llama-server's, Anthropic's and some of its own beside it. Null is as good as absent, and \
                            fields that are not described here are accepted and ignored.",
        },
        "servers": [{"url": "/"}],
        "tags": operation::TAGS.map(|(name, description)| json!({"name": name, "description": description})),
        "paths": paths,
        "components": {
            "schemas": schemas.into_definitions(),
            "responses": failures,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            },
        },
    })
}
