//! The bodies of requests, through the whole router: whatever is wrong with one is the client's mistake, or none.
//!
//! The bytes are a case of the HTTP tests without what it expects: `POST PATH`, an empty line, the body.

use std::cell::RefCell;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use minerva_engine::Engine;
use minerva_engine::model::Pooling;
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use crate::fixture::{Fixture, embedding_fixture, fixture};

/// Asks servers of all kinds of models.
///
/// # Panics
///
/// When one answers with a mistake of its own, or with an error that is not in the form of errors.
pub fn check(bytes: &[u8]) {
    let Some((path, body)) = request(bytes) else { return };
    SERVERS.with_borrow_mut(|servers| servers.get_or_insert_with(Servers::start).check(path, body));
}

thread_local! {
    static SERVERS: RefCell<Option<Servers>> = const { RefCell::new(None) };
}

fn request(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let path = std::str::from_utf8(&bytes[..end]).ok()?.strip_prefix("POST ")?;
    let body = bytes[end..].strip_prefix(b"\n\n")?;
    // Plugins that fail on purpose do so here too.
    let fails = |name: &[u8]| body.windows(name.len()).any(|window| window == name);
    (!fails(b"trap") && !fails(b"panic")).then_some((path, body))
}

struct Servers {
    runtime: Runtime,
    routers: Vec<Router>,
    _engines: Vec<Engine>,
}

impl Servers {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let fixtures =
            [fixture(), embedding_fixture(Pooling::Mean), embedding_fixture(Pooling::Rank)].into_iter();
        let (routers, engines) =
            fixtures.map(|Fixture { engine, app, .. }| (minerva_server::router(app), engine)).unzip();
        Self { runtime: runtime.expect("a runtime"), routers, _engines: engines }
    }

    fn check(&self, path: &str, body: &[u8]) {
        for router in &self.routers {
            let Ok(request) = Request::post(path).body(Body::from(body.to_vec())) else { return };
            self.runtime.block_on(async {
                let Ok(response) = router.clone().oneshot(request).await;
                let status = response.status();
                let answer = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
                let shown = String::from_utf8_lossy(&answer);
                let is_fine = status.is_success()
                    || status.is_client_error()
                    || matches!(status, StatusCode::NOT_IMPLEMENTED | StatusCode::SERVICE_UNAVAILABLE);
                assert!(is_fine, "{path}: {status} {shown}");
                if !status.is_success() {
                    let error: Value = serde_json::from_slice(&answer).expect("an error is JSON");
                    assert!(error["error"]["message"].is_string(), "{path}: {status} {shown}");
                }
            });
        }
    }
}
