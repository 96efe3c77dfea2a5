//! The `minerva` program.
#![forbid(unsafe_code)]

mod config;
mod command;

use std::process::ExitCode;

use crate::config::{Command, Sources};

fn main() -> ExitCode {
    // Before anything is read: a model's process has neither settings nor a configuration.
    let mut arguments = std::env::args();
    let is_model = arguments.nth(1).is_some_and(|first| first == minerva::isolate::COMMAND);
    let ended = if is_model { command::isolated::run(arguments.next().as_deref()) } else { run() };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The causes behind a message are part of it only where they say something new.
            eprintln!("minerva: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let typed = config::command_line();
    let sources = Sources::read(typed.arguments, config::environment())?;
    let resolved = sources.resolve(None)?;
    let log = config::log::start(&resolved.arguments.log);
    if !typed.ignored.is_empty() {
        tracing::info!("these flags of llama-server make no difference here: {}", typed.ignored.join(" "));
    }
    match resolved.arguments.command {
        Some(Command::Run(run)) => command::run::run(&run),
        Some(Command::Doctor(doctor)) => command::doctor::run(&doctor.model, doctor.json),
        Some(Command::Plugin(plugin)) => command::plugin::run(plugin),
        Some(Command::Config(arguments)) => command::config::run(&arguments, &sources),
        Some(Command::Pull(pull)) => command::pull::run(&pull),
        Some(Command::Models(models)) => command::models::run(models),
        Some(Command::Quantize(quantize)) => command::quantize::run(quantize),
        Some(Command::Bench(bench)) => command::bench::run(bench),
        None | Some(Command::Serve(_)) => command::serve::run(sources, log),
    }
}
