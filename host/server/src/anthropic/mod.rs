//! Anthropic's Messages: the same chat in another dialect. The request becomes the engine's, the events become
//! Anthropic's; sampling fields and the `minerva` object are those of the other endpoints.

pub(crate) mod messages;

mod content;
mod reply;
mod stream;
