//! The same sampler as a plugin and built in.

use serde_json::{Value, json};

use crate::harness::{Server, asking};

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
