//! The laws of stream processors.

use minerva_engine::event::FinishReason;
use minerva_engine::plugin::{Chunk, Kind, Output, StreamPlugin, StreamProcessor};
use minerva_engine::step::Random;
use serde_json::Value;

use crate::conformance::texts::{chunk, cut, texts};
use crate::conformance::{
    Check, Law, SmallVocabulary, Subject, arguments, context, passed, steady, unless_refused,
};

/// Ways that each text is cut.
const CUTS: u32 = 6;

pub(super) fn check(subject: &Subject<'_>, plugin: &dyn StreamPlugin, checks: &mut Vec<Check>) {
    let mut add = |law, outcome| checks.push(Check::new(Kind::Stream, law, outcome));
    let good = match arguments::good(plugin.args_schema(), subject.options) {
        Ok(good) => good,
        Err(why) => return add("arguments", Err(why)),
    };
    let open = |args: &Value| plugin.open(&context(SmallVocabulary::new()), args);
    add("arguments", arguments::check(plugin.args_schema(), &good, |args| open(args).map(drop)));
    add("determinism", determinism(subject, plugin, &good));
    add("chunks", chunks(subject, plugin, &good));
    add("odd answers", odd(plugin, &good));
    add("memory", memory(subject, plugin, &good[0]));
}

/// The same text in the same pieces twice: the same events, each time.
fn determinism(subject: &Subject<'_>, plugin: &dyn StreamPlugin, good: &[Value]) -> Law {
    let mut count = 0;
    for args in good {
        let mut random = Random::new(1);
        for text in texts(&arguments::strings(args), subject.options.rounds, &mut random) {
            let pieces = cut(&text, &mut random);
            let (first, second) = (run(plugin, args, &pieces, false)?, run(plugin, args, &pieces, false)?);
            differs(&first, &second)
                .map_or(Ok(()), |how| Err(format!("{text:?} with {args}, twice the same way: {how}")))?;
            count += 1;
        }
    }
    passed(format!("{count} answers, twice each"))
}

/// However a text is cut, the events are the same.
fn chunks(subject: &Subject<'_>, plugin: &dyn StreamPlugin, good: &[Value]) -> Law {
    let mut count = 0;
    for args in good {
        let mut random = Random::new(2);
        for text in texts(&arguments::strings(args), subject.options.rounds * 2, &mut random) {
            let whole = run(plugin, args, &[chunk(&text)], true)?;
            for _ in 0..CUTS {
                let pieces = cut(&text, &mut random);
                let cut = run(plugin, args, &pieces, true)?;
                if let Some(how) = differs(&whole, &cut) {
                    let pieces: Vec<&str> = pieces.iter().map(|chunk| chunk.text.as_str()).collect();
                    return Err(format!(
                        "with {args}, the pieces {pieces:?} are not the whole {text:?}: {how}"
                    ));
                }
                count += 1;
            }
        }
    }
    passed(format!("{count} ways of cutting"))
}

/// No text and no end breaks it.
fn odd(plugin: &dyn StreamPlugin, good: &[Value]) -> Law {
    let long = ["x".repeat(64 << 10), "é🦉".repeat(8 << 10), "\n".repeat(4 << 10), "<".repeat(4 << 10)];
    let mut count = 0;
    for args in good {
        for text in &long {
            run(plugin, args, &[chunk(text)], true)?;
            count += 1;
        }
        for reason in [FinishReason::Stop, FinishReason::Length, FinishReason::Filter, FinishReason::Plugin] {
            for vocabulary in [SmallVocabulary::new(), SmallVocabulary::bare()] {
                let opened = plugin.open(&context(vocabulary), args);
                let mut session = opened.map_err(|error| error.to_string())?;
                // A processor before this one may have left nothing but text.
                let text_only = Chunk { text: "a 🦉".to_owned(), tokens: Vec::new() };
                let pushed = session.push(&text_only).map_err(|error| error.to_string())?;
                if !pushed.iter().any(|output| matches!(output, Output::Stop(_))) {
                    session.close(reason).map_err(|error| error.to_string())?;
                }
                count += 1;
            }
        }
    }
    passed(format!("{count} answers: long lines, no tokens, every way to end"))
}

/// A long answer does not pile up.
fn memory(subject: &Subject<'_>, plugin: &dyn StreamPlugin, args: &Value) -> Law {
    let calls = subject.options.calls;
    let mut random = Random::new(3);
    let pieces: Vec<Chunk> = texts(&arguments::strings(args), 60, &mut random)
        .iter()
        .flat_map(|text| cut(text, &mut random))
        .collect();
    let open = || plugin.open(&context(SmallVocabulary::new()), args).map_err(|error| error.to_string());
    let mut session: Box<dyn StreamProcessor> = open()?;
    let (mut before, mut most) = (0, 0);
    for (call, piece) in (0..calls).zip(pieces.iter().cycle()) {
        let outputs = session.push(piece).map_err(|error| format!("call {call}: {error}"))?;
        if call == calls / 10 {
            before = subject.runtime.memory_bytes();
        }
        most = most.max(subject.runtime.memory_bytes());
        if outputs.iter().any(|output| matches!(output, Output::Stop(_))) {
            drop(session);
            session = open()?;
        }
    }
    session.close(FinishReason::Length).map_err(|error| error.to_string())?;
    steady(calls, before, most)
}

/// What comes of an answer. Neighbours of a kind are joined where that is asked for.
fn run(plugin: &dyn StreamPlugin, args: &Value, pieces: &[Chunk], join: bool) -> Result<Vec<Output>, String> {
    let failed = |error: minerva_engine::plugin::Error| format!("with {args}: {error}");
    let mut session = match plugin.open(&context(SmallVocabulary::new()), args) {
        Ok(session) => session,
        Err(error) => return unless_refused(&error).map(|()| Vec::new()),
    };
    let mut outputs = Vec::new();
    let is_end = |output: &Output| matches!(output, Output::Stop(_));
    for piece in pieces {
        outputs.extend(session.push(piece).map_err(failed)?);
        if outputs.iter().any(is_end) {
            // The host takes nothing after it.
            outputs.truncate(1 + outputs.iter().position(is_end).unwrap_or(outputs.len()));
            return Ok(if join { joined(outputs) } else { outputs });
        }
    }
    outputs.extend(session.close(FinishReason::Stop).map_err(failed)?);
    Ok(if join { joined(outputs) } else { outputs })
}

fn joined(outputs: Vec<Output>) -> Vec<Output> {
    let mut joined: Vec<Output> = Vec::new();
    for output in outputs {
        match (joined.last_mut(), output) {
            (Some(Output::Text(before)), Output::Text(text)) => before.push_str(&text),
            (Some(Output::Reasoning(before)), Output::Reasoning(text)) => before.push_str(&text),
            (Some(Output::Tool(before)), Output::Tool(more))
                if before.index == more.index && more.id.is_none() && more.name.is_none() =>
            {
                before.arguments.push_str(&more.arguments);
            }
            (_, output) => joined.push(output),
        }
    }
    joined
}

/// How two lists of events differ, if they do.
fn differs(expected: &[Output], found: &[Output]) -> Option<String> {
    let at = (0..expected.len().max(found.len())).find(|&at| expected.get(at) != found.get(at))?;
    Some(format!("event {at} is {:?} and then {:?}", expected.get(at), found.get(at)))
}
