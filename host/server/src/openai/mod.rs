//! OpenAI's endpoints: one file each, and what they share.

pub(crate) mod chat;
pub(crate) mod common;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod models;
pub(crate) mod responses;

mod message;
pub(crate) mod prompts;
pub(crate) mod sampling;
mod sampling_values;
pub(crate) mod tools;

mod chat_answers;
mod chat_reply;
mod chat_stream;
mod completions_reply;
pub(crate) mod grammar;
mod logprobs;
pub(crate) mod summary;
