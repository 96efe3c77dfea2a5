//! The continuations of prompts, whole or as a stream of chunks.

use std::borrow::Cow;
use std::sync::Arc;

use minerva_engine::event::{Event, FinishReason, Finished, Text};
use minerva_engine::model::Vocabulary;
use schemars::JsonSchema;
use serde::Serialize;

use super::common::{Count, Head};
use super::logprobs::CompletionLogprobs;
use super::summary::{FINGERPRINT, MetaObject, Minerva, Timings, Usage};
use crate::generation::Tally;
use crate::sse::{Encode, Frames};

/// What the request decides of the form of its reply.
pub(crate) struct Shape {
    pub(crate) vocabulary: Arc<dyn Vocabulary>,
    pub(crate) has_logprobs: bool,
    pub(crate) count: Count,
    /// What to put in front of each prompt's answers; empty where nothing is.
    pub(crate) echoes: Vec<String>,
}

impl Shape {
    fn tally(&self) -> Tally {
        Tally::new(self.count.choices, self.count.per_prompt)
    }

    fn echo(&self, choice: usize) -> Option<&str> {
        self.echoes.get(choice / self.count.per_prompt).map(String::as_str)
    }
}

fn finish_reason(finished: &Finished) -> &'static str {
    match finished.reason {
        FinishReason::Stop | FinishReason::Plugin => "stop",
        FinishReason::Length => "length",
        FinishReason::Filter => "content_filter",
    }
}

/// A whole reply, or a chunk of one: they have the same form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Completion")]
pub(crate) struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(flatten)]
    end: Option<End>,
}

/// What stands at the end.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CompletionEnd")]
#[serde(untagged)]
enum End {
    All { timings: Timings, minerva: Minerva },
    Said { minerva: Said },
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CompletionSaid")]
struct Said {
    meta: [MetaObject; 1],
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CompletionChoice")]
struct Choice<'a> {
    text: Cow<'a, str>,
    /// What a stream processor took for thinking.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Cow<'a, str>>,
    index: usize,
    logprobs: Option<CompletionLogprobs>,
    finish_reason: Option<&'static str>,
}

impl<'a> Completion<'a> {
    fn new(head: &'a Head, choices: Vec<Choice<'a>>) -> Self {
        Self {
            id: &head.id,
            object: "text_completion",
            created: head.created,
            model: &head.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage: None,
            end: None,
        }
    }
}

/// Gathers a whole reply.
pub(crate) struct Answers {
    shape: Shape,
    answers: Vec<Answer>,
    tally: Tally,
    meta: Vec<MetaObject>,
}

#[derive(Default)]
struct Answer {
    text: String,
    reasoning: String,
    logprobs: CompletionLogprobs,
    logprob_chars: usize,
    finish_reason: &'static str,
}

impl Answers {
    pub(crate) fn new(shape: Shape) -> Self {
        let answer =
            |choice| Answer { text: shape.echo(choice).unwrap_or_default().to_owned(), ..Answer::default() };
        let answers = (0..shape.count.choices).map(answer).collect();
        let tally = shape.tally();
        Self { shape, answers, tally, meta: Vec::new() }
    }

    pub(crate) fn add(&mut self, choice: usize, event: Event) {
        let Some(answer) = self.answers.get_mut(choice) else { return };
        match event {
            Event::Text(Text { text, logprobs }) => {
                answer.text.push_str(&text);
                answer.logprob_chars =
                    answer.logprobs.add(&logprobs, &self.shape.vocabulary, answer.logprob_chars);
            }
            Event::Reasoning(text) => answer.reasoning.push_str(&text),
            // A completion has no place for calls of tools.
            Event::Tool(_) => {}
            Event::Meta(meta) => self.meta.push(MetaObject::new(choice, meta)),
            Event::Finished(finished) => {
                answer.finish_reason = finish_reason(&finished);
                self.tally.add(choice, finished);
            }
        }
    }

