//! One or several generations as one stream: the choices of a response.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::SelectAll;
use futures::{Stream, StreamExt};
use minerva_engine::event::{Event, Finished};
use minerva_engine::plugin::Report;
use minerva_engine::request::GenerateRequest;
use minerva_engine::{Error, Generation, Handle};

use crate::admission::{Admission, ending};
use crate::failure::Failure;
use crate::origin::Origin;
use crate::traces::Trace;

/// Which choice says what.
pub(crate) type Item = (usize, Result<Event, Error>);

/// The choices of a response, as they come. Dropping it cancels all of them.
pub(crate) struct Choices {
    running: SelectAll<Numbered>,
    prompt_tokens: u32,
    seed: u64,
}

impl Choices {
    /// Asks for `n` answers to each of the requests. Choices are numbered in this order, and choice `i` has the seed
    /// of the first one plus `i`, so that one seed reproduces all.
    pub(crate) async fn submit(
        handle: &Handle,
        requests: Vec<GenerateRequest>,
        n: usize,
        trace: Option<&Trace>,
    ) -> Result<Self, Error> {
        let mut running = SelectAll::new();
        let mut first_seed = None;
        let mut prompt_tokens = 0;
        for (prompt, mut request) in requests.into_iter().enumerate() {
            let first = prompt * n;
            request.observer = trace.and_then(|trace| trace.observer(first));
            if let Some(seed) = first_seed {
                request.params.seed = Some(u64::wrapping_add(seed, first as u64));
                request.id = format!("{}/{first}", request.id);
            }
            for (choice, generation) in (first..).zip(handle.generate_many(request, n).await?) {
                if first_seed.is_none() {
                    first_seed = Some(generation.seed());
                    prompt_tokens = generation.prompt_tokens();
                }
                let trace = trace.cloned();
                running.push(Numbered { choice, generation: Some(generation), finished: false, trace });
            }
        }
        Ok(Self { running, prompt_tokens, seed: first_seed.unwrap_or_default() })
    }

    /// Tokens of the first prompt.
    pub(crate) fn prompt_tokens(&self) -> u32 {
        self.prompt_tokens
    }

    /// The seed of the first choice.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }
}

/// Takes everything that the choices say, to the end.
pub(crate) async fn collect(
    mut choices: Choices,
    origin: &Origin,
    admission: Admission,
    mut take: impl FnMut(usize, Event),
) -> Result<(), Failure> {
    let collecting = async {
        while let Some((choice, event)) = choices.next().await {
            take(choice, event.map_err(|error| origin.failure(error))?);
        }
        Ok(())
    };
    tokio::select! {
        collected = collecting => collected,
        () = admission.closing() => Err(ending()),
    }
}

impl Stream for Choices {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        self.running.poll_next_unpin(context)
    }
}

/// A generation that says which choice it is, and that never just stops: it finishes, or there is an error.
struct Numbered {
    choice: usize,
    generation: Option<Generation>,
    finished: bool,
    trace: Option<Trace>,
}

impl Stream for Numbered {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let Some(generation) = &mut self.generation else { return Poll::Ready(None) };
        let event = std::task::ready!(generation.poll_next_unpin(context));
        match event {
            Some(Ok(event)) => {
                if let Event::Finished(finished) = &event {
                    if let Some(trace) = &self.trace {
                        trace.finished(self.choice, finished);
                    }
                    self.finished = true;
                }
                Poll::Ready(Some((self.choice, Ok(event))))
            }
            Some(Err(error)) => {
                self.generation = None;
                Poll::Ready(Some((self.choice, Err(error))))
            }
            None => {
                self.generation = None;
                let broken = || Error::Internal("a generation stopped without saying why".into());
                Poll::Ready((!self.finished).then(|| (self.choice, Err(broken()))))
            }
        }
    }
}

/// What the choices of a response took, together.
pub(crate) struct Tally {
    finished: Vec<Option<Finished>>,
    /// How many choices share a prompt, whose tokens count once.
    choices_per_prompt: usize,
}

impl Tally {
    pub(crate) fn new(choices: usize, choices_per_prompt: usize) -> Self {
        Self { finished: vec![None; choices], choices_per_prompt }
    }

    pub(crate) fn add(&mut self, choice: usize, finished: Finished) {
        if let Some(place) = self.finished.get_mut(choice) {
            *place = Some(finished);
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.finished.iter().all(Option::is_some)
    }

    /// The seed of the first choice.
    pub(crate) fn seed(&self) -> u64 {
        self.finished().next().map_or(0, |(_, finished)| finished.seed)
    }

    pub(crate) fn prompt_tokens(&self) -> u32 {
        self.of_prompts(|finished| finished.usage.prompt_tokens)
    }

    pub(crate) fn cached_tokens(&self) -> u32 {
        self.of_prompts(|finished| finished.usage.cached_tokens)
    }

    pub(crate) fn completion_tokens(&self) -> u32 {
        self.finished().map(|(_, finished)| finished.usage.completion_tokens).fold(0, u32::saturating_add)
    }

    /// The longest of a time: choices run side by side.
    pub(crate) fn longest(&self, of: impl Fn(&Finished) -> Duration) -> Duration {
        self.finished().map(|(_, finished)| of(finished)).max().unwrap_or_default()
    }

    /// What the plugins of every choice did.
    pub(crate) fn reports(&self) -> impl Iterator<Item = (usize, &Report)> {
        self.finished()
            .flat_map(|(choice, finished)| finished.plugins.iter().map(move |report| (choice, report)))
    }

    pub(crate) fn has_several(&self) -> bool {
        self.finished.len() > 1
    }

    fn of_prompts(&self, of: impl Fn(&Finished) -> u32) -> u32 {
        let first_of_prompt =
            self.finished().filter(|(choice, _)| choice % self.choices_per_prompt.max(1) == 0);
        first_of_prompt.map(|(_, finished)| of(finished)).fold(0, u32::saturating_add)
    }

    pub(crate) fn finished(&self) -> impl Iterator<Item = (usize, &Finished)> {
        self.finished.iter().enumerate().filter_map(|(at, finished)| Some((at, finished.as_ref()?)))
    }
}
