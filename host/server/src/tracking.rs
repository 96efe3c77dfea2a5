//! What is done around every request: its id, its span in the log, and the net under panics.

use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tracing::{Instrument, field};

use crate::failure::{ErrorType, Failure};
use crate::metrics::Answers;
use crate::traces::Traces;

/// The header that a request's id comes in and goes out with.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// The header that the client's trace comes in, and the request's part of it goes out.
const TRACE_PARENT: &str = "traceparent";

/// The longest id of a client's own that is taken.
const ID_BYTES_MAX: usize = 128;

/// Makes ids that are not guessed and do not repeat. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Ids {
    hasher: RandomState,
    made: Arc<AtomicU64>,
}

impl Ids {
    /// A new id of a kind: `chatcmpl-` and 32 hexadecimal digits.
    pub(crate) fn make(&self, prefix: &str) -> String {
        let count = self.made.fetch_add(1, Ordering::Relaxed);
        let (high, low) = (self.hasher.hash_one((count, 0)), self.hasher.hash_one((count, 1)));
        format!("{prefix}{high:016x}{low:016x}")
    }
}

/// The id of the request being served, as an extension of it.
#[derive(Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// The layer around everything.
pub(crate) async fn track(
    State(ids): State<Ids>,
    State(answers): State<Answers>,
    State(traces): State<Traces>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let id = taken(request.headers()).unwrap_or_else(|| ids.make("req-"));
    request.extensions_mut().insert(RequestId(id.clone()));
    let path = request.uri().path();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unknown", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id, method = %request.method(), path, trace = field::Empty);
    let trace = traces.begin(request.method().as_str(), &route, request.headers());
    if let Some(trace) = &trace {
        span.record("trace", trace.id());
        request.extensions_mut().insert(trace.clone());
    }
    let mut response = serve(request, next).instrument(span.clone()).await;
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let status = response.status().as_u16();
    let error = response.extensions().get().map_or("", |ErrorType(name)| name);
    answers.count(route, status, error);
    if let Some(trace) = trace {
        trace.answered(response.status(), error);
        if let Ok(parent) = HeaderValue::from_str(&trace.parent()) {
            response.headers_mut().insert(TRACE_PARENT, parent);
        }
        response = trace.within(response);
    }
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::info!(status, milliseconds, "answered {status} after {milliseconds} ms"));
    response
}

/// A panic is our mistake, not the end of the connection.
async fn serve(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Failure::internal(format!("a handler panicked: {words}")).into_response()
        }
    }
}

/// The client's own id, if it can be put into a log line and a header as it is.
fn taken(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let sane = !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
    sane.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::StatusCode;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::app::App;
    use crate::router::Shared;

    #[tokio::test]
    async fn a_panic_is_an_answer_without_its_words() {
        async fn panics() {
            panic!("at /home/someone/main.rs:3");
        }
        let shared = Shared::new(App::default(), Vec::new());
        let router = Router::new().route("/", get(panics)).layer(from_fn_with_state(shared, track));
        let response = router.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(response.headers().contains_key(REQUEST_ID));
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = String::from_utf8_lossy(&body);
        assert!(body.contains("server_error") && !body.contains("someone"), "{body}");
    }

    #[test]
    fn ids_do_not_repeat() {
        let ids = Ids::default();
        let made: std::collections::BTreeSet<String> = (0..1000).map(|_| ids.clone().make("id-")).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| id.len() == "id-".len() + 32));
    }
}
