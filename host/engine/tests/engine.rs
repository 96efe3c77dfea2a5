//! The whole engine on a scripted model: everything but llama.cpp, in milliseconds.

#[path = "engine/recovery.rs"]
mod recovery;
#[path = "engine/cache.rs"]
mod cache;
#[path = "engine/embedding.rs"]
mod embedding;
#[path = "engine/context.rs"]
mod context;
#[path = "engine/backtracking.rs"]
mod backtracking;
#[path = "engine/trace.rs"]
mod trace;
mod grammar;
mod sampling;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use minerva_engine::builtin::closure::ClosureSampler;
use minerva_engine::event::{Event, FinishReason, Finished};
use minerva_engine::fake::{Log, ScriptedModel};
use minerva_engine::model::Token;
use minerva_engine::plugin::{
    Choice, Chunk, Error as PluginError, Fault, Identity, OnFault, Output, SamplerPlugin, SessionContext,
    StreamPlugin, StreamProcessor,
};
use minerva_engine::request::{Deadline, Deadlines, GenerateRequest, Input, Params, Use};
use minerva_engine::{Engine, Error, Generation, Handle, Options};
use proptest::prelude::*;
use serde_json::Value;

const REPLIES: &[(&str, &str)] = &[
    ("hello", " world"),
    ("long", " one two three four five six seven eight nine ten eleven twelve"),
    ("unicode", " né€😀!"),
    ("secret", " the key is 1234, keep it"),
];

fn start(slots: u32, options: Options) -> (Engine, Log) {
    start_slow(slots, Duration::ZERO, options)
}

fn start_slow(slots: u32, delay: Duration, options: Options) -> (Engine, Log) {
    let model = ScriptedModel::new(slots, REPLIES).with_delay(delay);
    let log = model.log();
    (Engine::start(Box::new(model), options).expect("the worker starts"), log)
}

fn request(prompt: &str) -> GenerateRequest {
    let mut request = GenerateRequest::new("test", Input::Text(prompt.into()));
    request.params = Params { temperature: 0.0, ..Params::default() };
    request
}

fn used<P: ?Sized>(plugin: Arc<P>, on_fault: OnFault) -> Use<P> {
    Use { plugin, args: Value::Null, on_fault }
}

/// All that a generation says: text, reasoning in braces, metadata in angles, and how it ended.
async fn read(generation: Generation) -> Result<(String, Finished), Error> {
    let mut said = String::new();
    let mut generation = generation;
    while let Some(event) = generation.next().await {
        match event? {
            Event::Text(text) => said.push_str(&text.text),
            Event::Reasoning(text) => said.push_str(&format!("{{{text}}}")),
            Event::Meta(meta) => said.push_str(&format!("<{}: {}>", meta.plugin, meta.json)),
            Event::Tool(tool) => said.push_str(&format!("({tool:?})")),
            Event::Finished(finished) => return Ok((said, finished)),
        }
    }
    panic!("a generation ended without saying so, after {said:?}");
}

async fn ask(handle: &Handle, request: GenerateRequest) -> Result<(String, Finished), Error> {
    read(handle.generate(request).await?).await
}

