//! One request inside the engine: what it still has to decode, where it stands, and who reads it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::event::FinishReason;
use crate::latency::Recorder;
use crate::model::{Position, Slot, Token};
use crate::plugin::Report;
use crate::request::{ContextShift, Deadline, Deadlines};
use crate::sampling::{Chosen, Sampling};
use crate::scheduler::Demand;
use crate::trace::{Stages, What};

/// A request on its way to the worker: all preparation is done.
pub(crate) struct Submission {
    pub prompt: Vec<Token>,
    pub sampling: Box<Sampling>,
    /// Most tokens to generate.
    pub max_tokens: u32,
    pub ignore_end: bool,
    pub context_shift: Option<ContextShift>,
    /// A sampler may take tokens back.
    pub backtracks: bool,
    /// It may use what others left in the cache, and leaves something there.
    pub caches: bool,
    /// Others wait for its prompt, to share it.
    pub leads: Option<Lead>,
    /// Whose prompt it waits for.
    pub follows: Option<Follow>,
    pub reader: Reader,
    pub tenant: u64,
    pub deadlines: Deadlines,
    pub submitted: Instant,
    pub stages: Option<Stages>,
}

impl Submission {
    /// Whether it need not wait for another's prompt.
    pub(crate) fn is_ready(&self) -> bool {
        self.follows.as_ref().is_none_or(|Follow(is_ready)| is_ready.load(Ordering::Acquire))
    }

    /// Whether a deadline passed while it waited.
    pub(crate) fn late(&self, now: Instant) -> Option<Error> {
        late(self.deadlines, Deadline::Queue, now - self.submitted)
    }
}

/// Held by the first of several requests with one prompt, until its prompt is decoded or never will be: dropping it
/// lets the others go.
pub(crate) struct Lead(Arc<AtomicBool>);

/// Held by the others.
#[derive(Clone)]
pub(crate) struct Follow(Arc<AtomicBool>);

impl Lead {
    /// The first one's end and the others'.
    pub(crate) fn new() -> (Self, Follow) {
        let is_ready = Arc::new(AtomicBool::new(false));
        (Self(Arc::clone(&is_ready)), Follow(is_ready))
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn late(deadlines: Deadlines, next: Deadline, elapsed: Duration) -> Option<Error> {
    deadlines.missed(next, elapsed).map(|(deadline, limit)| Error::Late { deadline, limit })
}

/// The worker's end of a stream.
pub(crate) struct Reader {
    pub tokens: mpsc::Sender<Chosen>,
    /// Takes the end whatever the state of `tokens` is.
    pub end: oneshot::Sender<Result<End, Error>>,
}

impl Reader {
    /// Nobody waits for anything any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.end.is_closed()
    }

    /// Ends it with an error.
    pub(crate) fn fail(self, error: Error) {
        // A reader that is gone wants no error either.
        let _ = self.end.send(Err(error));
    }
}

/// How a generation ended, as the worker sees it.
#[derive(Debug)]
pub(crate) struct End {
    pub reason: FinishReason,
    /// Tokens of the prompt that were in the cache.
    pub cached_tokens: u32,
    /// Tokens that were forgotten because the context was full.
    pub discarded_tokens: u32,
    pub queue_time: Duration,
    pub prefill_time: Duration,
    pub decode_time: Duration,
    pub samplers: Vec<Report>,
}

/// Names a sequence: the slot, and who has it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub slot: Slot,
    pub sequence: u64,
}

/// A request that has a slot.
pub(crate) struct Sequence {
    pub owner: Owner,
    /// Tokens that the model has not decoded: the rest of the prompt, or what was chosen last.
    pub pending: VecDeque<Token>,
    /// The position of the first of them.
    pub position: u32,
    /// It leaves what it decoded to others.
    pub caches: bool,
    pub tenant: u64,
    /// Tokens of the prompt that were in the cache.
    cached_tokens: u32,
    /// Those that were not.
    prompt: u32,
    prompt_tokens: u32,
    context_shift: Option<ContextShift>,
    discarded_tokens: u32,
    leads: Option<Lead>,
    /// `None` while a sampling thread has it.
    pub sampling: Option<Box<Sampling>>,
    /// A row that came while the sampling was away.
    pub held_row: Option<Vec<f32>>,
    /// Its samplers were late in the last step: nobody waits for them in the next.
    pub late: bool,
    /// Why it ends, once that is known and until all is delivered.
    pub finishing: Option<FinishReason>,
    pub ignore_end: bool,
    /// Decodes that failed since its last token.
    pub failures: usize,
    /// It is not decoded before.
    pub not_before: Option<Instant>,
    /// What it held when the model was loaded anew, while its samplers choose the token after it.
    redo: Vec<Token>,
    pub reader: Reader,
    /// A sampler may take back what its reader does not have yet.
    backtracks: bool,
    /// Why it ends, if its samplers, who are just told of the last tokens, do not take them back.
    ending: Option<FinishReason>,
    /// Chosen, and not yet taken by the reader's channel.
    outbox: VecDeque<Chosen>,
    /// So many at its end are not for the reader yet.
    held: usize,
    stalled_since: Option<Instant>,
    tokens_left: u32,
    deadlines: Deadlines,
    submitted: Instant,
    admitted: Instant,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
    stages: Option<Stages>,
}

