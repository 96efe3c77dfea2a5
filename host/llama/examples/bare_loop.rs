//! How fast llama.cpp itself decodes: a loop over the model with nothing around it, which is the limit for a server.
//!
//! ```text
//! cargo run --release -p minerva-llama --example bare_loop -- model.gguf [tokens] [prompt tokens] [threads]
//! ```
//!
//! Greedy, by a scan of each row of logits; 1, 8 and 16 sequences with a prompt each.

use std::time::Instant;

use minerva_engine::model::{Batch, Model as _, Token};
use minerva_llama::{Llama, Options, load};

#[expect(clippy::print_stdout, reason = "an example shows what it found")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path =
        arguments.next().ok_or("which model? bare_loop model.gguf [tokens] [prompt tokens] [threads]")?;
    let mut number = |otherwise| arguments.next().map_or(Ok(otherwise), |text| text.parse::<u32>());
    let (tokens, prompt, threads) = (number(64)?, number(64)?, number(0)?);

    let options = Options { slots: 16, context: prompt + tokens + 1, threads, ..Options::new(path) };
    let mut llama = load(&options, |_| true)?;
    println!("{}, {} slots of {} tokens", llama.info().name, llama.info().slots, llama.info().context);
    for sequences in [1, 8, 16] {
        let before = Instant::now();
        let mut last = prefill(&mut llama, sequences, prompt)?;
        let prefilled = before.elapsed().as_secs_f64();

        let before = Instant::now();
        let mut batch = Batch::default();
        for step in 0..tokens {
            batch.clear();
            for (slot, &token) in (0..).zip(&last) {
                batch.push(token, prompt + step, slot, true);
            }
            llama.decode(&batch)?;
            last = (0..last.len()).map(|row| best(llama.logits(row))).collect();
        }
        let decoded = before.elapsed().as_secs_f64();
        println!(
            "{sequences:2} sequences: {:7.1} tokens/s decoding, {:7.1} tokens/s prefilling",
            f64::from(sequences * tokens) / decoded,
            f64::from(sequences * prompt) / prefilled,
        );
    }
    Ok(())
}

/// Fills as many sequences with a prompt each, and returns the likeliest token after each.
fn prefill(llama: &mut Llama, sequences: u32, prompt: u32) -> Result<Vec<Token>, Box<dyn std::error::Error>> {
    let size = llama.info().vocabulary_size;
    let chunk = llama.info().batch_tokens_max;
    let mut last = Vec::new();
    for slot in 0..sequences {
        llama.remove(slot, 0)?;
        for start in (0..prompt).step_by(chunk as usize) {
            let end = prompt.min(start + chunk);
            let mut batch = Batch::default();
            (start..end).for_each(|place| {
                batch.push((1000 + place * 7919 + slot * 131) % size, place, slot, place + 1 == prompt);
            });
            llama.decode(&batch)?;
        }
        last.push(best(llama.logits(0)));
    }
    Ok(last)
}

/// The place of the largest number.
fn best(row: &[f32]) -> Token {
    let best = row.iter().enumerate().fold(
        (0, f32::MIN),
        |best, (place, &logit)| {
            if logit > best.1 { (place, logit) } else { best }
        },
    );
    u32::try_from(best.0).unwrap_or(0)
}
