//! What the slots of the model hold, and the host memory beside them: requests take over what was decoded before.
//!
//! The tokens noted here are exactly those that the model has decoded. What was sampled last is not among them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::model::{Error, Layout, Model, Position, Token};
use crate::prefix::{self, Holding, Placement, Rules, Source, WORTH_COPYING};
use crate::saved::Saved;
use crate::shared::Gauges;
use crate::store::Store;

/// Most tokens of a sequence that is moved between two steps: all others wait for it.
const MOVED_MAX: usize = 4096;

/// Cells of a pool that are not given away for each sequence that is generating.
const LEFT_TO_GROW: usize = 16;

/// The prefix cache.
pub(crate) struct Cache {
    is_on: bool,
    rules: Rules,
    /// What is left in a slot would tax every step: it goes to host memory or nowhere.
    shares_one_pool: bool,
    /// The cells of that pool.
    cells: usize,
    slots: Vec<Held>,
    store: Store,
    clock: u64,
    gauges: Arc<Gauges>,
}

#[derive(Default)]
struct Held {
    tokens: Vec<Token>,
    is_busy: bool,
    used: u64,
}

impl Cache {
    /// A cache over the empty slots of a model. Off, it still says who gets which slot.
    pub(crate) fn new(model: &dyn Model, is_on: bool, store_bytes: u64, gauges: Arc<Gauges>) -> Self {
        let info = model.info();
        Self {
            is_on,
            rules: Rules::new(&info.capabilities),
            shares_one_pool: info.capabilities.layout == Layout::Unified,
            cells: info.context as usize,
            slots: (0..info.slots).map(|_| Held::default()).collect(),
            store: Store::new(if is_on { store_bytes } else { 0 }),
            clock: 0,
            gauges,
        }
    }

    /// Whether a slot is free, and the cells for a sequence of so many tokens. Where every slot has its own cells,
    /// they are there; in one pool some are left for those who are generating.
    pub(crate) fn has_room(&self, tokens: usize) -> bool {
        let busy = || self.slots.iter().filter(|held| held.is_busy);
        if busy().count() == self.slots.len() {
            return false;
        }
        let taken: usize = busy().map(|held| held.tokens.len() + LEFT_TO_GROW).sum();
        !self.shares_one_pool || taken == 0 || taken + tokens + LEFT_TO_GROW <= self.cells
    }

    /// What a slot holds.
    pub(crate) fn tokens(&self, slot: usize) -> &[Token] {
        &self.slots[slot].tokens
    }

    /// Gives a prompt a slot, and says how many of its tokens are already in it. `reuses`: it may use what others
    /// left. `None` where every slot is busy.
    pub(crate) fn admit(
        &mut self,
        model: &mut dyn Model,
        prompt: &[Token],
        reuses: bool,
    ) -> Option<(usize, u32)> {
        let sought = if reuses && self.is_on { prompt } else { &[] };
        let slots: Vec<Holding<'_>> = self
            .slots
            .iter()
            .map(|held| Holding { tokens: &held.tokens, is_busy: held.is_busy, used: held.used })
            .collect();
        let placement = prefix::place(sought, &slots, self.store.tokens(), self.rules)?;
        let slot = placement.slot;
        let shared = match self.prepare(model, placement) {
            Ok(()) => placement.shared,
            Err(error) => {
                tracing::warn!(%error, slot, "a cached prefix could not be used");
                self.empty(model, slot);
                0
            }
        };
        self.clock += 1;
        let held = &mut self.slots[slot];
        (held.is_busy, held.used) = (true, self.clock);
        self.report();
        Some((slot, number(shared)))
    }

    /// Notes tokens that the model has decoded.
    pub(crate) fn extend(&mut self, slot: usize, tokens: impl Iterator<Item = Token>) {
        let held = &mut self.slots[slot].tokens;
        let before = held.len();
        held.extend(tokens);
        self.gauges.tokens_held.fetch_add(held.len() - before, Ordering::Relaxed);
    }

    /// Forgets a part of what a busy slot holds.
    pub(crate) fn discard(
        &mut self,
        model: &mut dyn Model,
        slot: usize,
        range: Range<Position>,
    ) -> Result<(), Error> {
        if !range.is_empty() {
            model.discard(number(slot), range.clone())?;
            self.slots[slot].tokens.drain(range.start as usize..range.end as usize);
            self.report();
        }
        Ok(())
    }

