//! A message as a stream of events.

use minerva_engine::event::{Event, Finished, ToolDelta};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::reply::{Block, Head, Message, Usage, stop_reason};
use crate::failure::Failure;
use crate::sse::{Encode, Frames};

/// Says a message as events.
pub(super) struct Streaming {
    head: Head,
    /// The block that is open, and how many have been.
    open: Option<Open>,
    blocks: usize,
    called_tools: bool,
    finished: Option<Finished>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    Tool(u32),
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AnthropicEvent")]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Said<'a> {
    MessageStart { message: Message },
    ContentBlockStart { index: usize, content_block: Block },
    ContentBlockDelta { index: usize, delta: Delta<'a> },
    ContentBlockStop { index: usize },
    MessageDelta { delta: Ending, usage: Usage },
    MessageStop,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AnthropicDelta")]
#[serde(tag = "type")]
pub(super) enum Delta<'a> {
    #[serde(rename = "text_delta")]
    Text { text: &'a str },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: &'a str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: &'a str },
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AnthropicEnding")]
pub(super) struct Ending {
    stop_reason: &'static str,
    stop_sequence: Option<String>,
}

impl Said<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
        }
    }

    fn put(&self, frames: &mut Frames) {
        frames.named(self.name(), self);
    }
}

impl Streaming {
    pub(super) fn new(head: Head) -> Self {
        Self { head, open: None, blocks: 0, called_tools: false, finished: None }
    }

    /// Makes a block the open one.
    fn open(&mut self, open: Open, block: Block, frames: &mut Frames) {
        if self.open == Some(open) {
            return;
        }
        self.close(frames);
        self.open = Some(open);
        Said::ContentBlockStart { index: self.blocks, content_block: block }.put(frames);
    }

    fn close(&mut self, frames: &mut Frames) {
        if self.open.take().is_some() {
            Said::ContentBlockStop { index: self.blocks }.put(frames);
            self.blocks += 1;
        }
    }

    fn delta(&self, delta: Delta<'_>, frames: &mut Frames) {
        Said::ContentBlockDelta { index: self.blocks, delta }.put(frames);
    }
}

impl Encode for Streaming {
    fn start(&mut self, frames: &mut Frames) {
        let message = self.head.message(Vec::new(), Usage::new(self.head.prompt_tokens, 0, 0));
        Said::MessageStart { message }.put(frames);
    }

    fn event(&mut self, _: usize, event: Event, frames: &mut Frames) {
        match event {
            Event::Text(text) if text.text.is_empty() => {}
            Event::Text(text) => {
                self.open(Open::Text, Block::Text { text: String::new() }, frames);
                self.delta(Delta::Text { text: &text.text }, frames);
            }
            Event::Reasoning(thinking) => {
                self.open(Open::Thinking, Block::Thinking { thinking: String::new(), signature: "" }, frames);
                self.delta(Delta::Thinking { thinking: &thinking }, frames);
            }
            Event::Tool(ToolDelta { index, id, name, arguments }) => {
                self.called_tools = true;
                let (id, name) = (id.unwrap_or_default(), name.unwrap_or_default());
                let input = serde_json::from_str("{}").unwrap_or_else(|_| RawValue::NULL.to_owned());
                self.open(Open::Tool(index), Block::ToolUse { id, name, input }, frames);
                if !arguments.is_empty() {
                    self.delta(Delta::InputJson { partial_json: &arguments }, frames);
                }
            }
            // Anthropic's messages have no place for what plugins say.
            Event::Meta(_) => {}
            Event::Finished(finished) => self.finished = Some(finished),
        }
    }

    fn end(&mut self, frames: &mut Frames) {
        self.close(frames);
        let Some(finished) = &self.finished else { return };
        let (stop_reason, stop_sequence) = stop_reason(finished, self.called_tools, &self.head.stops);
        let usage = Usage::of(Some(finished), self.head.prompt_tokens);
        Said::MessageDelta { delta: Ending { stop_reason, stop_sequence }, usage }.put(frames);
        Said::MessageStop.put(frames);
    }

    fn failed(&mut self, failure: &Failure, frames: &mut Frames) {
        frames.named("error", &failure.anthropic_body());
    }
}
