//! The domain of Minerva: what is asked, what is answered, and the loop between.
//!
//! This crate knows no llama.cpp, no WebAssembly and no HTTP. They meet here as traits: [`model::Model`] runs a
//! network, the traits of [`plugin`] change what it is told and what it says, and an [`Engine`] serves many
//! requests at once on one model.
#![forbid(unsafe_code)]

pub mod request;
pub mod event;
pub mod model;
pub mod plugin;
pub mod step;
pub mod row;
pub mod builtin;
mod pipeline;
pub mod decoder;
mod processing;
mod queue;
pub mod scheduler;
mod sampling;
mod sequence;
mod pool;
mod worker;
mod handle;
#[cfg(any(test, feature = "test-util"))]
pub mod fake;
mod error;

pub use error::Error;
pub use handle::{Engine, Handle, Options, Status};
pub use pipeline::Generation;
