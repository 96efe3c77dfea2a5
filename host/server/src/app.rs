//! What the server is given to serve, and how it is to serve it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use minerva_engine::Handle;
use minerva_engine::plugin::Plugins;
use minerva_engine::request::{Params, ReasoningFormat};

use crate::api_key::ApiKeys;
use crate::failure::Failure;
use crate::nearest;
use crate::plugins::admin::Admin;
use crate::plugins::choice::PluginChoices;

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
    /// Whose names some metrics have beside ours. Default nobody's.
    pub metrics_compat: Option<MetricsCompat>,
    /// Who may ask. Default everyone.
    pub api_keys: ApiKeys,
    /// Who may change the plugins. Default nobody.
    pub admin: Admin,
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
            metrics_compat: None,
            api_keys: ApiKeys::default(),
            admin: Admin::default(),
        }
    }
}

/// Whose metrics are served as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsCompat {
    /// vLLM's gauges that the Gateway API Inference Extension of Kubernetes asks of a model server.
    Vllm,
}

/// A model that requests can name.
#[derive(Clone)]
pub struct ServedModel {
    /// Its name in requests and responses.
    pub id: String,
    /// Other names that requests may use for it.
    pub aliases: Vec<String>,
    /// Where to ask it.
    pub handle: Handle,
    /// When it was loaded.
    pub created: SystemTime,
    /// What requests to it get where they say nothing.
    pub defaults: Defaults,
}

impl ServedModel {
    /// A model under one name, with no defaults of its own, loaded now.
    #[must_use]
    pub fn new(id: impl Into<String>, handle: Handle) -> Self {
        Self {
            id: id.into(),
            aliases: Vec::new(),
            handle,
            created: SystemTime::now(),
            defaults: Defaults::default(),
        }
    }

    fn is_called(&self, name: &str) -> bool {
        self.id == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// What requests get where they say nothing.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// How to sample.
    pub params: Params,
    /// How thinking is told.
    pub reasoning: ReasoningFormat,
    /// Which plugins to use. A request that has a key of its `minerva` object replaces the whole of that key.
    pub plugins: PluginChoices,
}

/// The models that requests can name, first inserted first. Clones share them.
#[derive(Clone, Default)]
pub struct Models {
    served: Arc<RwLock<Vec<Arc<ServedModel>>>>,
}

impl Models {
    /// Adds a model, and returns the one that had its id. Requests in flight finish on what they began with.
    pub fn insert(&self, model: ServedModel) -> Option<Arc<ServedModel>> {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        let model = Arc::new(model);
        match served.iter_mut().find(|existing| existing.id == model.id) {
            Some(existing) => Some(std::mem::replace(existing, model)),
            None => {
                served.push(model);
                None
            }
        }
    }

    /// Takes a model out. Requests in flight finish on it, as long as its engine lives.
    pub fn remove(&self, id: &str) -> Option<Arc<ServedModel>> {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        let at = served.iter().position(|model| model.id == id)?;
        Some(served.remove(at))
    }

    /// All models.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<ServedModel>> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The model of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<ServedModel>> {
        self.list().into_iter().find(|model| model.is_called(name))
    }

    /// The model that a request wants. Where one is served, that is it, whatever the request calls it: clients
    /// written for another server have that server's names built in.
    pub(crate) fn choose(&self, name: Option<&str>) -> Result<Arc<ServedModel>, Failure> {
        let served = self.list();
        if served.is_empty() {
            return Err(Failure::unavailable(
                "the model is still loading; GET /health says when it is ready",
            ));
        }
        if let [model] = served.as_slice() {
            return Ok(Arc::clone(model));
        }
        let Some(name) = name else {
            let ids = nearest::list(served.iter().map(|model| model.id.as_str()));
            let message = format!("`model` is required where several are served; they are {ids}");
            return Err(Failure::invalid("model", message));
        };
        self.get(name).ok_or_else(|| self.unknown(name).param("model"))
    }

    /// That there is no model of a name, and which ones there are.
    pub(crate) fn unknown(&self, name: &str) -> Failure {
        let served = self.list();
        let hint = nearest::hint(name, served.iter().map(|model| model.id.as_str()));
        Failure::not_found(format!("the model `{}` is not served here{hint}", nearest::shown(name)))
    }
}
