//! A client of OpenAI's completions that looks at its watch.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::{Stream, StreamExt};
use serde_json::{Map, Value, json};

/// How long a server may say nothing at all.
const PATIENCE: Duration = Duration::from_secs(600);

/// The longest line of an event stream that is read.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Words that prompts are made of.
const WORDS: [&str; 16] = [
    "river", "stone", "lamp", "letter", "winter", "garden", "engine", "silver", "paper", "mountain",
    "window", "seven", "quiet", "bread", "music", "harbour",
];

/// A server, and how to ask it.
#[derive(Clone)]
pub(super) struct Client {
    url: String,
    model: String,
    http: reqwest::Client,
    api_key: Option<String>,
    /// Fields of every request beside those that it needs.
    fields: Map<String, Value>,
}

/// What to ask.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) prompt: String,
    pub(super) tokens: u32,
    /// The server may use what it remembers of other prompts.
    pub(super) caches: bool,
}

/// What came of a question.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered {
    /// Seconds from the question to the first text.
    pub(super) first: f64,
    /// Seconds between one piece of text and the next, in order.
    pub(super) gaps: Vec<f64>,
    /// Tokens of the answer: the server's count, or else the pieces of text.
    pub(super) tokens: u64,
    pub(super) prompt_tokens: Option<u64>,
    pub(super) cached_tokens: Option<u64>,
}

impl Client {
    /// Finds out what a server serves.
    pub(super) async fn connect(url: &str, api_key: Option<&str>) -> Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        // Every client has connections of its own, as those of different users would have. Nothing is asked through
        // a proxy: it would be measured too.
        let http = reqwest::Client::builder().no_proxy().read_timeout(PATIENCE).build()?;
        let mut client =
            Self { url, model: String::new(), http, api_key: api_key.map(str::to_owned), fields: Map::new() };
        let asked = client.send(client.http.get(format!("{}/v1/models", client.url))).await?;
        let models: Value = serde_json::from_str(&asked.text().await?)
            .with_context(|| format!("{}/v1/models is not JSON", client.url))?;
        let Some(model) = models["data"][0]["id"].as_str() else {
            bail!("{}/v1/models names no model", client.url);
        };
        client.model = model.to_owned();
        Ok(client)
    }

    /// One that puts these fields into every request.
    pub(super) fn with(&self, fields: &Map<String, Value>) -> Self {
        Self { fields: fields.clone(), ..self.clone() }
    }

    pub(super) fn name(&self) -> String {
        let address = self.url.trim_start_matches("http://");
        let fields: Vec<&str> = self.fields.keys().map(String::as_str).collect();
        if fields.is_empty() { address.to_owned() } else { format!("{address} with {}", fields.join(", ")) }
    }

    /// Asks, and reads the answer to its end.
    pub(super) async fn ask(&self, question: &Question) -> Result<Answered> {
        let begun = Instant::now();
        let mut pieces = std::pin::pin!(self.stream(question).await?);
        let (mut answered, mut last) = (Answered::default(), None);
        while let Some(piece) = pieces.next().await {
            answered.take(&piece?, begun, &mut last);
        }
        if last.is_none() {
            bail!("{} answered without any text", self.url);
        }
        Ok(answered)
    }

    /// Asks, and gives the events of the answer as they come.
    pub(super) async fn stream(
        &self,
        question: &Question,
    ) -> Result<impl Stream<Item = Result<Value>> + use<>> {
        let mut body = json!({
            "model": self.model,
            "prompt": question.prompt,
            "max_tokens": question.tokens,
            "stream": true,
            "stream_options": { "include_usage": true },
            "temperature": 0.8,
            "top_k": 40,
            "top_p": 0.95,
            "min_p": 0,
            "ignore_eos": true,
            "cache_prompt": question.caches,
        });
        for (name, value) in &self.fields {
            body[name] = value.clone();
        }
        let asking = self.http.post(format!("{}/v1/completions", self.url)).json(&body);
        let answer = self.send(asking).await?;
        let events = Events { bytes: Box::pin(answer.bytes_stream()), held: Vec::new() };
        Ok(futures::stream::unfold(events, Events::next))
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> Result<reqwest::Response> {
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.with_context(|| format!("{} cannot be asked", self.url))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let mut said = answer.text().await.unwrap_or_default();
        said.truncate(said.floor_char_boundary(500));
        bail!("{} answered {status}: {said}", self.url)
    }
}

impl Answered {
    /// Takes an event in. `last`: when text came last.
    pub(super) fn take(&mut self, event: &Value, begun: Instant, last: &mut Option<Instant>) {
        if event["choices"][0]["text"].as_str().is_some_and(|text| !text.is_empty()) {
            let now = Instant::now();
            match last.replace(now) {
                None => self.first = (now - begun).as_secs_f64(),
                Some(last) => self.gaps.push((now - last).as_secs_f64()),
            }
            self.tokens += 1;
        }
        let usage = &event["usage"];
        self.tokens = usage["completion_tokens"].as_u64().unwrap_or(self.tokens);
        self.prompt_tokens = usage["prompt_tokens"].as_u64().or(self.prompt_tokens);
        self.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"].as_u64().or(self.cached_tokens);
    }
}

/// The events of an event stream.
struct Events<B> {
    bytes: B,
    held: Vec<u8>,
}

impl<B: Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin> Events<B> {
    async fn next(mut self) -> Option<(Result<Value>, Self)> {
        loop {
            while let Some(end) = self.held.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                let Some(data) = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii) else { continue };
                if data == b"[DONE]" {
                    return None;
                }
                let event = serde_json::from_slice::<Value>(data).context("an event is not JSON");
                let event = event.and_then(|event| match event.get("error") {
                    Some(error) => bail!("the answer broke off: {error}"),
                    None => Ok(event),
                });
                return Some((event, self));
            }
            if self.held.len() > LINE_BYTES_MAX {
                return Some((Err(anyhow::anyhow!("a line of more than {LINE_BYTES_MAX} bytes")), self));
            }
            match self.bytes.next().await? {
                Ok(bytes) => self.held.extend_from_slice(&bytes),
                Err(error) => return Some((Err(error.into()), self)),
            }
        }
    }
}

/// The next number of a sequence that its first one decides. Splitmix64 (Steele, Lea and Flood 2014).
pub(super) fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A prompt of so many words. Every number makes another one, different from its first words on.
pub(super) fn words(number: u64, count: u32) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = format!("{number}");
    for _ in 0..count {
        text.push(' ');
        text.push_str(WORDS[(mix(&mut state) >> 60) as usize]);
    }
    text
}

/// So many words that they are about as many tokens to this server as was asked for.
pub(super) async fn words_for_tokens(client: &Client, tokens: u32) -> Result<u32> {
    let tried = tokens.min(200);
    let question = Question { prompt: words(0, tried), tokens: 2, caches: false };
    let answered = client.ask(&question).await?;
    let counted = answered.prompt_tokens.filter(|&count| count > 0);
    let counted =
        counted.with_context(|| format!("{} does not say how many tokens a prompt has", client.url))?;
    let words = u64::from(tried) * u64::from(tokens) / counted;
    Ok(u32::try_from(words.max(1)).unwrap_or(u32::MAX))
}
