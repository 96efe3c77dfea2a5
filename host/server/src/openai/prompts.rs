//! Prompts, and texts to embed: both are written in the same four ways.

use std::borrow::Cow;
use std::fmt;

use minerva_engine::model::Token;
use minerva_engine::request::Input;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::json;

/// The prompts: a string, an array of strings, an array of tokens, or an array of such arrays.
pub(crate) struct Prompts(pub(crate) Vec<Input>);

impl JsonSchema for Prompts {
    fn schema_name() -> Cow<'static, str> {
        "Prompts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let token = json!({"type": "integer", "minimum": 0, "maximum": Token::MAX});
        json_schema!({
            "description": "A string, an array of strings, an array of tokens, or an array of such arrays.",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "minItems": 1, "items": token},
                {"type": "array", "minItems": 1, "items": {"anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": token},
                ]}},
            ],
        })
    }
}

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PromptsVisitor;

        impl<'de> Visitor<'de> for PromptsVisitor {
            type Value = Prompts;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string, an array of strings or an array of tokens")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Prompts, E> {
                Ok(Prompts(vec![Input::Text(text.to_owned())]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Prompts, A::Error> {
                let (mut prompts, mut tokens) = (Vec::new(), Vec::new());
                while let Some(element) = elements.next_element()? {
                    match element {
                        Element::Text(text) => prompts.push(Input::Text(text)),
                        Element::Tokens(tokens) => prompts.push(Input::Tokens(tokens)),
                        Element::Token(token) => tokens.push(token),
                    }
                }
                match (prompts.is_empty(), tokens.is_empty()) {
                    (true, true) => {
                        Err(de::Error::custom("the array is empty; it must have at least one prompt"))
                    }
                    (false, true) => Ok(Prompts(prompts)),
                    (true, false) => Ok(Prompts(vec![Input::Tokens(tokens)])),
                    (false, false) => {
                        Err(de::Error::custom("an array has either prompts or tokens, not both"))
                    }
                }
            }
        }

        deserializer.deserialize_any(PromptsVisitor)
    }
}

/// What an array of prompts can hold.
enum Element {
    Text(String),
    Token(Token),
    Tokens(Vec<Token>),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;

        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = Element;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string, a token or an array of tokens")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Element, E> {
                Ok(Element::Text(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, token: u64) -> Result<Element, E> {
                let token = Token::try_from(token)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(token), &self))?;
                Ok(Element::Token(token))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Element, A::Error> {
                let mut tokens = Vec::new();
                while let Some(token) = elements.next_element()? {
                    tokens.push(token);
                }
                Ok(Element::Tokens(tokens))
            }
        }

        deserializer.deserialize_any(ElementVisitor)
    }
}
