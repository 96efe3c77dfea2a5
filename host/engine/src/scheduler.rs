//! Which tokens are decoded next. Pure: no thread, no clock, no model.
//!
//! Sequences that generate go first, one step each. What room is left goes to prompts, in chunks, beginning with
//! another prompt each time; while anything generates, that room is bounded, so that a long prompt slows the
//! others down by a known share and never stops them.

use crate::model::Slot;

/// What the scheduler must know of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Where it lives.
    pub slot: Slot,
    /// Tokens that it has and the model has not decoded. Never 0.
    pub pending: u32,
    /// It has begun to generate: its reader waits for the next token.
    pub generating: bool,
}

/// So many tokens of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whose.
    pub slot: Slot,
    /// How many, at least 1.
    pub tokens: u32,
}

/// The bounds of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most tokens in a batch.
    pub batch_tokens_max: u32,
    /// Most tokens of prompts in a batch while a sequence generates.
    pub prefill_tokens_beside: u32,
}

/// Divides batches among sequences.
#[derive(Clone, Debug)]
pub struct Scheduler {
    limits: Limits,
    /// The slot after the one whose prompt was first in the last batch.
    next_prompt: Slot,
}

impl Scheduler {
    /// A scheduler within limits; a limit of 0 is 1.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            batch_tokens_max: limits.batch_tokens_max.max(1),
            prefill_tokens_beside: limits.prefill_tokens_beside.max(1),
        };
        Self { limits, next_prompt: 0 }
    }

    /// The next batch: shares in ascending order of slots, no slot twice. Empty only where `demands` is.
    ///
    /// `demands` has each slot at most once, in any order.
    #[must_use]
    pub fn next_batch(&mut self, demands: &[Demand]) -> Vec<Share> {
        let mut shares = Vec::with_capacity(demands.len());
        let mut room = self.limits.batch_tokens_max;
        for demand in demands.iter().filter(|demand| demand.generating) {
            let tokens = demand.pending.min(room);
            if tokens > 0 {
                shares.push(Share { slot: demand.slot, tokens });
                room -= tokens;
            }
        }
        if !shares.is_empty() {
            room = room.min(self.limits.prefill_tokens_beside);
        }
        self.share_prompts(demands, room, &mut shares);
        shares.sort_unstable_by_key(|share| share.slot);
        shares
    }

    /// Gives the room to the prompts, from `next_prompt` on and round.
    fn share_prompts(&mut self, demands: &[Demand], mut room: u32, shares: &mut Vec<Share>) {
        let mut prompts: Vec<&Demand> = demands.iter().filter(|demand| !demand.generating).collect();
        prompts.sort_unstable_by_key(|demand| (demand.slot < self.next_prompt, demand.slot));
        for (place, demand) in prompts.iter().enumerate() {
            // A short prompt behind long ones gets its part of the room rather than what they leave.
            let waiting = u32::try_from(prompts.len() - place).unwrap_or(u32::MAX);
            let tokens = demand.pending.min(room.div_ceil(waiting));
            if tokens == 0 {
                break;
            }
            shares.push(Share { slot: demand.slot, tokens });
            room -= tokens;
        }
        if let Some(first) = prompts.first() {
            self.next_prompt = first.slot + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { batch_tokens_max: 256, prefill_tokens_beside: 32 };

    fn demands() -> impl Strategy<Value = Vec<Demand>> {
        prop::collection::btree_map(0_u32..64, (1_u32..3000, any::<bool>()), 0..40).prop_map(|by_slot| {
            let demand = |(slot, (pending, generating))| Demand {
                slot,
                pending: if generating { pending % 3 + 1 } else { pending },
                generating,
            };
            by_slot.into_iter().map(demand).collect()
        })
    }

    proptest! {
        #[test]
        fn batches_are_dense_bounded_and_never_starve_who_generates(demands in demands()) {
            let batch = Scheduler::new(LIMITS).next_batch(&demands);
            prop_assert_eq!(batch.is_empty(), demands.is_empty());
            prop_assert!(batch.windows(2).all(|pair| pair[0].slot < pair[1].slot), "{batch:?}");
            prop_assert!(batch.iter().map(|share| share.tokens).sum::<u32>() <= LIMITS.batch_tokens_max);
            let share = |slot| batch.iter().find(|share| share.slot == slot).map_or(0, |share| share.tokens);
            for demand in &demands {
                prop_assert!(share(demand.slot) <= demand.pending);
                if demand.generating {
                    prop_assert_eq!(share(demand.slot), demand.pending);
                }
            }
            if demands.iter().any(|demand| demand.generating) {
                let prompts = demands.iter().filter(|demand| !demand.generating);
                prop_assert!(prompts.map(|demand| share(demand.slot)).sum::<u32>() <= LIMITS.prefill_tokens_beside);
            }
        }

        /// However many prompts wait, each is done after no more batches than its fair part of the room takes.
        #[test]
        fn every_prompt_gets_its_turn(prompts in prop::collection::vec(1_u32..400, 1..40)) {
            let mut scheduler = Scheduler::new(LIMITS);
            let mut left = prompts.clone();
            let total: u32 = prompts.iter().sum();
            for _ in 0..total.div_ceil(LIMITS.prefill_tokens_beside) + 40 {
                let mut demands: Vec<Demand> = vec![Demand { slot: 63, pending: 1, generating: true }];
                demands.extend(left.iter().enumerate().filter(|(_, pending)| **pending > 0).map(
                    |(slot, pending)| Demand { slot: u32::try_from(slot).unwrap(), pending: *pending, generating: false },
                ));
                for share in scheduler.next_batch(&demands) {
                    if share.slot != 63 {
                        left[share.slot as usize] -= share.tokens;
                    }
                }
            }
            prop_assert!(left.iter().all(|pending| *pending == 0), "{left:?}");
        }
    }
}
