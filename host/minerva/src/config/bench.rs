//! What is measured, and how often.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::{HubArguments, ModelArguments, PluginArguments};

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// llama.cpp in a bare loop, the engine without HTTP, and the engine with a sampler plugin
    Engine(Box<EngineBench>),
    /// The processor and the GPUs: layers on them, sequences, contexts, and the memory that each takes
    Device(Box<DeviceBench>),
    /// Clients that ask one or two servers as fast as they are answered
    Http(HttpBench),
    /// What a long prompt that arrives does to streams, and they to it
    LongPrompt(LongPromptBench),
    /// What a second request gains that begins as the first one did
    Prefix(PrefixBench),
}

/// How often, and in what form.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct RoundArguments {
    /// Rounds; in each, everything that is compared is measured once, one after the other
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Who is asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArguments {
    /// The server to measure, http://HOST:PORT; without it, one is started with the arguments behind `--`
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// A server to compare with, any that speaks OpenAI's API
    #[arg(long, value_name = "URL")]
    pub peer: Option<String>,
    /// A key to bring
    #[arg(long, env = "MINERVA_BENCH_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// What to give `minerva serve`, where no --url is: `-- -m model.gguf -np 16`
    #[arg(last = true, value_name = "ARGUMENTS", conflicts_with = "url")]
    pub serve: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct EngineBench {
    /// Sequences side by side, one measurement each
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 8, 16], value_parser = clap::value_parser!(u32).range(1..=256))]
    pub sequences: Vec<u32>,
    /// Tokens of each prompt
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: u32,
    /// Tokens that each sequence generates
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(4..))]
    pub tokens: u32,
    /// A sampler plugin to measure with, of those loaded, with arguments as JSON: min-p or min-p={"p":0.1}
    #[arg(long, value_name = "NAME[=JSON]")]
    pub sampler: Option<String>,
    #[command(flatten)]
    pub rounds: RoundArguments,
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub plugins: PluginArguments,
    #[command(flatten)]
    pub hub: HubArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DeviceBench {
    /// Layers on a GPU; 0 is the processor, and all is as many as there are
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values = ["0", "10", "40", "all"], value_parser = layers)]
    pub layers: Vec<u32>,
    /// Sequences side by side
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 4, 8, 16], value_parser = clap::value_parser!(u32).range(1..=256))]
    pub sequences: Vec<u32>,
    /// Tokens of context of each sequence
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [512, 2048, 8192], value_parser = clap::value_parser!(u32).range(32..))]
    pub contexts: Vec<u32>,
    /// Most tokens of each prompt; where the context holds fewer beside what is generated, it is these
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: u32,
    /// Tokens that each sequence generates
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(4..=30))]
    pub tokens: u32,
    #[command(flatten)]
    pub rounds: RoundArguments,
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub hub: HubArguments,
}

/// A number of layers; all of them are more than any model has.
fn layers(text: &str) -> Result<u32, String> {
    if text == "all" {
        Ok(u32::MAX)
    } else {
        text.parse().map_err(|_| "it is neither a number nor `all`".into())
    }
}

#[derive(Debug, Args)]
pub(crate) struct HttpBench {
    #[command(flatten)]
    pub target: TargetArguments,
    #[command(flatten)]
    pub rounds: RoundArguments,
    /// Clients side by side, one measurement each
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 8, 16], value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub clients: Vec<u32>,
    /// Instead of clients that wait for an answer before they ask again: requests a second, that come at random times
    /// whatever is answered, one measurement each
    #[arg(long, value_name = "N,…", value_delimiter = ',', conflicts_with = "clients", value_parser = rate)]
    pub rate: Vec<f64>,
    /// Requests in a round, with --rate
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub arrivals: u32,
    /// Measure every server once more with these fields in each request, as JSON; may be repeated
    #[arg(long, value_name = "JSON", value_parser = fields)]
    pub with: Vec<Map<String, Value>>,
    /// Requests of each client in a round, one after the other
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub requests: u32,
    /// Words of each prompt; no two prompts are alike
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_words: u32,
    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..))]
    pub tokens: u32,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (0.001..=100_000.0).contains(&rate) { Ok(rate) } else { Err("it is from 0.001 to 100000".into()) }
}

fn fields(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no JSON object: {error}"))
}

#[derive(Debug, Args)]
pub(crate) struct LongPromptBench {
    #[command(flatten)]
    pub target: TargetArguments,
    #[command(flatten)]
    pub rounds: RoundArguments,
    /// Streams that are being answered
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub streams: u32,
    /// Tokens of the long prompt, about
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: u32,
    /// Tokens that a stream asks for: more than come before the long prompt is answered
    #[arg(long, value_name = "N", default_value_t = 1500, value_parser = clap::value_parser!(u32).range(2..))]
    pub stream_tokens: u32,
}

#[derive(Debug, Args)]
pub(crate) struct PrefixBench {
    #[command(flatten)]
    pub target: TargetArguments,
    #[command(flatten)]
    pub rounds: RoundArguments,
    /// Tokens that both prompts begin with, about
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: u32,
}
