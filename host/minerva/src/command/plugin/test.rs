//! `minerva plugin test`: holds components against the laws of plugins.

use anyhow::{Context as _, Result, bail};
use minerva::conformance::{self, Options, Outcome};
use minerva::wasm::Runtime;
use serde_json::Value;

use crate::command::plugin::check;
use crate::config::TestArguments;

/// Tests files, one after another, a line for each law.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(arguments: &TestArguments) -> Result<()> {
    let args = arguments.args.as_deref().map(json).transpose()?;
    let (calls, rounds) = if arguments.thorough { (50_000, 100) } else { (2_000, 12) };
    let options = Options { calls, rounds, args };
    let mut broken = 0;
    for file in &arguments.files {
        // One runtime for each: the check of memory looks at all of it.
        let limits = conformance::patient();
        let runtime = Runtime::new(minerva::wasm::Options { cache: arguments.cache.folder(), ..limits })?;
        let plugin = runtime.load(&check::name(file), file)?;
        println!("{}: {} {}", file.display(), plugin.identity.name, plugin.identity.version);
        for check in conformance::check(&runtime, &plugin, &options) {
            let (word, text) = match &check.outcome {
                Outcome::Passed(text) => ("ok", text),
                Outcome::Skipped(text) => ("skip", text),
                Outcome::Failed(text) => ("FAIL", text),
            };
            broken += u32::from(matches!(check.outcome, Outcome::Failed(_)));
            println!("  {word:<4}  {:<8}  {:<12}  {text}", check.kind.as_str(), check.law);
        }
    }
    if broken > 0 {
        bail!("{broken} laws are broken");
    }
    Ok(())
}

/// Arguments from the command line.
pub(super) fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).with_context(|| format!("--args is not JSON: {text}"))
}
