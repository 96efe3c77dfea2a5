//! Embeddings and scores: what a model makes of whole texts. A model that is loaded for them has a loop of its own
//! instead of the worker's: there is nothing to sample, and nothing is kept between two calls.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use tokio::sync::oneshot;

use crate::Error;
use crate::model::{self, Encode, Model, Special, Token, Vocabulary};
use crate::pipeline::{blocking, length};
use crate::queue::Queue;
use crate::recovery::{Recovery, Reload};
use crate::shared::{Gauges, Shared};
use crate::worker::recover::{load_anew, note_state, said};

/// How often the loop looks whether the engine is to end, where nothing wakes it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A text to embed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// A text. The text of special tokens in it is read as those tokens, and what the model wants around a text is
    /// put there.
    Plain(String),
    /// Tokens, used as they are.
    Tokens(Vec<Token>),
    /// A query and a document, for a reranker to judge.
    Pair {
        /// What is looked for.
        query: Arc<str>,
        /// Where it may be.
        document: String,
    },
}

/// What a model makes of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// [`Embeds::width`](model::Embeds::width) numbers; where tokens are not pooled, so many for each, one after the
    /// other.
    pub row: Vec<f32>,
    /// The tokens of the text.
    pub tokens: u32,
}

/// How a row is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Not at all.
    None,
    /// So that the largest number is 32,760: for 16-bit integers.
    Largest,
    /// So that the p-norm is 1: 1 is the sum of the numbers' sizes, 2 the Euclidean length.
    P(u32),
}

impl Norm {
    /// Scales a row. One that is all zeros stays so. As llama.cpp's `common_embd_normalize`.
    pub fn scale(self, row: &mut [f32]) {
        let sizes = row.iter().map(|number| f64::from(*number).abs());
        let length = match self {
            Self::None => return,
            Self::Largest => sizes.fold(0.0, f64::max) / 32_760.0,
            Self::P(2) => sizes.map(|size| size * size).sum::<f64>().sqrt(),
            Self::P(p) => sizes.map(|size| size.powf(p.into())).sum::<f64>().powf(1.0 / f64::from(p)),
        };
        #[expect(clippy::cast_possible_truncation, reason = "rows are numbers of 32 bits")]
        let factor = if length > 0.0 { (1.0 / length) as f32 } else { 0.0 };
        row.iter_mut().for_each(|number| *number *= factor);
    }
}

/// Embeds texts, in their order.
pub(crate) async fn embed(shared: &Arc<Shared>, texts: Vec<Text>) -> Result<Vec<Embedding>, Error> {
    let preparing = Arc::clone(shared);
    let texts = blocking(move || prepare(&preparing, texts)).await?;
    let tokens: Vec<u32> = texts.iter().map(|text| length(text)).collect();
    let (to, rows) = oneshot::channel();
    let done = vec![None; texts.len()];
    shared.submit_texts(Submission { texts: texts.into_iter().enumerate().collect(), done, to })?;
    let rows = rows.await.map_err(|_| Error::ShuttingDown)??;
    Ok(rows.into_iter().zip(tokens).map(|(row, tokens)| Embedding { row, tokens }).collect())
}

/// Makes tokens of the texts. All that can be refused is refused here.
fn prepare(shared: &Shared, texts: Vec<Text>) -> Result<Vec<Vec<Token>>, Error> {
    let info = &shared.info;
    let Some(embeds) = info.embeds else {
        let architecture = info.architecture.clone();
        let operation = "make embeddings unless they are loaded for it";
        return Err(model::Error::Unsupported { operation: operation.into(), architecture }.into());
    };
    let invalid = |message| Err(Error::Invalid { param: "input".into(), message });
    let (count, limit) = (texts.len(), shared.options.embed_texts_max);
    if count == 0 || count > limit {
        return invalid(format!("there are {count} texts, and a request has 1 to {limit}"));
    }
    let mut all = Vec::with_capacity(count);
    let mut total = 0;
    for (index, text) in texts.into_iter().enumerate() {
        let tokens = tokenise(shared, text)?;
        if tokens.is_empty() {
            return invalid(format!("text {index} is empty"));
        }
        if let Some(token) = tokens.iter().find(|&&token| token >= info.vocabulary_size) {
            let size = info.vocabulary_size;
            return invalid(format!(
                "token {token} of text {index} is outside the vocabulary of {size} tokens"
            ));
        }
        if length(&tokens) > embeds.tokens_max {
            let (tokens, limit) = (length(&tokens), embeds.tokens_max);
            return Err(Error::TextTooLong { index, tokens, limit });
        }
        total += tokens.len();
        let limit = shared.options.embed_tokens_max;
        if total > limit {
            return invalid(format!(
                "the first {} texts have {total} tokens, and a request has up to {limit}",
                index + 1
            ));
        }
        all.push(tokens);
    }
    Ok(all)
}

