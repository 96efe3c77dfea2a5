//! A model in a process of its own, which is killed in all ways: the real program, and the library.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::StreamExt;
use minerva::engine::recovery::State;
use minerva::isolate::Isolation;
use minerva::{Event, GenerateRequest, Input, Isolate, Minerva, Model, Params};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, QUESTIONS, Server, asking, root};

/// The processes of a program's models, by number.
fn models_of(program: u32) -> Vec<u32> {
    let mut found: Vec<u32> = std::fs::read_dir("/proc")
        .expect("Linux")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&process| {
            // One that is between fork and exec is no model's yet.
            let command = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            stat(process).is_some_and(|fields| fields[1] == program.to_string() && fields[0] != "Z")
                && command.split(|&byte| byte == 0).nth(1) == Some(minerva::isolate::COMMAND.as_bytes())
        })
        .collect();
    found.sort_unstable();
    found
}

/// What the kernel says of a process, from its state on; the parent is the second.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

/// The one model's process of a program.
async fn only_model_of(program: u32) -> u32 {
    let mut found = models_of(program);
    soon("there is one model's process", async || {
        found = models_of(program);
        found.len() == 1
    })
    .await;
    found[0]
}

/// Whether a process is no more, or only waits for its parent to hear of it.
fn is_gone(process: u32) -> bool {
    stat(process).is_none_or(|fields| fields[0] == "Z")
}

