//! `POST /v1/rerank`: documents, judged by a query. The forms are those of Jina and Cohere (`documents`), and of
//! text-embeddings-inference (`texts`), as llama-server has them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use minerva_engine::embedding::Text;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

use crate::admission::Admission;
use crate::app::Models;
use crate::body::RawBody;
use crate::embedding::{self, Usage};
use crate::failure::Failure;
use crate::json;
use crate::openapi::{Operation, Schemas};

#[derive(serde::Deserialize, JsonSchema)]
struct Body {
    /// The model's id or an alias. Where one model is served, any name means it.
    model: Option<String>,
    query: String,
    /// Jina's and Cohere's: texts, or objects with one.
    #[schemars(length(min = 1))]
    documents: Option<Vec<Document>>,
    /// text-embeddings-inference's, instead of `documents`.
    #[schemars(length(min = 1))]
    texts: Option<Vec<String>>,
    /// How many are told.
    #[schemars(range(min = 1))]
    top_n: Option<i64>,
    /// Tell the documents, too.
    return_documents: Option<bool>,
    /// Tell the texts, too.
    return_text: Option<bool>,
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    let body = schemas.body("RerankRequest", &[Body::json_schema]);
    let (list, scored): (Value, Value) = (schemas.answer::<List>(), schemas.answer::<Vec<Scored>>());
    Operation::new("embeddings", "Documents, judged by a query; the best is the first")
        .takes(body, json!({"query": "a question", "documents": ["one text", "another"]}))
        .answers(json!({"anyOf": [list, scored]}))
        .runs_a_model()
}

/// A text, or an object with one, as Cohere has it.
struct Document(String);

impl JsonSchema for Document {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Document".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string"},
            {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        ]})
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DocumentVisitor;

        impl<'de> Visitor<'de> for DocumentVisitor {
            type Value = Document;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string, or an object with a `text`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Document, E> {
                Ok(Document(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Document, A::Error> {
                #[derive(serde::Deserialize)]
                struct Object {
                    text: String,
                }
                let Object { text } = Object::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Document(text))
            }
        }

        deserializer.deserialize_any(DocumentVisitor)
    }
}

/// Jina's answer.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RerankList")]
struct List {
    model: String,
    object: &'static str,
    usage: Usage,
    results: Vec<Judged>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RerankJudged")]
struct Judged {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Shown>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RerankDocument")]
struct Shown {
    text: String,
}

/// An entry of text-embeddings-inference's answer.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RerankScored")]
struct Scored {
    index: usize,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// Judges documents; the best is the first.
pub(crate) async fn create(
    State(models): State<Models>,
    admission: Admission,
    RawBody(body): RawBody,
) -> Result<Response, Failure> {
    let body: Body = json::read(json::text(&body)?)?;
    let model = models.choose(body.model.as_deref()).await?;
    embedding::reranks(&model)?;
    let (documents, input, is_plain) = match (body.documents, body.texts) {
        (Some(documents), None) => {
            (documents.into_iter().map(|Document(text)| text).collect::<Vec<_>>(), "documents", false)
        }
        (None, Some(texts)) => (texts, "texts", true),
        (None, None) => return Err(Failure::invalid("documents", "`documents` is required")),
        (Some(_), Some(_)) => {
            let message = "`documents` and `texts` are two names for the same; send one of them";
            return Err(Failure::invalid("texts", message));
        }
    };
    if documents.is_empty() {
        return Err(Failure::invalid(input, format!("`{input}` is empty; it must have at least one text")));
    }
    let top = match body.top_n {
        None => documents.len(),
        Some(top) => usize::try_from(top)
            .ok()
            .filter(|top| *top > 0)
            .ok_or_else(|| Failure::invalid("top_n", format!("`top_n` must be 1 or more, not {top}")))?,
    };
    let query: Arc<str> = body.query.into();
    let pair = |document: &String| Text::Pair { query: Arc::clone(&query), document: document.clone() };
    let rows = embedding::compute(&model, documents.iter().map(pair).collect(), input, admission).await?;

    let usage = Usage::of(&rows);
    let score = |row: &[f32]| row.first().copied().unwrap_or(f32::NEG_INFINITY);
    let mut scores: Vec<(usize, f32)> = rows.iter().map(|row| score(&row.row)).enumerate().collect();
    // Stable: of equals, the first stays the first.
    scores.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    scores.truncate(top);
    if is_plain {
        let is_shown = body.return_text.unwrap_or(false);
        let entry = |(index, score): (usize, f32)| {
            let text = is_shown.then(|| documents[index].clone());
            Scored { index, score, text }
        };
        return Ok(Json(scores.into_iter().map(entry).collect::<Vec<_>>()).into_response());
    }
    let is_shown = body.return_documents.unwrap_or(false);
    let entry = |(index, relevance_score): (usize, f32)| {
        let document = is_shown.then(|| Shown { text: documents[index].clone() });
        Judged { index, relevance_score, document }
    };
    let results = scores.into_iter().map(entry).collect();
    Ok(Json(List { model: model.id.clone(), object: "list", usage, results }).into_response())
}
