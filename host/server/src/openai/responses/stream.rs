//! A response as a stream of events.

use minerva_engine::event::Event;
use schemars::JsonSchema;
use serde::Serialize;

use super::answer::{Answer, Change};
use super::wire::{Item, Part, Response, Status};
use crate::failure::Failure;
use crate::sse::{Encode, Frames};

/// Says a response as events.
pub(super) struct Streaming {
    /// `None` once it was told to the end.
    answer: Option<Answer>,
    sequence_number: u64,
    /// Whether the last item has not ended yet.
    is_open: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ResponseEvent")]
pub(super) struct Numbered<'a> {
    sequence_number: u64,
    #[serde(flatten)]
    said: Said<'a>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ResponseSaid")]
#[serde(tag = "type")]
enum Said<'a> {
    #[serde(rename = "response.created")]
    Created { response: Response },
    #[serde(rename = "response.in_progress")]
    InProgress { response: Response },
    #[serde(rename = "response.output_item.added")]
    ItemAdded { output_index: usize, item: Item },
    #[serde(rename = "response.content_part.added")]
    PartAdded { item_id: &'a str, output_index: usize, content_index: usize, part: Part },
    #[serde(rename = "response.output_text.delta")]
    TextDelta {
        item_id: &'a str,
        output_index: usize,
        content_index: usize,
        delta: &'a str,
        logprobs: [(); 0],
    },
    #[serde(rename = "response.reasoning_text.delta")]
    ReasoningDelta { item_id: &'a str, output_index: usize, content_index: usize, delta: &'a str },
    #[serde(rename = "response.function_call_arguments.delta")]
    ArgumentsDelta { item_id: &'a str, output_index: usize, delta: &'a str },
    #[serde(rename = "response.output_text.done")]
    TextDone { item_id: &'a str, output_index: usize, content_index: usize, text: &'a str, logprobs: [(); 0] },
    #[serde(rename = "response.reasoning_text.done")]
    ReasoningDone { item_id: &'a str, output_index: usize, content_index: usize, text: &'a str },
    #[serde(rename = "response.function_call_arguments.done")]
    ArgumentsDone { item_id: &'a str, output_index: usize, name: &'a str, arguments: &'a str },
    #[serde(rename = "response.content_part.done")]
    PartDone { item_id: &'a str, output_index: usize, content_index: usize, part: &'a Part },
    #[serde(rename = "response.output_item.done")]
    ItemDone { output_index: usize, item: &'a Item },
    #[serde(rename = "response.completed")]
    Completed { response: Response },
    #[serde(rename = "response.incomplete")]
    Incomplete { response: Response },
    #[serde(rename = "response.failed")]
    Failed { response: Response },
}

impl Said<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Created { .. } => "response.created",
            Self::InProgress { .. } => "response.in_progress",
            Self::ItemAdded { .. } => "response.output_item.added",
            Self::PartAdded { .. } => "response.content_part.added",
            Self::TextDelta { .. } => "response.output_text.delta",
            Self::ReasoningDelta { .. } => "response.reasoning_text.delta",
            Self::ArgumentsDelta { .. } => "response.function_call_arguments.delta",
            Self::TextDone { .. } => "response.output_text.done",
            Self::ReasoningDone { .. } => "response.reasoning_text.done",
            Self::ArgumentsDone { .. } => "response.function_call_arguments.done",
            Self::PartDone { .. } => "response.content_part.done",
            Self::ItemDone { .. } => "response.output_item.done",
            Self::Completed { .. } => "response.completed",
            Self::Incomplete { .. } => "response.incomplete",
            Self::Failed { .. } => "response.failed",
        }
    }
}

impl Streaming {
    pub(super) fn new(answer: Answer) -> Self {
        Self { answer: Some(answer), sequence_number: 0, is_open: false }
    }
}

