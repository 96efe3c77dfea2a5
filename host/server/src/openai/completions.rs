//! `POST /v1/completions`: OpenAI's first endpoint, a prompt without a conversation.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use minerva_engine::infill::Infill;
use minerva_engine::model::Vocabulary;
use minerva_engine::request::Input;
use schemars::JsonSchema;
use serde_json::json;

use super::common::{self, Head, Prepared};
use super::completions_reply::{Answers, Completion, Shape, Streaming};
use super::prompts::Prompts;
use super::sampling::TOP_LOGPROBS_MAX;
use crate::admission::Admission;
use crate::body::RawBody;
use crate::failure::{ErrorBody, Failure};
use crate::llama_server::infill;
use crate::openapi::{Operation, Part, Schemas};
use crate::router::Shared;
use crate::tracking::RequestId;
use crate::{generation, json, sse};

/// The fields of a completion that no other endpoint has.
#[derive(serde::Deserialize, JsonSchema)]
struct Body {
    prompt: Prompts,
    /// Report the log-probability of each token, and of so many others at its place.
    #[schemars(range(min = 0, max = TOP_LOGPROBS_MAX))]
    logprobs: Option<i64>,
    /// Put the prompt in front of the answer; not together with `logprobs`.
    echo: Option<bool>,
    /// What stands behind the answer, for models that fill in the middle.
    suffix: Option<String>,
    /// Only what `n` is.
    best_of: Option<i64>,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    let own: [Part; 1] = [Body::json_schema];
    let body = schemas.body("CompletionRequest", &[&own[..], &common::PARTS].concat());
    Operation::new("text", "Continues one or several prompts")
        .takes(body, json!({"prompt": "Once upon a time", "max_tokens": 16}))
        .answers(schemas.answer::<Completion<'static>>())
        .streams_until_done(schemas.event::<Completion<'static>, ErrorBody<'static>>())
        .runs_a_model()
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
    let count = prepared.count(body.prompt.0.len())?;
    body.refuse_unsupported(count.per_prompt)?;
    let inputs = body.prompt.into_inputs(&prepared.model.handle, &prepared.origin).await?;
    let vocabulary = prepared.model.handle.vocabulary();
    let has_echo = body.echo.unwrap_or(false);
    let echoes = if has_echo {
        inputs.iter().map(|input| echo(input, vocabulary.as_ref())).collect()
    } else {
        Vec::new()
    };
    let inputs = match body.suffix.filter(|suffix| !suffix.is_empty()) {
        None => inputs,
        Some(suffix) => fill(&prepared, inputs, &suffix).await?,
    };
    let choices = prepared.submit(&request_id, &admission, inputs, count).await?;

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
        if self.echo == Some(true) && self.logprobs.is_some() {
            let message = "`echo` cannot be together with `logprobs`: there are none of a prompt; ask for one or the other";
            return Err(Failure::invalid("echo", message));
        }
        match self.best_of {
            Some(best_of) if usize::try_from(best_of) != Ok(n) => {
                let message = format!(
                    "`best_of` can only be what `n` is, here {n}: answers are not chosen among; ask for more by `n`"
                );
                Err(Failure::invalid("best_of", message))
            }
            _ => Ok(()),
        }
    }
}

/// Prompts to continue so that the suffix can follow.
async fn fill(prepared: &Prepared, prompts: Vec<Input>, suffix: &str) -> Result<Vec<Input>, Failure> {
    let (handle, origin) = (&prepared.model.handle, &prepared.origin);
    let mut filled = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let Input::Text(prefix) = prompt else {
            return Err(Failure::invalid("prompt", "`prompt` must be text where there is a `suffix`"));
        };
        let infill = Infill { prefix, suffix: suffix.to_owned(), ..Infill::default() };
        filled.push(Input::Tokens(
            infill::tokens(handle, infill, None, prepared.params.max_tokens, origin).await?,
        ));
    }
    Ok(filled)
}

/// The text of a prompt, to put in front of its answer.
fn echo(input: &Input, vocabulary: &dyn Vocabulary) -> String {
    match input {
        Input::Text(text) => text.clone(),
        Input::Tokens(tokens) => String::from_utf8_lossy(&vocabulary.decode(tokens)).into_owned(),
        Input::Chat(_) => String::new(),
    }
}
