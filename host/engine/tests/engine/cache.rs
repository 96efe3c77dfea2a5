//! Requests that share beginnings: what is decoded once serves many, and nobody can tell from what is said.

use std::time::Duration;

use futures::StreamExt;
use minerva_engine::builtin::closure::ClosureSampler;
use minerva_engine::fake::{Log, ScriptedModel};
use minerva_engine::model::{Layout, Token};
use minerva_engine::plugin::{Choice, OnFault};
use minerva_engine::request::{GenerateRequest, Input, Params};
use minerva_engine::{Engine, Error, Handle, Options};
use proptest::prelude::*;

use super::{Arc, ask, becomes_idle, read, used};

fn start(slots: u32, options: Options, change: impl FnOnce(&mut ScriptedModel)) -> (Engine, Log) {
    let mut model = ScriptedModel::new(slots, &[]);
    change(&mut model);
    let log = model.log();
    (Engine::start(Box::new(model), options).expect("the worker starts"), log)
}

/// So many tokens of a text of its own.
fn text(which: u32, length: u32) -> Vec<Token> {
    (0..length).map(|place| (place * (which * 2 + 7) + which) % 250).collect()
}

/// What is drawn depends on every token in front of it.
fn drawing(prompt: &[Token], tokens: u32, seed: u64) -> GenerateRequest {
    let mut request = GenerateRequest::new("test", Input::Tokens(prompt.to_vec()));
    request.params = Params {
        max_tokens: Some(tokens),
        seed: Some(seed),
        temperature: 5.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        ignore_end: true,
        ..Params::default()
    };
    request
}

/// What is said, and how much of the prompt was in the cache.
async fn draw(handle: &Handle, request: GenerateRequest) -> (String, u32) {
    let (said, finished) = ask(handle, request).await.expect("an answer");
    (said, finished.usage.cached_tokens)
}

/// What is said where nothing is shared with anybody.
async fn undisturbed(request: GenerateRequest) -> String {
    let (engine, _) = start(1, Options { prefix_cache: false, ..Options::default() }, |_| ());
    draw(&engine.handle(), request).await.0
}

#[tokio::test]
async fn a_shared_beginning_is_decoded_once() {
    let (engine, log) = start(2, Options::default(), |_| ());
    let handle = engine.handle();
    let first = text(1, 200);
    let other_end = [text(1, 180), text(2, 30)].concat();
    assert_eq!(draw(&handle, drawing(&first, 5, 1)).await.1, 0);
    let before = log.record().batches.len();
    let (said, cached) = draw(&handle, drawing(&other_end, 5, 2)).await;
    assert_eq!(cached, 180);
    let decoded: usize = log.record().batches[before..].iter().map(|batch| batch.len()).sum();
    assert_eq!(decoded, 30 + 4, "the rest of the prompt, and what was drawn but for the last");
    assert_eq!(said, undisturbed(drawing(&other_end, 5, 2)).await);
    // The very same prompt: its last token is decoded again, for what comes after it.
    let (again, cached) = draw(&handle, drawing(&other_end, 5, 2)).await;
    assert_eq!((again, cached), (said, 209));
    assert_eq!(handle.status().tokens_cached, 180 + 209);
    becomes_idle(&handle, &log).await;
}

#[tokio::test]
async fn a_conversation_goes_on_where_it_was() {
    let (engine, _) = start(2, Options::default(), |_| ());
    let handle = engine.handle();
    let mut prompt = text(3, 50);
    let mut generation = handle.generate(drawing(&prompt, 20, 1)).await.expect("admitted");
    // The answer's tokens are not text that can be tokenised again: they are taken from a twin with log-probabilities.
    while generation.next().await.is_some() {}
    let mut twin = drawing(&prompt, 20, 1);
    (twin.params.logprobs, twin.params.cache_prompt) = (Some(0), false);
    let mut generation = handle.generate(twin).await.expect("admitted");
    while let Some(event) = generation.next().await {
        if let minerva_engine::event::Event::Text(text) = event.expect("an event") {
            prompt.extend(text.logprobs.iter().map(|logprob| logprob.token));
        }
    }
    assert_eq!(prompt.len(), 70);
    prompt.extend(text(4, 10));
    // The last token of the answer was drawn and never decoded.
    assert_eq!(draw(&handle, drawing(&prompt, 5, 2)).await, (undisturbed(drawing(&prompt, 5, 2)).await, 69));
}

