//! What can go wrong between the hub and the disk.

use std::path::PathBuf;

/// Why a model could not be pulled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a reference at all.
    #[error(
        "'{text}' names no model of the hub: write hf:OWNER/REPOSITORY, and perhaps :QUANTISATION behind it"
    )]
    Reference {
        /// What was written.
        text: String,
    },
    /// The hub has none.
    #[error("the hub {endpoint} has no {what}; where it is private, set HF_TOKEN")]
    NotFound {
        /// The repository, or the file in it.
        what: String,
        /// The hub.
        endpoint: String,
    },
    /// The hub wants to know who asks.
    #[error(
        "the hub {endpoint} does not give {what} to everyone: accept its conditions on its page, and set HF_TOKEN"
    )]
    Forbidden {
        /// The repository.
        what: String,
        /// The hub.
        endpoint: String,
    },
    /// The repository has no such file.
    #[error("{repository} has no {wanted}; it has {}", list(.there))]
    NoSuchFile {
        /// The repository.
        repository: String,
        /// The quantisation or the file.
        wanted: String,
        /// What there is.
        there: Vec<String>,
    },
    /// The hub does not answer.
    #[error("the hub {endpoint} cannot be reached: {why}")]
    Unreachable {
        /// The hub.
        endpoint: String,
        /// Why.
        why: String,
    },
    /// The hub answers something else.
    #[error("the hub {endpoint} answered {what} with {answer}")]
    Answer {
        /// The hub.
        endpoint: String,
        /// What it was asked for.
        what: String,
        /// What it said.
        answer: String,
    },
    /// A download broke off again and again.
    #[error(
        "the download of {file} broke off at {done} of {size} bytes: {why}; a new pull goes on from there"
    )]
    BrokenOff {
        /// The file.
        file: String,
        /// Bytes that are there.
        done: u64,
        /// Bytes of the file.
        size: u64,
        /// Why.
        why: String,
    },
    /// What came is not what the hub says it is.
    #[error("{file} came with the checksum {found}, and the hub says {expected}; what came was thrown away")]
    Checksum {
        /// The file.
        file: String,
        /// What was computed.
        found: String,
        /// What should have been.
        expected: String,
    },
    /// Only the cache may be used, and there is nothing in it.
    #[error("{model} is not in the cache {}, and nothing may be downloaded (--offline)", cache.display())]
    NotCached {
        /// The model.
        model: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// The disk does not take it.
    #[error("{}: {source}", path.display())]
    Disk {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Whoever watched it stopped it.
    #[error("the download of {file} was stopped; a new pull goes on from there")]
    Stopped {
        /// The file.
        file: String,
    },
}

/// The most names that a message lists.
const LISTED_MAX: usize = 32;

fn list(names: &[String]) -> String {
    match names {
        [] => "no GGUF file at all".into(),
        names if names.len() > LISTED_MAX => {
            format!("{} and {} more", names[..LISTED_MAX].join(", "), names.len() - LISTED_MAX)
        }
        names => names.join(", "),
    }
}
