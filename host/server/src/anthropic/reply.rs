//! A whole message.

use minerva_engine::event::{Event, FinishReason, Finished, ToolDelta};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

/// What is known of a message before it is written.
pub(super) struct Head {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) prompt_tokens: u32,
    /// The texts that the request wants to stop at.
    pub(super) stops: Vec<String>,
}

/// A message of the assistant's.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AnthropicMessage")]
pub(super) struct Message {
    id: String,
    r#type: &'static str,
    role: &'static str,
    model: String,
    content: Vec<Block>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<String>,
    usage: Usage,
}

/// A block of a message; empty where it only begins.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AnthropicBlock")]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block {
    Text {
        text: String,
    },
    /// Anthropic signs thinking; nobody checks ours.
    Thinking {
        thinking: String,
        signature: &'static str,
    },
    ToolUse {
        id: String,
        name: String,
        input: Box<RawValue>,
    },
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "AnthropicUsage")]
pub(super) struct Usage {
    input_tokens: u32,
    cache_creation_input_tokens: u32,
    cache_read_input_tokens: u32,
    output_tokens: u32,
}

impl Usage {
    /// Tokens that were in the cache are counted apart.
    pub(super) fn new(prompt: u32, cached: u32, output: u32) -> Self {
        Self {
            input_tokens: prompt.saturating_sub(cached),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached,
            output_tokens: output,
        }
    }

    pub(super) fn of(finished: Option<&Finished>, prompt_tokens: u32) -> Self {
        let usage = finished.map(|finished| finished.usage).unwrap_or_default();
        Self::new(prompt_tokens, usage.cached_tokens, usage.completion_tokens)
    }
}

/// Why a message ended, in Anthropic's words, and the text it stopped at.
pub(super) fn stop_reason(
    finished: &Finished,
    called_tools: bool,
    stops: &[String],
) -> (&'static str, Option<String>) {
    let stop = finished.stop.clone().filter(|stop| stops.contains(stop));
    let reason = match finished.reason {
        FinishReason::Length => "max_tokens",
        FinishReason::Filter => "refusal",
        FinishReason::Stop | FinishReason::Plugin if called_tools => "tool_use",
        FinishReason::Stop | FinishReason::Plugin if stop.is_some() => "stop_sequence",
        FinishReason::Stop | FinishReason::Plugin => "end_turn",
    };
    (reason, stop)
}

/// Gathers a whole message.
#[derive(Default)]
pub(super) struct Answer {
    blocks: Vec<Gathered>,
    finished: Option<Finished>,
}

enum Gathered {
    Text(String),
    Thinking(String),
    Tool { index: u32, id: String, name: String, arguments: String },
}

impl Answer {
    pub(super) fn add(&mut self, event: Event) {
        match event {
            Event::Text(text) if text.text.is_empty() => {}
            Event::Text(text) => match self.blocks.last_mut() {
                Some(Gathered::Text(all)) => all.push_str(&text.text),
                _ => self.blocks.push(Gathered::Text(text.text)),
            },
            Event::Reasoning(text) => match self.blocks.last_mut() {
                Some(Gathered::Thinking(all)) => all.push_str(&text),
                _ => self.blocks.push(Gathered::Thinking(text)),
            },
            Event::Tool(delta) => self.add_tool(delta),
            // Anthropic's messages have no place for what plugins say.
            Event::Meta(_) => {}
            Event::Finished(finished) => self.finished = Some(finished),
        }
    }

    fn add_tool(&mut self, delta: ToolDelta) {
        let ToolDelta { index: of, id: new_id, name: new_name, arguments: more } = delta;
        if let Some(Gathered::Tool { index, arguments, .. }) = self.blocks.last_mut()
            && *index == of
        {
            arguments.push_str(&more);
            return;
        }
        let (id, name) = (new_id.unwrap_or_default(), new_name.unwrap_or_default());
        self.blocks.push(Gathered::Tool { index: of, id, name, arguments: more });
    }

    pub(super) fn into_message(self, head: &Head) -> Message {
        let Self { blocks, finished } = self;
        let called_tools = blocks.iter().any(|block| matches!(block, Gathered::Tool { .. }));
        let ended = finished.as_ref().map(|finished| stop_reason(finished, called_tools, &head.stops));
        let (stop_reason, stop_sequence) = ended.unzip();
        let usage = Usage::of(finished.as_ref(), head.prompt_tokens);
        let content = blocks.into_iter().map(Gathered::into_block).collect();
        Message { stop_reason, stop_sequence: stop_sequence.flatten(), ..head.message(content, usage) }
    }
}

impl Gathered {
    fn into_block(self) -> Block {
        match self {
            Self::Text(text) => Block::Text { text },
            Self::Thinking(thinking) => Block::Thinking { thinking, signature: "" },
            Self::Tool { id, name, arguments, .. } => Block::ToolUse { id, name, input: input(&arguments) },
        }
    }
}

/// The model's arguments; where they are not JSON, as a string under the name that says so.
fn input(arguments: &str) -> Box<RawValue> {
    serde_json::from_str::<Box<RawValue>>(arguments).unwrap_or_else(|_| {
        let broken = serde_json::json!({"invalid_json": arguments});
        serde_json::value::to_raw_value(&broken).unwrap_or_else(|_| RawValue::NULL.to_owned())
    })
}

impl Head {
    /// A message that has not ended.
    pub(super) fn message(&self, content: Vec<Block>, usage: Usage) -> Message {
        Message {
            id: self.id.clone(),
            r#type: "message",
            role: "assistant",
            model: self.model.clone(),
            content,
            stop_reason: None,
            stop_sequence: None,
            usage,
        }
    }
}
