//! The OpenAPI document: it hangs together, and says what the server does. That its paths are the router's, the router's
//! own tests say; that requests and answers are as it says is also looked at in every case under `cases/`.

mod reference;

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::http::StatusCode;
use jsonschema::Validator;
use minerva_engine::model::Pooling;
use minerva_server::router;
use serde_json::{Value, json};

use crate::fixture::{embedding_fixture, fixture, get, post, send};

/// A server's document, to hold it to.
pub(crate) struct Document {
    whole: Value,
    validators: BTreeMap<String, Validator>,
}

/// A request and its answer.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) request: &'a str,
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'a str,
    pub(crate) answer: &'a str,
}

impl Document {
    pub(crate) async fn of(router: &Router) -> Self {
        let (status, _, document) = send(router, get("/openapi.json")).await;
        assert_eq!(status, StatusCode::OK);
        Self { whole: serde_json::from_str(&document).unwrap(), validators: BTreeMap::new() }
    }

    /// What is wrong with an exchange, as the document has it.
    pub(crate) fn check(&mut self, it: Exchange<'_>) -> Result<(), String> {
        if it.status == StatusCode::METHOD_NOT_ALLOWED {
            return Ok(());
        }
        let Some(path) = self.path(it.path) else {
            return (it.status == StatusCode::NOT_FOUND).then_some(()).ok_or("no such path".into());
        };
        let place = format!("/paths/{}/{}", escaped(&path), it.method.to_lowercase());
        let operation = self.whole.pointer(&place).ok_or("no such method")?;
        let accepted = it.status.is_success();
        if accepted && let Some(content) = operation.pointer("/requestBody/content") {
            let media = content.as_object().unwrap().keys().next().unwrap().clone();
            let schema = format!("{place}/requestBody/content/{}/schema", escaped(&media));
            if media == "application/json" {
                // A number that is too large for any type is JSON all the same.
                if let Ok(request) = serde_json::from_str(it.request) {
                    self.validate(&schema, &request).map_err(|error| format!("accepted, but {error}"))?;
                }
            }
        }
        let mut answer = format!("{place}/responses/{}", it.status.as_u16());
        let stated = self.whole.pointer(&answer).ok_or_else(|| format!("{} is not in it", it.status))?;
        if let Some(reference) = stated["$ref"].as_str() {
            answer = reference.trim_start_matches('#').to_owned();
        }
        let media = it.content_type.split(';').next().unwrap_or_default();
        let schema = format!("{answer}/content/{}/schema", escaped(media));
        self.whole.pointer(&schema).ok_or_else(|| format!("{media} is not in {answer}"))?;
        match media {
            "application/json" => {
                let value = serde_json::from_str(it.answer).map_err(|error| error.to_string())?;
                self.validate(&schema, &value)
            }
            "text/event-stream" => {
                let mut schema = format!("{schema}/properties/data");
                // Beside OpenAI's mark of the end.
                if self.whole.pointer(&schema).is_some_and(|data| data["anyOf"].is_array()) {
                    schema.push_str("/anyOf/1");
                }
                schema.push_str("/contentSchema");
                let data = it.answer.lines().filter_map(|line| line.strip_prefix("data: "));
                data.filter(|data| *data != "[DONE]").try_for_each(|data| {
                    let value = serde_json::from_str(data).map_err(|error| error.to_string())?;
                    self.validate(&schema, &value).map_err(|error| format!("{error} in {data}"))
                })
            }
            _ => Ok(()),
        }
    }

    /// The document's path for a path.
    fn path(&self, path: &str) -> Option<String> {
        let path = path.split('?').next()?;
        let paths = self.whole["paths"].as_object()?;
        if paths.contains_key(path) {
            return Some(path.to_owned());
        }
        let mut named = paths.keys().filter(|known| {
            known
                .split_once('{')
                .is_some_and(|(start, _)| path.starts_with(start) && path.len() > start.len())
        });
        named.next().cloned()
    }

    /// What is wrong with a value, by the schema at a place of the document.
    fn validate(&mut self, place: &str, value: &Value) -> Result<(), String> {
        let whole = &self.whole;
        let validator = self.validators.entry(place.to_owned()).or_insert_with(|| {
            let mut schema = whole.clone();
            schema["$ref"] = format!("#{place}").replace('{', "%7B").replace('}', "%7D").into();
            jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{place}: {error}"))
        });
        match validator.iter_errors(value).next() {
            None => Ok(()),
            Some(error) => Err(format!("{} at {}: {error}", place, error.instance_path())),
        }
    }
}

