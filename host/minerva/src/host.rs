//! Models and plugins, ready to answer.

use std::path::Path;
use std::sync::Arc;

use minerva_engine::plugin::{Installer, Plugin, Plugins, SamplerPlugin};
use minerva_engine::request::GenerateRequest;
use minerva_engine::{Engine, Generation, Handle};
use minerva_models::registry::Registry;

use crate::ask::Ask;
use crate::builder::Builder;
use crate::error::Error;

/// Plugins, and any number of models that are loaded when they are asked for. Dropping it lets what runs end, and frees
/// the models.
pub struct Host {
    pub(crate) plugins: Plugins,
    pub(crate) runtime: minerva_wasm::Runtime,
    pub(crate) registry: Registry,
    /// Follows the folder of plugins, if there is one.
    pub(crate) _folder: Option<minerva_wasm::Folder>,
}

impl Host {
    /// The models: to add, load, unload and watch them.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Begins a question to one of the models, in the form of a chat.
    pub fn ask(&self, model: impl Into<String>, question: impl Into<String>) -> Ask<'_> {
        Ask::new(self, model.into(), question.into())
    }

    /// Asks one of the models for text with everything spelt out, and loads it first if it is not loaded. The model's
    /// defaults are not applied.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// As [`Registry::get`] and [`Handle::generate`].
    pub async fn generate(&self, model: &str, request: GenerateRequest) -> Result<Generation, Error> {
        // Held until the request is in the engine's queue, so that the model is not unloaded before.
        let served = self.registry.get(Some(model)).await?;
        Ok(served.handle.generate(request).await?)
    }

    /// The plugins that requests can name.
    #[must_use]
    pub fn plugins(&self) -> Plugins {
        self.plugins.clone()
    }

    /// Loads a WebAssembly component under a name, in place of the plugin that had it.
    ///
    /// # Errors
    ///
    /// When the file is not a plugin for this version of the interface.
    pub fn load_plugin(&self, name: &str, path: impl AsRef<Path>) -> Result<(), Error> {
        self.plugins.insert(self.runtime.load(name, path.as_ref())?);
        Ok(())
    }

    /// Loads components from memory: what an administrator's endpoint needs. Outlives this host.
    #[must_use]
    pub fn installer(&self) -> Box<dyn Installer> {
        Box::new(Install { runtime: self.runtime.clone(), plugins: self.plugins.clone() })
    }

    /// Makes a native sampler available under its own name.
    pub fn add_sampler(&self, sampler: impl SamplerPlugin + 'static) {
        self.plugins.insert(Plugin::of_sampler(Arc::new(sampler)));
    }
}

/// A host with one model that is always there. Dropping it lets what runs end, and frees the model.
pub struct Minerva {
    pub(crate) host: Host,
    pub(crate) engine: Engine,
    /// The model's name in the host's registry.
    pub(crate) id: String,
    pub(crate) llama: minerva_llama::Options,
}

impl Minerva {
    /// Begins with the built-in model, no plugins, and defaults for this machine.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Begins a question to the model, in the form of a chat.
    pub fn ask(&self, question: impl Into<String>) -> Ask<'_> {
        self.host.ask(&*self.id, question)
    }

    /// Asks for text with everything spelt out.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// As [`Handle::generate`].
    pub async fn generate(&self, request: GenerateRequest) -> Result<Generation, Error> {
        Ok(self.engine.handle().generate(request).await?)
    }

    /// The engine: for the model's facts, its vocabulary and what it is doing. Outlives this host, and then refuses.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.engine.handle()
    }

    /// How the model was loaded, everything decided that the builder left open.
    #[must_use]
    pub fn llama_options(&self) -> &minerva_llama::Options {
        &self.llama
    }
}

/// What every host has, this one has too; other models can be added to its registry.
impl std::ops::Deref for Minerva {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

struct Install {
    runtime: minerva_wasm::Runtime,
    plugins: Plugins,
}

impl Installer for Install {
    fn install(&self, name: &str, component: &[u8]) -> Result<(), String> {
        let plugin = self.runtime.load(name, component).map_err(|error| error.to_string())?;
        self.plugins.insert(plugin);
        Ok(())
    }
}