/// Writes events with rising numbers.
struct Writer<'a> {
    frames: &'a mut Frames,
    sequence_number: &'a mut u64,
}

impl Writer<'_> {
    fn say(&mut self, said: Said<'_>) {
        let name = said.name();
        self.frames.named(name, &Numbered { sequence_number: *self.sequence_number, said });
        *self.sequence_number += 1;
    }

    fn began(&mut self, output_index: usize, item: &Item) {
        self.say(Said::ItemAdded { output_index, item: item.emptied() });
        if let Some(part) = item.part() {
            let (item_id, part) = (item.id(), part.emptied());
            self.say(Said::PartAdded { item_id, output_index, content_index: 0, part });
        }
    }

    fn more(&mut self, output_index: usize, item: &Item, delta: &str) {
        let (item_id, content_index) = (item.id(), 0);
        self.say(match item {
            Item::Message { .. } => {
                Said::TextDelta { item_id, output_index, content_index, delta, logprobs: [] }
            }
            Item::Reasoning { .. } => Said::ReasoningDelta { item_id, output_index, content_index, delta },
            Item::FunctionCall { .. } => Said::ArgumentsDelta { item_id, output_index, delta },
        });
    }

    fn ended(&mut self, output_index: usize, item: &Item) {
        let (item_id, content_index) = (item.id(), 0);
        let text = item.part().map(Part::text).unwrap_or_default();
        self.say(match item {
            Item::Message { .. } => {
                Said::TextDone { item_id, output_index, content_index, text, logprobs: [] }
            }
            Item::Reasoning { .. } => Said::ReasoningDone { item_id, output_index, content_index, text },
            Item::FunctionCall { name, arguments, .. } => {
                Said::ArgumentsDone { item_id, output_index, name, arguments }
            }
        });
        if let Some(part) = item.part() {
            self.say(Said::PartDone { item_id, output_index, content_index, part });
        }
        self.say(Said::ItemDone { output_index, item });
    }
}

impl Encode for Streaming {
    fn start(&mut self, frames: &mut Frames) {
        let Some(answer) = &self.answer else { return };
        let mut writer = Writer { frames, sequence_number: &mut self.sequence_number };
        writer.say(Said::Created { response: answer.response(Status::InProgress) });
        writer.say(Said::InProgress { response: answer.response(Status::InProgress) });
    }

    fn event(&mut self, _: usize, event: Event, frames: &mut Frames) {
        let Some(answer) = &mut self.answer else { return };
        let mut writer = Writer { frames, sequence_number: &mut self.sequence_number };
        let mut event = Some(event);
        while let Some(next) = event.take() {
            let (change, rest) = answer.step(next);
            event = rest;
            let items = answer.items();
            let Some(last) = items.len().checked_sub(1) else { continue };
            match change {
                Change::Began => {
                    if self.is_open && last > 0 {
                        writer.ended(last - 1, &items[last - 1]);
                    }
                    self.is_open = true;
                    writer.began(last, &items[last]);
                }
                Change::More(delta) => writer.more(last, &items[last], &delta),
                Change::Nothing => {}
            }
        }
    }

    fn end(&mut self, frames: &mut Frames) {
        let Some(answer) = self.answer.take() else { return };
        let mut writer = Writer { frames, sequence_number: &mut self.sequence_number };
        let items = answer.items();
        if let (true, Some((item, before))) = (self.is_open, items.split_last()) {
            writer.ended(before.len(), item);
        }
        let response = answer.into_response();
        writer.say(match response.status {
            Status::Incomplete => Said::Incomplete { response },
            _ => Said::Completed { response },
        });
    }

    fn failed(&mut self, failure: &Failure, frames: &mut Frames) {
        let Some(answer) = self.answer.take() else { return };
        let mut response = answer.response(Status::Failed);
        response.error = Some(failure.response_error());
        Writer { frames, sequence_number: &mut self.sequence_number }.say(Said::Failed { response });
    }
}