#[tokio::test]
async fn what_has_no_slot_any_more_comes_back_from_host_memory() {
    let (engine, log) = start(1, Options::default(), |_| ());
    let handle = engine.handle();
    let prompts = [text(1, 100), text(2, 100), text(3, 100)];
    for prompt in &prompts {
        assert_eq!(draw(&handle, drawing(prompt, 5, 1)).await.1, 0);
    }
    assert_eq!((handle.status().saved_sequences, handle.status().sequences_restored), (2, 0));
    for prompt in &prompts {
        assert_eq!(
            draw(&handle, drawing(prompt, 5, 1)).await,
            (undisturbed(drawing(prompt, 5, 1)).await, 99)
        );
    }
    assert!(handle.status().sequences_restored >= 2, "{:?}", handle.status());
    becomes_idle(&handle, &log).await;

    // Room for one: the older goes. Without room there is only what is in the slots.
    for (bytes, saved, evicted) in [(1_000, 1, 1), (0, 0, 0)] {
        let (engine, log) = start(1, Options { prefix_cache_bytes: bytes, ..Options::default() }, |_| ());
        let handle = engine.handle();
        for prompt in &prompts {
            draw(&handle, drawing(prompt, 5, 1)).await;
        }
        let status = handle.status();
        assert_eq!((status.saved_sequences, status.sequences_evicted), (saved, evicted), "{bytes} bytes");
        becomes_idle(&handle, &log).await;
    }
}

#[tokio::test]
async fn who_does_not_want_the_cache_neither_takes_nor_leaves() {
    let (engine, log) = start(2, Options::default(), |_| ());
    let handle = engine.handle();
    let prompt = text(1, 100);
    let private = || {
        let mut request = drawing(&prompt, 5, 1);
        request.params.cache_prompt = false;
        request
    };
    assert_eq!(draw(&handle, private()).await.1, 0);
    becomes_idle(&handle, &log).await;
    assert_eq!(log.record().tokens_held, 0);
    assert_eq!(draw(&handle, drawing(&prompt, 5, 1)).await.1, 0);
    assert_eq!(draw(&handle, private()).await.1, 0);
    assert_eq!(draw(&handle, drawing(&prompt, 5, 1)).await.1, 99, "what others left is still there");

    let (engine, log) = start(2, Options { prefix_cache: false, ..Options::default() }, |_| ());
    for _ in 0..2 {
        assert_eq!(draw(&engine.handle(), drawing(&prompt, 5, 1)).await.1, 0);
    }
    assert_eq!(log.record().tokens_held, 0);
}

#[tokio::test]
async fn models_that_cannot_forget_a_tail_are_only_extended() {
    let (engine, log) = start(2, Options::default(), |model| {
        model.info_mut().capabilities.partial_removal = false;
    });
    let handle = engine.handle();
    let prompt = text(1, 100);
    assert_eq!(draw(&handle, drawing(&prompt, 1, 1)).await.1, 0);
    assert_eq!(draw(&handle, drawing(&prompt, 1, 1)).await.1, 0, "the last token cannot be taken back");
    let longer = [prompt, text(2, 50)].concat();
    assert_eq!(draw(&handle, drawing(&longer, 5, 1)).await, (undisturbed(drawing(&longer, 5, 1)).await, 100));
    becomes_idle(&handle, &log).await;
}

#[tokio::test]
async fn in_one_pool_nothing_is_left_behind() {
    let (engine, log) = start(2, Options::default(), |model| {
        model.info_mut().capabilities.layout = Layout::Unified;
    });
    let handle = engine.handle();
    let prompt = text(1, 100);
    draw(&handle, drawing(&prompt, 5, 1)).await;
    becomes_idle(&handle, &log).await;
    assert_eq!((log.record().tokens_held, handle.status().saved_sequences), (0, 1));
    assert_eq!(draw(&handle, drawing(&prompt, 5, 1)).await, (undisturbed(drawing(&prompt, 5, 1)).await, 99));
}

#[tokio::test]
async fn several_answers_to_one_prompt_decode_it_once() {
    let prompt = text(1, 300);
    for slots in [1, 2, 8] {
        let (engine, log) = start(slots, Options::default(), |_| ());
        let handle = engine.handle();
        let generations = handle.generate_many(drawing(&prompt, 10, 40), 5).await.expect("admitted");
        assert_eq!(generations.len(), 5);
        let answers = futures::future::join_all(generations.into_iter().map(read)).await;
        for (seed, answer) in (40..).zip(answers) {
            let (said, finished) = answer.expect("an answer");
            assert_eq!(finished.seed, seed);
            assert_eq!(said, undisturbed(drawing(&prompt, 10, seed)).await, "{slots} slots, seed {seed}");
            assert_eq!(finished.usage.cached_tokens, if seed == 40 { 0 } else { 299 }, "{slots} slots");
        }
        assert_eq!(handle.status().tokens_prefilled, 300 + 4);
        becomes_idle(&handle, &log).await;
    }
}