    pub(crate) fn into_completion(self, head: &Head) -> Completion<'_> {
        let Self { shape, answers, tally, meta } = self;
        let choices = answers.into_iter().enumerate().map(|(index, answer)| Choice {
            text: answer.text.into(),
            reasoning_content: (!answer.reasoning.is_empty()).then_some(answer.reasoning.into()),
            index,
            logprobs: shape.has_logprobs.then_some(answer.logprobs),
            finish_reason: Some(answer.finish_reason),
        });
        Completion {
            usage: Some(Some(Usage::of(&tally))),
            end: Some(End::All { timings: Timings::of(&tally), minerva: Minerva::of(&tally, meta) }),
            ..Completion::new(head, choices.collect())
        }
    }
}

/// Says a reply as chunks.
pub(crate) struct Streaming {
    head: Head,
    shape: Shape,
    include_usage: bool,
    tally: Tally,
    logprob_chars: Vec<usize>,
}

impl Streaming {
    pub(crate) fn new(head: Head, shape: Shape, include_usage: bool) -> Self {
        let (tally, logprob_chars) = (shape.tally(), vec![0; shape.count.choices]);
        Self { head, shape, include_usage, tally, logprob_chars }
    }

    fn chunk<'a>(&'a self, choices: Vec<Choice<'a>>) -> Completion<'a> {
        Completion { usage: self.include_usage.then_some(None), ..Completion::new(&self.head, choices) }
    }

    fn all(&self) -> End {
        End::All { timings: Timings::of(&self.tally), minerva: Minerva::of(&self.tally, Vec::new()) }
    }
}

/// A piece of a choice that says nothing.
fn piece<'a>(index: usize, text: &'a str) -> Choice<'a> {
    Choice { text: text.into(), reasoning_content: None, index, logprobs: None, finish_reason: None }
}

impl Encode for Streaming {
    fn start(&mut self, frames: &mut Frames) {
        for choice in 0..self.shape.count.choices {
            if let Some(echo) = self.shape.echo(choice) {
                frames.data(&self.chunk(vec![piece(choice, echo)]));
            }
        }
    }

    fn event(&mut self, choice: usize, event: Event, frames: &mut Frames) {
        match event {
            Event::Text(Text { text, logprobs: tokens }) => {
                let mut logprobs = None;
                if self.shape.has_logprobs
                    && let Some(chars) = self.logprob_chars.get_mut(choice)
                {
                    let logprobs = logprobs.insert(CompletionLogprobs::default());
                    *chars = logprobs.add(&tokens, &self.shape.vocabulary, *chars);
                }
                frames.data(&self.chunk(vec![Choice { logprobs, ..piece(choice, &text) }]));
            }
            Event::Reasoning(text) => {
                let reasoning_content = Some(text.as_str().into());
                frames.data(&self.chunk(vec![Choice { reasoning_content, ..piece(choice, "") }]));
            }
            Event::Tool(_) => {}
            Event::Meta(meta) => {
                let minerva = Said { meta: [MetaObject::new(choice, meta)] };
                let chunk = self.chunk(vec![piece(choice, "")]);
                frames.data(&Completion { end: Some(End::Said { minerva }), ..chunk });
            }
            Event::Finished(finished) => {
                let finish_reason = Some(finish_reason(&finished));
                self.tally.add(choice, finished);
                let end = (self.tally.is_complete() && !self.include_usage).then(|| self.all());
                let chunk = self.chunk(vec![Choice { finish_reason, ..piece(choice, "") }]);
                frames.data(&Completion { end, ..chunk });
            }
        }
    }

    fn end(&mut self, frames: &mut Frames) {
        if self.include_usage {
            let usage = Some(Some(Usage::of(&self.tally)));
            frames.data(&Completion { usage, end: Some(self.all()), ..self.chunk(Vec::new()) });
        }
        frames.done();
    }
}