impl Sequence {
    /// `cached_tokens` of its prompt are in its slot already.
    pub(crate) fn new(owner: Owner, mut submission: Submission, cached_tokens: u32, now: Instant) -> Self {
        if let Some(stages) = &mut submission.stages {
            let prompt_tokens = number(submission.prompt.len());
            stages.next(What::Prefill { prompt_tokens, cached_tokens }, now);
        }
        Self {
            owner,
            pending: submission.prompt[cached_tokens as usize..].iter().copied().collect(),
            position: cached_tokens,
            caches: submission.caches,
            tenant: submission.tenant,
            cached_tokens,
            prompt: number(submission.prompt.len()) - cached_tokens,
            prompt_tokens: number(submission.prompt.len()),
            context_shift: submission.context_shift,
            discarded_tokens: 0,
            leads: submission.leads,
            sampling: Some(submission.sampling),
            held_row: None,
            late: false,
            finishing: None,
            ignore_end: submission.ignore_end,
            failures: 0,
            not_before: None,
            redo: Vec::new(),
            reader: submission.reader,
            backtracks: submission.backtracks,
            ending: None,
            outbox: VecDeque::new(),
            held: 0,
            stalled_since: None,
            tokens_left: submission.max_tokens,
            deadlines: submission.deadlines,
            submitted: submission.submitted,
            admitted: now,
            first_token: None,
            last_token: None,
            stages: submission.stages,
        }
    }

    /// What it wants of the next batch; `None` while it waits for its samplers or its reader.
    pub(crate) fn demand(&self) -> Option<Demand> {
        let ready = !self.pending.is_empty()
            && self.held_row.is_none()
            && self.outbox.len() <= self.held
            && self.ending.or(self.finishing).is_none();
        let (slot, depth, prompt) = (self.slot(), self.position, self.prompt);
        let pending = number(self.pending.len());
        ready.then_some(Demand { slot, pending, depth, prompt, generating: self.is_generating() })
    }

    /// Whether its reader has, or is about to have, its first token.
    pub(crate) fn is_generating(&self) -> bool {
        self.first_token.is_some()
    }

    /// Whether a deadline has passed. Once the end is known it is in time.
    pub(crate) fn late(&self, now: Instant) -> Option<Error> {
        let next = if self.is_generating() { Deadline::Total } else { Deadline::FirstToken };
        late(self.deadlines, next, now - self.submitted).filter(|_| self.finishing.is_none())
    }

    /// The most tokens that may still come.
    pub(crate) fn tokens_left(&self) -> u32 {
        self.tokens_left
    }

    pub(crate) fn slot(&self) -> Slot {
        self.owner.slot
    }

