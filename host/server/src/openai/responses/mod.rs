//! `POST /v1/responses`, and what was answered before under `/v1/responses/{id}`.

mod answer;
mod input;
mod store;
mod stream;
mod truncation;
mod wire;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use minerva_engine::request::{Chat, Input, Message};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::answer::{Answer, Head};
use self::input::WireInput;
pub(crate) use self::store::Store;
use self::stream::Streaming;
use super::common;
use super::grammar;
use super::message;
use super::sampling::token_limit;
use super::tools::ToolChoice;
use crate::admission::Admission;
use crate::app::ServedModel;
use crate::body::RawBody;
use crate::failure::Failure;
use crate::generation;
use crate::json::{self, Deleted, Object};
use crate::nearest;
use crate::openapi::{Operation, Part, Schemas};
use crate::router::Shared;
use crate::sse;
use crate::tracking::RequestId;

/// The fields that no other endpoint has, or has in another form.
#[derive(Deserialize, JsonSchema)]
struct Body {
    input: WireInput,
    instructions: Option<String>,
    previous_response_id: Option<String>,
    /// Whether `previous_response_id` can name it later. True unless it is said.
    store: Option<bool>,
    /// How many tokens an answer can have; -1 for as many as fit.
    #[schemars(range(min = -1), extend("not" = {"const": 0}))]
    max_output_tokens: Option<i64>,
    tools: Option<Vec<Object<WireTool>>>,
    tool_choice: Option<ToolChoice>,
    parallel_tool_calls: Option<bool>,
    text: Option<Object<Text>>,
    reasoning: Option<Object<Reasoning>>,
    truncation: Option<Truncation>,
    /// Only false: a response runs as long as its request.
    #[schemars(extend("enum" = [false, null]))]
    background: Option<bool>,
    metadata: Option<Map<String, Value>>,
    chat_template_kwargs: Option<Map<String, Value>>,
}

/// What becomes of a conversation that is longer than the context.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(rename = "ResponseTruncation")]
#[serde(rename_all = "lowercase")]
enum Truncation {
    /// Its oldest turns are left out.
    Auto,
    /// It is refused.
    #[default]
    Disabled,
}

