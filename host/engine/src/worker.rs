//! The one engine thread: admit, schedule, decode, sample, send. It owns the model, and nothing it does waits for
//! anyone but the model, and a moment for samplers.

pub(crate) mod recover;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};

use crate::Error;
use crate::cache::Cache;
use crate::event::FinishReason;
use crate::model::{self, Batch, Layout, Model, Slot, Token, Vocabulary};
use crate::options::Options;
use crate::pool::{Pool, Returned, Task};
use crate::queue::Queue;
use crate::recovery::{Recovery, Reload};
use crate::sampling::{Outcome, Prepared};
use crate::saved::Command;
use crate::scheduler::{Call, Demand, Limits, Scheduler};
use crate::sequence::{Owner, Reader, Sequence, Submission};
use crate::shared::Gauges;

/// How often the worker looks whether a reader that does not keep up has moved, or a sleeper is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub(crate) struct Worker {
    model: Box<dyn Model>,
    vocabulary: Arc<dyn Vocabulary>,
    options: Options,
    queue: Arc<Queue<Submission>>,
    commands: Receiver<Command>,
    wake: Receiver<()>,
    gauges: Arc<Gauges>,
    pool: Pool,
    scheduler: Scheduler,
    cache: Cache,
    /// One place a slot.
    sequences: Vec<Option<Sequence>>,
    /// Those whose slots were taken from them when the pool of cells was full: they go on before others begin.
    suspended: VecDeque<Sequence>,
    sequences_begun: u64,
    batch: Batch,
    recovery: Recovery,
    reload: Option<Reload>,
    /// Why the model could not be loaded anew, and since when.
    failed: Option<(Instant, model::Error)>,
    /// Sequences whose decode failed are decoded next, and then others again.
    suspects_turn: bool,
}

impl Worker {
    pub(crate) fn new(
        model: Box<dyn Model>,
        reload: Option<Reload>,
        options: Options,
        (queue, commands, wake): (Arc<Queue<Submission>>, Receiver<Command>, Receiver<()>),
        gauges: Arc<Gauges>,
    ) -> Self {
        let info = model.info();
        let scheduler = Scheduler::new(Limits {
            batch_tokens_max: info.batch_tokens_max,
            chunk_tokens: info.chunk_tokens,
            prefill_share: options.prefill_share,
            prefill_burst: options.prefill_burst,
            streams: info.capabilities.layout == Layout::Streams,
        });
        let sequences = (0..info.slots).map(|_| None).collect();
        let (is_on, store_bytes) = (options.prefix_cache, options.prefix_cache_bytes);
        let cache = Cache::new(model.as_ref(), is_on, store_bytes, Arc::clone(&gauges));
        Self {
            vocabulary: model.vocabulary(),
            pool: Pool::start(options.sampling_threads),
            scheduler,
            cache,
            sequences,
            suspended: VecDeque::new(),
            sequences_begun: 0,
            batch: Batch::default(),
            recovery: Recovery::default(),
            reload,
            failed: None,
            suspects_turn: false,
            model,
            options,
            queue,
            commands,
            wake,
            gauges,
        }
    }

    /// Serves until the queue is closed and all that was admitted has ended.
    pub(crate) fn run(mut self) {
        loop {
            while let Ok(returned) = self.pool.returned().try_recv() {
                self.take_back(returned);
            }
            self.sweep();
            self.check_failed();
            self.obey();
            self.admit();
            self.close_gap();
            self.show();
            self.take_turns();
            let demands = self.demands();
            if !demands.is_empty() {
                self.step(&demands);
            } else if self.sequences.iter().all(Option::is_none)
                && self.suspended.is_empty()
                && self.queue.is_closed()
                && self.queue.len() == 0
            {
                return;
            } else {
                self.wait();
            }
        }
    }

