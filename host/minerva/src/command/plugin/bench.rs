//! `minerva plugin bench`: what a component's calls take.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use minerva::conformance::{self, SmallVocabulary};
use minerva::engine::event::FinishReason;
use minerva::engine::plugin::{self, Chunk, Plugin, SessionContext, Tier};
use minerva::wasm::{Options, Runtime};
use minerva::{Candidates, Chat, Message, Step};
use serde_json::Value;

use crate::command::plugin::{check, test};
use crate::config::BenchArguments;

/// How often each call is made.
const CALLS: usize = 2_000;

/// How often it is loaded from the cache.
const LOADS: usize = 50;

/// Measures files, one after another, a row for each call.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(arguments: &BenchArguments) -> Result<()> {
    let args = arguments.args.as_deref().map(test::json).transpose()?;
    println!("{:<24} {:<9} {:<22} {:>10} {:>10}", "plugin", "kind", "call", "median us", "p99 us");
    for file in &arguments.files {
        for Row { kind, call, mut times } in measure(file, args.as_ref())? {
            times.sort_unstable();
            let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e6;
            println!("{:<24} {kind:<9} {call:<22} {:>10.2} {:>10.2}", check::name(file), at(50), at(99));
        }
    }
    Ok(())
}

struct Row {
    kind: &'static str,
    call: &'static str,
    times: Vec<Duration>,
}

fn measure(file: &Path, args: Option<&Value>) -> Result<Vec<Row>> {
    // In a cache of its own, so that the first load compiles.
    let cache = std::env::temp_dir().join(format!("minerva-bench-{}", std::process::id()));
    let runtime = Runtime::new(Options { cache: Some(cache.clone()), ..conformance::patient() })?;
    let load = || -> Result<(Plugin, Duration)> {
        let begun = Instant::now();
        Ok((runtime.load(&check::name(file), file)?, begun.elapsed()))
    };
    let (plugin, compiled) = load()?;
    let cached: Result<Vec<Duration>> = (0..LOADS).map(|_| Ok(load()?.1)).collect();
    // What is left of it is the system's to clean.
    let _ = std::fs::remove_dir_all(cache);
    let mut rows = vec![
        Row { kind: "", call: "load, compiling", times: vec![compiled] },
        Row { kind: "", call: "load, from the cache", times: cached? },
    ];
    let context = SessionContext::new("bench", Arc::new(SmallVocabulary::new()));
    let schema = |schema: &str| match args {
        Some(args) => Ok(args.clone()),
        None => conformance::example_args(schema).map_err(|why| anyhow!("{}: {why}", file.display())),
    };
    let Plugin { sampler, template, stream, .. } = &plugin;
    if let Some(sampler) = sampler {
        let args = schema(&sampler.descriptor().args_schema)?;
        rows.extend(sampler_rows(sampler.as_ref(), &context, &args)?);
    }
    if let Some(template) = template {
        let args = schema(template.args_schema())?;
        let chat = Chat { messages: vec![Message::text("user", "What do owls eat?")], ..Chat::default() };
        let times = timed(|| template.render(&context, &chat, &args).map(drop))?;
        rows.push(Row { kind: "template", call: "render, one message", times });
    }
    if let Some(stream) = stream {
        let args = schema(stream.args_schema())?;
        rows.extend(stream_rows(stream.as_ref(), &context, &args)?);
    }
    Ok(rows)
}

fn sampler_rows(
    sampler: &dyn plugin::SamplerPlugin,
    context: &SessionContext,
    args: &Value,
) -> Result<Vec<Row>> {
    let row = |call, times| Row { kind: "sampler", call, times };
    let prompt: Vec<u32> = (0..200).collect();
    let (open, drops) = opened(|| sampler.open(context, args, &prompt))?;
    let mut session = sampler.open(context, args, &prompt)?;
    let mut step = Step { history: prompt.clone(), prompt_tokens: prompt.len(), ..Step::default() };
    session.advance(&mut step, &[])?;
    let mut advance = Vec::with_capacity(CALLS);
    let mut pick = Vec::with_capacity(CALLS);
    let logits: Vec<f32> = (0..64_u8).map(|rank| 10.0 - f32::from(rank) * 0.1).collect();
    let picks = sampler.descriptor().tier > Tier::Plan;
    for token in (0..256).cycle().take(CALLS) {
        step.history.push(token);
        step.commands = minerva::engine::step::Commands::default();
        let begun = Instant::now();
        session.advance(&mut step, &[token])?;
        advance.push(begun.elapsed());
        if picks {
            let cut = Candidates { ids: (0..64).collect(), logits: logits.clone() };
            // What is over 64 candidates is not shown, what is under is.
            step.row = Some(Arc::new(vec![0.0; 302]));
            let begun = Instant::now();
            session.pick(&mut step, &cut)?;
            pick.push(begun.elapsed());
        }
    }
    let mut rows = vec![row("open", open), row("drop", drops), row("advance, 1 token", advance)];
    if picks {
        rows.push(row("pick, 64 candidates", pick));
    }
    Ok(rows)
}

fn stream_rows(
    stream: &dyn plugin::StreamPlugin,
    context: &SessionContext,
    args: &Value,
) -> Result<Vec<Row>> {
    let row = |call, times| Row { kind: "stream", call, times };
    let (open, drops) = opened(|| stream.open(context, args))?;
    let mut session = stream.open(context, args)?;
    let pieces = [" The", " owl", " hunts", " at", " night", ".", "\n"];
    let mut push = Vec::with_capacity(CALLS);
    for piece in pieces.iter().cycle().take(CALLS) {
        let chunk = Chunk { text: (*piece).to_owned(), tokens: vec![42] };
        let begun = Instant::now();
        session.push(&chunk)?;
        push.push(begun.elapsed());
    }
    session.close(FinishReason::Stop)?;
    Ok(vec![row("open", open), row("drop", drops), row("push, one token", push)])
}

/// What opening takes, and what dropping does.
fn opened<T>(open: impl Fn() -> Result<T, plugin::Error>) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let (mut opens, mut drops) = (Vec::with_capacity(CALLS), Vec::with_capacity(CALLS));
    for _ in 0..CALLS {
        let begun = Instant::now();
        let session = open()?;
        opens.push(begun.elapsed());
        let begun = Instant::now();
        drop(session);
        drops.push(begun.elapsed());
    }
    Ok((opens, drops))
}

fn timed(call: impl Fn() -> Result<(), plugin::Error>) -> Result<Vec<Duration>> {
    let once = |_| {
        let begun = Instant::now();
        call()?;
        Ok(begun.elapsed())
    };
    (0..CALLS).map(once).collect()
}
