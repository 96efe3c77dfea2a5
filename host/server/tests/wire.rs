//! What cases in files cannot say: headers, bytes, several models, streams put together.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use minerva_server::{ApiKeys, App, MetricsCompat, Models, PluginChoice, router};
use serde_json::{Value, json};

use crate::fixture::{BODY_BYTES_MAX, Fixture, fixture, get, post, send, served};

const CHAT: &str = "/v1/chat/completions";

async fn ask(app: &App, request: Request<Body>) -> (StatusCode, Value) {
    let (status, _, body) = send(&router(app.clone()), request).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body}")))
}

fn hello(more: &Value) -> String {
    let mut body = json!({"messages": [{"role": "user", "content": "hello"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

/// The data of a stream, `[DONE]` checked and left out.
pub(crate) fn chunks(stream: &str) -> Vec<Value> {
    let body = stream.strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("no end in {stream}"));
    let events = body.split("\n\n").filter(|event| !event.is_empty());
    events.map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap()).collect()
}

/// What the deltas of a choice add up to.
fn joined(chunks: &[Value], choice: u64, pointer: &str) -> String {
    let choices = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
    let own = choices.filter(|it| it["index"] == choice);
    own.filter_map(|it| it.pointer(pointer)?.as_str()).collect()
}

#[tokio::test]
async fn a_stream_adds_up_to_the_whole() {
    let Fixture { app, engine: _engine, .. } = fixture();
    let check = async |more: Value, pointer: &str, expected: &str, finish: &str| {
        let mut body = more.clone();
        body["stream"] = true.into();
        let (status, headers, stream) = send(&router(app.clone()), post(CHAT, hello(&body))).await;
        assert_eq!(status, StatusCode::OK, "{stream}");
        assert_eq!(headers["content-type"], "text/event-stream");
        let chunks = chunks(&stream);
        for choice in 0..more["n"].as_u64().unwrap_or(1) {
            assert_eq!(joined(&chunks, choice, pointer), expected, "{stream}");
            assert_eq!(joined(&chunks, choice, "/delta/role"), "assistant");
            assert_eq!(joined(&chunks, choice, "/finish_reason"), finish);
        }
        chunks
    };
    check(json!({}), "/delta/content", "Hello there", "stop").await;
    check(json!({"n": 3}), "/delta/content", "Hello there", "stop").await;
    check(json!({"stop": "the"}), "/delta/content", "Hello ", "stop").await;
    let upper = json!({"stream": [{"id": "upper"}]});
    let said = check(json!({"minerva": upper}), "/delta/content", "HELLO THERE", "stop").await;
    assert!(said.iter().any(|chunk| chunk["minerva"]["meta"][0]["plugin"] == "upper"), "{said:?}");
    let call = json!({"minerva": {"stream": [{"id": "call"}]}});
    let arguments = "/delta/tool_calls/0/function/arguments";
    let called = check(call, arguments, "Hello there", "tool_calls").await;
    // The first piece of a call has everything but arguments.
    let first = called.iter().find_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0")).unwrap();
    let expected = json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}});
    assert_eq!(first, &expected);
}

