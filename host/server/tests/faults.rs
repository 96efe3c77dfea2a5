//! What becomes of plugins that fail: the operator's policy, the breaker, and how both are told.

use axum::http::StatusCode;
use minerva_engine::plugin::{BreakerOptions, OnFault, Policy};
use minerva_server::{ApiKeys, App, router};
use serde_json::{Value, json};

use crate::fixture::{Fixture, fixture, get, post, send};
use crate::plugins;

const CHAT: &str = "/v1/chat/completions";

/// A server whose operator says this of faults.
fn with(policy: Policy) -> Fixture {
    let mut fixture = fixture();
    fixture.app.plugins = plugins::all(policy);
    fixture
}

async fn ask(app: &App, samplers: Value) -> (StatusCode, Option<String>, Value) {
    ask_as(app, "", samplers).await
}

async fn ask_as(app: &App, key: &str, samplers: Value) -> (StatusCode, Option<String>, Value) {
    let body = json!({"messages": [{"role": "user", "content": "hello"}], "minerva": {"samplers": samplers}});
    let mut request = post(CHAT, body.to_string());
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    let (status, headers, body) = send(&router(app.clone()), request).await;
    let retry_after = headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (status, retry_after, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn the_operators_policy_is_what_requests_get_that_say_nothing() {
    let policy = Policy { on_fault_of: [("trap".into(), OnFault::Skip)].into(), ..Policy::default() };
    let Fixture { app, engine: _engine, .. } = with(policy);
    let (status, _, answer) = ask(&app, json!([{"id": "trap"}])).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], "Hello there");
    assert_eq!(answer["minerva"]["plugins"][0]["fault"], "plugin 'trap' 1.2.3, in pick: trapped");
    let (status, ..) = ask(&app, json!([{"id": "trap", "on_fault": "fail"}])).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let (_, _, list) = send(&router(app), get("/v1/plugins")).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let policies: Vec<(&Value, &Value)> =
        list["data"].as_array().unwrap().iter().map(|plugin| (&plugin["id"], &plugin["on_fault"])).collect();
    assert!(policies.contains(&(&json!("trap"), &json!("skip"))), "{policies:?}");
    assert!(policies.contains(&(&json!("pass"), &json!("fail"))), "{policies:?}");
}

