//! The engine's own template and sampler: what a request gets where it names no plugin.

pub mod chat_template;
pub mod closure;
pub mod jinja;
pub mod native;
