//! What follows when the model fails, mid-prefill and mid-decode, with others in flight.

use std::collections::VecDeque;
use std::sync::Mutex;

use minerva_engine::fake::Fault;
use minerva_engine::model::{self, Model};
use minerva_engine::recovery::{Reload, State};

use super::*;

const SAYS: &[(&str, &str)] = &[
    ("hello", " world"),
    ("long", " one two three four five six seven eight nine ten eleven twelve"),
    ("cursed", " all is well until Z comes"),
];

/// An engine whose model is loaded anew so often, and then cannot be.
fn reloadable(slots: u32, loads: usize, options: Options) -> (Engine, Log) {
    let model = ScriptedModel::new(slots, SAYS).with_delay(Duration::from_millis(1));
    let log = model.log();
    let (again, mut left) = (log.clone(), loads);
    let reload: Reload = Box::new(move |_| {
        left = left.checked_sub(1).ok_or("the file is gone")?;
        let model = ScriptedModel::new(slots, SAYS).with_delay(Duration::from_millis(1));
        Ok(Box::new(model.with_log(again.clone())) as Box<dyn Model>)
    });
    (Engine::start_reloadable(Box::new(model), reload, options).expect("the worker starts"), log)
}

fn plain(slots: u32) -> (Engine, Log) {
    let model = ScriptedModel::new(slots, SAYS).with_delay(Duration::from_millis(1));
    let log = model.log();
    (Engine::start(Box::new(model), Options::default()).expect("the worker starts"), log)
}

fn long_prompt() -> String {
    format!("{} long", "a prompt of several chunks ".repeat(10))
}

/// Asks all at the same time, and injects faults when so many batches were decoded.
async fn ask_all(
    handle: &Handle,
    log: &Log,
    prompts: &[&str],
    after: usize,
    faults: &[Fault],
) -> Vec<Result<String, Error>> {
    let tasks: Vec<_> = prompts
        .iter()
        .map(|prompt| {
            let (handle, request) = (handle.clone(), request(prompt));
            tokio::spawn(async move { ask(&handle, request).await.map(|(said, _)| said) })
        })
        .collect();
    soon("enough was decoded", || log.record().batches.len() >= after).await;
    log.inject(faults);
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("no task panics"));
    }
    answers
}

fn said(prompt: &str) -> &'static str {
    SAYS.iter().find(|(key, _)| prompt.ends_with(key)).map_or("", |(_, reply)| reply)
}

#[tokio::test]
async fn whatever_fails_once_is_made_good_and_no_answer_differs() {
    use Fault::{Decode, Device, Panic};
    let long = long_prompt();
    // Begun in the prompt's chunks, and while tokens come; more requests than slots, so that some wait.
    let prompts = [long.as_str(), "long", "hello", "a long", "well hello", long.as_str()];
    for after in [1, 2, 3, 8, 20] {
        for faults in [
            &[Decode][..],
            &[Device],
            &[Panic],
            &[Decode, Decode],
            &[Device, Device],
            &[Decode, Panic, Decode],
        ] {
            let (engine, log) = reloadable(3, 9, Options::default());
            let handle = engine.handle();
            let answers = ask_all(&handle, &log, &prompts, after, faults).await;
            for (prompt, answer) in prompts.iter().zip(&answers) {
                let answer =
                    answer.as_deref().unwrap_or_else(|error| panic!("{after} {faults:?} {prompt}: {error}"));
                assert_eq!(answer, said(prompt), "{after} {faults:?}");
            }
            becomes_idle(&handle, &log).await;
            let status = handle.status();
            let counted = status.decode_retries + status.model_reloads;
            // The last ones may come when all is said.
            assert!(counted > 0 || !log.record().faults.is_empty(), "{after} {faults:?}: {status:?}");
        }
    }
}

#[tokio::test]
async fn a_request_that_always_fails_fails_alone() {
    // In the prompt, or in what the model says to it.
    for (guilty, begins) in [("Z cursed", ""), ("cursed", " all is well until Z")] {
        let (engine, log) = plain(4);
        log.poison(Token::from(b'Z'));
        let handle = engine.handle();
        let neighbours = ask_all(&handle, &log, &["long", "hello", "a long"], 0, &[]);
        let (mut begun, guilty) =
            (String::new(), handle.generate(request(guilty)).await.expect("it is taken"));
        let ends = async {
            let mut generation = guilty;
            loop {
                match generation.next().await.expect("it says how it ends") {
                    Ok(Event::Text(text)) => begun.push_str(&text.text),
                    Ok(other) => panic!("{other:?}"),
                    Err(error) => break error,
                }
            }
        };
        let (neighbours, error) = tokio::join!(neighbours, ends);
        assert!(matches!(&error, Error::Model(model::Error::Decode(_))), "{error}");
        assert_eq!(begun, begins);
        let neighbours: Vec<String> =
            neighbours.into_iter().map(|answer| answer.expect("an answer")).collect();
        assert_eq!(neighbours, [said("long"), said("hello"), said("long")]);
        let status = handle.status();
        // Each was part of the first failure, at most; the guilty one was tried three times more.
        assert!((3..=6).contains(&status.decode_retries), "{status:?}");
        assert_eq!(status.requests_failed, 1);
        soon("it is healthy again", || handle.status().state == State::Healthy).await;
        assert_eq!(ask(&handle, request("hello")).await.expect("an answer").0, " world");
    }
}

