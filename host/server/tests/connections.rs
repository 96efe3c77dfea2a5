//! What happens on real connections: clients that go away, silence, errors in the middle, and the end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use minerva_engine::{Handle, Status};
use minerva_server::serve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fixture::{BODY_BYTES_MAX, Fixture, fixture_with};

/// Long enough for anything that happens at once, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A server on a socket.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) serving: JoinHandle<()>,
}

pub(crate) async fn start(fixture: &Fixture) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(serve(fixture.app.clone(), listener, async { stopped.await.unwrap_or(()) }));
    Server { address, stop, serving }
}

/// 90 tokens.
pub(crate) const FOR_EVER: &str = r#"{"prompt": "for ever:", "stream": true, "temperature": 0}"#;

pub(crate) async fn send(address: SocketAddr, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all((head + body).as_bytes()).await.unwrap();
    socket
}

/// Reads until the words are there.
async fn read_until(socket: &mut TcpStream, words: &str) -> String {
    let mut all = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        loop {
            let count = socket.read(&mut piece).await.unwrap();
            all.extend_from_slice(&piece[..count]);
            if count == 0 || String::from_utf8_lossy(&all).contains(words) {
                break;
            }
        }
    };
    let ended = tokio::time::timeout(SOON, reading).await;
    let text = String::from_utf8_lossy(&all).into_owned();
    assert!(ended.is_ok() && text.contains(words), "no {words} in {text}");
    text
}

