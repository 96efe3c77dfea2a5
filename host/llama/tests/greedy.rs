//! Greedy answers are llama.cpp's own: the same tokens as a bare loop over the bindings gives, with llama.cpp's own
//! sampler. A binary of its own, because llama.cpp is initialised by one owner in a process, and here there are two,
//! one after the other.

use std::num::NonZeroU32;

use futures::StreamExt;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::sampling::LlamaSampler;
use minerva_engine::event::Event;
use minerva_engine::model::{Encode, Model as _, Token};
use minerva_engine::request::{GenerateRequest, Input, Params};
use minerva_engine::{Engine, Handle};
use minerva_llama::FlashAttention;

const ANSWER_TOKENS: usize = 32;
const CONTEXT: u32 = 512;

/// Two hundred beginnings: questions in the model's markup, long and short ones, and text without any.
fn prompts() -> Vec<String> {
    let subjects = [
        "a fox", "the sea", "Minerva", "a plugin", "an owl", "the moon", "3 plus 4", "tea", "a king", "rain",
    ];
    let asking = ["What is {}?", "Tell me a story about {}.", "Why is there {}?", "Write a list about {}."];
    let mut prompts = Vec::new();
    for (number, subject) in subjects.iter().enumerate() {
        for asking in asking {
            let question = asking.replace("{}", subject);
            let chat = format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n");
            let system = "You are brief. ".repeat(number + 1);
            prompts.push(format!("<|im_start|>system\n{system}<|im_end|>\n{chat}"));
            prompts.push(chat + "Well, ");
            prompts.push(format!("{question} {}", "Once upon a time ".repeat(number * 2)));
            prompts.push(format!("{{\"question\": \"{question}\", \"number\": {number}, \"answer\": "));
            prompts.push(subject.repeat(number + 1) + asking);
        }
    }
    prompts
}

/// Attention in several operations, and in one.
const WAYS: [(FlashAttention, i32); 2] = [
    (FlashAttention::Off, llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_DISABLED),
    (FlashAttention::On, llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_ENABLED),
];

/// llama.cpp as its own examples use it: decode, sample, decode the sample.
fn bare(
    backend: &LlamaBackend,
    path: &std::path::Path,
    prompts: &[String],
    flash_attention: i32,
) -> Vec<(Vec<Token>, Vec<Token>)> {
    let model = LlamaModel::load_from_file(backend, path, &LlamaModelParams::default()).expect("it loads");
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(CONTEXT))
        .with_n_threads(1)
        .with_n_threads_batch(1)
        .with_offload_kqv(false)
        .with_flash_attention_policy(flash_attention);
    let mut context = model.new_context(backend, params).expect("a context");
    let mut sampler = LlamaSampler::greedy();
    let number = |token: llama_cpp_2::token::LlamaToken| Token::try_from(token.0).expect("a token");
    let answer = |prompt: &String| {
        context.clear_kv_cache();
        let tokens = model.vocab().tokenize(prompt.as_bytes(), true, true);
        let mut batch = LlamaBatch::new(CONTEXT as usize, 1);
        for (place, &token) in (0..).zip(&tokens) {
            batch.add(token, place, &[0], place as usize + 1 == tokens.len()).expect("room");
        }
        let mut answer = Vec::new();
        for place in i32::try_from(tokens.len()).expect("a short prompt").. {
            context.decode(&mut batch).expect("it decodes");
            let token = sampler.sample(&context, batch.n_tokens() - 1);
            answer.push(number(token));
            if model.vocab().is_eog(token) || answer.len() == ANSWER_TOKENS {
                break;
            }
            batch.clear();
            batch.add(token, place, &[0], true).expect("room");
        }
        (tokens.into_iter().map(number).collect(), answer)
    };
    prompts.iter().map(answer).collect()
}

/// What the engine says, as tokens.
async fn ask(handle: &Handle, prompt: Vec<Token>) -> Vec<Token> {
    let mut request = GenerateRequest::new("greedy", Input::Tokens(prompt));
    request.params = Params {
        max_tokens: u32::try_from(ANSWER_TOKENS).ok(),
        temperature: 0.0,
        // They name the tokens.
        logprobs: Some(0),
        ..Params::default()
    };
    let mut generation = handle.generate(request).await.expect("admitted");
    let mut answer = Vec::new();
    while let Some(event) = generation.next().await {
        if let Event::Text(text) = event.expect("an event") {
            answer.extend(text.logprobs.iter().map(|logprob| logprob.token));
        }
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn greedy_answers_are_llama_cpps_own() {
    let path = minerva_models::builtin::path().expect("the built-in model");
    let prompts = prompts();
    assert_eq!(prompts.len(), 200);
    let backend = LlamaBackend::init().expect("llama.cpp starts");
    let expected = WAYS.map(|(_, way)| bare(&backend, &path, &prompts, way));
    drop(backend);
    for ((flash_attention, _), expected) in WAYS.into_iter().zip(&expected) {
        compare(&path, flash_attention, &prompts, expected).await;
    }
}

/// The engine's answers with llama.cpp's: to all prompts at once, on fewer slots than there are requests, in chunks and in
/// company, and what they begin with alike taken from each other.
async fn compare(
    path: &std::path::Path,
    flash_attention: FlashAttention,
    prompts: &[String],
    expected: &[(Vec<Token>, Vec<Token>)],
) {
    let tokens: usize = expected.iter().map(|(_, answer)| answer.len()).sum();
    assert!(tokens > 1000, "{tokens} tokens are little to compare");
    let options = minerva_llama::Options {
        slots: 6,
        context: CONTEXT,
        threads: 1,
        flash_attention,
        ..minerva_llama::Options::new(path)
    };
    let llama = minerva_llama::load(&options, |_| true).expect("it loads");
    let exact = llama.info().capabilities.batch_invariant;
    let vocabulary = llama.vocabulary();
    let engine = Engine::start(Box::new(llama), minerva_engine::Options::default()).expect("it starts");
    let handle = engine.handle();
    let how = Encode { add_special: true, parse_special: true };
    for (prompt, (tokens, _)) in prompts.iter().zip(expected) {
        assert_eq!(&vocabulary.encode(prompt, how).expect("tokens"), tokens, "{prompt:?}");
    }
    let asked = expected.iter().map(|(tokens, _)| ask(&handle, tokens.clone()));
    let answers = futures::future::join_all(asked).await;
    let differ = answers.iter().zip(expected).filter(|(answer, (_, expected))| *answer != expected).count();
    // Where nothing is promised to the bit, two tokens may be as good as equal now and then.
    assert!(differ <= if exact { 0 } else { 10 }, "{flash_attention:?}: {differ} of 200 answers differ");
    assert!(handle.status().tokens_cached > 200, "{:?}", handle.status());
}
