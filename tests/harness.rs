//! Starts the program, and talks to it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, Role, WebSocket};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything here may take before the test fails: generous, for machines that are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What clients ask who ask side by side.
pub(crate) const QUESTIONS: [&str; 8] = [
    "Hello! How are you?",
    "What is Minerva?",
    "What is 3 plus 4?",
    "Tell me a story about a fox and a lamp.",
    "What is the capital of France?",
    "Sort these numbers: 5, 2, 9.",
    "What is the opposite of hot?",
    "How do I write a plugin?",
];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// The program, ready for arguments.
pub(crate) fn minerva(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_minerva"));
    command.args(arguments).env("RUST_LOG", "warn").stdin(Stdio::null());
    // What the user has set does not reach the tests.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("MINERVA_")) {
            command.env_remove(name);
        }
    }
    command.env("MINERVA_CONFIG", "off");
    // Tests leave the user's own cache alone, and compile each plugin once.
    command.env("MINERVA_PLUGIN_CACHE", root().join("target/plugin-cache"));
    command
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    minerva(arguments).output().expect("the program starts")
}

/// What a program printed, for messages.
pub(crate) fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\nstdout: {}\nstderr: {}", output.status, text(&output.stdout), text(&output.stderr))
}

/// The plugins of the tree, built: a folder with `min-p.wasm`, `persona.wasm`, `redact.wasm`, …
pub(crate) fn plugins() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        components("plugins", |name| {
            // Others may be in the build's folder too: projects of tests, plugins of another time.
            let name = ["sampler_", "template_", "stream_"].iter().find_map(|kind| name.strip_prefix(kind));
            name.map(|name| name.replace('_', "-"))
        })
    })
}

/// The guests that misbehave, built.
pub(crate) fn guests() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| components("tests/guests", |name| Some(name.replace('_', "-"))))
}

/// Builds a workspace of components, and collects those that have a name in a folder.
fn components(workspace: &str, name: impl Fn(&str) -> Option<String>) -> PathBuf {
    let workspace = root().join(workspace);
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--workspace", "--target", "wasm32-wasip2"])
        .current_dir(&workspace)
        // What cargo tells a test of the host must not reach a build for another target.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("cargo starts");
    assert!(
        built.status.success(),
        "{} does not build; is the target there? rustup target add wasm32-wasip2\n{}",
        workspace.display(),
        shown(&built)
    );
    let folder = tempfile::Builder::new().prefix("minerva-components-").tempdir().expect("a folder").keep();
    for entry in
        std::fs::read_dir(workspace.join("target/wasm32-wasip2/release")).expect("the build's folder")
    {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "wasm") {
            let stem = path.file_stem().expect("a stem").to_string_lossy().into_owned();
            if let Some(name) = name(&stem) {
                std::fs::copy(&path, folder.join(format!("{name}.wasm"))).expect("a copy");
            }
        }
    }
    folder
}

/// Lines of a server's log.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    pub url: String,
    pub client: reqwest::Client,
}

