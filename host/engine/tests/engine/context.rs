//! What becomes of a sequence beyond its context, and outside of the engine.

use std::time::Duration;

use minerva_engine::fake::{Fault, Log, ScriptedModel};
use minerva_engine::model::{Error as ModelError, Layout, Position, Token};
use minerva_engine::recovery::Reload;
use minerva_engine::request::{ContextShift, GenerateRequest, Input, Params};
use minerva_engine::saved::Saved;
use minerva_engine::{Engine, Error, Handle, Options};

use super::{ask, becomes_idle};

const CONTEXT: u32 = 64;

fn small(layout: Layout) -> ScriptedModel {
    let mut model = ScriptedModel::new(2, &[]);
    let info = model.info_mut();
    (info.context, info.capabilities.layout) = (CONTEXT, layout);
    model
}

fn start(layout: Layout) -> (Engine, Log) {
    let model = small(layout);
    let log = model.log();
    (Engine::start(Box::new(model), Options::default()).expect("the worker starts"), log)
}

fn request(prompt: u32, tokens: Option<u32>, shift: ContextShift) -> GenerateRequest {
    let prompt: Vec<Token> = (0..prompt).map(|place| place % 200).collect();
    let mut request = GenerateRequest::new("test", Input::Tokens(prompt));
    request.params = Params {
        max_tokens: tokens,
        seed: Some(5),
        temperature: 5.0,
        top_k: 0,
        ignore_end: true,
        context_shift: Some(shift),
        ..Params::default()
    };
    request
}

/// Where the model has been told to go on after it was full.
fn returns(log: &Log) -> Vec<Position> {
    let positions: Vec<Position> =
        log.record().batches.iter().flat_map(|batch| batch.positions.clone()).collect();
    positions.windows(2).filter(|pair| pair[1] <= pair[0]).map(|pair| pair[1]).collect()
}

#[tokio::test]
async fn a_context_shifts_where_that_is_asked_for() {
    // Kept and forgotten at a time, and from where the sequence then goes on: 65 tokens have been chosen for 64 places.
    for (keep, discard, from) in [
        (None, 0, 64 - 22),
        (Some(0), 0, 64 - 32),
        (Some(8), 1, 63),
        (Some(1000), 0, 64 - 16),
        (Some(8), 1000, 8),
    ] {
        for layout in [Layout::Streams, Layout::Unified] {
            let (engine, log) = start(layout);
            let handle = engine.handle();
            let (_, finished) =
                ask(&handle, request(20, Some(300), ContextShift { keep, discard })).await.unwrap();
            assert_eq!(finished.usage.completion_tokens, 300);
            let returns = returns(&log);
            assert!(returns.iter().all(|&position| position == from), "{keep:?} {discard}: {returns:?}");
            let each = CONTEXT - from;
            assert_eq!(finished.usage.discarded_tokens, returns.len() as u32 * each);
            assert!(320 - finished.usage.discarded_tokens <= CONTEXT + 1, "{finished:?}");
            // It is no beginning that another request could have.
            becomes_idle(&handle, &log).await;
            assert_eq!(log.record().tokens_held, 0);
        }
    }
}

#[tokio::test]
async fn where_it_is_not_asked_for_or_cannot_be_nothing_is_forgotten() {
    let (engine, log) = start(Layout::Streams);
    let mut plain = request(20, None, ContextShift::default());
    plain.params.context_shift = None;
    let (_, finished) = ask(&engine.handle(), plain).await.unwrap();
    assert_eq!((finished.usage.completion_tokens, finished.usage.discarded_tokens), (44, 0));
    assert!(returns(&log).is_empty());
    // Without a limit of its own, as many as the context holds.
    let (_, finished) = ask(&engine.handle(), request(20, None, ContextShift::default())).await.unwrap();
    assert_eq!(finished.usage.completion_tokens, CONTEXT);
    let long = ask(&engine.handle(), request(CONTEXT, None, ContextShift::default())).await;
    assert!(matches!(long, Err(Error::ContextExceeded { prompt: CONTEXT, .. })), "{long:?}");

    let mut model = small(Layout::Streams);
    model.info_mut().capabilities.shift = false;
    let engine = Engine::start(Box::new(model), Options::default()).unwrap();
    let refused = ask(&engine.handle(), request(20, Some(300), ContextShift::default())).await;
    assert!(matches!(refused, Err(Error::Invalid { param, .. }) if param == "context_shift"));
}

