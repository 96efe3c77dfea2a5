//! What can be set, defined once, as flags: the environment and the file follow from them ([`definition`]). Names are
//! llama-server's where it has the thing.

mod definition;
mod file;
mod hub;
mod layers;
pub(crate) mod log;
mod llama_server;
mod model;
mod plugin;
mod plugins;
mod operation;
mod reference;
mod serve;
mod served;
mod trace;
mod bench;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use llama_server::Translated;
use minerva::models::hub::Reference;

pub(crate) use bench::{
    BenchCommand, DeviceBench, EngineBench, HttpBench, LongPromptBench, PrefixBench, TargetArguments,
};
pub(crate) use definition::Setting;
pub(crate) use hub::HubArguments;
pub(crate) use layers::{Given, Origin, Resolved, Section, Sources};
pub(crate) use model::{ModelArguments, kv_type, model_name};
pub(crate) use plugin::{
    BenchArguments, BuildArguments, CheckArguments, Language, NewArguments, PluginCommand, PluginKind,
    TestArguments,
};
pub(crate) use plugins::{CacheArgument, PluginArguments, set_limits};
pub(crate) use reference::{literal, page, template};
pub(crate) use serve::{ServeArguments, keys_in};
pub(crate) use served::{SamplingArguments, ServedArguments, choice};
pub(crate) use trace::TraceArguments;

/// Runs local language models, programmable by WebAssembly plugins. Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "minerva", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The configuration file; off is none [default: config.toml or config.json in ~/.minerva]
    #[arg(long, global = true, env = "MINERVA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub serve: ServeArguments,
    #[command(flatten)]
    pub log: log::LogArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves a model over HTTP (the default)
    Serve(Box<ServeArguments>),
    /// Answers one prompt on the terminal
    Run(Box<RunArguments>),
    /// Makes, builds and looks at plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Says what holds, of everything that can be set, and where it comes from
    Config(Box<ConfigArguments>),
    /// Brings a model from the Hugging Face hub, and prints where it is
    Pull(PullArguments),
    /// Looks at and makes model files
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Writes a model in another type: smaller, and quicker where memory is slow
    Quantize(QuantizeArguments),
    /// Says what this machine has, what would run where and why, and what could be better
    Doctor(Box<DoctorArguments>),
    /// Measures this program, and servers to compare it with
    #[command(subcommand)]
    Bench(BenchCommand),
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// What to answer; without it, standard input is read
    pub prompt: Option<String>,
    /// A system message
    #[arg(long, alias = "sys", value_name = "TEXT")]
    pub system: Option<String>,
    /// Continue the prompt as it is, without the model's chat template
    #[arg(long)]
    pub raw: bool,
    /// A JSON schema that the answer obeys, as JSON
    #[arg(short = 'j', long, value_name = "SCHEMA", group = "form")]
    pub json_schema: Option<String>,
    /// A file with such a schema
    #[arg(long, value_name = "FILE", group = "form")]
    pub json_schema_file: Option<PathBuf>,
    /// A grammar that the answer obeys, in GBNF, or in Lark if it begins with %llguidance
    #[arg(long, value_name = "GRAMMAR", group = "form")]
    pub grammar: Option<String>,
    /// A file with such a grammar
    #[arg(long, value_name = "FILE", group = "form")]
    pub grammar_file: Option<PathBuf>,
    /// Do not print the statistics at the end
    #[arg(long)]
    pub quiet: bool,
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub plugins: PluginArguments,
    #[command(flatten)]
    pub sampling: SamplingArguments,
    #[command(flatten)]
    pub hub: HubArguments,
}

