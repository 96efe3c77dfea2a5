//! `minerva run`: one prompt, answered on the terminal.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use futures::StreamExt;
use minerva::engine::grammar;
use minerva::engine::plugin::{Kind, Plugin};
use minerva::engine::request::{Grammar, Use};
use minerva::{Chat, Event, Finished, GenerateRequest, Input, Message, Minerva};
use minerva_server::PluginChoice;
use serde_json::Value;

use crate::command::{progress_bar, show_part};
use crate::config::{RunArguments, choice};

/// Answers the prompt.
pub(crate) fn run(arguments: &RunArguments) -> Result<()> {
    if arguments.model.wants_report() {
        return super::doctor::run(&arguments.model, false);
    }
    let prompt = prompt(arguments)?;
    let bar = progress_bar("loading the model");
    let shown = bar.clone();
    let builder = arguments.model.builder(&arguments.plugins, &arguments.hub)?.on_progress(move |part| {
        show_part(&shown, part);
        true
    });
    // One answer needs one sequence; a context that was asked for is all its own.
    let slots = arguments.model.parallel.unwrap_or(1);
    let context = arguments.model.ctx_size.unwrap_or(0) / slots.max(1);
    let minerva = builder.slots(slots).context(context).build()?;
    bar.finish_and_clear();

    let request = request(&minerva, arguments, prompt)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let finished = runtime.block_on(print_answer(&minerva, request))?;
    if !arguments.quiet {
        print_statistics(&finished);
    }
    Ok(())
}

fn prompt(arguments: &RunArguments) -> Result<String> {
    if let Some(prompt) = &arguments.prompt {
        return Ok(prompt.clone());
    }
    if std::io::stdin().is_terminal() {
        bail!("give a prompt: minerva run \"Why is the sky blue?\", or write one to standard input");
    }
    let mut prompt = String::new();
    std::io::stdin().read_to_string(&mut prompt).context("standard input is not text")?;
    Ok(prompt)
}

fn request(minerva: &Minerva, arguments: &RunArguments, prompt: String) -> Result<GenerateRequest> {
    let input = if arguments.raw {
        Input::Text(prompt)
    } else {
        let system = arguments.system.iter().map(|text| Message::text("system", text.as_str()));
        let messages = system.chain([Message::text("user", prompt)]).collect();
        Input::Chat(Chat { messages, ..Chat::default() })
    };
    let mut request = GenerateRequest::new("run", input);
    arguments.sampling.apply(&mut request.params);
    request.grammar = grammar(arguments)?;
    let on_fault = |plugin: &Plugin| minerva.plugins().on_fault(&plugin.identity.name);
    if let Some(named) = &arguments.sampling.template {
        let (plugin, args) = plugin(minerva, named, Kind::Template)?;
        let on_fault = on_fault(&plugin);
        request.template = plugin.template.clone().map(|plugin| Use { plugin, args, on_fault });
    }
    for named in &arguments.sampling.sampler {
        let (plugin, args) = plugin(minerva, named, Kind::Sampler)?;
        let on_fault = on_fault(&plugin);
        request.samplers.extend(plugin.sampler.clone().map(|plugin| Use { plugin, args, on_fault }));
    }
    for named in &arguments.sampling.stream {
        let (plugin, args) = plugin(minerva, named, Kind::Stream)?;
        let on_fault = on_fault(&plugin);
        request.stream.extend(plugin.stream.clone().map(|plugin| Use { plugin, args, on_fault }));
    }
    Ok(request)
}

/// What the answer must be, from the one flag that says it.
fn grammar(arguments: &RunArguments) -> Result<Option<Grammar>> {
    let read = |file: &Option<PathBuf>| -> Result<Option<String>> {
        let Some(file) = file else { return Ok(None) };
        let text =
            std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        Ok(Some(text))
    };
    if let Some(schema) = arguments.json_schema.clone().or(read(&arguments.json_schema_file)?) {
        return Ok(Some(Grammar::new(grammar::Kind::JsonSchema, schema)));
    }
    let text = arguments.grammar.clone().or(read(&arguments.grammar_file)?);
    Ok(text.map(|text| Grammar::new(grammar::Kind::of_llama(&text), text)))
}

/// Reads `NAME[=JSON]`, and finds the plugin.
pub(crate) fn plugin(minerva: &Minerva, named: &str, kind: Kind) -> Result<(std::sync::Arc<Plugin>, Value)> {
    let PluginChoice { id: name, args, .. } = choice(named)?;
    let found = minerva.plugins().get(&name).filter(|plugin| plugin.kinds().any(|of| of == kind));
    let found = found.ok_or_else(|| {
        anyhow!("there is no {} plugin '{name}'; load one with --plugin {name}=FILE", kind.as_str())
    })?;
    Ok((found, args))
}

async fn print_answer(minerva: &Minerva, request: GenerateRequest) -> Result<Finished> {
    let mut generation = minerva.generate(request).await?;
    let mut out = std::io::stdout().lock();
    while let Some(event) = generation.next().await {
        match event? {
            Event::Text(text) => write!(out, "{}", text.text)?,
            Event::Reasoning(text) => write!(out, "{text}")?,
            Event::Tool(tool) => write!(out, "{}{}", tool.name.unwrap_or_default(), tool.arguments)?,
            Event::Meta(meta) => tracing::info!(plugin = meta.plugin, meta = meta.json, "a plugin says"),
            Event::Finished(finished) => {
                writeln!(out)?;
                return Ok(finished);
            }
        }
        out.flush()?;
    }
    bail!("the answer ended without an end");
}

fn print_statistics(finished: &Finished) {
    let usage = &finished.usage;
    let rate = |tokens: u32, seconds: f64| if seconds > 0.0 { f64::from(tokens) / seconds } else { 0.0 };
    eprintln!(
        "\nprompt: {} tokens, {} of them cached, {:.1} tokens/s; answer: {} tokens, {:.1} tokens/s; seed {}",
        usage.prompt_tokens,
        usage.cached_tokens,
        rate(usage.prompt_tokens - usage.cached_tokens, usage.prefill_time.as_secs_f64()),
        usage.completion_tokens,
        rate(usage.completion_tokens.saturating_sub(1), usage.decode_time.as_secs_f64()),
        finished.seed,
    );
    for report in &finished.plugins {
        eprintln!(
            "{} plugin {} {}: {} calls",
            report.kind.as_str(),
            report.name,
            report.version,
            report.calls
        );
    }
}
