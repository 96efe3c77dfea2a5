//! The worker's part of recovery: it does what [`Recovery`](crate::recovery::Recovery) answers.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Worker;
use crate::Error;
use crate::model::{self, Batch, Info, Model, Position, Slot, Vocabulary};
use crate::recovery::{Answer, Recovery, Reload, State};
use crate::scheduler::Demand;
use crate::sequence::Sequence;
use crate::shared::Gauges;

impl Worker {
    /// Those whose decode failed are decoded one by one, in turn with the others: so the guilty one is found, and
    /// nobody else waits for it.
    pub(super) fn take_turns(&mut self) {
        let (suspects, others) = self.due();
        self.suspects_turn = !suspects.is_empty() && (others.is_empty() || !self.suspects_turn);
    }

    /// What the sequences want whose turn it is.
    pub(super) fn demands(&self) -> Vec<Demand> {
        let (suspects, others) = self.due();
        let chosen = if self.suspects_turn {
            suspects.into_iter().min_by_key(|sequence| sequence.not_before).into_iter().collect()
        } else {
            others
        };
        chosen.into_iter().filter_map(Sequence::demand).collect()
    }

    /// The sequences that may be decoded now: those whose decode failed, and the others.
    fn due(&self) -> (Vec<&Sequence>, Vec<&Sequence>) {
        let now = Instant::now();
        let is_due = |sequence: &&Sequence| sequence.not_before.is_none_or(|time| time <= now);
        let due = self.sequences.iter().flatten().filter(is_due);
        due.filter(|sequence| sequence.demand().is_some()).partition(|sequence| sequence.failures > 0)
    }

    /// Decodes the batch. A panic in the model is an error like others: the device may be in any state.
    pub(super) fn run_model(&mut self) -> Result<(), model::Error> {
        let (model, batch) = (&mut self.model, &self.batch);
        catch_unwind(AssertUnwindSafe(|| model.decode(batch))).unwrap_or_else(|panic| {
            Err(model::Error::Device(format!("the model panicked: {}", said(&*panic))))
        })
    }

    /// A decode failed. `slots` had part in it.
    pub(super) fn recover(&mut self, slots: &[usize], error: &model::Error) {
        tracing::error!(%error, tokens = self.batch.len(), sequences = slots.len(), "a decode failed");
        if matches!(error, model::Error::Device(_)) && self.reload.is_some() {
            self.load_anew(error);
        } else {
            self.try_again(slots, error);
        }
        self.note_state();
    }

    /// A sequence got what it was decoded for: a token, or its end.
    pub(super) fn recovered(&mut self, slot: usize) {
        let Some(sequence) = &mut self.sequences[slot] else { return };
        let failed = std::mem::take(&mut sequence.failures) > 0;
        sequence.not_before = None;
        if failed || !self.recovery.is_calm() {
            let suspects = self.sequences.iter().flatten().any(|sequence| sequence.failures > 0);
            self.recovery.token_came(suspects);
            self.note_state();
        }
    }

    fn try_again(&mut self, slots: &[usize], error: &model::Error) {
        let mut clears = false;
        for &slot in slots {
            let Some(sequence) = &mut self.sequences[slot] else { continue };
            sequence.failures += 1;
            match self.recovery.decode_failed(sequence.failures) {
                Answer::Retry { after, clears: clear } => {
                    clears |= clear;
                    sequence.not_before = Some(Instant::now() + after);
                    tracing::warn!(slot, tries = sequence.failures, ?after, "a sequence is decoded again");
                    self.gauges.decode_retries.fetch_add(1, Ordering::Relaxed);
                    // What is in the slot now is not known.
                    sequence.rewind(self.cache.tokens(slot));
                    self.cache.forget(self.model.as_mut(), slot);
                }
                Answer::Fail => {
                    if let Some(sequence) = self.release(slot, false) {
                        self.gauges.requests_failed.fetch_add(1, Ordering::Relaxed);
                        sequence.reader.fail(Error::Model(error.clone()));
                    }
                    if self.sequences.iter().flatten().all(|sequence| sequence.failures == 0) {
                        self.recovery.idle();
                    }
                }
            }
        }
        if clears {
            self.cache.clear(self.model.as_mut());
        }
    }

    /// Loads the model anew, and lets every sequence go on from the tokens that it has; or tells all of them that it
    /// cannot be.
    fn load_anew(&mut self, error: &model::Error) {
        let Some(reload) = &mut self.reload else { return };
        match load_anew(&mut self.recovery, reload, &mut self.model, &self.gauges, error) {
            Ok(()) => self.begin_anew(),
            Err(cause) => {
                self.failed = Some((Instant::now(), cause));
                // Who is told of it finds the state that it led to.
                self.note_state();
                self.fail_all();
            }
        }
    }

    /// The model holds nothing any more: all sequences are decoded from their first token.
    fn begin_anew(&mut self) {
        for slot in 0..self.sequences.len() {
            if let Some(sequence) = &mut self.sequences[slot] {
                sequence.rewind(self.cache.tokens(slot));
                self.cache.forget(self.model.as_mut(), slot);
            }
        }
        self.cache.clear(self.model.as_mut());
    }

