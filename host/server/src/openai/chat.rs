//! `POST /v1/chat/completions`.

use axum::extract::State;
use axum::response::Response;
use axum::{Extension, Json, response::IntoResponse};
use minerva_engine::request::{Chat, Grammar, Input, ReasoningFormat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::chat_answers::{Answers, Completion};
use super::chat_reply::Shape;
use super::chat_stream::{Chunk, Streaming};
use super::common::{self, Head};
use super::grammar;
use super::message::{self, WireMessage};
use super::sampling::{TOP_LOGPROBS_MAX, unsupported_field};
use super::tools;
use crate::admission::Admission;
use crate::app::ServedModel;
use crate::body::RawBody;
use crate::failure::{ErrorBody, Failure};
use crate::generation;
use crate::json::{self, Object};
use crate::nearest;
use crate::openapi::{Operation, Part, Schemas};
use crate::router::Shared;
use crate::sse;
use crate::tracking::RequestId;

/// The fields of a chat that no other endpoint has.
#[derive(Deserialize, JsonSchema)]
struct Body {
    #[schemars(length(min = 1))]
    messages: Vec<Object<WireMessage>>,
    /// Report the log-probability of each token.
    logprobs: Option<bool>,
    /// And of so many others at its place; more than 0 needs `logprobs`.
    #[schemars(range(min = 0, max = TOP_LOGPROBS_MAX))]
    top_logprobs: Option<i64>,
    /// Only `text`.
    #[schemars(extend("items" = {"const": "text"}))]
    modalities: Option<Vec<String>>,
    /// More variables for the template.
    chat_template_kwargs: Option<Map<String, Value>>,
    /// The variable `reasoning_effort` of the template.
    reasoning_effort: Option<String>,
    /// How thinking is told: as `reasoning_content`, or with `none` as a part of the content.
    #[schemars(extend("enum" = ["auto", "deepseek", "none", null]))]
    reasoning_format: Option<String>,
    /// Whether an assistant's message at the end is the beginning of the answer. True unless it is said.
    continue_final_message: Option<bool>,
    /// Whether the prompt begins the answer. True unless it is said; not together with a `continue_final_message` that is.
    add_generation_prompt: Option<bool>,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    let example = json!({"messages": [{"role": "user", "content": "What is a plugin?"}], "max_tokens": 16});
    Operation::new("chat", "Answers a conversation")
        .takes(request(schemas), example)
        .answers(schemas.answer::<Completion>())
        .streams_until_done(schemas.event::<Chunk<'static>, ErrorBody<'static>>())
        .runs_a_model()
}

/// The schema of a chat's body.
pub(crate) fn request(schemas: &mut Schemas<'_>) -> Value {
    let own: [Part; 2] = [Body::json_schema, tools::Body::json_schema];
    schemas.body("ChatRequest", &[&own[..], &common::PARTS].concat())
}

/// Answers a conversation.
pub(crate) async fn create(
    State(shared): State<Shared>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    admission: Admission,
    RawBody(body): RawBody,
) -> Result<Response, Failure> {
    answer(shared, &request_id, admission, &body, Form::AsAsked).await
}

/// How a conversation is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Whole or as a stream, as the body says.
    AsAsked,
    /// As a stream, whatever the body says.
    Stream,
}

