//! Embeddings, scores and fillings of the real program, against llama.cpp itself: the bare crate, in a process of its
//! own, on the same files of random weights.

use std::path::Path;
use std::process::Command;

use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;
use serde_json::{Value, json};

use crate::harness::{Server, run, shown};

/// How far two computations of a number of the size of 1 may be apart: the batches differ, and so does the order of
/// the sums of what was rounded to 8 bits.
const TOLERANCE: f64 = 1e-3;

const TEXTS: [&str; 4] = [
    "A fox",
    "The quick brown fox jumps over the lazy dog, and then it looks for other people that it could be with.",
    "Füchse jagen 🦊",
    "one two three four five six seven",
];

fn synthesized(folder: &Path, preset: &str) -> String {
    let path = folder.join(format!("{preset}.gguf")).to_str().expect("UTF-8").to_owned();
    let output = run(&["models", "synthesize", "--preset", preset, "--type", "F16", "-o", &path]);
    assert!(output.status.success(), "{}", shown(&output));
    path
}

fn serve(model: &str, more: &[&str]) -> Server {
    Server::start_with(&[&["serve", "--port", "0", "-m", model][..], more].concat())
}

/// What the bare crate makes of a model and some token lists: rows of embeddings, or so many tokens that follow.
fn bare(model: &str, texts: &Value, predict: usize) -> Value {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "embeddings::bare_llama", "--ignored", "--nocapture"])
        .env("BARE_MODEL", model)
        .env("BARE_TEXTS", texts.to_string())
        .env("BARE_PREDICT", predict.to_string())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find_map(|line| line.strip_prefix("bare: "));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{}", shown(&output)))).expect("JSON")
}

/// Not a test: the other side of one, in a process of its own, because llama.cpp is initialised once in each.
#[test]
#[ignore = "the tests of embeddings run it"]
#[expect(clippy::print_stdout, reason = "who runs it reads this")]
fn bare_llama() {
    let said = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("no {name}"));
    let predict: usize = said("BARE_PREDICT").parse().expect("a number");
    let backend = LlamaBackend::init().expect("a backend");
    let model = LlamaModel::load_from_file(&backend, said("BARE_MODEL"), &LlamaModelParams::default())
        .expect("it loads");
    let texts: Value = serde_json::from_str(&said("BARE_TEXTS")).expect("JSON");
    let tokens = |text: &Value| -> Vec<LlamaToken> {
        // Texts are tokenised as whole ones; an array is texts and special tokens by their names, one after another.
        let encode = |text: &str, whole| model.vocab().tokenize(text.as_bytes(), whole, whole);
        match text {
            Value::String(text) => encode(text, true),
            Value::Array(parts) => parts
                .iter()
                .flat_map(|part| match part.as_str().expect("a text") {
                    "BOS" => vec![model.vocab().bos()],
                    "PRE" => vec![model.vocab().fim_pre()],
                    "SUF" => vec![model.vocab().fim_suf()],
                    "MID" => vec![model.vocab().fim_mid()],
                    text => encode(text, false),
                })
                .collect(),
            other => panic!("{other}"),
        }
    };
    let rows: Vec<Value> = texts
        .as_array()
        .expect("texts")
        .iter()
        .map(|text| {
            let params = LlamaContextParams::default()
                .with_n_ubatch(512)
                .with_n_threads(1)
                .with_n_threads_batch(1)
                // As the program has it on a CPU: disabled.
                .with_flash_attention_policy(0)
                .with_embeddings(predict == 0);
            let mut context = model.new_context(&backend, params).expect("a context");
            let mut batch = LlamaBatch::new(512, 1);
            let text = tokens(text);
            let last = text.len() - 1;
            for (at, token) in text.iter().enumerate() {
                batch
                    .add(*token, i32::try_from(at).expect("short"), &[0], predict == 0 || at == last)
                    .expect("room");
            }
            if predict == 0 {
                context.encode(&mut batch).expect("it computes");
                return json!(context.embeddings_seq_ith(0).expect("a row"));
            }
            let mut following = Vec::new();
            let mut position = i32::try_from(text.len()).expect("short");
            context.decode(&mut batch).expect("it computes");
            while following.len() < predict {
                let logits = context.get_logits_ith(batch.n_tokens() - 1);
                let best =
                    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("a logit");
                following.push(best);
                batch.clear();
                let token = LlamaToken(i32::try_from(best).expect("a token"));
                batch.add(token, position, &[0], true).expect("room");
                position += 1;
                context.decode(&mut batch).expect("it computes");
            }
            json!(following)
        })
        .collect();
    println!("bare: {}", json!(rows));
}

