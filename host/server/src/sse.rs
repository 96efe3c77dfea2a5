//! Server-sent events: a generation as the body of a response, in whatever dialect.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use minerva_engine::event::Event;
use serde::Serialize;
use tokio::time::{Instant, Sleep};
use tracing::Span;

use crate::admission::{Admission, ending};
use crate::failure::Failure;
use crate::generation::{Choices, Item};
use crate::origin::Origin;

/// Events that are ready together go out together, up to about so many bytes.
const FLUSH_BYTES: usize = 16 << 10;

/// How a dialect says what a generation says.
pub(crate) trait Encode: Send + Unpin + 'static {
    /// Before the first event.
    fn start(&mut self, frames: &mut Frames);

    /// An event of one of the choices.
    fn event(&mut self, choice: usize, event: Event, frames: &mut Frames);

    /// After every choice has finished.
    fn end(&mut self, frames: &mut Frames);

    /// Instead of the end.
    fn failed(&mut self, failure: &Failure, frames: &mut Frames) {
        frames.data(&failure.body());
    }
}

/// The bytes on their way out.
#[derive(Default)]
pub(crate) struct Frames {
    bytes: BytesMut,
}

impl Frames {
    /// An event with a name and JSON data.
    pub(crate) fn named(&mut self, name: &str, data: &impl Serialize) {
        self.bytes.put_slice(b"event: ");
        self.bytes.put_slice(name.as_bytes());
        self.bytes.put_slice(b"\n");
        self.data(data);
    }

    /// An event with JSON data.
    pub(crate) fn data(&mut self, data: &impl Serialize) {
        self.bytes.put_slice(b"data: ");
        // The types of the wire are structs of strings and numbers, and the writer is memory: this cannot fail.
        let written = serde_json::to_writer((&mut self.bytes).writer(), data);
        debug_assert!(written.is_ok());
        self.bytes.put_slice(b"\n\n");
    }

    /// OpenAI's mark of the end.
    pub(crate) fn done(&mut self) {
        self.bytes.put_slice(b"data: [DONE]\n\n");
    }

    /// What was written so far.
    pub(crate) fn take(&mut self) -> Bytes {
        self.bytes.split().freeze()
    }

    /// A comment, which readers of events skip.
    pub(crate) fn ping(&mut self) {
        self.bytes.put_slice(b": ping\n\n");
    }
}

/// Answers with a stream.
///
/// Waits for the first event, so that an error before it is a status and not a broken stream; but no longer than
/// a ping's interval, because some clients give up on a silent connection.
///
/// # Errors
///
/// When the generation fails at its first event.
pub(crate) async fn reply<E: Encode>(
    encoder: E,
    mut choices: Choices,
    origin: Origin,
    admission: Admission,
    ping_interval: Option<Duration>,
) -> Result<Response, Failure> {
    let patience = async {
        match ping_interval {
            Some(interval) => tokio::time::sleep(interval).await,
            None => std::future::pending().await,
        }
    };
    let first = tokio::select! {
        first = choices.next() => first,
        () = patience => None,
        () = admission.closing() => return Err(ending()),
    };
    let mut events = Events {
        encoder,
        frames: Frames::default(),
        closing: Box::pin(admission.closing()),
        ping: ping_interval.map(|interval| (interval, Box::pin(tokio::time::sleep(interval)))),
        running: Some((choices, admission)),
        origin,
        span: Span::current(),
    };
    events.encoder.start(&mut events.frames);
    match first {
        Some((choice, Ok(event))) => events.encoder.event(choice, event, &mut events.frames),
        Some((_, Err(error))) => return Err(events.origin.failure(error)),
        None => {}
    }
    // The second header asks nginx to pass events on as they come.
    let headers = [
        (CONTENT_TYPE.as_str(), "text/event-stream"),
        (CACHE_CONTROL.as_str(), "no-cache"),
        ("x-accel-buffering", "no"),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

/// The body. Dropping it, as happens when the client goes away, drops the generation and so cancels it.
struct Events<E> {
    encoder: E,
    frames: Frames,
    /// `None` once there is nothing more to come.
    running: Option<(Choices, Admission)>,
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    ping: Option<(Duration, Pin<Box<Sleep>>)>,
    origin: Origin,
    span: Span,
}

impl<E: Encode> Events<E> {
    /// Encodes what is ready.
    fn fill(&mut self, context: &mut Context<'_>) {
        while let Some((choices, _)) = &mut self.running
            && self.frames.bytes.len() < FLUSH_BYTES
        {
            match choices.poll_next_unpin(context) {
                Poll::Ready(Some(item)) => self.encode(item),
                Poll::Ready(None) => {
                    self.encoder.end(&mut self.frames);
                    self.running = None;
                }
                Poll::Pending if self.closing.as_mut().poll(context).is_ready() => self.fail(&ending()),
                Poll::Pending => return,
            }
        }
    }

    fn encode(&mut self, (choice, event): Item) {
        match event {
            Ok(event) => self.encoder.event(choice, event, &mut self.frames),
            Err(error) => self.fail(&self.origin.failure(error)),
        }
    }

    /// The status is out already: the error becomes the last event.
    fn fail(&mut self, failure: &Failure) {
        if let Some((_, admission)) = &self.running {
            admission.broken(failure);
        }
        self.encoder.failed(failure, &mut self.frames);
        self.running = None;
    }
}

impl<E: Encode> Stream for Events<E> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let span = this.span.clone();
        let _entered = span.enter();
        this.fill(context);
        if this.frames.bytes.is_empty() && this.running.is_none() {
            return Poll::Ready(None);
        }
        if let Some((interval, sleep)) = &mut this.ping {
            if this.frames.bytes.is_empty() {
                std::task::ready!(sleep.as_mut().poll(context));
                this.frames.ping();
            }
            sleep.as_mut().reset(Instant::now() + *interval);
        }
        if this.frames.bytes.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(this.frames.bytes.split().freeze())))
    }
}
