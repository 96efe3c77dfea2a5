//! Requests that begin alike, on the real model: what is decoded once serves many, and the answers are the same.

use serde_json::{Value, json};

use crate::harness::{Server, asking, run, shown};

/// A conversation with a long system message.
fn about_a_house(question: &str) -> Value {
    let rooms = ["kitchen", "garden", "library", "cellar", "attic"];
    let house: Vec<String> =
        (0..30).map(|at| format!("The {} has {} windows.", rooms[at % rooms.len()], at + 2)).collect();
    json!({
        "messages": [
            { "role": "system", "content": house.join(" ") },
            { "role": "user", "content": question },
        ],
        "temperature": 0,
        "max_tokens": 40,
    })
}

async fn answer(server: &Server, request: &Value) -> (Vec<String>, u64, u64) {
    let (status, answer) = server.post("/v1/chat/completions", request).await;
    assert_eq!(status, 200, "{answer}");
    let choices = answer["choices"].as_array().expect("choices").iter();
    let said =
        choices.map(|choice| choice["message"]["content"].as_str().expect("text").to_owned()).collect();
    let usage = &answer["usage"];
    let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().expect("a count");
    assert_eq!(answer["timings"]["cache_n"].as_u64(), Some(cached));
    (said, usage["prompt_tokens"].as_u64().expect("a count"), cached)
}

