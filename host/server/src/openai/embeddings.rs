//! `POST /v1/embeddings`, and `POST /embedding` in llama-server's form.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minerva_engine::embedding::{Embedding, Norm, Text};
use minerva_engine::model::{Embeds, Pooling};
use minerva_engine::request::Input;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::prompts::Prompts;
use crate::admission::Admission;
use crate::app::{Models, ServedModel};
use crate::body::RawBody;
use crate::embedding::{self, Usage};
use crate::failure::Failure;
use crate::json;
use crate::openapi::{Operation, Schemas};
use crate::origin::Origin;

/// The largest p of a p-norm: what is beyond is the largest number.
const NORM_MAX: i64 = 64;

#[derive(Deserialize, JsonSchema)]
struct Body {
    /// The model's id or an alias. Where one model is served, any name means it.
    model: Option<String>,
    /// The texts.
    #[schemars(extend("x-other-names" = ["content"]))]
    #[serde(alias = "content")]
    input: Prompts,
    /// `base64` is the numbers' 32 bits each, lowest byte first.
    encoding_format: Option<Format>,
    /// Cuts the rows, before they are scaled; at most the model's width.
    #[schemars(range(min = 1))]
    dimensions: Option<i64>,
    /// llama-server's: 2 scales rows to length 1, -1 not at all, 0 by the largest number, p to a p-norm of 1.
    #[schemars(range(min = -1, max = NORM_MAX))]
    embd_normalize: Option<i64>,
    /// For the client's own records.
    #[serde(rename = "user")]
    _user: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq, JsonSchema)]
#[schemars(rename = "EmbeddingFormat")]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Float,
    Base64,
}

/// The embeddings of texts.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EmbeddingList")]
struct List {
    object: &'static str,
    data: Vec<Entry>,
    model: String,
    usage: Usage,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Embedding")]
struct Entry {
    object: &'static str,
    index: usize,
    embedding: Numbers,
}

/// A row: its numbers, or their 32 bits each, lowest byte first, in base64.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EmbeddingNumbers")]
#[serde(untagged)]
enum Numbers {
    Floats(Vec<f32>),
    Base64(String),
}

/// An embedding in llama-server's form: a row, or one for each token.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NativeEmbedding")]
struct NativeEntry {
    index: usize,
    embedding: Vec<Vec<f32>>,
}

/// What the document says of OpenAI's form.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("embeddings", "The embeddings of texts")
        .takes(request(schemas), json!({"input": "a text"}))
        .answers(schemas.answer::<List>())
        .runs_a_model()
}

/// What the document says of llama-server's form.
pub(crate) fn describe_native(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("embeddings", "The embeddings of texts, in llama-server's form")
        .takes(request(schemas), json!({"input": "a text"}))
        .answers(schemas.answer::<Vec<NativeEntry>>())
        .runs_a_model()
}

fn request(schemas: &mut Schemas<'_>) -> Value {
    schemas.body("EmbeddingRequest", &[Body::json_schema])
}

/// Embeds texts, and answers as OpenAI does.
pub(crate) async fn create(
    State(models): State<Models>,
    admission: Admission,
    RawBody(body): RawBody,
) -> Result<Response, Failure> {
    let body: Body = json::read(json::text(&body)?)?;
    let model = models.choose(body.model.as_deref()).await?;
    let embeds = embedding::embeds(&model)?;
    if embeds.pooling == Pooling::None {
        let message = "this server makes an embedding for each token (--pooling none), which has no place in \
                       OpenAI's answer; ask at /embedding";
        return Err(Failure::malformed(message));
    }
    let (norm, width) = (body.norm()?, body.width(embeds)?);
    let format = body.encoding_format.unwrap_or_default();
    let texts = texts(&model, body.input).await?;
    let rows = embedding::compute(&model, texts, "input", admission).await?;
    let usage = Usage::of(&rows);
    let entry = |(index, Embedding { mut row, .. }): (usize, Embedding)| {
        row.truncate(width);
        norm.scale(&mut row);
        let embedding = match format {
            Format::Float => Numbers::Floats(row),
            Format::Base64 => {
                let bytes: Vec<u8> = row.iter().flat_map(|number| number.to_le_bytes()).collect();
                Numbers::Base64(BASE64_STANDARD.encode(bytes))
            }
        };
        Entry { object: "embedding", index, embedding }
    };
    let data = rows.into_iter().enumerate().map(entry).collect();
    Ok(Json(List { object: "list", data, model: model.id.clone(), usage }).into_response())
}

/// Embeds texts, and answers as llama-server does.
pub(crate) async fn native(
    State(models): State<Models>,
    admission: Admission,
    RawBody(body): RawBody,
) -> Result<Response, Failure> {
    let body: Body = json::read(json::text(&body)?)?;
    let model = models.choose(body.model.as_deref()).await?;
    let embeds = embedding::embeds(&model)?;
    let norm = body.norm()?;
    let texts = texts(&model, body.input).await?;
    let rows = embedding::compute(&model, texts, "input", admission).await?;
    let entry = |(index, Embedding { mut row, .. }): (usize, Embedding)| {
        // As llama-server: a text's one row is scaled, the rows of its tokens are not.
        if embeds.pooling != Pooling::None {
            norm.scale(&mut row);
        }
        let embedding = row.chunks(embeds.width as usize).map(<[f32]>::to_vec).collect();
        NativeEntry { index, embedding }
    };
    Ok(Json(rows.into_iter().enumerate().map(entry).collect::<Vec<_>>()).into_response())
}

async fn texts(model: &ServedModel, input: Prompts) -> Result<Vec<Text>, Failure> {
    let origin = Origin { input: "input", plugins: Vec::new() };
    let inputs = input.into_inputs(&model.handle, &origin).await?;
    let text = |input| match input {
        Input::Text(text) => Text::Plain(text),
        Input::Tokens(tokens) => Text::Tokens(tokens),
        // Prompts are no conversations.
        Input::Chat(_) => Text::Tokens(Vec::new()),
    };
    Ok(inputs.into_iter().map(text).collect())
}

impl Body {
    /// How rows are scaled: to length 1, unless the request says otherwise.
    fn norm(&self) -> Result<Norm, Failure> {
        match self.embd_normalize {
            None => Ok(Norm::P(2)),
            Some(-1) => Ok(Norm::None),
            Some(0) => Ok(Norm::Largest),
            Some(p @ 1..=NORM_MAX) => Ok(Norm::P(u32::try_from(p).unwrap_or(2))),
            Some(other) => {
                let message = format!(
                    "`embd_normalize` must be -1 (not at all), 0 (the largest number) or p of a p-norm up to \
                     {NORM_MAX}, not {other}"
                );
                Err(Failure::invalid("embd_normalize", message))
            }
        }
    }

    /// How many numbers of a row are told.
    fn width(&self, embeds: Embeds) -> Result<usize, Failure> {
        let Some(dimensions) = self.dimensions else { return Ok(embeds.width as usize) };
        let fits =
            usize::try_from(dimensions).ok().filter(|width| (1..=embeds.width as usize).contains(width));
        fits.ok_or_else(|| {
            let message =
                format!("`dimensions` must be from 1 to the model's {}, not {dimensions}", embeds.width);
            Failure::invalid("dimensions", message)
        })
    }
}
