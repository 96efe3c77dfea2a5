//! A model that embeds: many requests in one batch, fair among them, within limits.

use std::sync::Arc;
use std::time::Duration;

use minerva_engine::embedding::{Embedding, Norm, Text};
use minerva_engine::fake::{Fault, Log, ScriptedModel};
use minerva_engine::model::{self, Model, Pooling};
use minerva_engine::recovery::{Reload, State};
use minerva_engine::{Engine, Error, Options};

use super::request;

fn start(slots: u32, delay: Duration, options: Options) -> (Engine, Log) {
    let model = ScriptedModel::embedding(slots, Pooling::Mean).with_delay(delay);
    let log = model.log();
    (Engine::start(Box::new(model), options).expect("it starts"), log)
}

fn plain(text: &str) -> Text {
    Text::Plain(text.to_owned())
}

#[tokio::test]
async fn texts_are_embedded_in_their_order_and_share_batches() {
    let (engine, log) = start(4, Duration::ZERO, Options::default());
    let texts: Vec<Text> = (0..10).map(|at| Text::Tokens(vec![at; 10])).collect();
    let embedded = engine.handle().embed(texts).await.expect("embeddings");
    for (at, Embedding { row, tokens }) in embedded.iter().enumerate() {
        assert_eq!((row.as_slice(), *tokens), (&[10.0, at as f32, at as f32, 1.0][..], 10));
    }
    // Four at a time, as there are slots: and of 60 tokens, two, as a batch has 128.
    assert_eq!(log.record().batches.len(), 3);
    let long = (0..4).map(|_| Text::Tokens(vec![1; 60])).collect();
    engine.handle().embed(long).await.expect("embeddings");
    assert_eq!(log.record().batches.len(), 5);
    let status = engine.handle().status();
    assert_eq!((status.running, status.waiting, status.requests_finished), (0, 0, 2));
    assert_eq!(status.tokens_prefilled, 100 + 240);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_text_does_not_wait_for_the_thousand_of_another() {
    let (engine, log) = start(2, Duration::from_millis(2), Options::default());
    let handle = engine.handle();
    let crowd = handle.clone();
    let many = tokio::spawn(async move { crowd.embed((0..1000).map(|_| plain("many")).collect()).await });
    while log.record().batches.is_empty() {
        tokio::task::yield_now().await;
    }
    handle.embed(vec![plain("one")]).await.expect("an embedding");
    let batches = log.record().batches.len();
    assert!(batches < 400, "{batches} of 500 batches came first");
    assert_eq!(many.await.expect("it ends").expect("embeddings").len(), 1000);
}

#[tokio::test]
async fn what_cannot_be_embedded_is_refused_before_anything_runs() {
    let options = Options { embed_texts_max: 3, embed_tokens_max: 200, ..Options::default() };
    let (engine, log) = start(2, Duration::ZERO, options);
    let check = async |texts: Vec<Text>, words: &str| {
        let refused = engine.handle().embed(texts).await.expect_err("it is refused").to_string();
        assert!(refused.contains(words), "{words}: {refused}");
    };
    check(vec![], "0 texts").await;
    check(vec![plain("a"); 4], "4 texts, and a request has 1 to 3").await;
    check(vec![plain("a"), plain("")], "text 1 is empty").await;
    check(vec![Text::Tokens(vec![260])], "token 260 of text 0 is outside").await;
    check(
        vec![plain("a"), plain(&"b".repeat(129))],
        "text 1 is too large: it has 129 tokens, and the model takes up to 128",
    )
    .await;
    check(vec![plain(&"b".repeat(101)); 2], "have 202 tokens, and a request has up to 200").await;
    assert!(log.record().batches.is_empty());
    engine.handle().embed(vec![plain(&"b".repeat(100)); 2]).await.expect("just as much as there may be");

    let refused = engine.handle().generate(request("hello")).await.err().expect("it generates no text");
    assert!(matches!(refused, Error::Model(model::Error::Unsupported { .. })), "{refused}");
    let generator =
        Engine::start(Box::new(ScriptedModel::new(1, &[])), Options::default()).expect("it starts");
    let refused = generator.handle().embed(vec![plain("a")]).await.expect_err("it does not embed");
    assert!(matches!(refused, Error::Model(model::Error::Unsupported { .. })), "{refused}");
}

#[tokio::test]
async fn a_batch_that_fails_fails_its_requests_and_no_later_one() {
    let (engine, log) = start(2, Duration::ZERO, Options::default());
    log.fail_next(1);
    let failed = engine.handle().embed(vec![plain("a"); 3]).await.expect_err("it fails");
    assert!(matches!(failed, Error::Model(model::Error::Decode(_))), "{failed}");
    engine.handle().embed(vec![plain("a")]).await.expect("it works again");
    assert_eq!(engine.handle().status().requests_failed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_who_goes_away_leaves_room() {
    let options = Options { queue_limit: 1, ..Options::default() };
    let (engine, log) = start(1, Duration::from_millis(5), options);
    let spawn = |texts: usize| {
        let handle = engine.handle();
        tokio::spawn(async move { handle.embed(vec![plain("a"); texts]).await })
    };
    let running = spawn(1000);
    while log.record().batches.is_empty() {
        tokio::task::yield_now().await;
    }
    let waiting = spawn(1);
    while engine.handle().status().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let refused = engine.handle().embed(vec![plain("a")]).await.expect_err("there is no room");
    assert!(matches!(refused, Error::Overloaded { waiting: 1, limit: 1, .. }), "{refused}");
    running.abort();
    waiting.await.expect("it ends").expect("an embedding");
    assert_eq!(engine.handle().status().requests_cancelled, 1);
    assert!(log.record().batches.len() < 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_admitted_ends_and_nothing_is_admitted_behind_the_end() {
    let (engine, log) = start(1, Duration::from_millis(1), Options::default());
    let handle = engine.handle();
    let crowd = handle.clone();
    let running = tokio::spawn(async move { crowd.embed(vec![plain("a"); 20]).await });
    while log.record().batches.is_empty() {
        tokio::task::yield_now().await;
    }
    tokio::task::spawn_blocking(move || drop(engine)).await.expect("it ends");
    assert_eq!(running.await.expect("it ends").expect("embeddings").len(), 20);
    assert!(matches!(handle.embed(vec![plain("a")]).await, Err(Error::ShuttingDown)));
}

#[tokio::test]
async fn a_pair_is_a_query_and_a_document() {
    let mut model = ScriptedModel::embedding(1, Pooling::Rank);
    let log = model.log();
    model.info_mut().rerank_template = Some("<|im_start|>{query}?{document}!<|im_end|>".to_owned());
    let engine = Engine::start(Box::new(model), Options::default()).expect("it starts");
    let pair = Text::Pair { query: Arc::from("q{document}"), document: "{query}".to_owned() };
    engine.handle().embed(vec![pair]).await.expect("a score");
    let tokens = log.record().batches[0].tokens.clone();
    let inner: Vec<u8> =
        tokens[1..tokens.len() - 1].iter().map(|&token| u8::try_from(token).expect("a byte")).collect();
    assert_eq!((tokens[0], tokens[tokens.len() - 1]), (258, 259), "the template's marks are tokens");
    assert_eq!(String::from_utf8(inner).expect("text"), "q{document}?{query}!");
}

#[test]
fn rows_are_scaled_by_any_norm() {
    let scaled = |norm: Norm, row: &[f32]| {
        let mut row = row.to_vec();
        norm.scale(&mut row);
        row
    };
    assert_eq!(scaled(Norm::None, &[3.0, -4.0]), [3.0, -4.0]);
    assert_eq!(scaled(Norm::P(2), &[3.0, -4.0]), [0.6, -0.8]);
    assert_eq!(scaled(Norm::P(1), &[3.0, -1.0]), [0.75, -0.25]);
    assert_eq!(scaled(Norm::Largest, &[1.0, -2.0]), [16_380.0, -32_760.0]);
    assert_eq!(scaled(Norm::P(3), &[0.0, 0.0]), [0.0, 0.0]);
}

/// An engine whose model is loaded anew so often, and then cannot be.
fn reloadable(loads: usize, options: Options) -> (Engine, Log) {
    let model = ScriptedModel::embedding(2, Pooling::Mean);
    let log = model.log();
    let (again, mut left) = (log.clone(), loads);
    let reload: Reload = Box::new(move |_| {
        left = left.checked_sub(1).ok_or("the file is gone")?;
        Ok(Box::new(ScriptedModel::embedding(2, Pooling::Mean).with_log(again.clone())) as Box<dyn Model>)
    });
    (Engine::start_reloadable(Box::new(model), reload, options).expect("it starts"), log)
}

#[tokio::test]
async fn a_device_that_fails_is_loaded_anew_and_no_text_is_lost() {
    let (engine, log) = reloadable(9, Options::default());
    let handle = engine.handle();
    log.inject(&[Fault::Device, Fault::Panic]);
    let requests: Vec<_> = (0..3_u32)
        .map(|request| {
            let (handle, texts) = (handle.clone(), (0..5).map(move |at| Text::Tokens(vec![request, at])));
            tokio::spawn(async move { handle.embed(texts.collect()).await })
        })
        .collect();
    for (request, embedded) in requests.into_iter().enumerate() {
        let rows = embedded.await.expect("no panic").expect("embeddings");
        let expected: Vec<Vec<f32>> = (0..5).map(|at| vec![2.0, request as f32, at as f32, 1.0]).collect();
        assert_eq!(rows.into_iter().map(|embedding| embedding.row).collect::<Vec<_>>(), expected);
    }
    let status = handle.status();
    assert_eq!((status.model_reloads, status.state, status.requests_failed), (2, State::Healthy, 0));
}

#[tokio::test]
async fn a_device_that_is_lost_for_good_is_told_of_and_tried_again_later() {
    let (engine, log) = reloadable(3, Options { reload_pause: Duration::ZERO, ..Options::default() });
    let handle = engine.handle();
    log.inject(&[Fault::Device; 4]);
    let refused = handle.embed(vec![plain("a")]).await.expect_err("it is given up").to_string();
    assert!(refused.contains("the script took it away"), "{refused}");
    assert_eq!((handle.status().state, handle.status().model_reloads), (State::Failed, 3));
    let refused = handle.embed(vec![plain("a")]).await.expect_err("it is tried again").to_string();
    assert!(refused.contains("the file is gone"), "{refused}");
}
