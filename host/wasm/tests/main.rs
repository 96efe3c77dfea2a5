//! Plugins through the boundary: those that come with Minerva, and guests that misbehave.

mod support;

mod bundled;
#[cfg(unix)]
mod cache;
mod commands;
mod conversation;
mod folder;
mod hostile;
mod hostile_core;
mod limits;
mod loading;
#[cfg(target_os = "linux")]
mod memory;
mod store;
