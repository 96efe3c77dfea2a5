//! The domain of Minerva: what is asked, what is answered, and the loop between.
//!
//! This crate knows no llama.cpp, no WebAssembly and no HTTP. They meet here as traits: [`model::Model`] runs a
//! network, the traits of [`plugin`] change what it is told and what it says, and an [`Engine`] serves many
//! requests at once on one model.
#![forbid(unsafe_code)]

pub mod request;
pub mod event;
pub mod trace;
pub mod model;
pub mod plugin;
pub mod step;
pub mod row;
pub mod grammar;
pub mod builtin;
mod options;
mod pipeline;
pub mod decoder;
pub mod dialect;
mod processing;
mod queue;
mod cost;
pub mod scheduler;
pub mod recovery;
mod prefix;
mod store;
mod cache;
mod constraint;
mod sampling;
pub mod saved;
mod sequence;
mod pool;
mod worker;
pub mod embedding;
pub mod infill;
mod latency;
mod shared;
mod handle;
#[cfg(any(test, feature = "test-util"))]
pub mod fake;
mod error;

pub use error::Error;
pub use handle::{Engine, Handle};
pub use latency::{Distribution, Latencies};
pub use options::Options;
pub use pipeline::Generation;
pub use shared::{SlotStatus, Status};
