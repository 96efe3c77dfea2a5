//! What can go wrong with a model that is wanted. The words are for the client; what a file or a library says is not
//! among them.

use std::time::Duration;

/// Why a model cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name is used already.
    #[error("there is a model called `{name}` already")]
    Taken {
        /// The name.
        name: String,
    },
    /// Nothing is known at all.
    #[error("no model is known")]
    Empty,
    /// Several are known, and none is named.
    #[error("several models are known: say which")]
    Unnamed {
        /// Their ids.
        known: Vec<String>,
    },
    /// There is none of this name.
    #[error("the model `{name}` is not known")]
    Unknown {
        /// The name.
        name: String,
        /// The ids that are known.
        known: Vec<String>,
    },
    /// Too many wait for it.
    #[error("{waiting} requests wait for the model `{model}` to be loaded, and the limit is {limit}")]
    Overloaded {
        /// Its id.
        model: String,
        /// Who wait.
        waiting: usize,
        /// The most that may.
        limit: usize,
    },
    /// It could not be loaded.
    #[error("the model `{model}` could not be loaded; the server's log says why")]
    Failed {
        /// Its id.
        model: String,
        /// Why, for the log.
        why: String,
        /// When the next request will try again.
        retry_after: Duration,
    },
    /// It does not fit beside what has to stay.
    #[error("there is no room for the model `{model}`: {why}")]
    NoRoom {
        /// Its id.
        model: String,
        /// What it needs, what there is, and who has it.
        why: String,
        /// When the next request will try again.
        retry_after: Duration,
    },
    /// Somebody unloaded it while it was being loaded.
    #[error("the load of the model `{model}` was cancelled")]
    Cancelled {
        /// Its id.
        model: String,
    },
    /// It was put in running, and cannot be unloaded here.
    #[error("the model `{model}` cannot be unloaded: it is not this registry that loaded it")]
    NotOurs {
        /// Its id.
        model: String,
    },
    /// The registry loads nothing any more.
    #[error("the server is shutting down")]
    Closing,
    /// Something broke that should not.
    #[error("internal error: {what}")]
    Broken {
        /// What.
        what: String,
    },
}

impl Error {
    pub(super) fn unknown(name: &str) -> Self {
        Self::Unknown { name: name.to_owned(), known: Vec::new() }
    }
}
