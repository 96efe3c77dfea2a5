//! What a response answers: a text, or items.

use minerva_engine::request::{Content, Message, ToolCall};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::failure::Failure;
use crate::nearest;

/// A text, or items.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ResponseInput")]
#[serde(untagged, expecting = "a string or an array of items")]
pub(super) enum WireInput {
    Text(String),
    Items(#[schemars(length(min = 1))] Vec<Item>),
}

/// An item of any type; which fields it needs depends on the type.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ResponseInputItem")]
pub(super) struct Item {
    #[schemars(extend("enum" = ["message", "function_call", "function_call_output", "reasoning", null]))]
    r#type: Option<String>,
    role: Option<String>,
    content: Option<Parts>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    output: Option<Parts>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ResponseInputParts")]
#[serde(untagged, expecting = "a string or an array of parts")]
enum Parts {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ResponseInputPart")]
struct Part {
    #[schemars(extend("enum" = ["input_text", "output_text", "text", "refusal"]))]
    r#type: String,
    text: Option<String>,
    refusal: Option<String>,
}

impl WireInput {
    pub(super) fn into_messages(self) -> Result<Vec<Message>, Failure> {
        let items = match self {
            Self::Text(text) => return Ok(vec![Message::text("user", text)]),
            Self::Items(items) if items.is_empty() => {
                return Err(Failure::invalid("input", "`input` is empty; it must have at least one item"));
            }
            Self::Items(items) => items,
        };
        let mut messages: Vec<Message> = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            item.add(&format!("input[{at}]"), &mut messages)?;
        }
        Ok(messages)
    }
}

impl Item {
    fn add(self, path: &str, messages: &mut Vec<Message>) -> Result<(), Failure> {
        match self.r#type.as_deref().unwrap_or("message") {
            "message" => {
                let role = required(self.role, path, "role")?;
                let content = match self.content {
                    None => return Err(missing(path, "content")),
                    Some(parts) => parts.content(&format!("{path}.content"))?,
                };
                messages.push(Message { role, content, ..Message::default() });
            }
            // Calls that stand one after another are one message of the assistant's.
            "function_call" => {
                let call = ToolCall {
                    id: required(self.call_id, path, "call_id")?,
                    name: required(self.name, path, "name")?,
                    arguments: required(self.arguments, path, "arguments")?,
                };
                match messages.last_mut().filter(|last| last.role == "assistant") {
                    Some(last) => last.tool_calls.push(call),
                    None => messages.push(Message {
                        role: "assistant".into(),
                        tool_calls: vec![call],
                        ..Message::default()
                    }),
                }
            }
            "function_call_output" => {
                let content = match self.output {
                    None => return Err(missing(path, "output")),
                    Some(parts) => parts.content(&format!("{path}.output"))?,
                };
                let tool_call_id = Some(required(self.call_id, path, "call_id")?);
                messages.push(Message { role: "tool".into(), content, tool_call_id, ..Message::default() });
            }
            // What was thought before is not for the model to read again.
            "reasoning" => {}
            other => {
                let path = format!("{path}.type");
                let other = nearest::shown(other);
                let message = format!(
                    "`{path}` is `{other}`; it can be `message`, `function_call`, `function_call_output` or `reasoning`"
                );
                return Err(Failure::invalid(path, message));
            }
        }
        Ok(())
    }
}

impl Parts {
    fn content(self, path: &str) -> Result<Vec<Content>, Failure> {
        let parts = match self {
            Self::Text(text) => return Ok(vec![Content::Text(text)]),
            Self::Parts(parts) => parts,
        };
        let content = parts.into_iter().enumerate().map(|(at, part)| {
            let path = format!("{path}[{at}]");
            match part.r#type.as_str() {
                "input_text" | "output_text" | "text" => {
                    required(part.text, &path, "text").map(Content::Text)
                }
                "refusal" => required(part.refusal, &path, "refusal").map(Content::Text),
                other => {
                    let path = format!("{path}.type");
                    let other = nearest::shown(other);
                    let message = format!("`{path}` is `{other}`, and this model takes only text");
                    Err(Failure::invalid(path, message))
                }
            }
        });
        content.collect()
    }
}

fn required(field: Option<String>, path: &str, name: &str) -> Result<String, Failure> {
    field.ok_or_else(|| missing(path, name))
}

fn missing(path: &str, name: &str) -> Failure {
    let path = format!("{path}.{name}");
    Failure::invalid(path.clone(), format!("`{path}` is required"))
}