    /// Forgets what a busy slot holds behind the first `kept` tokens.
    ///
    /// # Errors
    ///
    /// When the model cannot.
    pub(crate) fn truncate(&mut self, model: &mut dyn Model, slot: usize, kept: usize) -> Result<(), Error> {
        let forgotten = self.slots[slot].tokens.len().saturating_sub(kept);
        if forgotten > 0 {
            model.remove(number(slot), number(kept))?;
            self.slots[slot].tokens.truncate(kept);
            self.gauges.tokens_held.fetch_sub(forgotten, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes a slot back. `keep`: what is in it is sound, and others may use it.
    pub(crate) fn release(&mut self, model: &mut dyn Model, slot: usize, keep: bool) {
        self.clock += 1;
        self.slots[slot].is_busy = false;
        self.slots[slot].used = self.clock;
        if !(keep && self.is_on) {
            self.empty(model, slot);
        } else if self.shares_one_pool {
            self.displace(model, slot);
        }
        self.report();
    }

    /// Empties a slot, busy or not: what is in it is not known, or gone.
    pub(crate) fn forget(&mut self, model: &mut dyn Model, slot: usize) {
        self.empty(model, slot);
        self.report();
    }

    /// Forgets what nobody uses: idle slots and what is in host memory.
    pub(crate) fn clear(&mut self, model: &mut dyn Model) {
        for slot in 0..self.slots.len() {
            if !self.slots[slot].is_busy {
                self.empty(model, slot);
            }
        }
        self.store.clear();
        self.report();
    }

    /// A copy of what an idle slot holds.
    pub(crate) fn export(&self, model: &mut dyn Model, slot: usize) -> Result<Saved, crate::Error> {
        let held = self.idle(slot)?;
        if held.tokens.is_empty() {
            let message = format!("slot {slot} holds nothing that could be saved");
            return Err(crate::Error::Invalid { param: "id_slot".into(), message });
        }
        Ok(Saved { tokens: held.tokens.clone(), state: model.save(number(slot))? })
    }

    /// Puts a copy into an idle slot; into host memory where idle slots keep nothing.
    pub(crate) fn import(
        &mut self,
        model: &mut dyn Model,
        slot: usize,
        saved: Saved,
    ) -> Result<(), crate::Error> {
        self.idle(slot)?;
        let Saved { tokens, state } = saved;
        let info = model.info();
        if tokens.len() > info.context as usize || tokens.iter().any(|&token| token >= info.vocabulary_size) {
            return Err(Error::State("it has more tokens than a sequence, or others".into()).into());
        }
        self.displace(model, slot);
        let restored = model.restore(number(slot), &state);
        let end = model.positions(number(slot)).map_or(0, |positions| positions.end() + 1);
        if restored.is_err() || end != number(tokens.len()) {
            self.empty(model, slot);
            self.report();
            restored?;
            return Err(
                Error::State(format!("{} tokens were expected, and there are {end}", tokens.len())).into()
            );
        }
        self.clock += 1;
        self.slots[slot] = Held { tokens, is_busy: false, used: self.clock };
        if self.shares_one_pool {
            self.displace(model, slot);
        }
        self.report();
        Ok(())
    }

    /// Empties an idle slot, and says how many tokens it held.
    pub(crate) fn erase(&mut self, model: &mut dyn Model, slot: usize) -> Result<usize, crate::Error> {
        let tokens = self.idle(slot)?.tokens.len();
        self.forget(model, slot);
        Ok(tokens)
    }

    fn idle(&self, slot: usize) -> Result<&Held, crate::Error> {
        Some(&self.slots[slot]).filter(|held| !held.is_busy).ok_or(crate::Error::SlotBusy { slot })
    }

    /// The busy slot that should move, and the free one where it should go, so that the busy slots stand together and
    /// are computed together: the last one, into the first gap.
    pub(crate) fn gap(&self) -> Option<(usize, usize)> {
        let first = self.slots.iter().position(|held| held.is_busy)?;
        let last = self.slots.iter().rposition(|held| held.is_busy)?;
        let to = (first..last).find(|&slot| !self.slots[slot].is_busy)?;
        let is_worth_it = self.rules.dense && self.rules.copy && self.slots[last].tokens.len() <= MOVED_MAX;
        is_worth_it.then_some((last, to))
    }

    /// Moves what a busy slot holds into a free one. False: it could not be, and is where it was.
    pub(crate) fn relocate(&mut self, model: &mut dyn Model, from: usize, to: usize) -> bool {
        self.displace(model, to);
        if let Err(error) = model.copy(number(from), number(to)) {
            tracing::warn!(%error, from, to, "a sequence could not be moved");
            // A device that failed says nothing of the one that comes after it.
            self.rules.copy &= matches!(error, Error::Device(_));
            self.empty(model, to);
            return false;
        }
        self.slots.swap(from, to);
        // Empty in the books, the old place still holds it.
        self.empty(model, from);
        self.report();
        true
    }

    /// Makes a slot hold just what the placement says is shared.
    fn prepare(&mut self, model: &mut dyn Model, placement: Placement) -> Result<(), Error> {
        let Placement { slot, source, shared } = placement;
        match source {
            Source::InPlace => {
                let lost = self.slots[slot].tokens.len() - shared;
                if lost >= WORTH_COPYING && lost > shared {
                    self.park(model, slot);
                }
            }
            Source::Slot(from) => {
                self.displace(model, slot);
                model.copy(number(from), number(slot))?;
                self.slots[slot].tokens = self.slots[from].tokens.clone();
            }
            Source::Saved(index) => {
                // The one before the other: what is saved now could drive out what is restored.
                let displaced = self.save(model, slot);
                self.empty(model, slot);
                let (tokens, state) = self.store.recall(index);
                model.restore(number(slot), state)?;
                self.slots[slot].tokens = tokens.to_vec();
                self.gauges.sequences_restored.fetch_add(1, Ordering::Relaxed);
                if let Some((tokens, state)) = displaced {
                    self.insert(tokens, state);
                }
            }
        }
        let held = &mut self.slots[slot].tokens;
        if held.len() > shared {
            model.remove(number(slot), number(shared))?;
            held.truncate(shared);
        }
        let end = model.positions(number(slot)).map_or(0, |positions| positions.end() + 1);
        if end == number(shared) {
            return Ok(());
        }
        Err(Error::State(format!("{shared} tokens were expected in the slot, and there are {end}")))
    }

    /// Empties a slot; what is worth it goes to host memory.
    fn displace(&mut self, model: &mut dyn Model, slot: usize) {
        self.park(model, slot);
        self.empty(model, slot);
    }

    /// Puts a copy of a slot into host memory, if that is worth it.
    fn park(&mut self, model: &mut dyn Model, slot: usize) {
        if let Some((tokens, state)) = self.save(model, slot) {
            self.insert(tokens, state);
        }
    }

    fn save(&self, model: &mut dyn Model, slot: usize) -> Option<(Vec<Token>, Vec<u8>)> {
        let tokens = &self.slots[slot].tokens;
        if tokens.len() < WORTH_COPYING || !self.store.wants(tokens) {
            return None;
        }
        match model.save(number(slot)) {
            Ok(state) => Some((tokens.clone(), state)),
            Err(error) => {
                tracing::warn!(%error, slot, "a sequence could not be saved");
                None
            }
        }
    }

    fn insert(&mut self, tokens: Vec<Token>, state: Vec<u8>) {
        let evicted = self.store.insert(tokens, state);
        self.gauges.sequences_evicted.fetch_add(evicted, Ordering::Relaxed);
    }

    fn empty(&mut self, model: &mut dyn Model, slot: usize) {
        self.slots[slot].tokens.clear();
        if let Err(error) = model.remove(number(slot), 0) {
            tracing::error!(%error, slot, "a slot could not be emptied");
        }
    }

    fn report(&self) {
        let tokens =
            |busy| self.slots.iter().filter(move |held| held.is_busy == busy).map(|held| held.tokens.len());
        self.gauges.tokens_held_idle.store(tokens(false).sum(), Ordering::Relaxed);
        self.gauges.tokens_held.store(tokens(true).sum(), Ordering::Relaxed);
        self.gauges.saved_bytes.store(self.store.bytes(), Ordering::Relaxed);
        self.gauges.saved_sequences.store(self.store.len(), Ordering::Relaxed);
    }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
