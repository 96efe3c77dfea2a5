//! What the boundary costs: `cargo bench -p minerva-wasm`. The plugins are those in `plugins/`, so the figures hold
//! what a real one does, argument parsing included. Goals: `pick` of 64 candidates in 2 us, opening and dropping a
//! session in 40 us.

#[path = "../tests/support.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod support;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use minerva_engine::plugin::Chunk;
use minerva_engine::request::{Chat, Message};
use minerva_engine::step::{Candidates, Step};
use serde_json::{Value, json};

use support::{bundled, context, loaded, runtime};

fn candidates(count: u16) -> Candidates {
    Candidates {
        ids: (0..u32::from(count)).collect(),
        logits: (0..count).map(|rank| 10.0 - f32::from(rank) * 0.05).collect(),
    }
}

fn sampler(criterion: &mut Criterion) {
    let min_p = loaded("sampler-min-p").sampler.expect("it is a sampler");
    let (context, mut step) = (context(), Step::default());
    let mut session = min_p.open(&context, &json!({"p": 0.3}), &[1, 2, 3]).expect("it opens");
    for count in [64, 256] {
        let cut = candidates(count);
        criterion.bench_function(&format!("sampler: pick, {count} candidates"), |bencher| {
            bencher.iter(|| session.pick(&mut step, black_box(&cut)).expect("it picks"));
        });
    }
    criterion.bench_function("sampler: advance", |bencher| {
        bencher.iter(|| session.advance(&mut step, black_box(&[42])).expect("it advances"));
    });
    let prompt: Vec<u32> = (0..200).collect();
    criterion.bench_function("sampler: open and drop", |bencher| {
        bencher.iter(|| min_p.open(&context, black_box(&Value::Null), &prompt).expect("it opens"));
    });
}

fn template(criterion: &mut Criterion) {
    let persona = loaded("template-persona").template.expect("it is a template");
    let (context, message) = (context(), Message::text("user", "What do owls eat?"));
    let chat = Chat { messages: vec![message], ..Chat::default() };
    criterion.bench_function("template: render, one message", |bencher| {
        bencher.iter(|| persona.render(&context, black_box(&chat), &Value::Null).expect("it renders"));
    });
}

fn stream(criterion: &mut Criterion) {
    let redact = loaded("stream-redact").stream.expect("it is a stream processor");
    let context = context();
    let mut session = redact.open(&context, &Value::Null).expect("it opens");
    let chunk = Chunk { text: " owl".to_owned(), tokens: vec![42] };
    criterion.bench_function("stream: push, one token", |bencher| {
        bencher.iter(|| session.push(black_box(&chunk)).expect("it takes it"));
    });
    criterion.bench_function("stream: open and drop", |bencher| {
        bencher.iter(|| redact.open(&context, &Value::Null).expect("it opens"));
    });
}

fn loading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    group.sample_size(10);
    for name in ["sampler-min-p", "stream-redact"] {
        let bytes = std::fs::read(bundled(name)).expect("it is built");
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime().load("bench", &bytes).expect("it loads"));
        });
    }
    group.finish();
}

criterion_group!(benches, sampler, template, stream, loading);
criterion_main!(benches);
