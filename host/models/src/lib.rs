//! Model files for Minerva: reading, checking and making GGUF, and the model in the box.

pub mod builtin;
pub mod gguf;
pub mod inspect;
pub mod synthetic;
