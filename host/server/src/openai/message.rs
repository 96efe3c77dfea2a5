//! The messages of a conversation.

use std::borrow::Cow;
use std::fmt;

use minerva_engine::request::{Content, Message, ToolCall};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use crate::app::ServedModel;
use crate::failure::Failure;
use crate::json::Object;
use crate::nearest;

/// A message as clients send it.
#[derive(serde::Deserialize, JsonSchema)]
#[schemars(rename = "ChatMessage")]
pub(crate) struct WireMessage {
    role: String,
    /// A text, or parts. Required but where an assistant's message has `tool_calls`.
    content: Option<WireContent>,
    name: Option<String>,
    tool_calls: Option<Vec<Object<WireToolCall>>>,
    tool_call_id: Option<String>,
    /// What the assistant thought, also as `reasoning`.
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
}

#[derive(serde::Deserialize, JsonSchema)]
#[schemars(rename = "ChatMessageToolCall")]
struct WireToolCall {
    id: Option<String>,
    function: Object<WireFunction>,
}

#[derive(serde::Deserialize, JsonSchema)]
#[schemars(rename = "ChatMessageFunction")]
struct WireFunction {
    name: String,
    arguments: Option<Value>,
}

/// Content: a string, or an array of parts.
enum WireContent {
    Text(String),
    Parts(Vec<Object<WirePart>>),
}

#[derive(serde::Deserialize, JsonSchema)]
#[schemars(rename = "ChatPart")]
struct WirePart {
    #[schemars(extend("enum" = ["text", "input_text", "output_text", "refusal"]))]
    r#type: String,
    /// Required but where it is a `refusal`.
    text: Option<String>,
    refusal: Option<String>,
}

/// Makes the engine's messages of the client's.
pub(crate) fn messages(wire: Vec<Object<WireMessage>>) -> Result<Vec<Message>, Failure> {
    if wire.is_empty() {
        return Err(Failure::invalid("messages", "`messages` is empty; it must have at least one message"));
    }
    wire.into_iter()
        .enumerate()
        .map(|(at, message)| message.0.into_message(&format!("messages[{at}]")))
        .collect()
}

/// OpenAI's newer name for `system` is known to few templates.
pub(super) fn rename_developer(messages: &mut [Message], model: &ServedModel) {
    let template = model.handle.info().chat_template.as_deref();
    if template.is_some_and(|template| template.contains("developer")) {
        return;
    }
    for message in messages.iter_mut().filter(|message| message.role == "developer") {
        message.role = "system".into();
    }
}

impl WireMessage {
    fn into_message(self, path: &str) -> Result<Message, Failure> {
        let tool_calls: Vec<ToolCall> =
            self.tool_calls.into_iter().flatten().map(|call| call.0.into_tool_call()).collect();
        let content = match self.content {
            Some(WireContent::Text(text)) => vec![Content::Text(text)],
            Some(WireContent::Parts(parts)) => {
                let parts = parts.into_iter().enumerate();
                parts
                    .map(|(at, part)| part.0.into_content(&format!("{path}.content[{at}]")))
                    .collect::<Result<_, _>>()?
            }
            None if self.role == "assistant" && !tool_calls.is_empty() => Vec::new(),
            None => {
                let path = format!("{path}.content");
                let message = if self.role == "assistant" {
                    format!("`{path}` is required where there are no `tool_calls`")
                } else {
                    format!("`{path}` is required")
                };
                return Err(Failure::invalid(path, message));
            }
        };
        Ok(Message {
            role: self.role,
            content,
            name: self.name,
            tool_calls,
            tool_call_id: self.tool_call_id,
            reasoning: self.reasoning_content,
        })
    }
}

impl WireToolCall {
    fn into_tool_call(self) -> ToolCall {
        let WireFunction { name, arguments } = self.function.0;
        // Text as OpenAI has it; some clients send the object itself.
        let arguments = match arguments {
            None => String::new(),
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        };
        ToolCall { id: self.id.unwrap_or_default(), name, arguments }
    }
}

impl WirePart {
    fn into_content(self, path: &str) -> Result<Content, Failure> {
        let text = match self.r#type.as_str() {
            "text" | "input_text" | "output_text" => self.text,
            "refusal" => self.refusal,
            other => {
                let path = format!("{path}.type");
                let other = nearest::shown(other);
                let message = format!("`{path}` is `{other}`, and this model takes only `text`");
                return Err(Failure::invalid(path, message));
            }
        };
        text.map(Content::Text).ok_or_else(|| {
            let path = format!("{path}.text");
            Failure::invalid(path.clone(), format!("`{path}` is required"))
        })
    }
}

impl JsonSchema for WireContent {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Content".into()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        let parts = schemas.subschema_for::<Vec<Object<WirePart>>>();
        json_schema!({"anyOf": [{"type": "string"}, parts]})
    }
}

impl<'de> Deserialize<'de> for WireContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;

        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = WireContent;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or an array of parts")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WireContent, E> {
                Ok(WireContent::Text(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<WireContent, E> {
                Ok(WireContent::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<WireContent, A::Error> {
                let mut all = Vec::new();
                while let Some(part) = parts.next_element()? {
                    all.push(part);
                }
                Ok(WireContent::Parts(all))
            }
        }

        deserializer.deserialize_any(ContentVisitor)
    }
}
