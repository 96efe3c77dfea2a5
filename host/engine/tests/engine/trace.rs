//! What an observer is told of requests, however they end.

use std::sync::Mutex;

use minerva_engine::plugin::{Plugin, Plugins};
use minerva_engine::trace::{Observer, Part, What};

use super::*;

/// Notes what is told: `answer: what it was`.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Observer for Notes {
    fn saw(&self, part: Part) {
        assert!(part.began <= part.ended, "{part:?}");
        let what = match part.what {
            What::Queue => "queue".to_owned(),
            What::Prefill { prompt_tokens, cached_tokens } => {
                format!("prefill {prompt_tokens}, {cached_tokens}")
            }
            What::Decode { tokens } => format!("decode {tokens}"),
            What::Plugin(work) => {
                let calls: Vec<String> =
                    work.calls.iter().map(|(name, count, _)| format!("{name} {count}")).collect();
                format!("{} {}", work.identity.name, calls.join(", "))
            }
        };
        self.0.lock().unwrap().push(format!("{}: {what}", part.answer));
    }
}

impl Notes {
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn watched(prompt: &str) -> (GenerateRequest, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let observer: Arc<dyn Observer> = Arc::clone(&notes) as _;
    (GenerateRequest { observer: Some(observer), ..request(prompt) }, notes)
}

/// What was told once nothing more will be: the engine lets go of the observer in the end.
async fn told(notes: &Arc<Notes>) -> Vec<String> {
    soon("nobody watches any more", || Arc::strong_count(notes) == 1).await;
    notes.taken()
}

#[tokio::test]
async fn each_stage_is_told_once_and_those_of_every_answer() {
    let (engine, _) = start(2, Options::default());
    let handle = engine.handle();
    let (request, notes) = watched("hello");
    assert_eq!(ask(&handle, request).await.expect("an answer").0, " world");
    assert_eq!(told(&notes).await, ["0: queue", "0: prefill 5, 0", "0: decode 7"]);

    let (request, notes) = watched("unicode");
    for answer in handle.generate_many(request, 2).await.expect("admitted") {
        read(answer).await.expect("an answer");
    }
    let mut told = told(&notes).await;
    told.sort();
    let expected =
        ["0: decode 13", "0: prefill 7, 0", "0: queue", "1: decode 13", "1: prefill 7, 0", "1: queue"];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_had_begun_is_told_of_those_that_do_not_finish() {
    let (engine, log) = start_slow(1, Duration::from_millis(1), Options::default());
    let handle = engine.handle();
    let (running, of_running) = watched("long");
    let mut running = handle.generate(running).await.expect("admitted");
    running.next().await.expect("an event").expect("a text");
    let (waiting, of_waiting) = watched("hello");
    let waiting = handle.generate(waiting).await.expect("queued");
    drop(waiting);
    assert_eq!(told(&of_waiting).await, ["0: queue"]);
    drop(running);
    let told_of_running = told(&of_running).await;
    assert_eq!(told_of_running[..2], ["0: queue", "0: prefill 4, 0"]);
    assert!(told_of_running[2].starts_with("0: decode "), "{told_of_running:?}");
    becomes_idle(&handle, &log).await;

    // One that is refused has had no stage.
    let (mut empty, notes) = watched("");
    empty.input = Input::Tokens(Vec::new());
    assert!(handle.generate(empty).await.is_err());
    assert_eq!(told(&notes).await, [""; 0]);
}

#[tokio::test]
async fn a_plugin_is_told_of_with_its_calls_and_its_fault() {
    let (engine, _) = start(1, Options::default());
    let handle = engine.handle();
    let plugins = Plugins::default();
    plugins.insert(Plugin::of_sampler(contrarian()));
    let sampler = plugins.get("contrarian").and_then(|plugin| plugin.sampler.clone()).expect("it is there");
    let (mut request, notes) = watched("hello");
    request.params.max_tokens = Some(3);
    request.samplers = vec![used(sampler, OnFault::Fail)];
    ask(&handle, request).await.expect("an answer");
    let told = told(&notes).await;
    // It takes the prompt in before its first token, and is not told of the last.
    let of_plugin = told.iter().find(|part| part.contains("contrarian")).expect("it worked");
    assert_eq!(of_plugin, "0: contrarian open 1, advance 3, pick 3, close 1", "{told:?}");
}
