//! Every route, in one table.

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use minerva_engine::plugin::Plugins;
use tokio::sync::Semaphore;

use crate::admission::Lifecycle;
use crate::anthropic::messages;
use crate::api_key;
use crate::app::{App, Models, Options};
use crate::llama_server::{apply_template, completion, infill, props, rerank, slot_files, tokenize};
use crate::metrics::Answers;
use crate::models::{admin as model_admin, events as model_events};
use crate::openai::{chat, completions, embeddings, models, responses};
use crate::tracking::{self, Ids};
use crate::{health, metrics, not_found, plugins, websocket};

/// The paths that a client may have meant when it asked for one that is not there.
pub(crate) const PATHS: &[&str] = &[
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/models",
    "/v1/models/load",
    "/v1/models/unload",
    "/v1/models/events",
    "/v1/stream",
    "/v1/plugins",
    "/completion",
    "/infill",
    "/embedding",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/props",
    "/slots",
    "/health",
    "/live",
    "/ready",
    "/metrics",
];

/// What handlers and layers get at.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) app: App,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) ids: Ids,
    pub(crate) answers: Answers,
    pub(crate) responses: responses::Store,
    /// Places for WebSockets, which no connection's own place is held for.
    pub(crate) websockets: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(app: App) -> Self {
        let answers = Answers::default();
        let lifecycle = Lifecycle::new(answers.clone());
        let Options { stored_responses_max, stored_response_bytes_max, .. } = app.options;
        let responses = responses::Store::new(stored_responses_max, stored_response_bytes_max);
        let websockets = Arc::new(Semaphore::new(app.options.connections.connections_max));
        Self { app, lifecycle, ids: Ids::default(), answers, responses, websockets }
    }
}

/// The whole HTTP API. A program that has a server of its own can nest it there; [`serve`](crate::serve()) also
/// drains it in the end.
pub fn router(app: App) -> Router {
    with_lifecycle(app).0
}

/// The whole HTTP API, and how to end it.
pub(crate) fn with_lifecycle(app: App) -> (Router, Lifecycle) {
    let shared = Shared::new(app);
    let lifecycle = shared.lifecycle.clone();
    let cors = shared.app.options.cors.layer();

    // Paths without /v1 are llama-server's other names for the same.
    let guarded = Router::new()
        // OpenAI: text from a conversation, and from a prompt.
        .route("/v1/chat/completions", post(chat::create))
        .route("/chat/completions", post(chat::create))
        // Ours: the same over a WebSocket.
        .route("/v1/stream", get(websocket::stream))
        .route("/v1/completions", post(completions::create))
        .route("/completions", post(completions::create))
        .route("/v1/responses", post(responses::create))
        .route("/responses", post(responses::create))
        .route("/v1/responses/{id}", get(responses::get).delete(responses::delete))
        .route("/v1/embeddings", post(embeddings::create))
        // llama-server: prompts under its own names, gaps in code, whole texts, documents for a query.
        .route("/completion", post(completion::create))
        .route("/infill", post(infill::create))
        .route("/embedding", post(embeddings::native))
        .route("/embeddings", post(embeddings::native))
        .route("/v1/rerank", post(rerank::create))
        .route("/rerank", post(rerank::create))
        .route("/v1/reranking", post(rerank::create))
        .route("/reranking", post(rerank::create))
        // llama-server: what the model makes of text, and the server of conversations.
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/apply-template", post(apply_template::create))
        // Ours: what happens to the models, as it happens.
        .route("/v1/models/events", get(model_events::follow))
        // llama-server: what the server is and does.
        .route("/props", get(props::props))
        .route("/slots", get(props::slots))
        .route("/slots/{id}", post(slot_files::act))
        // Ours: what a request can name in its `minerva` object.
        .route("/v1/plugins", get(plugins::list))
        .route_layer(from_fn_with_state(shared.clone(), api_key::require));

    // Anthropic: the same chat in its words, errors too.
    let anthropic = Router::new()
        .route("/v1/messages", post(messages::create))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
        .route_layer(from_fn_with_state(shared.clone(), api_key::require_anthropic));

    // Ours: plugins put in and taken out, and models. Has keys of its own, and is off without.
    let administered = Router::new()
        .route("/v1/plugins", post(plugins::admin::install))
        .route("/v1/plugins/{name}", delete(plugins::admin::remove))
        // Ours, as llama-server's router of models has them: loaded and unloaded.
        .route("/v1/models/load", post(model_admin::load))
        .route("/models/load", post(model_admin::load))
        .route("/v1/models/unload", post(model_admin::unload))
        .route("/models/unload", post(model_admin::unload))
        .route_layer(from_fn_with_state(shared.clone(), plugins::admin::require));

    // Open without a key, as llama-server has them: probes and clients look here before they know one.
    let open = Router::new()
        // OpenAI: what `model` can be. Ids may have slashes in them.
        .route("/v1/models", get(models::list))
        .route("/models", get(models::list))
        .route("/v1/models/{*id}", get(models::get))
        .route("/models/{*id}", get(models::get))
        // llama-server: 503 until a model is ready.
        .route("/health", get(health::health))
        .route("/v1/health", get(health::health))
        // Kubernetes: restart me; send me work.
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        // Prometheus: load and totals.
        .route("/metrics", get(metrics::scrape));

    let router = guarded
        .merge(anthropic)
        .merge(administered)
        .merge(open)
        .fallback(not_found::path)
        .method_not_allowed_fallback(not_found::method)
        .layer(from_fn_with_state(shared.clone(), tracking::track))
        .with_state(shared);
    let router = match cors {
        Some(cors) => router.layer(cors),
        None => router,
    };
    (router, lifecycle)
}

impl FromRef<Shared> for Models {
    fn from_ref(shared: &Shared) -> Self {
        shared.app.models.clone()
    }
}

impl FromRef<Shared> for Plugins {
    fn from_ref(shared: &Shared) -> Self {
        shared.app.plugins.clone()
    }
}

impl FromRef<Shared> for Options {
    fn from_ref(shared: &Shared) -> Self {
        shared.app.options.clone()
    }
}

impl FromRef<Shared> for Lifecycle {
    fn from_ref(shared: &Shared) -> Self {
        shared.lifecycle.clone()
    }
}

impl FromRef<Shared> for Answers {
    fn from_ref(shared: &Shared) -> Self {
        shared.answers.clone()
    }
}

impl FromRef<Shared> for Ids {
    fn from_ref(shared: &Shared) -> Self {
        shared.ids.clone()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_paths_that_are_proposed_are_there() {
        for path in PATHS {
            let request = Request::delete(*path).body(Body::empty()).unwrap();
            let response = router(App::default()).oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        }
    }
}
