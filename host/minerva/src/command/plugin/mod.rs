//! `minerva plugin`: makes, builds, looks at, tests and measures plugins.

mod new;
mod build;
mod check;
mod test;
mod bench;

use anyhow::Result;

use crate::config::PluginCommand;

/// Runs one of the commands about plugins.
pub(crate) fn run(command: PluginCommand) -> Result<()> {
    match command {
        PluginCommand::New(arguments) => new::run(&arguments),
        PluginCommand::Build(arguments) => build::run(&arguments),
        PluginCommand::Check(arguments) => check::run(&arguments),
        PluginCommand::Test(arguments) => test::run(&arguments),
        PluginCommand::Bench(arguments) => bench::run(&arguments),
    }
}
