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

    let output = run(&["serve", "--prefill-share", "1"]);
    assert!(!output.status.success());
    assert!(
        shown(&output).contains("--prefill-share is 1, and must be from 0.05 to 0.95"),
        "{}",
        shown(&output)
    );
}
