//! `minerva bench engine`: what is between llama.cpp and an answer, and what it costs.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt;
use minerva::engine::model::{self, Batch, Token};
use minerva::engine::plugin::Kind;
use minerva::engine::request::Use;
use minerva::{GenerateRequest, Input, Isolate, Minerva, Model, OnFault, Params};
use serde_json::json;
use tokio::sync::mpsc;

use super::Report;
use super::figures::{Figures, Table};
use crate::command::run::plugin;
use crate::command::{progress_bar, show_part};
use crate::config::EngineBench;

/// Measures every number of sequences in every round: the bare loop, the engine, the engine with a plugin.
pub(super) async fn run(arguments: &EngineBench) -> Result<Report> {
    let most = arguments.sequences.iter().copied().max().unwrap_or(1);
    let bar = progress_bar("loading the model");
    let context = arguments.prompt_tokens + arguments.tokens + 1;
    // Pulling and loading both block.
    let build = || -> Result<(Minerva, Option<Minerva>)> {
        let model = arguments.model.brought(&arguments.hub)?.slots(most).context(context);
        let host = |model: Model| -> Result<Minerva> {
            Ok(arguments.plugins.apply(Minerva::builder())?.with_model(model).build()?)
        };
        let isolated = arguments.model.is_isolated().then(|| host(model.clone())).transpose()?;
        Ok((host(model.isolate(Isolate::Never))?, isolated))
    };
    let built = std::thread::scope(|threads| threads.spawn(build).join());
    let (minerva, isolated) = built.map_err(|_| anyhow::anyhow!("loading the model panicked"))??;
    let sampler =
        arguments.sampler.as_deref().map(|named| plugin(&minerva, named, Kind::Sampler)).transpose()?;
    let sampler = sampler.and_then(|(plugin, args)| {
        plugin.sampler.clone().map(|plugin| Use { plugin, args, on_fault: OnFault::Fail })
    });
    // The same file and the same settings, without anything around it.
    let mut bare = Some(Box::new(minerva::llama::load(minerva.llama_options(), |_| true)?));
    let names = ["bare loop", "engine", "engine with plugin"].map(str::to_owned);
    let names = &names[..if sampler.is_some() { 3 } else { 2 }];

    bar.set_message("measuring");
    let (rounds, sizes) = (arguments.rounds.rounds, arguments.sequences.len());
    let mut tables = Vec::new();
    for (at, &sequences) in arguments.sequences.iter().enumerate() {
        let mut table = Table::new(format!("{sequences} sequences"), names.to_vec());
        let compared = ["engine", "engine, isolated"].map(str::to_owned).to_vec();
        let mut beside = Table::new(format!("{sequences} sequences, in a process of their own"), compared);
        for round in 0..rounds {
            let mut model = bare.take().context("the bare loop's model is lost")?;
            let (prompt, tokens) = (arguments.prompt_tokens, arguments.tokens);
            let looped = tokio::task::spawn_blocking(move || {
                let looped = bare_loop(model.as_mut(), sequences, prompt, tokens);
                (model, looped)
            });
            let (model, looped) = looped.await?;
            bare = Some(model);
            let mut measured = vec![
                looped?.figures(sequences, prompt, tokens),
                engine(&minerva, arguments, sequences, None).await?,
            ];
            if let Some(sampler) = &sampler {
                measured.push(engine(&minerva, arguments, sequences, Some(sampler)).await?);
            }
            if let Some(isolated) = &isolated {
                let own = engine(isolated, arguments, sequences, None).await?;
                beside.rounds.push(vec![measured[1].clone(), own]);
            }
            table.rounds.push(measured);
            #[expect(clippy::cast_precision_loss, reason = "it moves a bar")]
            show_part(&bar, (at as f32 + (round + 1) as f32 / rounds as f32) / sizes as f32);
        }
        tables.push(table);
        tables.extend(isolated.is_some().then_some(beside));
    }
    bar.finish_and_clear();
    let settings = json!({
        "rounds": rounds,
        "sequences": arguments.sequences,
        "prompt_tokens": arguments.prompt_tokens,
        "tokens": arguments.tokens,
        "model": minerva.handle().info().name,
        "device": minerva.handle().info().device,
    });
    Ok(Report { bench: "engine", settings, tables })
}

/// The tokens of a made-up prompt, another one for each sequence.
fn prompt(sequence: u32, length: u32, vocabulary_size: u32) -> Vec<Token> {
    (0..length).map(|place| (1000 + place * 7919 + sequence * 131) % vocabulary_size).collect()
}

fn rates(tokens: u32, whole_seconds: f64, decoded: f64, decode_seconds: f64) -> Figures {
    Figures::from([
        ("tokens_per_second", f64::from(tokens) / whole_seconds),
        ("decode_tokens_per_second", decoded / decode_seconds),
    ])
}

/// How long a bare loop took.
pub(super) struct Looped {
    pub prefill_seconds: f64,
    pub decode_seconds: f64,
    /// Calls that it took to decode one prompt.
    calls: u32,
}

impl Looped {
    fn figures(&self, sequences: u32, length: u32, tokens: u32) -> Figures {
        let whole = self.prefill_seconds + self.decode_seconds;
        let decoded = f64::from(sequences * (tokens - 1));
        let mut figures = rates(sequences * tokens, whole, decoded, self.decode_seconds);
        figures.insert("prompt_tokens_per_call", f64::from(length) / f64::from(self.calls));
        figures.insert("tokens_per_decode_call", f64::from(sequences));
        figures
    }
}

