//! The body of a request, up to the limit.

use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::{FromRef, FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::app::Options;
use crate::failure::Failure;

/// Most bytes set aside for a body because it says that it will be so long.
const CAPACITY_MAX: usize = 1 << 20;

/// The slowest that a body may come for long.
const BYTES_PER_SECOND_MIN: usize = 16 << 10;

/// Most bytes of a body beyond the limit that are read and thrown away, and for how long.
const DISCARDED_BYTES_MAX: usize = 256 << 20;
const DISCARDING_TIME_MAX: Duration = Duration::from_secs(10);

/// The bytes of a body. What content type they claim to be matters as little as it does to llama-server.
pub(crate) struct RawBody(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody
where
    Options: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let options = Options::from_ref(state);
        read(request, options.body_bytes_max, options.connections.body_timeout).await.map(Self)
    }
}

/// A body up to a limit, from a client that does not lie behind [`BYTES_PER_SECOND_MIN`] for longer than it may.
pub(crate) async fn read(request: Request, limit: usize, patience: Duration) -> Result<Bytes, Failure> {
    let began = Instant::now();
    let length = announced_length(request.headers());
    // Who asks before it sends a body needs no further courtesy.
    if length > limit && request.headers().contains_key(EXPECT) {
        return Err(Failure::too_large(limit));
    }
    let mut pieces = request.into_body().into_data_stream();
    let mut bytes = BytesMut::with_capacity(length.min(limit).min(CAPACITY_MAX));
    loop {
        let earned = Duration::from_secs((bytes.len() / BYTES_PER_SECOND_MIN) as u64);
        let piece = match timeout_at(began + patience + earned, pieces.next()).await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(_) => return Err(Failure::slow_body(bytes.len(), began.elapsed())),
        };
        let piece = piece.map_err(|_| Failure::malformed("the body could not be read to its end"))?;
        if bytes.len() + piece.len() > limit {
            discard(pieces).await;
            return Err(Failure::too_large(limit));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// Reads the rest of a body that nobody wants. Many clients send everything before they read a word: to them, an
/// answer on a connection that is then closed under their hands would be a broken pipe.
pub(crate) async fn discard(mut pieces: BodyDataStream) {
    let mut discarded = 0;
    let discarding = async {
        while let Some(Ok(piece)) = pieces.next().await
            && discarded < DISCARDED_BYTES_MAX
        {
            discarded += piece.len();
        }
    };
    let _ = tokio::time::timeout(DISCARDING_TIME_MAX, discarding).await;
}

/// Answers a request whose body is not read. Who asks before it sends a body sends none.
pub(crate) async fn refuse(request: Request, failure: Failure) -> Failure {
    if !request.headers().contains_key(EXPECT) {
        discard(request.into_body().into_data_stream()).await;
    }
    failure
}

fn announced_length(headers: &HeaderMap) -> usize {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}