/// A key in a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Every reference in a value.
fn references<'a>(value: &'a Value, to: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            to.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| references(value, to));
        }
        Value::Array(all) => all.iter().for_each(|value| references(value, to)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_hangs_together() {
    let Document { whole, .. } = Document::of(&router(fixture().app)).await;
    let mut referred = BTreeSet::new();
    references(&whole, &mut referred);
    for reference in &referred {
        assert!(whole.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
    for (name, schema) in whole["components"]["schemas"].as_object().unwrap() {
        assert!(referred.contains(format!("#/components/schemas/{name}").as_str()), "{name} is of no use");
        // schemars numbers types that are called alike.
        assert!(!name.ends_with(char::is_numeric), "two schemas are called {name}");
        // What is empty says nothing.
        assert!(schema.as_object().is_some_and(|schema| !schema.is_empty()), "{name}");
    }
    let mut ids = BTreeSet::new();
    for (path, methods) in whole["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let named = parameters.filter(|parameter| parameter["in"] == "path").count();
            assert_eq!(named, path.matches('{').count(), "{method} {path}");
        }
    }
}

/// Numbers at their bounds are let in, numbers beyond are refused by name; so it is with words of a list.
#[tokio::test]
async fn fields_have_the_bounds_that_the_document_says() {
    let chat = json!({"messages": [{"role": "user", "content": "hello"}], "logprobs": true, "max_tokens": 1});
    let text = json!({"prompt": "Once", "max_tokens": 1});
    check("/v1/chat/completions", &chat, 28).await;
    check("/v1/completions", &text, 26).await;
    check("/completion", &text, 26).await;
    check("/v1/responses", &json!({"input": "hello", "max_tokens": 1}), 26).await;
    check("/v1/messages", &json!({"messages": chat["messages"], "max_tokens": 1}), 26).await;
    check("/v1/embeddings", &json!({"input": "a"}), 2).await;
    check("/v1/rerank", &json!({"query": "a", "documents": ["b"]}), 1).await;
}

async fn check(path: &str, base: &Value, at_least: usize) {
    let fixture = match path {
        "/v1/embeddings" => embedding_fixture(Pooling::Mean),
        "/v1/rerank" => embedding_fixture(Pooling::Rank),
        _ => fixture(),
    };
    let router = router(fixture.app);
    let Document { whole, .. } = Document::of(&router).await;
    let reference =
        format!("/paths/{}/post/requestBody/content/application~1json/schema/$ref", escaped(path));
    let body = whole.pointer(&reference).unwrap().as_str().unwrap().trim_start_matches('#');
    let fields = whole.pointer(body).unwrap()["properties"].as_object().unwrap();
    let ask = async |field: &str, value: &Value| {
        let mut body = base.clone();
        body[field] = value.clone();
        let (status, _, answer) = send(&router, post(path, body.to_string())).await;
        (status, answer)
    };
    let mut checked = 0;
    for (field, schema) in fields {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        // A field's largest value may need a large model: only what is small is tried.
        let bounds = [("minimum", -1.0), ("maximum", 1.0)];
        for (bound, beyond) in bounds {
            let Some(limit) = schema[bound].as_f64().filter(|limit| limit.abs() < 1e3) else { continue };
            let step = if schema["type"].to_string().contains("integer") { 1.0 } else { 0.25 };
            let outer = json!(limit + beyond * step);
            let outer = if step == 1.0 { json!(limit as i64 + beyond as i64) } else { outer };
            inside.push(schema[bound].clone());
            outside.push(outer);
        }
        if let Some(words) = schema["enum"].as_array() {
            inside.extend(words.iter().cloned());
            outside.push("no such word".into());
        }
        checked += usize::from(!inside.is_empty());
        for value in &inside {
            let (status, answer) = ask(field, value).await;
            assert!(status.is_success(), "{path} {field} {value}: {status} {answer}");
        }
        for value in &outside {
            let (status, answer) = ask(field, value).await;
            let description = schema["description"].as_str().unwrap_or_default();
            let other_name =
                description.strip_prefix("Another name of ").map(|name| name.trim_end_matches('.'));
            let named = answer.contains(other_name.unwrap_or(&format!("`{field}`")));
            let refused = matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED);
            assert!(refused && named, "{path} {field} {value}: {status} {answer}");
        }
    }
    assert!(checked >= at_least, "{path} has only {checked} bounds");
}
