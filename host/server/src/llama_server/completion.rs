//! `POST /completion`: a prompt and its continuation, under llama-server's own names.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use minerva_engine::model::Vocabulary;
use minerva_engine::request::Input;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::completion_reply::{Answers, Piece, Shape, Streaming, Whole};
use super::settings::Settings;
use crate::admission::Admission;
use crate::body::RawBody;
use crate::failure::{ErrorBody, Failure};
use crate::openai::common::{self, Prepared};
use crate::openai::prompts::Prompts;
use crate::openai::sampling::{TOP_LOGPROBS_MAX, unsupported_field};
use crate::openapi::{Operation, Part, Schemas};
use crate::router::Shared;
use crate::tracking::RequestId;
use crate::{generation, json, sse};

/// The most fields that an answer can be cut down to.
const RESPONSE_FIELDS_MAX: usize = 64;

/// The prompt, for those that have one.
#[derive(Deserialize, JsonSchema)]
struct Prompt {
    prompt: Prompts,
}

/// The fields of llama-server's completions that no other endpoint has.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Body {
    /// Report the log-probability of each token, and of so many others at its place.
    #[schemars(range(min = 0, max = TOP_LOGPROBS_MAX))]
    n_probs: Option<i64>,
    /// Report the tokens.
    return_tokens: Option<bool>,
    /// The only fields that are wanted; `generation_settings/seed` is one inside another, and keeps that name.
    #[schemars(length(max = RESPONSE_FIELDS_MAX))]
    response_fields: Option<Vec<String>>,
    /// Only false.
    #[schemars(extend("enum" = [false, null]))]
    post_sampling_probs: Option<bool>,
    /// Only 0.
    #[schemars(range(max = 0))]
    n_indent: Option<i64>,
    /// Only 0 or less: `minerva.timeouts` can say how long it may take.
    #[schemars(range(max = 0))]
    t_max_predict_ms: Option<i64>,
    /// Only none.
    #[schemars(length(max = 0))]
    lora: Option<Vec<Value>>,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    let own: [Part; 2] = [Prompt::json_schema, Body::json_schema];
    let body = schemas.body("NativeCompletionRequest", &[&own[..], &common::PARTS].concat());
    describe_answers(Operation::new("text", "Continues prompts, in llama-server's form"), schemas)
        .takes(body, json!({"prompt": "Once upon a time", "n_predict": 16}))
}

/// What the document says of completions in llama-server's form.
pub(super) fn describe_answers(operation: Operation, schemas: &mut Schemas<'_>) -> Operation {
    let whole = schemas.answer::<Whole<'static>>();
    let piece = schemas.answer::<Piece<'static>>();
    // `response_fields` can leave anything out.
    let answer = json!({"anyOf": [whole, {"type": "array", "items": whole}, {"type": "object"}]});
    let event = json!({"anyOf": [piece, whole, schemas.answer::<ErrorBody<'static>>()]});
    operation.answers(answer).streams(event).runs_a_model()
}

/// Continues one or several prompts.
pub(crate) async fn create(
    State(shared): State<Shared>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    admission: Admission,
    RawBody(body): RawBody,
) -> Result<Response, Failure> {
    let text = json::text(&body)?;
    let Prompt { prompt } = json::read(text)?;
    let prepared = common::prepare(&shared.app, text, "prompt").await?;
    let inputs = prompt.into_inputs(&prepared.model.handle, &prepared.origin).await?;
    let body: Body = json::read(text)?;
    body.answer(&shared, prepared, inputs, &request_id, admission).await
}

impl Body {
    /// Continues prompts, and answers in llama-server's form.
    pub(super) async fn answer(
        self,
        shared: &Shared,
        mut prepared: Prepared,
        inputs: Vec<Input>,
        request_id: &str,
        admission: Admission,
    ) -> Result<Response, Failure> {
        self.refuse_unsupported()?;
        let n_probs = self.n_probs()?;
        let returns_tokens = self.return_tokens.unwrap_or(false);
        // Tokens come with their probabilities, or not at all.
        prepared.params.logprobs = (n_probs > 0 || returns_tokens).then_some(n_probs);
        let count = prepared.count(inputs.len())?;
        let vocabulary = prepared.model.handle.vocabulary();
        let prompts = inputs.iter().map(|input| shown(input, vocabulary.as_ref())).collect();
        let grammar =
            prepared.grammar.as_ref().map_or_else(String::new, |grammar| grammar.source.to_string());
        let choices = prepared.submit(request_id, &admission, inputs, count).await?;
        let settings = Settings::new(
            &prepared.params,
            choices.seed(),
            prepared.is_stream,
            n_probs,
            &grammar,
            vocabulary.as_ref(),
        );
        let shape = Shape {
            vocabulary,
            n_probs,
            returns_tokens,
            count,
            prompts,
            prompt_tokens: choices.prompt_tokens(),
            model: prepared.model.id.clone(),
            settings,
            fields: self.response_fields.unwrap_or_default(),
        };
        if prepared.is_stream {
            let ping = shared.app.options.sse_ping_interval;
            return sse::reply(Streaming::new(shape), choices, prepared.origin, admission, ping).await;
        }
        let mut answers = Answers::new(shape);
        generation::collect(choices, &prepared.origin, admission, |choice, event| answers.add(choice, event))
            .await?;
        Ok(Json(answers.into_json()).into_response())
    }

    fn n_probs(&self) -> Result<u32, Failure> {
        let n_probs = self.n_probs.unwrap_or(0);
        u32::try_from(n_probs).ok().filter(|top| *top <= TOP_LOGPROBS_MAX).ok_or_else(|| {
            let message = format!("`n_probs` must be from 0 to {TOP_LOGPROBS_MAX}, not {n_probs}");
            Failure::invalid("n_probs", message)
        })
    }

    fn refuse_unsupported(&self) -> Result<(), Failure> {
        if self.response_fields.as_ref().is_some_and(|fields| fields.len() > RESPONSE_FIELDS_MAX) {
            let message = format!("`response_fields` can have at most {RESPONSE_FIELDS_MAX} names");
            return Err(Failure::invalid("response_fields", message));
        }
        let asked = [
            ("post_sampling_probs", self.post_sampling_probs == Some(true)),
            ("n_indent", self.n_indent.is_some_and(|indent| indent > 0)),
            ("t_max_predict_ms", self.t_max_predict_ms.is_some_and(|limit| limit > 0)),
            ("lora", self.lora.as_ref().is_some_and(|adapters| !adapters.is_empty())),
        ];
        match asked.into_iter().find(|(_, is_asked)| *is_asked) {
            Some((name, _)) => Err(unsupported_field(name)),
            None => Ok(()),
        }
    }
}

/// A prompt as text.
fn shown(input: &Input, vocabulary: &dyn Vocabulary) -> String {
    match input {
        Input::Text(text) => text.clone(),
        Input::Tokens(tokens) => {
            let bytes: Vec<u8> = tokens.iter().flat_map(|token| vocabulary.piece(*token)).copied().collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Input::Chat(_) => String::new(),
    }
}
