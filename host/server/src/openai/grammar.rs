//! The fields that say what form an answer must have: OpenAI's `response_format`, llama-server's `json_schema` and
//! `grammar`, and vLLM's `guided_…`.

use std::borrow::Cow;

use minerva_engine::grammar::Kind;
use minerva_engine::request::Grammar;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Unexpected};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::json::Object;
use crate::nearest;

/// The part of a body that these fields are.
#[derive(serde::Deserialize, JsonSchema)]
pub(crate) struct Body {
    /// What the answer must be. Of this and the others that say so, a request can have one.
    response_format: Option<Object<ResponseFormat>>,
    /// llama-server's: a JSON schema.
    json_schema: Option<WireSchema>,
    /// llama-server's: a grammar in GBNF, or in llguidance's Lark if it begins with `%llguidance`.
    #[schemars(extend("format" = "gbnf"))]
    grammar: Option<String>,
    /// vLLM's: a JSON schema, also as text.
    guided_json: Option<WireSchema<true>>,
    /// vLLM's: a regular expression.
    #[schemars(extend("format" = "regular-expression"))]
    guided_regex: Option<String>,
    /// vLLM's: texts, one of which is the answer.
    #[schemars(length(min = 1), inner(length(min = 1)))]
    guided_choice: Option<Vec<String>>,
    /// vLLM's: a grammar in GBNF, or in Lark.
    #[schemars(extend("format" = "gbnf"))]
    guided_grammar: Option<String>,
}

#[derive(serde::Deserialize, JsonSchema)]
#[schemars(rename = "ChatResponseFormat")]
struct ResponseFormat {
    #[schemars(extend("enum" = ["text", "json_object", "json_schema"]))]
    r#type: String,
    json_schema: Option<Object<NamedSchema>>,
    /// llama-server's place for it.
    schema: Option<WireSchema>,
}

/// OpenAI's `strict` is always so here: what is sampled cannot but obey.
#[derive(serde::Deserialize, JsonSchema)]
struct NamedSchema {
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(rename = "strict")]
    _strict: Option<bool>,
    schema: Option<WireSchema>,
}

/// A JSON schema; what it says is compiled, not read here. `TEXT` is whether it can be written as text, too.
struct WireSchema<const TEXT: bool = false>(Value);

impl<'de, const TEXT: bool> Deserialize<'de> for WireSchema<TEXT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = &"a JSON schema: an object, true or false";
        match Value::deserialize(deserializer)? {
            Value::String(text) if TEXT => Ok(Self(text.into())),
            schema @ (Value::Object(_) | Value::Bool(_)) => Ok(Self(schema)),
            Value::String(text) => {
                Err(de::Error::invalid_type(Unexpected::Str(&nearest::shown(&text)), expected))
            }
            Value::Array(_) => Err(de::Error::invalid_type(Unexpected::Seq, expected)),
            other => Err(de::Error::invalid_type(Unexpected::Other(&other.to_string()), expected)),
        }
    }
}

impl<const TEXT: bool> JsonSchema for WireSchema<TEXT> {
    fn schema_name() -> Cow<'static, str> {
        if TEXT { "JsonSchemaOrText".into() } else { "JsonSchema".into() }
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let schema = json!({"type": ["object", "boolean"], "format": "json-schema"});
        if TEXT {
            return json_schema!({"anyOf": [schema, {"type": "string", "format": "json-schema"}]});
        }
        json_schema!({"type": ["object", "boolean"], "format": "json-schema"})
    }
}

