//! The `minerva` program.
#![forbid(unsafe_code)]

mod config;
mod command;

use std::process::ExitCode;

use crate::config::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::from_command_line();
    config::log::start(&arguments.log);
    let result = match arguments.command {
        None => command::serve::run(arguments.serve),
        Some(Command::Serve(serve)) => command::serve::run(*serve),
        Some(Command::Run(run)) => command::run::run(&run),
        Some(Command::Doctor(doctor)) => command::doctor::run(&doctor.model, doctor.json),
        Some(Command::Plugin(plugin)) => command::plugin::run(plugin),
        Some(Command::Models(models)) => command::models::run(models),
        Some(Command::Quantize(quantize)) => command::quantize::run(quantize),
        Some(Command::Bench(bench)) => command::bench::run(bench),
    };
    match result {
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
