//! What the endpoints share that hand whole texts to a model: embeddings and reranking.

use std::sync::Arc;

use minerva_engine::embedding::{Embedding, Text};
use minerva_engine::model::{Embeds, Pooling};
use schemars::JsonSchema;
use serde::Serialize;

use crate::admission::{Admission, ending};
use crate::app::ServedModel;
use crate::failure::Failure;
use crate::origin::Origin;

/// OpenAI's count of tokens, where none are generated.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EmbeddingUsage")]
pub(crate) struct Usage {
    prompt_tokens: u32,
    total_tokens: u32,
}

impl Usage {
    pub(crate) fn of(embeddings: &[Embedding]) -> Self {
        let tokens = embeddings.iter().map(|embedding| embedding.tokens).fold(0, u32::saturating_add);
        Self { prompt_tokens: tokens, total_tokens: tokens }
    }
}

/// What a model makes of texts, if it was loaded to.
pub(crate) fn embeds(model: &ServedModel) -> Result<Embeds, Failure> {
    let embeds = model.handle.info().embeds.filter(|embeds| embeds.pooling != Pooling::Rank);
    embeds.ok_or_else(|| {
        let why = match model.handle.info().embeds {
            Some(_) => "is a reranker and makes no embeddings; ask it at /v1/rerank",
            None => "is not served for embeddings; that takes a server with --embedding",
        };
        Failure::not_supported(format!("the model `{}` {why}", model.id))
    })
}

/// That a model judges documents.
pub(crate) fn reranks(model: &ServedModel) -> Result<(), Failure> {
    if model.handle.info().embeds.is_some_and(|embeds| embeds.pooling == Pooling::Rank) {
        return Ok(());
    }
    let why = "is not served for reranking; that takes a reranker, and a server with --reranking";
    Err(Failure::not_supported(format!("the model `{}` {why}", model.id)))
}

/// The rows of texts, in their order. `input` is the field that they are in.
pub(crate) async fn compute(
    model: &Arc<ServedModel>,
    texts: Vec<Text>,
    input: &'static str,
    admission: Admission,
) -> Result<Vec<Embedding>, Failure> {
    let origin = Origin { input, plugins: Vec::new() };
    let computed = tokio::select! {
        computed = model.handle.embed(texts) => computed.map_err(|error| origin.failure(error)),
        () = admission.closing() => Err(ending()),
    };
    if let Some(trace) = admission.trace() {
        trace.asked_of(&model.id);
        trace.read(computed.iter().flatten().map(|embedding| embedding.tokens).fold(0, u32::saturating_add));
    }
    computed
}
