//! Endpoints that llama-server has beside OpenAI's: one file each.

pub(crate) mod apply_template;
pub(crate) mod tokenize;