    /// Whether its reader wants nothing more of it, not even the end.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reader.is_gone()
    }

    /// Whether its reader wants no more tokens: it found a stop text, or is gone.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.reader.tokens.is_closed()
    }

    /// Makes it begin anew with what it has so far, after its slot was taken from it.
    pub(crate) fn rewind(&mut self, held: &[Token]) {
        if self.pending.is_empty() {
            // Its row was looked at: it is not decoded again before the token of that row is there.
            self.redo.extend(held);
        } else {
            self.pending = held.iter().copied().chain(self.pending.drain(..)).collect();
        }
        self.position = 0;
    }

    /// Gives it a slot again, in which the first of its tokens are.
    pub(crate) fn resume(&mut self, slot: Slot, held: u32) {
        self.owner.slot = slot;
        self.pending.drain(..held as usize);
        self.prompt = number(self.pending.len());
        self.position = held;
    }

    /// Takes what was chosen up to where the generation ends, and returns what is to be decoded next.
    pub(crate) fn commit(
        &mut self,
        chosen: Vec<Chosen>,
        is_end: impl Fn(Token) -> bool,
        context: u32,
        now: Instant,
        latencies: &Recorder,
    ) -> Vec<Token> {
        self.leads = None;
        let mut tokens = Vec::with_capacity(chosen.len());
        self.pending.extend(self.redo.drain(..));
        let before = self.position + number(self.pending.len());
        for chosen in chosen {
            let token = chosen.token;
            tokens.push(token);
            self.outbox.push_back(chosen);
            self.tokens_left = self.tokens_left.saturating_sub(1);
            let position = before + number(tokens.len());
            if !self.ignore_end && is_end(token) {
                self.end(FinishReason::Stop);
            } else if self.tokens_left == 0 || (position > context && self.context_shift.is_none()) {
                self.ending = Some(FinishReason::Length);
            }
            if self.ending.or(self.finishing).is_some() {
                break;
            }
        }
        self.pending.extend(&tokens);
        if self.finishing.is_none() && self.backtracks {
            // Until its samplers say what they hold.
            self.held += tokens.len();
        } else {
            self.settle(0);
        }
        self.note_times(tokens.len() as u64, now, latencies);
        tokens
    }

    /// What it must forget before it can go on in a context of so many tokens.
    pub(crate) fn overflow(&self, context: u32) -> Option<Range<Position>> {
        let length = self.position + number(self.pending.len());
        let shift = self.context_shift.filter(|_| length > context)?;
        Some(shift.range(length, self.prompt_tokens, context))
    }

    /// Forgets a part of what it has decoded, and of what it has not. What is left is no text that another request
    /// could begin with.
    pub(crate) fn forget(&mut self, range: Range<Position>) {
        let pending =
            range.start.max(self.position) - self.position..range.end.max(self.position) - self.position;
        self.pending.drain(pending.start as usize..pending.end as usize);
        self.position -= range.end.min(self.position) - range.start.min(self.position);
        self.discarded_tokens += range.end - range.start;
        self.caches = false;
    }

    /// Its samplers took in the latest tokens, hold so many of the last ones, and take none back.
    pub(crate) fn settle(&mut self, held: usize) {
        if let Some(reason) = self.ending.take() {
            self.end(reason);
        }
        self.held = if self.finishing.is_some() { 0 } else { held };
    }

    /// Makes it end, once all that it has is delivered.
    pub(crate) fn end(&mut self, reason: FinishReason) {
        self.finishing.get_or_insert(reason);
        self.held = 0;
    }

    /// Takes back the last `count` tokens, which the reader does not have. `decoded` is what the slot holds; returned is
    /// how much of that is still right. The rest is to be decoded again, one token at least: its row is wanted.
    pub(crate) fn retract(&mut self, decoded: &[Token], count: usize) -> usize {
        let count = count.min(self.held).min(self.outbox.len());
        self.outbox.truncate(self.outbox.len() - count);
        self.held -= count;
        self.tokens_left += number(count);
        self.ending = None;
        self.held_row = None;
        // Of an answer, so that the prompt is left.
        let mut all: Vec<Token> = decoded.to_vec();
        all.extend(self.redo.drain(..).chain(self.pending.drain(..)));
        all.truncate(all.len() - count);
        let kept = decoded.len().min(all.len() - 1);
        self.pending.extend(&all[kept..]);
        self.position = number(kept);
        kept
    }

    /// Tokens that were chosen together came one after another at equal distances.
    fn note_times(&mut self, mut tokens: u64, now: Instant, latencies: &Recorder) {
        let is_first = self.first_token.is_none() && tokens > 0;
        if let Some(stages) = &mut self.stages {
            if is_first {
                stages.next(What::Decode { tokens: 0 }, now);
            }
            stages.generated(u32::try_from(tokens).unwrap_or(u32::MAX));
        }
        if is_first {
            self.first_token = Some(now);
            latencies.first_token.observe(self.age(now), 1);
            tokens -= 1;
        }
        let before = self.last_token.replace(now).unwrap_or(now);
        if let Some(apart) = u32::try_from(tokens).ok().and_then(|tokens| (now - before).checked_div(tokens))
        {
            latencies.inter_token.observe(apart, tokens);
        }
    }

    /// How long it waited for its slot.
    pub(crate) fn queue_time(&self) -> Duration {
        self.admitted - self.submitted
    }

    /// How long ago it was submitted.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now.duration_since(self.submitted)
    }

    /// Hands as much to the reader as it takes. False once it has stood still for longer than the limit.
    pub(crate) fn flush(&mut self, now: Instant, stall_limit: Duration) -> bool {
        while self.outbox.len() > self.held
            && let Some(chosen) = self.outbox.pop_front()
        {
            match self.reader.tokens.try_send(chosen) {
                Ok(()) => self.stalled_since = None,
                Err(TrySendError::Full(chosen)) => {
                    self.outbox.push_front(chosen);
                    return now.duration_since(*self.stalled_since.get_or_insert(now)) <= stall_limit;
                }
                Err(TrySendError::Closed(_)) => self.outbox.clear(),
            }
        }
        true
    }

    /// Whether nothing is left to do but to end.
    pub(crate) fn is_done(&self) -> bool {
        self.finishing.is_some() && self.outbox.is_empty() && self.sampling.is_some()
    }

    /// Takes it apart at its end.
    pub(crate) fn finish(
        self,
        now: Instant,
    ) -> (End, Option<Box<Sampling>>, oneshot::Sender<Result<End, Error>>) {
        let first_token = self.first_token.unwrap_or(now);
        let end = End {
            reason: self.finishing.unwrap_or(FinishReason::Stop),
            cached_tokens: self.cached_tokens,
            discarded_tokens: self.discarded_tokens,
            queue_time: self.queue_time(),
            prefill_time: first_token - self.admitted,
            decode_time: now - first_token,
            samplers: Vec::new(),
        };
        (end, self.sampling, self.reader.end)
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