#[tokio::test]
async fn bodies_that_are_no_text_or_too_long_are_refused() {
    let Fixture { app, engine: _engine, .. } = fixture();
    let (status, body) = ask(&app, post(CHAT, b"{\"messages\": \"\xff\"}".to_vec())).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["error"]["message"], "the body is not valid UTF-8: byte 14 is wrong");

    let at_limit = |length: usize| {
        let body = hello(&json!({"max_tokens": 1, "user": ""}));
        let padding = "u".repeat(length - body.len());
        body.replace("\"user\":\"\"", &format!("\"user\":\"{padding}\""))
    };
    let (status, _) = ask(&app, post(CHAT, at_limit(BODY_BYTES_MAX))).await;
    assert_eq!(status, StatusCode::OK);
    let (status, body) = ask(&app, post(CHAT, at_limit(BODY_BYTES_MAX + 1))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(body["error"]["message"], "the body is longer than the limit of 10000 bytes");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_one() {
    let Fixture { app, engine: _engine, .. } = fixture();
    let router = router(app);
    for (path, allow) in [(CHAT, "POST"), ("/tokenize", "POST"), ("/health", "GET,HEAD")] {
        let request = Request::delete(path).body(Body::empty()).unwrap();
        let (status, headers, _) = send(&router, request).await;
        assert_eq!(
            (status, headers["allow"].to_str().unwrap()),
            (StatusCode::METHOD_NOT_ALLOWED, allow),
            "{path}"
        );
    }
}

#[tokio::test]
async fn metrics_have_each_models_load_and_totals() {
    let Fixture { app, engine: _engine, .. } = fixture();
    ask(&app, post(CHAT, hello(&json!({})))).await;
    let (status, headers, text) = send(&router(app), get("/metrics")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let expected = [
        r#"minerva_requests_running{model="scripted"} 0"#,
        r#"minerva_sequences{model="scripted"} 4"#,
        r#"minerva_generation_tokens_total{model="scripted"} 12"#,
        r#"minerva_requests_finished_total{model="scripted"} 1"#,
        r#"minerva_answers_total{model="scripted",reason="stop"} 1"#,
        r#"minerva_answers_total{model="scripted",reason="canceled"} 0"#,
        r#"minerva_time_to_first_token_seconds_count{model="scripted"} 1"#,
        // 12 tokens have 11 distances.
        r#"minerva_inter_token_latency_seconds_count{model="scripted"} 11"#,
        r#"minerva_e2e_request_latency_seconds_bucket{le="+Inf",model="scripted"} 1"#,
        r#"minerva_request_queue_time_seconds_count{model="scripted"} 1"#,
        r#"minerva_kv_cache_tokens_limit{model="scripted"} 2048"#,
        r#"minerva_kv_cache_usage_ratio{model="scripted"} 0.0"#,
    ];
    for line in expected {
        assert!(text.lines().any(|it| it == line), "no {line} in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn answers_are_counted_by_route_status_and_error() {
    let Fixture { mut app, engine: _engine, .. } = fixture();
    app.options.metrics_compat = Some(MetricsCompat::Vllm);
    let router = router(app);
    send(&router, post(CHAT, hello(&json!({})))).await;
    send(&router, post(CHAT, hello(&json!({"top_p": 2})))).await;
    send(&router, post(CHAT, "{")).await;
    send(&router, get("/v1/models/no/such")).await;
    send(&router, get("/anything/a/client/thinks/of")).await;
    let (_, _, text) = send(&router, get("/metrics")).await;
    let expected = [
        r#"minerva_http_requests_total{path="/v1/chat/completions",status="200",error=""} 1"#,
        r#"minerva_http_requests_total{path="/v1/chat/completions",status="400",error="invalid_request_error"} 2"#,
        r#"minerva_http_requests_total{path="unknown",status="404",error="not_found_error"} 1"#,
        r#"vllm:num_requests_running{model_name="scripted"} 0.0"#,
        r#"vllm:num_requests_waiting{model_name="scripted"} 0.0"#,
        r#"vllm:kv_cache_usage_perc{model_name="scripted"} 0.0"#,
    ];
    for line in expected {
        assert!(text.lines().any(|it| it == line), "no {line} in {text}");
    }
}

#[tokio::test]
async fn any_content_type_will_do() {
    let Fixture { app, engine: _engine, .. } = fixture();
    let request =
        Request::post(CHAT).header("content-type", "text/plain").body(hello(&json!({})).into()).unwrap();
    assert_eq!(ask(&app, request).await.0, StatusCode::OK);
}

#[tokio::test]
async fn responses_go_on_from_those_before_them() {
    let fixture = fixture();
    let router = router(fixture.app);
    let json_of = |body: String| serde_json::from_str::<Value>(&body).unwrap();
    let ask = |body: Value| {
        let router = router.clone();
        async move { json_of(send(&router, post("/v1/responses", body.to_string())).await.2) }
    };
    let first = ask(json!({"input": "hello", "max_output_tokens": 5})).await;
    let id = first["id"].as_str().unwrap();
    let path = format!("/v1/responses/{id}");
    let again = json_of(send(&router, get(&path)).await.2);
    assert_eq!(again, first);
    let second = ask(json!({"input": "think", "previous_response_id": id, "stream": false})).await;
    assert_eq!(second["previous_response_id"], id);
    // \"user: hello\nassistant: Hello\n\" stands before \"user: think\nassistant:\" now.
    assert_eq!(second["usage"]["input_tokens"], 22 + 6 + 1 + 22);
    let unstored = ask(json!({"input": "hello", "store": false})).await;
    let unstored = format!("/v1/responses/{}", unstored["id"].as_str().unwrap());
    assert_eq!(send(&router, get(&unstored)).await.0, StatusCode::NOT_FOUND);
    let delete = || Request::delete(&path).body(Body::empty()).unwrap();
    let deleted = json_of(send(&router, delete()).await.2);
    assert_eq!(deleted, json!({"id": id, "object": "response", "deleted": true}));
    assert_eq!(send(&router, delete()).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn request_ids_are_taken_if_sane_and_echoed() {
    let Fixture { app, engine: _engine, .. } = fixture();
    let router = router(app);
    let too_long = "x".repeat(129);
    for (given, is_taken) in [("abc-123", true), ("two words", false), (&too_long, false), ("", false)] {
        let request = Request::get("/nowhere").header("x-request-id", given).body(Body::empty()).unwrap();
        let (_, headers, _) = send(&router, request).await;
        let echoed = headers["x-request-id"].to_str().unwrap();
        assert!(if is_taken { echoed == given } else { echoed.starts_with("req-") }, "{given}: {echoed}");
    }
}

#[tokio::test]
async fn keys_guard_all_but_probes_and_models() {
    let Fixture { mut app, engine: _engine, .. } = fixture();
    app.options.api_keys = ApiKeys::new(vec!["right".into()]);
    for path in ["/health", "/live", "/ready", "/v1/models"] {
        assert_eq!(ask(&app, get(path)).await.0, StatusCode::OK, "{path}");
    }
    let with_key = |key: Option<&str>| {
        let request = Request::post(CHAT).body(Body::from(hello(&json!({})))).unwrap();
        let (mut parts, body) = request.into_parts();
        if let Some(key) = key {
            parts.headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        Request::from_parts(parts, body)
    };
    assert_eq!(ask(&app, with_key(Some("right"))).await.0, StatusCode::OK);
    for key in [None, Some("wrong")] {
        let (status, body) = ask(&app, with_key(key)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(body["error"]["type"], "authentication_error");
    }
    assert_eq!(ask(&app, get("/v1/plugins")).await.0, StatusCode::UNAUTHORIZED);
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let (status, body) = ask(&app, post(path, hello(&json!({})))).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        // Anthropic's form.
        assert_eq!(
            (&body["type"], &body["error"]["type"]),
            (&json!("error"), &json!("authentication_error"))
        );
    }
}

#[tokio::test]
async fn several_models_are_told_apart_by_name() {
    let Fixture { app, engine, .. } = fixture();
    app.models.insert(served("org/other", engine.handle()));
    let (_, body) = ask(&app, post(CHAT, hello(&json!({"model": "org/other-alias"})))).await;
    assert_eq!(body["model"], "org/other");
    assert_eq!(ask(&app, get("/v1/models/org/other")).await.1["id"], "org/other");

    let (status, body) = ask(&app, post(CHAT, hello(&json!({"model": "scriptd"})))).await;
    assert_eq!((status, &body["error"]["param"]), (StatusCode::NOT_FOUND, &json!("model")));
    let message =
        "the model `scriptd` is not served here; did you mean `scripted`? Available: `scripted`, `org/other`";
    assert_eq!(body["error"]["message"], message);
    let (status, body) = ask(&app, post(CHAT, hello(&json!({})))).await;
    assert_eq!((status, &body["error"]["param"]), (StatusCode::BAD_REQUEST, &json!("model")));
}

#[tokio::test]
async fn without_a_model_the_server_lives_and_is_not_ready() {
    let Fixture { mut app, .. } = fixture();
    app.models = Models::default();
    assert_eq!(ask(&app, get("/live")).await.0, StatusCode::OK);
    for request in [get("/health"), get("/ready"), post(CHAT, hello(&json!({})))] {
        let (status, body) = ask(&app, request).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["error"]["type"], "unavailable_error");
    }
}

#[tokio::test]
async fn defaults_of_a_model_stand_where_the_request_says_nothing() {
    let Fixture { app, engine, .. } = fixture();
    let mut model = served("scripted", engine.handle());
    model.defaults.params.max_tokens = Some(5);
    let upper = PluginChoice { id: "upper".into(), args: Value::Null, on_fault: None };
    model.defaults.plugins.stream = vec![upper];
    assert!(app.models.insert(model).is_some());
    let check = async |more: Value, expected: &str| {
        let (_, body) = ask(&app, post(CHAT, hello(&more))).await;
        assert_eq!(body["choices"][0]["message"]["content"], expected, "{body}");
    };
    check(json!({}), "HELLO").await;
    check(json!({"minerva": {"samplers": [{"id": "pass"}]}}), "HELLO").await;
    check(json!({"minerva": {"stream": []}, "max_tokens": 4}), "Hell").await;
    // A default that is not there is no mistake of the client's.
    app.plugins.remove("upper");
    let (status, body) = ask(&app, post(CHAT, hello(&json!({})))).await;
    assert_eq!((status, &body["error"]["param"]), (StatusCode::INTERNAL_SERVER_ERROR, &Value::Null));
}

#[tokio::test]
async fn unseeded_choices_are_reproduced_by_the_reported_seed() {
    let Fixture { app, engine: _engine, .. } = fixture();
    let check = json!({"n": 4, "temperature": 100, "top_k": 0, "top_p": 1, "min_p": 0, "max_tokens": 8});
    let texts = |body: &Value| -> Vec<Value> {
        body["choices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|choice| choice["message"]["content"].clone())
            .collect()
    };
    let (_, first) = ask(&app, post(CHAT, hello(&check))).await;
    let mut again = check;
    again["seed"] = first["minerva"]["seed"].clone();
    let (_, second) = ask(&app, post(CHAT, hello(&again))).await;
    assert_eq!(texts(&first), texts(&second));
    assert_ne!(texts(&first)[0], texts(&first)[1]);
}
