//! What an operator may want of the server beside its address: limits, keys, certificates, metrics.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, ValueEnum};
use minerva::engine::request::Deadlines;
use minerva_server::{ClientLimits, ConnectionLimits, Cors, MetricsCompat, Options};

use super::serve::size;

#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct OperationArguments {
    /// Most tokens of prompts that wait for a sequence
    #[arg(long, env = "MINERVA_MAX_NUM_QUEUED_TOKENS", value_name = "N", default_value_t = 1 << 20)]
    pub max_num_queued_tokens: usize,
    /// Seconds that a request may wait for a sequence; 0 is for ever
    #[arg(long, env = "MINERVA_QUEUE_TIMEOUT", value_name = "SECONDS", default_value_t = 300)]
    pub queue_timeout: u64,
    /// Seconds that a request may wait for its first token; 0 is for ever
    #[arg(long, env = "MINERVA_FIRST_TOKEN_TIMEOUT", value_name = "SECONDS", default_value_t = 600)]
    pub first_token_timeout: u64,
    /// Seconds that a request may take in all; 0 is for ever
    #[arg(long, env = "MINERVA_REQUEST_TIMEOUT", value_name = "SECONDS", default_value_t = 3600)]
    pub request_timeout: u64,
    /// Most requests of one API key at once, or of all clients where there are no keys [default: no limit]
    #[arg(long, env = "MINERVA_KEY_CONCURRENCY", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub key_concurrency: Option<u32>,
    /// Most requests of one API key a minute, or of all clients where there are no keys [default: no limit]
    #[arg(long, env = "MINERVA_KEY_REQUESTS_PER_MINUTE", value_name = "N")]
    pub key_requests_per_minute: Option<NonZeroU32>,
    /// Most connections at once
    #[arg(long, env = "MINERVA_MAX_CONNECTIONS", value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// Seconds that the head of a request may take, and that a connection may be idle
    #[arg(long, env = "MINERVA_HEAD_TIMEOUT", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub head_timeout: u64,
    /// Seconds that the body of a request may lie behind 16 KiB a second
    #[arg(long, alias = "timeout", env = "MINERVA_BODY_TIMEOUT", value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub body_timeout: u64,
    /// A certificate, or a chain of them, in PEM, to serve with TLS; read again when it changes
    #[arg(long, env = "MINERVA_SSL_CERT_FILE", value_name = "FILE", requires = "ssl_key_file")]
    pub ssl_cert_file: Option<PathBuf>,
    /// Its private key in PEM
    #[arg(long, env = "MINERVA_SSL_KEY_FILE", value_name = "FILE", requires = "ssl_cert_file")]
    pub ssl_key_file: Option<PathBuf>,
    /// Lets web pages of an origin ask (https://example.org; * is all, localhost what this machine serves); may be repeated
    #[arg(
        long,
        alias = "cors-origins",
        env = "MINERVA_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub cors_origin: Vec<String>,
    /// Do not tell at `GET /slots` what each sequence is used for
    #[arg(long, env = "MINERVA_NO_SLOTS")]
    pub no_slots: bool,
    /// A folder that `POST /slots/{id}?action=save` and `restore` keep what slots hold in; without one they are off
    #[arg(long, env = "LLAMA_ARG_SLOT_SAVE_PATH", value_name = "DIR")]
    pub slot_save_path: Option<PathBuf>,
    /// Most bytes of a file that is restored from there: 4gb, 800mb
    #[arg(long, env = "MINERVA_SLOT_FILE_LIMIT", value_name = "SIZE", default_value = "4gb", value_parser = size)]
    pub slot_file_limit: u64,
    /// Serve metrics under another server's names as well: those that Kubernetes' Gateway API Inference Extension reads
    #[arg(long, env = "MINERVA_METRICS_COMPAT", value_enum, value_name = "SERVER")]
    pub metrics_compat: Option<Compat>,
}

/// Whose names.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Compat {
    /// vLLM's
    Vllm,
}

impl OperationArguments {
    /// Puts them into the server's options.
    pub(crate) fn apply(&self, options: &mut Options) -> Result<()> {
        let limit = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
        options.deadlines = Deadlines {
            queue: limit(self.queue_timeout),
            first_token: limit(self.first_token_timeout),
            total: limit(self.request_timeout),
        };
        options.client_limits = ClientLimits {
            concurrent_requests: self.key_concurrency.map(|limit| limit as usize),
            requests_per_minute: self.key_requests_per_minute,
        };
        options.connections = ConnectionLimits {
            connections_max: self.max_connections as usize,
            head_timeout: Duration::from_secs(self.head_timeout),
            body_timeout: Duration::from_secs(self.body_timeout),
            ..options.connections
        };
        options.cors = Cors::new(self.cors_origin.iter().map(String::as_str)).map_err(|origin| {
            anyhow!("--cors-origin '{origin}' is no origin; it is a scheme and a host, as https://example.org, or *, or localhost alone")
        })?;
        if let Some(folder) = &self.slot_save_path {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("--slot-save-path {}", folder.display()))?;
        }
        options.shows_slots = !self.no_slots;
        options.slot_save_path.clone_from(&self.slot_save_path);
        options.slot_file_bytes_max = self.slot_file_limit;
        options.metrics_compat = self.metrics_compat.map(|Compat::Vllm| MetricsCompat::Vllm);
        Ok(())
    }
}
