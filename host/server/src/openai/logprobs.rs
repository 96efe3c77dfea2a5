//! Log-probabilities, in the forms of both endpoints.

use std::borrow::Cow;
use std::sync::Arc;

use minerva_engine::event::TokenLogprob;
use minerva_engine::model::{Token, Vocabulary};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// What OpenAI says for a probability of 0, whose logarithm JSON cannot write.
const LOWEST: f32 = -9999.0;

/// Chat's form.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct ChatLogprobs {
    content: Vec<ChatToken>,
}

#[derive(Serialize, JsonSchema)]
struct ChatToken {
    #[serde(flatten)]
    token: ChatCandidate,
    top_logprobs: Vec<ChatCandidate>,
}

#[derive(Serialize, JsonSchema)]
struct ChatCandidate {
    id: Token,
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

impl ChatLogprobs {
    pub(crate) fn add(&mut self, tokens: &[TokenLogprob], vocabulary: &Arc<dyn Vocabulary>) {
        let candidate = |token: Token, logprob: f32| {
            let bytes = vocabulary.piece(token).to_vec();
            ChatCandidate {
                id: token,
                token: String::from_utf8_lossy(&bytes).into_owned(),
                logprob: logprob.max(LOWEST),
                bytes,
            }
        };
        self.content.extend(tokens.iter().map(|it| ChatToken {
            token: candidate(it.token, it.logprob),
            top_logprobs: it.top.iter().map(|&(token, logprob)| candidate(token, logprob)).collect(),
        }));
    }
}

/// The form of completions: columns.
#[derive(Default, Serialize, JsonSchema)]
pub(crate) struct CompletionLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    top_logprobs: Vec<TopLogprobs>,
    /// Where each token begins, in characters of the answer.
    text_offset: Vec<usize>,
}

impl CompletionLogprobs {
    /// `offset` is how many characters the tokens before these have; returns how many they have then.
    pub(crate) fn add(
        &mut self,
        tokens: &[TokenLogprob],
        vocabulary: &Arc<dyn Vocabulary>,
        offset: usize,
    ) -> usize {
        let mut offset = offset;
        for it in tokens {
            let text = piece(vocabulary, it.token).into_owned();
            self.text_offset.push(offset);
            offset += text.chars().count();
            self.tokens.push(text);
            self.token_logprobs.push(it.logprob.max(LOWEST));
            let top = it
                .top
                .iter()
                .map(|&(token, logprob)| (piece(vocabulary, token).into_owned(), logprob.max(LOWEST)));
            self.top_logprobs.push(TopLogprobs(top.collect()));
        }
        offset
    }
}

/// An object of token to log-probability, best first.
struct TopLogprobs(Vec<(String, f32)>);

impl JsonSchema for TopLogprobs {
    fn schema_name() -> Cow<'static, str> {
        "TopLogprobs".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "additionalProperties": {"type": "number"}})
    }
}

impl Serialize for TopLogprobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (at, (token, logprob)) in self.0.iter().enumerate() {
            // Pieces of characters may look the same as text; the best of them keeps the key.
            if !self.0[..at].iter().any(|(earlier, _)| earlier == token) {
                map.serialize_entry(token, logprob)?;
            }
        }
        map.end()
    }
}

fn piece(vocabulary: &Arc<dyn Vocabulary>, token: Token) -> Cow<'_, str> {
    String::from_utf8_lossy(vocabulary.piece(token))
}
