//! What can go wrong before there is a model.

use std::path::PathBuf;

/// Why a model could not be loaded. What goes wrong afterwards is a [`minerva_engine::model::Error`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// llama.cpp was initialised by something else in this process, which then owns its log and its devices.
    #[error("llama.cpp is already in use in this process by something other than Minerva")]
    Backend,
    /// The file cannot be opened.
    #[error("cannot open the model {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The path cannot be handed to llama.cpp, or the options contradict each other or the model.
    #[error("cannot load the model {}: {cause}", path.display())]
    Options {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        cause: String,
    },
    /// llama.cpp refused the file.
    #[error("llama.cpp cannot load the model {}: {cause}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// In llama.cpp's own words.
        cause: String,
    },
    /// The model is loaded, but its sequences do not fit.
    #[error(
        "cannot make {slots} sequences of {context} tokens for the model {}: {cause}; \
         ask for fewer slots or a shorter context",
        path.display()
    )]
    Context {
        /// The file.
        path: PathBuf,
        /// Tokens of one sequence.
        context: u32,
        /// Sequences.
        slots: u32,
        /// In llama.cpp's own words.
        cause: String,
    },
    /// The progress callback said stop.
    #[error("loading the model {} was cancelled", path.display())]
    Cancelled {
        /// The file.
        path: PathBuf,
    },
    /// A row of weights cannot be quantised.
    #[error("cannot quantise: {0}")]
    Quantize(String),
}

impl Error {
    /// Whether there was no memory for what was asked, on the host or on a device: something smaller may fit.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        const WORDS: [&str; 6] = [
            "out of memory",
            "failed to allocate",
            "unable to allocate",
            "cudaMalloc failed",
            "OutOfDeviceMemory",
            "bad_alloc",
        ];
        match self {
            Self::Load { cause, .. } | Self::Context { cause, .. } => {
                WORDS.iter().any(|words| cause.contains(words))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_told_from_other_errors() {
        let load = |cause: &str| Error::Load { path: "model.gguf".into(), cause: cause.into() };
        assert!(load("unable to allocate CUDA0 buffer").is_out_of_memory());
        assert!(load("failed to allocate buffer of size 99").is_out_of_memory());
        assert!(!load("unknown model architecture: 'x'").is_out_of_memory());
        assert!(!Error::Backend.is_out_of_memory());
    }
}
