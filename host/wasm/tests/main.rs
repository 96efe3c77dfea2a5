//! Plugins through the boundary: those that come with Minerva, and guests that misbehave.

mod support;

mod bundled;
mod commands;
mod hostile;
mod loading;
mod wasi;
