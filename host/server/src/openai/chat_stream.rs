//! The answers of a chat, as a stream of chunks.

use minerva_engine::event::{Event, Finished, ToolDelta};
use schemars::JsonSchema;
use serde::Serialize;

use super::chat_reply::{Shape, finish_reason};
use super::common::Head;
use super::logprobs::ChatLogprobs;
use super::summary::{FINGERPRINT, MetaObject, Minerva, Timings, Usage};
use crate::generation::Tally;
use crate::sse::{Encode, Frames};

/// A piece of a reply.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatChunk")]
pub(super) struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [ChunkChoice<'a>],
    /// Where usage was asked for, null in every chunk but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(flatten)]
    end: Option<End>,
}

/// What stands at the end.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "ChatChunkEnd")]
enum End {
    /// In the last chunk.
    All { timings: Timings, minerva: Minerva },
    /// Where a stream processor says something.
    Said { minerva: Said },
}

/// What a stream processor says, as it says it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatChunkSaid")]
struct Said {
    meta: [MetaObject; 1],
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatChunkChoice")]
struct ChunkChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize, JsonSchema)]
#[schemars(rename = "ChatDelta")]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// Null beside the role, as in llama-server.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolCallDelta<'a>; 1]>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatToolCallDelta")]
struct ToolCallDelta<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatFunctionDelta")]
struct FunctionDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

/// Says a reply as chunks.
pub(crate) struct Streaming {
    head: Head,
    shape: Shape,
    include_usage: bool,
    tally: Tally,
    called_tools: Vec<bool>,
}

impl Streaming {
    pub(crate) fn new(head: Head, shape: Shape, include_usage: bool) -> Self {
        let (tally, called_tools) = (shape.tally(), vec![false; shape.count.choices]);
        Self { head, shape, include_usage, tally, called_tools }
    }

    fn chunk<'a>(&'a self, choices: &'a [ChunkChoice<'a>]) -> Chunk<'a> {
        Chunk {
            id: &self.head.id,
            object: "chat.completion.chunk",
            created: self.head.created,
            model: &self.head.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage: self.include_usage.then_some(None),
            end: None,
        }
    }

    fn delta(&self, frames: &mut Frames, index: usize, delta: Delta<'_>, logprobs: Option<ChatLogprobs>) {
        frames.data(&self.chunk(&[ChunkChoice { index, delta, logprobs, finish_reason: None }]));
    }

    /// The first piece of a call has its id, its name and no arguments; the others have only arguments.
    fn tool(&mut self, frames: &mut Frames, choice: usize, tool: &ToolDelta) {
        if let Some(called) = self.called_tools.get_mut(choice) {
            *called = true;
        }
        let piece = |name, arguments| {
            let is_first = tool.id.is_some() || tool.name.is_some();
            let id = tool.id.as_deref().filter(|_| name);
            Delta {
                tool_calls: Some([ToolCallDelta {
                    index: tool.index,
                    id,
                    r#type: (is_first && name).then_some("function"),
                    function: FunctionDelta { name: tool.name.as_deref().filter(|_| name), arguments },
                }]),
                ..Delta::default()
            }
        };
        if tool.id.is_some() || tool.name.is_some() {
            self.delta(frames, choice, piece(true, ""), None);
        }
        if !tool.arguments.is_empty() {
            self.delta(frames, choice, piece(false, &tool.arguments), None);
        }
    }

    fn finished(&mut self, frames: &mut Frames, choice: usize, finished: Finished) {
        let called_tools = self.called_tools.get(choice).copied().unwrap_or(false);
        let finish_reason = Some(finish_reason(&finished, called_tools));
        self.tally.add(choice, finished);
        let choices = [ChunkChoice { index: choice, delta: Delta::default(), logprobs: None, finish_reason }];
        let end = (self.tally.is_complete() && !self.include_usage).then(|| self.end_of_all());
        frames.data(&Chunk { end, ..self.chunk(&choices) });
    }

    fn end_of_all(&self) -> End {
        End::All { timings: Timings::of(&self.tally), minerva: Minerva::of(&self.tally, Vec::new()) }
    }
}

impl Encode for Streaming {
    fn start(&mut self, frames: &mut Frames) {
        for choice in 0..self.shape.count.choices {
            let role = Delta { role: Some("assistant"), content: Some(None), ..Delta::default() };
            self.delta(frames, choice, role, None);
        }
    }

    fn event(&mut self, choice: usize, event: Event, frames: &mut Frames) {
        match event {
            Event::Text(text) => {
                let delta = Delta { content: Some(Some(&text.text)), ..Delta::default() };
                self.delta(frames, choice, delta, self.shape.logprobs(&text));
            }
            Event::Reasoning(text) => {
                let delta = Delta { reasoning_content: Some(&text), ..Delta::default() };
                self.delta(frames, choice, delta, None);
            }
            Event::Tool(tool) => self.tool(frames, choice, &tool),
            Event::Meta(meta) => {
                let choices = [ChunkChoice {
                    index: choice,
                    delta: Delta::default(),
                    logprobs: None,
                    finish_reason: None,
                }];
                let minerva = Said { meta: [MetaObject::new(choice, meta)] };
                frames.data(&Chunk { end: Some(End::Said { minerva }), ..self.chunk(&choices) });
            }
            Event::Finished(finished) => self.finished(frames, choice, finished),
        }
    }

    fn end(&mut self, frames: &mut Frames) {
        if self.include_usage {
            let usage = Some(Some(Usage::of(&self.tally)));
            frames.data(&Chunk { usage, end: Some(self.end_of_all()), ..self.chunk(&[]) });
        }
        frames.done();
    }
}
