//! The objects of a response.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::openai::summary::{Minerva, Timings};

/// A response, as far as it is.
#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Response {
    pub(super) id: String,
    pub(super) object: &'static str,
    pub(super) created_at: u64,
    pub(super) status: Status,
    pub(super) error: Option<Value>,
    pub(super) incomplete_details: Option<Incomplete>,
    pub(super) instructions: Option<String>,
    pub(super) max_output_tokens: Option<u32>,
    pub(super) metadata: Map<String, Value>,
    pub(super) model: String,
    pub(super) output: Vec<Item>,
    pub(super) parallel_tool_calls: bool,
    pub(super) previous_response_id: Option<String>,
    pub(super) reasoning: Reasoning,
    pub(super) store: bool,
    pub(super) temperature: f32,
    pub(super) text: Text,
    pub(super) tool_choice: &'static str,
    pub(super) tools: Vec<Value>,
    pub(super) top_p: f32,
    pub(super) truncation: &'static str,
    pub(super) usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timings: Option<Timings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) minerva: Option<Minerva>,
}

/// How far a response, or an item of it, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "ResponseStatus")]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "ResponseIncomplete")]
pub(super) struct Incomplete {
    pub(super) reason: &'static str,
}

#[derive(Clone, Serialize, JsonSchema)]
#[schemars(rename = "ResponseReasoning")]
pub(super) struct Reasoning {
    pub(super) effort: Option<String>,
    pub(super) summary: Option<()>,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "ResponseText")]
pub(super) struct Text {
    pub(super) format: Format,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "ResponseFormat")]
pub(super) struct Format {
    pub(super) r#type: &'static str,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "ResponseUsage")]
pub(super) struct Usage {
    pub(super) input_tokens: u32,
    pub(super) input_tokens_details: InputDetails,
    pub(super) output_tokens: u32,
    pub(super) output_tokens_details: OutputDetails,
    pub(super) total_tokens: u32,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "ResponseInputDetails")]
pub(super) struct InputDetails {
    pub(super) cached_tokens: u32,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "ResponseOutputDetails")]
pub(super) struct OutputDetails {
    pub(super) reasoning_tokens: u32,
}

/// A piece of the output.
#[derive(Clone, Serialize, JsonSchema)]
#[schemars(rename = "ResponseItem")]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    Message { id: String, status: Status, role: &'static str, content: Vec<Part> },
    Reasoning { id: String, status: Status, summary: [(); 0], content: Vec<Part> },
    FunctionCall { id: String, status: Status, call_id: String, name: String, arguments: String },
}

/// A part of an item.
#[derive(Clone, Serialize, JsonSchema)]
#[schemars(rename = "ResponsePart")]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    OutputText { text: String, annotations: [(); 0], logprobs: [(); 0] },
    ReasoningText { text: String },
}

impl Item {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Message { id, .. } | Self::Reasoning { id, .. } | Self::FunctionCall { id, .. } => id,
        }
    }

    pub(super) fn set_status(&mut self, to: Status) {
        match self {
            Self::Message { status, .. }
            | Self::Reasoning { status, .. }
            | Self::FunctionCall { status, .. } => *status = to,
        }
    }

    /// The one part of a message or of reasoning.
    pub(super) fn part(&self) -> Option<&Part> {
        match self {
            Self::Message { content, .. } | Self::Reasoning { content, .. } => content.first(),
            Self::FunctionCall { .. } => None,
        }
    }

    /// The same item before anything was said in it.
    pub(super) fn emptied(&self) -> Self {
        let mut item = self.clone();
        match &mut item {
            Self::Message { content, .. } | Self::Reasoning { content, .. } => content.clear(),
            Self::FunctionCall { arguments, .. } => arguments.clear(),
        }
        item
    }

    /// More text or arguments.
    pub(super) fn push(&mut self, more: &str) {
        match self {
            Self::Message { content, .. } | Self::Reasoning { content, .. } => match content.first_mut() {
                Some(Part::OutputText { text, .. } | Part::ReasoningText { text }) => text.push_str(more),
                None => {}
            },
            Self::FunctionCall { arguments, .. } => arguments.push_str(more),
        }
    }
}

impl Part {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::OutputText { text, .. } | Self::ReasoningText { text } => text,
        }
    }

    /// The same part before anything was said in it.
    pub(super) fn emptied(&self) -> Self {
        match self {
            Self::OutputText { .. } => {
                Self::OutputText { text: String::new(), annotations: [], logprobs: [] }
            }
            Self::ReasoningText { .. } => Self::ReasoningText { text: String::new() },
        }
    }
}
