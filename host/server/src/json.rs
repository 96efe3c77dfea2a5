//! Reads JSON from requests, and says in plain words where and why it is not what it should be.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;

use crate::failure::Failure;
use crate::nearest;

/// The text of a body.
pub(crate) fn text(body: &[u8]) -> Result<&str, Failure> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Failure::malformed(format!("the body is not valid UTF-8: byte {} is wrong", error.valid_up_to()))
    })?;
    match text.trim_start().chars().next() {
        None => Err(Failure::malformed("the body is empty; it must be a JSON object")),
        // A struct would also be read from an array, its fields in order.
        Some('[') => Err(Failure::malformed("the body is a JSON array; it must be an object")),
        Some(_) => Ok(text),
    }
}

/// Reads an object of the wire. Keys that it does not know are left to others, and null is as good as absent.
pub(crate) fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Failure> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        failure(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| failure(".", &error))?;
    Ok(value)
}

fn failure(path: &str, error: &serde_json::Error) -> Failure {
    let message = error.to_string();
    if error.classify() != Category::Data {
        return Failure::malformed(format!("the body is not valid JSON: {message}"));
    }
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let path = if path == "." { "" } else { path };
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        let path = join(path, field);
        return Failure::invalid(path.clone(), format!("`{path}` is required"));
    }
    if let Some(field) = message.strip_prefix("duplicate field `").and_then(|rest| rest.strip_suffix('`')) {
        let path = if path.ends_with(field) { path.to_owned() } else { join(path, field) };
        return Failure::invalid(path.clone(), format!("`{path}` is there twice"));
    }
    if let Some((field, expected)) =
        message.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, "))
    {
        let path = if path.ends_with(field) { path.to_owned() } else { join(path, field) };
        let message = format!("there is no `{}` here; {expected}", nearest::shown(&path));
        return Failure::invalid(path, message);
    }
    let message = match (path, plain(message)) {
        ("", Some(message)) => format!("the body {message}"),
        (path, Some(message)) => format!("`{path}` {message}"),
        ("", None) => message.to_owned(),
        (path, None) => format!("`{path}`: {message}"),
    };
    if path.is_empty() { Failure::malformed(message) } else { Failure::invalid(path, message) }
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// `invalid type: integer `3`, expected a string` in the words of the wire: `must be a string, not 3`.
fn plain(message: &str) -> Option<String> {
    let (kind, rest) = message.split_once(": ")?;
    if kind != "invalid type" && kind != "invalid value" {
        return None;
    }
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let found = match found.split_once(' ') {
        Some(("integer" | "floating" | "boolean", value)) => {
            value.trim_start_matches("point ").trim_matches('`').to_owned()
        }
        Some(("string", value)) => format!("the string {}", nearest::shown(value)),
        _ if found == "sequence" => "an array".into(),
        _ if found == "map" => "an object".into(),
        _ => found.to_owned(),
    };
    let expected = match expected {
        "f32" | "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "a sequence" => "an array",
        "a map" => "an object",
        "a boolean" => "true or false",
        structure if structure.starts_with("struct ") => "an object",
        other => other,
    };
    Some(format!("must be {expected}, not {found}"))
}

/// A nested object of the wire, which nothing but a JSON object can be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<T: JsonSchema> JsonSchema for Object<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        T::json_schema(schemas)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// That something is gone, as OpenAI says it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Deleted {
    pub(crate) id: String,
    pub(crate) object: &'static str,
    pub(crate) deleted: bool,
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only how it is read matters")]
    struct Outer {
        number: Option<f32>,
        count: Option<u32>,
        name: Option<String>,
        inner: Option<Object<Inner>>,
        list: Option<Vec<Object<Inner>>>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only how it is read matters")]
    struct Inner {
        id: String,
        flag: Option<bool>,
    }

    fn check(body: &str, param: Option<&str>, message: &str) {
        let failure = text(body.as_bytes()).and_then(read::<Outer>).map(|_| ()).unwrap_err();
        let actual = serde_json::to_value(failure.body()).unwrap();
        assert_eq!(
            (&actual["error"]["param"], &actual["error"]["message"]),
            (&json!(param), &json!(message)),
            "{body}"
        );
    }

    #[test]
    fn mistakes_are_named_in_plain_words_with_their_place() {
        check("", None, "the body is empty; it must be a JSON object");
        check("[1.0]", None, "the body is a JSON array; it must be an object");
        check("3", None, "the body must be an object, not 3");
        check(
            "{\"number\": ",
            None,
            "the body is not valid JSON: EOF while parsing a value at line 1 column 11",
        );
        check("{}x", None, "the body is not valid JSON: trailing characters at line 1 column 3");
        check("{\"number\": \"hot\"}", Some("number"), "`number` must be a number, not the string \"hot\"");
        check("{\"count\": -1}", Some("count"), "`count` must be a whole number, 0 or more, not -1");
        check("{\"count\": 1.5}", Some("count"), "`count` must be a whole number, 0 or more, not 1.5");
        check("{\"name\": [1]}", Some("name"), "`name` must be a string, not an array");
        check("{\"name\": {}}", Some("name"), "`name` must be a string, not an object");
        check("{\"inner\": [\"x\"]}", Some("inner"), "`inner` must be an object, not an array");
        check("{\"inner\": {}}", Some("inner.id"), "`inner.id` is required");
        check(
            "{\"list\": [{\"id\": \"a\"}, {\"id\": 1}]}",
            Some("list[1].id"),
            "`list[1].id` must be a string, not 1",
        );
        check(
            "{\"list\": [{\"id\": \"a\", \"flag\": 1}]}",
            Some("list[0].flag"),
            "`list[0].flag` must be true or false, not 1",
        );
        check(
            "{\"inner\": {\"id\": \"a\", \"x\": 1}}",
            Some("inner.x"),
            "there is no `inner.x` here; expected `id` or `flag`",
        );
    }

    #[test]
    fn null_is_absent_and_unknown_keys_are_left_alone() {
        let outer: Outer = read("{\"number\": null, \"inner\": null, \"more\": {\"x\": [1, 2]}}").unwrap();
        assert!(outer.number.is_none() && outer.inner.is_none());
    }

    #[test]
    fn a_body_that_is_not_utf8_says_where() {
        let failure = text(b"{\"a\": \"\xff\"}").unwrap_err();
        let actual = serde_json::to_value(failure.body()).unwrap();
        assert_eq!(actual["error"]["message"], "the body is not valid UTF-8: byte 7 is wrong");
    }
}
