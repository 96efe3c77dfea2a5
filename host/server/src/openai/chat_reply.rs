//! The answers of a chat, whole or as a stream of chunks.

use std::sync::Arc;

use minerva_engine::event::{Event, FinishReason, Finished, Text, ToolDelta};
use minerva_engine::model::Vocabulary;
use serde::Serialize;

use super::common::{Count, Head};
use super::logprobs::ChatLogprobs;
use super::summary::{FINGERPRINT, MetaObject, Minerva, Timings, Usage};
use crate::generation::Tally;
use crate::sse::{Encode, Frames};

/// What the request decides of the form of its reply.
pub(crate) struct Shape {
    pub(crate) vocabulary: Arc<dyn Vocabulary>,
    pub(crate) has_logprobs: bool,
    pub(crate) count: Count,
}

impl Shape {
    fn tally(&self) -> Tally {
        Tally::new(self.count.choices, self.count.per_prompt)
    }

    fn logprobs(&self, text: &Text) -> Option<ChatLogprobs> {
        self.has_logprobs.then(|| {
            let mut logprobs = ChatLogprobs::default();
            logprobs.add(&text.logprobs, &self.vocabulary);
            logprobs
        })
    }
}

fn finish_reason(finished: &Finished, called_tools: bool) -> &'static str {
    match finished.reason {
        FinishReason::Stop | FinishReason::Plugin if called_tools => "tool_calls",
        FinishReason::Stop | FinishReason::Plugin => "stop",
        FinishReason::Length => "length",
        FinishReason::Filter => "content_filter",
    }
}

/// A whole reply.
#[derive(Serialize)]
pub(crate) struct Completion {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    system_fingerprint: &'static str,
    choices: Vec<Choice>,
    usage: Usage,
    timings: Timings,
    minerva: Minerva,
}

#[derive(Serialize)]
struct Choice {
    index: usize,
    message: Message,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
}

#[derive(Serialize)]
struct ToolCall {
    id: String,
    r#type: &'static str,
    function: Function,
    /// OpenAI's whole calls have none; it is how the pieces find their call.
    #[serde(skip)]
    index: u32,
}

#[derive(Default, Serialize)]
struct Function {
    name: String,
    arguments: String,
}

/// Gathers a whole reply.
pub(crate) struct Answers {
    shape: Shape,
    answers: Vec<Answer>,
    tally: Tally,
    meta: Vec<MetaObject>,
}

#[derive(Default)]
struct Answer {
    content: String,
    reasoning: String,
    tool_calls: Vec<ToolCall>,
    logprobs: ChatLogprobs,
    finish_reason: &'static str,
}

impl Answers {
    pub(crate) fn new(shape: Shape) -> Self {
        let answers = std::iter::repeat_with(Answer::default).take(shape.count.choices).collect();
        let tally = shape.tally();
        Self { shape, answers, tally, meta: Vec::new() }
    }

    pub(crate) fn add(&mut self, choice: usize, event: Event) {
        let Some(answer) = self.answers.get_mut(choice) else { return };
        match event {
            Event::Text(text) => {
                answer.content.push_str(&text.text);
                answer.logprobs.add(&text.logprobs, &self.shape.vocabulary);
            }
            Event::Reasoning(text) => answer.reasoning.push_str(&text),
            Event::Tool(delta) => answer.add_tool(delta),
            Event::Meta(meta) => self.meta.push(MetaObject::new(choice, meta)),
            Event::Finished(finished) => {
                answer.finish_reason = finish_reason(&finished, !answer.tool_calls.is_empty());
                self.tally.add(choice, finished);
            }
        }
    }

    pub(crate) fn into_completion(self, head: Head) -> Completion {
        let Self { shape, answers, tally, meta } = self;
        let choices = answers
            .into_iter()
            .enumerate()
            .map(|(index, answer)| answer.into_choice(index, shape.has_logprobs));
        Completion {
            id: head.id,
            object: "chat.completion",
            created: head.created,
            model: head.model,
            system_fingerprint: FINGERPRINT,
            choices: choices.collect(),
            usage: Usage::of(&tally),
            timings: Timings::of(&tally),
            minerva: Minerva::of(&tally, meta),
        }
    }
}

impl Answer {
    fn add_tool(&mut self, delta: ToolDelta) {
        let at = self.tool_calls.iter().position(|call| call.index == delta.index).unwrap_or_else(|| {
            let function = Function::default();
            self.tool_calls.push(ToolCall {
                id: String::new(),
                r#type: "function",
                function,
                index: delta.index,
            });
            self.tool_calls.len() - 1
        });
        let call = &mut self.tool_calls[at];
        if let Some(id) = delta.id {
            call.id = id;
        }
        if let Some(name) = delta.name {
            call.function.name = name;
        }
        call.function.arguments.push_str(&delta.arguments);
    }

    fn into_choice(self, index: usize, has_logprobs: bool) -> Choice {
        let says_nothing = self.content.is_empty() && !self.tool_calls.is_empty();
        Choice {
            index,
            message: Message {
                role: "assistant",
                content: (!says_nothing).then_some(self.content),
                reasoning_content: (!self.reasoning.is_empty()).then_some(self.reasoning),
                tool_calls: self.tool_calls,
            },
            logprobs: has_logprobs.then_some(self.logprobs),
            finish_reason: self.finish_reason,
        }
    }
}

/// A piece of a reply.
#[derive(Serialize)]
struct Chunk<'a> {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    minerva: Option<Said>,
}

/// What only the last chunk has.
#[derive(Serialize)]
struct End {
    timings: Timings,
    minerva: Minerva,
}

/// What a stream processor says, as it says it.
#[derive(Serialize)]
struct Said {
    meta: [MetaObject; 1],
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: usize,
    delta: Delta<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
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

#[derive(Serialize)]
struct ToolCallDelta<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: FunctionDelta<'a>,
}

#[derive(Serialize)]
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
            minerva: None,
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
        End { timings: Timings::of(&self.tally), minerva: Minerva::of(&self.tally, Vec::new()) }
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
                let said = Said { meta: [MetaObject::new(choice, meta)] };
                frames.data(&Chunk { minerva: Some(said), ..self.chunk(&choices) });
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
