//! Chats over a WebSocket.

use std::net::SocketAddr;
use std::time::Duration;

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role, WebSocket};
use minerva_server::Cors;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connections::{SOON, becomes, start};
use crate::fixture::{BODY_BYTES_MAX, fixture_with};

type Socket = FragmentCollector<TcpStream>;

/// The example of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The head of the answer to a request to upgrade, and the connection.
async fn upgrade(address: SocketAddr, more: &str) -> (String, TcpStream) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET /v1/stream HTTP/1.1\r\nhost: {address}\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n{more}\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(tokio::time::timeout(SOON, socket.read_u8()).await.unwrap().unwrap());
    }
    (String::from_utf8(answer).unwrap().to_lowercase(), socket)
}

async fn open(address: SocketAddr) -> Socket {
    let (head, socket) = upgrade(address, "").await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains(&format!("sec-websocket-accept: {}\r\n", ACCEPT.to_lowercase())), "{head}");
    FragmentCollector::new(WebSocket::after_handshake(socket, Role::Client))
}

async fn say(socket: &mut Socket, text: &str) {
    socket.write_frame(Frame::text(Payload::Borrowed(text.as_bytes()))).await.unwrap();
}

/// All texts up to the close, and its code.
async fn hear(socket: &mut Socket) -> (Vec<String>, u16) {
    let mut texts = Vec::new();
    loop {
        let frame = tokio::time::timeout(SOON, socket.read_frame()).await.unwrap().unwrap();
        match frame.opcode {
            OpCode::Text => texts.push(String::from_utf8(frame.payload.to_vec()).unwrap()),
            OpCode::Close => return (texts, u16::from_be_bytes([frame.payload[0], frame.payload[1]])),
            _ => {}
        }
    }
}

fn hello(more: &Value) -> String {
    let mut body = json!({"messages": [{"role": "user", "content": "hello"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

#[tokio::test]
async fn a_request_is_answered_by_the_chunks_of_a_stream() {
    let fixture = fixture_with(Duration::ZERO, minerva_engine::Options::default());
    let server = start(&fixture).await;
    // Whatever it says of `stream`.
    for more in [json!({}), json!({"stream": false}), json!({"stream": true})] {
        let mut socket = open(server.address).await;
        say(&mut socket, &hello(&more)).await;
        let (texts, code) = hear(&mut socket).await;
        assert_eq!((texts.last().map(String::as_str), code), (Some("[DONE]"), 1000), "{texts:?}");
        let chunks = texts[..texts.len() - 1].iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
        let said: String = chunks
            .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
            .collect();
        assert_eq!(said, "Hello there");
    }
}

#[tokio::test]
async fn a_message_in_pieces_is_one_request() {
    let fixture = fixture_with(Duration::ZERO, minerva_engine::Options::default());
    let server = start(&fixture).await;
    let mut socket = open(server.address).await;
    let body = hello(&json!({}));
    let (first, second) = body.as_bytes().split_at(body.len() / 2);
    let piece = |fin, opcode, bytes| Frame::new(fin, opcode, None, Payload::Borrowed(bytes));
    socket.write_frame(piece(false, OpCode::Text, first)).await.unwrap();
    socket.write_frame(piece(true, OpCode::Ping, b"")).await.unwrap();
    socket.write_frame(piece(true, OpCode::Continuation, second)).await.unwrap();
    assert_eq!(hear(&mut socket).await.1, 1000);
}

#[tokio::test]
async fn what_is_wrong_is_said_in_a_frame() {
    let mut fixture = fixture_with(Duration::ZERO, minerva_engine::Options::default());
    fixture.app.options.connections.body_timeout = Duration::from_millis(300);
    let server = start(&fixture).await;
    let long = hello(&json!({"user": "u".repeat(BODY_BYTES_MAX)}));
    let cases = [
        (Some("{".to_owned()), 400, "not valid JSON"),
        (Some(hello(&json!({"top_p": 2}))), 400, "top_p"),
        (Some(long), 413, "limit of 10000 bytes"),
        (None, 408, "0 bytes of the body came"),
    ];
    for (body, status, words) in cases {
        let mut socket = open(server.address).await;
        if let Some(body) = &body {
            // A frame that is too long is refused while it is being sent.
            let _ = socket.write_frame(Frame::text(Payload::Borrowed(body.as_bytes()))).await;
        }
        if status == 413 {
            // Its frame is not even read: the connection ends.
            let heard = tokio::time::timeout(SOON, socket.read_frame()).await.unwrap();
            assert!(
                heard.is_err()
                    || heard.is_ok_and(|frame| frame.opcode == OpCode::Close || frame.opcode == OpCode::Text)
            );
            continue;
        }
        let (texts, code) = hear(&mut socket).await;
        let error: Value = serde_json::from_str(&texts[0]).unwrap();
        assert_eq!((&error["error"]["code"], code, texts.len()), (&json!(status), 1008, 1), "{texts:?}");
        assert!(error["error"]["message"].as_str().unwrap().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_client_that_closes_or_says_more_frees_its_sequence() {
    let fixture = fixture_with(Duration::from_millis(20), minerva_engine::Options::default());
    let server = start(&fixture).await;
    let handle = fixture.engine.handle();
    let endless = json!({"messages": [{"role": "user", "content": "for ever:"}, {"role": "assistant", "content": "for ever:"}]});
    for way in ["drops", "closes", "says more"] {
        let mut socket = open(server.address).await;
        say(&mut socket, &endless.to_string()).await;
        becomes(&handle, |status| status.running == 1).await;
        match way {
            "closes" => socket.write_frame(Frame::close(1000, b"")).await.unwrap(),
            "says more" => {
                say(&mut socket, "{}").await;
                assert_eq!(hear(&mut socket).await.1, 1008);
            }
            _ => drop(socket),
        }
        becomes(&handle, |status| status.running == 0).await;
    }
    assert_eq!(handle.status().requests_cancelled, 3);
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() {
    let mut fixture = fixture_with(Duration::ZERO, minerva_engine::Options::default());
    fixture.app.options.cors = Cors::new(["https://example.org"]).unwrap();
    let server = start(&fixture).await;
    for (more, status) in [
        ("origin: https://example.org\r\n", 101),
        ("origin: https://example.com\r\n", 403),
        (&*format!("origin: http://{}\r\n", server.address), 101),
    ] {
        let (head, _) = upgrade(server.address, more).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{more}: {head}");
    }
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET /v1/stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("this is a WebSocket"), "{answer}");
    fixture.app.options.api_keys.replace(vec!["secret".into()]);
    assert!(upgrade(server.address, "").await.0.starts_with("http/1.1 401 "));
    assert!(upgrade(server.address, "x-api-key: secret\r\n").await.0.starts_with("http/1.1 101 "));
}

#[tokio::test]
async fn a_drain_closes_those_that_have_not_asked() {
    let fixture = fixture_with(Duration::ZERO, minerva_engine::Options::default());
    let server = start(&fixture).await;
    let mut socket = open(server.address).await;
    server.stop.send(()).unwrap();
    let (texts, code) = hear(&mut socket).await;
    assert!(texts[0].contains("shutting down") && code == 1011, "{texts:?}");
    tokio::time::timeout(SOON, server.serving).await.unwrap().unwrap();
}