    /// While the model is gone, tells everybody why; a request that comes a good while later tries it again.
    pub(super) fn check_failed(&mut self) {
        let Some((since, cause)) = &self.failed else { return };
        if self.queue.len() == 0 {
            return;
        }
        if since.elapsed() >= self.options.reload_pause {
            let cause = cause.clone();
            self.failed = None;
            self.recovery.try_again();
            self.load_anew(&cause);
            self.note_state();
        }
        self.fail_all();
    }

    fn fail_all(&mut self) {
        let Some((_, cause)) = &self.failed else { return };
        let error = Error::Model(cause.clone());
        for slot in 0..self.sequences.len() {
            self.fail(slot, error.clone());
        }
        for sequence in std::mem::take(&mut self.suspended) {
            self.gauges.running.fetch_sub(1, Ordering::Relaxed);
            self.gauges.requests_failed.fetch_add(1, Ordering::Relaxed);
            sequence.reader.fail(error.clone());
        }
        while let Some(submission) = self.queue.pop() {
            self.gauges.requests_failed.fetch_add(1, Ordering::Relaxed);
            submission.reader.fail(error.clone());
        }
    }

    fn note_state(&self) {
        note_state(&self.recovery, &self.gauges);
    }
}

/// Tries to put another model in the place of one whose device failed; says why there is none.
pub(crate) fn load_anew(
    recovery: &mut Recovery,
    reload: &mut Reload,
    place: &mut Box<dyn Model>,
    gauges: &Gauges,
    error: &model::Error,
) -> Result<(), model::Error> {
    let mut cause = error.clone();
    let words = match error {
        model::Error::Device(words) => words.clone(),
        other => other.to_string(),
    };
    while let Some(after) = recovery.reload() {
        note_state(recovery, gauges);
        // Dropped before it is loaded again: there may be no room for two.
        *place = Box::new(Gone { info: place.info().clone(), vocabulary: place.vocabulary() });
        // Requests wait for nothing else now.
        std::thread::sleep(after);
        let loaded = catch_unwind(AssertUnwindSafe(|| reload(&cause)))
            .unwrap_or_else(|panic| Err(format!("loading panicked: {}", said(&*panic))));
        match loaded.and_then(|model| is_alike(place.info(), model.info()).map(|()| model)) {
            Ok(model) => {
                tracing::warn!(device = model.info().device, "the model was loaded anew");
                gauges.model_reloads.fetch_add(1, Ordering::Relaxed);
                *place = model;
                recovery.reloaded();
                return Ok(());
            }
            Err(reason) => {
                tracing::error!(reason, "the model could not be loaded anew");
                cause =
                    model::Error::Device(format!("{words}; the model could not be loaded anew: {reason}"));
            }
        }
    }
    tracing::error!(error = %cause, "the model is given up");
    Err(cause)
}

/// Shows where the machine stands, and logs it where that is news.
pub(crate) fn note_state(recovery: &Recovery, gauges: &Gauges) {
    let state = recovery.state();
    let before = gauges.recovery_state.swap(state as u8, Ordering::Relaxed);
    if before != state as u8 {
        tracing::info!(from = State::from_number(before).as_str(), to = state.as_str(), "the model's state");
    }
}

/// Whether a model can take another's place: its sequences are as many and as long.
fn is_alike(old: &Info, new: &Info) -> Result<(), String> {
    let shape = |info: &Info| (info.slots, info.context, info.vocabulary_size, info.batch_tokens_max);
    if shape(old) == shape(new) {
        return Ok(());
    }
    Err(format!("it has {:?} slots, context, tokens and batch, and had {:?}", shape(new), shape(old)))
}

/// The words of a panic.
pub(crate) fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it said nothing")
}

/// Stands for a model while it is loaded anew.
struct Gone {
    info: Info,
    vocabulary: Arc<dyn Vocabulary>,
}

impl Gone {
    fn refuse<T>() -> Result<T, model::Error> {
        Err(model::Error::Device("the model is not loaded".into()))
    }
}

impl Model for Gone {
    fn info(&self) -> &Info {
        &self.info
    }

    fn vocabulary(&self) -> Arc<dyn Vocabulary> {
        Arc::clone(&self.vocabulary)
    }

    fn decode(&mut self, _: &Batch) -> Result<(), model::Error> {
        Self::refuse()
    }

    fn logits(&self, row: usize) -> &[f32] {
        panic!("row {row} of a model that is not loaded")
    }

    /// Everything is forgotten already.
    fn remove(&mut self, _: Slot, _: Position) -> Result<(), model::Error> {
        Ok(())
    }

    fn copy(&mut self, _: Slot, _: Slot) -> Result<(), model::Error> {
        Self::refuse()
    }

    fn save(&mut self, _: Slot) -> Result<Vec<u8>, model::Error> {
        Self::refuse()
    }

    fn restore(&mut self, _: Slot, _: &[u8]) -> Result<(), model::Error> {
        Self::refuse()
    }

    fn positions(&self, _: Slot) -> Option<RangeInclusive<Position>> {
        None
    }
}
