//! The mapping from the engine's errors to what a client is told: which status, and which part of its request is to
//! blame.

use std::time::{Duration, SystemTime};

use minerva_engine::plugin::{self, Fault};
use minerva_engine::{Error, model};

use crate::failure::Failure;

/// Where in a request its parts are, so that an error of the engine can name them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// The field that the prompt comes from.
    pub(crate) input: &'static str,
    /// The plugins that the request itself names, and where.
    pub(crate) plugins: Vec<PluginOrigin>,
}

/// A plugin that a request names, and where.
#[derive(Clone, Debug)]
pub(crate) struct PluginOrigin {
    /// Its name.
    pub(crate) name: String,
    /// What it is used as.
    pub(crate) kind: plugin::Kind,
    /// Where it is named: `minerva.samplers[0]`.
    pub(crate) path: String,
}

impl Origin {
    /// What the client is told of an error of the engine.
    pub(crate) fn failure(&self, error: Error) -> Failure {
        match error {
            Error::Invalid { param, message } => Failure::invalid(param, message),
            Error::ContextExceeded { prompt, max_tokens, limit } => {
                let param = if prompt <= limit && max_tokens.is_some() { "max_tokens" } else { self.input };
                Failure::too_long(param, error.to_string(), prompt, limit)
            }
            Error::TextTooLong { index, tokens, limit } => {
                let message = error.to_string();
                Failure::too_long(&format!("{}[{index}]", self.input), message, tokens, limit)
            }
            Error::Overloaded { retry_after, .. } => Failure::rate_limit(error.to_string(), retry_after),
            Error::Template(error) => Failure::invalid(self.input, error.to_string()),
            Error::Plugin(error) => self.plugin_failure(error),
            Error::Model(error) => model_failure(&error),
            Error::Sampling(_) => Failure::server(error.to_string()),
            Error::Stalled { .. } | Error::Late { .. } => Failure::timeout(error.to_string()),
            Error::SlotBusy { .. } => {
                Failure::unavailable(error.to_string()).retry_after(Duration::from_secs(1))
            }
            Error::ShuttingDown => Failure::unavailable(error.to_string()),
            error => Failure::internal(error.to_string()),
        }
    }

    fn plugin_failure(&self, error: plugin::Error) -> Failure {
        let internal = error.to_string();
        let plugin::Error { name, version, call, fault } = error;
        let what = match &fault {
            Fault::Refused(reason) => {
                let message = format!("plugin '{name}' {version} refused: {reason}");
                return match self.args_path(&name, call, reason) {
                    Some(path) => Failure::invalid(path, message),
                    None => Failure::malformed(message),
                };
            }
            Fault::Suspended { until, .. } => {
                let retry_after = until.duration_since(SystemTime::now()).unwrap_or_default();
                let message = format!(
                    "plugin '{name}' {version} {fault}; try again in {} s, leave it out, or send `on_fault`",
                    retry_after.as_secs() + 1
                );
                return Failure::suspended(message, name, version, fault.kind(), retry_after);
            }
            Fault::Trap(_) => "it trapped; the server's log has the details under this request's id".into(),
            Fault::Host(_) => "the server could not run it; its log has the details".into(),
            fault => format!("it {fault}"),
        };
        let message = format!("plugin '{name}' {version} failed in {call}: {what}");
        Failure::plugin(message, name, version, fault.kind()).because(internal)
    }

    /// What the plugin refused. What refuses in `render` is a template; other calls are not those of one kind only.
    fn args_path(&self, name: &str, call: &str, reason: &str) -> Option<String> {
        let renders = |kind| (kind == plugin::Kind::Template) == (call == "render");
        let mut named = self.plugins.iter().filter(|origin| origin.name == name && renders(origin.kind));
        let path = &named.next()?.path;
        if named.next().is_some() {
            // Named more than once, and nobody says which one it was.
            return path.split('[').next().map(str::to_owned);
        }
        Some(format!("{path}.{}", place_in_args(reason)))
    }
}

/// Where in its arguments a plugin found what it refuses, if it says so in front: `args.p: 2 is too much`.
fn place_in_args(reason: &str) -> &str {
    let is_place = |place: &&str| {
        place.strip_prefix("args").is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            && !place.contains(char::is_whitespace)
    };
    reason.split_once(": ").map(|(place, _)| place).filter(is_place).unwrap_or("args")
}

/// A fault that a request survived, as its client is told: what a trap or the host said stays here.
pub(crate) fn public_fault(fault: &str) -> &str {
    let cut = |fault: &'static str| move |text: &str| text.find(fault).map(|at| at + fault.len());
    let end = cut(": trapped")(fault).or_else(|| cut(": could not be run")(fault)).unwrap_or(fault.len());
    &fault[..end]
}

fn model_failure(error: &model::Error) -> Failure {
    let failure = match error {
        model::Error::NoRoom { .. } => {
            Failure::unavailable("the model's cache is full; try again, or serve with a larger context")
        }
        model::Error::Device(_) => Failure::unavailable(
            "the device or the process that runs the model failed or is out of memory; try again",
        ),
        model::Error::Unsupported { .. } => Failure::not_supported(error.to_string()),
        model::Error::Encode(_) => Failure::server("the text could not be tokenised"),
        _ => Failure::server("the model failed; the server's log has the details"),
    };
    failure.because(error.to_string())
}
