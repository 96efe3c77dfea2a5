//! Models from the Hugging Face hub, kept in the cache that its other clients use.
//!
//! ```no_run
//! use minerva_models::hub::{Options, Reference, pull};
//!
//! let reference: Reference = "hf:ggml-org/gemma-3-270m-it-GGUF:Q8_0".parse()?;
//! let file = pull(&reference, &Options::default(), &mut |progress| {
//!     println!("{} of {} bytes", progress.done, progress.total);
//!     true
//! })?;
//! # Ok::<(), minerva_models::hub::Error>(())
//! ```
//!
//! The crate `hf-hub` does the same but for two things that matter with files of gigabytes: it does not compare what
//! came with the hub's checksum, and it has no way to stop. So this is our own, over reqwest.
//!
//! A download that breaks off is resumed where it stopped: within a pull, and by the next one. What is complete has the
//! hub's SHA-256 checksum and its name; what is not, does not, so nothing broken is ever loaded.

mod cache;
mod client;
mod error;
mod reference;

use std::path::PathBuf;
use std::time::Duration;

use cache::Repository;
use client::Client;
pub use error::Error;
pub use reference::Reference;
use reference::choose;

/// How to reach the hub, and where to keep what comes. Every limit is here.
#[derive(Clone, Debug)]
pub struct Options {
    /// The hub's address. Default `https://huggingface.co`.
    pub endpoint: String,
    /// What to show it, for models that are not for everyone.
    pub token: Option<String>,
    /// Use only what is there already.
    pub offline: bool,
    /// The cache: default `huggingface/hub` in the user's folder of caches.
    pub cache: PathBuf,
    /// How often a download is resumed in a row without a byte coming in between. Default 5.
    pub attempts_max: u32,
    /// The first pause before it is resumed; doubles. Default 1 s.
    pub pause: Duration,
    /// How long a connection may be silent. Default 30 s.
    pub silence_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: "https://huggingface.co".into(),
            token: None,
            offline: false,
            cache: default_cache(),
            attempts_max: 5,
            pause: Duration::from_secs(1),
            silence_max: Duration::from_secs(30),
        }
    }
}

/// Where the hub's clients keep what they pull, where nobody says otherwise.
#[must_use]
pub fn default_cache() -> PathBuf {
    let home = dirs::home_dir().unwrap_or_else(std::env::temp_dir);
    home.join(".cache").join("huggingface").join("hub")
}

/// How far a pull is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The file that comes.
    pub file: String,
    /// Bytes that are there, of all files of the model.
    pub done: u64,
    /// Bytes of all of them.
    pub total: u64,
}

/// Is told how far a pull is; false stops it.
pub type Watch<'a> = dyn FnMut(&Progress) -> bool + 'a;

/// Makes sure that a model is in the cache, and returns its file; of a model in several files, the first.
///
/// Blocks while it downloads: not for a thread that runs async tasks. Where the hub cannot be reached and the model is
/// in the cache, that is it.
///
/// # Errors
///
/// When there is no such model, it cannot be downloaded, or it is not what the hub says it is.
pub fn pull(reference: &Reference, options: &Options, watch: &mut Watch<'_>) -> Result<PathBuf, Error> {
    let repository = Repository::of(&options.cache, reference);
    if options.offline {
        return repository
            .find(reference)?
            .ok_or_else(|| Error::NotCached { model: reference.to_string(), cache: options.cache.clone() });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Error::Disk { path: options.cache.clone(), source })?;
    let client = Client::new(options)?;
    let remote = match runtime.block_on(client.files(reference)) {
        Ok(remote) => remote,
        Err(error @ Error::Unreachable { .. }) => {
            let Some(found) = repository.find(reference)? else { return Err(error) };
            tracing::warn!("{error}; using what is in the cache: {}", found.display());
            return Ok(found);
        }
        Err(error) => return Err(error),
    };
    let chosen = choose(reference, &remote)?;
    let total = chosen.iter().map(|file| file.size).sum();
    let mut before = 0;
    for file in &chosen {
        let mut told = |done: u64| watch(&Progress { file: file.path.clone(), done: before + done, total });
        let blob = repository.blob(file)?;
        // Held until the file is whole: another pull of it waits, and finds it then.
        let _lock = blob.lock()?;
        if !blob.is_whole() {
            runtime.block_on(client.download(reference, &remote.commit, file, &blob, &mut told))?;
        }
        before += file.size;
        repository.link(&remote.commit, file, &blob)?;
    }
    repository.note(reference, &remote.commit)?;
    // A choice is never empty.
    Ok(repository.path(&remote.commit, &chosen[0].path))
}
