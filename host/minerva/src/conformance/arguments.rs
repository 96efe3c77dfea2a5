//! Good and bad arguments, out of a plugin's own schema.

use minerva_engine::plugin::{Error, Fault};
use serde_json::{Map, Value, json};

use crate::conformance::{Law, Options, passed, skipped};

/// The most sets of good arguments that a plugin is checked with.
const SETS_MAX: usize = 12;

/// Arguments that the plugin should take, without repetition: what is required, and each property's examples.
///
/// # Errors
///
/// When something is required of which the schema gives no example.
pub(super) fn good(schema: &str, options: &Options) -> Result<Vec<Value>, String> {
    if let Some(args) = &options.args {
        return Ok(vec![args.clone()]);
    }
    let schema = parsed(schema);
    let mut base = Map::new();
    for name in required(&schema) {
        let property = &schema["properties"][name];
        let value = property["examples"].get(0).or_else(|| property.get("default")).ok_or_else(|| {
            format!("the argument '{name}' is required, and its schema has no `examples` to try; add some, or give --args")
        })?;
        base.insert(name.to_owned(), value.clone());
    }
    let mut sets = vec![Value::Object(base.clone())];
    for (name, property) in properties(&schema) {
        for example in property["examples"].as_array().into_iter().flatten() {
            let mut set = base.clone();
            set.insert(name.clone(), example.clone());
            if !sets.contains(&Value::Object(set.clone())) {
                sets.push(Value::Object(set));
            }
        }
    }
    sets.truncate(SETS_MAX);
    Ok(sets)
}

/// Arguments that the schema forbids, and what is wrong with each.
fn bad(schema: &Value, base: &Map<String, Value>) -> Vec<(String, Value)> {
    let mut sets = vec![("a list in the place of the arguments".to_owned(), json!([1]))];
    let mut with = |what: String, name: &str, value: Value| {
        let mut set = base.clone();
        set.insert(name.to_owned(), value);
        sets.push((what, Value::Object(set)));
    };
    with("an argument that there is not".to_owned(), "no_such_argument", json!(1));
    for (name, property) in properties(schema) {
        let wrong = match property["type"].as_str() {
            Some("number" | "integer" | "boolean") => json!("text"),
            Some("string") => json!(7),
            Some("array") => json!({}),
            Some("object") => json!([]),
            _ => continue,
        };
        with(format!("'{name}' of the wrong type"), name, wrong);
        if let Some(least) = property["minimum"].as_i64() {
            with(format!("'{name}' below its minimum"), name, json!(least - 1));
        }
        if let Some(most) = property["maximum"].as_i64() {
            with(format!("'{name}' above its maximum"), name, json!(most + 1));
        }
        if let Some(most) = property["maxLength"].as_u64().filter(|most| *most < 1 << 16) {
            let most = usize::try_from(most).unwrap_or(0);
            with(format!("'{name}' longer than its maxLength"), name, json!("x".repeat(most + 1)));
        }
    }
    for name in required(schema) {
        let mut set = base.clone();
        set.remove(name);
        sets.push((format!("'{name}' missing"), Value::Object(set)));
    }
    sets
}

/// Bad arguments are refused in words, and good ones taken.
pub(super) fn check(schema: &str, good: &[Value], open: impl Fn(&Value) -> Result<(), Error>) -> Law {
    for args in good {
        open(args).map_err(|error| format!("with {args}: {error}"))?;
    }
    if schema.trim().is_empty() {
        return skipped("it has no schema: anything goes");
    }
    let schema = parsed(schema);
    let base = good.first().and_then(Value::as_object).cloned().unwrap_or_default();
    let bad = bad(&schema, &base);
    for (what, args) in &bad {
        match open(args) {
            Err(error) if matches!(error.fault, Fault::Refused(_)) => {}
            Err(error) => return Err(format!("{what} is not refused but breaks it: {error}")),
            Ok(()) if *what == "an argument that there is not" => {
                return Err(format!("{what} is taken: {args}; say \"additionalProperties\": false"));
            }
            Ok(()) => return Err(format!("{what} is taken: {args}")),
        }
    }
    passed(format!("{} good ones taken, {} bad ones refused", good.len(), bad.len()))
}

/// All texts in arguments: what a plugin looks for is what it should be shown.
pub(super) fn strings(args: &Value) -> Vec<String> {
    match args {
        Value::String(text) => vec![text.clone()],
        Value::Array(all) => all.iter().flat_map(strings).collect(),
        Value::Object(all) => all.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

fn parsed(schema: &str) -> Value {
    serde_json::from_str(schema).unwrap_or(Value::Null)
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type": "object", "additionalProperties": false, "required": ["words"], "properties": {
        "words": {"type": "array", "examples": [["a"], ["b", "c"]]},
        "p": {"type": "number", "minimum": 0, "maximum": 1, "examples": [0.5]}}}"#;

    #[test]
    fn arguments_come_out_of_the_schema() {
        let sets = good(SCHEMA, &Options::default()).unwrap();
        let expected =
            [json!({"words": ["a"]}), json!({"words": ["b", "c"]}), json!({"words": ["a"], "p": 0.5})];
        assert_eq!(sets, expected);
        let given = Options { args: Some(json!({"p": 1})), ..Options::default() };
        assert_eq!(good(SCHEMA, &given).unwrap(), [json!({"p": 1})]);
        assert_eq!(good("", &Options::default()).unwrap(), [json!({})]);
        let said = good(r#"{"required": ["x"]}"#, &Options::default()).unwrap_err();
        assert!(said.contains("'x' is required"), "{said}");
    }

    #[test]
    fn bad_ones_break_one_rule_each() {
        let base = json!({"words": ["a"]}).as_object().cloned().unwrap();
        let bad = bad(&parsed(SCHEMA), &base);
        let what: Vec<&str> = bad.iter().map(|(what, _)| what.as_str()).collect();
        assert_eq!(
            what,
            [
                "a list in the place of the arguments",
                "an argument that there is not",
                "'words' of the wrong type",
                "'p' of the wrong type",
                "'p' below its minimum",
                "'p' above its maximum",
                "'words' missing",
            ]
        );
    }
}
