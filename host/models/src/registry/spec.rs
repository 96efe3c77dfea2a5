//! What a registry is told of a model, and what it gives out.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use minerva_engine::plugin::OnFault;
use minerva_engine::request::{Params, ReasoningFormat};
use minerva_engine::{Engine, Handle};
use serde_json::{Map, Value};

/// Why a source could not load.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Is told how much is loaded, 0 to 1; false cancels.
pub type Progress<'a> = dyn FnMut(f32) -> bool + 'a;

/// Where a model comes from.
pub trait Source: Send + Sync {
    /// The bytes of memory that it will take, as far as can be told without loading it.
    ///
    /// # Errors
    ///
    /// When there is nothing to load.
    fn bytes(&self) -> Result<u64, SourceError>;

    /// Loads it. Runs on the registry's own thread, and may take minutes.
    ///
    /// # Errors
    ///
    /// When it cannot be loaded, or `progress` said to stop.
    fn load(&self, progress: &mut Progress<'_>) -> Result<Engine, SourceError>;
}

/// A model that a registry can load.
#[derive(Clone)]
pub struct Spec {
    /// Its name in requests and responses.
    pub id: String,
    /// Other names that requests may use for it.
    pub aliases: Vec<String>,
    /// What requests to it get where they say nothing.
    pub defaults: Defaults,
    /// How long it stays when nobody uses it; `None` is for ever.
    pub keep_alive: Option<Duration>,
    /// Whether it stays even where another needs its room.
    pub pinned: bool,
    /// Where it comes from; `None` if it was put in running, and then it is not loaded again.
    pub source: Option<Arc<dyn Source>>,
}

impl Spec {
    /// A model under one name, without defaults of its own, which stays until another needs its room.
    pub fn new(id: impl Into<String>, source: impl Source + 'static) -> Self {
        Self { source: Some(Arc::new(source)), ..Self::of_running(&id.into()) }
    }

    pub(super) fn of_running(id: &str) -> Self {
        let (aliases, defaults) = (Vec::new(), Defaults::default());
        Self { id: id.to_owned(), aliases, defaults, keep_alive: None, pinned: false, source: None }
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        self.id == name || self.aliases.iter().any(|alias| alias == name)
    }
}

/// A model that runs.
#[derive(Clone)]
pub struct Served {
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

impl Served {
    /// A model under one name, with no defaults of its own, loaded now.
    #[must_use]
    pub fn new(id: impl Into<String>, handle: Handle) -> Self {
        let (aliases, defaults) = (Vec::new(), Defaults::default());
        Self { id: id.into(), aliases, handle, created: SystemTime::now(), defaults }
    }
}

/// What requests get where they say nothing.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// How to sample.
    pub params: Params,
    /// How thinking is told.
    pub reasoning: ReasoningFormat,
    /// Variables of the chat template. A request's own go over them.
    pub template_variables: Map<String, Value>,
    /// Which plugins to use. A request that names plugins of a kind replaces all of that kind.
    pub plugins: PluginChoices,
}

/// The plugins of a request, by name. As the defaults of a model, what requests use that name none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginChoices {
    /// What makes the prompt; `None` is the model's own template.
    pub template: Option<PluginChoice>,
    /// The chain of samplers, first to last.
    pub samplers: Vec<PluginChoice>,
    /// The pipe of stream processors, first to last.
    pub stream: Vec<PluginChoice>,
}

/// A plugin by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginChoice {
    /// Its name among the plugins of the host.
    pub id: String,
    /// Its arguments; `Null` for none.
    pub args: Value,
    /// What happens when it fails; `None` is what the operator says of it.
    pub on_fault: Option<OnFault>,
}
