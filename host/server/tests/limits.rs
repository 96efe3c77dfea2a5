//! What happens at each limit of admission: deadlines, the queue's tokens, what one key may do, and turns of keys.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use futures::future::join_all;
use minerva_engine::Engine;
use minerva_engine::fake::ScriptedModel;
use minerva_engine::request::Deadlines;
use minerva_server::{ApiKeys, App, ClientLimits, router};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::connections::becomes;
use crate::fixture::{Fixture, fixture, fixture_with, post, send, served};

const COMPLETIONS: &str = "/v1/completions";

/// 90 tokens of one request at a time.
const FOR_EVER: &str = "for ever:";

fn asking(prompt: &str, minerva: &Value) -> Request<Body> {
    post(COMPLETIONS, json!({"prompt": prompt, "minerva": minerva}).to_string())
}

/// The status, the headers and the error of an answer.
async fn refused(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
    let (status, headers, body) = send(router, request).await;
    let body: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body}"));
    (status, headers, body["error"].clone())
}

fn retry_after(headers: &HeaderMap) -> u64 {
    headers["retry-after"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn deadlines_of_the_server_and_of_the_request_end_it_by_name() {
    let mut fixture = fixture_with(Duration::from_millis(50), minerva_engine::Options::default());
    let ms = Duration::from_millis;
    let total = Deadlines { total: Some(ms(100)), ..Deadlines::default() };
    let first_token = Deadlines { first_token: Some(ms(1)), ..Deadlines::default() };
    let cases = [
        (total, json!({}), "the answer was not complete within 100 ms"),
        // A request asks for less, and gets no more.
        (
            Deadlines::default(),
            json!({"timeouts": {"total": 0.1}}),
            "the answer was not complete within 100 ms",
        ),
        (total, json!({"timeouts": {"total": 1000}}), "the answer was not complete within 100 ms"),
        (first_token, json!({}), "no token came within 1 ms"),
    ];
    // A prompt of several decodes: deadlines are looked at between them.
    let prompt = format!("{}{FOR_EVER}", "a".repeat(300));
    for (deadlines, minerva, expected) in cases {
        fixture.app.options.deadlines = deadlines;
        let router = router(fixture.app.clone());
        let (status, _, error) = refused(&router, asking(&prompt, &minerva)).await;
        assert_eq!(
            (status, &error["type"]),
            (StatusCode::GATEWAY_TIMEOUT, &json!("timeout_error")),
            "{error}"
        );
        assert!(error["message"].as_str().unwrap().starts_with(expected), "{error}");
    }
    // Where all sequences are busy, the queue is what takes too long.
    fixture.app.options.deadlines = Deadlines::default();
    let router = router(fixture.app.clone());
    let busy = fill(&router).await;
    let (status, _, error) = refused(&router, asking(FOR_EVER, &json!({"timeouts": {"queue": 0.01}}))).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("no sequence was free for the request within 10 ms"), "{error}");
    drop(busy);
}

/// Streams on every sequence, until they are dropped.
async fn fill(router: &Router) -> Vec<Response> {
    let body = json!({"prompt": FOR_EVER, "stream": true}).to_string();
    let streams = (0..4).map(|_| router.clone().oneshot(post(COMPLETIONS, body.clone())));
    join_all(streams).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_wrong_timeout_or_priority_is_named() {
    let Fixture { app, engine: _engine, .. } = fixture();
    let router = router(app);
    for (minerva, param) in [
        (json!({"timeouts": {"total": 0}}), "minerva.timeouts.total"),
        (json!({"timeouts": {"queue": -1}}), "minerva.timeouts.queue"),
        (json!({"timeouts": {"decode": 1}}), "minerva.timeouts.decode"),
        (json!({"priority": 200}), "minerva.priority"),
    ] {
        let (status, _, error) = refused(&router, asking("Once", &minerva)).await;
        assert_eq!((status, &error["param"]), (StatusCode::BAD_REQUEST, &json!(param)), "{error}");
    }
}

#[tokio::test]
async fn a_queue_full_of_tokens_is_full() {
    let options = minerva_engine::Options { queue_tokens_limit: 100, ..minerva_engine::Options::default() };
    let fixture = fixture_with(Duration::from_millis(50), options);
    let router = router(fixture.app.clone());
    let busy = fill(&router).await;
    let long = format!("{}Once", "a".repeat(80));
    let waits = tokio::spawn(send_owned(router.clone(), asking(&long, &json!({}))));
    becomes(&fixture.engine.handle(), |status| status.waiting_tokens == 84).await;
    let (status, headers, error) = refused(&router, asking(&long, &json!({}))).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(retry_after(&headers) >= 1);
    let message = "the server is busy: 84 tokens are waiting, and the limit is 100; try again in";
    assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
    // A short one still finds room.
    let short = tokio::spawn(send_owned(router.clone(), asking("Once", &json!({}))));
    becomes(&fixture.engine.handle(), |status| status.waiting == 2).await;
    drop(busy);
    for one in [waits, short] {
        assert_eq!(one.await.unwrap().0, StatusCode::OK);
    }
}

async fn send_owned(router: Router, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    send(&router, request).await
}

/// A server that asks for the keys `a` and `b`.
fn with_keys(limits: ClientLimits) -> Fixture {
    let mut fixture = fixture_with(Duration::from_millis(5), minerva_engine::Options::default());
    fixture.app.options.api_keys = ApiKeys::new(vec!["a".into(), "b".into()]);
    fixture.app.options.client_limits = limits;
    fixture
}

fn with_key(key: &str, mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    request
}

#[tokio::test]
async fn a_key_runs_no_more_at_once_than_it_may() {
    let fixture = with_keys(ClientLimits { concurrent_requests: Some(1), ..ClientLimits::default() });
    let router = router(fixture.app.clone());
    let streaming = json!({"prompt": FOR_EVER, "stream": true}).to_string();
    let stream = router.clone().oneshot(with_key("a", post(COMPLETIONS, streaming))).await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    // The status is out, and the stream runs on.
    let (status, headers, error) = refused(&router, with_key("a", asking("Once", &json!({})))).await;
    assert_eq!((status, &error["type"]), (StatusCode::TOO_MANY_REQUESTS, &json!("rate_limit_error")));
    assert!(retry_after(&headers) >= 1);
    let (status, ..) = send(&router, with_key("b", asking("Once", &json!({})))).await;
    assert_eq!(status, StatusCode::OK);
    drop(stream);
    let (status, ..) = send(&router, with_key("a", asking("Once", &json!({})))).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_asks_no_more_often_than_it_may() {
    let two = ClientLimits { requests_per_minute: NonZeroU32::new(2), ..ClientLimits::default() };
    let fixture = with_keys(two);
    let router = router(fixture.app.clone());
    let ask = |key: &'static str| refused(&router, with_key(key, asking("Once", &json!({}))));
    assert_eq!(ask("a").await.0, StatusCode::OK);
    assert_eq!(ask("a").await.0, StatusCode::OK);
    let (status, headers, error) = ask("a").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{error}");
    assert!((1..=30).contains(&retry_after(&headers)), "{headers:?}");
    assert_eq!(ask("b").await.0, StatusCode::OK);
    // Keys that stay keep what they have used.
    fixture.app.options.api_keys.replace(vec!["a".into()]);
    assert_eq!(ask("a").await.0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask("b").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn keys_take_turns() {
    let script = [(FOR_EVER, "ab".repeat(200)), ("Once", " upon a time".into())];
    let script = script.each_ref().map(|(prompt, reply)| (*prompt, reply.as_str()));
    let model = ScriptedModel::new(1, &script).with_delay(Duration::from_millis(50));
    let engine = Engine::start(Box::new(model), minerva_engine::Options::default()).unwrap();
    let handle = engine.handle();
    let mut app = App::default();
    app.models.insert(served("scripted", handle.clone()));
    app.options.api_keys = ApiKeys::new(vec!["a".into(), "b".into()]);
    let router = router(app);
    let streaming = json!({"prompt": FOR_EVER, "stream": true}).to_string();
    let first = router.clone().oneshot(with_key("a", post(COMPLETIONS, streaming))).await.unwrap();
    let ended = std::sync::Mutex::new(Vec::new());
    let ask = |key: &'static str, before: usize| {
        let (router, handle, ended) = (&router, &handle, &ended);
        async move {
            // Into the queue in this order.
            becomes(handle, |status| status.waiting >= before).await;
            let (status, ..) = send(router, with_key(key, asking("Once", &json!({})))).await;
            assert_eq!(status, StatusCode::OK);
            ended.lock().unwrap().push(key);
        }
    };
    let all_wait = async {
        becomes(&handle, |status| status.waiting == 4).await;
        drop(first);
    };
    let asking = join_all([("a", 0), ("a", 1), ("a", 2), ("b", 3)].map(|(key, before)| ask(key, before)));
    tokio::join!(asking, all_wait);
    assert_eq!(ended.into_inner().unwrap(), ["b", "a", "a", "a"]);
}
