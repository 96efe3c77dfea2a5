//! Clients that are slow, silent or strange, pages of other origins, and TLS: what each connection may take.

use std::sync::Arc;
use std::time::Duration;

use minerva_server::{Cors, Tls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::connections::{FOR_EVER, SOON, becomes, send, start};
use crate::fixture::{Fixture, fixture_with};

/// A server that has little patience.
fn impatient(delay: Duration) -> Fixture {
    let mut fixture = fixture_with(delay, minerva_engine::Options::default());
    let limits = &mut fixture.app.options.connections;
    limits.head_timeout = Duration::from_secs(2);
    limits.body_timeout = Duration::from_millis(300);
    limits.write_timeout = Duration::from_millis(300);
    fixture
}

/// Everything until the other end closes.
async fn rest(mut socket: impl AsyncRead + Unpin) -> String {
    let mut all = Vec::new();
    // A reset is an end as well.
    let _ = tokio::time::timeout(SOON, socket.read_to_end(&mut all)).await.expect("it is closed");
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn a_head_that_does_not_end_and_a_connection_without_one_are_closed() {
    let server = start(&impatient(Duration::ZERO)).await;
    for sent in ["", "GET /live HTTP/1.1\r\nhost: x\r\nx-slow:", "GET /live HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(sent.as_bytes()).await.unwrap();
        let answered = rest(socket).await;
        assert_eq!(answered.starts_with("HTTP/1.1 200 "), sent.ends_with("\r\n\r\n"), "{sent:?}: {answered}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = start(&impatient(Duration::ZERO)).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET /live HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(100_000));
    // The server may close before it has taken all.
    let _ = socket.write_all(head.as_bytes()).await;
    let answered = rest(socket).await;
    assert!(answered.is_empty() || answered.starts_with("HTTP/1.1 431 "), "{answered}");
}

#[tokio::test]
async fn a_body_that_stands_still_is_a_408() {
    let server = start(&impatient(Duration::ZERO)).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"prompt\"";
    socket.write_all(head.as_bytes()).await.unwrap();
    let answered = rest(socket).await;
    assert!(
        answered.starts_with("HTTP/1.1 408 ") && answered.contains("only 9 bytes of the body"),
        "{answered}"
    );
    assert!(answered.contains("timeout_error"), "{answered}");
}

#[tokio::test]
async fn a_reader_that_stands_still_loses_its_connection_and_its_sequence() {
    let fixture = impatient(Duration::ZERO);
    let server = start(&fixture).await;
    let handle = fixture.engine.handle();
    const ANSWERS: u64 = 40;
    // A small window, and logprobs that fill it many times over.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(server.address).await.unwrap();
    let body = FOR_EVER.replace("\"temperature\"", "\"n\": 8, \"logprobs\": 20, \"temperature\"");
    let head = format!("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    for _ in 0..ANSWERS {
        // Pipelined: one answer may fit into the buffers of the system, so many do not.
        socket.write_all((head.clone() + &body).as_bytes()).await.unwrap();
    }
    let closed = async {
        while socket.write_all(b"\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, closed).await.expect("the connection is closed");
    becomes(&handle, |status| status.running + status.waiting == 0).await;
    assert!(handle.status().requests_finished < ANSWERS * 8, "all of it was written");
}

#[tokio::test]
async fn half_of_a_socket_is_no_client() {
    let fixture = fixture_with(Duration::from_millis(20), minerva_engine::Options::default());
    let server = start(&fixture).await;
    let handle = fixture.engine.handle();
    let mut socket = send(server.address, FOR_EVER).await;
    becomes(&handle, |status| status.running == 1).await;
    // From here this is what a client looks like that has gone away.
    socket.shutdown().await.unwrap();
    becomes(&handle, |status| status.running == 0 && status.requests_cancelled == 1).await;
    rest(socket).await;
}

#[tokio::test]
async fn who_finds_no_connection_free_waits_for_one() {
    let mut fixture = fixture_with(Duration::ZERO, minerva_engine::Options::default());
    fixture.app.options.connections.connections_max = 1;
    let server = start(&fixture).await;
    let mut first = send(server.address, FOR_EVER).await;
    let mut seen = [0; 16];
    first.read_exact(&mut seen).await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut piece = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(100), second.read(&mut piece)).await;
    assert!(early.is_err(), "it was answered beside the first");
    drop(first);
    let answered = rest(second).await;
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
}

#[tokio::test]
async fn pages_of_allowed_origins_may_ask_and_are_told_so() {
    let mut fixture = fixture_with(Duration::ZERO, minerva_engine::Options::default());
    fixture.app.options.cors = Cors::new(["https://example.org"]).unwrap();
    fixture.app.options.api_keys.replace(vec!["secret".into()]);
    let server = start(&fixture).await;
    for (origin, is_allowed) in [("https://example.org", true), ("https://example.com", false)] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "OPTIONS /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\naccess-control-request-headers: authorization,x-own\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let answered = rest(socket).await.to_lowercase();
        // Browsers send no key along with the question.
        assert!(answered.starts_with("http/1.1 200 "), "{answered}");
        let allows = answered.contains(&format!("access-control-allow-origin: {origin}\r\n"));
        assert_eq!(allows, is_allowed, "{answered}");
        assert!(answered.contains("access-control-allow-headers: authorization,x-own"), "{answered}");
    }
}

const FIRST: (&[u8], &[u8]) =
    (include_bytes!("certificates/first.crt"), include_bytes!("certificates/first.key"));
const SECOND: (&[u8], &[u8]) =
    (include_bytes!("certificates/second.crt"), include_bytes!("certificates/second.key"));

/// Asks over TLS, believing one certificate.
async fn over_tls(address: std::net::SocketAddr, believed: &[u8]) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(believed).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
    socket.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    Ok(rest(socket).await)
}

#[tokio::test]
async fn tls_serves_the_certificate_that_it_was_given_last() {
    let mut fixture = impatient(Duration::ZERO);
    let tls = Tls::new(FIRST.0, FIRST.1).unwrap();
    fixture.app.options.tls = Some(tls.clone());
    let server = start(&fixture).await;
    let answered = over_tls(server.address, FIRST.0).await.unwrap();
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert!(over_tls(server.address, SECOND.0).await.is_err());

    assert!(tls.replace(SECOND.0, FIRST.1).is_err(), "they do not go together");
    assert!(tls.replace(b"", SECOND.1).unwrap_err().to_string().contains("no certificate"));
    assert!(tls.replace(SECOND.0, b"no key").unwrap_err().to_string().contains("no private key"));
    assert!(over_tls(server.address, FIRST.0).await.is_ok(), "what was served is served on");
    tls.replace(SECOND.0, SECOND.1).unwrap();
    assert!(over_tls(server.address, SECOND.0).await.is_ok());

    // Who speaks no TLS, or nothing at all, is closed and keeps nobody up.
    for said in ["", "GET /live HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(said.as_bytes()).await.unwrap();
        assert!(!rest(socket).await.contains("200 OK"));
    }
}
