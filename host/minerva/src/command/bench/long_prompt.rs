//! `minerva bench long-prompt`: a long prompt arrives while streams are being answered.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use serde_json::{Value, json};

use super::Report;
use super::client::{Answered, Client, Question, words, words_for_tokens};
use super::figures::{Figures, Table, times};
use super::target::Targets;
use crate::command::{progress_bar, show_part};
use crate::config::LongPromptBench;

/// Tokens of a stream that are not timed.
const SETTLED: usize = 8;

/// Measures streams and a prompt, alone and beside each other, in every round on every server.
pub(super) async fn run(arguments: &LongPromptBench) -> Result<Report> {
    let targets = Targets::find(&arguments.target).await?;
    let count = words_for_tokens(&targets.clients[0], arguments.prompt_tokens).await?;
    let bar = progress_bar("measuring");
    let rounds = arguments.rounds.rounds;
    let title =
        format!("{} streams, a prompt of about {} tokens", arguments.streams, arguments.prompt_tokens);
    let mut table = Table::new(title, targets.names());
    for round in 0..rounds {
        let mut measured = Vec::new();
        for client in &targets.clients {
            measured.push(arrival(client, arguments, count, u64::from(round)).await?);
        }
        table.rounds.push(measured);
        #[expect(clippy::cast_precision_loss, reason = "it moves a bar")]
        show_part(&bar, (round + 1) as f32 / rounds as f32);
    }
    bar.finish_and_clear();
    let settings = json!({
        "rounds": rounds,
        "streams": arguments.streams,
        "prompt_tokens": arguments.prompt_tokens,
    });
    Ok(Report { bench: "long-prompt", settings, tables: vec![table] })
}

async fn arrival(client: &Client, arguments: &LongPromptBench, count: u32, round: u64) -> Result<Figures> {
    let long = |number: u64| Question { prompt: words(round * 2 + number, count), tokens: 2, caches: false };
    let alone = client.ask(&long(1_000_000)).await?;

    let mut streams = Streams::open(client, arguments, round * 2).await?;
    // The first tokens come while prompts are still being read.
    streams.read(SETTLED).await?;
    streams.forget();
    let question = long(1_000_001);
    let mut asking = std::pin::pin!(client.ask(&question));
    let beside = loop {
        tokio::select! {
            answered = &mut asking => break answered?,
            read = streams.next() => read?,
        }
    };
    let tokens = streams.answers.iter().map(|(answered, _)| answered.gaps.len()).max().unwrap_or(0);
    let gaps_beside = streams.forget();
    drop(streams);

    // As many tokens once more without it: later tokens of a stream take longer in any case.
    let mut streams = Streams::open(client, arguments, round * 2 + 1).await?;
    streams.read(SETTLED).await?;
    streams.forget();
    streams.read(tokens.max(1)).await?;
    let gaps_alone = streams.forget();
    drop(streams);

    let mut figures = Figures::from([
        ("prompt_alone_ms", alone.first * 1e3),
        ("prompt_beside_ms", beside.first * 1e3),
        ("prompt_beside_to_alone", beside.first / alone.first),
    ]);
    times(&mut figures, ["between_tokens_alone_ms_p50", "between_tokens_alone_ms_p99"], gaps_alone);
    times(&mut figures, ["between_tokens_beside_ms_p50", "between_tokens_beside_ms_p99"], gaps_beside);
    let ratio = |above: &str, below: &str| Some(figures.get(above)? / figures.get(below)?);
    let slower = ratio("between_tokens_beside_ms_p99", "between_tokens_alone_ms_p99");
    figures.extend(slower.map(|slower| ("between_tokens_p99_beside_to_alone", slower)));
    Ok(figures)
}

/// Streams that are read side by side.
struct Streams {
    events: SelectAll<BoxStream<'static, (usize, Result<Value>)>>,
    answers: Vec<(Answered, Option<Instant>)>,
    begun: Instant,
}

impl Streams {
    async fn open(client: &Client, arguments: &LongPromptBench, number: u64) -> Result<Self> {
        let mut events = SelectAll::new();
        let count = arguments.streams;
        let opening = (0..u64::from(count)).map(|stream| async move {
            let question = Question {
                prompt: words(2_000_000 + number * 10_000 + stream, 48),
                tokens: arguments.stream_tokens,
                caches: false,
            };
            client.stream(&question).await
        });
        for (at, stream) in futures::future::try_join_all(opening).await?.into_iter().enumerate() {
            events.push(stream.map(move |event| (at, event)).boxed());
        }
        let answers = (0..count).map(|_| (Answered::default(), None)).collect();
        Ok(Self { events, answers, begun: Instant::now() })
    }

    /// Reads one event.
    async fn next(&mut self) -> Result<()> {
        let (at, event) =
            self.events.next().await.context("every stream ended before the prompt was answered")?;
        let (answered, last) = &mut self.answers[at];
        answered.take(&event?, self.begun, last);
        if self.events.len() < self.answers.len() {
            bail!("a stream ended before the prompt was answered; give them more with --stream-tokens");
        }
        Ok(())
    }

    /// Reads until every stream had so many tokens since the last look.
    async fn read(&mut self, tokens: usize) -> Result<()> {
        while self.answers.iter().any(|(answered, _)| answered.gaps.len() < tokens) {
            self.next().await?;
        }
        Ok(())
    }

    /// The times between tokens since the last look.
    fn forget(&mut self) -> Vec<f64> {
        self.answers.iter_mut().flat_map(|(answered, _)| std::mem::take(&mut answered.gaps)).collect()
    }
}