impl Body {
    /// What the answer must be, if a field says so; two that do are refused.
    pub(crate) fn into_grammar(self) -> Result<Option<Grammar>, Failure> {
        let schema = |WireSchema(value): WireSchema<true>| match value {
            // vLLM takes a schema as text as well.
            Value::String(text) => text,
            value => value.to_string(),
        };
        let is_said = |text: &String| !text.is_empty();
        let given = [
            self.response_format.map(|Object(format)| format.into_grammar()).transpose()?.flatten(),
            self.json_schema.map(|it| grammar(Kind::JsonSchema, it.0.to_string(), "json_schema")),
            self.grammar.filter(is_said).map(|text| grammar(Kind::of_llama(&text), text, "grammar")),
            self.guided_json.map(|value| grammar(Kind::JsonSchema, schema(value), "guided_json")),
            self.guided_regex.filter(is_said).map(|text| grammar(Kind::Regex, text, "guided_regex")),
            self.guided_choice.map(|choices| choice(&choices)).transpose()?,
            self.guided_grammar
                .filter(is_said)
                .map(|text| grammar(guided_kind(&text), text, "guided_grammar")),
        ];
        let mut given = given.into_iter().flatten();
        let first = given.next();
        match given.next() {
            Some(second) => Err(both(first.as_ref().map_or("", |first| &first.param), &second.param)),
            None => Ok(first),
        }
    }
}

impl ResponseFormat {
    fn into_grammar(self) -> Result<Option<Grammar>, Failure> {
        let named = self.json_schema.and_then(|Object(named)| named.schema);
        let (schema, param) = match named {
            Some(schema) => (Some(schema.0), "response_format.json_schema.schema"),
            None => (self.schema.map(|schema| schema.0), "response_format.schema"),
        };
        match (self.r#type.as_str(), schema) {
            ("text", _) => Ok(None),
            ("json_object" | "json_schema", Some(schema)) => {
                Ok(Some(grammar(Kind::JsonSchema, schema.to_string(), param)))
            }
            ("json_object", None) => Ok(Some(grammar(Kind::JsonObject, String::new(), "response_format"))),
            ("json_schema", None) => {
                let param = "response_format.json_schema.schema";
                Err(Failure::invalid(param, format!("`{param}` is required where the type is `json_schema`")))
            }
            _ => Err(Failure::invalid(
                "response_format.type",
                "`response_format.type` must be `text`, `json_object` or `json_schema`",
            )),
        }
    }
}

/// What a response's `text.format` says.
pub(crate) fn of_format(r#type: &str, schema: Option<Value>) -> Result<Option<Grammar>, Failure> {
    match (r#type, schema) {
        ("text", _) => Ok(None),
        ("json_object", _) => Ok(Some(grammar(Kind::JsonObject, String::new(), "text.format"))),
        ("json_schema", Some(schema)) => {
            Ok(Some(grammar(Kind::JsonSchema, schema.to_string(), "text.format.schema")))
        }
        ("json_schema", None) => {
            let message = "`text.format.schema` is required where the type is `json_schema`";
            Err(Failure::invalid("text.format.schema", message))
        }
        _ => {
            let message = "`text.format.type` must be `text`, `json_object` or `json_schema`";
            Err(Failure::invalid("text.format.type", message))
        }
    }
}

/// The one of two things that an answer must be; both cannot be obeyed.
pub(crate) fn one_of(form: Option<Grammar>, calls: Option<Grammar>) -> Result<Option<Grammar>, Failure> {
    match (form, calls) {
        (Some(form), Some(_)) => Err(both("tool_choice", &form.param)),
        (form, calls) => Ok(form.or(calls)),
    }
}

/// Two fields say what an answer must be, and only one can be obeyed.
fn both(first: &str, second: &str) -> Failure {
    let message = format!("`{first}` and `{second}` both say what the answer must be; send one of them");
    Failure::invalid(second, message)
}

fn grammar(kind: Kind, source: String, param: &str) -> Grammar {
    Grammar { kind, source: source.into(), param: param.to_owned() }
}

/// vLLM takes both notations in one field.
fn guided_kind(text: &str) -> Kind {
    if text.contains("::=") { Kind::Gbnf } else { Kind::Lark }
}

/// One of some texts.
fn choice(choices: &[String]) -> Result<Grammar, Failure> {
    if choices.is_empty() || choices.iter().any(String::is_empty) {
        let message = "`guided_choice` must be texts, at least one, and none of them empty";
        return Err(Failure::invalid("guided_choice", message));
    }
    // Lark quotes as JSON does.
    let texts: Vec<String> = choices.iter().map(|text| Value::from(text.as_str()).to_string()).collect();
    Ok(grammar(Kind::Lark, format!("start: {}", texts.join(" | ")), "guided_choice"))
}
