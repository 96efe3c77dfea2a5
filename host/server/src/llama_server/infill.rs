//! `POST /infill`: what stands between a prefix and a suffix, by a model that was trained to fill in the middle.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use minerva_engine::Handle;
use minerva_engine::infill::{Extra, Infill};
use minerva_engine::model::{Encode, Token};
use minerva_engine::request::Input;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::completion;
use crate::admission::Admission;
use crate::body::RawBody;
use crate::failure::Failure;
use crate::json::{self, Object};
use crate::openai::common;
use crate::openai::prompts::Prompts;
use crate::openapi::{Operation, Part, Schemas};
use crate::origin::Origin;
use crate::router::Shared;
use crate::tracking::RequestId;

#[derive(Deserialize, JsonSchema)]
struct Body {
    input_prefix: String,
    input_suffix: String,
    /// Other files, the most helpful last.
    input_extra: Option<Vec<Object<WireExtra>>>,
    /// What the filling begins with: one text, or one array of tokens.
    prompt: Option<Prompts>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "InfillExtra")]
struct WireExtra {
    filename: Option<String>,
    text: String,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    let own: [Part; 2] = [Body::json_schema, completion::Body::json_schema];
    let body = schemas.body("InfillRequest", &[&own[..], &common::PARTS].concat());
    let operation = Operation::new("text", "Fills a gap");
    completion::describe_answers(operation, schemas)
        .takes(body, json!({"input_prefix": "def add(a, b):\n", "input_suffix": "\n", "n_predict": 16}))
}

/// Fills a gap.
pub(crate) async fn create(
    State(shared): State<Shared>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    admission: Admission,
    RawBody(body): RawBody,
) -> Result<Response, Failure> {
    let text = json::text(&body)?;
    let Body { input_prefix, input_suffix, input_extra, prompt } = json::read(text)?;
    let prepared = common::prepare(&shared.app, text, "input_prefix").await?;
    let beginning = match prompt {
        Some(prompt) => Some(beginning(prompt.into_inputs(&prepared.model.handle, &prepared.origin).await?)?),
        None => None,
    };
    let extra = |Object(extra): Object<WireExtra>| Extra {
        filename: extra.filename.unwrap_or_else(|| "tmp".to_owned()),
        text: extra.text,
    };
    let infill = Infill {
        prefix: input_prefix,
        suffix: input_suffix,
        prompt: Vec::new(),
        extra: input_extra.unwrap_or_default().into_iter().map(extra).collect(),
    };
    let tokens =
        tokens(&prepared.model.handle, infill, beginning, prepared.params.max_tokens, &prepared.origin)
            .await?;
    let body: completion::Body = json::read(text)?;
    body.answer(&shared, prepared, vec![Input::Tokens(tokens)], &request_id, admission).await
}

/// The prompt to fill a gap; `beginning` is what the filling is to begin with.
pub(crate) async fn tokens(
    handle: &Handle,
    mut infill: Infill,
    beginning: Option<Input>,
    max_tokens: Option<u32>,
    origin: &Origin,
) -> Result<Vec<Token>, Failure> {
    let (vocabulary, info) = (handle.vocabulary(), handle.info());
    let architecture = info.architecture.clone();
    // Other files get what the answer leaves of the context; half of it where its length is open.
    let room = info.context.saturating_sub(max_tokens.unwrap_or(info.context / 2)) as usize;
    let encoding = tokio::task::spawn_blocking(move || {
        infill.prompt = match beginning {
            Some(Input::Text(text)) => {
                vocabulary.encode(&text, Encode { add_special: false, parse_special: false })?
            }
            Some(Input::Tokens(tokens)) => tokens,
            Some(Input::Chat(_)) | None => Vec::new(),
        };
        infill.tokens(vocabulary.as_ref(), &architecture, room)
    });
    let tokens = encoding.await.map_err(|error| Failure::internal(error.to_string()))?;
    tokens.map_err(|error| origin.failure(error))
}

fn beginning(mut inputs: Vec<Input>) -> Result<Input, Failure> {
    match (inputs.pop(), inputs.is_empty()) {
        (Some(input), true) => Ok(input),
        _ => Err(Failure::invalid("prompt", "`prompt` must be one text here, or one array of tokens")),
    }
}