/// Answers the conversation in a body.
pub(crate) async fn answer(
    shared: Shared,
    request_id: &str,
    admission: Admission,
    body: &[u8],
    form: Form,
) -> Result<Response, Failure> {
    let text = json::text(body)?;
    let body: Body = json::read(text)?;
    let mut prepared = common::prepare(&shared.app, text, "messages").await?;
    prepared.params.logprobs = body.logprobs()?;
    let count = prepared.count(1)?;
    let (chat, calls) = body.into_chat(text, &prepared.model)?;
    prepared.grammar = grammar::one_of(prepared.grammar.take(), calls)?;
    let choices = prepared.submit(request_id, &admission, vec![Input::Chat(chat)], count).await?;

    let head = Head::new(shared.ids.make("chatcmpl-"), &prepared.model);
    let shape = Shape {
        vocabulary: prepared.model.handle.vocabulary(),
        has_logprobs: prepared.params.logprobs.is_some(),
        count,
    };
    if prepared.is_stream || form == Form::Stream {
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
    Ok(Json(answers.into_completion(head)).into_response())
}

/// The tokens of a prompt.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChatTokenCount")]
pub(crate) struct TokenCount {
    input_tokens: usize,
}

/// What the document says of counting.
pub(crate) fn describe_count(schemas: &mut Schemas<'_>) -> Operation {
    let example = json!({"messages": [{"role": "user", "content": "What is a plugin?"}]});
    Operation::new("chat", "Counts the tokens of a conversation's prompt, as llama-server does")
        .takes(request(schemas), example)
        .answers(schemas.answer::<TokenCount>())
        .runs_a_model()
}

/// Counts the tokens of a conversation's prompt, by the model's own template.
pub(crate) async fn count_tokens(
    State(shared): State<Shared>,
    _admission: Admission,
    RawBody(body): RawBody,
) -> Result<Json<TokenCount>, Failure> {
    let text = json::text(&body)?;
    let prepared = common::prepare(&shared.app, text, "messages").await?;
    prepared.count(1)?;
    let chat = conversation(text, &prepared.model)?;
    let tokens = prepared.model.handle.tokenise(chat).await;
    let tokens = tokens.map_err(|error| prepared.origin.failure(error))?;
    Ok(Json(TokenCount { input_tokens: tokens.len() }))
}

/// The conversation in a body, for those that only want its prompt.
pub(crate) fn conversation(text: &str, model: &ServedModel) -> Result<Chat, Failure> {
    let body: Body = json::read(text)?;
    body.logprobs()?;
    Ok(body.into_chat(text, model)?.0)
}

impl Body {
    fn logprobs(&self) -> Result<Option<u32>, Failure> {
        let top = match self.top_logprobs {
            None => return Ok(self.logprobs.unwrap_or(false).then_some(0)),
            Some(top) => u32::try_from(top).ok().filter(|top| *top <= TOP_LOGPROBS_MAX).ok_or_else(|| {
                let message = format!("`top_logprobs` must be from 0 to {TOP_LOGPROBS_MAX}, not {top}");
                Failure::invalid("top_logprobs", message)
            })?,
        };
        match (self.logprobs.unwrap_or(false), top) {
            (true, top) => Ok(Some(top)),
            (false, 0) => Ok(None),
            (false, _) => Err(Failure::invalid("top_logprobs", "`top_logprobs` needs `logprobs` to be true")),
        }
    }

    /// The conversation, and the calls of tools that must answer it, if any must.
    fn into_chat(self, text: &str, model: &ServedModel) -> Result<(Chat, Option<Grammar>), Failure> {
        let (tools, calls) = json::read::<tools::Body>(text)?.into_tools()?;
        if self.modalities.is_some_and(|modalities| modalities.iter().any(|modality| modality != "text")) {
            return Err(unsupported_field("modalities"));
        }
        let mut messages = message::messages(self.messages)?;
        message::rename_developer(&mut messages, model);
        let mut variables = model.defaults.template_variables.clone();
        variables.extend(self.chat_template_kwargs.unwrap_or_default());
        if let Some(effort) = self.reasoning_effort {
            variables.entry("reasoning_effort").or_insert(Value::String(effort));
        }
        let template_variables = if variables.is_empty() { Value::Null } else { Value::Object(variables) };
        if self.add_generation_prompt == Some(true) && self.continue_final_message == Some(true) {
            let message = "`add_generation_prompt` and `continue_final_message` cannot both be true: an answer is \
                           begun anew, or gone on with";
            return Err(Failure::invalid("continue_final_message", message));
        }
        // As llama-server: an assistant's message at the end is the beginning of the answer.
        let continue_last = self.continue_final_message.unwrap_or(true)
            && messages.last().is_some_and(|last| last.role == "assistant" && last.tool_calls.is_empty());
        if continue_last
            && let [.., before, _] = messages.as_slice()
            && before.role == "assistant"
        {
            let message = "`messages` ends with two of the assistant's, and only one can be gone on with; join them, or \
                           send `continue_final_message` as false";
            return Err(Failure::invalid("messages", message));
        }
        let no_generation_prompt = self.add_generation_prompt == Some(false);
        let reasoning = match self.reasoning_format.as_deref() {
            None => model.defaults.reasoning,
            Some(name) => reasoning_format(name)?,
        };
        let chat =
            Chat { messages, tools, template_variables, continue_last, no_generation_prompt, reasoning };
        Ok((chat, calls))
    }
}

/// llama-server's names for how thinking is told.
fn reasoning_format(name: &str) -> Result<ReasoningFormat, Failure> {
    match name {
        "auto" | "deepseek" => Ok(ReasoningFormat::Apart),
        "none" => Ok(ReasoningFormat::InText),
        other => {
            let other = nearest::shown(other);
            let message = format!("`reasoning_format` must be `auto`, `deepseek` or `none`, not `{other}`");
            Err(Failure::invalid("reasoning_format", message))
        }
    }
}
