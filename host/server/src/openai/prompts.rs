//! Prompts, and texts to embed: both are written in the same ways, OpenAI's and llama-server's.

use std::borrow::Cow;
use std::fmt;

use minerva_engine::Handle;
use minerva_engine::model::{self, Encode, Token, Vocabulary};
use minerva_engine::request::Input;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::json;

use crate::failure::Failure;
use crate::origin::Origin;

/// The prompts: a string, an array of strings, an array of tokens, or an array of such arrays; llama-server's arrays
/// that mix strings and tokens, and its objects around a string.
pub(crate) struct Prompts(pub(crate) Vec<Prompt>);

/// One of them.
pub(crate) enum Prompt {
    /// A text.
    Text(String),
    /// Tokens.
    Tokens(Vec<Token>),
    /// Texts and tokens behind one another.
    Mixed(Vec<Piece>),
}

/// A part of a prompt.
pub(crate) enum Piece {
    Text(String),
    Token(Token),
}

impl Prompts {
    /// What the engine takes: what mixes texts and tokens becomes tokens.
    pub(crate) async fn into_inputs(self, handle: &Handle, origin: &Origin) -> Result<Vec<Input>, Failure> {
        let mut inputs = Vec::with_capacity(self.0.len());
        for prompt in self.0 {
            inputs.push(match prompt {
                Prompt::Text(text) => Input::Text(text),
                Prompt::Tokens(tokens) => Input::Tokens(tokens),
                Prompt::Mixed(pieces) => {
                    let vocabulary = handle.vocabulary();
                    let encoding = tokio::task::spawn_blocking(move || tokens(pieces, vocabulary.as_ref()));
                    let tokens = encoding.await.map_err(|error| Failure::internal(error.to_string()))?;
                    Input::Tokens(tokens.map_err(|error| origin.failure(error.into()))?)
                }
            });
        }
        Ok(inputs)
    }
}

/// As in llama-server: what the model wants in front of a text is there where one is in front.
fn tokens(pieces: Vec<Piece>, vocabulary: &dyn Vocabulary) -> Result<Vec<Token>, model::Error> {
    let mut tokens = Vec::new();
    for (at, piece) in pieces.into_iter().enumerate() {
        match piece {
            Piece::Token(token) => tokens.push(token),
            Piece::Text(text) => {
                let how = Encode { add_special: at == 0, parse_special: true };
                tokens.extend(vocabulary.encode(&text, how)?);
            }
        }
    }
    Ok(tokens)
}

impl Prompt {
    /// Of the parts of an array.
    fn of(pieces: Vec<Piece>) -> Self {
        let token = |piece: &Piece| if let Piece::Token(token) = piece { Some(*token) } else { None };
        match pieces.iter().map(token).collect() {
            Some(tokens) => Self::Tokens(tokens),
            None => Self::Mixed(pieces),
        }
    }
}

impl JsonSchema for Prompts {
    fn schema_name() -> Cow<'static, str> {
        "Prompts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let token = json!({"type": "integer", "minimum": 0, "maximum": Token::MAX});
        let piece = json!({"anyOf": [{"type": "string"}, token]});
        let object = json!({
            "type": "object",
            "properties": {
                "prompt_string": {"type": "string"},
                "multimodal_data": {"description": "Only none.", "type": ["array", "null"], "maxItems": 0},
            },
            "required": ["prompt_string"],
        });
        json_schema!({
            "description": "A string, an array of strings, an array of tokens, or an array of such arrays. As in \
                            llama-server, an array of tokens can have strings among them, and a string can be the \
                            `prompt_string` of an object.",
            "anyOf": [
                {"type": "string"},
                object,
                {"type": "array", "minItems": 1, "items": piece},
                {"type": "array", "minItems": 1, "items": {"anyOf": [
                    {"type": "string"},
                    object,
                    {"type": "array", "items": piece},
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
                Ok(Prompts(vec![Prompt::Text(text.to_owned())]))
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Prompts, A::Error> {
                Ok(Prompts(vec![Prompt::Text(prompt_string(entries)?)]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Prompts, A::Error> {
                let (mut prompts, mut pieces) = (Vec::new(), Vec::new());
                while let Some(element) = elements.next_element()? {
                    match element {
                        Element::Piece(piece) => pieces.push(piece),
                        Element::Prompt(prompt) => {
                            // Strings in front of it are prompts too.
                            prompts.append(&mut texts(&mut pieces)?);
                            prompts.push(prompt);
                        }
                    }
                }
                if prompts.is_empty() && pieces.iter().any(|piece| matches!(piece, Piece::Token(_))) {
                    return Ok(Prompts(vec![Prompt::of(pieces)]));
                }
                prompts.append(&mut texts(&mut pieces)?);
                if prompts.is_empty() {
                    return Err(de::Error::custom("the array is empty; it must have at least one prompt"));
                }
                Ok(Prompts(prompts))
            }
        }

        deserializer.deserialize_any(PromptsVisitor)
    }
}

/// Strings as prompts of their own, beside which no token can be one.
fn texts<E: de::Error>(pieces: &mut Vec<Piece>) -> Result<Vec<Prompt>, E> {
    let text = |piece| match piece {
        Piece::Text(text) => Ok(Prompt::Text(text)),
        Piece::Token(_) => Err(E::custom("an array has either prompts or tokens, not both")),
    };
    pieces.drain(..).map(text).collect()
}

/// What an array of prompts can hold.
enum Element {
    Piece(Piece),
    Prompt(Prompt),
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
                Ok(Element::Piece(Piece::Text(text.to_owned())))
            }

            fn visit_u64<E: de::Error>(self, token: u64) -> Result<Element, E> {
                let token = Token::try_from(token)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(token), &self))?;
                Ok(Element::Piece(Piece::Token(token)))
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Element, A::Error> {
                Ok(Element::Prompt(Prompt::Text(prompt_string(entries)?)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Element, A::Error> {
                let mut pieces = Vec::new();
                while let Some(element) = elements.next_element()? {
                    match element {
                        Element::Piece(piece) => pieces.push(piece),
                        Element::Prompt(_) => {
                            return Err(de::Error::custom(
                                "an array in an array has only strings and tokens",
                            ));
                        }
                    }
                }
                Ok(Element::Prompt(Prompt::of(pieces)))
            }
        }

        deserializer.deserialize_any(ElementVisitor)
    }
}

/// The text in llama-server's object around a text, media and all. There can be none of those here.
fn prompt_string<'de, A: MapAccess<'de>>(mut entries: A) -> Result<String, A::Error> {
    let mut text = None;
    while let Some(key) = entries.next_key::<Cow<'_, str>>()? {
        match key.as_ref() {
            "prompt_string" if text.is_some() => return Err(de::Error::duplicate_field("prompt_string")),
            "prompt_string" => text = Some(entries.next_value::<String>()?),
            "multimodal_data" => {
                let media: Option<Vec<IgnoredAny>> = entries.next_value()?;
                if media.is_some_and(|media| !media.is_empty()) {
                    return Err(de::Error::custom(
                        "there are no images and no sound; leave `multimodal_data` out",
                    ));
                }
            }
            _ => {
                entries.next_value::<IgnoredAny>()?;
            }
        }
    }
    text.ok_or_else(|| de::Error::missing_field("prompt_string"))
}
