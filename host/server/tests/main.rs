//! The HTTP API on a scripted model.

mod cases;
mod connections;
mod fixture;
mod plugins;
mod wire;
