//! How the server listens, and its limits.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use minerva::engine::request::ReasoningFormat;

use super::ModelArguments;
use super::operation::OperationArguments;

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    /// What requests call the model; may be repeated
    #[arg(short, long, env = "MINERVA_ALIAS", value_name = "NAME", value_delimiter = ',')]
    pub alias: Vec<String>,
    /// The address to listen on; a name that ends in .sock is a unix socket
    #[arg(long, env = "MINERVA_HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// The port to listen on
    #[arg(long, env = "MINERVA_PORT", default_value_t = 8080)]
    pub port: u16,
    /// A key that requests must bring; may be repeated
    #[arg(long, env = "MINERVA_API_KEY", value_name = "KEY", value_delimiter = ',', hide_env_values = true)]
    pub api_key: Vec<String>,
    /// A file with a key a line
    #[arg(long, env = "MINERVA_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
    /// A key that may install and remove plugins over HTTP; without one nobody may; may be repeated
    #[arg(
        long,
        env = "MINERVA_ADMIN_KEY",
        value_name = "KEY",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub admin_key: Vec<String>,
    /// Listen beyond this machine without any key
    #[arg(long, env = "MINERVA_ALLOW_NO_API_KEY")]
    pub allow_no_api_key: bool,
    /// Where thinking goes where a request says nothing: apart, or into the text (none)
    #[arg(long, env = "MINERVA_REASONING_FORMAT", value_enum, value_name = "FORMAT", default_value_t)]
    pub reasoning_format: Reasoning,
    /// Most requests that wait for a sequence
    #[arg(long, env = "MINERVA_MAX_NUM_QUEUED_REQS", value_name = "N", default_value_t = 256)]
    pub max_num_queued_reqs: usize,
    /// Most tokens that wait for a slow reader before its sequence pauses
    #[arg(long, env = "MINERVA_TOKEN_BUFFER", value_name = "N", default_value_t = 256)]
    pub token_buffer: usize,
    /// Seconds that a stream may stand still before it is cancelled
    #[arg(long, env = "MINERVA_STALL_TIMEOUT", value_name = "SECONDS", default_value_t = 60)]
    pub stall_timeout: u64,
    /// Seconds that requests in flight may take to end on SIGTERM
    #[arg(long, env = "MINERVA_DRAIN_TIMEOUT", value_name = "SECONDS", default_value_t = 30)]
    pub drain_timeout: u64,
    /// Seconds without a byte after which a stream gets a comment; 0 is never
    #[arg(long, env = "MINERVA_SSE_PING_INTERVAL", value_name = "SECONDS", default_value_t = 30)]
    pub sse_ping_interval: u64,
    /// Most bytes in a request's body
    #[arg(long, env = "MINERVA_BODY_LIMIT", value_name = "BYTES", default_value_t = 32 << 20)]
    pub body_limit: usize,
    #[command(flatten)]
    pub operation: OperationArguments,
}

/// llama-server's names for where thinking goes.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Reasoning {
    /// Apart, as `reasoning_content`
    #[default]
    Auto,
    /// The same
    Deepseek,
    /// Into the text
    None,
}

impl From<Reasoning> for ReasoningFormat {
    fn from(reasoning: Reasoning) -> Self {
        match reasoning {
            Reasoning::Auto | Reasoning::Deepseek => Self::Apart,
            Reasoning::None => Self::InText,
        }
    }
}

impl ServeArguments {
    /// The server's options.
    pub(crate) fn server_options(&self) -> anyhow::Result<minerva_server::Options> {
        let mut keys = self.api_key.clone();
        if let Some(path) = &self.api_key_file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                anyhow::anyhow!("the key file {} cannot be read: {error}", path.display())
            })?;
            keys.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        let mut options = minerva_server::Options {
            body_bytes_max: self.body_limit,
            sse_ping_interval: (self.sse_ping_interval > 0)
                .then(|| Duration::from_secs(self.sse_ping_interval)),
            drain_timeout: Duration::from_secs(self.drain_timeout),
            api_keys: minerva_server::ApiKeys::new(keys),
            admin: minerva_server::Admin {
                keys: minerva_server::ApiKeys::new(self.admin_key.clone()),
                ..minerva_server::Admin::default()
            },
            ..minerva_server::Options::default()
        };
        self.operation.apply(&mut options);
        Ok(options)
    }
}
