//! What an operator may want of the server beside its address: metrics.

use clap::{Args, ValueEnum};
use minerva_server::MetricsCompat;

#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct OperationArguments {
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
    pub(crate) fn apply(&self, options: &mut minerva_server::Options) {
        options.metrics_compat = self.metrics_compat.map(|Compat::Vllm| MetricsCompat::Vllm);
    }
}
