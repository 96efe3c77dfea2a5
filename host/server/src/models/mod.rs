//! Models as an operator sees them: loaded and unloaded, watched, counted. What clients see is in
//! [`openai::models`](crate::openai::models).

pub(crate) mod admin;
pub(crate) mod events;
pub(crate) mod metrics;
