//! `minerva bench http`: clients that ask as fast as they are answered.

use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::Report;
use super::client::{Answered, Client, Question, words};
use super::figures::{Figures, Table, times};
use super::target::Targets;
use crate::command::{progress_bar, show_part};
use crate::config::HttpBench;

/// Measures every number of clients in every round on every server.
pub(super) async fn run(arguments: &HttpBench) -> Result<Report> {
    let targets = Targets::find(&arguments.target).await?;
    let bar = progress_bar("measuring");
    let (rounds, sizes) = (arguments.rounds.rounds, arguments.clients.len());
    let mut prompts = 0;
    let mut tables = Vec::new();
    for (at, &clients) in arguments.clients.iter().enumerate() {
        let mut table = Table::new(format!("{clients} clients"), targets.names());
        for round in 0..rounds {
            let mut measured = Vec::new();
            // All servers get the same prompts.
            let first_prompt = prompts;
            for client in &targets.clients {
                measured.push(load(client, arguments, clients, first_prompt).await?);
            }
            prompts += u64::from(clients) * u64::from(arguments.requests);
            table.rounds.push(measured);
            #[expect(clippy::cast_precision_loss, reason = "it moves a bar")]
            show_part(&bar, (at as f32 + (round + 1) as f32 / rounds as f32) / sizes as f32);
        }
        tables.push(table);
    }
    bar.finish_and_clear();
    let settings = json!({
        "rounds": rounds,
        "clients": arguments.clients,
        "requests": arguments.requests,
        "prompt_words": arguments.prompt_words,
        "tokens": arguments.tokens,
    });
    Ok(Report { bench: "http", settings, tables })
}

/// A closed loop: each client asks its next question when the last one is answered.
async fn load(client: &Client, arguments: &HttpBench, clients: u32, first_prompt: u64) -> Result<Figures> {
    let begun = Instant::now();
    let ask_all = |number: u32| async move {
        let (mut answers, mut errors) = (Vec::new(), 0_u32);
        for request in 0..arguments.requests {
            let prompt =
                first_prompt + u64::from(number) * u64::from(arguments.requests) + u64::from(request);
            let question = Question {
                prompt: words(prompt + 1, arguments.prompt_words),
                tokens: arguments.tokens,
                caches: false,
            };
            match client.ask(&question).await {
                Ok(answered) => answers.push(answered),
                Err(error) => {
                    tracing::warn!(%error, "a request failed");
                    errors += 1;
                }
            }
        }
        (answers, errors)
    };
    let done = futures::future::join_all((0..clients).map(ask_all)).await;
    let seconds = begun.elapsed().as_secs_f64();

    let errors: u32 = done.iter().map(|(_, errors)| errors).sum();
    let answers: Vec<Answered> = done.into_iter().flat_map(|(answers, _)| answers).collect();
    #[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52 tokens")]
    let tokens = answers.iter().map(|answered| answered.tokens).sum::<u64>() as f64;
    let mut figures = Figures::from([("tokens_per_second", tokens / seconds), ("errors", f64::from(errors))]);
    let first = answers.iter().map(|answered| answered.first).collect();
    times(&mut figures, ["first_token_ms_p50", "first_token_ms_p99"], first);
    let gaps = answers.into_iter().flat_map(|answered| answered.gaps).collect();
    times(&mut figures, ["between_tokens_ms_p50", "between_tokens_ms_p99"], gaps);
    Ok(figures)
}
