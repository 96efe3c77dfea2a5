//! Gathers a response, and keeps it.

use std::sync::Arc;
use std::time::SystemTime;

use minerva_engine::event::{Event, FinishReason, Finished, ToolDelta};
use minerva_engine::model::{Encode, Vocabulary};
use minerva_engine::request::{Content, Message, ToolCall};
use serde_json::{Map, Value};

use super::store::Store;
use super::wire::{
    Format, Incomplete, InputDetails, Item, OutputDetails, Part, Reasoning, Response, Status, Text, Usage,
};
use crate::generation::Tally;
use crate::openai::models::unix_seconds;
use crate::openai::summary::{MetaObject, Minerva, Timings};
use crate::tracking::Ids;

/// What is known of a response before it is written.
pub(super) struct Head {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) instructions: Option<String>,
    pub(super) previous_response_id: Option<String>,
    pub(super) metadata: Map<String, Value>,
    pub(super) is_stored: bool,
    pub(super) tools: Vec<Value>,
    pub(super) tool_choice: &'static str,
    pub(super) format: &'static str,
    pub(super) effort: Option<String>,
    pub(super) truncation: &'static str,
    pub(super) max_output_tokens: Option<u32>,
    pub(super) temperature: f32,
    pub(super) top_p: f32,
    pub(super) vocabulary: Arc<dyn Vocabulary>,
    /// The conversation that it answers, to be gone on with; without the instructions, which hold for one response.
    pub(super) messages: Vec<Message>,
    pub(super) store: Store,
}

/// A response under way.
pub(super) struct Answer {
    head: Head,
    created_at: u64,
    /// Names for its items: the response's own id and a number.
    item_ids: String,
    items: Vec<Item>,
    /// Which call the last item is.
    call: Option<u32>,
    meta: Vec<MetaObject>,
    tally: Tally,
}

/// What an event changed.
pub(super) enum Change {
    /// A new item began; the one before it, if there is one, is over.
    Began,
    /// The last item has more: this.
    More(String),
    /// Nothing that is said.
    Nothing,
}