#[tokio::test]
async fn a_prefix_that_was_decoded_before_is_not_decoded_again_and_changes_no_answer() {
    let server = Server::start(&["-np", "3"]);
    let questions =
        ["Hello! How are you?", "What is a plugin?", "What is 3 plus 4?", "Tell me a story about a fox."];
    let mut plain = Vec::new();
    for question in questions {
        let mut request = about_a_house(question);
        request["cache_prompt"] = json!(false);
        let (said, _, cached) = answer(&server, &request).await;
        assert_eq!(cached, 0);
        plain.push(said);
    }
    // One after the other, and all at once: from slots in place, from busy slots, from host memory.
    let (said, prompt_tokens, cached) = answer(&server, &about_a_house(questions[0])).await;
    assert_eq!((&said, cached), (&plain[0], 0), "{prompt_tokens}");
    for (question, plain) in questions.iter().zip(&plain) {
        let (said, prompt_tokens, cached) = answer(&server, &about_a_house(question)).await;
        assert_eq!(&said, plain, "{question}");
        assert!(cached * 10 > prompt_tokens * 8, "{cached} of {prompt_tokens} tokens were cached");
    }
    let requests = questions.map(about_a_house);
    let together = futures::future::join_all(requests.iter().map(|request| answer(&server, request))).await;
    for ((said, ..), plain) in together.iter().zip(&plain) {
        assert_eq!(said, plain);
    }
    // Other conversations take the slots; the house comes back from host memory.
    for number in 0..3 {
        let mut other = about_a_house(&format!("Question {number}."));
        other["messages"][0]["content"] = json!(format!("{number} {}", "One more sentence. ".repeat(40)));
        answer(&server, &other).await;
    }
    let (said, prompt_tokens, cached) = answer(&server, &requests[1]).await;
    assert_eq!((&said, cached), (&plain[1], prompt_tokens - 1));

    let metrics = server.client.get(server.url("/metrics")).send().await.expect("an answer");
    let metrics = metrics.text().await.expect("text");
    let value = |name: &str| -> f64 {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("no {name}: {metrics}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    assert!(value("minerva_prompt_tokens_cached_total") > 1_000.0, "{metrics}");
    assert!(value("minerva_cache_restored_sequences_total") >= 1.0, "{metrics}");
    assert!(value("minerva_cache_saved_bytes{") > 10_000.0, "{metrics}");
    assert!(value("minerva_cache_saved_bytes_limit") > value("minerva_cache_saved_bytes{"));
    server.becomes_idle().await;
}

#[tokio::test]
async fn several_answers_are_what_requests_of_their_own_would_be_answered() {
    let server = Server::start(&["-np", "4"]);
    let mut request = about_a_house("Tell me a story about a fox.");
    (request["temperature"], request["cache_prompt"]) = (json!(1.2), json!(false));
    let mut alone = Vec::new();
    for seed in 7..13 {
        request["seed"] = json!(seed);
        alone.extend(answer(&server, &request).await.0);
    }
    (request["seed"], request["n"], request["cache_prompt"]) = (json!(7), json!(6), json!(true));
    // More answers than slots: some are copied from one that is being written, some take a slot over.
    assert_eq!(answer(&server, &request).await.0, alone);
    assert!(alone.iter().any(|said| said != &alone[0]), "{alone:?}");
    // A sampler plugin, of which every answer gets a session.
    request["minerva"] = json!({ "samplers": [{ "id": "min-p", "args": { "p": 0.05 } }] });
    let (said, ..) = answer(&server, &request).await;
    request["n"] = json!(1);
    for (seed, said) in (7..).zip(said) {
        request["seed"] = json!(seed);
        assert_eq!(answer(&server, &request).await.0, [said]);
    }
    server.becomes_idle().await;
}

#[tokio::test]
async fn the_cache_is_off_where_the_operator_says_so() {
    let server = Server::start(&["-np", "2", "--no-cache-prompt"]);
    for _ in 0..2 {
        assert_eq!(answer(&server, &about_a_house("Hello!")).await.2, 0);
    }
    assert!(server.chat(&asking("Hello!")).await.len() > 1);

    for (flags, refusal) in [
        (&["--prefill-share", "1"][..], "--prefill-share is 1, and must be from 0.05 to 0.95"),
        (&["--deterministic", "--kv-unified"], "one pool of cells for all sequences (`kv_unified`)"),
    ] {
        let output = run(&[&["serve", "--port", "0"], flags].concat());
        assert!(!output.status.success());
        assert!(shown(&output).contains(refusal), "{}", shown(&output));
    }
}

/// Every kind of memory: full attention, experts, a window that moves on, a state that only goes forward, one pool.
#[tokio::test]
async fn whatever_a_model_remembers_with_a_conversation_goes_on_as_if_it_were_decoded_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    // What of a sequence of 300 tokens serves a prompt that begins with it, and one that leaves it after 200.
    // The last: whether logits are the same to the bit however a prompt is cut. Otherwise texts can differ.
    for (preset, flag, extended, left, exact) in [
        ("tiny", "", 300, 200, true),
        ("tiny", "--kv-unified", 300, 200, false),
        ("tiny-moe", "", 300, 200, true),
        ("tiny-window", "", 300, 0, true),
        ("tiny-recurrent", "", 300, 0, false),
    ] {
        let path = folder.path().join(format!("{preset}.gguf"));
        let path = path.to_str().expect("a path");
        let made = run(&["models", "synthesize", "-o", path, "--preset", preset, "-c", "1024"]);
        assert!(made.status.success(), "{}", shown(&made));
        let mut arguments = vec!["serve", "--port", "0", "-m", path, "-np", "2", "-c", "2048"];
        arguments.extend(Some(flag).filter(|flag| !flag.is_empty()));
        let server = Server::start_with(&arguments);
        let text =
            |length: u32| -> Vec<u32> { (0..length).map(|place| 260 + (place * 7919) % 250).collect() };
        let complete = async |prompt: &[u32], caches: bool, tokens: u32| {
            let request = json!({
                "prompt": prompt, "cache_prompt": caches, "max_tokens": tokens, "temperature": 0, "ignore_eos": true,
            });
            let (status, answer) = server.post("/v1/completions", &request).await;
            assert_eq!(status, 200, "{preset} {flag}: {answer}");
            let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().expect("a count");
            (answer["choices"][0]["text"].clone(), cached)
        };
        // One token is drawn and not decoded: what is held is the prompt.
        let first = text(300);
        complete(&first, true, 1).await;
        let longer = text(350);
        let (plain, _) = complete(&longer, false, 20).await;
        let (said, cached) = complete(&longer, true, 20).await;
        assert_eq!(cached, extended, "{preset} {flag}");
        assert!(said == plain || !exact, "{preset} {flag}: {said}, not {plain}");
        let other = [&first[..200], &text(350)[300..]].concat();
        let (plain, _) = complete(&other, false, 20).await;
        let (said, cached) = complete(&other, true, 20).await;
        assert_eq!(cached, left, "{preset} {flag}");
        assert!(said == plain || !exact, "{preset} {flag}: {said}, not {plain}");
        server.becomes_idle().await;
    }
}

/// One pool for all: what four answers grow to does not fit into it together.
#[tokio::test]
async fn a_full_pool_aborts_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tiny.gguf");
    let path = path.to_str().expect("a path");
    let made = run(&["models", "synthesize", "-o", path]);
    assert!(made.status.success(), "{}", shown(&made));
    let server =
        Server::start_with(&["serve", "--port", "0", "-m", path, "-np", "4", "-c", "512", "--kv-unified"]);
    let ask = async |start: u32| {
        let prompt: Vec<u32> = (0..60).map(|place| 260 + (start + place * 7919) % 250).collect();
        let request = json!({ "prompt": prompt, "max_tokens": 200, "temperature": 0, "ignore_eos": true });
        let (status, answer) = server.post("/v1/completions", &request).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["usage"]["completion_tokens"], 200);
    };
    futures::future::join_all((0..6).map(ask)).await;
    server.becomes_idle().await;
    // What can never fit is refused, with both numbers.
    let request = json!({ "prompt": vec![300; 500], "max_tokens": 20 });
    let (status, answer) = server.post("/v1/completions", &request).await;
    assert_eq!(status, 400, "{answer}");
    let message = answer["error"]["message"].as_str().expect("a message");
    assert!(message.contains("500 tokens") && message.contains("holds 512"), "{message}");
}

