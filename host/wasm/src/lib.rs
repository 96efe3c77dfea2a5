//! WebAssembly components behind the plugin traits of [`minerva_engine`].
//!
//! A [`Runtime`] loads components that target `minerva:plugin` (the WIT package in `wit/`) and makes an
//! [`engine::plugin::Plugin`](minerva_engine::plugin::Plugin) of each. What the engine then calls is an instance
//! of the component, one per request, inside limits of time, memory and everything else.
//!
//! ```
//! use minerva_wasm::{Error, Options, Runtime};
//!
//! let runtime = Runtime::new(Options::default())?;
//!
//! // Whatever is wrong with a file, the error names the plugin and says what would be right.
//! let error = runtime.load("shout", &b"#!/bin/sh"[..]).map(|plugin| plugin.identity).unwrap_err();
//! assert!(matches!(error, Error::NotWasm { .. }));
//! assert!(error.to_string().starts_with("plugin 'shout' is not WebAssembly"));
//! # Ok::<(), Error>(())
//! ```
//!
//! This is the only crate that knows wasmtime and the WIT.
// In `cache` alone, where compiled code is taken in.
#![deny(unsafe_code)]

mod runtime;

mod load;
mod compile;
mod cache;
mod folder;

mod sampler;
mod stream;
mod template;

mod args;
mod instance;
mod state;
mod store;

mod bindings;
mod imports;
mod wasi;

mod error;
mod fault;
mod limits;
mod deadline;
mod ticker;

pub use error::Error;
pub use folder::Folder;
pub use limits::{Limits, Options, Setting};
pub use load::{InspectedKind, Inspection, Source};
pub use runtime::{INTERFACE_VERSION, Runtime};