#[tokio::test]
async fn a_plugin_that_fails_too_often_is_out_of_service_and_says_until_when() {
    let policy = Policy {
        breaker: Some(BreakerOptions { faults: 2, ..BreakerOptions::default() }),
        ..Policy::default()
    };
    let Fixture { app, engine: _engine, .. } = with(policy);
    for _ in 0..2 {
        let (status, _, answer) = ask(&app, json!([{"id": "trap"}])).await;
        assert_eq!((status, &answer["error"]["fault"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("trap")));
    }
    let (status, retry_after, answer) = ask(&app, json!([{"id": "trap"}])).await;
    let error = &answer["error"];
    assert_eq!((status, &error["type"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable_error")));
    assert_eq!((&error["plugin"], &error["fault"]), (&json!("trap"), &json!("suspended")));
    let said = error["message"].as_str().unwrap();
    assert!(said.starts_with("plugin 'trap' 1.2.3 is out of service until 20"), "{said}");
    assert!(said.contains("Z after 2 faults within 60 s; try again in 30 s"), "{said}");
    assert_eq!(retry_after.as_deref(), Some("30"));

    // A request that can do without goes on, and is told.
    let (status, _, answer) = ask(&app, json!([{"id": "trap", "on_fault": "skip"}])).await;
    assert_eq!(status, StatusCode::OK);
    let fault = answer["minerva"]["plugins"][0]["fault"].as_str().unwrap();
    assert!(fault.starts_with("plugin 'trap' 1.2.3, in open: is out of service until 20"), "{fault}");
    // Others are as they were.
    assert_eq!(ask(&app, json!([{"id": "pass"}])).await.0, StatusCode::OK);

    let (_, _, list) = send(&router(app.clone()), get("/v1/plugins")).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let of = |id: &str| list["data"].as_array().unwrap().iter().find(|it| it["id"] == id).unwrap().clone();
    assert_eq!((&of("trap")["state"], &of("pass")["state"]), (&json!("suspended"), &json!("ready")));
    assert!(of("trap")["suspended_until"].as_u64() > Some(1_700_000_000));
    assert_eq!(of("trap")["counters"]["faults"], json!({"trap": 2, "suspended": 2}));
    let (_, _, metrics) = send(&router(app), get("/metrics")).await;
    for line in [
        "minerva_plugin_faults_total{plugin=\"trap\",kind=\"sampler\",fault=\"trap\"} 2",
        "minerva_plugin_faults_total{plugin=\"trap\",kind=\"sampler\",fault=\"suspended\"} 2",
        "minerva_plugin_suspended{plugin=\"trap\"} 1",
        "minerva_plugin_suspended{plugin=\"pass\"} 0",
    ] {
        assert!(metrics.contains(line), "no {line} in {}", of_plugins(&metrics));
    }
}

#[tokio::test]
async fn who_makes_a_plugin_fail_takes_it_from_nobody_else() {
    let breaker = Some(BreakerOptions { faults: 2, ..BreakerOptions::default() });
    let Fixture { mut app, engine: _engine, .. } = with(Policy { breaker, ..Policy::default() });
    app.options.api_keys = ApiKeys::new(vec!["bad".into(), "good".into()]);
    let trap = json!([{"id": "trap"}]);
    for expected in
        [StatusCode::INTERNAL_SERVER_ERROR; 2].into_iter().chain([StatusCode::SERVICE_UNAVAILABLE])
    {
        assert_eq!(ask_as(&app, "bad", trap.clone()).await.0, expected);
    }
    // It is called for another, and fails as it does.
    let (status, _, answer) = ask_as(&app, "good", trap).await;
    assert_eq!((status, &answer["error"]["fault"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("trap")));
    let mut request = get("/v1/plugins");
    request.headers_mut().insert("x-api-key", "good".parse().unwrap());
    let (_, _, list) = send(&router(app), request).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let trap = list["data"].as_array().unwrap().iter().find(|plugin| plugin["id"] == "trap").unwrap();
    assert_eq!((&trap["state"], &trap["suspended_clients"]), (&json!("suspended"), &json!(1)));
}

#[tokio::test]
async fn what_plugins_do_is_counted() {
    let Fixture { app, engine: _engine, .. } = fixture();
    let (status, ..) = ask(&app, json!([{"id": "pass", "args": {"p": 0.5}}])).await;
    assert_eq!(status, StatusCode::OK);
    let (_, _, metrics) = send(&router(app), get("/metrics")).await;
    // "Hello there" is 11 tokens and an end; the last token is not told.
    for line in [
        "minerva_plugin_call_seconds_count{plugin=\"pass\",kind=\"sampler\",call=\"open\"} 1",
        "minerva_plugin_call_seconds_count{plugin=\"pass\",kind=\"sampler\",call=\"pick\"} 12",
        "minerva_plugin_call_seconds_count{plugin=\"pass\",kind=\"sampler\",call=\"advance\"} 12",
        "minerva_plugin_sessions{plugin=\"pass\"} 0",
        "minerva_plugin_bytes_out_total{plugin=\"pass\"} 16",
    ] {
        assert!(metrics.contains(line), "no {line} in {}", of_plugins(&metrics));
    }
    let buckets: Vec<&str> = metrics
        .lines()
        .filter(|line| {
            line.starts_with("minerva_plugin_call_seconds_bucket") && line.contains("call=\"pick\"")
        })
        .collect();
    assert_eq!(buckets.len(), 16, "{buckets:?}");
    assert!(buckets[15].contains("le=\"+Inf\"") && buckets[15].ends_with(" 12"), "{buckets:?}");
    // 9 bytes of arguments, 22 tokens of prompt, 11 told, and 12 cuts of 64.
    let bytes = 9 + 4 * (22 + 11) + 12 * 64 * 8;
    let line = format!("minerva_plugin_bytes_in_total{{plugin=\"pass\"}} {bytes}");
    assert!(metrics.contains(&line), "no {line} in {}", of_plugins(&metrics));
}

fn of_plugins(metrics: &str) -> String {
    metrics
        .lines()
        .filter(|line| line.starts_with("minerva_plugin") && !line.contains("_bucket"))
        .collect::<Vec<_>>()
        .join("\n")
}
