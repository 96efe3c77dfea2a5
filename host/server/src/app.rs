//! What the server is given to serve, and how it is to serve it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use minerva_engine::plugin::Plugins;
use minerva_engine::request::{Deadlines, Params};
use minerva_models::registry::{self, Registry};

use crate::admission::ending;
use crate::api_key::ApiKeys;
use crate::client::ClientLimits;
use crate::cors::Cors;
use crate::failure::Failure;
use crate::nearest;
use crate::openai::sampling;
use crate::plugins::admin::Admin;
use crate::tls::Tls;
use crate::traces::Traces;

pub use minerva_models::registry::{Defaults, Served as ServedModel};

/// What is served.
#[derive(Clone, Default)]
pub struct App {
    /// The models that requests can name. May grow and shrink while the server runs.
    pub models: Models,
    /// The plugins that requests can name. May grow and shrink while the server runs.
    pub plugins: Plugins,
    /// How it is served.
    pub options: Options,
}

/// How a server serves. Every limit that it has is here.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most bytes of a request's body; more is a 413. Default 32 MiB.
    pub body_bytes_max: usize,
    /// Most answers to one request: prompts times `n`. Default 128.
    pub choices_max: usize,
    /// After how long without a byte an SSE comment goes out; `None` is never. Default 30 s.
    pub sse_ping_interval: Option<Duration>,
    /// How long requests in flight may take to end once the server is told to stop. Default 30 s.
    pub drain_timeout: Duration,
    /// Most responses that are kept for `previous_response_id`; 0 keeps none. Default 1,024.
    pub stored_responses_max: usize,
    /// Most bytes of them, together. Default 64 MiB.
    pub stored_response_bytes_max: usize,
    /// Whether `GET /slots` tells what each sequence is used for. Default true.
    pub shows_slots: bool,
    /// The folder that slots are saved to and restored from; `None` is not at all. Default none.
    pub slot_save_path: Option<PathBuf>,
    /// Most bytes of such a file that is read. Default 4 GiB.
    pub slot_file_bytes_max: u64,
    /// Whose names some metrics have beside ours. Default nobody's.
    pub metrics_compat: Option<MetricsCompat>,
    /// What connections may take.
    pub connections: ConnectionLimits,
    /// The certificate to serve with; `None` is without TLS. Default none.
    pub tls: Option<Tls>,
    /// Which web pages may ask. Default none.
    pub cors: Cors,
    /// Who may ask. Default everyone.
    pub api_keys: ApiKeys,
    /// What each of them may do. Default all there is.
    pub client_limits: ClientLimits,
    /// The longest that a request may take to get a sequence, a first token, and to its end; one can ask for less. Default
    /// 5 minutes, 10 minutes and an hour.
    pub deadlines: Deadlines,
    /// Who may change the plugins. Default nobody.
    pub admin: Admin,
    /// Where traces of requests go. Default nowhere.
    pub traces: Traces,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            body_bytes_max: 32 << 20,
            choices_max: 128,
            sse_ping_interval: Some(Duration::from_secs(30)),
            drain_timeout: Duration::from_secs(30),
            stored_responses_max: 1_024,
            stored_response_bytes_max: 64 << 20,
            shows_slots: true,
            slot_save_path: None,
            slot_file_bytes_max: 4 << 30,
            metrics_compat: None,
            connections: ConnectionLimits::default(),
            tls: None,
            cors: Cors::default(),
            api_keys: ApiKeys::default(),
            client_limits: ClientLimits::default(),
            deadlines: Deadlines {
                queue: Some(Duration::from_secs(300)),
                first_token: Some(Duration::from_secs(600)),
                total: Some(Duration::from_secs(3600)),
            },
            admin: Admin::default(),
            traces: Traces::default(),
        }
    }
}

/// What connections may take, so that slow and silent clients keep nobody else out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Most connections at once; more wait to be accepted. Default 1,024.
    pub connections_max: usize,
    /// How long the head of a request may take, and how long a connection may stay open without one. Default 30 s.
    pub head_timeout: Duration,
    /// How long a body may lie behind 16 KiB a second; then it is a 408. Default 60 s.
    pub body_timeout: Duration,
    /// How long a client may read nothing while there is something to write; then its connection is closed. Default 60 s.
    pub write_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
        }
    }
}

/// Whose metrics are served as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsCompat {
    /// vLLM's gauges that the Gateway API Inference Extension of Kubernetes asks of a model server.
    Vllm,
}

/// Says how to sample by fields of a request, as JSON: `{"temperature": 0.5}`. Names and ranges are those of requests;
/// `logit_bias` is not one of them.
///
/// # Errors
///
/// What a client would be told of it, and what is no field about sampling.
pub fn sample(params: &mut Params, fields: &str) -> Result<(), String> {
    sampling::defaults(fields, params).map_err(|failure| failure.message().to_owned())
}

/// The models that requests can name, first inserted first. Clones share them.
#[derive(Clone, Default)]
pub struct Models {
    registry: Registry,
}

impl Models {
    /// The models of a registry: those that run, and those that it loads when they are asked for.
    #[must_use]
    pub fn of(registry: Registry) -> Self {
        Self { registry }
    }

    /// Everything that is known of them.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Adds a model that runs, and returns the one that had its id. Requests in flight finish on what they began with.
    pub fn insert(&self, model: ServedModel) -> Option<Arc<ServedModel>> {
        self.registry.insert(model)
    }

    /// Takes a model out. Requests in flight finish on it, as long as its engine lives.
    pub fn remove(&self, id: &str) -> Option<Arc<ServedModel>> {
        self.registry.remove(id)
    }

    /// The models that are loaded.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<ServedModel>> {
        self.registry.loaded()
    }

    /// The model that a request wants, loaded if it is not. Where one is served, that is it, whatever the request calls
    /// it: clients written for another server have that server's names built in.
    pub(crate) async fn choose(&self, name: Option<&str>) -> Result<Arc<ServedModel>, Failure> {
        self.registry.get(name).await.map_err(failure)
    }
}

/// What a client is told of a model that it cannot have.
pub(crate) fn failure(error: registry::Error) -> Failure {
    let message = error.to_string();
    match error {
        registry::Error::Empty => {
            Failure::unavailable("the model is still loading; GET /health says when it is ready")
        }
        registry::Error::Unnamed { known } => {
            let ids = nearest::list(known.iter().map(String::as_str));
            let message = format!("`model` is required where several are served; they are {ids}");
            Failure::invalid("model", message)
        }
        registry::Error::Unknown { name, known } => {
            let hint = nearest::hint(&name, known.iter().map(String::as_str));
            let message = format!("the model `{}` is not served here{hint}", nearest::shown(&name));
            Failure::not_found(message).param("model")
        }
        registry::Error::Overloaded { .. } => Failure::rate_limit(message, Duration::from_secs(1)),
        registry::Error::Failed { why, retry_after, .. } => {
            Failure::unavailable(message).because(why).retry_after(retry_after)
        }
        registry::Error::NoRoom { retry_after, .. } => Failure::unavailable(message).retry_after(retry_after),
        registry::Error::Cancelled { .. } => Failure::unavailable(message),
        registry::Error::NotOurs { .. } => Failure::invalid("model", message),
        registry::Error::Closing => ending(),
        _ => Failure::internal(message),
    }
}
