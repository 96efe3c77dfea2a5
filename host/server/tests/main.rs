//! The HTTP API on a scripted model.

mod admin;
mod cases;
mod connections;
mod faults;
mod fixture;
mod models;
mod plugins;
mod wire;