/// A model and a search for the best token, and nothing else. The first token of each comes of its prompt.
pub(super) fn bare_loop(
    model: &mut dyn model::Model,
    sequences: u32,
    length: u32,
    tokens: u32,
) -> Result<Looped> {
    let (size, chunk) = (model.info().vocabulary_size, model.info().batch_tokens_max as usize);
    let begun = Instant::now();
    let mut batch = Batch::default();
    let mut last = Vec::new();
    for slot in 0..sequences {
        model.remove(slot, 0)?;
        let prompt = prompt(slot, length, size);
        for (at, part) in prompt.chunks(chunk).enumerate() {
            batch.clear();
            for (position, &token) in (at * chunk..).zip(part) {
                let position = u32::try_from(position)?;
                batch.push(token, position, slot, position + 1 == length);
            }
            model.decode(&batch)?;
        }
        last.push(best(model.logits(0)));
    }
    let prefilled = Instant::now();
    for step in 0..tokens - 1 {
        batch.clear();
        for (slot, &token) in (0..).zip(&last) {
            batch.push(token, length + step, slot, true);
        }
        model.decode(&batch)?;
        last = (0..last.len()).map(|row| best(model.logits(row))).collect();
    }
    Ok(Looped {
        prefill_seconds: prefilled.duration_since(begun).as_secs_f64(),
        decode_seconds: prefilled.elapsed().as_secs_f64(),
        calls: length.div_ceil(u32::try_from(chunk)?),
    })
}

/// The likeliest token.
fn best(row: &[f32]) -> Token {
    let better = |best: usize, next: usize| if row[next] > row[best] { next } else { best };
    (0..row.len()).reduce(better).and_then(|best| Token::try_from(best).ok()).unwrap_or(0)
}

/// What a reader of an answer notices.
enum Noticed {
    First,
    Ended,
}

/// The same through the engine: every sequence a request, all at once.
#[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52 tokens")]
async fn engine(
    minerva: &Minerva,
    arguments: &EngineBench,
    sequences: u32,
    sampler: Option<&Use<dyn minerva::engine::plugin::SamplerPlugin>>,
) -> Result<Figures> {
    let handle = minerva.handle();
    let (notice, mut noticed) = mpsc::unbounded_channel();
    let at_first = handle.status();
    let begun = Instant::now();
    let mut readers = tokio::task::JoinSet::new();
    for sequence in 0..sequences {
        let prompt = prompt(sequence, arguments.prompt_tokens, handle.info().vocabulary_size);
        let mut request = GenerateRequest::new(format!("bench-{sequence}"), Input::Tokens(prompt));
        request.params = Params {
            max_tokens: Some(arguments.tokens),
            ignore_end: true,
            temperature: 0.0,
            cache_prompt: false,
            ..Params::default()
        };
        request.samplers.extend(sampler.cloned());
        let (handle, notice) = (handle.clone(), notice.clone());
        readers.spawn(async move {
            let mut generation = handle.generate(request).await?;
            let mut is_first = true;
            while let Some(event) = generation.next().await {
                event?;
                if std::mem::take(&mut is_first) {
                    let _ = notice.send(Noticed::First);
                }
            }
            let _ = notice.send(Noticed::Ended);
            Ok::<(), minerva::engine::Error>(())
        });
    }
    drop(notice);
    // Decoding alone is what happens between the last one's first token and the first one's end.
    let (mut firsts, mut from, mut to) = (0, None, None);
    while let Some(seen) = noticed.recv().await {
        let now = || (Instant::now(), handle.status().tokens_generated);
        match seen {
            Noticed::First => {
                firsts += 1;
                if firsts == sequences {
                    from = Some(now());
                }
            }
            Noticed::Ended => {
                to.get_or_insert_with(now);
            }
        }
    }
    let whole = begun.elapsed().as_secs_f64();
    while let Some(read) = readers.join_next().await {
        read??;
    }
    let (Some((from, before)), Some((to, after))) = (from, to) else { bail!("no answer came") };
    let decode_seconds = to.saturating_duration_since(from).as_secs_f64();
    let decoded = after.saturating_sub(before) as f64;
    let mut figures = rates(sequences * arguments.tokens, whole, decoded, decode_seconds);
    let status = handle.status();
    let per = |tokens: u64, calls: u64| tokens as f64 / calls as f64;
    let prompts = status.tokens_prefilled - at_first.tokens_prefilled;
    // The first token of an answer comes of its prompt.
    let chosen = status.tokens_generated - at_first.tokens_generated - u64::from(sequences);
    figures.insert("prompt_tokens_per_call", per(prompts, status.prefill_calls - at_first.prefill_calls));
    figures.insert("tokens_per_decode_call", per(chosen, status.decode_calls - at_first.decode_calls));
    // The answers did not overlap: there is nothing to tell of decoding alone.
    figures.retain(|_, figure| figure.is_finite() && *figure > 0.0);
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_differ_and_stay_in_the_vocabulary() {
        assert_ne!(prompt(0, 10, 500), prompt(1, 10, 500));
        assert!(prompt(3, 1000, 500).iter().all(|&token| token < 500));
        assert_eq!(best(&[0.0, 3.0, -1.0, 3.0]), 1);
    }
}
