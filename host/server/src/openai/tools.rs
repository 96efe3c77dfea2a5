//! Tools that the model may call, as a request defines them.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::sampling::unsupported_field;
use crate::failure::Failure;
use crate::json::Object;
use crate::nearest;

/// The part of a body that is about tools.
#[derive(Deserialize)]
pub(crate) struct Body {
    tools: Option<Vec<Value>>,
    tool_choice: Option<ToolChoice>,
    functions: Option<de::IgnoredAny>,
    function_call: Option<de::IgnoredAny>,
}

impl Body {
    /// The tools that the template is to tell of. A tool is passed on as it came: only the template reads more of
    /// it than that it is one.
    pub(crate) fn into_tools(self) -> Result<Vec<Value>, Failure> {
        if self.functions.is_some() || self.function_call.is_some() {
            let name = if self.functions.is_some() { "functions" } else { "function_call" };
            let message = format!("`{name}` is OpenAI's old way; send `tools` and `tool_choice` instead");
            return Err(Failure::not_supported(message).param(name));
        }
        let tools = self.tools.unwrap_or_default();
        for (at, tool) in tools.iter().enumerate() {
            check(tool, at)?;
        }
        match self.tool_choice {
            None | Some(ToolChoice::Auto) => Ok(tools),
            Some(ToolChoice::None) => Ok(Vec::new()),
            // These need the grammar of the arguments: without it the promise cannot be kept.
            Some(ToolChoice::Required | ToolChoice::Named) => Err(unsupported_field("tool_choice")),
        }
    }
}

fn check(tool: &Value, at: usize) -> Result<(), Failure> {
    let missing = |path: String| Failure::invalid(path.clone(), format!("`{path}` is required, as a string"));
    match tool.get("type") {
        None if tool.is_object() => return Err(missing(format!("tools[{at}].type"))),
        None => {
            let path = format!("tools[{at}]");
            return Err(Failure::invalid(path.clone(), format!("`{path}` must be an object")));
        }
        Some(Value::String(kind)) if kind == "function" => {}
        Some(_) => {
            let path = format!("tools[{at}].type");
            return Err(Failure::invalid(path.clone(), format!("`{path}` must be `function`")));
        }
    }
    match tool.pointer("/function/name") {
        Some(Value::String(_)) => Ok(()),
        _ => Err(missing(format!("tools[{at}].function.name"))),
    }
}

/// Whether the model calls a tool.
enum ToolChoice {
    Auto,
    None,
    Required,
    Named,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "its form is checked; the name waits for grammars")]
struct Named {
    function: Object<NamedFunction>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "its form is checked; the name waits for grammars")]
struct NamedFunction {
    name: String,
}

impl<'de> Deserialize<'de> for ToolChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ToolChoiceVisitor;

        impl<'de> Visitor<'de> for ToolChoiceVisitor {
            type Value = ToolChoice;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`auto`, `none`, `required` or an object that names a function")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ToolChoice, E> {
                match text {
                    "auto" => Ok(ToolChoice::Auto),
                    "none" => Ok(ToolChoice::None),
                    "required" => Ok(ToolChoice::Required),
                    other => Err(E::invalid_value(de::Unexpected::Str(&nearest::shown(other)), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ToolChoice, A::Error> {
                Named::deserialize(MapAccessDeserializer::new(map)).map(|_| ToolChoice::Named)
            }
        }

        deserializer.deserialize_any(ToolChoiceVisitor)
    }
}