/// Ticks of the processor that it has used.
fn ticks(process: u32) -> u64 {
    let fields = stat(process).expect("it lives");
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

fn signal(process: u32, name: &str) {
    // One that has just ended is as good as hit.
    let _ = Command::new("kill").args([name, &process.to_string()]).status().expect("kill");
}

async fn soon(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "it never came to it: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn serve(more: &[&str]) -> Server {
    Server::start_with(&[&["serve", "--port", "0", "-np", "2", "-c", "2048"], more].concat())
}

/// What clients ask beside each other: more than there are sequences, one of them with a long prompt.
fn requests() -> Vec<Value> {
    let long = "The fox ran over the hill and looked for the lamp. ".repeat(12);
    let asked = QUESTIONS[..4].iter().map(|question| (*question).to_owned()).chain([long]);
    let request = |question: String| {
        let mut request = asking(&question);
        request["temperature"] = json!(0);
        request["max_tokens"] = json!(200);
        request["ignore_eos"] = json!(true);
        request
    };
    asked.map(request).collect()
}

async fn answers(server: &Server) -> Vec<String> {
    futures::future::join_all(requests().iter().map(|request| server.chat(request))).await
}

async fn meta(server: &Server) -> Value {
    server.get("/v1/models").await.1["data"][0]["meta"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_models_process_that_is_killed_is_started_anew_and_no_answer_differs() {
    let undisturbed = answers(&serve(&["--isolate=off"])).await;
    let server = serve(&["--isolate"]);
    assert_eq!(answers(&server).await, undisturbed, "the process makes no difference");
    let device = meta(&server).await["device"].clone();
    assert!(device.as_str().is_some_and(|device| device.contains("a process of its own")), "{device}");
    let mut reloads = 0;
    for fatal in ["-KILL", "-ABRT"] {
        for tokens in [0, 20, 150] {
            let process = only_model_of(server.id()).await;
            let begun = server.gauge("minerva_generation_tokens_total").await;
            let kill = async {
                if tokens > 0 {
                    soon("tokens come", async || {
                        server.gauge("minerva_generation_tokens_total").await >= begun + tokens
                    })
                    .await;
                    signal(process, "-STOP");
                }
                // Nothing comes of it any more, whatever it is at: with no token yet, at the first prompts. One
                // that is on its way into a slot counts neither as waiting nor as running.
                let least = if tokens == 0 { 4 } else { 1 };
                soon("requests are there", async || {
                    let (running, waiting) = server.load().await;
                    running + waiting >= least
                })
                .await;
                signal(process, fatal);
                signal(process, "-CONT");
            };
            if tokens == 0 {
                signal(process, "-STOP");
            }
            let (disturbed, ()) = tokio::join!(answers(&server), kill);
            assert_eq!(disturbed, undisturbed, "after {fatal} at {tokens} tokens");
            reloads += 1;
            let meta = meta(&server).await;
            assert_eq!((&meta["state"], &meta["model_reloads"]), (&json!("healthy"), &json!(reloads)));
            assert_ne!(only_model_of(server.id()).await, process);
        }
    }
    assert_eq!(server.gauge("minerva_model_reloads_total").await, reloads);
    // Between requests: the next one finds it gone.
    signal(only_model_of(server.id()).await, "-KILL");
    assert_eq!(answers(&server).await, undisturbed);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_again_and_again_is_given_up_with_its_reason_and_tried_later() {
    let server = serve(&["--isolate=on"]);
    let request = &requests()[0];
    let expected = server.chat(request).await;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let program = server.id();
    let killer = std::thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            models_of(program).into_iter().for_each(|process| signal(process, "-KILL"));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    // Where the killer is not given the processor in time, an answer gets through.
    let mut refused = json!(null);
    soon("it is given up", async || {
        let (status, answer) = server.post("/v1/chat/completions", request).await;
        assert!(status == 503 || answer["choices"][0]["message"]["content"] == json!(expected), "{answer}");
        refused = answer;
        status == 503
    })
    .await;
    let said = refused["error"]["message"].as_str().expect("a message");
    assert!(said.contains("the process that runs the model failed"), "{refused}");
    assert_eq!(meta(&server).await["state"], "failed");
    stop.send(()).expect("it kills");
    killer.join().expect("no panic");
    let mut answer = (0, json!(null));
    soon("it is tried again", async || {
        answer = server.post("/v1/chat/completions", request).await;
        answer.0 == 200
    })
    .await;
    assert_eq!(answer.1["choices"][0]["message"]["content"], json!(expected));
    assert_eq!(meta(&server).await["state"], "healthy");
    assert_eq!(server.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_is_killed_and_started_anew() {
    let server = serve(&["--isolate", "--isolate-timeout", "10"]);
    let undisturbed = answers(&server).await;
    let process = only_model_of(server.id()).await;
    signal(process, "-STOP");
    assert_eq!(answers(&server).await, undisturbed);
    assert!(is_gone(process));
    assert_eq!(meta(&server).await["model_reloads"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_one_takes_no_time_and_does_not_outlive_its_parent() {
    let server = serve(&["--isolate"]);
    server.chat(&requests()[0]).await;
    server.becomes_idle().await;
    let process = only_model_of(server.id()).await;
    let before = ticks(process);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(ticks(process) <= before + 1, "an idle second took it {} ticks", ticks(process) - before);
    // A service manager tells the whole service: the parent decides.
    for name in ["-TERM", "-INT", "-HUP"] {
        signal(process, name);
    }
    server.chat(&requests()[0]).await;
    assert_eq!(models_of(server.id()), [process]);
    // It has nothing of its parent's environment that could be a secret, nor a configuration.
    let environment = std::fs::read(format!("/proc/{process}/environ")).expect("its environment");
    let environment = String::from_utf8_lossy(&environment);
    assert!(!environment.contains("MINERVA_") && !environment.contains("CARGO"), "{environment}");
    // In the middle of an answer.
    let request = &requests()[0];
    let (_, ()) =
        tokio::join!(server.client.post(server.url("/v1/chat/completions")).json(request).send(), async {
            server.signal("-KILL");
        });
    soon("the process is gone too", async || is_gone(process)).await;
}

/// Two models of the file, of which only the first is isolated by its own section.
fn two_models(folder: &Path, second: &str) -> String {
    let path = root().join("host/models/builtin/minerva-tiny.gguf");
    let path = path.display();
    let config = folder.join("config.toml");
    let text = format!(
        "[server]\nport = 0\nadmin_key = \"root\"\n[performance]\nparallel = 1\n\
         [[models]]\nname = \"one\"\npath = \"{path}\"\npreload = true\nisolate = \"on\"\n\
         [[models]]\nname = \"two\"\npath = \"{path}\"\npreload = true\n{second}\n"
    );
    std::fs::write(&config, text).expect("a file");
    config.to_str().expect("a path").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_models_have_a_process_each_and_one_that_is_unloaded_has_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_with(&["serve", "--config", &two_models(folder.path(), "isolate = \"on\"")]);
    let ask = async |model: &str| {
        let mut request = requests()[1].clone();
        request["model"] = json!(model);
        server.chat(&request).await
    };
    let answer = ask("one").await;
    assert_eq!(ask("two").await, answer);
    let [first, second] = models_of(server.id())[..] else { panic!("two processes") };
    signal(first, "-KILL");
    assert_eq!((ask("one").await, ask("two").await), (answer.clone(), answer.clone()));
    let processes = models_of(server.id());
    assert!(
        processes.len() == 2 && processes.contains(&second),
        "only the one was started anew: {processes:?}"
    );
    let unload = server.client.post(server.url("/v1/models/unload")).bearer_auth("root");
    let unloaded = unload.json(&json!({"model": "two"})).send().await.expect("an answer");
    assert!(unloaded.status().is_success());
    soon("one process is left", async || models_of(server.id()).len() == 1).await;
    assert_eq!(ask("two").await, answer, "it is loaded again");
    drop(server);

    let server = Server::start_with(&["serve", "--config", &two_models(folder.path(), "")]);
    assert_eq!(models_of(server.id()).len(), 1, "auto is none on a processor");
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_go_on_too() {
    let server = serve(&["--isolate", "--embedding"]);
    let body = json!({"input": QUESTIONS});
    let (status, undisturbed) = server.post("/v1/embeddings", &body).await;
    assert_eq!(status, 200, "{undisturbed}");
    signal(only_model_of(server.id()).await, "-KILL");
    let (status, answer) = server.post("/v1/embeddings", &body).await;
    assert_eq!((status, &answer["data"]), (200, &undisturbed["data"]));
    assert_eq!(meta(&server).await["model_reloads"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_library_a_generation_goes_on_from_its_tokens() {
    let program = env!("CARGO_BIN_EXE_minerva");
    let build = |isolate: Isolate| {
        let model = Model::built_in().slots(2).isolate(isolate).engine(|engine| engine.token_buffer = 1);
        Minerva::builder().with_model(model).build().expect("a host")
    };
    let request = || {
        let mut request = GenerateRequest::new("one".to_owned(), Input::Text("Once upon a time".into()));
        request.params =
            Params { max_tokens: Some(60), ignore_end: true, temperature: 0.9, ..Params::default() };
        request.params.seed = Some(7);
        request
    };
    // The one that is not killed reads slowly too.
    let said = async |host: &Minerva, kill_after: Option<usize>| {
        let mut generation = host.generate(request()).await.expect("it is admitted");
        let (mut text, mut events) = (String::new(), 0);
        while let Some(event) = generation.next().await {
            if let Event::Text(piece) = event.expect("no error") {
                text.push_str(&piece.text);
            }
            events += 1;
            if kill_after == Some(events) {
                // Its channel is full: it has not ended.
                models_of(std::process::id()).into_iter().for_each(|process| signal(process, "-KILL"));
            }
        }
        text
    };
    let plain = said(&build(Isolate::Never), None).await;
    let host = build(Isolate::Always(Isolation::new(program)));
    assert_eq!(said(&host, Some(5)).await, plain);
    let status = host.handle().status();
    assert_eq!((status.model_reloads, status.state), (1, State::Healthy));
    let missing = Minerva::builder().isolate("/nowhere/minerva").build().err().expect("no such program");
    assert!(missing.to_string().contains("/nowhere/minerva"), "{missing}");
}