#[derive(Debug, Args)]
pub(crate) struct PullArguments {
    /// Which one: hf:OWNER/REPOSITORY, hf:OWNER/REPOSITORY:Q4_K_M or hf:OWNER/REPOSITORY/FILE.gguf
    pub model: Reference,
    #[command(flatten)]
    pub hub: HubArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Where to look: folders of models, the hub's cache, Ollama's (~/.ollama/models) or LM Studio's
    /// (~/.lmstudio/models) [default: the hub's cache]
    pub folders: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub hub: HubArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    /// Print a file with everything that can be set, commented out, to begin with
    #[arg(long)]
    pub default: bool,
    /// Print the reference page
    #[arg(long, hide = true)]
    pub reference: bool,
    #[command(flatten)]
    pub serve: ServeArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Lists the models on this machine
    List(ListArguments),
    /// Says what is in a GGUF file, without loading it
    Inspect(InspectArguments),
    /// Writes a model of random weights, to measure and test with
    Synthesize(SynthesizeArguments),
}

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// The model, or the first file of a split one
    pub file: PathBuf,
    /// Tokens of context of one sequence, to say what memory they take [default: the model's, at most 4096]
    #[arg(short, long, value_name = "N")]
    pub ctx_size: Option<u32>,
    /// Sequences side by side, to say what memory they take (-np)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub parallel: u32,
    /// The type of cached keys (-ctk)
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub cache_type_k: String,
    /// The type of cached values (-ctv)
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub cache_type_v: String,
    /// List every tensor
    #[arg(long)]
    pub tensors: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelArguments,
}

#[derive(Debug, Args)]
pub(crate) struct QuantizeArguments {
    /// The model, best in F32, BF16 or F16; the first file of a split one
    pub input: PathBuf,
    /// Where to write it
    pub output: PathBuf,
    /// What to make of it: Q4_K_M, Q5_K_M, Q6_K, Q8_0, …
    #[arg(value_name = "TYPE")]
    pub kind: String,
    /// Replace a file that is there
    #[arg(short, long)]
    pub force: bool,
    /// Quantise what is quantised already, which loses twice
    #[arg(long, alias = "allow-requantize")]
    pub requantize: bool,
    /// All matrices in the one type, instead of a mixture
    #[arg(long)]
    pub pure: bool,
    /// Threads [default: the physical cores]
    #[arg(short, long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: u32,
}

#[derive(Debug, Args)]
pub(crate) struct SynthesizeArguments {
    /// Where to write it
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Its shape: 0.5b, 1b, 8b, or one of the tiny ones for tests (tiny, tiny-moe, tiny-recurrent, …)
    #[arg(long, default_value = "tiny")]
    pub preset: String,
    /// The type of its weights: F32, F16, BF16, Q4_0, Q4_K, Q8_0, … [default: the preset's, Q4_0]
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// Layers, instead of the preset's
    #[arg(long, value_name = "N")]
    pub layers: Option<u32>,
    /// Length of a token's vector
    #[arg(long, value_name = "N")]
    pub width: Option<u32>,
    /// Attention heads
    #[arg(long, value_name = "N")]
    pub heads: Option<u32>,
    /// Heads of keys and values
    #[arg(long, value_name = "N")]
    pub kv_heads: Option<u32>,
    /// Width of the feed-forward part
    #[arg(long, value_name = "N")]
    pub feed_forward: Option<u32>,
    /// The context that it claims to be trained for
    #[arg(short, long, value_name = "N")]
    pub ctx_size: Option<u32>,
    /// Seeds the weights
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Take the vocabulary of this GGUF file instead of a synthetic one
    #[arg(long, value_name = "FILE")]
    pub vocabulary_from: Option<PathBuf>,
}

impl Arguments {
    /// What is to be served; without a command that is everything that was said.
    pub(crate) fn into_serve(self) -> ServeArguments {
        match self.command {
            Some(Command::Serve(serve)) => *serve,
            Some(Command::Config(config)) => config.serve,
            _ => self.serve,
        }
    }
}

/// llama-server's short flags of several letters, which no parser of today takes.
const LONG_SHORTS: &[(&str, &str)] = &[
    ("-np", "--parallel"),
    ("-ngl", "--n-gpu-layers"),
    ("-ub", "--ubatch-size"),
    ("-tb", "--threads-batch"),
    ("-fa", "--flash-attn"),
    ("-ctk", "--cache-type-k"),
    ("-ctv", "--cache-type-v"),
    ("-kvu", "--kv-unified"),
    ("-sys", "--system"),
    ("-hf", "--hf-repo"),
    ("-hfr", "--hf-repo"),
];

/// The command line, with those spelt out and llama-server's translated. Prints what is wrong with these, and ends the
/// process.
pub(crate) fn command_line() -> Translated {
    translate(std::env::args_os().map(spell_out).collect()).unwrap_or_else(|error| {
        Arguments::command().error(clap::error::ErrorKind::InvalidValue, error).exit();
    })
}

