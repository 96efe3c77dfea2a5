//! `minerva bench`: measures, beside what it is to be compared with.
//!
//! Everything that is compared is measured in turn in every round: a machine that changes its mood does so for all.
//! What is told is the median of the rounds, and of a ratio its least and its greatest value too.

mod client;
mod device;
mod engine;
mod figures;
mod http;
mod long_prompt;
mod prefix;
mod target;

use anyhow::Result;
use serde_json::{Value, json};

use crate::config::BenchCommand;
use figures::Table;

/// Measures, and prints what was found.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(command: BenchCommand) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (is_json, found) = match command {
        BenchCommand::Device(arguments) => {
            let found = device::run(&arguments)?;
            if arguments.rounds.json {
                println!("{:#}", found.json());
            } else {
                print!("{found}");
            }
            return Ok(());
        }
        BenchCommand::Engine(arguments) => {
            (arguments.rounds.json, runtime.block_on(engine::run(&arguments))?)
        }
        BenchCommand::Http(arguments) => (arguments.rounds.json, runtime.block_on(http::run(&arguments))?),
        BenchCommand::LongPrompt(arguments) => {
            (arguments.rounds.json, runtime.block_on(long_prompt::run(&arguments))?)
        }
        BenchCommand::Prefix(arguments) => {
            (arguments.rounds.json, runtime.block_on(prefix::run(&arguments))?)
        }
    };
    if is_json {
        println!("{:#}", found.json());
    } else {
        print!("{found}");
    }
    Ok(())
}

/// What was found: tables, and what they were measured with.
struct Report {
    bench: &'static str,
    settings: Value,
    tables: Vec<Table>,
}

impl Report {
    fn json(&self) -> Value {
        let tables: Vec<Value> = self.tables.iter().map(Table::json).collect();
        json!({
            "bench": self.bench,
            "version": env!("CARGO_PKG_VERSION"),
            "settings": self.settings,
            "tables": tables,
        })
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "minerva bench {}: {}", self.bench, self.settings)?;
        self.tables.iter().try_for_each(|table| write!(formatter, "\n{table}"))
    }
}
