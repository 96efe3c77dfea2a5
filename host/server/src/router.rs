//! Every route, in one table.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::FromRef;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use bytes::Bytes;
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
use crate::openapi::{Access, Describe, Route};
use crate::traces::Traces;
use crate::tracking::{self, Ids};
use crate::{health, metrics, not_found, openapi, plugins, websocket};

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
    /// Every route that there is.
    pub(crate) routes: Arc<[Route]>,
    /// What is said of them, once somebody asked.
    pub(crate) document: Arc<OnceLock<Bytes>>,
}

impl Shared {
    pub(crate) fn new(app: App, routes: Vec<Route>) -> Self {
        let answers = Answers::default();
        let lifecycle = Lifecycle::new(answers.clone());
        let Options { stored_responses_max, stored_response_bytes_max, .. } = app.options;
        let responses = responses::Store::new(stored_responses_max, stored_response_bytes_max);
        let websockets = Arc::new(Semaphore::new(app.options.connections.connections_max));
        Self {
            app,
            lifecycle,
            ids: Ids::default(),
            answers,
            responses,
            websockets,
            routes: routes.into(),
            document: Arc::default(),
        }
    }
}

/// The whole HTTP API. A program that has a server of its own can nest it there; [`serve`](crate::serve()) also
/// drains it in the end.
pub fn router(app: App) -> Router {
    with_lifecycle(app).0
}

