//! Calls of tools as a grammar: the text of a call is fixed but for the arguments, which obey their schema.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Error, Kind, schema};

/// Rewrites an array of tools as Lark.
pub(super) fn to_lark(kind: Kind, source: &str) -> Result<String, Error> {
    let invalid = |place: String, message: &str| Error::Invalid { kind, place, message: message.to_owned() };
    let tools: Value =
        serde_json::from_str(source).map_err(|error| invalid(String::new(), &error.to_string()))?;
    let tools = tools.as_array().filter(|tools| !tools.is_empty());
    let tools = tools.ok_or_else(|| invalid(String::new(), "there must be at least one tool"))?;
    let mut lark = match kind {
        Kind::ToolCalls => "start: call (\"\\n\" call)*\n".to_owned(),
        _ => "start: call\n".to_owned(),
    };
    let calls: Vec<String> = (0..tools.len()).map(|at| format!("call_{at}")).collect();
    let _ = writeln!(lark, "call: {}", calls.join(" | "));
    for (at, tool) in tools.iter().enumerate() {
        let Some(name) = tool.pointer("/function/name").and_then(Value::as_str) else {
            return Err(invalid(format!("/{at}/function/name"), "it must be a string"));
        };
        let parameters = parameters(tool.pointer("/function/parameters"));
        if let Some((place, message)) = schema::refused(&parameters) {
            return Err(invalid(format!("/{at}/function/parameters{place}"), &message));
        }
        let head = format!("<tool_call>\n{{\"name\": {}, \"arguments\": ", Value::from(name));
        let (head, tail) = (Value::from(head), Value::from("}\n</tool_call>"));
        let _ = writeln!(lark, "call_{at}: {head} arguments_{at} {tail}\narguments_{at}: %json {parameters}");
    }
    Ok(lark)
}

/// The schema of arguments: an object, spaced as templates space the calls that they show. A tool without parameters
/// takes none.
fn parameters(parameters: Option<&Value>) -> Value {
    let mut parameters = match parameters {
        None | Some(Value::Null) => json!({"type": "object", "additionalProperties": false}),
        Some(parameters) => parameters.clone(),
    };
    if let Value::Object(map) = &mut parameters {
        map.entry("type").or_insert_with(|| "object".into());
        map.entry(schema::OPTIONS).or_insert_with(
            || json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}),
        );
    }
    parameters
}