/// Waits until the engine is as wanted.
pub(crate) async fn becomes(handle: &Handle, wanted: impl Fn(Status) -> bool) {
    let began = Instant::now();
    while !wanted(handle.status()) {
        assert!(began.elapsed() < SOON, "{:?}", handle.status());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn idle(handle: &Handle) {
    becomes(handle, |status| status.running + status.waiting == 0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_sequence() {
    let fixture = fixture_with(Duration::from_millis(10), minerva_engine::Options::default());
    let server = start(&fixture).await;
    let handle = fixture.engine.handle();
    for body in [FOR_EVER.to_owned(), FOR_EVER.replace("true", "false")] {
        for _ in 0..3 {
            let mut socket = send(server.address, &body).await;
            if body == FOR_EVER {
                read_until(&mut socket, "data: ").await;
            }
            becomes(&handle, |status| status.running == 1).await;
            drop(socket);
            idle(&handle).await;
        }
    }
    assert_eq!(handle.status().requests_cancelled, 6);
    assert_eq!(handle.status().requests_finished, 0);
    // What is held is what the cache knows of.
    assert_eq!(fixture.log.record().tokens_held, handle.status().tokens_held_idle);
}

#[tokio::test]
async fn a_full_queue_says_when_to_try_again() {
    let options = minerva_engine::Options { queue_limit: 1, ..minerva_engine::Options::default() };
    let fixture = fixture_with(Duration::from_millis(20), options);
    let server = start(&fixture).await;
    let mut running = Vec::new();
    for _ in 0..5 {
        let mut socket = send(server.address, FOR_EVER).await;
        if running.len() < 4 {
            read_until(&mut socket, "data: ").await;
        }
        running.push(socket);
    }
    becomes(&fixture.engine.handle(), |status| status.waiting == 1).await;
    let mut refused = send(server.address, FOR_EVER).await;
    let response = read_until(&mut refused, "\"param\":null}}").await.to_lowercase();
    assert!(response.starts_with("http/1.1 429 ") && response.contains("\r\nretry-after: "), "{response}");
    assert!(response.contains("rate_limit_error"), "{response}");
    drop(running);
    idle(&fixture.engine.handle()).await;
}

#[tokio::test]
async fn an_error_after_the_first_event_is_the_last_event() {
    let fixture = fixture_with(Duration::from_millis(10), minerva_engine::Options::default());
    let server = start(&fixture).await;
    let mut socket = send(server.address, FOR_EVER).await;
    let before = read_until(&mut socket, "data: ").await;
    assert!(before.starts_with("HTTP/1.1 200 "), "{before}");
    fixture.log.fail_next(4);
    let rest = read_until(&mut socket, "0\r\n\r\n").await;
    assert!(rest.contains("data: {\"error\":{\"code\":500,"), "{rest}");
    assert!(!rest.contains("[DONE]") && !rest.contains("the script says so"), "{rest}");
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut socket, "minerva_streams_broken_total{error=\"server_error\"} 1\n").await;
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive() {
    let mut fixture = fixture_with(Duration::from_millis(500), minerva_engine::Options::default());
    fixture.app.options.sse_ping_interval = Some(Duration::from_millis(30));
    let server = start(&fixture).await;
    let mut socket = send(server.address, FOR_EVER).await;
    let text = read_until(&mut socket, "data: ").await;
    assert!(text.matches(": ping\n\n").count() >= 3, "{text}");
    drop(socket);
    idle(&fixture.engine.handle()).await;
}

#[tokio::test]
async fn a_drain_lets_streams_end_and_no_one_in() {
    let fixture = fixture_with(Duration::from_millis(20), minerva_engine::Options::default());
    let server = start(&fixture).await;
    let mut running = send(server.address, FOR_EVER).await;
    read_until(&mut running, "data: ").await;
    server.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut late = send(server.address, FOR_EVER).await;
    let refused = read_until(&mut late, "shutting down").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    read_until(&mut running, "[DONE]").await;
    tokio::time::timeout(SOON, server.serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_drain_that_takes_too_long_ends_streams_with_an_error() {
    let mut fixture = fixture_with(Duration::from_millis(50), minerva_engine::Options::default());
    fixture.app.options.drain_timeout = Duration::from_millis(100);
    let server = start(&fixture).await;
    let mut running = send(server.address, FOR_EVER).await;
    read_until(&mut running, "data: ").await;
    let began = Instant::now();
    server.stop.send(()).unwrap();
    let rest = read_until(&mut running, "shutting down").await;
    assert!(rest.contains("data: {\"error\":{\"code\":503,"), "{rest}");
    tokio::time::timeout(SOON, server.serving).await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    idle(&fixture.engine.handle()).await;
}

#[tokio::test]
async fn two_hundred_disconnects_at_any_moment_leave_nothing_behind() {
    let fixture = fixture_with(Duration::from_micros(300), minerva_engine::Options::default());
    let server = start(&fixture).await;
    let address = server.address;
    let clients = (0..200_u64).map(|client| {
        tokio::spawn(async move {
            let body = if client % 3 == 0 { FOR_EVER.replace("true", "false") } else { FOR_EVER.to_owned() };
            tokio::time::sleep(Duration::from_micros(client * 500)).await;
            let mut socket = send(address, &body).await;
            // Some go before an answer begins, some in its middle, some after a while in the queue.
            let mut piece = [0; 256];
            let read = socket.read(&mut piece);
            let _ = tokio::time::timeout(Duration::from_micros(client * 7919 % 60_000), read).await;
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    let handle = fixture.engine.handle();
    idle(&handle).await;
    // What is held is what the cache knows of.
    assert_eq!(fixture.log.record().tokens_held, handle.status().tokens_held_idle);
    let mut socket = send(address, FOR_EVER).await;
    read_until(&mut socket, "[DONE]").await;
}

/// Some clients send the whole of a body before they look at what is answered.
#[tokio::test]
async fn a_body_far_beyond_the_limit_is_answered_all_the_same() {
    let fixture = fixture_with(Duration::ZERO, minerva_engine::Options::default());
    let server = start(&fixture).await;
    for length in [BODY_BYTES_MAX + 1, 20_000_000] {
        let mut socket = send(server.address, &"x".repeat(length)).await;
        let answer = read_until(&mut socket, "limit of 10000 bytes").await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    // Who asks first is told first.
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head =
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 10001\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut socket, "limit of 10000 bytes").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // And so is who may not ask at all.
    fixture.app.options.api_keys.replace(vec!["secret".into()]);
    let mut socket = send(server.address, &"x".repeat(20_000_000)).await;
    let answer = read_until(&mut socket, "an API key is required").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}
