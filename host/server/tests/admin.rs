//! Plugins put in and taken out over HTTP.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use minerva_engine::plugin::{Installer, Plugin, Plugins};
use minerva_server::{Admin, ApiKeys, App, router};
use serde_json::{Value, json};

use crate::fixture::{Fixture, fixture, send};

/// Installs a copy of the plugin that the body names.
struct Copies(Plugins);

impl Installer for Copies {
    fn install(&self, name: &str, component: &[u8]) -> Result<(), String> {
        let of = String::from_utf8_lossy(component);
        let plugin = self.0.get(&of).ok_or_else(|| format!("plugin '{name}' is not a valid component"))?;
        let mut plugin = Plugin::clone(&plugin);
        plugin.identity.name = name.into();
        self.0.insert(plugin);
        Ok(())
    }
}

/// A server that knows one administrator.
fn administered() -> Fixture {
    let mut fixture = fixture();
    fixture.app.options.api_keys = ApiKeys::new(vec!["user".into()]);
    let admin =
        Admin { keys: ApiKeys::new(vec!["root".into()]), component_bytes_max: 20, ..Admin::default() };
    admin.installer.set(Box::new(Copies(fixture.app.plugins.clone()))).ok().unwrap();
    fixture.app.options.admin = admin;
    fixture
}

async fn ask(app: &App, method: &str, path: &str, key: &str, body: &'static str) -> (StatusCode, Value) {
    let request =
        Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}"));
    let (status, _, body) = send(&router(app.clone()), request.body(Body::from(body)).unwrap()).await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn without_an_administrators_key_nobody_is_one() {
    let Fixture { app, engine: _engine, .. } = fixture();
    for (method, path) in [("POST", "/v1/plugins?name=new"), ("DELETE", "/v1/plugins/pass")] {
        let (status, answer) = ask(&app, method, path, "root", "pass").await;
        assert_eq!((status, &answer["error"]["type"]), (StatusCode::NOT_FOUND, &json!("not_found_error")));
        assert!(answer["error"]["message"].as_str().unwrap().contains("--admin-key"), "{answer}");
    }
    let Fixture { app, engine: _engine, .. } = administered();
    for key in ["user", "", "roo"] {
        for (method, path) in [("POST", "/v1/plugins?name=new"), ("DELETE", "/v1/plugins/pass")] {
            let (status, answer) = ask(&app, method, path, key, "pass").await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{key} {answer}");
        }
    }
    assert!(app.plugins.get("new").is_none() && app.plugins.get("pass").is_some());
    // And the administrator's key is for nothing else.
    assert_eq!(ask(&app, "GET", "/v1/plugins", "root", "").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_administrator_installs_and_removes() {
    let Fixture { app, engine: _engine, .. } = administered();
    let (status, entry) = ask(&app, "POST", "/v1/plugins?name=new", "root", "pass").await;
    assert_eq!(status, StatusCode::CREATED, "{entry}");
    assert_eq!(
        (&entry["id"], &entry["state"], &entry["version"]),
        (&json!("new"), &json!("ready"), &json!("1.2.3"))
    );
    let (status, entry) = ask(&app, "POST", "/v1/plugins?name=new", "root", "upper").await;
    assert_eq!((status, &entry["kinds"]), (StatusCode::OK, &json!(["stream"])));
    // What is wrong changes nothing.
    for (path, body, status, said) in [
        ("/v1/plugins?name=new", "broken", StatusCode::BAD_REQUEST, "not a valid component"),
        (
            "/v1/plugins?name=new",
            "far too long a component",
            StatusCode::PAYLOAD_TOO_LARGE,
            "the limit of 20 bytes",
        ),
        ("/v1/plugins", "pass", StatusCode::BAD_REQUEST, "say what the plugin is to be called"),
    ] {
        let (got, answer) = ask(&app, "POST", path, "root", body).await;
        assert_eq!(got, status, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(said), "{answer}");
    }
    assert!(app.plugins.get("new").unwrap().stream.is_some());
    let (status, answer) = ask(&app, "DELETE", "/v1/plugins/new", "root", "").await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"id": "new", "object": "plugin", "deleted": true})));
    assert!(app.plugins.get("new").is_none());
    let (status, answer) = ask(&app, "DELETE", "/v1/plugins/new", "root", "").await;
    assert_eq!((status, &answer["error"]["type"]), (StatusCode::NOT_FOUND, &json!("not_found_error")));
}

#[tokio::test]
async fn while_the_server_starts_nothing_is_installed() {
    let Fixture { mut app, engine: _engine, .. } = administered();
    app.options.admin = Admin { keys: ApiKeys::new(vec!["root".into()]), ..Admin::default() };
    let (status, answer) = ask(&app, "POST", "/v1/plugins?name=new", "root", "pass").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
}
