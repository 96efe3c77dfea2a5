//! Tools that the model may call, as a request defines them.

use std::borrow::Cow;
use std::fmt;

use minerva_engine::grammar::Kind;
use minerva_engine::request::Grammar;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::json::Object;
use crate::nearest;

/// The part of a body that is about tools.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Body {
    /// What the model may call. Handed to the template as it is.
    #[schemars(with = "Option<Vec<WireTool>>")]
    tools: Option<Vec<Value>>,
    tool_choice: Option<ToolChoice>,
    /// Whether a call that is demanded may be several. True unless it is said.
    parallel_tool_calls: Option<bool>,
    /// OpenAI's old way: send `tools`.
    #[schemars(with = "Option<()>")]
    functions: Option<de::IgnoredAny>,
    /// OpenAI's old way: send `tool_choice`.
    #[schemars(with = "Option<()>")]
    function_call: Option<de::IgnoredAny>,
}

/// What is looked at of a tool.
#[derive(JsonSchema)]
#[schemars(rename = "ChatTool")]
#[expect(dead_code, reason = "it says what `check` checks")]
struct WireTool {
    #[schemars(extend("const" = "function"))]
    r#type: String,
    function: WireToolFunction,
}

#[derive(JsonSchema)]
#[schemars(rename = "ChatToolFunction")]
#[expect(dead_code, reason = "it says what `check` checks")]
struct WireToolFunction {
    name: String,
}

impl Body {
    /// The tools that the template is to tell of, and the grammar of the calls where the answer must be such. A tool is
    /// passed on as it came: only the template, and a grammar, read more of it than that it is one.
    pub(crate) fn into_tools(self) -> Result<(Vec<Value>, Option<Grammar>), Failure> {
        if self.functions.is_some() || self.function_call.is_some() {
            let name = if self.functions.is_some() { "functions" } else { "function_call" };
            let message = format!("`{name}` is OpenAI's old way; send `tools` and `tool_choice` instead");
            return Err(Failure::not_supported(message).param(name));
        }
        let tools = self.tools.unwrap_or_default();
        for (at, tool) in tools.iter().enumerate() {
            check(tool, at)?;
        }
        self.tool_choice.unwrap_or_default().among(tools, self.parallel_tool_calls.unwrap_or(true))
    }
}

impl ToolChoice {
    /// Its name; a named function is `required` of one.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Required | Self::Named(_) => "required",
        }
    }

    /// The tools that the template is to tell of, and the grammar of the calls where the answer must be such.
    pub(crate) fn among(
        self,
        tools: Vec<Value>,
        several: bool,
    ) -> Result<(Vec<Value>, Option<Grammar>), Failure> {
        let demanded = match self {
            Self::Auto => None,
            Self::None => return Ok((Vec::new(), None)),
            Self::Required if tools.is_empty() => {
                let message = "`tool_choice` demands a call, and there are no `tools`";
                return Err(Failure::invalid("tool_choice", message));
            }
            Self::Required => Some(calls(if several { Kind::ToolCalls } else { Kind::ToolCall }, &tools)),
            Self::Named(wanted) => {
                let is_wanted =
                    |tool: &&Value| tool.pointer("/function/name") == Some(&Value::from(&*wanted));
                let Some(tool) = tools.iter().find(is_wanted) else {
                    let wanted = nearest::shown(&wanted);
                    let message =
                        format!("`tool_choice` names `{wanted}`, and none of the `tools` is called so");
                    return Err(Failure::invalid("tool_choice", message));
                };
                Some(calls(Kind::ToolCall, std::slice::from_ref(tool)))
            }
        };
        Ok((tools, demanded))
    }
}

/// The grammar of calls of these tools.
fn calls(kind: Kind, tools: &[Value]) -> Grammar {
    let source = Value::from(tools).to_string();
    Grammar { kind, source: source.into(), param: "tools".into() }
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
#[derive(Default)]
pub(crate) enum ToolChoice {
    #[default]
    Auto,
    None,
    Required,
    Named(String),
}

/// The function's name stands below `function` in a chat, and beside the type in a response.
#[derive(Deserialize)]
struct Named {
    function: Option<Object<NamedFunction>>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct NamedFunction {
    name: String,
}

impl JsonSchema for ToolChoice {
    fn schema_name() -> Cow<'static, str> {
        "ToolChoice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let name =
            json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
        json_schema!({"anyOf": [
            {"enum": ["auto", "none", "required"]},
            {"type": "object", "properties": {"type": {"const": "function"}, "function": name}, "required": ["function"]},
            {"type": "object", "properties": {"type": {"const": "function"}, "function": false, "name": {"type": "string"}},
                "required": ["name"]},
        ]})
    }
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
                let named = Named::deserialize(MapAccessDeserializer::new(map))?;
                let name = named.function.map(|function| function.0.name).or(named.name);
                name.map(ToolChoice::Named).ok_or_else(|| de::Error::missing_field("function"))
            }
        }

        deserializer.deserialize_any(ToolChoiceVisitor)
    }
}