fn tokenise(shared: &Shared, text: Text) -> Result<Vec<Token>, Error> {
    let vocabulary = shared.vocabulary.as_ref();
    match text {
        Text::Plain(text) => Ok(vocabulary.encode(&text, Encode { add_special: true, parse_special: true })?),
        Text::Tokens(tokens) => Ok(tokens),
        Text::Pair { query, document } => {
            let template = shared.info.rerank_template.as_deref();
            Ok(pair(vocabulary, template, &query, &document)?)
        }
    }
}

/// A query and a document as a reranker wants them: in the template of its file, or with the tokens around and between
/// them that its vocabulary asks for.
fn pair(
    vocabulary: &dyn Vocabulary,
    template: Option<&str>,
    query: &str,
    document: &str,
) -> Result<Vec<Token>, model::Error> {
    let plain = |text: &str| vocabulary.encode(text, Encode { add_special: false, parse_special: false });
    if let Some(template) = template {
        // One text, as llama.cpp has it: a word that begins behind a space is another token than without. What a
        // document or a query says of the other's place is not replaced.
        let parts: Vec<String> =
            template.split("{document}").map(|part| part.replace("{query}", query)).collect();
        return vocabulary.encode(&parts.join(document), Encode { add_special: false, parse_special: true });
    }
    let added = |role| vocabulary.special(role).filter(|_| vocabulary.adds(role));
    let end = vocabulary.special(Special::Eos).or(vocabulary.special(Special::Separator));
    let end = end.filter(|_| vocabulary.adds(Special::Eos));
    let mut tokens: Vec<Token> = added(Special::Bos).into_iter().collect();
    tokens.extend(plain(query)?);
    tokens.extend(end);
    tokens.extend(added(Special::Separator));
    tokens.extend(plain(document)?);
    tokens.extend(end);
    Ok(tokens)
}

/// A request for embeddings on its way through the loop.
pub(crate) struct Submission {
    /// What is still to be embedded, and its place.
    texts: VecDeque<(usize, Vec<Token>)>,
    done: Vec<Option<Vec<f32>>>,
    to: oneshot::Sender<Result<Vec<Vec<f32>>, Error>>,
}

impl Submission {
    /// Tokens of all its texts.
    pub(crate) fn tokens(&self) -> usize {
        self.texts.iter().map(|(_, text)| text.len()).sum()
    }
}

/// The engine's thread, where the model embeds.
pub(crate) struct Embedder {
    model: Box<dyn Model>,
    queue: Arc<Queue<Submission>>,
    wake: Receiver<()>,
    gauges: Arc<Gauges>,
    /// Requests in turn: each gives a text to a batch before any gives a second one, and another is the first in the
    /// next batch. So one text does not wait for the thousand of somebody else.
    running: VecDeque<Submission>,
    recovery: Recovery,
    reload: Option<Reload>,
    /// How long a model that could not be loaded anew is let be.
    reload_pause: Duration,
    /// Why it could not be loaded anew, and since when.
    failed: Option<(Instant, model::Error)>,
}

impl Embedder {
    pub(crate) fn new(
        model: Box<dyn Model>,
        reload: Option<Reload>,
        reload_pause: Duration,
        queue: Arc<Queue<Submission>>,
        wake: Receiver<()>,
        gauges: Arc<Gauges>,
    ) -> Self {
        Self {
            model,
            queue,
            wake,
            gauges,
            running: VecDeque::new(),
            recovery: Recovery::default(),
            reload,
            reload_pause,
            failed: None,
        }
    }

    /// Serves until the queue is closed and all that was admitted has ended.
    pub(crate) fn run(mut self) {
        loop {
            self.sweep();
            while self.running.len() < self.model.info().slots as usize
                && let Some(submission) = self.queue.pop()
            {
                self.running.push_back(submission);
            }
            self.gauges.running.store(self.running.len(), Ordering::Relaxed);
            if !self.running.is_empty() {
                self.step();
            } else if self.queue.is_closed() && self.queue.len() == 0 {
                return;
            } else {
                let _ = self.wake.recv_timeout(LOOK_AGAIN);
            }
        }
    }

