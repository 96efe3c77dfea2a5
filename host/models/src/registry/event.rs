//! What happens to models, for those who watch.

use std::time::{Duration, SystemTime};

/// Something that happened to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its id.
    pub model: String,
    /// When.
    pub at: SystemTime,
    /// What.
    pub what: What,
}

/// What can happen to a model.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It waits to be loaded.
    Queued,
    /// So much of it is loaded, 0 to 1; about a hundred times in a load.
    Loading(f32),
    /// It answers requests.
    Ready {
        /// What loading it took.
        took: Duration,
        /// The bytes that it counts for.
        bytes: u64,
    },
    /// It makes room: it takes no new requests, and ends what it has begun.
    Retiring,
    /// It is not loaded any more.
    Unloaded,
    /// It could not be loaded. For the operator: the text may name files.
    Failed(String),
}

impl What {
    /// One word for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Loading(_) => "loading",
            Self::Ready { .. } => "loaded",
            Self::Retiring => "retiring",
            Self::Unloaded => "unloaded",
            Self::Failed(_) => "failed",
        }
    }
}

impl Event {
    pub(super) fn log(&self) {
        let (model, what) = (&self.model, self.what.as_str());
        match &self.what {
            // Whoever watches a load listens to the events.
            What::Loading(_) => {}
            What::Failed(why) => tracing::error!(model, "the model '{model}' could not be loaded: {why}"),
            What::Ready { took, bytes } => {
                let (seconds, mib) = (took.as_secs_f64(), bytes >> 20);
                tracing::info!(model, seconds, mib, "the model '{model}' is loaded, after {seconds:.1} s");
            }
            What::Queued | What::Retiring | What::Unloaded => {
                tracing::info!(model, "the model '{model}' is {what}");
            }
        }
    }
}