/// Waits for what must become true soon.
async fn soon(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < Duration::from_secs(5), "not within 5 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until nothing runs; then the model holds what the cache knows of, and nothing else.
async fn becomes_idle(handle: &Handle, log: &Log) {
    soon("nothing runs or waits", || handle.status().running == 0 && handle.status().waiting == 0).await;
    soon("the cache knows all that is held", || log.record().tokens_held == handle.status().tokens_held_idle)
        .await;
    assert!(handle.status().saved_bytes <= handle.status().saved_bytes_limit, "{:?}", handle.status());
}

#[tokio::test]
async fn answers_end_where_the_model_a_stop_text_or_a_limit_says() {
    let (engine, _) = start(2, Options::default());
    let handle = engine.handle();
    let stop = |texts: &[&str]| Params {
        stop: texts.iter().map(ToString::to_string).collect(),
        temperature: 0.0,
        ..Params::default()
    };
    let limit = |count| Params { max_tokens: Some(count), temperature: 0.0, ..Params::default() };
    let cases = [
        ("hello", stop(&[]), " world", FinishReason::Stop, 7),
        ("unicode", stop(&[]), " né€😀!", FinishReason::Stop, 13),
        ("hello", stop(&["r"]), " wo", FinishReason::Stop, 4),
        ("hello", stop(&["rx", "ld"]), " wor", FinishReason::Stop, 6),
        ("hello", limit(3), " wo", FinishReason::Length, 3),
        // The limit cuts inside a character: it is not shown as whole.
        ("unicode", limit(5), " né\u{fffd}", FinishReason::Length, 5),
        ("nothing is scripted for this", stop(&[]), "", FinishReason::Stop, 1),
    ];
    for (prompt, params, expected, reason, tokens) in cases {
        let request = GenerateRequest { params: params.clone(), ..request(prompt) };
        let (said, finished) = ask(&handle, request).await.expect("an answer");
        assert_eq!((said.as_str(), finished.reason), (expected, reason), "{prompt} {params:?}");
        assert_eq!(finished.usage.completion_tokens, tokens, "{prompt}");
        // The model's begin-of-sequence token is not in the scripted vocabulary's prompts.
        assert_eq!(finished.usage.prompt_tokens as usize, prompt.len());
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_runs() {
    let (engine, log) = start(1, Options::default());
    let handle = engine.handle();
    let with = |input: Input, max_tokens: Option<u32>| GenerateRequest {
        input,
        params: Params { max_tokens, ..Params::default() },
        ..request("")
    };
    let long = "x".repeat(600);
    let cases = [
        (with(Input::Text(String::new()), None), "the prompt is empty"),
        (with(Input::Text(long.clone()), None), "the prompt has 600 tokens, and the context holds 512"),
        (
            with(Input::Text("x".repeat(500)), Some(20)),
            "500 tokens and 20 more were asked for, and the context holds 512",
        ),
        (
            with(Input::Tokens(vec![1, 9999]), None),
            "token 9999 is outside the model's vocabulary of 260 tokens",
        ),
    ];
    for (request, expected) in cases {
        let error = handle.generate(request).await.err().expect("a refusal");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(log.record().batches.is_empty());
}

#[tokio::test]
async fn sequences_share_batches_and_say_what_they_say_alone() {
    let (engine, log) = start_slow(4, Duration::from_millis(1), Options::default());
    let handle = engine.handle();
    let prompts = ["hello", "long", "unicode", "secret", "hello", "long"];
    let mut alone = Vec::new();
    for prompt in prompts {
        alone.push(ask(&handle, request(prompt)).await.expect("an answer").0);
    }
    let together = futures::future::join_all(prompts.map(|prompt| ask(&handle, request(prompt)))).await;
    let together: Vec<String> = together.into_iter().map(|answer| answer.expect("an answer").0).collect();
    assert_eq!(together, alone);
    let shared = |batch: &minerva_engine::model::Batch| batch.slots.windows(2).any(|pair| pair[0] != pair[1]);
    assert!(log.record().batches.iter().any(shared), "no batch held two sequences");
    assert_eq!(handle.status().requests_finished, 12);
}

#[tokio::test]
async fn a_full_queue_says_so_and_loses_nobody() {
    let options = Options { queue_limit: 2, ..Options::default() };
    let (engine, _) = start_slow(1, Duration::from_millis(2), options);
    let handle = engine.handle();
    let running = handle.generate(request("long")).await.expect("admitted");
    soon("the first runs", || handle.status().running == 1).await;
    let waiting = [
        handle.generate(request("hello")).await.expect("queued"),
        handle.generate(request("unicode")).await.expect("queued"),
    ];
    let refused = handle.generate(request("hello")).await.err().expect("a full queue");
    assert!(matches!(refused, Error::Overloaded { waiting: 2, limit: 2, .. }), "{refused}");
    assert_eq!(read(running).await.expect("an answer").0, REPLIES[1].1);
    let [first, second] = waiting;
    assert_eq!(read(first).await.expect("an answer").0, " world");
    assert_eq!(read(second).await.expect("an answer").0, " né€😀!");
}

#[tokio::test]
async fn a_dropped_stream_frees_its_slot_and_its_place_in_the_queue() {
    let (engine, log) = start_slow(2, Duration::from_millis(1), Options::default());
    let handle = engine.handle();
    for round in 0..40 {
        let mut running = handle.generate(request("long")).await.expect("admitted");
        let queued: Vec<Generation> =
            futures::future::try_join_all((0..5).map(|_| handle.generate(request("long"))))
                .await
                .expect("queued");
        for _ in 0..round % 5 {
            running.next().await;
        }
        drop((running, queued));
    }
    becomes_idle(&handle, &log).await;
    assert_eq!(ask(&handle, request("hello")).await.expect("an answer").0, " world");
}

#[tokio::test]
async fn a_reader_that_stands_still_pauses_itself_and_is_cancelled_in_the_end() {
    let options = Options { token_buffer: 2, stall_limit: Duration::from_millis(200), ..Options::default() };
    let (engine, log) = start(2, options);
    let handle = engine.handle();
    let mut slow = handle.generate(request("long")).await.expect("admitted");
    soon("it is paused", || {
        let batches = log.record().batches.len();
        batches > 2 && handle.status().running == 1
    })
    .await;
    let paused_at = handle.status().tokens_generated;
    assert!(paused_at <= 4, "{paused_at} tokens for nobody");
    assert_eq!(ask(&handle, request("hello")).await.expect("an answer").0, " world");
    soon("it is cancelled", || handle.status().running == 0).await;
    let mut last = None;
    while let Some(event) = slow.next().await {
        last = Some(event);
    }
    assert!(matches!(last, Some(Err(Error::Stalled { .. }))), "{last:?}");
}

#[tokio::test]
async fn the_urgent_run_first() {
    let (engine, log) = start_slow(1, Duration::from_millis(1), Options::default());
    let handle = engine.handle();
    let running = handle.generate(request("long")).await.expect("admitted");
    soon("the first runs", || handle.status().running == 1).await;
    let mut waiting = Vec::new();
    for (prompt, priority) in [("a", 0), ("b", -1), ("c", 5), ("d", 0)] {
        let mut request = request(prompt);
        request.params.priority = priority;
        waiting.push(handle.generate(request).await.expect("queued"));
    }
    read(running).await.expect("an answer");
    futures::future::join_all(waiting.into_iter().map(read)).await;
    let is_prompt = |batch: &&minerva_engine::model::Batch| batch.positions == [0];
    let order: Vec<Token> =
        log.record().batches.iter().filter(is_prompt).map(|batch| batch.tokens[0]).collect();
    assert_eq!(order, b"cadb".map(Token::from));
}

#[tokio::test]
async fn who_is_late_is_told_and_nobody_else_notices() {
    let (engine, log) = start_slow(2, Duration::from_millis(5), Options::default());
    let handle = engine.handle();
    let endless = |change: fn(&mut Deadlines)| {
        let mut request = request(&"x".repeat(200));
        request.params.ignore_end = true;
        change(&mut request.params.deadlines);
        handle.generate(request)
    };
    let late = |answer: Result<(String, Finished), Error>| match answer {
        Err(error @ Error::Late { deadline, .. }) => (deadline, error.to_string()),
        other => panic!("{other:?}"),
    };
    const LIMIT: Option<Duration> = Some(Duration::from_millis(20));
    const PLENTY: Option<Duration> = Some(Duration::from_secs(600));

    let undisturbed =
        endless(|limits| *limits = Deadlines { queue: LIMIT, first_token: PLENTY, total: PLENTY });
    // It has more to say than a reader's channel takes, so that it keeps its slot until it is read.
    let undisturbed = undisturbed.await.expect("admitted");
    soon("the first runs", || handle.status().running == 1).await;
    // A chunk of 32 tokens takes 5 ms: the prompt takes longer than it may, and so does the answer.
    let (deadline, message) =
        late(read(endless(|limits| limits.first_token = LIMIT).await.expect("admitted")).await);
    assert_eq!(deadline, Deadline::FirstToken);
    assert!(message.contains("no token came within 20 ms"), "{message}");
    let (deadline, message) =
        late(read(endless(|limits| limits.total = LIMIT).await.expect("admitted")).await);
    assert_eq!(deadline, Deadline::Total);
    assert!(message.contains("not complete within 20 ms"), "{message}");
    // Both slots are busy for longer than the third may wait.
    let other = endless(|_| ()).await.expect("admitted");
    soon("both run", || handle.status().running == 2).await;
    let (deadline, message) = late(read(endless(|limits| limits.queue = LIMIT).await.expect("queued")).await);
    assert_eq!(deadline, Deadline::Queue);
    assert!(message.contains("no sequence was free for the request within 20 ms"), "{message}");
    drop(other);
    let (_, finished) = read(undisturbed).await.expect("an answer");
    assert_eq!(finished.reason, FinishReason::Length);
    assert_eq!(handle.status().requests_failed, 3);
    becomes_idle(&handle, &log).await;
}

#[tokio::test]
async fn a_failed_decode_ends_only_the_requests_in_it() {
    let (engine, log) = start(1, Options::default());
    let handle = engine.handle();
    log.fail_next(4);
    let error = ask(&handle, request("hello")).await.expect_err("the decode fails, and so do three tries");
    assert!(error.to_string().contains("the script says so"), "{error}");
    assert_eq!(log.record().slots_in_use, 0);
    assert_eq!(ask(&handle, request("hello")).await.expect("an answer").0, " world");
}

#[tokio::test]
async fn dropping_the_engine_refuses_new_requests_and_ends_those_in_flight() {
    let (engine, _) = start_slow(1, Duration::from_millis(1), Options::default());
    let handle = engine.handle();
    let running = handle.generate(request("long")).await.expect("admitted");
    let queued = handle.generate(request("hello")).await.expect("queued");
    let dropped = tokio::task::spawn_blocking(move || drop(engine));
    assert_eq!(read(running).await.expect("an answer").0, REPLIES[1].1);
    assert_eq!(read(queued).await.expect("an answer").0, " world");
    dropped.await.expect("the engine ends");
    let refused = handle.generate(request("hello")).await.err().expect("a refusal");
    assert!(matches!(refused, Error::ShuttingDown), "{refused}");
}

#[tokio::test]
async fn the_same_seed_says_the_same_and_another_something_else() {
    let (engine, _) = start(2, Options::default());
    let handle = engine.handle();
    let seeded = |seed| {
        let mut request = request("x");
        let params = Params {
            temperature: 5.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            max_tokens: Some(40),
            ..Params::default()
        };
        request.params = Params { seed, ignore_end: true, ..params };
        request
    };
    let (first, finished) = ask(&handle, seeded(Some(7))).await.expect("an answer");
    assert_eq!(finished.seed, 7);
    assert_eq!(ask(&handle, seeded(Some(7))).await.expect("an answer").0, first);
    assert_ne!(ask(&handle, seeded(Some(8))).await.expect("an answer").0, first);
    let (drawn, finished) = ask(&handle, seeded(None)).await.expect("an answer");
    assert_eq!(ask(&handle, seeded(Some(finished.seed))).await.expect("an answer").0, drawn);
}

#[tokio::test]
async fn log_probabilities_come_with_the_text_they_belong_to() {
    let (engine, _) = start(1, Options::default());
    let mut request = request("hello");
    request.params.logprobs = Some(2);
    let mut generation = engine.handle().generate(request).await.expect("admitted");
    let mut tokens = Vec::new();
    while let Some(event) = generation.next().await {
        if let Event::Text(text) = event.expect("an event") {
            for logprob in text.logprobs {
                assert_eq!(logprob.top.len(), 2);
                assert_eq!(logprob.top[0], (logprob.token, logprob.logprob));
                assert!(logprob.logprob <= 0.0 && logprob.logprob > -0.1, "{logprob:?}");
                tokens.push(logprob.token);
            }
        }
    }
    let expected: Vec<Token> = " world".bytes().map(Token::from).chain([257]).collect();
    assert_eq!(tokens, expected);
}

/// A sampler that takes the second best at the third step only.
fn contrarian() -> Arc<dyn SamplerPlugin> {
    Arc::new(ClosureSampler::new("contrarian", 2, |step, cut| {
        if step.history.len() - step.prompt_tokens == 2 { Choice::Token(cut.ids[1]) } else { Choice::Host }
    }))
}

#[tokio::test]
async fn samplers_choose_and_are_reported() {
    let (engine, _) = start(1, Options::default());
    let handle = engine.handle();
    let mut request = request("hello");
    request.samplers = vec![used(contrarian(), OnFault::Fail)];
    request.params.max_tokens = Some(3);
    let (said, finished) = ask(&handle, request).await.expect("an answer");
    assert!(said.starts_with(" w") && said != " wo", "{said}");
    assert_eq!(finished.plugins.len(), 1);
    assert_eq!(finished.plugins[0].name, "contrarian");
    assert_eq!(finished.plugins[0].fault, None);
    assert!(finished.plugins[0].calls >= 6, "{:?}", finished.plugins);
}

#[tokio::test]
async fn commands_bind_the_choice() {
    let (engine, _) = start(1, Options::default());
    let handle = engine.handle();
    let forcing: Arc<dyn SamplerPlugin> = Arc::new(ClosureSampler::new("forcing", 1, |step, _| {
        if step.history.len() == step.prompt_tokens {
            step.commands.force = " world".bytes().map(Token::from).collect();
        } else {
            step.commands.stop = Some(FinishReason::Plugin);
        }
        Choice::Host
    }));
    let mut forced = request("nothing is scripted for this");
    forced.samplers = vec![used(forcing, OnFault::Fail)];
    let (said, finished) = ask(&handle, forced).await.expect("an answer");
    assert_eq!((said.as_str(), finished.reason), (" world", FinishReason::Plugin));
    assert_eq!(finished.usage.completion_tokens, 6);

    let outside: Arc<dyn SamplerPlugin> =
        Arc::new(ClosureSampler::new("outside", 1, |_, _| Choice::Token(70_000)));
    let mut wild = request("hello");
    wild.samplers = vec![used(outside, OnFault::Fail)];
    let error = ask(&handle, wild).await.expect_err("no such token");
    assert!(error.to_string().contains("token 70000 is outside the vocabulary of 260"), "{error}");

    let nothing: Arc<dyn SamplerPlugin> =
        Arc::new(ClosureSampler::new("nothing", 8, |_, _| Choice::Only(Vec::new())));
    let mut banned = request("hello");
    banned.samplers = vec![used(nothing, OnFault::Fail)];
    let error = ask(&handle, banned).await.expect_err("nothing is left");
    assert!(error.to_string().contains("every token is banned"), "{error}");
}

#[tokio::test]
async fn a_slow_sampler_sits_out_and_the_others_go_on() {
    let options = Options { sampling_patience: Duration::from_millis(5), ..Options::default() };
    let (engine, _) = start(2, options);
    let handle = engine.handle();
    let slow: Arc<dyn SamplerPlugin> = Arc::new(ClosureSampler::new("slow", 1, |_, _| {
        std::thread::sleep(Duration::from_millis(200));
        Choice::Host
    }));
    let mut sleeping = request("hello");
    sleeping.samplers = vec![used(slow, OnFault::Fail)];
    let sleeping = handle.generate(sleeping).await.expect("admitted");
    let begun = Instant::now();
    assert_eq!(ask(&handle, request("long")).await.expect("an answer").0, REPLIES[1].1);
    let alone = begun.elapsed();
    // Seven tokens of the slow one take 1.4 s; in step with it, 67 would take 13.
    assert!(alone < Duration::from_millis(1_000), "67 tokens beside a slow sampler took {alone:?}");
    assert_eq!(read(sleeping).await.expect("an answer").0, " world");
}

#[tokio::test]
async fn a_sampler_that_panics_ends_its_own_request() {
    let (engine, _) = start(2, Options::default());
    let handle = engine.handle();
    let broken: Arc<dyn SamplerPlugin> =
        Arc::new(ClosureSampler::new("broken", 1, |_, _| panic!("this panic is part of the test")));
    let mut bad = request("hello");
    bad.samplers = vec![used(broken, OnFault::Fail)];
    let (bad, good) = tokio::join!(ask(&handle, bad), ask(&handle, request("long")));
    assert!(bad.expect_err("it panics").to_string().contains("panicked"));
    assert_eq!(good.expect("an answer").0, REPLIES[1].1);
    soon("both slots are free", || handle.status().running == 0).await;
}

/// A stream processor that does as its name says.
struct Processor {
    identity: Identity,
    opened: AtomicUsize,
}

struct Session {
    identity: Identity,
    seen: String,
}

fn processor(name: &str) -> Arc<dyn StreamPlugin> {
    Arc::new(Processor { identity: Identity::native(name, "1.2.3"), opened: AtomicUsize::new(0) })
}

impl StreamPlugin for Processor {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn args_schema(&self) -> &str {
        ""
    }

    fn open(&self, _: &SessionContext, _: &Value) -> Result<Box<dyn StreamProcessor>, PluginError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Session { identity: self.identity.clone(), seen: String::new() }))
    }
}

impl StreamProcessor for Session {
    fn push(&mut self, chunk: &Chunk) -> Result<Vec<Output>, PluginError> {
        self.seen.push_str(&chunk.text);
        Ok(match self.identity.name.as_str() {
            "upper" => vec![Output::Text(chunk.text.to_uppercase())],
            "hold" => Vec::new(),
            "think" => vec![Output::Reasoning(chunk.text.clone())],
            "stop-at-k" => match chunk.text.split_once(['k', 'K']) {
                Some((before, _)) => vec![Output::Text(before.into()), Output::Stop(FinishReason::Filter)],
                None => vec![Output::Text(chunk.text.clone())],
            },
            _ => return Err(PluginError::new(&self.identity, "push", Fault::Trap("unreachable".into()))),
        })
    }

    fn close(&mut self, reason: FinishReason) -> Result<Vec<Output>, PluginError> {
        Ok(match self.identity.name.as_str() {
            "hold" => {
                vec![Output::Text(std::mem::take(&mut self.seen)), Output::Meta(format!("\"{reason:?}\""))]
            }
            _ => Vec::new(),
        })
    }
}

#[tokio::test]
async fn stream_processors_make_a_pipe() {
    let (engine, _) = start(1, Options::default());
    let handle = engine.handle();
    let cases: [(&str, &[&str], &str, FinishReason); 7] = [
        ("hello", &["upper"], " WORLD", FinishReason::Stop),
        ("hello", &["hold"], " world<hold: \"Stop\">", FinishReason::Stop),
        ("hello", &["hold", "upper"], " WORLD<hold: \"Stop\">", FinishReason::Stop),
        ("hello", &["upper", "hold"], " WORLD<hold: \"Stop\">", FinishReason::Stop),
        ("secret", &["stop-at-k"], " the ", FinishReason::Filter),
        // What is held behind a processor that stops comes out.
        ("secret", &["stop-at-k", "hold"], " the <hold: \"Filter\">", FinishReason::Filter),
        // What is held before it is checked by it when it comes out.
        ("secret", &["hold", "stop-at-k"], " the ", FinishReason::Filter),
    ];
    for (prompt, names, expected, reason) in cases {
        let mut request = request(prompt);
        request.stream = names.iter().map(|name| used(processor(name), OnFault::Fail)).collect();
        let (said, finished) = ask(&handle, request).await.expect("an answer");
        assert_eq!((said.as_str(), finished.reason), (expected, reason), "{names:?}");
        assert_eq!(finished.plugins.len(), names.len());
    }
    soon("the slot is free", || handle.status().running == 0).await;
}

#[tokio::test]
async fn a_fault_does_what_its_policy_says() {
    let (engine, _) = start(1, Options::default());
    let handle = engine.handle();
    for (on_fault, expected) in
        [(OnFault::Skip, Ok(" WORLD")), (OnFault::Fallback, Ok(" WORLD")), (OnFault::Fail, Err(()))]
    {
        let mut request = request("hello");
        request.stream = vec![used(processor("faulty"), on_fault), used(processor("upper"), OnFault::Fail)];
        match (ask(&handle, request).await, expected) {
            (Ok((said, finished)), Ok(expected)) => {
                assert_eq!(said, expected);
                let fault = finished.plugins[0].fault.as_deref().expect("the fault is reported");
                assert_eq!(fault, "plugin 'faulty' 1.2.3, in push: trapped: unreachable");
            }
            (Err(error), Err(())) => assert!(matches!(error, Error::Plugin(_)), "{error}"),
            (answer, _) => panic!("{on_fault:?}: {answer:?}"),
        }
    }
    soon("the slot is free", || handle.status().running == 0).await;
}

/// What a client does with a stream.
#[derive(Clone, Debug)]
enum Reading {
    ToTheEnd,
    DropAfter(usize),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever comes and goes: who reads to the end reads its own text, and at the end all slots are free.
    #[test]
    fn nobody_reads_anothers_text_and_no_slot_leaks(
        clients in prop::collection::vec(
            (0..REPLIES.len(), prop_oneof![2 => Just(Reading::ToTheEnd), 1 => (0_usize..9).prop_map(Reading::DropAfter)]),
            1..40,
        ),
        slots in 1_u32..6,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (engine, log) = start(slots, Options::default());
            let handle = engine.handle();
            let clients = clients.iter().map(|(reply, reading)| {
                let handle = handle.clone();
                async move {
                    let (prompt, expected) = REPLIES[*reply];
                    let mut generation = handle.generate(request(prompt)).await.expect("admitted");
                    match reading {
                        Reading::ToTheEnd => {
                            let (said, _) = read(generation).await.expect("an answer");
                            assert_eq!(said, expected);
                        }
                        Reading::DropAfter(events) => {
                            for _ in 0..*events {
                                generation.next().await;
                            }
                        }
                    }
                }
            });
            futures::future::join_all(clients).await;
            becomes_idle(&handle, &log).await;
        });
    }
}
