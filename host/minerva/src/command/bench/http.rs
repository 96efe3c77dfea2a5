//! `minerva bench http`: clients that ask as fast as they are answered, or requests that come when they come.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use super::Report;
use super::client::{Answered, Client, Question, mix, words};
use super::figures::{Figures, Table, times};
use super::target::Targets;
use crate::command::{progress_bar, show_part};
use crate::config::HttpBench;

/// How requests come.
#[derive(Clone, Copy)]
enum Arrival {
    /// A closed loop: each of so many clients asks its next question when the last one is answered.
    Clients(u32),
    /// An open loop: so many a second, at random (a Poisson process), whatever is answered.
    Rate(f64),
}

/// Measures every way of arriving in every round on every server.
pub(super) async fn run(arguments: &HttpBench) -> Result<Report> {
    let mut targets = Targets::find(&arguments.target).await?;
    let plain = targets.clients.clone();
    for client in &plain {
        targets.clients.extend(arguments.with.iter().map(|fields| client.with(fields)));
    }
    let ways: Vec<Arrival> = if arguments.rate.is_empty() {
        arguments.clients.iter().copied().map(Arrival::Clients).collect()
    } else {
        arguments.rate.iter().copied().map(Arrival::Rate).collect()
    };
    let bar = progress_bar("measuring");
    let rounds = arguments.rounds.rounds;
    let mut prompts = 0;
    let mut tables = Vec::new();
    for (at, &way) in ways.iter().enumerate() {
        let title = match way {
            Arrival::Clients(clients) => format!("{clients} clients"),
            Arrival::Rate(rate) => format!("{rate} requests a second"),
        };
        let mut table = Table::new(title, targets.names());
        for round in 0..rounds {
            let mut measured = Vec::new();
            // All servers get the same prompts, at the same times.
            for client in &targets.clients {
                measured.push(match way {
                    Arrival::Clients(clients) => closed(client, arguments, clients, prompts).await,
                    Arrival::Rate(rate) => open(client, arguments, rate, prompts).await,
                });
            }
            prompts += match way {
                Arrival::Clients(clients) => u64::from(clients) * u64::from(arguments.requests),
                Arrival::Rate(_) => u64::from(arguments.arrivals),
            };
            table.rounds.push(measured);
            #[expect(clippy::cast_precision_loss, reason = "it moves a bar")]
            show_part(&bar, (at as f32 + (round + 1) as f32 / rounds as f32) / ways.len() as f32);
        }
        tables.push(table);
    }
    bar.finish_and_clear();
    let mut settings = json!({
        "rounds": rounds,
        "prompt_words": arguments.prompt_words,
        "tokens": arguments.tokens,
        "with": arguments.with,
    });
    if arguments.rate.is_empty() {
        (settings["clients"], settings["requests"]) = (json!(arguments.clients), json!(arguments.requests));
    } else {
        (settings["rate"], settings["arrivals"]) = (json!(arguments.rate), json!(arguments.arrivals));
    }
    Ok(Report { bench: "http", settings, tables })
}

async fn closed(client: &Client, arguments: &HttpBench, clients: u32, first_prompt: u64) -> Figures {
    let begun = Instant::now();
    let ask_all = |number: u32| async move {
        let mut answers = Vec::new();
        for request in 0..arguments.requests {
            let prompt = u64::from(number) * u64::from(arguments.requests) + u64::from(request);
            answers.push(ask(client, arguments, first_prompt + prompt).await);
        }
        answers
    };
    let done = futures::future::join_all((0..clients).map(ask_all)).await;
    figures(begun, done.into_iter().flatten())
}

async fn open(client: &Client, arguments: &HttpBench, rate: f64, first_prompt: u64) -> Figures {
    let begun = Instant::now();
    let (mut state, mut comes) = (first_prompt, 0.0);
    let requests = (0..u64::from(arguments.arrivals)).map(|number| {
        // The times between arrivals are exponential: the logarithm of something evenly spread, never of 0.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let even = ((mix(&mut state) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        comes -= even.ln() / rate;
        let comes = begun + Duration::from_secs_f64(comes);
        async move {
            tokio::time::sleep_until(comes.into()).await;
            ask(client, arguments, first_prompt + number).await
        }
    });
    let done = futures::future::join_all(requests).await;
    figures(begun, done)
}

/// Asks one question; `None` where that failed.
async fn ask(client: &Client, arguments: &HttpBench, prompt: u64) -> Option<Answered> {
    let prompt = words(prompt + 1, arguments.prompt_words);
    let question = Question { prompt, tokens: arguments.tokens, caches: false };
    let answered = client.ask(&question).await;
    answered.inspect_err(|error| tracing::warn!(%error, "a request failed")).ok()
}

fn figures(begun: Instant, done: impl IntoIterator<Item = Option<Answered>>) -> Figures {
    let seconds = begun.elapsed().as_secs_f64();
    let (mut answers, mut errors) = (Vec::new(), 0_u32);
    for answered in done {
        match answered {
            Some(answered) => answers.push(answered),
            None => errors += 1,
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "nobody counts to 2^52 tokens")]
    let tokens = answers.iter().map(|answered| answered.tokens).sum::<u64>() as f64;
    let mut figures = Figures::from([("tokens_per_second", tokens / seconds), ("errors", f64::from(errors))]);
    let first = answers.iter().map(|answered| answered.first).collect();
    times(&mut figures, ["first_token_ms_p50", "first_token_ms_p99"], first);
    let gaps = answers.into_iter().flat_map(|answered| answered.gaps).collect();
    times(&mut figures, ["between_tokens_ms_p50", "between_tokens_ms_p99"], gaps);
    figures
}
