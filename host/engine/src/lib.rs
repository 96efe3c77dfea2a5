//! The domain of Minerva: what is asked, what is answered, and the loop between.
//!
//! This crate knows no llama.cpp, no WebAssembly and no HTTP. They meet here as three kinds of traits:
//! [`model::Model`] runs a network, the traits of [`plugin`] change what it is told and what it says, and an
//! engine serves many requests at once on one model.
#![forbid(unsafe_code)]

pub mod builtin;
pub mod event;
pub mod model;
pub mod plugin;
pub mod request;
pub mod row;
pub mod step;

mod error;

pub use error::Error;
