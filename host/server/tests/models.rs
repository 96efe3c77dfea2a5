//! Several models behind one server: loaded when they are asked for, by hand, and not while it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use minerva_engine::Engine;
use minerva_engine::fake::ScriptedModel;
use minerva_models::registry::{Condition, Options, Progress, Registry, Source, SourceError, Spec};
use minerva_server::{Admin, ApiKeys, App, Models, router, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::fixture::{get, post, send};

/// How long anything here may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Loads a scripted model, unless it is told not to, and when it may.
#[derive(Clone, Default)]
struct Scripted {
    is_held: Arc<AtomicBool>,
    is_broken: Arc<AtomicBool>,
}

impl Source for Scripted {
    fn bytes(&self) -> Result<u64, SourceError> {
        Ok(1)
    }

    fn load(&self, progress: &mut Progress<'_>) -> Result<Engine, SourceError> {
        while self.is_held.load(Ordering::SeqCst) {
            if !progress(0.5) {
                return Err("cancelled".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if self.is_broken.load(Ordering::SeqCst) {
            return Err("/secret/path/model.gguf is broken".into());
        }
        let model = ScriptedModel::new(4, &[("hello", " there")]);
        Ok(Engine::start(Box::new(model), minerva_engine::Options::default())?)
    }
}

/// A server of two models with one place for them, and an administrator.
fn app() -> (App, Scripted) {
    let registry = Registry::new(Options { models_max: 1, ..Options::default() });
    let source = Scripted::default();
    for id in ["one", "two"] {
        let mut spec = Spec::new(id, source.clone());
        spec.defaults.params.temperature = 0.0;
        spec.aliases = vec![format!("{id}-alias")];
        registry.add(spec).unwrap();
    }
    let mut app = App { models: Models::of(registry), ..App::default() };
    app.options.admin = Admin { keys: ApiKeys::new(vec!["root".into()]), ..Admin::default() };
    (app, source)
}

async fn ask(app: &App, request: Request<Body>) -> (StatusCode, Value) {
    let (status, _, body) = send(&router(app.clone()), request).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{body}")))
}

fn completion(model: &str) -> Request<Body> {
    post("/v1/completions", json!({"model": model, "prompt": "hello"}).to_string())
}

fn administer(path: &str, body: &Value) -> Request<Body> {
    Request::post(path).header("authorization", "Bearer root").body(body.to_string().into()).unwrap()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} never came"));
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_loaded_when_requests_name_them_and_counted() {
    let (app, _) = app();
    for (model, answered) in [("one", "one"), ("two-alias", "two"), ("one-alias", "one"), ("one", "one")] {
        let (status, answer) = ask(&app, completion(model)).await;
        assert_eq!((status, &answer["model"]), (StatusCode::OK, &json!(answered)), "{answer}");
        assert_eq!(answer["choices"][0]["text"], " there");
    }
    let (status, answer) = ask(&app, completion("three")).await;
    assert_eq!((status, &answer["error"]["param"]), (StatusCode::NOT_FOUND, &json!("model")), "{answer}");
    let (_, list) = ask(&app, get("/v1/models")).await;
    let [one, two] = list["data"].as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!((&one["status"]["value"], &two["status"]["value"]), (&json!("loaded"), &json!("unloaded")));
    assert_eq!((&one["meta"]["n_vocab"], &two["meta"]), (&json!(260), &Value::Null));
    assert_eq!(one["usage"]["hits"], 1);
    assert_eq!(
        (&one["usage"]["misses"], &one["usage"]["loads"], &one["usage"]["evictions"]),
        (&json!(2), &json!(2), &json!(1))
    );
    let (_, _, metrics) = send(&router(app), get("/metrics")).await;
    for line in [
        "minerva_model_hits_total{model=\"one\"} 1",
        "minerva_model_misses_total{model=\"two\"} 1",
        "minerva_model_loaded{model=\"two\"} 0",
        "minerva_model_evictions_total{model=\"one\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_be_loaded_is_a_503_that_keeps_its_paths() {
    let (app, source) = app();
    source.is_broken.store(true, Ordering::SeqCst);
    let (status, headers, body) = send(&router(app.clone()), completion("one")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert!(body.contains("could not be loaded") && !body.contains("secret"), "{body}");
    assert!(headers.contains_key("retry-after"));
    let (_, list) = ask(&app, get("/v1/models")).await;
    assert_eq!(list["data"][0]["status"]["value"], "failed");
    assert!(!list.to_string().contains("secret"), "{list}");
    // The other one, and the server as a whole, are none the worse.
    source.is_broken.store(false, Ordering::SeqCst);
    assert_eq!(ask(&app, completion("two")).await.0, StatusCode::OK);
    assert_eq!(ask(&app, get("/health")).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_loads_and_unloads_and_watches() {
    let (app, source) = app();
    let events = router(app.clone()).oneshot(get("/v1/models/events")).await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let mut events = events.into_body().into_data_stream();
    let nobody = post("/v1/models/load", json!({"model": "one"}).to_string());
    assert_eq!(ask(&app, nobody).await.0, StatusCode::UNAUTHORIZED);
    let (status, answer) = ask(&app, administer("/v1/models/load", &json!({"model": "one-alias"}))).await;
    assert_eq!((status, &answer["success"]), (StatusCode::OK, &json!(true)), "{answer}");
    assert_eq!(answer["model"]["status"]["value"], "loaded");
    let (status, answer) = ask(&app, administer("/models/unload", &json!({"model": "one"}))).await;
    assert_eq!((status, &answer["model"]["status"]["value"]), (StatusCode::OK, &json!("unloaded")));
    let (status, answer) = ask(&app, administer("/v1/models/load", &json!({"model": "oen"}))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(answer["error"]["message"].as_str().unwrap().contains("did you mean `one`?"), "{answer}");
    source.is_held.store(true, Ordering::SeqCst);
    let (status, _) = ask(&app, administer("/v1/models/load", &json!({"model": "two", "wait": false}))).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let registry = app.models.registry().clone();
    until("it loads", || matches!(registry.entry("two").unwrap().condition, Condition::Loading(_))).await;
    source.is_held.store(false, Ordering::SeqCst);
    let mut story = String::new();
    let reading = async {
        while !story.contains(r#""model":"two","status":"loaded""#) {
            story.push_str(std::str::from_utf8(&events.next().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("events are missing"));
    let statuses: Vec<String> = story
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .map(|event: Value| {
            format!("{} {}", event["model"].as_str().unwrap(), event["status"].as_str().unwrap())
        })
        .collect();
    let expected = [
        "one unloaded",
        "two unloaded",
        "one queued",
        "one loading",
        "one loaded",
        "one retiring",
        "one unloaded",
        "two queued",
        "two loading",
        "two loading",
        "two loaded",
    ];
    assert_eq!(statuses, expected, "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_load_that_a_request_waits_for_and_lets_no_other_begin() {
    for (drain_timeout, is_freed) in [(PATIENCE, true), (Duration::from_millis(50), false)] {
        let (mut app, source) = app();
        app.options.drain_timeout = drain_timeout;
        source.is_held.store(true, Ordering::SeqCst);
        let registry = app.models.registry().clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(serve(app.clone(), listener, async { stopped.await.unwrap_or(()) }));
        let mut socket = TcpStream::connect(address).await.unwrap();
        let body = r#"{"model": "one", "prompt": "hello"}"#;
        let head =
            format!("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        socket.write_all((head + body).as_bytes()).await.unwrap();
        until("it loads", || matches!(registry.entry("one").unwrap().condition, Condition::Loading(_))).await;
        stop.send(()).unwrap();
        if is_freed {
            source.is_held.store(false, Ordering::SeqCst);
        }
        let mut answer = vec![0; 4096];
        let count = tokio::time::timeout(PATIENCE, socket.read(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        let expected = if is_freed { "HTTP/1.1 200" } else { "HTTP/1.1 503" };
        assert!(answer.starts_with(expected), "{answer}");
        if !is_freed {
            assert!(answer.contains("shutting down"), "{answer}");
        }
        tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap();
        let refused = registry.get(Some("two")).await.map(|_| ());
        assert_eq!(refused, Err(minerva_models::registry::Error::Closing));
    }
}