impl Answer {
    pub(super) fn new(head: Head, ids: &Ids) -> Self {
        let item_ids = ids.make("");
        let created_at = unix_seconds(SystemTime::now());
        let tally = Tally::new(1, 1);
        Self { head, created_at, item_ids, items: Vec::new(), call: None, meta: Vec::new(), tally }
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Takes an event whole.
    pub(super) fn add(&mut self, event: Event) {
        let mut event = Some(event);
        while let Some(next) = event.take() {
            if let (Change::Began, rest) = self.step(next) {
                event = rest;
            }
        }
    }

    /// Takes an event: first where it begins an item, and then, as the rest that comes back, what it says there.
    pub(super) fn step(&mut self, event: Event) -> (Change, Option<Event>) {
        match event {
            Event::Text(text) if text.text.is_empty() => (Change::Nothing, None),
            Event::Text(text) => {
                if !matches!(self.items.last(), Some(Item::Message { .. })) {
                    let part = Part::OutputText { text: String::new(), annotations: [], logprobs: [] };
                    let (id, status) = (self.next_id("msg_"), Status::InProgress);
                    self.begin(Item::Message { id, status, role: "assistant", content: vec![part] });
                    return (Change::Began, Some(Event::Text(text)));
                }
                self.more(text.text)
            }
            Event::Reasoning(thought) => {
                if !matches!(self.items.last(), Some(Item::Reasoning { .. })) {
                    let content = vec![Part::ReasoningText { text: String::new() }];
                    let (id, status) = (self.next_id("rs_"), Status::InProgress);
                    self.begin(Item::Reasoning { id, status, summary: [], content });
                    return (Change::Began, Some(Event::Reasoning(thought)));
                }
                self.more(thought)
            }
            Event::Tool(ToolDelta { index, id, name, arguments }) => {
                if self.call != Some(index) {
                    let call_id = id.unwrap_or_default();
                    let (id, status, name) =
                        (self.next_id("fc_"), Status::InProgress, name.unwrap_or_default());
                    self.begin(Item::FunctionCall { id, status, call_id, name, arguments: String::new() });
                    self.call = Some(index);
                    let rest = ToolDelta { index, arguments, ..ToolDelta::default() };
                    return (Change::Began, Some(Event::Tool(rest)));
                }
                if arguments.is_empty() { (Change::Nothing, None) } else { self.more(arguments) }
            }
            Event::Meta(meta) => {
                self.meta.push(MetaObject::new(0, meta));
                (Change::Nothing, None)
            }
            Event::Finished(finished) => {
                let status = status(&finished);
                if let Some(item) = self.items.last_mut() {
                    item.set_status(status);
                }
                self.tally.add(0, finished);
                (Change::Nothing, None)
            }
        }
    }

    fn next_id(&self, prefix: &str) -> String {
        format!("{prefix}{}{:02}", self.item_ids, self.items.len())
    }

    fn begin(&mut self, item: Item) {
        if let Some(last) = self.items.last_mut() {
            last.set_status(Status::Completed);
        }
        self.call = None;
        self.items.push(item);
    }

    fn more(&mut self, more: String) -> (Change, Option<Event>) {
        if let Some(item) = self.items.last_mut() {
            item.push(&more);
        }
        (Change::More(more), None)
    }

    /// The response as far as it is.
    pub(super) fn response(&self, status: Status) -> Response {
        let Head { id, model, instructions, previous_response_id, metadata, .. } = &self.head;
        let finished = self.tally.is_complete();
        let reason = |status| match status {
            Status::Incomplete if self.was_filtered() => Some(Incomplete { reason: "content_filter" }),
            Status::Incomplete => Some(Incomplete { reason: "max_output_tokens" }),
            _ => None,
        };
        Response {
            id: id.clone(),
            object: "response",
            created_at: self.created_at,
            status,
            error: None,
            incomplete_details: reason(status),
            instructions: instructions.clone(),
            max_output_tokens: self.head.max_output_tokens,
            metadata: metadata.clone(),
            model: model.clone(),
            output: self.items.clone(),
            parallel_tool_calls: true,
            previous_response_id: previous_response_id.clone(),
            reasoning: Reasoning { effort: self.head.effort.clone(), summary: None },
            store: self.head.is_stored,
            temperature: self.head.temperature,
            text: Text { format: Format { r#type: self.head.format } },
            tool_choice: self.head.tool_choice,
            tools: self.head.tools.clone(),
            top_p: self.head.top_p,
            truncation: self.head.truncation,
            usage: finished.then(|| self.usage()),
            timings: finished.then(|| Timings::of(&self.tally)),
            minerva: finished.then(|| Minerva::of(&self.tally, self.meta.clone())),
        }
    }

    /// The whole response. Where it is to be stored, it is.
    pub(super) fn into_response(self) -> Response {
        let status = self.tally.finished().next().map_or(Status::Failed, |(_, finished)| status(finished));
        let response = self.response(status);
        if self.head.is_stored {
            let mut messages = self.head.messages;
            messages.push(said(&self.items));
            // Text, not values: those would make doubles of our floats.
            if let Ok(stored) = serde_json::value::to_raw_value(&response) {
                self.head.store.put(&self.head.id, messages, stored);
            }
        }
        response
    }

    fn was_filtered(&self) -> bool {
        self.tally.finished().any(|(_, finished)| finished.reason == FinishReason::Filter)
    }

    fn usage(&self) -> Usage {
        let (input_tokens, output_tokens) = (self.tally.prompt_tokens(), self.tally.completion_tokens());
        // The engine counts tokens of an answer, not of its parts: these are counted again.
        let how = Encode { add_special: false, parse_special: false };
        let tokens_of = |item: &Item| match item {
            Item::Reasoning { content, .. } => {
                let texts = content.iter().map(|part| self.head.vocabulary.encode(part.text(), how));
                texts.map(|tokens| tokens.map_or(0, |tokens| tokens.len())).sum()
            }
            _ => 0_usize,
        };
        let reasoning: usize = self.items.iter().map(tokens_of).sum();
        let reasoning_tokens = u32::try_from(reasoning).unwrap_or(u32::MAX).min(output_tokens);
        Usage {
            input_tokens,
            input_tokens_details: InputDetails { cached_tokens: self.tally.cached_tokens() },
            output_tokens,
            output_tokens_details: OutputDetails { reasoning_tokens },
            total_tokens: input_tokens.saturating_add(output_tokens),
        }
    }
}

fn status(finished: &Finished) -> Status {
    match finished.reason {
        FinishReason::Stop | FinishReason::Plugin => Status::Completed,
        FinishReason::Length | FinishReason::Filter => Status::Incomplete,
    }
}

/// The items as the assistant's message in the conversation.
fn said(items: &[Item]) -> Message {
    let mut message = Message { role: "assistant".into(), ..Message::default() };
    for item in items {
        match item {
            Item::Message { content, .. } => {
                message.content.extend(content.iter().map(|part| Content::Text(part.text().to_owned())));
            }
            Item::FunctionCall { call_id, name, arguments, .. } => message.tool_calls.push(ToolCall {
                id: call_id.clone(),
                name: name.clone(),
                arguments: arguments.clone(),
            }),
            Item::Reasoning { .. } => {}
        }
    }
    message
}