#[tokio::test]
async fn several_answers_need_no_sampler_that_forks_and_no_first_answer() {
    let (engine, log) = start(3, Options::default(), |_| ());
    let handle = engine.handle();
    // A sampler that cannot be forked, as its descriptor says: a session is opened for each answer.
    let second_best = || ClosureSampler::new("second-best", 2, |_, cut| Choice::Token(cut.ids[1]));
    let mut request = drawing(&text(1, 100), 6, 1);
    request.samplers = vec![used(Arc::new(second_best()), OnFault::Fail)];
    let alone = undisturbed(request.clone()).await;
    let generations = handle.generate_many(request, 3).await.expect("admitted");
    for answer in futures::future::join_all(generations.into_iter().map(read)).await {
        assert_eq!(answer.expect("an answer").0, alone);
    }
    // The first one goes away before its prompt is decoded: the others do not wait for it.
    let mut generations = handle.generate_many(drawing(&text(2, 300), 6, 1), 3).await.expect("admitted");
    drop(generations.remove(0));
    for (seed, answer) in (2..).zip(futures::future::join_all(generations.into_iter().map(read)).await) {
        assert_eq!(answer.expect("an answer").0, undisturbed(drawing(&text(2, 300), 6, seed)).await);
    }
    // All are admitted or none.
    let (engine, full_log) = start(1, Options { queue_limit: 2, ..Options::default() }, |_| ());
    assert!(engine.handle().generate_many(drawing(&text(1, 10), 5, 1), 3).await.is_err());
    becomes_idle(&engine.handle(), &full_log).await;
    assert!(full_log.record().batches.is_empty());
    becomes_idle(&handle, &log).await;
}

#[tokio::test]
async fn a_gap_between_busy_slots_is_closed() {
    let model = ScriptedModel::new(4, &[]).with_delay(Duration::from_millis(1));
    let log = model.log();
    let engine = Engine::start(Box::new(model), Options::default()).expect("the worker starts");
    let handle = engine.handle();
    // Three side by side, of which the middle one ends long before the others.
    let requests =
        [(1, 200), (2, 30), (3, 200)].map(|(which, tokens)| drawing(&text(which, 40), tokens, which.into()));
    let mut generations = Vec::new();
    for request in &requests {
        generations.push(handle.generate(request.clone()).await.expect("admitted"));
    }
    for (answer, request) in
        futures::future::join_all(generations.into_iter().map(read)).await.into_iter().zip(requests)
    {
        assert_eq!(answer.expect("an answer").0, undisturbed(request).await);
    }
    let together = |batch: &minerva_engine::model::Batch| batch.slots == [0, 1] && batch.positions[0] > 150;
    assert!(log.record().batches.iter().any(together), "the last one never moved into the gap");
    becomes_idle(&handle, &log).await;
}

#[tokio::test]
async fn a_full_pool_aborts_nobody() {
    for (store_bytes, caches) in [(1 << 30, true), (0, true), (1 << 30, false)] {
        let options = Options { prefix_cache_bytes: store_bytes, ..Options::default() };
        // Slow enough that all are there before the first is through.
        let mut model = ScriptedModel::new(4, &[]).with_delay(Duration::from_millis(1));
        model.info_mut().capabilities.layout = Layout::Unified;
        let log = model.log();
        let engine = Engine::start(Box::new(model), options).expect("the worker starts");
        let handle = engine.handle();
        // Each fits into the pool of 512, and the prompts do together; what they grow to does not.
        let requests = [1, 2, 3, 4, 5].map(|which| {
            let mut request = drawing(&text(which, 60), 200, which.into());
            request.params.cache_prompt = caches;
            request
        });
        let answers = requests.iter().map(|request| ask(&handle, request.clone()));
        for (answer, request) in futures::future::join_all(answers).await.into_iter().zip(&requests) {
            let (said, finished) = answer.expect("an answer");
            assert_eq!(said, undisturbed(request.clone()).await);
            assert_eq!(finished.usage.completion_tokens, 200);
        }
        assert!(log.record().refusals > 0, "the pool was never full");
        becomes_idle(&handle, &log).await;
    }
}

