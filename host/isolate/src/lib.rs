//! A model of `minerva-llama` in a process of its own, behind the model trait of `minerva-engine`.
//!
//! llama.cpp ends the whole process on some errors of a GPU. Here that is a child's: [`load`] starts it and gives a
//! [`Model`](minerva_engine::model::Model) that passes everything on to it, and when it is gone says
//! [`Error::Device`](minerva_engine::model::Error::Device), after which the engine loads it anew.
//!
//! ```no_run
//! use minerva_isolate::Isolation;
//!
//! let isolation = Isolation::new("/usr/local/bin/minerva");
//! let model = minerva_isolate::load(&isolation, &minerva_llama::Options::new("model.gguf"), |_| true)?;
//! # Ok::<(), minerva_llama::Error>(())
//! ```
//!
//! # What goes between the two
//!
//! A socket takes commands and answers, one at a time, in frames that are bounded (`wire`); rows of logits stand in
//! memory that both have mapped (`rows`). The socket is the child's standard input and the memory its standard
//! output, so that it inherits nothing else. Tokenising is done here, by the vocabulary alone, which is read from the
//! same file: it never waits for a decode.
//!
//! # Who ends when
//!
//! The child is killed when the model is dropped, when it does not answer in time, and by the kernel when the thread
//! ends that started it, which lives as long as the child and no longer than this process. It also ends by itself when
//! the socket is closed.
//!
//! Linux only: the memory cannot be taken away under its reader there (sealed `memfd`), and a child dies with its
//! parent. Elsewhere [`load`] refuses.

#[cfg(target_os = "linux")]
mod message;
#[cfg(target_os = "linux")]
mod wire;
#[cfg(target_os = "linux")]
mod rows;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod parent;
#[cfg(target_os = "linux")]
mod child;
#[cfg(not(target_os = "linux"))]
mod elsewhere;

use std::path::PathBuf;
use std::time::Duration;

#[cfg(target_os = "linux")]
pub use child::run;
#[cfg(not(target_os = "linux"))]
pub use elsewhere::{Isolated, load, run};
#[cfg(target_os = "linux")]
pub use parent::{Isolated, load};

/// The first argument of a program that is to be a model's process. The second one is the most that it logs, a level.
pub const COMMAND: &str = "isolated-model";

/// Whether models can be isolated on this system.
pub const IS_SUPPORTED: bool = cfg!(target_os = "linux");

/// How a model gets a process of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// The program that is started: `minerva`, of the same version. Started with [`COMMAND`] it calls [`run`].
    pub program: PathBuf,
    /// How long the child may be silent while something is asked of it; then it is killed. The longest step of a
    /// decode, and of a load, has to fit.
    pub timeout: Duration,
}

impl Isolation {
    /// By this program, which may be silent for five minutes.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), timeout: Duration::from_secs(300) }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
