//! `GET /v1/stream`: a chat over a WebSocket. The client sends one request, and gets the chunks that server-sent events
//! would have brought, a text frame each, `[DONE]` at the end.

use std::pin::pin;
use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{
    CONNECTION, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};
use fastwebsockets::{
    Frame, OpCode, Payload, Role, WebSocket, WebSocketError, WebSocketRead, WebSocketWrite,
};
use futures::StreamExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::Instrument;

use crate::admission::{Admission, ending};
use crate::cors::Cors;
use crate::failure::Failure;
use crate::openai::chat;
use crate::openapi::{Operation, Schemas};
use crate::router::Shared;
use crate::tracking::RequestId;

/// What the handshake appends to the client's key: RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

type Io = TokioIo<Upgraded>;
type Reader = WebSocketRead<ReadHalf<Io>>;
type Writer = Mutex<WebSocketWrite<WriteHalf<Io>>>;

/// What the document says of it.
pub(crate) fn describe(_: &mut Schemas<'_>) -> Operation {
    Operation::new("chat", "Answers a conversation over a WebSocket")
        .description(
            "The client sends the body of a chat as one message, and gets the chunks that server-sent events would \
             bring, a text frame each, and `[DONE]` at the end.",
        )
        .switches("a WebSocket")
        .fails(&[400, 403, 503])
}

/// Turns the connection into a WebSocket.
pub(crate) async fn stream(
    State(shared): State<Shared>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    admission: Admission,
    mut request: Request,
) -> Result<Response, Failure> {
    let accept = handshake(request.headers())?;
    check_origin(request.headers(), &shared.app.options.cors)?;
    let place = Arc::clone(&shared.websockets).try_acquire_owned().map_err(|_| {
        let seconds = shared.app.options.connections.head_timeout;
        Failure::rate_limit("as many WebSockets are open as may be; try again when one has ended", seconds)
    })?;
    let upgrade = hyper::upgrade::on(&mut request);
    let serving = async move {
        match upgrade.await {
            Ok(io) => Conversation { shared, request_id }.serve(TokioIo::new(io), admission).await,
            Err(error) => tracing::debug!(%error, "a connection did not become a WebSocket"),
        }
        drop(place);
    };
    tokio::spawn(serving.in_current_span());
    let headers = [
        (CONNECTION, "upgrade".to_owned()),
        (UPGRADE, "websocket".to_owned()),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// What proves to the client that this is a WebSocket.
fn handshake(headers: &HeaderMap) -> Result<String, Failure> {
    let value =
        |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let has = |name, word: &str| value(name).split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
    if !has(CONNECTION, "upgrade") || !has(UPGRADE, "websocket") {
        let message = "this is a WebSocket: send `Connection: Upgrade` and `Upgrade: websocket`, \
                       or use POST /v1/chat/completions with `stream`";
        return Err(Failure::malformed(message));
    }
    if !has(SEC_WEBSOCKET_VERSION, "13") {
        return Err(Failure::malformed("`Sec-WebSocket-Version` must be 13"));
    }
    let key = value(SEC_WEBSOCKET_KEY);
    if STANDARD.decode(key).map(|bytes| bytes.len()) != Ok(16) {
        return Err(Failure::malformed("`Sec-WebSocket-Key` must be 16 bytes in base64"));
    }
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
    Ok(STANDARD.encode(hash))
}

/// Browsers let every page open a WebSocket anywhere, and say only which page it is.
fn check_origin(headers: &HeaderMap, cors: &Cors) -> Result<(), Failure> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    let own = headers.get(HOST).and_then(|host| host.to_str().ok());
    if cors.allows(origin) || (own.is_some() && own == authority) {
        return Ok(());
    }
    Err(Failure::forbidden(
        "pages of this origin may not ask here; the server's operator can let them, with --cors-origin",
    ))
}

/// One request and its answer.
struct Conversation {
    shared: Shared,
    request_id: String,
}

impl Conversation {
    async fn serve(self, io: Io, admission: Admission) {
        let mut socket = WebSocket::after_handshake(io, Role::Server);
        socket.set_max_message_size(self.shared.app.options.body_bytes_max);
        let (mut reader, writer) = socket.split(tokio::io::split);
        let writer = Mutex::new(writer);
        let served = self.answer(&mut reader, &writer, admission).await;
        if let Err(error) = served {
            tracing::debug!(%error, "a WebSocket broke");
        }
    }

    async fn answer(
        self,
        reader: &mut Reader,
        writer: &Writer,
        admission: Admission,
    ) -> Result<(), WebSocketError> {
        let patience = self.shared.app.options.connections.body_timeout;
        let limit = self.shared.app.options.body_bytes_max;
        let body = tokio::select! {
            body = timeout(patience, message(reader, writer, limit)) => body,
            () = admission.draining() => return refuse(writer, &admission, &ending()).await,
        };
        let body = match body {
            Ok(body) => match body? {
                Ok(body) => body,
                Err(failure) => return refuse(writer, &admission, &failure).await,
            },
            Err(_) => return refuse(writer, &admission, &Failure::slow_body(0, patience)).await,
        };
        // The request's own admission goes with the answer, and this one stays to tell of errors.
        let own = admission.clone();
        let answered = chat::answer(self.shared, &self.request_id, own, &body, chat::Form::Stream);
        // A client that goes away while its prompt is prepared or waits takes its request along.
        let mut reading = pin!(until_closed(reader, writer));
        let answered = tokio::select! {
            answered = answered => answered,
            gone = &mut reading => return gone,
        };
        let response = match answered {
            Ok(response) => response,
            Err(failure) => return refuse(writer, &admission, &failure).await,
        };
        tokio::select! {
            written = pass_on(response, writer) => written,
            gone = reading => gone,
        }
    }
}

/// The message that the client begins with.
async fn message(
    reader: &mut Reader,
    writer: &Writer,
    limit: usize,
) -> Result<Result<Vec<u8>, Failure>, WebSocketError> {
    let mut whole = Vec::new();
    loop {
        let frame = match reader.read_frame(&mut |frame| send(writer, frame)).await {
            Err(WebSocketError::FrameTooLarge) => return Ok(Err(Failure::too_large(limit))),
            frame => frame?,
        };
        match frame.opcode {
            OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                if whole.len() + frame.payload.len() > limit {
                    return Ok(Err(Failure::too_large(limit)));
                }
                whole.extend_from_slice(&frame.payload);
                if frame.fin {
                    return Ok(Ok(whole));
                }
            }
            OpCode::Close => return Err(WebSocketError::ConnectionClosed),
            OpCode::Ping | OpCode::Pong => {}
        }
    }
}

