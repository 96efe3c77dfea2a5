//! Minerva as a library: one model, a sampler in WebAssembly, a sampler that is a Rust closure, and no HTTP.
//!
//! ```sh
//! make plugins                                        # builds target/plugins/min-p.wasm
//! cargo run --release -p embed                        # the built-in model
//! cargo run --release -p embed -- model.gguf          # your own
//! ```

use std::io::Write;

use anyhow::{Context, Result};
use futures::StreamExt;
use minerva::{Choice, ClosureSampler, Event, Minerva};
use serde_json::json;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<()> {
    let plugin = "target/plugins/min-p.wasm";
    let mut builder = Minerva::builder()
        .slots(2)
        .plugin("min-p", plugin)
        // Sees the eight best candidates of every step; never takes the best one twice in a row where there is
        // another of at least half its probability.
        .sampler(ClosureSampler::new("restless", 8, |step, cut| {
            let [first, second] = [cut.ids[0], *cut.ids.get(1).unwrap_or(&cut.ids[0])];
            let close = cut.logits.get(1).is_some_and(|logit| cut.logits[0] - logit < 2.0_f32.ln());
            if close && step.last(1) == [first] { Choice::Token(second) } else { Choice::Host }
        }))
        .on_progress(|part| {
            eprint!("\rloading {:3.0} %", part * 100.0);
            true
        });
    if let Some(path) = std::env::args().nth(1) {
        builder = builder.model(path);
    }
    // Loading reads a file of gigabytes: not on the runtime's own threads.
    let minerva = tokio::task::spawn_blocking(|| builder.build())
        .await?
        .with_context(|| format!("is {plugin} there? `make plugins` builds it"))?;
    eprintln!("\r{} on {}", minerva.handle().info().name, minerva.handle().info().device);

    // The whole answer at once, through the WebAssembly sampler.
    let ask = minerva.ask("What is a plugin?").sampler("min-p", json!({ "p": 0.1 })).seed(7);
    let (answer, finished) = ask.max_tokens(80).answer().await?;
    println!("min-p:    {answer}");
    println!("          {} tokens, {:?}", finished.usage.completion_tokens, finished.reason);

    // Token by token, through the closure. Dropping `events` would cancel.
    let ask = minerva.ask("Tell me a short story about a fox.").sampler("restless", json!(null));
    let mut events = ask.seed(7).max_tokens(80).send().await?;
    print!("restless: ");
    while let Some(event) = events.next().await {
        match event? {
            Event::Text(piece) => print!("{}", piece.text),
            Event::Finished(finished) => println!("\n          {} tokens", finished.usage.completion_tokens),
            Event::Reasoning(_) | Event::Tool(_) | Event::Meta(_) => {}
        }
        std::io::stdout().flush()?;
    }
    Ok(())
}
