//! `POST /v1/messages` and `POST /v1/messages/count_tokens`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use minerva_engine::request::{Chat, Grammar, Input};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::content::{self, Blocks, WireMessage, WireTool};
use super::reply::{Answer, Head, Message};
use super::stream::{Said, Streaming};
use crate::admission::Admission;
use crate::app::ServedModel;
use crate::body::RawBody;
use crate::failure::{AnthropicError, Failure};
use crate::generation;
use crate::json::{self, Object};
use crate::openai::common::{Count, Prepared};
use crate::openai::tools::ToolChoice;
use crate::openai::{common, grammar};
use crate::openapi::{Dialect, Operation, Part, Schemas};
use crate::origin::Origin;
use crate::router::Shared;
use crate::sse;
use crate::tracking::RequestId;

/// The fields that are Anthropic's own. `max_tokens`, `temperature` and their kind are called as everywhere.
#[derive(Deserialize, JsonSchema)]
struct Body {
    #[schemars(length(min = 1))]
    messages: Vec<Object<WireMessage>>,
    system: Option<Blocks>,
    /// Texts that end the answer.
    stop_sequences: Option<Vec<String>>,
    tools: Option<Vec<Object<WireTool>>>,
    tool_choice: Option<Object<WireToolChoice>>,
    thinking: Option<Object<Thinking>>,
    chat_template_kwargs: Option<Map<String, Value>>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicToolChoice")]
struct WireToolChoice {
    #[schemars(extend("enum" = ["auto", "any", "tool", "none"]))]
    r#type: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "AnthropicThinking")]
struct Thinking {
    #[schemars(extend("enum" = ["enabled", "adaptive", "disabled"]))]
    r#type: String,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("chat", "Answers a conversation, in Anthropic's words")
        .takes(request(schemas), example())
        .answers(schemas.answer::<Message>())
        .streams(schemas.event::<Said<'static>, AnthropicError<'static>>())
        .runs_a_model()
        .dialect(Dialect::Anthropic)
}

/// What the document says of counting.
pub(crate) fn describe_count(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("chat", "Counts the tokens of a conversation's prompt, in Anthropic's words")
        .takes(request(schemas), example())
        .answers(schemas.answer::<TokenCount>())
        .runs_a_model()
        .dialect(Dialect::Anthropic)
}

fn request(schemas: &mut Schemas<'_>) -> Value {
    // Its own fields are last: it has `tools` of its own.
    let own: [Part; 2] = [common::ONE_ANSWER, Body::json_schema];
    schemas.body("AnthropicRequest", &[&common::PARTS, &own[..]].concat())
}

fn example() -> Value {
    json!({"messages": [{"role": "user", "content": "What is a plugin?"}], "max_tokens": 16})
}

/// Answers a conversation.
pub(crate) async fn create(
    State(shared): State<Shared>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    admission: Result<Admission, Failure>,
    body: Result<RawBody, Failure>,
) -> Response {
    let answer = async { answer(shared, request_id, admission?, body?).await };
    answer.await.unwrap_or_else(Failure::into_anthropic)
}

async fn answer(
    shared: Shared,
    request_id: String,
    admission: Admission,
    RawBody(body): RawBody,
) -> Result<Response, Failure> {
    let text = json::text(&body)?;
    let body: Body = json::read(text)?;
    let mut prepared = common::prepare(&shared.app, text, "messages").await?;
    let count = one(&prepared)?;
    let stops = body.stop_sequences.clone().unwrap_or_default();
    if body.stop_sequences.is_some() {
        prepared.params.stop.clone_from(&stops);
    }
    let (chat, calls) = body.into_chat(&prepared.model)?;
    prepared.grammar = grammar::one_of(prepared.grammar.take(), calls)?;
    let choices = prepared.submit(&request_id, &admission, vec![Input::Chat(chat)], count).await?;
    let head = Head {
        id: shared.ids.make("msg_"),
        model: prepared.model.id.clone(),
        prompt_tokens: choices.prompt_tokens(),
        stops,
    };
    if prepared.is_stream {
        let ping = shared.app.options.sse_ping_interval;
        return sse::reply(Streaming::new(head), choices, prepared.origin, admission, ping).await;
    }
    let mut answer = Answer::default();
    generation::collect(choices, &prepared.origin, admission, |_, event| answer.add(event)).await?;
    Ok(Json(answer.into_message(&head)).into_response())
}

/// Messages have one answer each.
fn one(prepared: &Prepared) -> Result<Count, Failure> {
    let count = prepared.count(1)?;
    if count.choices != 1 {
        return Err(Failure::invalid("n", "`n` must be 1: a message has one answer"));
    }
    Ok(count)
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AnthropicTokenCount")]
struct TokenCount {
    input_tokens: usize,
}

/// Counts the tokens of a conversation's prompt.
pub(crate) async fn count_tokens(State(shared): State<Shared>, body: Result<RawBody, Failure>) -> Response {
    let count = async {
        let RawBody(body) = body?;
        let text = json::text(&body)?;
        let body: Body = json::read(text)?;
        let prepared = common::prepare(&shared.app, text, "messages").await?;
        one(&prepared)?;
        let model = prepared.model;
        let (chat, _) = body.into_chat(&model)?;
        let origin = Origin { input: "messages", plugins: Vec::new() };
        let tokens = model.handle.tokenise(chat).await.map_err(|error| origin.failure(error))?;
        Ok(Json(TokenCount { input_tokens: tokens.len() }).into_response())
    };
    count.await.unwrap_or_else(Failure::into_anthropic)
}

impl Body {
    /// The conversation, and the calls of tools that must answer it, if any must.
    fn into_chat(self, model: &ServedModel) -> Result<(Chat, Option<Grammar>), Failure> {
        let tools = content::tools(self.tools.unwrap_or_default())?;
        let (tools, calls) = match self.tool_choice {
            None => (tools, None),
            Some(Object(choice)) => {
                let several = !choice.disable_parallel_tool_use.unwrap_or(false);
                choice.into_choice()?.among(tools, several)?
            }
        };
        let mut variables = model.defaults.template_variables.clone();
        variables.extend(self.chat_template_kwargs.unwrap_or_default());
        match self.thinking.as_ref().map(|thinking| thinking.0.r#type.as_str()) {
            None => {}
            Some("enabled" | "adaptive") => {
                variables.insert("enable_thinking".into(), true.into());
            }
            Some("disabled") => {
                variables.insert("enable_thinking".into(), false.into());
            }
            Some(_) => {
                let message = "`thinking.type` must be `enabled`, `adaptive` or `disabled`";
                return Err(Failure::invalid("thinking.type", message));
            }
        }
        let messages = content::messages(self.system, self.messages)?;
        let continue_last =
            messages.last().is_some_and(|last| last.role == "assistant" && last.tool_calls.is_empty());
        let template_variables = if variables.is_empty() { Value::Null } else { Value::Object(variables) };
        let reasoning = model.defaults.reasoning;
        let no_generation_prompt = false;
        let chat =
            Chat { messages, tools, template_variables, continue_last, no_generation_prompt, reasoning };
        Ok((chat, calls))
    }
}

impl WireToolChoice {
    fn into_choice(self) -> Result<ToolChoice, Failure> {
        match (self.r#type.as_str(), self.name) {
            ("auto", _) => Ok(ToolChoice::Auto),
            ("none", _) => Ok(ToolChoice::None),
            ("any", _) => Ok(ToolChoice::Required),
            ("tool", Some(name)) => Ok(ToolChoice::Named(name)),
            ("tool", None) => {
                let message = "`tool_choice.name` is required where the type is `tool`";
                Err(Failure::invalid("tool_choice.name", message))
            }
            _ => {
                let message = "`tool_choice.type` must be `auto`, `any`, `tool` or `none`";
                Err(Failure::invalid("tool_choice.type", message))
            }
        }
    }
}
