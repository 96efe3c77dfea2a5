//! Starting and ending.

use std::net::TcpListener;
use std::time::Duration;

use futures::StreamExt;
use serde_json::json;

use crate::harness::{Server, asking, run, shown};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_streams_end_and_exits_with_0() {
    let server = Server::start(&["-np", "2"]);
    let mut request = asking("Tell me a story about a fox.");
    request["stream"] = json!(true);
    request["ignore_eos"] = json!(true);
    request["max_tokens"] = json!(300);
    let answer = server
        .client
        .post(server.url("/v1/chat/completions"))
        .json(&request)
        .send()
        .await
        .expect("an answer");
    let mut bytes = answer.bytes_stream();
    let first = bytes.next().await.expect("a first piece").expect("bytes");
    let reading = tokio::spawn(async move {
        let mut text = String::from_utf8_lossy(&first).into_owned();
        while let Some(piece) = bytes.next().await {
            text.push_str(&String::from_utf8_lossy(&piece.expect("the stream goes on")));
        }
        text
    });
    assert_eq!(server.terminate().await, Some(0));
    let text = reading.await.expect("it was read");
    assert!(text.trim_end().ends_with("data: [DONE]"), "{text}");
    assert!(text.contains("\"length\""), "{text}");
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let cases: [(&[&str], &str); 6] = [
        (&["serve", "--port", &port], "is in use by another program"),
        (&["serve", "--host", "0.0.0.0", "--port", "0"], "--api-key"),
        (&["serve", "--plugin", "min-p"], "NAME=FILE"),
        (&["serve", "--plugins-dir", "no/such/folder"], "no/such/folder"),
        (&["serve", "-np", "0"], "--parallel is 0"),
        (&["serve", "-ctk", "q9"], "'q9' is no type for a cache"),
    ];
    for (arguments, expected) in cases {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", shown(&output));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(expected),
            "{arguments:?}: {}",
            shown(&output)
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_serves_too() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("minerva.sock");
    let server = Server::start_with(&["serve", "--host", path.to_str().expect("a path")]);
    assert_eq!(server.url, path.to_str().expect("a path"));
    let mut socket = std::os::unix::net::UnixStream::connect(&path).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    socket.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.terminate().await, Some(0));
    assert!(!path.exists(), "the socket is left behind");
}
