//! The continuations of prompts in llama-server's form, whole or as a stream.

use std::sync::Arc;

use minerva_engine::event::{Event, FinishReason, Finished, Text, TokenLogprob};
use minerva_engine::model::{Token, Vocabulary};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::settings::Settings;
use crate::generation::Tally;
use crate::openai::common::Count;
use crate::openai::summary::{MetaObject, Minerva, Timings};
use crate::sse::{Encode, Frames};

/// What the request decides of the form of its reply.
pub(super) struct Shape {
    pub(super) vocabulary: Arc<dyn Vocabulary>,
    pub(super) n_probs: u32,
    pub(super) returns_tokens: bool,
    pub(super) count: Count,
    /// The prompts, as text.
    pub(super) prompts: Vec<String>,
    /// Tokens of the first of them.
    pub(super) prompt_tokens: u32,
    pub(super) model: String,
    pub(super) settings: Settings,
    /// The only fields that are wanted, `/` between those inside of each other; empty for all.
    pub(super) fields: Vec<String>,
}

/// A piece of a continuation.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NativeCompletionPiece")]
pub(super) struct Piece<'a> {
    index: usize,
    content: &'a str,
    tokens: Vec<Token>,
    stop: bool,
    id_slot: i32,
    /// Where tokens are told: a piece of text may be several.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_predicted: Option<u32>,
    /// Where there is one prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_evaluated: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    completion_probabilities: Vec<Probability>,
}

/// A whole continuation, or the end of one.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NativeCompletion")]
pub(super) struct Whole<'a> {
    index: usize,
    content: &'a str,
    tokens: Vec<Token>,
    /// Which slot it was in is nobody's business: slots are the engine's.
    id_slot: i32,
    stop: bool,
    model: &'a str,
    tokens_predicted: u32,
    tokens_evaluated: u32,
    generation_settings: &'a Settings,
    prompt: &'a str,
    has_new_line: bool,
    truncated: bool,
    stop_type: &'static str,
    stopping_word: &'a str,
    tokens_cached: u32,
    timings: Timings,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    completion_probabilities: Vec<Probability>,
    minerva: Minerva,
}

/// How probable a token was.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NativeProbability")]
struct Probability {
    #[serde(flatten)]
    token: Candidate,
    top_logprobs: Vec<Candidate>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NativeCandidate")]
struct Candidate {
    id: Token,
    token: String,
    bytes: Vec<u8>,
    logprob: f32,
}

/// What OpenAI says for a probability of 0, whose logarithm JSON cannot write.
const LOWEST: f32 = -9999.0;

impl Shape {
    fn candidate(&self, token: Token, logprob: f32) -> Candidate {
        let bytes = self.vocabulary.piece(token).to_vec();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Candidate { id: token, token: text, bytes, logprob: logprob.max(LOWEST) }
    }

    fn probabilities(&self, tokens: &[TokenLogprob]) -> Vec<Probability> {
        if self.n_probs == 0 {
            return Vec::new();
        }
        let probability = |it: &TokenLogprob| Probability {
            token: self.candidate(it.token, it.logprob),
            top_logprobs: it.top.iter().map(|&(token, logprob)| self.candidate(token, logprob)).collect(),
        };
        tokens.iter().map(probability).collect()
    }

    fn tokens(&self, tokens: &[TokenLogprob]) -> Vec<Token> {
        if self.returns_tokens { tokens.iter().map(|it| it.token).collect() } else { Vec::new() }
    }

    fn whole<'a>(&'a self, answer: &'a Answer, index: usize, finished: &'a Finished) -> Whole<'a> {
        let usage = &finished.usage;
        let mut own = Tally::new(1, 1);
        own.add(0, finished.clone());
        Whole {
            index,
            content: &answer.text,
            tokens: self.tokens(&answer.logprobs),
            id_slot: -1,
            stop: true,
            model: &self.model,
            tokens_predicted: usage.completion_tokens,
            tokens_evaluated: usage.prompt_tokens,
            generation_settings: &self.settings,
            prompt: self.prompts.get(index / self.count.per_prompt).map_or("", String::as_str),
            has_new_line: answer.has_new_line,
            truncated: usage.discarded_tokens > 0,
            stop_type: stop_type(finished),
            stopping_word: finished.stop.as_deref().unwrap_or_default(),
            tokens_cached: usage.prompt_tokens.saturating_add(usage.completion_tokens),
            timings: Timings::of(&own),
            completion_probabilities: self.probabilities(&answer.logprobs),
            minerva: Minerva::of(&own, answer.meta.clone()),
        }
    }

    /// A reply cut down to the fields that are wanted.
    fn cut(&self, whole: &impl Serialize) -> Value {
        // A struct of strings and numbers always serialises.
        let whole = serde_json::to_value(whole).unwrap_or_default();
        if self.fields.is_empty() {
            return whole;
        }
        let mut wanted = Map::new();
        for field in &self.fields {
            if let Some(value) = whole.pointer(&format!("/{field}")) {
                wanted.insert(field.clone(), value.clone());
            }
        }
        Value::Object(wanted)
    }
}