impl Server {
    /// Serves the built-in model with a plugin of each kind, on a free port.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(arguments, &[])
    }

    /// The same with variables of the environment.
    pub(crate) fn start_in(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let plugin = |name| format!("--plugin={name}={}", plugins().join(format!("{name}.wasm")).display());
        let plugins = ["min-p", "persona", "redact"].map(plugin);
        let mut all = vec!["serve", "--port", "0"];
        all.extend(plugins.iter().map(String::as_str));
        all.extend(arguments);
        let mut command = minerva(&all);
        command.envs(variables.iter().copied());
        Self::spawn(command, &all)
    }

    /// Serves with exactly these arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::spawn(minerva(arguments), arguments)
    }

    /// Serves with variables of the environment, and gives the lines of the log as they come.
    pub(crate) fn start_with_log(arguments: &[&str], variables: &[(&str, &str)]) -> (Self, Log) {
        let all = [&["serve", "--port", "0"], arguments].concat();
        let mut command = minerva(&all);
        command.envs(variables.iter().copied()).stderr(Stdio::piped());
        let mut server = Self::spawn(command, &all);
        let (log, stderr) = (Log::default(), server.child.stderr.take().expect("its log"));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().expect("nobody panicked").push(line);
            }
        });
        (server, log)
    }

    fn spawn(mut command: Command, arguments: &[&str]) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let stdout = child.stdout.take().expect("its output");
        let (found, address) = std::sync::mpsc::channel();
        // Reads on until the end, so that the program never waits for a reader.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("listening on ") {
                    let _ = found.send(address.to_owned());
                }
            }
        });
        let Ok(url) = address.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            panic!("the server said no address: {arguments:?}");
        };
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().expect("a client");
        Self { child, url, client }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The memory that the program has resident, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Posts JSON; gives the status and the JSON of the answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.client.post(self.url(path)).json(body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.client.get(self.url(path)).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")))
    }

    /// Asks without streaming, and gives the text of the answer.
    pub(crate) async fn chat(&self, body: &Value) -> String {
        let (status, answer) = self.post("/v1/chat/completions", body).await;
        assert_eq!(status, 200, "{answer}");
        answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }

    /// Asks with streaming, and gives the chunks.
    pub(crate) async fn stream(&self, body: &Value) -> Vec<Value> {
        let mut body = body.clone();
        body["stream"] = json!(true);
        let answer =
            self.client.post(self.url("/v1/chat/completions")).json(&body).send().await.expect("an answer");
        let status = answer.status();
        let mut text = String::new();
        let mut bytes = answer.bytes_stream();
        let mut raw = Vec::new();
        while let Some(piece) = bytes.next().await {
            raw.extend_from_slice(&piece.expect("a piece"));
        }
        text.push_str(std::str::from_utf8(&raw).expect("UTF-8"));
        assert_eq!(status.as_u16(), 200, "{text}");
        let events: Vec<&str> =
            text.split("\n\n").filter_map(|event| event.trim().strip_prefix("data: ")).collect();
        assert_eq!(events.last(), Some(&"[DONE]"), "{text}");
        let chunk =
            |event: &&str| serde_json::from_str(event).unwrap_or_else(|_| panic!("not JSON: {event}"));
        events[..events.len() - 1].iter().map(chunk).collect()
    }

    /// Sends one message over a WebSocket; gives the status of the upgrade and the texts of all frames that come.
    pub(crate) async fn websocket(&self, path: &str, message: &str) -> (u16, Vec<String>) {
        let address = self.url.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.expect("it is sent");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(
                timeout(PATIENCE, socket.read_u8()).await.expect("an answer").expect("all of its head"),
            );
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        if status != 101 {
            return (status, Vec::new());
        }
        let mut socket = FragmentCollector::new(WebSocket::after_handshake(socket, Role::Client));
        socket.write_frame(Frame::text(Payload::Borrowed(message.as_bytes()))).await.expect("it is sent");
        let mut texts = Vec::new();
        loop {
            let frame = timeout(PATIENCE, socket.read_frame()).await.expect("a frame").expect("a whole one");
            match frame.opcode {
                OpCode::Text => texts.push(String::from_utf8(frame.payload.to_vec()).expect("UTF-8")),
                OpCode::Close => return (status, texts),
                _ => {}
            }
        }
    }

    /// The first figure of the metrics that begins so.
    pub(crate) async fn gauge(&self, name: &str) -> u64 {
        let answer = self.client.get(self.url("/metrics")).send().await.expect("an answer");
        figure(&answer.text().await.expect("text"), name)
    }

    /// The gauges of sequences that run and requests that wait.
    pub(crate) async fn load(&self) -> (u64, u64) {
        let answer = self.client.get(self.url("/metrics")).send().await.expect("an answer");
        let text = answer.text().await.expect("text");
        (figure(&text, "minerva_requests_running"), figure(&text, "minerva_requests_waiting"))
    }

    /// Waits until nothing runs and nothing waits.
    pub(crate) async fn becomes_idle(&self) {
        let begun = Instant::now();
        loop {
            let load = self.load().await;
            if load == (0, 0) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "running and waiting: {load:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    /// Sends SIGTERM, and waits for the end; gives the exit code.
    pub(crate) async fn terminate(mut self) -> Option<i32> {
        self.signal("-TERM");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn figure(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name}: {metrics}"));
    line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number") as u64
}

/// The text of streamed chunks.
pub(crate) fn streamed_text(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

/// A chat of one message.
pub(crate) fn asking(question: &str) -> Value {
    json!({ "messages": [{ "role": "user", "content": question }] })
}
