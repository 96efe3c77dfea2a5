//! The answers of a chat, whole.

use minerva_engine::event::{Event, ToolDelta};
use schemars::JsonSchema;
use serde::Serialize;

use super::chat_reply::{Shape, finish_reason};
use super::common::Head;
use super::logprobs::ChatLogprobs;
use super::summary::{FINGERPRINT, MetaObject, Minerva, Timings, Usage};
use crate::generation::Tally;

/// A whole reply.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatCompletion")]
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

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatChoice")]
struct Choice {
    index: usize,
    message: Message,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatAnswer")]
struct Message {
    role: &'static str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatToolCall")]
struct ToolCall {
    id: String,
    r#type: &'static str,
    function: Function,
    /// OpenAI's whole calls have none; it is how the pieces find their call.
    #[serde(skip)]
    index: u32,
}

#[derive(Default, Serialize, JsonSchema)]
#[schemars(rename = "ChatFunctionCall")]
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