/// The variables that are text.
pub(crate) fn environment() -> BTreeMap<String, String> {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// Translates llama-server's flags, where a server is started.
fn translate(typed: Vec<OsString>) -> Result<Translated, String> {
    let program = definition::command();
    let given = typed.get(1).and_then(|first| first.to_str()).unwrap_or_default();
    if given == "help" || (given != "serve" && program.find_subcommand(given).is_some()) {
        return Ok(Translated { arguments: typed, ..Translated::default() });
    }
    let serve = program.find_subcommand("serve");
    let (mut own, mut takes_value) = (HashSet::new(), HashSet::new());
    for argument in serve.into_iter().flat_map(clap::Command::get_arguments).chain(program.get_arguments()) {
        let long = argument.get_long_and_visible_aliases().unwrap_or_default().into_iter();
        let hidden = argument.get_all_aliases().unwrap_or_default().into_iter();
        let names = long.chain(hidden).map(|name| format!("--{name}"));
        let names: Vec<String> = names.chain(argument.get_short().map(|short| format!("-{short}"))).collect();
        // A switch may come as --switch=off, and takes nothing from what follows it.
        let may_stand_alone = argument.get_num_args().is_some_and(|count| count.min_values() == 0);
        if argument.get_action().takes_values() && !may_stand_alone {
            takes_value.extend(names.iter().cloned());
        }
        own.extend(names);
    }
    llama_server::translate(without_defaults(typed), &own, &takes_value)
}

/// Leaves out `-n -1` and `--seed -1`, which are llama-server's words for what holds without them.
fn without_defaults(typed: Vec<OsString>) -> Vec<OsString> {
    let mut left: Vec<OsString> = Vec::with_capacity(typed.len());
    for argument in typed {
        let of = left.last().and_then(|last| last.to_str());
        if argument == "-1" && matches!(of, Some("-n" | "--predict" | "--n-predict" | "-s" | "--seed")) {
            left.pop();
        } else {
            left.push(argument);
        }
    }
    left
}

fn spell_out(argument: OsString) -> OsString {
    let long = LONG_SHORTS.iter().find(|(short, _)| argument == *short);
    long.map_or(argument, |(_, long)| (*long).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition::command().debug_assert();
    }

    #[test]
    fn what_users_of_llama_server_type_is_understood() {
        let typed = [
            "minerva", "-m", "x.gguf", "-c", "8192", "-np", "4", "-ngl", "99", "-fa", "off", "--port", "9000",
        ];
        let arguments = Arguments::parse_from(typed.map(OsString::from).map(spell_out));
        let serve = arguments.serve;
        assert_eq!(serve.model.model, Some("x.gguf".into()));
        assert_eq!((serve.model.ctx_size, serve.model.parallel), (Some(8192), Some(4)));
        assert_eq!((serve.port, serve.model.n_gpu_layers), (9000, Some(99)));
    }

    #[test]
    fn flags_of_llama_server_are_translated_for_a_server_and_for_nothing_else() {
        let translated = |line: &str| translate(line.split(' ').map(OsString::from).collect());
        let serve = translated("minerva serve --temp 0 -n -1 --typical 0.9 --no-warmup --port 1")
            .expect("it is obeyed");
        let arguments = Arguments::parse_from(serve.arguments);
        let Some(Command::Serve(arguments)) = arguments.command else { panic!("it serves") };
        assert_eq!((arguments.served.sampling.temperature, arguments.port), (Some(0.0), 1));
        assert_eq!(arguments.served.sampling_fields, [r#"{"typical_p":0.9}"#]);
        assert_eq!(serve.ignored, ["--no-warmup"]);
        assert!(translated("minerva --lora x").is_err());
        let switches =
            translated("minerva --embedding --no-warmup --kv-unified --temp 0").expect("it is obeyed");
        assert_eq!(switches.ignored, ["--no-warmup"]);
        let run = translated("minerva run --temp 0 hello").expect("its own flag");
        assert_eq!(run.arguments.join(std::ffi::OsStr::new(" ")), "minerva run --temp 0 hello");
    }
}