    /// Drops what nobody waits for any more.
    fn sweep(&mut self) {
        let gauges = &self.gauges;
        let is_wanted = |submission: &Submission| {
            let gone = submission.to.is_closed();
            if gone {
                gauges.requests_cancelled.fetch_add(1, Ordering::Relaxed);
            }
            !gone
        };
        self.running.retain(is_wanted);
        drop(self.queue.take_out(|submission| !is_wanted(submission)));
    }

    /// One batch.
    fn step(&mut self) {
        if let Some((since, cause)) = self.failed.take() {
            if since.elapsed() < self.reload_pause {
                self.failed = Some((since, cause.clone()));
                return self.fail((0..self.running.len()).collect(), &cause);
            }
            self.recovery.try_again();
            return self.load_anew(&cause);
        }
        let (owners, texts) = self.gather();
        let tokens: usize = texts.iter().map(Vec::len).sum();
        let model = &mut self.model;
        let embedded = catch_unwind(AssertUnwindSafe(|| model.embed(&texts))).unwrap_or_else(|panic| {
            Err(model::Error::Device(format!("the model panicked: {}", said(&*panic))))
        });
        match embedded {
            Ok(rows) => {
                self.gauges.tokens_prefilled.fetch_add(tokens as u64, Ordering::Relaxed);
                for ((request, place), row) in owners.into_iter().zip(rows) {
                    self.running[request].done[place] = Some(row);
                }
                self.recovery.token_came(false);
            }
            Err(error) => {
                tracing::error!(%error, tokens, texts = texts.len(), "an embedding failed");
                if matches!(error, model::Error::Device(_)) && self.reload.is_some() {
                    // In the order in which they were taken.
                    for ((request, place), text) in owners.into_iter().zip(texts).rev() {
                        self.running[request].texts.push_front((place, text));
                    }
                    return self.load_anew(&error);
                }
                self.fail(owners.into_iter().map(|(request, _)| request).collect(), &error);
            }
        }
        self.running.rotate_left(1.min(self.running.len()));
        self.finish();
    }

    /// Tries to load the model anew. If that is given up, everybody is told why.
    fn load_anew(&mut self, error: &model::Error) {
        let Some(reload) = &mut self.reload else { return };
        let loaded = load_anew(&mut self.recovery, reload, &mut self.model, &self.gauges, error);
        // Who is told of it finds the state that it led to.
        note_state(&self.recovery, &self.gauges);
        if let Err(cause) = loaded {
            self.fail((0..self.running.len()).collect(), &cause);
            self.failed = Some((Instant::now(), cause));
        }
    }

    /// Tells some requests what happened.
    fn fail(&mut self, mut requests: Vec<usize>, error: &model::Error) {
        requests.sort_unstable();
        requests.dedup();
        for request in requests.into_iter().rev() {
            if let Some(submission) = self.running.remove(request) {
                self.gauges.requests_failed.fetch_add(1, Ordering::Relaxed);
                let _ = submission.to.send(Err(Error::Model(error.clone())));
            }
        }
    }

    /// The texts of the next batch, and whose each is.
    fn gather(&mut self) -> (Vec<(usize, usize)>, Vec<Vec<Token>>) {
        let info = self.model.info();
        let (slots, mut room) = (info.slots as usize, info.batch_tokens_max as usize);
        let (mut owners, mut texts) = (Vec::new(), Vec::new());
        let mut is_full = false;
        while !is_full {
            is_full = true;
            for (request, submission) in self.running.iter_mut().enumerate() {
                let fits = submission.texts.front().is_some_and(|(_, text)| text.len() <= room);
                if fits
                    && texts.len() < slots
                    && let Some((place, text)) = submission.texts.pop_front()
                {
                    room -= text.len();
                    owners.push((request, place));
                    texts.push(text);
                    is_full = false;
                }
            }
        }
        (owners, texts)
    }

    /// Answers the requests that have all their rows.
    fn finish(&mut self) {
        for _ in 0..self.running.len() {
            let Some(submission) = self.running.pop_front() else { return };
            if submission.done.iter().any(Option::is_none) {
                self.running.push_back(submission);
                continue;
            }
            // Counted and gone from the gauges before its client hears of it.
            self.gauges.requests_finished.fetch_add(1, Ordering::Relaxed);
            self.gauges.running.fetch_sub(1, Ordering::Relaxed);
            let _ = submission.to.send(Ok(submission.done.into_iter().flatten().collect()));
        }
    }
}
