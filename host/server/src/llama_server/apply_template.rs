//! `POST /apply-template`: the prompt that a conversation becomes, without an answer to it. With the `minerva`
//! object it is how the author of a template sees what it makes.

use axum::extract::State;
use axum::{Extension, Json};
use minerva_engine::Error;
use minerva_engine::model::Vocabulary;
use minerva_engine::plugin::{Part, SessionContext};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::admission::Admission;
use crate::body::RawBody;
use crate::failure::Failure;
use crate::json;
use crate::openai::{chat, common};
use crate::openapi::{Operation, Schemas};
use crate::router::Shared;
use crate::tracking::RequestId;

/// A prompt, as text.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RenderedPrompt")]
pub(crate) struct Prompt {
    prompt: String,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("tokens", "The prompt that a conversation becomes")
        .takes(
            chat::request(schemas),
            json!({"messages": [{"role": "user", "content": "What is a plugin?"}]}),
        )
        .answers(schemas.answer::<Prompt>())
        .runs_a_model()
}

/// Makes the prompt of a conversation.
pub(crate) async fn create(
    State(shared): State<Shared>,
    Extension(RequestId(request)): Extension<RequestId>,
    admission: Admission,
    RawBody(body): RawBody,
) -> Result<Json<Prompt>, Failure> {
    let text = json::text(&body)?;
    let prepared = common::prepare(&shared.app, text, "messages").await?;
    prepared.count(1)?;
    let chat = chat::conversation(text, &prepared.model)?;
    let handle = &prepared.model.handle;
    let rendered = match prepared.plugins.template {
        None => handle.render(chat).await,
        Some(used) => {
            let (vocabulary, grammars) = (handle.vocabulary(), handle.grammars());
            let tenant = admission.tenant();
            let rendering = tokio::task::spawn_blocking(move || {
                let context = SessionContext { tenant, grammars, ..SessionContext::new(request, vocabulary) };
                let prompt = used.plugin.render(&context, &chat, &used.args)?;
                Ok(prompt.parts.iter().map(|part| shown(part, context.vocabulary.as_ref())).collect())
            });
            rendering.await.map_err(|error| Failure::internal(error.to_string()))?.map_err(Error::Plugin)
        }
    };
    let prompt = rendered.map_err(|error| prepared.origin.failure(error))?;
    Ok(Json(Prompt { prompt }))
}

fn shown(part: &Part, vocabulary: &dyn Vocabulary) -> String {
    match part {
        Part::Text(text) | Part::Special(text) => text.clone(),
        Part::Tokens(tokens) => {
            let bytes: Vec<u8> = tokens.iter().flat_map(|token| vocabulary.piece(*token)).copied().collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }
}
