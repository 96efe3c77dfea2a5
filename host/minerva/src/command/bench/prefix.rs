//! `minerva bench prefix`: a second request that begins as the first one did.

use anyhow::Result;
use serde_json::json;

use super::Report;
use super::client::{Answered, Question, words, words_for_tokens};
use super::figures::{Figures, Table};
use super::target::Targets;
use crate::command::{progress_bar, show_part};
use crate::config::PrefixBench;

/// Measures a first and a second request in every round on every server.
pub(super) async fn run(arguments: &PrefixBench) -> Result<Report> {
    let targets = Targets::find(&arguments.target).await?;
    let count = words_for_tokens(&targets.clients[0], arguments.prompt_tokens).await?;
    let bar = progress_bar("measuring");
    let rounds = arguments.rounds.rounds;
    let mut table =
        Table::new(format!("a prefix of about {} tokens", arguments.prompt_tokens), targets.names());
    for round in 0..rounds {
        let prefix = words(u64::from(round) + 1_000, count);
        let mut measured = Vec::new();
        for client in &targets.clients {
            let question =
                |end: &str| Question { prompt: format!("{prefix} {end}"), tokens: 4, caches: true };
            let first = client.ask(&question("One question is")).await?;
            let second = client.ask(&question("Another thing was")).await?;
            measured.push(figures(&first, &second));
        }
        table.rounds.push(measured);
        #[expect(clippy::cast_precision_loss, reason = "it moves a bar")]
        show_part(&bar, (round + 1) as f32 / rounds as f32);
    }
    bar.finish_and_clear();
    let settings = json!({ "rounds": rounds, "prompt_tokens": arguments.prompt_tokens });
    Ok(Report { bench: "prefix", settings, tables: vec![table] })
}

fn figures(first: &Answered, second: &Answered) -> Figures {
    let mut figures = Figures::from([
        ("first_request_ms", first.first * 1e3),
        ("second_request_ms", second.first * 1e3),
        ("second_to_first", second.first / first.first),
    ]);
    #[expect(clippy::cast_precision_loss, reason = "no prompt has 2^52 tokens")]
    for (name, count) in [("prompt_tokens", second.prompt_tokens), ("cached_tokens", second.cached_tokens)] {
        figures.extend(count.map(|count| (name, count as f64)));
    }
    figures
}