#[tokio::test]
async fn a_shifted_sequence_survives_the_loss_of_its_device() {
    let (model, log) = (small(Layout::Streams), Log::default());
    let (model, again) = (model.with_log(log.clone()), log.clone());
    let reload: Reload = Box::new(move |_| Ok(Box::new(small(Layout::Streams).with_log(again.clone())) as _));
    let engine = Engine::start_reloadable(Box::new(model), reload, Options::default()).unwrap();
    let handle = engine.handle();
    let running = tokio::spawn({
        let handle = handle.clone();
        async move { ask(&handle, request(20, Some(400), ContextShift::default())).await }
    });
    while handle.status().tokens_generated < 150 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    log.inject(&[Fault::Device]);
    let (_, finished) = running.await.unwrap().expect("it goes on");
    assert_eq!(finished.usage.completion_tokens, 400);
    assert_eq!(handle.status().model_reloads, 1);
}

async fn cached(handle: &Handle, prompt: &[Token]) -> u32 {
    let mut request = GenerateRequest::new("test", Input::Tokens(prompt.to_vec()));
    request.params = Params { max_tokens: Some(1), ..Params::default() };
    ask(handle, request).await.expect("an answer").1.usage.cached_tokens
}

#[tokio::test]
async fn a_slot_is_saved_restored_elsewhere_and_erased() {
    let prompt: Vec<Token> = (0..40).collect();
    let (engine, log) = start(Layout::Streams);
    let handle = engine.handle();
    assert_eq!(cached(&handle, &prompt).await, 0);
    becomes_idle(&handle, &log).await;
    let slot = handle.slots().iter().position(|slot| slot.tokens_held > 0).expect("it is kept");
    let saved = handle.save_slot(slot).await.expect("it can be saved");
    assert_eq!(saved.tokens(), prompt);
    let mut bytes = Vec::new();
    saved.write(&mut bytes).unwrap();
    assert_eq!(handle.erase_slot(slot).await.unwrap(), 40);
    assert_eq!(cached(&handle, &prompt).await, 0);

    for layout in [Layout::Streams, Layout::Unified] {
        let (engine, log) = start(layout);
        let handle = engine.handle();
        handle.restore_slot(1, Saved::read(&*bytes, 1 << 20).unwrap()).await.expect("it can be restored");
        assert_eq!(cached(&handle, &prompt).await, 39, "{layout:?}");
        becomes_idle(&handle, &log).await;
    }
}

#[tokio::test]
async fn what_cannot_be_saved_or_restored_is_told() {
    let (engine, _) = start(Layout::Streams);
    let handle = engine.handle();
    let invalid = |result: Result<Saved, Error>| match result {
        Err(Error::Invalid { message, .. }) => message,
        other => panic!("{:?}", other.map(|saved| saved.bytes())),
    };
    assert_eq!(invalid(handle.save_slot(0).await), "slot 0 holds nothing that could be saved");
    assert_eq!(invalid(handle.save_slot(2).await), "there is no slot 2; there are 2, from 0");

    // Of a larger model.
    let other = Engine::start(Box::new(ScriptedModel::new(1, &[])), Options::default()).unwrap();
    cached(&other.handle(), &(0..100).collect::<Vec<_>>()).await;
    let large = loop {
        match other.handle().save_slot(0).await {
            Err(Error::SlotBusy { slot: 0 }) => {}
            saved => break saved.unwrap(),
        }
    };
    let refused = handle.restore_slot(0, large).await;
    assert!(matches!(refused, Err(Error::Model(ModelError::State(_)))), "{refused:?}");
    assert_eq!(cached(&handle, &(0..40).collect::<Vec<_>>()).await, 0);

    let busy = {
        let slow = ScriptedModel::new(1, &[]).with_delay(Duration::from_millis(5));
        let engine = Engine::start(Box::new(slow), Options::default()).unwrap();
        let handle = engine.handle();
        let mut long = request(20, Some(400), ContextShift::default());
        long.params.context_shift = None;
        let generation = handle.generate(long).await.unwrap();
        while handle.status().tokens_generated == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let busy = handle.erase_slot(0).await;
        drop(generation);
        busy
    };
    assert!(matches!(busy, Err(Error::SlotBusy { slot: 0 })), "{busy:?}");
}