fn stop_type(finished: &Finished) -> &'static str {
    match finished.reason {
        FinishReason::Stop if finished.stop.is_some() => "word",
        FinishReason::Stop => "eos",
        FinishReason::Length => "limit",
        FinishReason::Filter | FinishReason::Plugin => "none",
    }
}

#[derive(Default)]
struct Answer {
    text: String,
    has_new_line: bool,
    logprobs: Vec<TokenLogprob>,
    meta: Vec<MetaObject>,
    finished: Option<Finished>,
}

/// Gathers whole replies.
pub(super) struct Answers {
    shape: Shape,
    answers: Vec<Answer>,
}

impl Answers {
    pub(super) fn new(shape: Shape) -> Self {
        let answers = (0..shape.count.choices).map(|_| Answer::default()).collect();
        Self { shape, answers }
    }

    pub(super) fn add(&mut self, choice: usize, event: Event) {
        let Some(answer) = self.answers.get_mut(choice) else { return };
        match event {
            Event::Text(Text { text, logprobs }) => {
                answer.has_new_line |= text.contains('\n');
                answer.text.push_str(&text);
                answer.logprobs.extend(logprobs);
            }
            // What a stream processor took for thinking is text here, and a prompt calls no tools.
            Event::Reasoning(text) => answer.text.push_str(&text),
            Event::Tool(_) => {}
            Event::Meta(meta) => answer.meta.push(MetaObject::new(choice, meta)),
            Event::Finished(finished) => answer.finished = Some(finished),
        }
    }

    /// One object, or an array of them where there are several.
    pub(super) fn into_json(self) -> Value {
        let Self { shape, answers } = self;
        let whole = |(index, answer): (usize, &Answer)| {
            answer.finished.as_ref().map(|finished| shape.cut(&shape.whole(answer, index, finished)))
        };
        let mut all: Vec<Value> = answers.iter().enumerate().filter_map(whole).collect();
        if all.len() == 1 { all.remove(0) } else { Value::Array(all) }
    }
}

/// Says replies as pieces.
pub(super) struct Streaming {
    shape: Shape,
    /// What was said of each choice, without its text.
    answers: Vec<Answer>,
    /// Tokens of each, as far as they are told.
    predicted: Vec<u32>,
}

impl Streaming {
    pub(super) fn new(shape: Shape) -> Self {
        let answers = (0..shape.count.choices).map(|_| Answer::default()).collect();
        let predicted = vec![0; shape.count.choices];
        Self { shape, answers, predicted }
    }

    fn piece(&mut self, index: usize, content: &str, logprobs: &[TokenLogprob], frames: &mut Frames) {
        if let Some(answer) = self.answers.get_mut(index) {
            answer.has_new_line |= content.contains('\n');
        }
        let said = u32::try_from(logprobs.len()).unwrap_or(u32::MAX);
        if let Some(predicted) = self.predicted.get_mut(index) {
            *predicted = predicted.saturating_add(said);
        }
        let tells_tokens = self.shape.returns_tokens || self.shape.n_probs > 0;
        let piece = Piece {
            index,
            content,
            tokens: self.shape.tokens(logprobs),
            stop: false,
            id_slot: -1,
            tokens_predicted: self.predicted.get(index).copied().filter(|_| tells_tokens),
            tokens_evaluated: Some(self.shape.prompt_tokens).filter(|_| self.shape.prompts.len() == 1),
            completion_probabilities: self.shape.probabilities(logprobs),
        };
        frames.data(&piece);
    }
}

impl Encode for Streaming {
    fn start(&mut self, _: &mut Frames) {}

    fn event(&mut self, choice: usize, event: Event, frames: &mut Frames) {
        match event {
            Event::Text(Text { text, logprobs }) => self.piece(choice, &text, &logprobs, frames),
            Event::Reasoning(text) => self.piece(choice, &text, &[], frames),
            Event::Tool(_) => {}
            Event::Meta(meta) => {
                if let Some(answer) = self.answers.get_mut(choice) {
                    answer.meta.push(MetaObject::new(choice, meta));
                }
            }
            Event::Finished(finished) => {
                if let Some(answer) = self.answers.get(choice) {
                    frames.data(&self.shape.cut(&self.shape.whole(answer, choice, &finished)));
                }
            }
        }
    }

    // llama-server's own streams have no mark of the end: the last piece says `stop`.
    fn end(&mut self, _: &mut Frames) {}
}
