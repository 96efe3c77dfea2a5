//! 200 clients on 16 sequences: most behave, some cancel, dawdle, half close, or send what no server wants.
//!
//! `MINERVA_LOAD_SECONDS` says for how long; without it, long enough to find what breaks at once. `--nocapture` shows
//! what came of the requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, QUESTIONS, Server, asking};

const CLIENTS: u64 = 200;
const SEQUENCES: u64 = 16;
const QUEUE: u64 = 64;
const BODY_BYTES_MAX: usize = 100_000;
const KEY: &str = "right";

/// How much the server's memory may grow from the third quarter to the fourth.
const GROWTH_MAX: u64 = 16 << 20;

/// A request, and what it is answered when nothing else goes on.
struct Exchange {
    request: Value,
    answer: String,
}

/// What came of the requests: by what was done, and how it ended.
type Tally = Mutex<BTreeMap<(&'static str, String), u64>>;

struct Load {
    url: String,
    client: Client,
    exchanges: Vec<Exchange>,
    tally: Tally,
}

fn seconds() -> u64 {
    let given = std::env::var("MINERVA_LOAD_SECONDS").ok();
    given.map_or(10, |seconds| seconds.parse().expect("MINERVA_LOAD_SECONDS is a number of seconds"))
}

fn start(more: &[&str]) -> Server {
    let (sequences, queue, body) = (SEQUENCES.to_string(), QUEUE.to_string(), BODY_BYTES_MAX.to_string());
    let mut arguments = vec!["-np", sequences.as_str(), "--max-num-queued-reqs", queue.as_str()];
    arguments.extend(["--body-limit", body.as_str()]);
    arguments.extend(["--api-key", KEY, "--cache-ram", "16"]);
    arguments.extend(more);
    Server::start(&arguments)
}

/// Prompts of several lengths, with and without plugins.
fn request(index: usize) -> Value {
    let mut request = asking(QUESTIONS[index % QUESTIONS.len()]);
    request["temperature"] = json!(0);
    request["ignore_eos"] = json!(true);
    request["max_tokens"] = json!(10 + index);
    if index % 3 == 1 {
        request["minerva"] = json!({ "samplers": [{ "id": "min-p", "args": { "p": 0.1 } }] });
    } else if index % 3 == 2 {
        request["minerva"] =
            json!({ "stream": [{ "id": "redact", "args": { "patterns": ["[aeiou]{2}"] } }] });
    }
    request
}

impl Load {
    async fn new(server: &Server) -> Self {
        // Shorter than the server's own: no connection is taken up while it is being closed.
        let idle = Duration::from_secs(5);
        let client = Client::builder().timeout(PATIENCE).pool_idle_timeout(idle).no_proxy().build();
        let client = client.expect("a client");
        let (url, tally) = (server.url("/v1/chat/completions"), Tally::default());
        let mut load = Self { url, client, exchanges: Vec::new(), tally };
        for index in 0..24 {
            let request = request(index);
            let answer = load.post(&request).await.json::<Value>().await.expect("JSON");
            let text = answer["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
            load.exchanges.push(Exchange { request, answer: text });
        }
        load
    }

    async fn post(&self, request: &Value) -> Response {
        self.client.post(&self.url).header("x-api-key", KEY).json(request).send().await.expect("an answer")
    }

    async fn count(&self, what: &'static str, how: impl Into<String>) {
        *self.tally.lock().await.entry((what, how.into())).or_default() += 1;
    }

    /// One thing that a client does.
    async fn act(&self, mut dice: Dice) {
        let exchange = &self.exchanges[dice.roll(self.exchanges.len() as u64) as usize];
        match dice.roll(100) {
            0..55 => self.stream(exchange, Duration::ZERO, "stream", &mut dice).await,
            55..65 => self.whole(exchange, &mut dice).await,
            65..72 => {
                self.stream(exchange, Duration::from_millis(dice.roll(30)), "slow reader", &mut dice).await;
            }
            72..84 => self.cancel(exchange, &mut dice).await,
            84..88 => self.half_close(exchange).await,
            88..92 => self.refused("oversized body", 413, KEY, "x".repeat(BODY_BYTES_MAX + 1)).await,
            92..96 => {
                self.refused("malformed body", 400, KEY, exchange.request.to_string()[1..].to_owned()).await;
            }
            _ => self.refused("wrong key", 401, "wrong", exchange.request.to_string()).await,
        }
    }

    /// Whether a request was let in. One that was not is told when to come again.
    async fn is_let_in(&self, what: &'static str, answer: &Response, dice: &mut Dice) -> bool {
        let status = answer.status();
        self.count(what, status.as_str()).await;
        if status == StatusCode::OK {
            return true;
        }
        assert!(matches!(status.as_u16(), 429 | 503), "{what}: {status}");
        if status == StatusCode::TOO_MANY_REQUESTS {
            let again = answer
                .headers()
                .get("retry-after")
                .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
            assert!(again.is_some_and(|seconds| (1..=60).contains(&seconds)), "{again:?}");
        }
        // Sooner than it was told: the queue is to stay full.
        tokio::time::sleep(Duration::from_millis(50 + dice.roll(200))).await;
        false
    }

    async fn stream(&self, exchange: &Exchange, pause: Duration, what: &'static str, dice: &mut Dice) {
        let mut request = exchange.request.clone();
        request["stream"] = json!(true);
        let answer = self.post(&request).await;
        if self.is_let_in(what, &answer, dice).await {
            let text = read(answer, pause).await;
            assert_eq!(said(&text), exchange.answer, "{what}: {}: {text}", exchange.request);
        }
    }

    async fn whole(&self, exchange: &Exchange, dice: &mut Dice) {
        let answer = self.post(&exchange.request).await;
        if self.is_let_in("whole", &answer, dice).await {
            let answer: Value = answer.json().await.expect("JSON");
            assert_eq!(answer["choices"][0]["message"]["content"], exchange.answer, "{}", exchange.request);
        }
    }

    /// Goes away in the queue, in the prompt, among the tokens, or never, as it happens.
    async fn cancel(&self, exchange: &Exchange, dice: &mut Dice) {
        let mut request = exchange.request.clone();
        request["stream"] = json!(dice.roll(3) > 0);
        let reading = async {
            let answer = self.post(&request).await;
            assert!(!answer.status().is_server_error() || answer.status() == 503, "{}", answer.status());
            answer.bytes().await
        };
        let ended = tokio::time::timeout(Duration::from_millis(dice.roll(500)), reading).await;
        self.count("cancel", if ended.is_ok() { "too late" } else { "canceled" }).await;
    }

    async fn half_close(&self, exchange: &Exchange) {
        let body = exchange.request.to_string();
        let address = self.url.split('/').nth(2).expect("an address");
        let mut socket = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all((head + &body).as_bytes()).await.expect("it is sent");
        socket.shutdown().await.expect("half of it is closed");
        let mut answer = Vec::new();
        // A reset is an answer as well.
        let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("it is closed");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap_or("nothing");
        assert!(!status.starts_with('5') || status == "503", "{answer}");
        self.count("half closed", status).await;
    }

    async fn refused(&self, what: &'static str, expected: u16, key: &str, body: String) {
        let answer = self.client.post(&self.url).header("x-api-key", key).body(body).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(answer.status().as_u16(), expected, "{what}");
        self.count(what, answer.status().as_str()).await;
        let body: Value = answer.json().await.expect("JSON");
        assert!(body["error"]["message"].is_string(), "{body}");
    }
}

/// Reads a stream to its end, pausing at every piece.
async fn read(answer: Response, pause: Duration) -> String {
    let (mut pieces, mut all) = (answer.bytes_stream(), Vec::new());
    while let Some(piece) = pieces.next().await {
        all.extend_from_slice(&piece.expect("the stream goes on"));
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    String::from_utf8(all).expect("UTF-8")
}

/// What a whole stream says. One that does not end as it should is lost.
fn said(stream: &str) -> String {
    let body = stream.strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("a lost stream: {stream}"));
    let chunks = body.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    let chunks: Vec<Value> = chunks.map(|chunk| serde_json::from_str(chunk).expect("JSON")).collect();
    let finished = chunks.iter().any(|chunk| chunk["choices"][0]["finish_reason"] == "length");
    assert!(finished, "a lost stream: {stream}");
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

/// Randomness that a seed reproduces: splitmix64, by Steele et al. 2014.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_of_all_kinds_get_what_they_should() {
    let server = start(&[]);
    let load = Arc::new(Load::new(&server).await);
    let span = Duration::from_secs(seconds());
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let load = Arc::clone(&load);
        clients.spawn(async move {
            let mut round = 0;
            while began.elapsed() < span {
                load.act(Dice((client << 32) | round)).await;
                round += 1;
            }
        });
    }
    let (mut most_running, mut most_waiting, mut memory) = (0, 0, [Vec::new(), Vec::new()]);
    while began.elapsed() < span {
        let (running, waiting) = server.load().await;
        (most_running, most_waiting) = (most_running.max(running), most_waiting.max(waiting));
        match began.elapsed().as_secs_f64() / span.as_secs_f64() {
            0.5..0.75 => memory[0].push(server.resident()),
            0.75.. => memory[1].push(server.resident()),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while let Some(client) = clients.join_next().await {
        client.expect("a client is content");
    }
    assert!(most_running <= SEQUENCES && most_waiting <= QUEUE, "{most_running} ran, {most_waiting} waited");
    server.becomes_idle().await;
    let [third, fourth] =
        memory.map(|samples: Vec<u64>| samples.iter().sum::<u64>() / samples.len().max(1) as u64);
    eprintln!(
        "{CLIENTS} clients for {} s: at most {most_running} ran and {most_waiting} waited",
        span.as_secs()
    );
    eprintln!("memory: {} MiB in the third quarter, {} MiB in the fourth", third >> 20, fourth >> 20);
    for ((what, how), count) in load.tally.lock().await.iter() {
        eprintln!("{what:>16} {how:>10} {count:>8}");
    }
    assert!(fourth <= third + GROWTH_MAX, "the memory grew from {third} to {fourth} bytes");
    let held = server.gauge("minerva_kv_cache_tokens{").await;
    assert_eq!(held, 0, "tokens of sequences that nobody has");
    // It is as it was.
    for exchange in &load.exchanges {
        load.whole(exchange, &mut Dice(0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_ends_every_stream_as_it_should_and_lets_nobody_in() {
    /// As many again as run are waiting, and more.
    const STREAMS: u64 = 3 * SEQUENCES;
    let server = start(&["--drain-timeout", "110"]);
    let load = Arc::new(Load::new(&server).await);
    let is_over = Arc::new(AtomicBool::new(false));
    let mut streams = JoinSet::new();
    for client in 0..STREAMS {
        let load = Arc::clone(&load);
        streams.spawn(async move {
            // Without plugins a longer answer begins as a shorter one.
            let exchange = &load.exchanges[client as usize % 8 * 3];
            let mut request = exchange.request.clone();
            request["stream"] = json!(true);
            request["max_tokens"] = json!(100);
            let answer = load.post(&request).await;
            assert_eq!(answer.status(), StatusCode::OK);
            let said = said(&read(answer, Duration::ZERO).await);
            assert!(said.starts_with(&exchange.answer), "{request}: {said}");
        });
    }
    let begun = Instant::now();
    loop {
        // All of them, and those that the answers come from.
        let (running, waiting) = server.load().await;
        if running + waiting + server.gauge("minerva_requests_finished_total").await >= 24 + STREAMS {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "they are not let in");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let late = tokio::spawn({
        let (load, is_over) = (Arc::clone(&load), Arc::clone(&is_over));
        async move {
            let mut late = JoinSet::new();
            while !is_over.load(Ordering::Acquire) {
                let load = Arc::clone(&load);
                late.spawn(async move {
                    let exchange = &load.exchanges[0];
                    let mut request = exchange.request.clone();
                    request["stream"] = json!(true);
                    let sending = load.client.post(&load.url).header("x-api-key", KEY).json(&request).send();
                    // Nobody listens any more.
                    let Ok(answer) = sending.await else { return };
                    if load.is_let_in("after", &answer, &mut Dice(0)).await {
                        assert_eq!(said(&read(answer, Duration::ZERO).await), exchange.answer);
                    }
                });
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            while let Some(client) = late.join_next().await {
                client.expect("it is let in and served, or told");
            }
        }
    });
    assert_eq!(server.terminate().await, Some(0));
    is_over.store(true, Ordering::Release);
    while let Some(stream) = streams.join_next().await {
        stream.expect("it ends as it should");
    }
    late.await.expect("those who were late are told");
    let tally = load.tally.lock().await;
    eprintln!("{tally:?}");
    assert!(tally.get(&("after", "503".into())).is_some_and(|count| *count > 0), "{tally:?}");
}
