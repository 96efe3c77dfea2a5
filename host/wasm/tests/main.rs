//! Plugins through the boundary: those that come with Minerva, and guests that misbehave.

mod support;

mod bundled;
mod commands;
mod conversation;
mod hostile;
mod loading;
