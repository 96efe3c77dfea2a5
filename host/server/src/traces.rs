//! Traces by OpenTelemetry: one of each request, with a span for every stage of every answer and for every plugin.
//!
//! Names of attributes are those of OpenTelemetry's conventions for HTTP and for generative AI, and `minerva.*` where there
//! is none. What was said, by whomever, is in no span.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task;
use std::time::{Instant, SystemTime};

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use minerva_engine::event::Finished;
use minerva_engine::request::Params;
use minerva_engine::trace::{Observer, Part, What, Work};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};

/// Routes that are asked all day long by machines, and tell nothing of a request.
const UNTRACED: &[&str] = &["/health", "/v1/health", "/live", "/ready", "/metrics"];

/// Where traces go. Default nowhere.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    tracer: Option<SdkTracer>,
}

impl Traces {
    /// Traces by a provider, whose sampler says of which requests.
    #[must_use]
    pub fn by(provider: &SdkTracerProvider) -> Self {
        Self { tracer: Some(provider.tracer("minerva")) }
    }

    /// Begins the trace of a request, as part of its client's if that has one.
    pub(crate) fn begin(&self, method: &str, route: &str, headers: &HeaderMap) -> Option<Trace> {
        let tracer = self.tracer.as_ref().filter(|_| !UNTRACED.contains(&route))?;
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
        let mut attributes = vec![
            KeyValue::new("http.request.method", method.to_owned()),
            KeyValue::new("http.route", route.to_owned()),
        ];
        attributes.extend(operation(route).map(|name| KeyValue::new("gen_ai.operation.name", name)));
        let (now, time) = (Instant::now(), SystemTime::now());
        let builder = SpanBuilder::from_name(format!("{method} {route}"))
            .with_kind(SpanKind::Server)
            .with_start_time(time)
            .with_attributes(attributes);
        let span = tracer.build_with_context(builder, &parent);
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        let state = State {
            span,
            prompt_tokens: 0,
            cached_tokens: 0,
            answers: 0,
            generated: BTreeMap::new(),
            ends: Vec::new(),
            failed: false,
        };
        Some(Trace(Arc::new(Shared {
            tracer: tracer.clone(),
            context,
            clock: (now, time),
            state: state.into(),
        })))
    }
}

/// What OpenTelemetry calls that which a route does.
fn operation(route: &str) -> Option<&'static str> {
    match route.strip_prefix("/v1").unwrap_or(route) {
        "/chat/completions" | "/responses" | "/messages" | "/stream" => Some("chat"),
        "/completions" | "/completion" | "/infill" => Some("text_completion"),
        "/embeddings" | "/embedding" => Some("embeddings"),
        _ => None,
    }
}

/// The headers of a request, to look for the client's trace in.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

/// The trace of one request. It is over when nobody has it any more: not the handler, not the body of the response, and
/// not the engine.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Shared>);

struct Shared {
    tracer: SdkTracer,
    /// Has the request's span, for those below it.
    context: Context,
    /// One moment on both clocks.
    clock: (Instant, SystemTime),
    state: Mutex<State>,
}

struct State {
    span: Span,
    prompt_tokens: u64,
    cached_tokens: u64,
    /// How many answers were asked for.
    answers: usize,
    /// Tokens generated, for each answer.
    generated: BTreeMap<usize, u32>,
    /// How answers ended.
    ends: Vec<&'static str>,
    failed: bool,
}

impl Trace {
    /// What the client can find the trace by: a `traceparent`.
    pub(crate) fn parent(&self) -> String {
        let span = self.0.context.span();
        let context = span.span_context();
        format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
    }

    /// Its name in logs.
    pub(crate) fn id(&self) -> String {
        self.0.context.span().span_context().trace_id().to_string()
    }

    /// Notes what a request asks for.
    pub(crate) fn asked(&self, model: &str, params: &Params, answers: usize) {
        self.asked_of(model);
        let mut state = self.0.state();
        state.answers = answers;
        let numbers = [
            ("gen_ai.request.max_tokens", params.max_tokens.map(i64::from)),
            ("gen_ai.request.seed", params.seed.and_then(|seed| i64::try_from(seed).ok())),
            ("gen_ai.request.top_k", Some(i64::from(params.top_k))),
            ("gen_ai.request.choice.count", i64::try_from(answers).ok()),
        ];
        let shares = [
            ("gen_ai.request.temperature", params.temperature),
            ("gen_ai.request.top_p", params.top_p),
            ("gen_ai.request.frequency_penalty", params.frequency_penalty),
            ("gen_ai.request.presence_penalty", params.presence_penalty),
        ];
        for (key, number) in numbers.into_iter().filter_map(|(key, number)| Some((key, number?))) {
            state.span.set_attribute(KeyValue::new(key, number));
        }
        for (key, number) in shares {
            state.span.set_attribute(KeyValue::new(key, f64::from(number)));
        }
    }

    /// Notes the model that a request is for.
    pub(crate) fn asked_of(&self, model: &str) {
        let mut state = self.0.state();
        state.span.set_attribute(KeyValue::new("gen_ai.request.model", model.to_owned()));
        state.span.set_attribute(KeyValue::new("gen_ai.provider.name", "minerva"));
    }

    /// Notes tokens of prompts that no stage tells of.
    pub(crate) fn read(&self, tokens: u32) {
        self.0.state().prompt_tokens += u64::from(tokens);
    }

