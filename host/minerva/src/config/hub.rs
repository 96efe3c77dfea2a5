//! The Hugging Face hub: where it is, and where what comes from it is kept.

use std::path::PathBuf;

use clap::Args;
use minerva::models::hub::{self, Options};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Hub")]
pub(crate) struct HubArguments {
    /// Use only models that are on this machine
    #[arg(long, env = "HF_HUB_OFFLINE")]
    pub offline: bool,
    /// The hub's address [default: https://huggingface.co]
    #[arg(long, env = "HF_ENDPOINT", value_name = "URL")]
    pub hf_endpoint: Option<String>,
    /// What to show the hub, for models that are not for everyone
    #[arg(long, env = "HF_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub hf_token: Option<String>,
    /// Where models of the hub are kept [default: hub in HF_HOME, or ~/.cache/huggingface/hub]
    #[arg(long, env = "HF_HUB_CACHE", value_name = "DIR")]
    pub hf_cache: Option<PathBuf>,
}

impl HubArguments {
    /// How to reach it.
    pub(crate) fn options(&self) -> Options {
        let home = std::env::var_os("HF_HOME").map(|home| PathBuf::from(home).join("hub"));
        let mut options = Options {
            offline: self.offline,
            token: self.hf_token.clone().filter(|token| !token.is_empty()),
            cache: self.hf_cache.clone().or(home).unwrap_or_else(hub::default_cache),
            ..Options::default()
        };
        if let Some(endpoint) = &self.hf_endpoint {
            options.endpoint.clone_from(endpoint);
        }
        options
    }
}