    /// Does what was asked for between two steps.
    fn obey(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            let model = self.model.as_mut();
            // Who asked may be gone.
            match command {
                Command::Save { slot, to } => drop(to.send(self.cache.export(model, slot))),
                Command::Restore { slot, saved, to } => drop(to.send(self.cache.import(model, slot, saved))),
                Command::Erase { slot, to } => drop(to.send(self.cache.erase(model, slot))),
            }
        }
    }

    /// Tells what each slot is used for.
    fn show(&self) {
        for (slot, (gauge, sequence)) in self.gauges.slots.iter().zip(&self.sequences).enumerate() {
            let (request, generating, held, left) = match sequence {
                None => (0, false, self.cache.tokens(slot).len(), 0),
                Some(sequence) => {
                    let (held, left) = (sequence.position as usize, sequence.tokens_left() as usize);
                    (sequence.owner.sequence, sequence.is_generating(), held, left)
                }
            };
            gauge.request.store(request, Ordering::Relaxed);
            gauge.generating.store(generating, Ordering::Relaxed);
            gauge.tokens_held.store(held, Ordering::Relaxed);
            gauge.tokens_left.store(left, Ordering::Relaxed);
        }
    }

    /// Sleeps until a request, a cancellation or a sampler wakes it.
    fn wait(&mut self) {
        let busy = self.sequences.iter().any(Option::is_some);
        let limit = if busy { LOOK_AGAIN } else { Duration::from_secs(1) };
        let returned = self.pool.returned().clone();
        select! {
            recv(self.wake) -> _ => {}
            recv(returned) -> returned => if let Ok(returned) = returned {
                self.take_back(returned);
            },
            default(limit) => {}
        }
    }

    /// Ends what is done, cancelled, stuck or late.
    fn sweep(&mut self) {
        let now = Instant::now();
        for slot in 0..self.sequences.len() {
            let Some(sequence) = &mut self.sequences[slot] else { continue };
            if sequence.is_abandoned() {
                self.gauges.requests_cancelled.fetch_add(1, Ordering::Relaxed);
                drop(self.release(slot, true));
                continue;
            }
            if sequence.is_cancelled() {
                sequence.end(FinishReason::Stop);
            }
            if !sequence.flush(now, self.options.stall_limit) {
                let error = Error::Stalled { limit: self.options.stall_limit };
                self.fail(slot, error);
            } else if sequence.is_done() {
                self.finish(slot, now);
            } else if let Some(error) = sequence.late(now) {
                self.fail(slot, error);
            }
        }
        for waits in self.queue.take_out(|waits| waits.reader.is_gone() || waits.late(now).is_some()) {
            self.turn_away(waits.late(now), waits.reader);
        }
        for _ in 0..self.suspended.len() {
            let Some(sequence) = self.suspended.pop_front() else { break };
            if sequence.is_abandoned() || sequence.late(now).is_some() {
                self.gauges.running.fetch_sub(1, Ordering::Relaxed);
                self.turn_away(sequence.late(now), sequence.reader);
            } else {
                self.suspended.push_back(sequence);
            }
        }
    }

    /// Ends a request that has no slot: it is late, or its reader is gone.
    fn turn_away(&self, late: Option<Error>, reader: Reader) {
        match late {
            None => self.gauges.requests_cancelled.fetch_add(1, Ordering::Relaxed),
            Some(error) => {
                reader.fail(error);
                self.gauges.requests_failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    /// Gives free slots to requests that wait.
    fn admit(&mut self) {
        while let Some(sequence) = self.suspended.pop_front() {
            if let Some(waits) = self.resume(sequence) {
                self.suspended.push_front(waits);
                return;
            }
        }
        while self.cache.has_room(0) {
            // Who is next is next, even if there is no room: a large request is not passed by small ones.
            let submission = self.queue.pop_next(
                Submission::is_ready,
                |tenant| self.sequences.iter().flatten().filter(|sequence| sequence.tenant == tenant).count(),
                |submission| self.cache.has_room(submission.prompt.len()),
            );
            let Some(submission) = submission else { break };
            let (prompt, model) = (&submission.prompt, self.model.as_mut());
            let Some((slot, cached)) = self.cache.admit(model, prompt, submission.caches) else { break };
            self.gauges.tokens_cached.fetch_add(u64::from(cached), Ordering::Relaxed);
            self.sequences_begun += 1;
            let owner = Owner { slot: to_slot(slot), sequence: self.sequences_begun };
            let sequence = Sequence::new(owner, submission, cached, Instant::now());
            self.gauges.latencies.queue.observe(sequence.queue_time(), 1);
            self.sequences[slot] = Some(sequence);
            self.gauges.running.fetch_add(1, Ordering::Relaxed);
            self.advance(slot, Vec::new());
        }
    }

    /// Gives a sequence a slot again; it comes back if there is no room.
    fn resume(&mut self, mut sequence: Sequence) -> Option<Sequence> {
        let tokens: Vec<Token> = sequence.pending.iter().copied().collect();
        if !self.cache.has_room(tokens.len()) {
            return Some(sequence);
        }
        let Some((slot, held)) = self.cache.admit(self.model.as_mut(), &tokens, sequence.caches) else {
            return Some(sequence);
        };
        sequence.resume(to_slot(slot), held);
        self.sequences[slot] = Some(sequence);
        None
    }

    /// Takes the slot from the sequence that began last, when the pool of cells is full. What it held goes to host
    /// memory. False where nobody is left to make room for.
    fn suspend_one(&mut self) -> bool {
        if self.sequences.iter().flatten().count() < 2 {
            return false;
        }
        // What is on a thread of the pool comes back to the slot that it left: then it is the next time.
        let is_home = |sequence: &&Sequence| sequence.sampling.is_some() && sequence.held_row.is_none();
        let last =
            self.sequences.iter().flatten().filter(is_home).max_by_key(|sequence| sequence.owner.sequence);
        let Some(slot) = last.map(|sequence| sequence.slot() as usize) else {
            self.wait();
            return true;
        };
        if let Some(mut sequence) = self.sequences[slot].take() {
            tracing::info!(
                slot,
                tokens = sequence.position,
                "the cache is full: a sequence waits in host memory"
            );
            sequence.rewind(self.cache.tokens(slot));
            self.cache.release(self.model.as_mut(), slot, sequence.caches);
            self.suspended.push_back(sequence);
        }
        true
    }

    /// Moves a sequence into a gap between the busy slots that no request is about to fill.
    fn close_gap(&mut self) {
        let Some((from, to)) = self.cache.gap().filter(|_| self.queue.len() == 0) else { return };
        // What is on a thread of the pool comes back to the slot that it left.
        if self.sequences[from].as_ref().is_none_or(|sequence| sequence.sampling.is_none()) {
            return;
        }
        if !self.cache.relocate(self.model.as_mut(), from, to) {
            return;
        }
        self.sequences.swap(from, to);
        if let Some(sequence) = &mut self.sequences[to] {
            sequence.owner.slot = to_slot(to);
        }
    }

    /// One token for everybody who generates, and then prompts, as many as there is time for.
    fn step(&mut self, demands: &[Demand]) {
        let begun = Instant::now();
        let calls = self.scheduler.decode(demands);
        for call in &calls {
            if let Some(took) = self.decode(call) {
                self.scheduler.decoded(call, took);
                self.gauges.decode_calls.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.scheduler.earn(begun.elapsed());
        // Who came meanwhile, to the place of one that has ended perhaps, need not wait for another step.
        self.admit();
        if let Some(call) = self.scheduler.prefill(&self.demands(), !calls.is_empty())
            && let Some(took) = self.decode(&call)
        {
            self.scheduler.prefilled(&call, took);
            self.gauges.prefill_calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Decodes a batch, and samples the rows that it gives. Returns how long the model took, unless it failed.
    fn decode(&mut self, call: &Call) -> Option<Duration> {
        let shares = &call.shares;
        let rows = self.fill_batch(call);
        if self.batch.is_empty() {
            return None;
        }
        let begun = Instant::now();
        if let Err(error) = self.run_model() {
            if matches!(error, model::Error::NoRoom { .. }) && self.suspend_one() {
                return None;
            }
            let slots: Vec<usize> = shares.iter().map(|share| share.slot as usize).collect();
            self.recover(&slots, &error);
            return None;
        }
        let took = begun.elapsed();
        for share in shares {
            let slot = share.slot as usize;
            if let Some(sequence) = &mut self.sequences[slot] {
                // Some may have been taken back while another call of this step was sampled.
                let tokens = sequence.pending.len().min(share.tokens as usize);
                self.cache.extend(slot, sequence.pending.drain(..tokens));
                sequence.position += to_slot(tokens);
                if !sequence.is_generating() {
                    self.gauges.tokens_prefilled.fetch_add(tokens as u64, Ordering::Relaxed);
                }
            }
        }
        self.sample(&rows);
        Some(took)
    }

    /// Fills the batch, and tells whose rows it will give, in order.
    fn fill_batch(&mut self, call: &Call) -> Vec<usize> {
        self.batch.clear();
        let mut rows = Vec::with_capacity(call.shares.len());
        for share in &call.shares {
            let slot = share.slot as usize;
            let Some(sequence) = &self.sequences[slot] else { continue };
            for (offset, &token) in sequence.pending.iter().take(share.tokens as usize).enumerate() {
                let last = offset + 1 == sequence.pending.len();
                self.batch.push(token, sequence.position + to_slot(offset), share.slot, last);
                if last {
                    rows.push(slot);
                }
            }
        }
        rows
    }

    /// Samples the rows of the last decode; `rows` says whose each is.
    fn sample(&mut self, rows: &[usize]) {
        // Samplers that took in the last token while this one was decoded are mostly back by now.
        self.wait_for(rows);
        let mut picking = Vec::new();
        for (row, &slot) in rows.iter().enumerate() {
            let Some(sequence) = &mut self.sequences[slot] else { continue };
            if !sequence.pending.is_empty() {
                // Tokens were taken back meanwhile: the row is of a place that is no more.
                continue;
            }
            let logits = self.model.logits(row);
            let Some(sampling) = &mut sequence.sampling else {
                sequence.held_row = Some(logits.to_vec());
                sequence.late = true;
                continue;
            };
            let prepared = sampling.prepare(logits);
            self.go_on(slot, prepared);
            picking.push(slot);
        }
        self.wait_for(&picking);
    }

    /// Goes on with a sequence whose row was looked at.
    fn go_on(&mut self, slot: usize, prepared: Result<Prepared, Error>) {
        match prepared {
            Ok(Prepared::Decided(outcome)) => self.commit(slot, outcome),
            Ok(Prepared::Pick(cut)) => {
                let Some(sequence) = &mut self.sequences[slot] else { return };
                let Some(sampling) = sequence.sampling.take() else { return };
                self.pool.submit(Task::Pick { owner: sequence.owner, sampling, cut });
            }
            Err(error) => self.fail(slot, error),
        }
    }

    /// Waits a moment for the samplers of some sequences. Who is late sits out: the others do not wait for it, and
    /// next time not even this long.
    fn wait_for(&mut self, slots: &[usize]) {
        let is_away = |sequence: &Option<Sequence>| {
            sequence.as_ref().is_some_and(|sequence| sequence.sampling.is_none() && !sequence.late)
        };
        if !slots.iter().any(|&slot| is_away(&self.sequences[slot])) {
            return;
        }
        let deadline = Instant::now() + self.options.sampling_patience;
        while slots.iter().any(|&slot| is_away(&self.sequences[slot])) {
            match self.pool.returned().recv_deadline(deadline) {
                Ok(returned) => self.take_back(returned),
                Err(_) => break,
            }
        }
        for &slot in slots {
            if let Some(sequence) = &mut self.sequences[slot] {
                sequence.late |= sequence.sampling.is_none();
            }
        }
    }

    /// Takes the sampling of a sequence back, and goes on with what it brings.
    fn take_back(&mut self, returned: Returned) {
        let slot = returned.owner.slot as usize;
        let Some(sequence) = &mut self.sequences[slot] else { return };
        if sequence.owner != returned.owner {
            return;
        }
        sequence.sampling = returned.sampling;
        match returned.result {
            Ok(Some(outcome)) => {
                sequence.late = false;
                self.commit(slot, outcome);
            }
            Ok(None) => {
                let Some(sampling) = &sequence.sampling else { return };
                if let Some(outcome) = sampling.decided() {
                    // Nothing more is decoded for it, or looked at.
                    return self.commit(slot, outcome);
                }
                sequence.settle(sampling.held());
                if sequence.finishing.is_some() {
                    // The sweep ends it.
                    return;
                }
                let row = sequence.held_row.take();
                match (row, &mut sequence.sampling) {
                    (Some(row), Some(sampling)) => {
                        let prepared = sampling.prepare(&row);
                        self.go_on(slot, prepared);
                    }
                    // A grammar that was late once is waited for again; plugins are when they picked in time.
                    (None, Some(sampling)) => sequence.late &= sampling.has_plugins(),
                    _ => {}
                }
            }
            Err(error) => self.fail(slot, error),
        }
    }

    /// Makes what was chosen part of the answer.
    fn commit(&mut self, slot: usize, outcome: Outcome) {
        let now = Instant::now();
        self.recovered(slot);
        let Some(sequence) = &mut self.sequences[slot] else { return };
        match outcome {
            Outcome::Stop(reason) => {
                sequence.settle(0);
                sequence.end(reason);
            }
            Outcome::Backtrack { count, then } => return self.retract(slot, count, then),
            Outcome::Tokens(chosen) => {
                let vocabulary = &self.vocabulary;
                let context = self.model.info().context;
                let size = self.model.info().vocabulary_size;
                if let Some(outside) = chosen.iter().find(|chosen| chosen.token >= size) {
                    let message = format!("token {} is outside the vocabulary of {size}", outside.token);
                    return self.fail(slot, Error::Sampling(message));
                }
                let latencies = &self.gauges.latencies;
                let tokens =
                    sequence.commit(chosen, |token| vocabulary.is_end(token), context, now, latencies);
                self.gauges.tokens_generated.fetch_add(tokens.len() as u64, Ordering::Relaxed);
                if sequence.finishing.is_none() {
                    // The reader gets the token while the next one is decoded.
                    if !sequence.flush(now, self.options.stall_limit) {
                        return self.fail(slot, Error::Stalled { limit: self.options.stall_limit });
                    }
                    return self.make_room(slot, tokens);
                }
            }
        }
        if sequence.flush(now, self.options.stall_limit) && sequence.is_done() {
            self.finish(slot, now);
        }
    }

    /// Forgets a part of a sequence that has outgrown its context, if its request wants that, and goes on with it.
    fn make_room(&mut self, slot: usize, committed: Vec<Token>) {
        let Some(sequence) = &mut self.sequences[slot] else { return };
        if let Some(range) = sequence.overflow(self.model.info().context) {
            let decoded = range.start.min(sequence.position)..range.end.min(sequence.position);
            if let Err(error) = self.cache.discard(self.model.as_mut(), slot, decoded) {
                return self.fail(slot, error.into());
            }
            sequence.forget(range);
        }
        self.advance(slot, committed);
    }

    /// Takes the last tokens of an answer back: out of the slot, and out of what the samplers know. `then`: why it ends
    /// there.
    fn retract(&mut self, slot: usize, count: u32, then: Option<FinishReason>) {
        let Some(sequence) = &mut self.sequences[slot] else { return };
        if sequence.finishing.is_some() {
            // Its reader wants no more of it.
            return;
        }
        let kept = sequence.retract(self.cache.tokens(slot), count as usize);
        if let Some(reason) = then {
            sequence.end(reason);
        }
        self.gauges.tokens_taken_back.fetch_add(u64::from(count), Ordering::Relaxed);
        let (owner, sampling) = (sequence.owner, sequence.sampling.take());
        if let Err(error) = self.cache.truncate(self.model.as_mut(), slot, kept) {
            self.cache.forget(self.model.as_mut(), slot);
            return self.fail(slot, Error::Model(error));
        }
        if let Some(sampling) = sampling {
            self.pool.submit(Task::Rollback { owner, sampling, count, ends: then.is_some() });
        }
    }

    /// Tells the samplers of a sequence what was committed: on a thread of the pool where plugins or a grammar have a
    /// say, while the next decode runs.
    fn advance(&mut self, slot: usize, committed: Vec<u32>) {
        let Some(sequence) = &mut self.sequences[slot] else { return };
        let Some(mut sampling) = sequence.sampling.take() else { return };
        if sampling.plans() {
            self.pool.submit(Task::Advance { owner: sequence.owner, sampling, committed });
            return;
        }
        let advanced = sampling.advance(&committed);
        // Nobody is left who could hold some of them.
        sequence.settle(0);
        sequence.sampling = Some(sampling);
        if let Err(error) = advanced {
            self.fail(slot, error);
        }
    }

    fn finish(&mut self, slot: usize, now: Instant) {
        let Some(sequence) = self.release(slot, true) else { return };
        self.gauges.requests_finished.fetch_add(1, Ordering::Relaxed);
        self.gauges.latencies.total.observe(sequence.age(now), 1);
        let (end, sampling, to) = sequence.finish(now);
        match sampling {
            Some(sampling) if sampling.has_plugins() => self.pool.submit(Task::Close { sampling, end, to }),
            sampling => {
                let samplers = sampling.map(|sampling| sampling.close()).unwrap_or_default();
                let _ = to.send(Ok(crate::sequence::End { samplers, ..end }));
            }
        }
    }

    fn fail(&mut self, slot: usize, error: Error) {
        if let Some(sequence) = self.release(slot, true) {
            self.gauges.requests_failed.fetch_add(1, Ordering::Relaxed);
            sequence.reader.fail(error);
        }
    }

    /// Frees a slot. `is_sound`: what the model holds in it is what was decoded.
    fn release(&mut self, slot: usize, is_sound: bool) -> Option<Sequence> {
        let sequence = self.sequences[slot].take()?;
        self.cache.release(self.model.as_mut(), slot, is_sound && sequence.caches);
        self.gauges.running.fetch_sub(1, Ordering::Relaxed);
        Some(sequence)
    }
}

fn to_slot(index: usize) -> Slot {
    Slot::try_from(index).unwrap_or(Slot::MAX)
}