/// Answers pings, until the client goes away or says more than it may.
async fn until_closed(reader: &mut Reader, writer: &Writer) -> Result<(), WebSocketError> {
    loop {
        let frame = reader.read_frame(&mut |frame| send(writer, frame)).await?;
        match frame.opcode {
            OpCode::Ping | OpCode::Pong => {}
            OpCode::Close => return Ok(()),
            _ => return send(writer, Frame::close(1008, b"one request is answered on each WebSocket")).await,
        }
    }
}

async fn send(writer: &Writer, frame: Frame<'_>) -> Result<(), WebSocketError> {
    writer.lock().await.write_frame(frame).await
}

/// Says what is wrong, and closes.
async fn refuse(writer: &Writer, admission: &Admission, failure: &Failure) -> Result<(), WebSocketError> {
    admission.broken(failure);
    let text = serde_json::to_vec(&failure.body()).unwrap_or_default();
    send(writer, Frame::text(Payload::Owned(text))).await?;
    // "Internal error", or "policy violation", which is the code for whatever has none.
    let code = if failure.is_ours() { 1011 } else { 1008 };
    send(writer, Frame::close(code, failure.type_name().as_bytes())).await
}

/// Makes frames of events, and closes behind the last.
async fn pass_on(response: Response, writer: &Writer) -> Result<(), WebSocketError> {
    let mut pieces = response.into_body().into_data_stream();
    let mut events = BytesMut::new();
    while let Some(Ok(piece)) = pieces.next().await {
        events.extend_from_slice(&piece);
        while let Some(event) = next_event(&mut events) {
            let frame = match event.strip_prefix(b"data: ") {
                Some(data) => Frame::text(Payload::Borrowed(data)),
                // A comment keeps the stream alive.
                None => Frame::new(true, OpCode::Ping, None, Payload::Borrowed(b"")),
            };
            send(writer, frame).await?;
        }
    }
    send(writer, Frame::close(1000, b"")).await
}

/// Takes an event off the front, if there is a whole one.
fn next_event(events: &mut BytesMut) -> Option<Bytes> {
    let end = events.windows(2).position(|two| two == b"\n\n")?;
    let event = events.split_to(end).freeze();
    events.advance(2);
    Some(event)
}
