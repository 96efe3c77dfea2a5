//! Minerva: a native host for local large language models, programmable by WebAssembly components.
//!
//! A [`Minerva`] is a loaded model, the plugins that may be used with it, and the engine that serves many requests
//! at once on it. The program `minerva` is built on exactly this.
//!
//! ```no_run
//! # async fn example() -> Result<(), minerva::Error> {
//! use minerva::Minerva;
//!
//! let minerva = Minerva::builder().model("model.gguf").plugin("min-p", "min-p.wasm").build()?;
//! let answer = minerva
//!     .ask("Why is the sky blue?")
//!     .sampler("min-p", serde_json::json!({ "p": 0.1 }))
//!     .max_tokens(200)
//!     .text()
//!     .await?;
//! println!("{answer}");
//! # Ok(())
//! # }
//! ```
//!
//! Without [`Builder::model`] it is the built-in model: small, and there to try things with.
//!
//! Nothing here is global, bar llama.cpp itself, which is initialised once in a process: two hosts live side by
//! side.
#![forbid(unsafe_code)]

pub mod conformance;

mod builder;
mod host;
mod ask;
mod error;
mod memory;
mod model;

pub use ask::Ask;
pub use builder::Builder;
pub use error::Error;
pub use host::{Host, Minerva};
pub use memory::memory_for_models;
pub use model::{Isolate, Model, Planned};

pub use minerva_engine as engine;
pub use minerva_engine::Generation;
pub use minerva_engine::builtin::closure::ClosureSampler;
pub use minerva_engine::event::{Event, FinishReason, Finished, Usage};
pub use minerva_engine::plugin::{Choice, OnFault};
pub use minerva_engine::request::{Chat, GenerateRequest, Input, Message, Params};
pub use minerva_engine::step::{Candidates, Step};
pub use minerva_isolate as isolate;
pub use minerva_llama as llama;
pub use minerva_models as models;
pub use minerva_models::registry::{Registry, Spec};
pub use minerva_wasm as wasm;
