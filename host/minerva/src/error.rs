//! What can go wrong in the library.

use minerva_engine::plugin::Kind;

/// Why a host could not be built, or could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model file is not a model, or broken.
    #[error(transparent)]
    File(#[from] minerva_models::gguf::Error),
    /// The built-in model cannot be put anywhere.
    #[error(transparent)]
    Builtin(#[from] minerva_models::builtin::Error),
    /// llama.cpp could not load the model.
    #[error(transparent)]
    Model(#[from] minerva_llama::Error),
    /// A device that was asked for is not there.
    #[error(transparent)]
    Device(#[from] minerva_models::devices::Missing),
    /// A model of the registry cannot be had.
    #[error(transparent)]
    Registry(#[from] minerva_models::registry::Error),
    /// A component could not be loaded.
    #[error(transparent)]
    Plugin(#[from] minerva_wasm::Error),
    /// A request was refused or broken off.
    #[error(transparent)]
    Request(#[from] minerva_engine::Error),
    /// A request names a plugin that is not there, or is of another kind.
    #[error("there is no {} plugin '{name}'{}", kind.as_str(), installed(plugins))]
    UnknownPlugin {
        /// The name.
        name: String,
        /// The kind that was asked for.
        kind: Kind,
        /// Those of that kind that are there.
        plugins: Vec<String>,
    },
}

fn installed(plugins: &[String]) -> String {
    if plugins.is_empty() { "; none is loaded".into() } else { format!("; there are {}", plugins.join(", ")) }
}
