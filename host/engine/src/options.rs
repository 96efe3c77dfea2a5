//! How an engine serves.

use std::time::Duration;

use crate::grammar;

/// How an engine serves. Every limit that it has is here.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most requests that wait for a slot; one more is [`Error::Overloaded`](crate::Error::Overloaded). Default 256.
    pub queue_limit: usize,
    /// Most tokens of their prompts, together; a request that has more waits alone. Default 1,048,576.
    pub queue_tokens_limit: usize,
    /// The head start in the queue that a step of [`Params::priority`](crate::request::Params::priority) is: a request
    /// is passed by one of a higher priority that comes within so long behind it, for each step, and by no later one.
    /// Default 10 s.
    pub priority_step: Duration,
    /// Most tokens that wait for a stream's reader before its sequence pauses. Default 256.
    pub token_buffer: usize,
    /// How long a stream may stand still before it is cancelled. Default 60 s.
    pub stall_limit: Duration,
    /// Threads that plugins' samplers run on, beside the worker. Default 2.
    pub sampling_threads: usize,
    /// How long a step waits for samplers before it goes on without the late ones. Default 10 ms.
    pub sampling_patience: Duration,
    /// The part of the time that prompts get while a sequence generates: with a share f the time between two
    /// tokens grows by 1/(1-f) and a fifth of a step beside a long prompt, on average by 1/(1-f) beside short ones, and
    /// by more only where more prompts wait than sequences generate. Held between 0.05 and 0.95. Default 0.5.
    pub prefill_share: f64,
    /// By how many tokens those who generate may fall behind their share for short prompts: prompts that take no
    /// longer than half as many steps are decoded at once, in whole calls, and paid back by and by. Cut into small
    /// chunks they would cost everybody more. 0: none is short. Default 64.
    pub prefill_burst: u32,
    /// Whether what was decoded for one request may serve others. Default true.
    pub prefix_cache: bool,
    /// Most bytes of host memory for sequences that have no slot any more; 0 keeps none. Default 1 GiB.
    pub prefix_cache_bytes: u64,
    /// How long after a model could not be loaded anew a request is a reason to try once more. Default 5 s.
    pub reload_pause: Duration,
    /// What grammars may cost.
    pub grammar: grammar::Limits,
    /// Most texts of one request for embeddings. Default 2,048.
    pub embed_texts_max: usize,
    /// Most tokens of them together. Default 1,048,576.
    pub embed_tokens_max: usize,
    /// The Jinja chat template, instead of the model's own; or `chatml`.
    pub chat_template: Option<String>,
    /// Whether the template is rendered as the Jinja that it is; otherwise by the template of llama.cpp's own that it is
    /// recognised as, or names, and a template that is none of them is an error at the start. Default true.
    pub jinja: bool,
    /// The name of the [`Dialect`](crate::dialect::Dialect) in which the model calls tools, instead of the one that
    /// its template tells.
    pub dialect: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue_limit: 256,
            queue_tokens_limit: 1 << 20,
            priority_step: Duration::from_secs(10),
            token_buffer: 256,
            stall_limit: Duration::from_secs(60),
            sampling_threads: 2,
            sampling_patience: Duration::from_millis(10),
            prefill_share: 0.5,
            prefill_burst: 64,
            prefix_cache: true,
            prefix_cache_bytes: 1 << 30,
            reload_pause: Duration::from_secs(5),
            grammar: grammar::Limits::default(),
            embed_texts_max: 2_048,
            embed_tokens_max: 1 << 20,
            chat_template: None,
            jinja: true,
            dialect: None,
        }
    }
}
