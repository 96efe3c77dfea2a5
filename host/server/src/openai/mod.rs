//! OpenAI's endpoints: one file each, and what they share.

pub(crate) mod chat;
pub(crate) mod common;
pub(crate) mod completions;
pub(crate) mod models;

mod chat_reply;
mod completions_reply;
mod logprobs;
mod message;
mod sampling;
mod summary;
mod tools;
