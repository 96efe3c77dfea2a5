//! Traces: what a collector is sent, and that one that is not there costs nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, Server, asking};

/// A client's own trace: W3C's example.
const OURS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Takes what the server sends, as an OpenTelemetry collector does.
pub(crate) struct Collector {
    url: String,
    bodies: Bodies,
}

type Bodies = Arc<Mutex<Vec<Bytes>>>;

impl Collector {
    pub(crate) async fn start() -> Self {
        async fn take(State(bodies): State<Bodies>, headers: HeaderMap, body: Bytes) {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            bodies.lock().unwrap().push(body);
        }
        let bodies = Bodies::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&bodies));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, bodies }
    }

    pub(crate) fn serving(&self, more: &[&str]) -> Server {
        let mut arguments = vec!["--otlp-endpoint", self.url.as_str()];
        arguments.extend(more);
        // A proxy of this machine's is for others.
        Server::start_in(&arguments, &[("NO_PROXY", "127.0.0.1")])
    }

    /// Everything that came.
    pub(crate) fn sent(&self) -> Vec<u8> {
        self.bodies.lock().unwrap().concat()
    }

    /// The resource that the spans are of.
    fn resource(&self) -> BTreeMap<String, Value> {
        // Requests behind one another are one, as messages of protobuf are.
        let sent = self.sent();
        let resource_spans = Message::of(&sent).messages(1).remove(0);
        resource_spans.messages(1)[0].attributes(1)
    }

    fn spans(&self) -> Vec<Span> {
        let sent = self.sent();
        let mut spans = Vec::new();
        for resource_spans in Message::of(&sent).messages(1) {
            for scope_spans in resource_spans.messages(2) {
                assert_eq!(scope_spans.messages(1)[0].text(1), "minerva");
                spans.extend(scope_spans.messages(2).iter().map(Span::of));
            }
        }
        spans
    }
}

/// A message of protobuf: numbers of fields, and what they have.
struct Message<'a>(Vec<(u64, Field<'a>)>);

