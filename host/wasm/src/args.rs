//! A plugin's arguments, held against the schema that it gave.

use jsonschema::{PatternOptions, Validator};
use minerva_engine::plugin::Fault;
use serde_json::Value;

use crate::fault::refused;

/// The largest schema.
const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// The largest arguments, as text.
const ARGS_BYTES_MAX: usize = 1 << 20;

/// A schema, compiled once.
pub(crate) struct Schema {
    text: String,
    validator: Option<Validator>,
}

impl Schema {
    /// # Errors
    ///
    /// Says what is wrong with the schema.
    pub(crate) fn new(text: String) -> Result<Self, String> {
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(format!("a schema of {} bytes; at most {SCHEMA_BYTES_MAX}", text.len()));
        }
        if text.trim().is_empty() {
            return Ok(Self { text: String::new(), validator: None });
        }
        let value: Value =
            serde_json::from_str(&text).map_err(|error| format!("the schema is not JSON: {error}"))?;
        let validator = jsonschema::options()
            // Linear time: the expressions are the plugin's, the text they meet is a stranger's.
            .with_pattern_options(PatternOptions::regex())
            .build(&value)
            .map_err(|error| {
                format!("the schema is not a JSON schema: at '{}': {error}", error.instance_path())
            })?;
        Ok(Self { text, validator: Some(validator) })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text that the plugin gets, if the arguments are valid. None at all are an empty object.
    ///
    /// # Errors
    ///
    /// [`Fault::Refused`], naming the place in the arguments and the rule.
    pub(crate) fn check(&self, args: &Value) -> Result<String, Fault> {
        let empty = Value::Object(serde_json::Map::new());
        let args = if args.is_null() { &empty } else { args };
        if let Some(validator) = &self.validator
            && let Some(error) = validator.iter_errors(args).next()
        {
            let path = error.instance_path().as_str().replace('/', ".");
            return Err(refused(&format!("args{path}: {error}")));
        }
        let text = args.to_string();
        if text.len() > ARGS_BYTES_MAX {
            return Err(Fault::Refused(format!("args: {} bytes; at most {ARGS_BYTES_MAX}", text.len())));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &str, args: &Value) -> String {
        match Schema::new(schema.to_owned()).map(|schema| schema.check(args)) {
            Ok(Ok(text)) => text,
            Ok(Err(fault)) => fault.to_string(),
            Err(why) => why,
        }
    }

    #[test]
    fn arguments_are_held_against_the_schema() {
        let p = r#"{"type": "object", "properties": {"p": {"type": "number", "maximum": 1}}, "additionalProperties": false}"#;
        assert_eq!(check(p, &json!({"p": 0.5})), r#"{"p":0.5}"#);
        assert_eq!(check(p, &Value::Null), "{}");
        assert_eq!(check(p, &json!({"p": 2})), "refused: args.p: 2 is greater than the maximum of 1");
        assert_eq!(check(p, &json!({"p": "x"})), r#"refused: args.p: "x" is not of type "number""#);
        assert!(check(p, &json!({"q": 2})).contains("'q' was unexpected"), "{}", check(p, &json!({"q": 2})));
        assert_eq!(check("", &json!([1])), "[1]");
        assert!(
            check(r#"{"required": ["words"]}"#, &Value::Null).contains(r#""words" is a required property"#)
        );
    }

    #[test]
    fn bad_schemas_are_refused() {
        assert!(check("{", &Value::Null).contains("not JSON"));
        assert!(check(r#"{"type": 7}"#, &Value::Null).contains("not a JSON schema"));
        // Nothing is fetched, wherever it lies.
        for reference in ["http://127.0.0.1:9/s.json", "file:///etc/passwd", "other.json"] {
            let schema = format!(r#"{{"$ref": "{reference}"}}"#);
            assert!(
                check(&schema, &Value::Null).contains("not a JSON schema"),
                "{}",
                check(&schema, &Value::Null)
            );
        }
        assert!(
            check(&format!(r#"{{"title": "{}"}}"#, "x".repeat(SCHEMA_BYTES_MAX)), &Value::Null)
                .contains("at most")
        );
    }

    #[test]
    fn a_pathological_pattern_is_matched_in_linear_time() {
        let schema = r#"{"properties": {"s": {"pattern": "^(a+)+$"}}}"#;
        let start = std::time::Instant::now();
        assert!(check(schema, &json!({"s": format!("{}b", "a".repeat(50_000))})).contains("refused"));
        assert!(start.elapsed().as_millis() < 500);
    }
}