/// What a client asks, and when it hangs up.
#[derive(Clone, Debug)]
struct Client {
    /// Which texts its prompt is made of, and how much of each.
    parts: [(u32, u32); 3],
    answers: usize,
    tokens: u32,
    caches: bool,
    hangs_up_after: Option<usize>,
    waits_ms: u64,
    priority: i8,
    total_ms: Option<u64>,
}

fn clients() -> impl Strategy<Value = Vec<Client>> {
    // Few texts, cut at few places: many share a beginning.
    let part = || (0_u32..2, prop_oneof![Just(0_u32), Just(40), Just(41), Just(90)]);
    // Now and then one says more than all together have room for.
    let tokens = prop_oneof![3 => 1_u32..12, 1 => 60_u32..120];
    let client = (
        [part(), part(), part()],
        prop_oneof![4 => Just(1_usize), 1 => 2_usize..4],
        (tokens, prop::bool::weighted(0.9)),
        prop::option::weighted(0.25, 0_usize..6),
        0_u64..12,
        (any::<i8>(), prop::option::weighted(0.15, 0_u64..20)),
    );
    let client =
        client.prop_map(|(parts, answers, (tokens, caches), hangs_up_after, waits_ms, urgency)| Client {
            parts,
            answers,
            tokens,
            caches,
            hangs_up_after,
            waits_ms,
            priority: urgency.0,
            total_ms: urgency.1,
        });
    prop::collection::vec(client, 1..24)
}

/// What the model and the engine are like.
#[derive(Clone, Debug)]
struct House {
    slots: u32,
    store_bytes: u64,
    unified: bool,
    partial_removal: bool,
    failures: bool,
}

fn houses() -> impl Strategy<Value = House> {
    let store_bytes = prop_oneof![Just(0_u64), Just(900), Just(1 << 30)];
    let bools = (any::<bool>(), prop::bool::weighted(0.8), prop::bool::weighted(0.2));
    (1_u32..5, store_bytes, bools).prop_map(|(slots, store_bytes, (unified, partial_removal, failures))| {
        House { slots, store_bytes, unified, partial_removal, failures }
    })
}

/// Clients of a house, all at once. Who reads to the end reads what it would have read alone, and in the end the model
/// holds what the cache knows of, and no more.
async fn serve(house: &House, clients: &[Client]) {
    let options = Options { prefix_cache_bytes: house.store_bytes, ..Options::default() };
    let (engine, log) = start(house.slots, options, |model| {
        let can = &mut model.info_mut().capabilities;
        can.partial_removal = house.partial_removal;
        can.layout = if house.unified { Layout::Unified } else { Layout::Streams };
    });
    if house.failures {
        log.fail_next(1);
    }
    let handle = engine.handle();
    let asking = (0..).zip(clients).map(|(seed, client)| {
        let handle = handle.clone();
        async move {
            let prompt = [vec![7], client.parts.map(|(which, length)| text(which, length)).concat()].concat();
            let mut request = drawing(&prompt, client.tokens, seed * 100);
            request.params.cache_prompt = client.caches;
            request.params.priority = client.priority;
            request.params.deadlines.total = client.total_ms.map(Duration::from_millis);
            tokio::time::sleep(Duration::from_millis(client.waits_ms)).await;
            let generations = handle.generate_many(request, client.answers).await.expect("admitted");
            let reading = (seed * 100..).zip(generations).map(|(seed, mut generation)| {
                let prompt = &prompt;
                async move {
                    if let Some(events) = client.hangs_up_after {
                        for _ in 0..events {
                            generation.next().await;
                        }
                        return;
                    }
                    match read(generation).await {
                        Ok((said, finished)) => {
                            assert!((finished.usage.cached_tokens as usize) < prompt.len());
                            assert_eq!(said, undisturbed(drawing(prompt, client.tokens, seed)).await);
                        }
                        Err(Error::Late { .. }) => assert!(client.total_ms.is_some()),
                        Err(error) => assert!(house.failures, "{error}"),
                    }
                }
            });
            futures::future::join_all(reading).await;
        }
    });
    futures::future::join_all(asking).await;
    becomes_idle(&handle, &log).await;
}

/// Arrivals, hang-ups, deadlines, priorities and forks, on every kind of model and store. Pools overflow here too where
/// the clients meet, which hangs on the clock; [`a_full_pool_aborts_nobody`] has one that certainly does.
#[test]
fn nobody_sees_anothers_tokens_and_no_cell_leaks() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(32));
    let checked = runner.run(&(houses(), clients()), |(house, clients)| {
        runtime.block_on(serve(&house, &clients));
        Ok(())
    });
    checked.expect("everybody reads their own");
}
