//! End-to-end tests: the real program, the built-in model, the plugins of the tree. One binary, because linking is
//! slow.
//!
//! What is asked and expected over HTTP is data: a folder in `cases/`. Adding one needs no Rust.

mod harness;

mod cases;
mod chat;
mod streams;
mod sampling;
mod prefix;
mod bench;
mod structured;
mod embeddings;
mod model_files;
mod hostile_plugins;
mod plugin_life;
mod lifecycle;
mod several_models;
mod isolation;
mod load;
mod logs;
mod traces;
mod deploy;
mod authoring;
mod embedding;
mod clients;
