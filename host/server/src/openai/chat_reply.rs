//! What whole and streamed answers of a chat have in common.

use std::sync::Arc;

use minerva_engine::event::{FinishReason, Finished, Text};
use minerva_engine::model::Vocabulary;

use super::common::Count;
use super::logprobs::ChatLogprobs;
use crate::generation::Tally;

/// What the request decides of the form of its reply.
pub(crate) struct Shape {
    pub(crate) vocabulary: Arc<dyn Vocabulary>,
    pub(crate) has_logprobs: bool,
    pub(crate) count: Count,
}

impl Shape {
    pub(super) fn tally(&self) -> Tally {
        Tally::new(self.count.choices, self.count.per_prompt)
    }

    pub(super) fn logprobs(&self, text: &Text) -> Option<ChatLogprobs> {
        self.has_logprobs.then(|| {
            let mut logprobs = ChatLogprobs::default();
            logprobs.add(&text.logprobs, &self.vocabulary);
            logprobs
        })
    }
}

/// Why an answer ended, in OpenAI's words.
pub(super) fn finish_reason(finished: &Finished, called_tools: bool) -> &'static str {
    match finished.reason {
        FinishReason::Stop | FinishReason::Plugin if called_tools => "tool_calls",
        FinishReason::Stop | FinishReason::Plugin => "stop",
        FinishReason::Length => "length",
        FinishReason::Filter => "content_filter",
    }
}
