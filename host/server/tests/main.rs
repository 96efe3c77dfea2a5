//! The HTTP API on a scripted model.

mod admin;
mod cases;
mod connections;
mod faults;
mod fixture;
mod limits;
mod models;
mod openapi;
mod plugins;
mod slot_files;
mod slow_clients;
mod websocket;
mod wire;