#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Message<'a> {
    fn of(mut bytes: &'a [u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let field = match key & 7 {
                0 => Field::Number(varint(&mut bytes)),
                1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    Field::Bytes(take(&mut bytes, length))
                }
                5 => Field::Number(u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap()).into()),
                wire => panic!("a wire type {wire}"),
            };
            fields.push((key >> 3, field));
        }
        Self(fields)
    }

    fn all(&self, number: u64) -> impl Iterator<Item = Field<'a>> {
        self.0.iter().filter(move |(of, _)| *of == number).map(|(_, field)| *field)
    }

    fn number(&self, number: u64) -> u64 {
        self.all(number)
            .find_map(|field| if let Field::Number(value) = field { Some(value) } else { None })
            .unwrap_or(0)
    }

    fn bytes(&self, number: u64) -> &'a [u8] {
        self.all(number)
            .find_map(|field| if let Field::Bytes(value) = field { Some(value) } else { None })
            .unwrap_or(&[])
    }

    fn text(&self, number: u64) -> String {
        String::from_utf8(self.bytes(number).to_vec()).expect("UTF-8")
    }

    fn messages(&self, number: u64) -> Vec<Self> {
        let bytes = |field| if let Field::Bytes(value) = field { Some(value) } else { None };
        self.all(number).filter_map(bytes).map(Self::of).collect()
    }

    /// `KeyValue`s.
    fn attributes(&self, number: u64) -> BTreeMap<String, Value> {
        let pairs = self.messages(number);
        pairs.iter().map(|pair| (pair.text(1), pair.messages(2)[0].any())).collect()
    }

    /// An `AnyValue`.
    fn any(&self) -> Value {
        match self.0[0] {
            (1, _) => json!(self.text(1)),
            (2, Field::Number(number)) => json!(number == 1),
            (3, Field::Number(number)) => json!(number as i64),
            (4, Field::Number(bits)) => json!(f64::from_bits(bits)),
            (5, _) => self.messages(5)[0].messages(1).iter().map(Self::any).collect(),
            (field, _) => panic!("a value of field {field}"),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = take(bytes, 1)[0];
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return number;
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

/// A span, by the numbers of opentelemetry-proto's `trace.proto`.
#[derive(Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    is_server: bool,
    began: u64,
    ended: u64,
    attributes: BTreeMap<String, Value>,
    is_error: bool,
}

impl Span {
    fn of(message: &Message<'_>) -> Self {
        Self {
            trace: hexadecimal(message.bytes(1)),
            id: hexadecimal(message.bytes(2)),
            parent: hexadecimal(message.bytes(4)),
            name: message.text(5),
            is_server: message.number(6) == 2,
            began: message.number(7),
            ended: message.number(8),
            attributes: message.attributes(9),
            is_error: message.messages(15).iter().any(|status| status.number(3) == 2),
        }
    }
}

/// The only span of a name.
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(found.len(), 1, "{name} among {names:?}");
    found[0]
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_trace_of_its_stages_and_plugins_and_says_nothing_of_its_words() {
    let collector = Collector::start().await;
    let server = Server::start_in(
        &["--otlp-endpoint", &collector.url],
        &[
            ("NO_PROXY", "127.0.0.1"),
            ("OTEL_SERVICE_NAME", "house"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=tests"),
        ],
    );
    let mut request = asking("What is an ocelot?");
    request["model"] = json!("whatever");
    request["max_tokens"] = json!(12);
    request["temperature"] = json!(0);
    request["ignore_eos"] = json!(true);
    request["minerva"] = json!({
        "template": { "id": "persona", "args": { "persona": "a zookeeper" } },
        "samplers": [{ "id": "min-p", "args": { "p": 0.1 } }],
        "stream": [{ "id": "redact", "args": { "patterns": ["[0-9]+"] } }],
    });
    let asking = server.client.post(server.url("/v1/chat/completions")).header("traceparent", OURS);
    let answer = asking.json(&request).send().await.expect("an answer");
    let echoed = answer.headers()["traceparent"].to_str().expect("text").to_owned();
    let answer: Value = answer.json().await.expect("JSON");
    let said = answer["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
    // Probes make no traces.
    assert_eq!(server.get("/ready").await.0, 200);
    assert_eq!(server.terminate().await, Some(0));

    let spans = collector.spans();
    let root = named(&spans, "POST /v1/chat/completions");
    assert_eq!(spans.len(), 7, "{spans:#?}");
    assert!(root.is_server && !root.is_error);
    assert_eq!(root.trace, OURS[3..35]);
    assert_eq!(root.parent, OURS[36..52]);
    assert_eq!(echoed, format!("{}{}-01", &OURS[..36], root.id));
    let of_root = &root.attributes;
    let usage = &answer["usage"];
    for (key, value) in [
        ("http.request.method", json!("POST")),
        ("http.route", json!("/v1/chat/completions")),
        ("http.response.status_code", json!(200)),
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.provider.name", json!("minerva")),
        ("gen_ai.request.model", answer["model"].clone()),
        ("gen_ai.request.max_tokens", json!(12)),
        ("gen_ai.request.temperature", json!(0.0)),
        ("gen_ai.request.choice.count", json!(1)),
        ("gen_ai.usage.input_tokens", usage["prompt_tokens"].clone()),
        ("gen_ai.usage.output_tokens", usage["completion_tokens"].clone()),
        ("gen_ai.response.finish_reasons", json!(["length"])),
    ] {
        assert_eq!(of_root.get(key), Some(&value), "{key} of {of_root:?}");
    }
    assert!(!of_root.contains_key("error.type"), "{of_root:?}");

    let stages = ["queue", "prefill", "decode"].map(|name| named(&spans, name));
    let plugins = ["persona", "min-p", "redact"].map(|name| named(&spans, &format!("plugin {name}")));
    for span in stages.iter().chain(&plugins) {
        assert_eq!((&span.trace, &span.parent), (&root.trace, &root.id), "{span:?}");
        assert_eq!(span.attributes["minerva.answer"], json!(0));
        let within = root.began <= span.began && span.began <= span.ended && span.ended <= root.ended;
        assert!(within, "{span:?} in {root:?}");
    }
    let [queue, prefill, decode] = stages;
    assert_eq!(queue.ended, prefill.began);
    assert_eq!(prefill.ended, decode.began);
    assert_eq!(prefill.attributes["gen_ai.usage.input_tokens"], usage["prompt_tokens"]);
    assert_eq!(decode.attributes["gen_ai.usage.output_tokens"], json!(12));
    for (plugin, kind, calls) in [
        ("persona", "template", ["render"].as_slice()),
        ("min-p", "sampler", &["open", "pick", "close"]),
        ("redact", "stream", &["open", "push", "close"]),
    ] {
        let of_plugin = &named(&spans, &format!("plugin {plugin}")).attributes;
        assert_eq!(of_plugin["minerva.plugin.kind"], json!(kind));
        assert_eq!(of_plugin["minerva.plugin.name"], json!(plugin));
        for call in calls {
            let count = &of_plugin[&*format!("minerva.plugin.{call}.count")];
            let expected = if *call == "pick" { 12 } else { 1 };
            assert!(count.as_i64().is_some_and(|count| count >= expected), "{plugin} {call}: {count}");
            assert!(
                of_plugin[&*format!("minerva.plugin.{call}.seconds")].as_f64().is_some_and(|took| took > 0.0)
            );
        }
    }
    // Sessions are opened before the queue, and their end is after the last token.
    assert!(plugins[1].began <= queue.ended);
    assert!(plugins[1].ended >= prefill.ended);

    let of_resource = collector.resource();
    assert_eq!(of_resource["service.name"], json!("house"));
    assert_eq!(of_resource["deployment.environment.name"], json!("tests"));
    assert!(of_resource.contains_key("service.version"));
    let sent = collector.sent();
    let sent = String::from_utf8_lossy(&sent);
    for words in ["ocelot", "zookeeper", said.trim()] {
        assert!(!sent.contains(words), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_answers_cancelled_ones_and_errors_are_told_apart() {
    let collector = Collector::start().await;
    let server = collector.serving(&["-np", "2"]);
    // Two answers to a prompt: its tokens count once.
    let mut request = asking("What is a fox?");
    request["n"] = json!(2);
    request["max_tokens"] = json!(4);
    request["ignore_eos"] = json!(true);
    let (status, answer) = server.post("/v1/chat/completions", &request).await;
    assert_eq!(status, 200, "{answer}");
    // Refused before anything runs.
    let mut refused = asking("What is a fox?");
    refused["temperature"] = json!(-1);
    assert_eq!(server.post("/v1/chat/completions", &refused).await.0, 400);
    // Goes away after the first bytes.
    let mut endless = asking("Tell me a story.");
    endless["stream"] = json!(true);
    endless["ignore_eos"] = json!(true);
    let mut stream = server
        .client
        .post(server.url("/v1/chat/completions"))
        .json(&endless)
        .send()
        .await
        .expect("an answer");
    let gone = stream.headers()["traceparent"].to_str().expect("text")[3..35].to_owned();
    assert!(stream.chunk().await.expect("bytes").is_some());
    drop(stream);
    server.becomes_idle().await;
    assert_eq!(server.terminate().await, Some(0));

    let spans = collector.spans();
    let roots: Vec<&Span> = spans.iter().filter(|span| span.parent.is_empty()).collect();
    assert_eq!(roots.len(), 3, "{spans:#?}");
    let children = |root: &Span| {
        let of_root = spans.iter().filter(|span| span.parent == root.id);
        let mut names: Vec<String> =
            of_root.map(|span| format!("{} {}", span.name, span.attributes["minerva.answer"])).collect();
        names.sort();
        names
    };
    let two = &roots[0].attributes;
    assert_eq!(children(roots[0]), ["decode 0", "decode 1", "prefill 0", "prefill 1", "queue 0", "queue 1"]);
    assert_eq!(two["gen_ai.usage.input_tokens"], answer["usage"]["prompt_tokens"]);
    assert_eq!(two["gen_ai.usage.output_tokens"], json!(8));
    assert_eq!(two["gen_ai.response.finish_reasons"], json!(["length", "length"]));

    let wrong = &roots[1].attributes;
    assert_eq!(wrong["http.response.status_code"], json!(400));
    assert_eq!(wrong["error.type"], json!("invalid_request_error"));
    assert!(!roots[1].is_error);
    assert!(children(roots[1]).is_empty());

    let cancelled = &roots[2].attributes;
    assert_eq!(roots[2].trace, gone);
    assert_eq!(cancelled["error.type"], json!("canceled"));
    assert!(
        cancelled["gen_ai.usage.output_tokens"].as_i64().is_some_and(|tokens| tokens > 0),
        "{cancelled:?}"
    );
    assert_eq!(children(roots[2]), ["decode 0", "prefill 0", "queue 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_sampled_is_not_traced_unless_its_client_is() {
    let collector = Collector::start().await;
    let server = collector.serving(&["--otlp-sampling-ratio", "0"]);
    let mut request = asking("What is a fox?");
    request["max_tokens"] = json!(2);
    let ask = |parent: Option<&'static str>| {
        let asking = server.client.post(server.url("/v1/chat/completions")).json(&request);
        parent.into_iter().fold(asking, |asking, parent| asking.header("traceparent", parent)).send()
    };
    let answer = ask(None).await.expect("an answer");
    assert!(answer.headers()["traceparent"].to_str().expect("text").ends_with("-00"));
    assert_eq!(ask(Some(OURS)).await.expect("an answer").status(), 200);
    // What is no traceparent begins a trace of its own.
    assert_eq!(ask(Some("00-nonsense")).await.expect("an answer").status(), 200);
    assert_eq!(server.terminate().await, Some(0));
    let spans = collector.spans();
    assert_eq!(spans.len(), 4, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace == OURS[3..35]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_there_is_no_trace() {
    let server = Server::start(&[]);
    let mut request = asking("What is a fox?");
    request["max_tokens"] = json!(2);
    let asking = server.client.post(server.url("/v1/chat/completions")).header("traceparent", OURS);
    let answer = asking.json(&request).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("traceparent"));
}

/// A collector that takes connections and never says anything, and none at all: requests are answered as ever, the log
/// says it once, and the server ends in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_silent_or_gone_costs_requests_nothing() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    for at in [silent.local_addr().expect("an address"), gone] {
        let url = format!("http://{at}");
        let variables = [
            ("NO_PROXY", "127.0.0.1"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
        ];
        let (server, log) = Server::start_with_log(&["--otlp-endpoint", &url], &variables);
        let mut request = asking("What is a fox?");
        request["max_tokens"] = json!(2);
        let ask = async || assert_eq!(server.post("/v1/chat/completions", &request).await.0, 200);
        // More spans than the queue holds.
        for _ in 0..20 {
            ask().await;
        }
        let said = || log.lock().unwrap().iter().filter(|line| line.contains("traces do not reach")).count();
        let begun = Instant::now();
        while said() == 0 {
            assert!(begun.elapsed() < PATIENCE, "nothing was said of {url}");
            ask().await;
        }
        for _ in 0..20 {
            ask().await;
        }
        assert_eq!(said(), 1, "{:?}", log.lock().unwrap());
        assert_eq!(server.terminate().await, Some(0));
        assert_eq!(said(), 1, "{:?}", log.lock().unwrap());
    }
}
