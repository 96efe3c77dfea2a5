//! The HTTP API of Minerva: OpenAI conventions over minerva-engine.
//!
//! This is the only crate that knows HTTP, the JSON of the wire and server-sent events. It is given models that
//! are already running and plugins that are already loaded, and serves them:
//!
//! ```
//! use minerva_engine::fake::ScriptedModel;
//! use minerva_engine::plugin::Plugins;
//! use minerva_engine::{Engine, Options};
//! use minerva_server::{App, Models, ServedModel};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::start(Box::new(ScriptedModel::new(4, &[("hello", "there")])), Options::default())?;
//! let models = Models::default();
//! models.insert(ServedModel::new("tiny", engine.handle()));
//! let app = App { models, plugins: Plugins::default(), options: minerva_server::Options::default() };
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let interrupted = async { /* until Ctrl-C, say */ };
//! minerva_server::serve(app, listener, interrupted).await;
//! # Ok(()) }
//! ```
//!
//! [`router`] is every route in one table; below it, one file per endpoint holds the types of the wire and their
//! conversion to and from the engine's.
#![forbid(unsafe_code)]

mod app;
mod router;
mod serve;

mod anthropic;
mod health;
mod llama_server;
mod metrics;
mod models;
mod openai;
mod openapi;
mod plugins;

mod admission;
mod api_key;
mod body;
mod client;
mod cors;
mod embedding;
mod failure;
mod generation;
mod json;
mod nearest;
mod not_found;
mod origin;
mod sse;
mod tls;
mod traces;
mod tracking;
mod websocket;

pub use api_key::ApiKeys;
pub use app::{App, ConnectionLimits, Defaults, MetricsCompat, Models, Options, ServedModel, sample};
pub use client::ClientLimits;
pub use cors::Cors;
pub use minerva_models::registry::{PluginChoice, PluginChoices};
pub use plugins::admin::Admin;
pub use router::router;
pub use serve::serve;
pub use tls::{Tls, TlsError};
pub use traces::Traces;
