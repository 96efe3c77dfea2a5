//! A server to test: a scripted model behind the whole router.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use minerva_engine::fake::{Log, ScriptedModel};
use minerva_engine::model::Pooling;
use minerva_engine::plugin::Policy;
use minerva_engine::{Engine, Handle};
use minerva_server::{App, Models, Options, ServedModel};
use tower::ServiceExt;

use crate::plugins;

/// The bodies of tests are short.
pub(crate) const BODY_BYTES_MAX: usize = 10_000;

const TEMPLATE: &str = r"
    {#- Its model thinks inside <think></think>, and calls inside <tool_call></tool_call>. -#}
    {%- for message in messages -%}
    {%- if message.role not in ['system', 'user', 'assistant', 'tool'] -%}
    {{- raise_exception('unknown role') -}}
    {%- endif -%}
    {{- message.role + ': ' + message.content -}}
    {%- if not loop.last or add_generation_prompt -%}{{- '\n' -}}{%- endif -%}
    {%- endfor -%}
    {%- if tools -%}{{- '(' ~ tools | length ~ ' tools)\n' -}}{%- endif -%}
    {%- if loud -%}{{- '(loud)\n' -}}{%- endif -%}
    {%- if add_generation_prompt -%}assistant:{%- endif -%}";

/// Prompts and what the model says to them.
const REPLIES: &[(&str, &str)] = &[
    ("user: hello\nassistant:", "Hello there"),
    ("user: bytes\nassistant:", "naïve 🙂"),
    (
        "user: add\n(1 tools)\nassistant:",
        "I add.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1, \"b\": [2]}}\n</tool_call>",
    ),
    (
        "user: twice\n(1 tools)\nassistant:",
        "<tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call><tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>",
    ),
    ("(1 tools)\nassistant:", "a tool"),
    ("user: think\nassistant:", "<think>\nHm.\n</think>\n\nFour."),
    ("(loud)\nassistant:", "HEY"),
    ("user: count\nassistant: one", " two"),
    ("Once", " upon a time"),
    ("Twice", " told"),
    ("system: be\nuser: hi\nassistant:", "system seen"),
    (
        "for ever:",
        "abababababababababababababababababababababababababababababababababababababababababababababab",
    ),
];

/// A server and what is behind it.
pub(crate) struct Fixture {
    pub(crate) engine: Engine,
    pub(crate) app: App,
    pub(crate) log: Log,
}

/// A server of a model that takes no time.
pub(crate) fn fixture() -> Fixture {
    fixture_with(Duration::ZERO, minerva_engine::Options::default())
}

/// A server of a model that takes time.
pub(crate) fn fixture_with(delay: Duration, options: minerva_engine::Options) -> Fixture {
    let mut model = ScriptedModel::new(4, REPLIES).with_delay(delay);
    model.info_mut().chat_template = Some(TEMPLATE.into());
    let log = model.log();
    let engine = Engine::start(Box::new(model), options).unwrap();
    let models = Models::default();
    models.insert(served("scripted", engine.handle()));
    let options = Options { body_bytes_max: BODY_BYTES_MAX, choices_max: 8, ..Options::default() };
    Fixture { engine, app: App { models, plugins: plugins::all(Policy::default()), options }, log }
}

/// A server of a model that embeds or judges. Requests for it have at most 4 texts.
pub(crate) fn embedding_fixture(pooling: Pooling) -> Fixture {
    let model = ScriptedModel::embedding(4, pooling);
    let log = model.log();
    let options = minerva_engine::Options { embed_texts_max: 4, ..minerva_engine::Options::default() };
    let engine = Engine::start(Box::new(model), options).unwrap();
    let models = Models::default();
    models.insert(served("scripted", engine.handle()));
    let options = Options { body_bytes_max: BODY_BYTES_MAX, ..Options::default() };
    Fixture { engine, app: App { models, plugins: plugins::all(Policy::default()), options }, log }
}

/// The model under a name, greedy where requests do not say otherwise.
pub(crate) fn served(id: &str, handle: Handle) -> ServedModel {
    let mut model = ServedModel::new(id, handle);
    model.aliases = vec![format!("{id}-alias")];
    model.defaults.params.temperature = 0.0;
    model
}

/// Sends one request and takes the whole response.
pub(crate) async fn send(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

/// A request with a body.
pub(crate) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).body(body.into()).unwrap()
}

/// A request without.
pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}
