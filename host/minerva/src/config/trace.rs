//! Where traces go, and of which requests.

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct TraceArguments {
    /// Sends a trace of each request to an OpenTelemetry collector, by OTLP over HTTP (http://127.0.0.1:4318)
    /// [default: none]
    #[arg(long, env = "MINERVA_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Headers for the collector, as NAME=VALUE
    #[arg(
        long,
        env = "MINERVA_OTLP_HEADERS",
        value_name = "HEADERS",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub otlp_headers: Vec<String>,
    /// The share of requests that are traced, from 0 to 1, where a client's own trace does not decide it
    #[arg(long, env = "MINERVA_OTLP_SAMPLING_RATIO", value_name = "RATIO", default_value_t = 1.0, value_parser = ratio)]
    pub otlp_sampling_ratio: f64,
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: Option<f64> = text.parse().ok();
    ratio.filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or_else(|| "it is not from 0 to 1".to_owned())
}
