//! What is logged, and how.

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct LogArguments {
    /// What to log: a level, or targets with levels, as in `RUST_LOG` (info,llama.cpp=debug)
    #[arg(
        long,
        env = "RUST_LOG",
        global = true,
        value_name = "FILTER",
        default_value = "info,llama.cpp=warn"
    )]
    pub log: String,
    /// How to log
    #[arg(long, env = "MINERVA_LOG_FORMAT", global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// Changes what is logged while the program runs; says what is wrong with a filter.
pub(crate) type Change = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// Starts logging to standard error.
pub(crate) fn start(arguments: &LogArguments) -> Change {
    let filter = EnvFilter::try_new(&arguments.log).unwrap_or_else(|error| {
        eprintln!("minerva: the log filter '{}' is not understood ({error}); using info", arguments.log);
        EnvFilter::new("info")
    });
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Two branches, because how it is written is part of the type.
    match arguments.log_format {
        LogFormat::Text => {
            let subscriber = subscriber
                .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
                .with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            Box::new(move |text| change(text, |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            Box::new(move |text| change(text, |filter| handle.reload(filter)))
        }
    }
}

fn change(
    text: &str,
    to: impl FnOnce(EnvFilter) -> Result<(), tracing_subscriber::reload::Error>,
) -> Result<(), String> {
    let filter = EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    to(filter).map_err(|error| error.to_string())
}
