//! `POST /v1/rerank`: documents, judged by a query. The forms are those of Jina and Cohere (`documents`), and of
//! text-embeddings-inference (`texts`), as llama-server has them.

use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use minerva_engine::embedding::Text;
use serde::Serialize;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::admission::Admission;
use crate::app::Models;
use crate::body::RawBody;
use crate::embedding::{self, Usage};
use crate::failure::Failure;
use crate::json;

#[derive(serde::Deserialize)]
struct Body {
    model: Option<String>,
    query: String,
    documents: Option<Vec<Document>>,
    texts: Option<Vec<String>>,
    top_n: Option<i64>,
    return_documents: Option<bool>,
    return_text: Option<bool>,
}

/// A text, or an object with one, as Cohere has it.
struct Document(String);

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
#[derive(Serialize)]
struct List {
    model: String,
    object: &'static str,
    usage: Usage,
    results: Vec<Judged>,
}

#[derive(Serialize)]
struct Judged {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Shown>,
}

#[derive(Serialize)]
struct Shown {
    text: String,
}

/// An entry of text-embeddings-inference's answer.
#[derive(Serialize)]
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
