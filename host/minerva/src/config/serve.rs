//! How the server listens, and its limits.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::operation::OperationArguments;
use super::trace::TraceArguments;
use super::{HubArguments, ModelArguments, PluginArguments, ServedArguments};

#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServeArguments {
    /// A folder of models: each GGUF file in it is served under its name, and loaded when it is asked for
    #[arg(long, value_name = "DIR")]
    pub models_dir: Option<PathBuf>,
    /// Most models in memory at a time; the one that was not used for longest makes room
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    pub models_max: u32,
    /// Most memory of all models together: 24gb, 800mb [default: four fifths of the machine's]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub models_memory: Option<u64>,
    /// Seconds that a load waits for busy models to make room
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub models_wait: u64,
    /// The address to listen on; a name that ends in .sock is a unix socket
    #[arg(long, env = "MINERVA_HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// The port to listen on
    #[arg(long, env = "MINERVA_PORT", default_value_t = 8080)]
    pub port: u16,
    /// A key that requests must bring; may be repeated
    #[arg(long, env = "MINERVA_API_KEY", value_name = "KEY", value_delimiter = ',', hide_env_values = true)]
    pub api_key: Vec<String>,
    /// A file with a key a line; read again when it changes
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
    /// Most requests that wait for a sequence
    #[arg(long, env = "MINERVA_MAX_NUM_QUEUED_REQS", value_name = "N", default_value_t = 256)]
    pub max_num_queued_reqs: usize,
    /// Most tokens that wait for a slow reader before its sequence pauses
    #[arg(
        help_heading = "Performance",
        long,
        env = "MINERVA_TOKEN_BUFFER",
        value_name = "N",
        default_value_t = 256
    )]
    pub token_buffer: usize,
    /// Seconds that a client may read nothing before its stream is cancelled and its connection closed
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
    #[command(flatten)]
    pub traces: TraceArguments,
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub served: ServedArguments,
    #[command(flatten)]
    pub plugins: PluginArguments,
    #[command(flatten)]
    pub hub: HubArguments,
}

impl ServeArguments {
    /// How many models may be in memory.
    pub(crate) fn registry_options(&self) -> minerva::models::registry::Options {
        minerva::models::registry::Options {
            models_max: self.models_max as usize,
            bytes_max: self.models_memory.or_else(minerva::memory_for_models),
            room_patience: Duration::from_secs(self.models_wait),
            waiting_max: self.max_num_queued_reqs,
            ..minerva::models::registry::Options::default()
        }
    }

    /// The keys that let clients in, those in the file among them.
    pub(crate) fn keys(&self) -> anyhow::Result<Vec<String>> {
        let mut keys = self.api_key.clone();
        if let Some(path) = &self.api_key_file {
            let text = std::fs::read(path)
                .with_context(|| format!("the key file {} cannot be read", path.display()))?;
            keys.extend(keys_in(&text).with_context(|| format!("the key file {}", path.display()))?);
        }
        Ok(keys)
    }

    /// The server's options.
    pub(crate) fn server_options(&self) -> anyhow::Result<minerva_server::Options> {
        let mut options = minerva_server::Options {
            body_bytes_max: self.body_limit,
            sse_ping_interval: (self.sse_ping_interval > 0)
                .then(|| Duration::from_secs(self.sse_ping_interval)),
            drain_timeout: Duration::from_secs(self.drain_timeout),
            connections: minerva_server::ConnectionLimits {
                write_timeout: Duration::from_secs(self.stall_timeout.max(1)),
                ..minerva_server::ConnectionLimits::default()
            },
            api_keys: minerva_server::ApiKeys::new(self.keys()?),
            admin: minerva_server::Admin {
                keys: minerva_server::ApiKeys::new(self.admin_key.clone()),
                ..minerva_server::Admin::default()
            },
            ..minerva_server::Options::default()
        };
        self.operation.apply(&mut options)?;
        Ok(options)
    }
}

/// The keys in a file, one a line. Empty lines and lines that begin with `#` are none.
pub(crate) fn keys_in(text: &[u8]) -> anyhow::Result<Vec<String>> {
    let text = std::str::from_utf8(text).context("it is not UTF-8")?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<String> = lines.map(str::to_owned).collect();
    if keys.is_empty() {
        // Without keys everyone would be let in, and nobody empties a file to say that.
        anyhow::bail!("there is no key in it");
    }
    Ok(keys)
}

/// Bytes, with or without a unit: 24gb, 800 MB, 1.5gib. Units are powers of 1,024, as memory's are.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(format!("'{unit}' is no unit of memory; write 24gb or 800mb")),
    };
    let number: f64 = number.parse().map_err(|_| "it is no size; write 24gb or 800mb".to_owned())?;
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53 units")]
    let bytes = number * factor as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 1 to 2^60")]
    let bytes = (1.0..1e18).contains(&bytes).then_some(bytes as u64);
    bytes.ok_or_else(|| "it is not from 1 byte to 10^18".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let cases =
            [("1024", 1024), ("4gb", 4 << 30), ("4 GiB", 4 << 30), ("1.5kb", 1536), ("800mb", 800 << 20)];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "x", "0", "4 apples", "-1", "1e30gb", "1.2.3"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_of_keys_has_one_a_line_and_at_least_one() {
        assert_eq!(keys_in(b"# mine\n first \r\n\nsecond").unwrap(), ["first", "second"]);
        assert_eq!(keys_in(b"\n# nothing\n").unwrap_err().to_string(), "there is no key in it");
        assert!(keys_in(b"\xff").is_err());
    }
}