fn row(value: &Value) -> Vec<f64> {
    value.as_array().expect("a row").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn scaled(row: &[f64]) -> Vec<f64> {
    let length = row.iter().map(|number| number * number).sum::<f64>().sqrt();
    row.iter().map(|number| number / length).collect()
}

fn close(actual: &[f64], expected: &[f64], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let apart = actual.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart < TOLERANCE, "{what}: {apart} apart");
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_are_llama_cpps() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = synthesized(folder.path(), "tiny-embedding");
    let expected: Vec<Vec<f64>> =
        bare(&model, &json!(TEXTS), 0).as_array().expect("rows").iter().map(row).collect();
    let server = serve(&model, &["-np", "3"]);

    let (status, answer) = server.post("/v1/embeddings", &json!({"model": "any", "input": TEXTS})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(TEXTS.len()));
    for (index, (entry, expected)) in
        answer["data"].as_array().into_iter().flatten().zip(&expected).enumerate()
    {
        assert_eq!(entry["index"], index);
        close(&row(&entry["embedding"]), &scaled(expected), TEXTS[index]);
    }
    assert_eq!(answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"]);

    // The same as tokens, in base64, shortened, and unscaled in llama-server's form.
    let (_, tokens) = server.post("/tokenize", &json!({"content": TEXTS[1], "add_special": true})).await;
    let (_, by_tokens) = server.post("/v1/embeddings", &json!({"input": tokens["tokens"]})).await;
    close(&row(&by_tokens["data"][0]["embedding"]), &scaled(&expected[1]), "by tokens");
    let body = json!({"input": TEXTS[0], "encoding_format": "base64", "dimensions": 16});
    let (_, encoded) = server.post("/v1/embeddings", &body).await;
    let bytes = base64_bytes(encoded["data"][0]["embedding"].as_str().expect("base64"));
    let (numbers, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    let numbers: Vec<f64> = numbers.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect();
    close(&numbers, &scaled(&expected[0][..16]), "base64");
    let (_, native) = server.post("/embedding", &json!({"content": TEXTS[2], "embd_normalize": -1})).await;
    close(&row(&native[0]["embedding"][0]), &expected[2], "unscaled");

    // Two hundred texts at once, in batches of three: each is its own.
    let many: Vec<&str> = TEXTS.iter().cycle().take(200).copied().collect();
    let (_, answer) = server.post("/v1/embeddings", &json!({"input": many})).await;
    for (index, entry) in answer["data"].as_array().expect("data").iter().enumerate() {
        close(&row(&entry["embedding"]), &scaled(&expected[index % TEXTS.len()]), "one of many");
    }

    // It says what it cannot do, and serves on.
    let (status, refused) = server.post("/v1/completions", &json!({"prompt": "a"})).await;
    assert_eq!(status, 501, "{refused}");
    let (status, refused) = server.post("/v1/embeddings", &json!({"input": ["a", "x ".repeat(600)]})).await;
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("input[1]")), "{refused}");
    assert_eq!(refused["error"]["n_ctx"], 512);
    let (status, refused) = server.post("/v1/rerank", &json!({"query": "a", "documents": ["b"]})).await;
    assert_eq!(status, 501, "{refused}");
    server.becomes_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_token_has_an_embedding_without_pooling_and_a_generator_can_be_made_to_embed() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = synthesized(folder.path(), "tiny");
    let server = serve(&model, &["--embedding", "--pooling", "none", "-np", "2"]);
    let (_, tokens) = server.post("/tokenize", &json!({"content": TEXTS[0], "add_special": true})).await;
    let (status, answer) = server.post("/embeddings", &json!({"input": [TEXTS[0], TEXTS[0]]})).await;
    assert_eq!(status, 200, "{answer}");
    let rows = answer[0]["embedding"].as_array().expect("rows");
    assert_eq!(Some(rows.len()), tokens["tokens"].as_array().map(Vec::len));
    assert!(rows.iter().all(|row| row.as_array().map(Vec::len) == Some(128)));
    close(&row(&answer[1]["embedding"][0]), &row(&rows[0]), "the same text beside itself");
    assert_ne!(rows[0], rows[1]);
    let (status, refused) = server.post("/v1/embeddings", &json!({"input": "a"})).await;
    assert_eq!(status, 400, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_of_documents_are_llama_cpps() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = synthesized(folder.path(), "tiny-reranker");
    let pairs: Vec<Value> = TEXTS.iter().map(|text| json!(["BOS", "What is a fox?", text])).collect();
    let expected: Vec<f64> =
        bare(&model, &json!(pairs), 0).as_array().expect("rows").iter().map(|of| row(of)[0]).collect();
    let server = serve(&model, &["--reranking", "-np", "2"]);

    let body = json!({"query": "What is a fox?", "documents": TEXTS, "return_documents": true});
    let (status, answer) = server.post("/v1/rerank", &body).await;
    assert_eq!(status, 200, "{answer}");
    let results = answer["results"].as_array().expect("results");
    assert_eq!(results.len(), TEXTS.len());
    for result in results {
        let index = result["index"].as_u64().expect("an index") as usize;
        close(
            &[result["relevance_score"].as_f64().expect("a score")],
            &expected[index..=index],
            TEXTS[index],
        );
        assert_eq!(result["document"]["text"], TEXTS[index]);
    }
    let scores = results.iter().map(|result| result["relevance_score"].as_f64().expect("a score"));
    assert!(scores.is_sorted_by(|left, right| left >= right), "{answer}");

    let body = json!({"query": "What is a fox?", "texts": TEXTS, "top_n": 2});
    let (_, plain) = server.post("/rerank", &body).await;
    assert_eq!(plain.as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&plain[0]["index"], &plain[0]["score"]),
        (&results[0]["index"], &results[0]["relevance_score"])
    );
    let (status, refused) = server.post("/v1/embeddings", &json!({"input": "a"})).await;
    assert_eq!(status, 501, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_filled_as_llama_cpp_fills_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = synthesized(folder.path(), "tiny-fim");
    let (before, behind) = ("fn add(a: i32, b: i32) -> i32 {\n", "\n}\n");
    let prompt = json!([["BOS", "PRE", before, "SUF", behind, "MID"]]);
    let expected = bare(&model, &prompt, 12)[0].clone();
    let server = serve(&model, &["-np", "2"]);

    let greedy = json!({"n_predict": 12, "temperature": 0, "ignore_eos": true, "return_tokens": true});
    let with = |more: Value| {
        let mut body = greedy.clone();
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let (status, filled) =
        server.post("/infill", &with(json!({"input_prefix": before, "input_suffix": behind}))).await;
    assert_eq!(status, 200, "{filled}");
    assert_eq!(filled["tokens"], expected, "{filled}");

    // The same by the names of the tokens, and by OpenAI's field.
    let text = format!("<|fim_prefix|>{before}<|fim_suffix|>{behind}<|fim_middle|>");
    let (_, by_name) = server.post("/completion", &with(json!({"prompt": text}))).await;
    assert_eq!(by_name["tokens"], expected, "{by_name}");
    let (status, suffixed) =
        server.post("/v1/completions", &with(json!({"prompt": before, "suffix": behind}))).await;
    assert_eq!(status, 200, "{suffixed}");
    assert_eq!(suffixed["choices"][0]["text"], filled["content"]);

    // A model without the tokens says so.
    let plain = Server::start_with(&["serve", "--port", "0", "-np", "1"]);
    let (status, refused) =
        plain.post("/infill", &json!({"input_prefix": before, "input_suffix": behind})).await;
    assert_eq!((status, &refused["error"]["type"]), (501, &json!("not_supported_error")), "{refused}");
}

fn base64_bytes(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.decode(text).expect("base64")
}
