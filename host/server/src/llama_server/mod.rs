//! Endpoints that llama-server has beside OpenAI's: one file each.

pub(crate) mod apply_template;
pub(crate) mod completion;
mod completion_reply;
pub(crate) mod infill;
pub(crate) mod props;
pub(crate) mod rerank;
mod settings;
pub(crate) mod slot_files;
pub(crate) mod tokenize;
