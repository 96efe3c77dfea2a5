//! Minerva as a library: two models that take turns in memory, progress, a sampler in WebAssembly, a sampler that is a
//! Rust closure, and no HTTP.
//!
//! ```sh
//! make plugins                                            # builds target/plugins/min-p.wasm
//! cargo run --release -p embed                            # the built-in model, twice
//! cargo run --release -p embed -- one.gguf two.gguf       # your own
//! ```

use std::io::Write;

use anyhow::{Context, Result};
use futures::StreamExt;
use minerva::models::registry::{Options, What};
use minerva::{Choice, ClosureSampler, Event, Minerva, Model, Spec};
use serde_json::json;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<()> {
    let plugin = "target/plugins/min-p.wasm";
    let builder = Minerva::builder()
        .plugin("min-p", plugin)
        // Sees the eight best candidates of every step; never takes the best one twice in a row where there is
        // another of at least half its probability.
        .sampler(ClosureSampler::new("restless", 8, |step, cut| {
            let [first, second] = [cut.ids[0], *cut.ids.get(1).unwrap_or(&cut.ids[0])];
            let close = cut.logits.get(1).is_some_and(|logit| cut.logits[0] - logit < 2.0_f32.ln());
            if close && step.last(1) == [first] { Choice::Token(second) } else { Choice::Host }
        }))
        // One model in memory at a time.
        .registry_options(Options { models_max: 1, ..Options::default() });
    // Plugins are compiled: not on the runtime's own threads.
    let host = tokio::task::spawn_blocking(|| builder.build_host())
        .await?
        .with_context(|| format!("is {plugin} there? `make plugins` builds it"))?;

    let registry = host.registry();
    let mut files = std::env::args().skip(1);
    for name in ["one", "two"] {
        let model = files.next().map_or_else(Model::built_in, Model::file).slots(2);
        registry.add(Spec::new(name, model))?;
    }
    let mut events = registry.events();
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            match event.what {
                What::Loading(part) => eprint!("\r{}: loading {:3.0} %", event.model, part * 100.0),
                What::Ready { took, bytes } => {
                    eprintln!("\r{}: {} MiB, after {:.1} s", event.model, bytes >> 20, took.as_secs_f64());
                }
                other => eprintln!("\r{}: {}", event.model, other.as_str()),
            }
        }
    });

    // The first question loads its model. The whole answer at once, through the WebAssembly sampler.
    let ask = host.ask("one", "What is a plugin?").sampler("min-p", json!({ "p": 0.1 })).seed(7);
    let (answer, finished) = ask.max_tokens(80).answer().await?;
    println!("min-p:    {answer}");
    println!("          {} tokens, {:?}", finished.usage.completion_tokens, finished.reason);

    // The other model takes the first one's place. Token by token, through the closure; dropping `answer` would cancel.
    let ask = host.ask("two", "Tell me a short story about a fox.").sampler("restless", json!(null));
    let mut answer = ask.seed(7).max_tokens(80).send().await?;
    print!("restless: ");
    while let Some(event) = answer.next().await {
        match event? {
            Event::Text(piece) => print!("{}", piece.text),
            Event::Finished(finished) => println!("\n          {} tokens", finished.usage.completion_tokens),
            Event::Reasoning(_) | Event::Tool(_) | Event::Meta(_) => {}
        }
        std::io::stdout().flush()?;
    }
    for entry in registry.entries() {
        println!("{}: {}, {} loads", entry.id, entry.condition.as_str(), entry.loads);
    }
    Ok(())
}
