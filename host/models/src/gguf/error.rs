//! Why a file is not taken.

use std::path::PathBuf;

/// What is wrong with a file, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{} is not a GGUF file: {found}; models for llama.cpp have names that end in .gguf", path.display())]
    NotGguf {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// It is of a version that nothing here can read.
    #[error("{} is a GGUF file of version {version}; 2 and 3 can be read: convert the model again", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// It is shorter than it says.
    #[error(
        "{} ends too early: {place} ends at byte {needed} and the file has {has}; \
         it was not copied or downloaded in full, get it again",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is missing.
        place: String,
        /// The bytes that it would take.
        needed: u64,
        /// The bytes that there are.
        has: u64,
    },
    /// It contradicts itself.
    #[error("{} is damaged: {place} {problem}; get the file again, or convert the model again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// It is sound, but no model that can run by itself.
    #[error("{} is not a model: {problem}", path.display())]
    NotModel {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        problem: String,
    },
}

/// A name from a file in a message: damaged ones can be long, and hold anything.
pub(super) fn short(name: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    let mut short: String = name.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if name.chars().nth(CHARACTERS_MAX).is_some() {
        short.push('…');
    }
    short
}
