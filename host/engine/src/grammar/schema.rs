//! JSON schemas before llguidance sees them, and where one is to blame when it refuses.

use llguidance::api::ParserLimits;
use llguidance::{GrammarBuilder, JsonCompileOptions};
use serde_json::{Map, Value, json};

use super::compiler::first_line;
use super::{Error, Kind};

/// Space between the tokens of JSON, as llama.cpp allows it: one space, or line ends and an indentation. Without a
/// bound, a model that is unsure goes on with spaces for ever.
const SPACE: &str = r"[\x20]|\n{1,2}[\x20\t]{0,20}";

/// Options of the schema's author, for llguidance.
pub(super) const OPTIONS: &str = "x-guidance";

/// Subschemas that are tried, at most, to find the place of an error.
const TRIED_MAX: usize = 200;

/// The schema of any object.
pub(super) fn any_object() -> Value {
    prepared(&json!({"type": "object"}))
}

pub(super) fn parse(source: &str) -> Result<Value, Error> {
    let invalid = |place: String, message: &str| Error::Invalid {
        kind: Kind::JsonSchema,
        place,
        message: message.to_owned(),
    };
    let schema: Value = serde_json::from_str(source).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        invalid(format!("line {}, column {}", error.line(), error.column()), message)
    })?;
    match misuse(&schema) {
        Some((place, message)) => Err(invalid(place.into(), message)),
        None => Ok(schema),
    }
}

/// Where and why a schema is refused, if it is.
pub(super) fn refused(schema: &Value) -> Option<(String, String)> {
    if let Some((place, message)) = misuse(schema) {
        return Some((place.to_owned(), message.to_owned()));
    }
    let message = refusal(schema)?;
    Some((locate(schema, &message), message))
}

/// What llguidance would accept and we do not.
fn misuse(schema: &Value) -> Option<(&'static str, &'static str)> {
    if !schema.is_object() && !schema.is_boolean() {
        return Some(("", "it must be an object, or true or false"));
    }
    let lenient = schema.pointer("/x-guidance/lenient").is_some_and(|lenient| *lenient != Value::Bool(false));
    lenient.then_some(("/x-guidance/lenient", "it would let the schema be disobeyed; leave it out"))
}

/// The schema with our way of spacing, unless its author chose one.
pub(super) fn prepared(schema: &Value) -> Value {
    let mut schema = match schema {
        Value::Bool(true) => json!({}),
        other => other.clone(),
    };
    if let Value::Object(root) = &mut schema {
        let options = root.entry(OPTIONS).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(options) = options
            && !options.contains_key("whitespace_pattern")
            && options.get("whitespace_flexible") != Some(&Value::Bool(false))
        {
            options.insert("whitespace_pattern".into(), SPACE.into());
        }
    }
    schema
}

/// The JSON pointer of the innermost subschema that is refused with the same words when it stands alone.
pub(super) fn locate(schema: &Value, message: &str) -> String {
    let mut place = String::new();
    let mut here = schema;
    let mut tried = 0;
    'deeper: loop {
        for (step, inner) in children(here) {
            tried += 1;
            if tried > TRIED_MAX {
                return place;
            }
            if refusal(&with_definitions(inner, schema)).is_some_and(|refusal| refusal == message) {
                place.push_str(&step);
                here = inner;
                continue 'deeper;
            }
        }
        return place;
    }
}

fn refusal(schema: &Value) -> Option<String> {
    let builder = GrammarBuilder::new(None, ParserLimits::default());
    let built = JsonCompileOptions::default().json_to_llg_with_overrides(builder, schema.clone());
    built.err().map(|error| first_line(&error.to_string()))
}

/// A subschema with what its references point to.
fn with_definitions(schema: &Value, root: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(map) = &mut schema {
        for name in ["$defs", "definitions", OPTIONS] {
            if let Some(definitions) = root.get(name).filter(|_| !map.contains_key(name)) {
                map.insert(name.into(), definitions.clone());
            }
        }
    }
    schema
}

/// The subschemas of a schema, with the step of a JSON pointer that leads to each.
fn children(schema: &Value) -> Vec<(String, &Value)> {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    let mut found = Vec::new();
    for (key, value) in schema.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(named)) => {
                found.extend(named.iter().map(|(name, inner)| (format!("/{key}/{}", escaped(name)), inner)));
            }
            ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(listed)) => {
                found.extend(listed.iter().enumerate().map(|(at, inner)| (format!("/{key}/{at}"), inner)));
            }
            ("items" | "additionalProperties", Value::Object(_)) => found.push((format!("/{key}"), value)),
            _ => {}
        }
    }
    found
}