/// The whole HTTP API, and how to end it.
pub(crate) fn with_lifecycle(app: App) -> (Router, Lifecycle) {
    let [guarded, anthropic, administered, open] = tables();
    let routes: Vec<Route> = [&guarded, &anthropic, &administered, &open]
        .into_iter()
        .flat_map(|table| table.routes.iter().copied())
        .collect();
    let shared = Shared::new(app, routes);
    let lifecycle = shared.lifecycle.clone();
    let cors = shared.app.options.cors.layer();

    let guarded = guarded.router.route_layer(from_fn_with_state(shared.clone(), api_key::require));
    let anthropic =
        anthropic.router.route_layer(from_fn_with_state(shared.clone(), api_key::require_anthropic));
    let administered =
        administered.router.route_layer(from_fn_with_state(shared.clone(), plugins::admin::require));
    let router = guarded
        .merge(anthropic)
        .merge(administered)
        .merge(open.router)
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

/// Every route, with what the document says of it, by who may ask. Paths behind the first are other names for the same;
/// those without /v1 are llama-server's.
fn tables() -> [Table; 4] {
    let guarded = Table::new(Access::Key)
        // OpenAI: text from a conversation, and from a prompt.
        .post(["/v1/chat/completions", "/chat/completions"], chat::create, chat::describe)
        // llama-server: how long its prompt would be.
        .post(
            ["/v1/chat/completions/input_tokens", "/chat/completions/input_tokens"],
            chat::count_tokens,
            chat::describe_count,
        )
        // Ours: the same over a WebSocket.
        .get(["/v1/stream"], websocket::stream, websocket::describe)
        .post(["/v1/completions"], completions::create, completions::describe)
        .post(["/v1/responses", "/responses"], responses::create, responses::describe)
        .get(["/v1/responses/{id}"], responses::get, responses::describe_get)
        .delete(["/v1/responses/{id}"], responses::delete, responses::describe_delete)
        .post(["/v1/embeddings"], embeddings::create, embeddings::describe)
        // llama-server: prompts under its own names, gaps in code, whole texts, documents for a query.
        .post(["/completion", "/completions"], completion::create, completion::describe)
        .post(["/infill"], infill::create, infill::describe)
        .post(["/embedding", "/embeddings"], embeddings::native, embeddings::describe_native)
        .post(["/v1/rerank", "/rerank", "/v1/reranking", "/reranking"], rerank::create, rerank::describe)
        // llama-server: what the model makes of text, and the server of conversations.
        .post(["/tokenize"], tokenize::tokenize, tokenize::describe)
        .post(["/detokenize"], tokenize::detokenize, tokenize::describe_back)
        .post(["/apply-template"], apply_template::create, apply_template::describe)
        // Ours: what happens to the models, as it happens.
        .get(["/v1/models/events"], model_events::follow, model_events::describe)
        // llama-server: what the server is and does.
        .get(["/props"], props::props, props::describe)
        .get(["/slots"], props::slots, props::describe_slots)
        .post(["/slots/{id}"], slot_files::act, slot_files::describe)
        // Ours: what a request can name in its `minerva` object.
        .get(["/v1/plugins"], plugins::list, plugins::describe);

    // Anthropic: the same chat in its words, errors too.
    let anthropic = Table::new(Access::Key)
        .post(["/v1/messages"], messages::create, messages::describe)
        .post(["/v1/messages/count_tokens"], messages::count_tokens, messages::describe_count);

    // Ours: plugins put in and taken out, and models. Has keys of its own, and is off without.
    let administered = Table::new(Access::Administrator)
        .post(["/v1/plugins"], plugins::admin::install, plugins::admin::describe)
        .delete(["/v1/plugins/{name}"], plugins::admin::remove, plugins::admin::describe_remove)
        // Ours, as llama-server's router of models has them: loaded and unloaded.
        .post(["/v1/models/load", "/models/load"], model_admin::load, model_admin::describe)
        .post(["/v1/models/unload", "/models/unload"], model_admin::unload, model_admin::describe_unload);

    // Open without a key, as llama-server has them: probes and clients look here before they know one.
    let open = Table::new(Access::Open)
        // OpenAI: what `model` can be. Ids may have slashes in them.
        .get(["/v1/models", "/models"], models::list, models::describe)
        .get(["/v1/models/{*id}", "/models/{*id}"], models::get, models::describe_get)
        // llama-server: 503 until a model is ready.
        .get(["/health", "/v1/health"], health::health, health::describe)
        // Kubernetes: restart me; send me work.
        .get(["/live"], health::live, health::describe_live)
        .get(["/ready"], health::ready, health::describe_ready)
        // Prometheus: load and totals.
        .get(["/metrics"], metrics::scrape, metrics::describe)
        // OpenAPI: all of this, for programs.
        .get(["/openapi.json"], openapi::document, openapi::describe);
    [guarded, anthropic, administered, open]
}

/// Routes, and what the document says of them.
struct Table {
    access: Access,
    router: Router<Shared>,
    routes: Vec<Route>,
}

impl Table {
    fn new(access: Access) -> Self {
        Self { access, router: Router::new(), routes: Vec::new() }
    }

    fn get<H, T, const N: usize>(self, paths: [&'static str; N], handler: H, describe: Describe) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        self.add("get", paths, &get(handler), describe)
    }

    fn post<H, T, const N: usize>(self, paths: [&'static str; N], handler: H, describe: Describe) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        self.add("post", paths, &post(handler), describe)
    }

    fn delete<H, T, const N: usize>(self, paths: [&'static str; N], handler: H, describe: Describe) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        self.add("delete", paths, &delete(handler), describe)
    }

    fn add<const N: usize>(
        mut self,
        method: &'static str,
        paths: [&'static str; N],
        handler: &MethodRouter<Shared>,
        describe: Describe,
    ) -> Self {
        for path in paths {
            self.router = self.router.route(path, handler.clone());
            let other_name_of = (path != paths[0]).then_some(paths[0]);
            self.routes.push(Route { path, method, access: self.access, other_name_of, describe });
        }
        self
    }
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

impl FromRef<Shared> for Traces {
    fn from_ref(shared: &Shared) -> Self {
        shared.app.options.traces.clone()
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
    use axum::http::{Method, Request, StatusCode};
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    /// What the document has, the router has, and the other way round: the document is made of the router's table, and
    /// this is what the router makes of the document.
    #[tokio::test]
    async fn the_document_has_the_routes_that_are_there() {
        let router = router(App::default());
        let send = async |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap()
        };
        let document = send(Method::GET, "/openapi.json").await;
        let document = axum::body::to_bytes(document.into_body(), usize::MAX).await.unwrap();
        let document: Value = serde_json::from_slice(&document).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(
            paths.values().map(|methods| methods.as_object().unwrap().len()).sum::<usize>(),
            tables().iter().map(|table| table.routes.len()).sum::<usize>(),
        );
        for (path, methods) in paths {
            let response = send(Method::PATCH, &path.replace(['{', '}'], "")).await;
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
            let allowed = response.headers()["allow"].to_str().unwrap().to_lowercase();
            let mut allowed: Vec<&str> = allowed.split(',').filter(|method| *method != "head").collect();
            allowed.sort_unstable();
            let mut said: Vec<&str> = methods.as_object().unwrap().keys().map(String::as_str).collect();
            said.sort_unstable();
            assert_eq!(allowed, said, "{path}");
        }
    }
}