    /// Who watches the answers to a prompt, of which the first has this number.
    pub(crate) fn observer(&self, first: usize) -> Option<Arc<dyn Observer>> {
        let is_recording = self.0.state().span.is_recording();
        is_recording.then(|| Arc::new(Answers { trace: self.clone(), first }) as Arc<dyn Observer>)
    }

    /// Notes the end of an answer.
    pub(crate) fn finished(&self, choice: usize, finished: &Finished) {
        let mut state = self.0.state();
        state.generated.insert(choice, finished.usage.completion_tokens);
        state.ends.push(finished.reason.as_str());
    }

    /// Notes the status of the response, and the type of its error, if it is one.
    pub(crate) fn answered(&self, status: StatusCode, error: &'static str) {
        let mut state = self.0.state();
        state.span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if !error.is_empty() {
            state.fail(error, status.is_server_error());
        }
    }

    /// Notes that an answer broke off behind its status.
    pub(crate) fn broke(&self, error: &'static str) {
        self.0.state().fail(error, true);
    }

    /// Makes it last as long as the response.
    pub(crate) fn within(self, response: Response) -> Response {
        response.map(|body| Body::new(Traced { body, _trace: self }))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time(&self, instant: Instant) -> SystemTime {
        let (began, time) = self.clock;
        time + instant.saturating_duration_since(began)
    }
}

impl State {
    fn fail(&mut self, error: &'static str, ours: bool) {
        self.failed = true;
        self.span.set_attribute(KeyValue::new("error.type", error));
        // What is the client's mistake is none of this span.
        if ours {
            self.span.set_status(Status::error(error));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let ended = self.time(Instant::now());
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.ends.len() < state.answers && !state.failed {
            state.span.set_attribute(KeyValue::new("error.type", "canceled"));
        }
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        if state.prompt_tokens > 0 {
            let generated = state.generated.values().map(|tokens| u64::from(*tokens)).sum();
            for (key, tokens) in [
                ("gen_ai.usage.input_tokens", state.prompt_tokens),
                ("gen_ai.usage.cache_read.input_tokens", state.cached_tokens),
                ("gen_ai.usage.output_tokens", generated),
            ] {
                state.span.set_attribute(KeyValue::new(key, number(tokens)));
            }
        }
        if !state.ends.is_empty() {
            let ends = Array::String(state.ends.iter().map(|end| StringValue::from(*end)).collect());
            state.span.set_attribute(KeyValue::new("gen_ai.response.finish_reasons", Value::Array(ends)));
        }
        state.span.end_with_timestamp(ended);
    }
}

/// Makes spans of what the engine tells of the answers to one prompt.
struct Answers {
    trace: Trace,
    first: usize,
}

impl Observer for Answers {
    fn saw(&self, part: Part) {
        let Trace(shared) = &self.trace;
        let answer = self.first + part.answer;
        let mut attributes = vec![KeyValue::new("minerva.answer", i64::try_from(answer).unwrap_or(i64::MAX))];
        let (mut fault, mut name) = (None, String::new());
        match part.what {
            What::Queue => name.push_str("queue"),
            What::Prefill { prompt_tokens, cached_tokens } => {
                name.push_str("prefill");
                attributes.push(KeyValue::new("gen_ai.usage.input_tokens", i64::from(prompt_tokens)));
                attributes.push(KeyValue::new("minerva.cached_tokens", i64::from(cached_tokens)));
                let mut state = shared.state();
                // Several answers have one prompt.
                if part.answer == 0 {
                    state.prompt_tokens += u64::from(prompt_tokens);
                    state.cached_tokens += u64::from(cached_tokens);
                }
            }
            What::Decode { tokens } => {
                name.push_str("decode");
                attributes.push(KeyValue::new("gen_ai.usage.output_tokens", i64::from(tokens)));
                // Where the answer was finished, what its reader took of them is known.
                shared.state().generated.entry(answer).or_insert(tokens);
            }
            What::Plugin(work) => {
                name = format!("plugin {}", work.identity.name);
                fault = work.fault;
                attributes.extend(of_plugin(work));
            }
        }
        attributes.extend(fault.map(|fault| KeyValue::new("error.type", fault)));
        let mut span = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Internal)
            .with_start_time(shared.time(part.began))
            .with_attributes(attributes)
            .start_with_context(&shared.tracer, &shared.context);
        if let Some(fault) = fault {
            span.set_status(Status::error(fault));
        }
        span.end_with_timestamp(shared.time(part.ended));
    }
}

/// Who a plugin is, how often each of its functions was called, and how long it was at work.
fn of_plugin(work: Work) -> Vec<KeyValue> {
    let busy: f64 = work.calls.iter().map(|(.., took)| took.as_secs_f64()).sum();
    let mut attributes = vec![
        KeyValue::new("minerva.plugin.name", work.identity.name),
        KeyValue::new("minerva.plugin.version", work.identity.version),
        KeyValue::new("minerva.plugin.kind", work.kind.as_str()),
        KeyValue::new("minerva.plugin.seconds", busy),
    ];
    for (call, count, took) in work.calls {
        attributes.push(KeyValue::new(format!("minerva.plugin.{call}.count"), i64::from(count)));
        attributes.push(KeyValue::new(format!("minerva.plugin.{call}.seconds"), took.as_secs_f64()));
    }
    attributes
}

/// The body of a response whose trace is not over before it.
struct Traced {
    body: Body,
    _trace: Trace,
}

impl HttpBody for Traced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