#[tokio::test]
async fn what_was_cached_is_gone_before_the_second_try() {
    let (engine, log) = plain(2);
    let handle = engine.handle();
    let long = long_prompt();
    let cached = |handle: &Handle| handle.status().tokens_cached;
    ask(&handle, request(&long)).await.expect("an answer");
    log.inject(&[Fault::Decode]);
    ask(&handle, request("hello")).await.expect("an answer");
    let before = cached(&handle);
    ask(&handle, request(&long)).await.expect("an answer");
    assert_eq!(cached(&handle), before, "nothing of the first answer is left");
    ask(&handle, request(&long)).await.expect("an answer");
    assert!(cached(&handle) > before, "it is cached again");
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_anew_is_given_up_with_its_reason_and_tried_again() {
    let options = Options { reload_pause: Duration::from_secs(3600), ..Options::default() };
    let (engine, log) = reloadable(2, 0, options);
    let handle = engine.handle();
    let answers =
        ask_all(&handle, &log, &["long", "a long", "hello", "well hello"], 3, &[Fault::Device]).await;
    let is_told = |error: &Error| {
        let text = error.to_string();
        text.contains("the script took it away") && text.contains("the file is gone")
    };
    let failed: Vec<&Error> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(!failed.is_empty() && failed.into_iter().all(is_told), "{answers:?}");
    assert_eq!(handle.status().state, State::Failed);
    let error = ask(&handle, request("hello")).await.expect_err("there is no model");
    assert!(is_told(&error), "{error}");
    soon("nobody is left waiting", || handle.status().running + handle.status().waiting == 0).await;

    // The file is there again when the next request comes.
    let model = ScriptedModel::new(2, SAYS);
    let log = model.log();
    let again = log.clone();
    let tries: Mutex<VecDeque<bool>> = Mutex::new([false, false, false, true].into());
    let reload: Reload = Box::new(move |_| {
        let works = tries.lock().expect("no panic").pop_front().unwrap_or(true);
        let model = ScriptedModel::new(2, SAYS).with_log(again.clone());
        if works { Ok(Box::new(model) as Box<dyn Model>) } else { Err("the file is gone".into()) }
    });
    let options = Options { reload_pause: Duration::ZERO, ..Options::default() };
    let engine = Engine::start_reloadable(Box::new(model), reload, options).expect("the worker starts");
    let handle = engine.handle();
    log.inject(&[Fault::Device]);
    let error = ask(&handle, request("hello")).await.expect_err("it is gone");
    assert!(is_told(&error), "{error}");
    // Who comes while the others are still being told is told the same.
    let answer = loop {
        match ask(&handle, request("hello")).await {
            Ok(answer) => break answer.0,
            Err(error) => assert!(is_told(&error), "{error}"),
        }
    };
    assert_eq!(answer, " world");
    assert_eq!((handle.status().state, handle.status().model_reloads), (State::Healthy, 1));
}

#[tokio::test]
async fn a_model_of_another_shape_does_not_take_its_place() {
    let model = ScriptedModel::new(2, SAYS);
    let log = model.log();
    let reload: Reload = Box::new(|_| Ok(Box::new(ScriptedModel::new(3, SAYS)) as Box<dyn Model>));
    let engine = Engine::start_reloadable(Box::new(model), reload, Options::default()).expect("it starts");
    log.inject(&[Fault::Device]);
    let error = ask(&engine.handle(), request("hello")).await.expect_err("it cannot go on");
    assert!(error.to_string().contains("slots"), "{error}");
}

#[tokio::test]
async fn without_a_way_to_load_it_anew_a_device_is_tried_again_and_then_only_the_request_fails() {
    let (engine, log) = plain(1);
    let handle = engine.handle();
    log.inject(&[Fault::Device, Fault::Panic]);
    assert_eq!(ask(&handle, request("hello")).await.expect("an answer").0, " world");
    log.inject(&[Fault::Device; 4]);
    let error = ask(&handle, request("hello")).await.expect_err("four times is too often");
    assert!(matches!(error, Error::Model(model::Error::Device(_))), "{error}");
    assert_eq!(ask(&handle, request("hello")).await.expect("an answer").0, " world");
    assert_eq!(handle.status().state, State::Healthy);
}

#[tokio::test]
async fn a_sampler_that_is_choosing_while_the_model_is_loaded_anew_loses_nothing() {
    let options = Options { sampling_patience: Duration::from_millis(1), ..Options::default() };
    for after in [2, 5, 9] {
        let (engine, log) = reloadable(2, 9, options.clone());
        let handle = engine.handle();
        let slow = ClosureSampler::new("slow", 1, |_, _| {
            std::thread::sleep(Duration::from_millis(15));
            Choice::Host
        });
        let mut plugged = request("long");
        plugged.samplers = vec![used(Arc::new(slow), OnFault::Fail)];
        let other = ask_all(&handle, &log, &["a long"], after, &[Fault::Device]);
        let (plugged, other) = tokio::join!(ask(&handle, plugged), other);
        assert_eq!(plugged.expect("an answer").0, said("long"), "{after}");
        assert_eq!(other[0].as_deref().expect("an answer"), said("long"), "{after}");
        assert_eq!(handle.status().model_reloads, 1);
    }
}

#[tokio::test]
async fn who_leaves_while_it_is_tried_again_is_not_waited_for() {
    let (engine, log) = plain(1);
    let handle = engine.handle();
    log.poison(Token::from(b'Z'));
    let guilty = handle.generate(request("Z")).await.expect("it is taken");
    soon("it is tried again", || handle.status().state == State::Retrying).await;
    drop(guilty);
    assert_eq!(ask(&handle, request("hello")).await.expect("an answer").0, " world");
    soon("it is healthy again", || handle.status().state == State::Healthy).await;
}
