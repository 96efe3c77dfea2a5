//! `GET /v1/models/events`: what happens to the models, as server-sent events, for as long as the client listens.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use minerva_models::registry::{Condition, Entry, Event, What};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::admission::Lifecycle;
use crate::failure::Failure;
use crate::openai::models::unix_seconds;
use crate::openapi::{Operation, Schemas};
use crate::router::Shared;
use crate::sse::Frames;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ModelEvent")]
struct WireEvent<'a> {
    object: &'static str,
    model: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<u64>,
    /// 0 to 1, while it is loading.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("models", "What happens to the models, for as long as the client listens")
        .streams(schemas.answer::<WireEvent<'static>>())
}

/// How every model is doing, and then what changes.
pub(crate) async fn follow(State(shared): State<Shared>) -> Result<Response, Failure> {
    let registry = shared.app.models.registry();
    // Listening first: what changes meanwhile is told twice rather than not at all.
    let events = registry.events();
    let mut frames = Frames::default();
    for entry in registry.entries() {
        frames.data(&of_entry(&entry));
    }
    let ping = shared.app.options.sse_ping_interval;
    let following = Following { events, lifecycle: shared.lifecycle, ping, first: Some(frames.take()) };
    let body = Body::from_stream(futures::stream::unfold(following, |mut following| async {
        let piece = following.next().await?;
        Some((Ok::<Bytes, Infallible>(piece), following))
    }));
    Ok(([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")], body).into_response())
}

struct Following {
    events: Receiver<Event>,
    lifecycle: Lifecycle,
    ping: Option<Duration>,
    first: Option<Bytes>,
}

impl Following {
    /// The next bytes; none when the server drains, which does not wait for those who only watch.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let mut frames = Frames::default();
        let silence = async {
            match self.ping {
                Some(interval) => tokio::time::sleep(interval).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = self.events.recv() => match event {
                Ok(event) => frames.data(&of_event(&event)),
                // Too slow for some: how everything is now can be asked for.
                Err(RecvError::Lagged(_)) => frames.ping(),
                Err(RecvError::Closed) => return None,
            },
            () = silence => frames.ping(),
            () = self.lifecycle.draining() => return None,
        }
        Some(frames.take())
    }
}

const FAILED: &str = "it could not be loaded; the server's log says why";

fn of_entry(entry: &Entry) -> WireEvent<'_> {
    WireEvent {
        object: "model.status",
        model: &entry.id,
        status: entry.condition.as_str(),
        created: None,
        progress: if let Condition::Loading(part) = entry.condition { Some(part) } else { None },
        load_seconds: None,
        error: (entry.condition == Condition::Failed).then_some(FAILED),
    }
}

fn of_event(event: &Event) -> WireEvent<'_> {
    WireEvent {
        object: "model.event",
        model: &event.model,
        status: event.what.as_str(),
        created: Some(unix_seconds(event.at)),
        progress: if let What::Loading(part) = event.what { Some(part) } else { None },
        load_seconds: if let What::Ready { took, .. } = event.what { Some(took.as_secs_f64()) } else { None },
        error: matches!(event.what, What::Failed(_)).then_some(FAILED),
    }
}
