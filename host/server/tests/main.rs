//! The HTTP API on a scripted model.

mod admin;
mod cases;
mod connections;
mod faults;
mod fixture;
mod limits;
mod models;
mod plugins;
mod slow_clients;
mod websocket;
mod wire;
