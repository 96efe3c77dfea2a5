//! `POST /v1/completions`: OpenAI's first endpoint, a prompt without a conversation.

use std::fmt;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use minerva_engine::model::{Token, Vocabulary};
use minerva_engine::request::Input;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::common::{self, Head};
use super::completions_reply::{Answers, Shape, Streaming};
use super::sampling::{TOP_LOGPROBS_MAX, unsupported_field};
use crate::admission::Admission;
use crate::body::RawBody;
use crate::failure::Failure;
use crate::router::Shared;
use crate::tracking::RequestId;
use crate::{generation, json, sse};

/// The fields of a completion that no other endpoint has.
#[derive(serde::Deserialize)]
struct Body {
    prompt: Prompts,
    logprobs: Option<i64>,
    echo: Option<bool>,
    suffix: Option<String>,
    best_of: Option<i64>,
}

/// Continues one or several prompts.
pub(crate) async fn create(
    State(shared): State<Shared>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    admission: Admission,
    RawBody(body): RawBody,
) -> Result<Response, Failure> {
    let text = json::text(&body)?;
    let body: Body = json::read(text)?;
    let mut prepared = common::prepare(&shared.app, text, "prompt").await?;
    prepared.params.logprobs = body.logprobs()?;
    let inputs = body.prompt.0.as_slice();
    let count = prepared.count(inputs.len())?;
    body.refuse_unsupported(count.per_prompt)?;
    let vocabulary = prepared.model.handle.vocabulary();
    let has_echo = body.echo.unwrap_or(false);
    let echoes = if has_echo {
        inputs.iter().map(|input| echo(input, vocabulary.as_ref())).collect()
    } else {
        Vec::new()
    };
    let choices = prepared.submit(&request_id, &admission, body.prompt.0, count).await?;

    let head = Head::new(shared.ids.make("cmpl-"), &prepared.model);
    let shape = Shape { vocabulary, has_logprobs: prepared.params.logprobs.is_some(), count, echoes };
    if prepared.is_stream {
        let streaming = Streaming::new(head, shape, prepared.include_usage);
        return sse::reply(
            streaming,
            choices,
            prepared.origin,
            admission,
            shared.app.options.sse_ping_interval,
        )
        .await;
    }
    let mut answers = Answers::new(shape);
    generation::collect(choices, &prepared.origin, admission, |choice, event| answers.add(choice, event))
        .await?;
    Ok(Json(answers.into_completion(&head)).into_response())
}

impl Body {
    fn logprobs(&self) -> Result<Option<u32>, Failure> {
        let Some(top) = self.logprobs else { return Ok(None) };
        let top = u32::try_from(top).ok().filter(|top| *top <= TOP_LOGPROBS_MAX);
        top.map(Some).ok_or_else(|| {
            let message = format!("`logprobs` must be from 0 to {TOP_LOGPROBS_MAX}");
            Failure::invalid("logprobs", message)
        })
    }

    fn refuse_unsupported(&self, n: usize) -> Result<(), Failure> {
        if self.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
            return Err(unsupported_field("suffix"));
        }
        if self.echo == Some(true) && self.logprobs.is_some() {
            let message = "`logprobs` of an echoed prompt are not supported yet; ask for one or the other";
            return Err(Failure::not_supported(message).param("echo"));
        }
        match self.best_of {
            Some(best_of) if usize::try_from(best_of) != Ok(n) => {
                let message = format!("`best_of` is supported only where it is what `n` is, here {n}");
                Err(Failure::not_supported(message).param("best_of"))
            }
            _ => Ok(()),
        }
    }
}

/// The text of a prompt, to put in front of its answer.
fn echo(input: &Input, vocabulary: &dyn Vocabulary) -> String {
    match input {
        Input::Text(text) => text.clone(),
        Input::Tokens(tokens) => String::from_utf8_lossy(&vocabulary.decode(tokens)).into_owned(),
        Input::Chat(_) => String::new(),
    }
}

/// The prompts: a string, an array of strings, an array of tokens, or an array of such arrays.
struct Prompts(Vec<Input>);

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
