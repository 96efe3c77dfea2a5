//! The same sampler as a plugin and built in.

use serde_json::{Value, json};

use crate::harness::{Server, asking, plugins, streamed_text};

/// More than 2,000 tokens, over several requests and seeds, drawn by min-p in WebAssembly and by min-p built in.
///
/// One request after the other, each from its beginning: not all machines have kernels that compute the same logits
/// for other batches, and this is about sampling. Nor beyond an answer's end, where the distribution is so flat that more
/// tokens are probable enough than the plugin asks for.
#[tokio::test(flavor = "multi_thread")]
async fn min_p_as_a_plugin_chooses_what_min_p_built_in_chooses() {
    let server = Server::start(&["-np", "1", "--no-cache-prompt"]);
    let questions =
        ["Tell me a story about a cat.", "Tell me a story about the sea.", "What is Minerva?", "Hello!"];
    let mut tokens = 0;
    for seed in 0..48_usize {
        let mut native = asking(questions[seed % questions.len()]);
        for (key, value) in [
            ("seed", json!(seed)),
            ("temperature", json!(1.3)),
            ("top_k", json!(0)),
            ("top_p", json!(1)),
            ("max_tokens", json!(150)),
        ] {
            native[key] = value;
        }
        let mut plugin = native.clone();
        native["min_p"] = json!(0.05);
        plugin["min_p"] = json!(0);
        plugin["minerva"] = json!({ "samplers": [{ "id": "min-p", "args": { "p": 0.05 } }] });
        // The log-probabilities name every token that was chosen.
        native["logprobs"] = json!(true);
        plugin["logprobs"] = json!(true);
        let (native, plugin) = (chosen(&server, &native).await, chosen(&server, &plugin).await);
        let differ = native.iter().zip(&plugin).position(|(native, plugin)| native != plugin);
        assert_eq!((differ, native.len()), (None, plugin.len()), "the token of seed {seed} that is another");
        tokens += native.len();
    }
    assert!(tokens >= 2000, "only {tokens} tokens were compared");
}

async fn chosen(server: &Server, request: &Value) -> Vec<Value> {
    let (status, answer) = server.post("/v1/chat/completions", request).await;
    assert_eq!(status, 200, "{answer}");
    let tokens = answer["choices"][0]["logprobs"]["content"].as_array().expect("log-probabilities");
    tokens.iter().map(|token| token["bytes"].clone()).collect()
}

/// What the model wants to say and may not is not in the answer, nor was it ever sent; before it nothing changes. That
/// hangs neither on how long the answer may be nor on who else is served.
#[tokio::test(flavor = "multi_thread")]
async fn banned_phrases_are_taken_back_before_anybody_has_them() {
    let plugins = plugins().display().to_string();
    let server = Server::start_with(&["serve", "--port", "0", "-np", "8", "--plugins-dir", &plugins]);
    let plain = |client: usize| {
        let mut request = asking(["What is Minerva?", "Tell me a story about owls."][client % 2]);
        request["temperature"] = json!(0);
        request["max_tokens"] = json!(60);
        request
    };
    let banning = |phrase: &str, client: usize, max_tokens: usize| {
        let mut request = plain(client);
        let args = json!({ "phrases": [phrase], "ignore_case": false });
        request["minerva"] = json!({ "samplers": [{ "id": "ban-phrases", "args": args }] });
        request["max_tokens"] = json!(max_tokens);
        request
    };
    let mut cases = Vec::new();
    for client in 0..2 {
        let free = server.chat(&plain(client)).await;
        let words: Vec<&str> = free.split(' ').collect();
        // A part of a word, a word, and two of them.
        let (part, word, two) = (&words[3][1..], words[4], words[5..7].join(" "));
        for phrase in [part, word, &two] {
            let (status, answer) = server.post("/v1/chat/completions", &banning(phrase, client, 60)).await;
            assert_eq!(status, 200, "{answer}");
            let said = answer["choices"][0]["message"]["content"].as_str().expect("a text").to_owned();
            let before = &free[..free.find(phrase).expect("it is there")];
            let word_before = before.rfind(' ').map_or("", |at| &before[..at]);
            assert!(said.starts_with(word_before), "{word_before:?} in front of {said:?}");
            assert!(!said.contains(phrase), "{phrase:?} in {said:?}");
            // What is within a token is not chosen at all.
            let taken_back = answer["minerva"]["plugins"][0]["meta"]["taken_back"].as_u64();
            assert!(taken_back > Some(0) || !phrase.contains(' '), "{answer}");
            cases.push((client, phrase.to_owned(), said));
        }
    }
    // Beside others, each streamed: nothing is sent that is not in the answer.
    let together = (0..4).flat_map(|_| &cases).map(async |(client, phrase, said)| {
        let (banned, free) = (banning(phrase, *client, 60), plain(*client));
        let (events, _) = tokio::join!(server.stream(&banned), server.chat(&free));
        assert_eq!(&streamed_text(&events), said, "without {phrase:?}");
    });
    futures::future::join_all(together).await;
    // However short the answer may be.
    let (client, phrase, _) = &cases[2];
    for max_tokens in 1..30 {
        let (_, answer) = server.post("/v1/chat/completions", &banning(phrase, *client, max_tokens)).await;
        let short = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
        assert!(!short.contains(phrase.as_str()), "{phrase:?} in {short:?}");
        let tokens = answer["usage"]["completion_tokens"].as_u64();
        let is_cut = answer["choices"][0]["finish_reason"] == "length";
        assert!(!is_cut || tokens == Some(max_tokens as u64), "{answer}");
    }
}