#[tokio::test]
async fn a_conversation_outlives_the_server_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["-np", "1", "--slot-save-path", folder.path().to_str().expect("a path")];
    let first = Server::start(&arguments);
    let (plain, prompt_tokens, _) = answer(&first, &about_a_house("What is a plugin?")).await;
    first.becomes_idle().await;
    let file = json!({"filename": "house.bin"});
    let (status, saved) = first.post("/slots/0?action=save", &file).await;
    assert!(status == 200 && saved["n_saved"].as_u64() >= Some(prompt_tokens), "{saved}");
    assert_eq!(first.terminate().await, Some(0));

    let second = Server::start(&arguments);
    let (status, restored) = second.post("/slots/0?action=restore", &file).await;
    assert!(status == 200 && restored["n_restored"] == saved["n_saved"], "{restored}");
    assert_eq!(
        answer(&second, &about_a_house("What is a plugin?")).await,
        (plain, prompt_tokens, prompt_tokens - 1)
    );
    second.becomes_idle().await;
    // Of another context: llama.cpp would lay it out otherwise.
    let other = Server::start(&["-np", "2", arguments[2], arguments[3]]);
    let (status, refused) = other.post("/slots/0?action=restore", &file).await;
    assert!(status == 400 && refused["error"]["param"] == "filename", "{refused}");
}

#[tokio::test]
async fn an_answer_goes_on_beyond_the_context_where_it_shifts() {
    let server = Server::start(&["-np", "1", "-c", "256", "--context-shift"]);
    let mut request = asking("Tell me a story about a fox.");
    (request["max_tokens"], request["ignore_eos"]) = (json!(600), json!(true));
    let (status, answer) = server.post("/v1/chat/completions", &request).await;
    assert_eq!((status, &answer["usage"]["completion_tokens"]), (200, &json!(600)), "{answer}");
    request["context_shift"] = json!(false);
    let (status, refused) = server.post("/v1/chat/completions", &request).await;
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("max_tokens")), "{refused}");
    let body = json!({"prompt": "Once", "n_predict": 400, "ignore_eos": true, "n_keep": 2, "n_discard": 8});
    let (status, answer) = server.post("/completion", &body).await;
    assert_eq!((status, &answer["truncated"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer["tokens_predicted"], 400);
    server.becomes_idle().await;
}