impl Truncation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Disabled => "disabled",
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ResponseRequestText")]
struct Text {
    format: Option<Object<Format>>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ResponseRequestFormat")]
struct Format {
    #[schemars(extend("enum" = ["text", "json_object", "json_schema"]))]
    r#type: String,
    schema: Option<Value>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ResponseRequestReasoning")]
struct Reasoning {
    effort: Option<String>,
}

/// A tool. Its function's fields stand in it, not below `function` as in a chat.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ResponseRequestTool")]
struct WireTool {
    #[schemars(extend("const" = "function"))]
    r#type: String,
    #[schemars(required)]
    name: Option<String>,
    description: Option<String>,
    parameters: Option<Value>,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    // Its own fields are last: it has `metadata` of its own.
    let own: [Part; 2] = [common::ONE_ANSWER, Body::json_schema];
    let body = schemas.body("ResponseRequest", &[&common::PARTS, &own[..]].concat());
    Operation::new("chat", "Answers a conversation, and goes on from an answer before")
        .takes(body, json!({"input": "What is a plugin?", "max_output_tokens": 16}))
        .answers(schemas.answer::<wire::Response>())
        .streams(schemas.answer::<stream::Numbered<'static>>())
        .runs_a_model()
}

/// What the document says of an answer that is stored.
pub(crate) fn describe_get(schemas: &mut Schemas<'_>) -> Operation {
    let operation = Operation::new("chat", "An answer again").named("id", "The response's id.");
    operation.answers(schemas.answer::<wire::Response>()).fails(&[400, 404])
}

/// What the document says of forgetting one.
pub(crate) fn describe_delete(schemas: &mut Schemas<'_>) -> Operation {
    let operation = Operation::new("chat", "Forgets an answer").named("id", "The response's id.");
    operation.answers(schemas.answer::<Deleted>()).fails(&[400, 404])
}

/// Answers a conversation.
pub(crate) async fn create(
    State(shared): State<Shared>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    admission: Admission,
    RawBody(body): RawBody,
) -> Result<Response, Failure> {
    let text = json::text(&body)?;
    let body: Body = json::read(text)?;
    body.refuse_unsupported()?;
    let mut prepared = common::prepare(&shared.app, text, "input").await?;
    let count = prepared.count(1)?;
    if count.choices != 1 {
        return Err(Failure::invalid("n", "`n` must be 1: a response has one answer"));
    }
    if let Some(limit) = body.max_output_tokens {
        prepared.params.max_tokens = token_limit("max_output_tokens", limit)?;
    }
    let mut messages = match &body.previous_response_id {
        None => Vec::new(),
        Some(id) => shared.responses.messages(id).ok_or_else(|| unknown(id).param("previous_response_id"))?,
    };
    let Body {
        input,
        instructions,
        previous_response_id,
        tools,
        reasoning,
        metadata,
        text: form,
        truncation,
        ..
    } = body;
    let truncation = truncation.unwrap_or_default();
    let format = form.and_then(|form| form.0.format).map(|format| format.0);
    let format_type = format.as_ref().map_or("text", |format| format.type_name());
    if let Some(Format { r#type, schema }) = format {
        let form = grammar::of_format(&r#type, schema)?;
        prepared.grammar = prepared.grammar.take().or(form);
    }
    messages.extend(input.into_messages()?);
    let tools = tools.unwrap_or_default();
    let tools = tools.into_iter().enumerate().map(|(at, tool)| tool.0.into_openai(at));
    let tools = tools.collect::<Result<Vec<_>, _>>()?;
    let choice = body.tool_choice.unwrap_or_default();
    let effort = reasoning.and_then(|reasoning| reasoning.0.effort);
    let head = Head {
        id: shared.ids.make("resp_"),
        model: prepared.model.id.clone(),
        instructions: instructions.clone(),
        previous_response_id,
        metadata: metadata.unwrap_or_default(),
        is_stored: body.store.unwrap_or(true),
        tools: tools.iter().map(flat_tool).collect(),
        tool_choice: choice.as_str(),
        format: format_type,
        effort: effort.clone(),
        truncation: truncation.as_str(),
        max_output_tokens: prepared.params.max_tokens,
        temperature: prepared.params.temperature,
        top_p: prepared.params.top_p,
        vocabulary: prepared.model.handle.vocabulary(),
        messages: messages.clone(),
        store: shared.responses.clone(),
    };
    let (tools, calls) = choice.among(tools, body.parallel_tool_calls.unwrap_or(true))?;
    prepared.grammar = grammar::one_of(prepared.grammar.take(), calls)?;
    let chat = chat(&prepared.model, instructions, messages, tools, effort, body.chat_template_kwargs);
    let chat = if truncation == Truncation::Auto {
        let fitted = truncation::fit(&prepared.model.handle, chat, prepared.params.max_tokens).await;
        fitted.map_err(|error| prepared.origin.failure(error))?
    } else {
        chat
    };
    let choices = prepared.submit(&request_id, &admission, vec![Input::Chat(chat)], count).await?;
    let mut answer = Answer::new(head, &shared.ids);
    if prepared.is_stream {
        let ping = shared.app.options.sse_ping_interval;
        return sse::reply(Streaming::new(answer), choices, prepared.origin, admission, ping).await;
    }
    generation::collect(choices, &prepared.origin, admission, |_, event| answer.add(event)).await?;
    Ok(Json(answer.into_response()).into_response())
}

/// A response that is stored.
pub(crate) async fn get(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Response, Failure> {
    let stored = shared.responses.response(&id).ok_or_else(|| unknown(&id))?;
    Ok(Json(stored).into_response())
}

/// Forgets a response.
pub(crate) async fn delete(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    if !shared.responses.remove(&id) {
        return Err(unknown(&id));
    }
    Ok(Json(Deleted { id, object: "response", deleted: true }).into_response())
}

fn unknown(id: &str) -> Failure {
    let id = nearest::shown(id);
    Failure::not_found(format!(
        "there is no response `{id}` here; the server keeps a limited number, and none over a restart"
    ))
}

fn chat(
    model: &ServedModel,
    instructions: Option<String>,
    mut messages: Vec<Message>,
    tools: Vec<Value>,
    effort: Option<String>,
    variables: Option<Map<String, Value>>,
) -> Chat {
    if let Some(instructions) = instructions {
        messages.insert(0, Message::text("system", instructions));
    }
    message::rename_developer(&mut messages, model);
    let mut all = model.defaults.template_variables.clone();
    all.extend(variables.unwrap_or_default());
    let mut variables = all;
    if let Some(effort) = effort {
        variables.entry("reasoning_effort").or_insert(Value::String(effort));
    }
    let template_variables = if variables.is_empty() { Value::Null } else { Value::Object(variables) };
    let reasoning = model.defaults.reasoning;
    Chat { messages, tools, template_variables, reasoning, ..Chat::default() }
}

impl Body {
    fn refuse_unsupported(&self) -> Result<(), Failure> {
        if self.background == Some(true) {
            let message = "`background` must be false: a response runs as long as its request";
            return Err(Failure::not_supported(message).param("background"));
        }
        Ok(())
    }
}

impl Format {
    fn type_name(&self) -> &'static str {
        match self.r#type.as_str() {
            "json_object" => "json_object",
            "json_schema" => "json_schema",
            _ => "text",
        }
    }
}

impl WireTool {
    fn into_openai(self, at: usize) -> Result<Value, Failure> {
        if self.r#type != "function" {
            let path = format!("tools[{at}].type");
            let message = format!("`{path}` must be `function`: the server has no tools of its own");
            return Err(Failure::invalid(path, message));
        }
        let name = self.name.ok_or_else(|| {
            let path = format!("tools[{at}].name");
            Failure::invalid(path.clone(), format!("`{path}` is required, as a string"))
        })?;
        let parameters = self.parameters.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        let mut function = json!({"name": name, "parameters": parameters});
        if let Some(description) = self.description {
            function["description"] = description.into();
        }
        Ok(json!({"type": "function", "function": function}))
    }
}

/// A tool in the form of this endpoint.
fn flat_tool(tool: &Value) -> Value {
    let mut flat = tool["function"].clone();
    flat["type"] = "function".into();
    flat
}
