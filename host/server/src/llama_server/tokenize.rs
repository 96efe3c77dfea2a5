//! `POST /tokenize` and `POST /detokenize`.

use axum::Json;
use axum::extract::State;
use minerva_engine::model::{Encode, Token, Vocabulary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admission::Admission;
use crate::app::Models;
use crate::body::RawBody;
use crate::failure::Failure;
use crate::json;
use crate::openapi::{Operation, Schemas};
use crate::origin::Origin;

#[derive(Deserialize, JsonSchema)]
struct TokenizeBody {
    model: Option<String>,
    content: String,
    /// Also what the model wants in front of a prompt.
    add_special: Option<bool>,
    /// Read the text of special tokens as those tokens. True unless it is said.
    parse_special: Option<bool>,
    /// Also tell the text of each token; its bytes, where they are no text of their own.
    with_pieces: Option<bool>,
}

/// The tokens of a text.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Tokens")]
#[serde(untagged)]
pub(crate) enum Tokens {
    Ids { tokens: Vec<Token> },
    Pieces { tokens: Vec<WithPiece> },
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TokenWithPiece")]
pub(crate) struct WithPiece {
    id: Token,
    piece: Piece,
}

/// The text of a token; its bytes, where they are no text of their own.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TokenPiece")]
#[serde(untagged)]
enum Piece {
    Text(String),
    Bytes(Vec<u8>),
}

/// What the document says of it.
pub(crate) fn describe(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("tokens", "The tokens of a text")
        .takes(schemas.body("TokenizeRequest", &[TokenizeBody::json_schema]), json!({"content": "Hello!"}))
        .answers(schemas.answer::<Tokens>())
        .runs_a_model()
}

/// What the document says of the way back.
pub(crate) fn describe_back(schemas: &mut Schemas<'_>) -> Operation {
    Operation::new("tokens", "The text of tokens")
        .takes(schemas.body("DetokenizeRequest", &[DetokenizeBody::json_schema]), json!({"tokens": [1, 2]}))
        .answers(schemas.answer::<Text>())
        .runs_a_model()
}

/// Text to tokens.
pub(crate) async fn tokenize(
    State(models): State<Models>,
    _admission: Admission,
    RawBody(body): RawBody,
) -> Result<Json<Tokens>, Failure> {
    let TokenizeBody { model, content, add_special, parse_special, with_pieces } =
        json::read(json::text(&body)?)?;
    let vocabulary = models.choose(model.as_deref()).await?.handle.vocabulary();
    let how =
        Encode { add_special: add_special.unwrap_or(false), parse_special: parse_special.unwrap_or(true) };
    let encoding = tokio::task::spawn_blocking(move || {
        let tokens = vocabulary.encode(&content, how)?;
        if !with_pieces.unwrap_or(false) {
            return Ok(Tokens::Ids { tokens });
        }
        let tokens = tokens.into_iter().map(|id| WithPiece { id, piece: piece(vocabulary.as_ref(), id) });
        Ok(Tokens::Pieces { tokens: tokens.collect() })
    });
    let encoded = encoding.await.map_err(|error| Failure::internal(error.to_string()))?;
    encoded.map(Json).map_err(|error: minerva_engine::model::Error| Origin::default().failure(error.into()))
}

fn piece(vocabulary: &dyn Vocabulary, token: Token) -> Piece {
    let bytes = vocabulary.piece(token).to_vec();
    String::from_utf8(bytes).map_or_else(|error| Piece::Bytes(error.into_bytes()), Piece::Text)
}

#[derive(Deserialize, JsonSchema)]
struct DetokenizeBody {
    model: Option<String>,
    tokens: Vec<Token>,
}

/// The text of tokens.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DetokenizedText")]
pub(crate) struct Text {
    content: String,
}

/// Tokens to text.
pub(crate) async fn detokenize(
    State(models): State<Models>,
    _admission: Admission,
    RawBody(body): RawBody,
) -> Result<Json<Text>, Failure> {
    let DetokenizeBody { model, tokens } = json::read(json::text(&body)?)?;
    let vocabulary = models.choose(model.as_deref()).await?.handle.vocabulary();
    let size = vocabulary.size();
    if let Some((at, token)) = tokens.iter().enumerate().find(|(_, token)| **token >= size) {
        let message =
            format!("`tokens[{at}]` is {token}, and the model's tokens are 0 to {}", size.saturating_sub(1));
        return Err(Failure::invalid(format!("tokens[{at}]"), message));
    }
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| vocabulary.piece(*token)).copied().collect();
    Ok(Json(Text { content: String::from_utf8_lossy(&bytes).into_owned() }))
}
