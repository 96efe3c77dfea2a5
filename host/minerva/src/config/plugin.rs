//! What is said to `minerva plugin`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::CacheArgument;

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// Makes a project for a plugin, which builds as it stands
    New(NewArguments),
    /// Builds a project to a component
    Build(BuildArguments),
    /// Says what a component is, what it asks for, and whether it would load
    Check(CheckArguments),
    /// Holds components against the laws of plugins
    Test(TestArguments),
    /// Measures what a component's calls take
    Bench(BenchArguments),
}

#[derive(Debug, Args)]
pub(crate) struct NewArguments {
    /// What it is called: lowercase letters, digits and '-'. The project is made in a folder of this name
    pub name: String,
    /// What it is
    #[arg(long, value_enum)]
    pub kind: PluginKind,
    /// What it is written in
    #[arg(long, value_enum, default_value = "rust")]
    pub lang: Language,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArguments {
    /// The project's folder
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Where the component goes [default: NAME.wasm in the project's folder]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Fetch nothing: where the toolchain is missing, say how it is installed
    #[arg(long)]
    pub offline: bool,
    #[command(flatten)]
    pub cache: CacheArgument,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The component
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Grant plugins the whole row of logits
    #[arg(long)]
    pub allow_full_row: bool,
    /// What they may use, as for serve: memory=32MiB, min-p:pick=5ms; may be repeated
    #[arg(long = "plugin-limit", value_name = "[NAME:]LIMIT=VALUE", value_delimiter = ',')]
    pub limits: Vec<String>,
    #[command(flatten)]
    pub cache: CacheArgument,
}

#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    /// The component
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Arguments to test with, as JSON [default: what the plugin's schema suggests]
    #[arg(long, value_name = "JSON")]
    pub args: Option<String>,
    /// 50,000 calls and many seeds, instead of a few
    #[arg(long)]
    pub thorough: bool,
    #[command(flatten)]
    pub cache: CacheArgument,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// The component
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Arguments to open it with, as JSON [default: what the plugin's schema suggests]
    #[arg(long, value_name = "JSON")]
    pub args: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PluginKind {
    /// Chooses tokens, or narrows the choice
    Sampler,
    /// Makes the prompt of a conversation
    Template,
    /// Turns the text of an answer into events
    Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Rust, by cargo
    Rust,
    /// C, by zig's C compiler
    C,
    /// Python, by componentize-py
    Python,
    /// JavaScript, by componentize-qjs
    Js,
    /// TypeScript, by tsc and componentize-qjs
    Ts,
}

impl Language {
    /// Its name on the command line and in a project.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Python => "python",
            Self::Js => "js",
            Self::Ts => "ts",
        }
    }
}

impl PluginKind {
    /// Its name on the command line and in requests.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sampler => "sampler",
            Self::Template => "template",
            Self::Stream => "stream",
        }
    }
}
