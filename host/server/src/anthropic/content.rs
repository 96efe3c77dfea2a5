//! A conversation in Anthropic's form: messages of blocks, and tools.

use minerva_engine::request::{Content, Message, ToolCall};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::json::Object;
use crate::nearest;

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicRequestMessage")]
pub(super) struct WireMessage {
    #[schemars(extend("enum" = ["user", "assistant"]))]
    role: String,
    content: Blocks,
}

/// A string, or an array of blocks.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicRequestBlocks")]
#[serde(untagged, expecting = "a string or an array of blocks")]
pub(super) enum Blocks {
    Text(String),
    Blocks(Vec<Block>),
}

/// A block of any type; which fields it needs depends on the type.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicRequestBlock")]
pub(super) struct Block {
    #[schemars(extend("enum" = ["text", "thinking", "redacted_thinking", "tool_use", "tool_result"]))]
    r#type: String,
    text: Option<String>,
    thinking: Option<String>,
    id: Option<String>,
    name: Option<String>,
    input: Option<Map<String, Value>>,
    tool_use_id: Option<String>,
    content: Option<Box<Blocks>>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicTool")]
pub(super) struct WireTool {
    name: String,
    description: Option<String>,
    input_schema: Option<Value>,
    #[schemars(extend("enum" = ["custom", null]))]
    r#type: Option<String>,
}

/// The engine's messages of a system prompt and the client's.
pub(super) fn messages(
    system: Option<Blocks>,
    wire: Vec<Object<WireMessage>>,
) -> Result<Vec<Message>, Failure> {
    if wire.is_empty() {
        return Err(Failure::invalid("messages", "`messages` is empty; it must have at least one message"));
    }
    let mut messages = Vec::with_capacity(wire.len() + 1);
    if let Some(system) = system {
        messages.push(Message::text("system", system.text("system")?));
    }
    for (at, Object(message)) in wire.into_iter().enumerate() {
        message.convert(&format!("messages[{at}]"), &mut messages)?;
    }
    Ok(messages)
}

/// Tools as OpenAI defines them, which is what templates know.
pub(super) fn tools(wire: Vec<Object<WireTool>>) -> Result<Vec<Value>, Failure> {
    let convert = |(at, Object(tool)): (usize, Object<WireTool>)| {
        if tool.r#type.as_deref().is_some_and(|kind| kind != "custom") {
            let path = format!("tools[{at}].type");
            let message = format!("`{path}` must be `custom`: the server has no tools of its own");
            return Err(Failure::invalid(path, message));
        }
        let parameters = tool.input_schema.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        let mut function = json!({"name": tool.name, "parameters": parameters});
        if let Some(description) = tool.description {
            function["description"] = description.into();
        }
        Ok(json!({"type": "function", "function": function}))
    };
    wire.into_iter().enumerate().map(convert).collect()
}

impl WireMessage {
    /// A message of Anthropic's can be several of ours: each result of a tool is a message.
    fn convert(self, path: &str, to: &mut Vec<Message>) -> Result<(), Failure> {
        if self.role != "user" && self.role != "assistant" {
            let path = format!("{path}.role");
            let role = nearest::shown(&self.role);
            let message = format!("`{path}` must be `user` or `assistant`, not `{role}`");
            return Err(Failure::invalid(path, message));
        }
        let blocks = match self.content {
            Blocks::Text(text) => {
                to.push(Message::text(self.role, text));
                return Ok(());
            }
            Blocks::Blocks(blocks) => blocks,
        };
        let mut message = Message { role: self.role, ..Message::default() };
        let mut reasoning = String::new();
        for (at, block) in blocks.into_iter().enumerate() {
            let path = format!("{path}.content[{at}]");
            match block.r#type.as_str() {
                "text" => message.content.push(Content::Text(required(block.text, &path, "text")?)),
                "thinking" => reasoning.push_str(&block.thinking.unwrap_or_default()),
                "redacted_thinking" => {}
                "tool_use" => message.tool_calls.push(ToolCall {
                    id: required(block.id, &path, "id")?,
                    name: required(block.name, &path, "name")?,
                    arguments: Value::Object(block.input.unwrap_or_default()).to_string(),
                }),
                "tool_result" => {
                    let id = required(block.tool_use_id, &path, "tool_use_id")?;
                    let content = block.content.map(|content| content.text(&format!("{path}.content")));
                    to.push(Message {
                        tool_call_id: Some(id),
                        ..Message::text("tool", content.transpose()?.unwrap_or_default())
                    });
                }
                other => return Err(unknown_block(&path, other)),
            }
        }
        message.reasoning = (!reasoning.is_empty()).then_some(reasoning);
        if !message.content.is_empty() || !message.tool_calls.is_empty() {
            to.push(message);
        }
        Ok(())
    }
}

impl Blocks {
    /// The text of all blocks, which must be text.
    fn text(self, path: &str) -> Result<String, Failure> {
        let blocks = match self {
            Self::Text(text) => return Ok(text),
            Self::Blocks(blocks) => blocks,
        };
        let texts = blocks.into_iter().enumerate().map(|(at, block)| {
            let path = format!("{path}[{at}]");
            match block.r#type.as_str() {
                "text" => required(block.text, &path, "text"),
                other => Err(unknown_block(&path, other)),
            }
        });
        Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
    }
}

fn required(field: Option<String>, path: &str, name: &str) -> Result<String, Failure> {
    field.ok_or_else(|| {
        let path = format!("{path}.{name}");
        Failure::invalid(path.clone(), format!("`{path}` is required, as a string"))
    })
}

fn unknown_block(path: &str, kind: &str) -> Failure {
    let path = format!("{path}.type");
    let kind = nearest::shown(kind);
    let message = format!("`{path}` is `{kind}`, which this model does not take here");
    Failure::invalid(path, message)
}
