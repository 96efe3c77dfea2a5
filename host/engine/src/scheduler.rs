//! Which tokens are decoded next. Pure: no thread, no clock, no model.
//!
//! A step has two calls. First every sequence that generates decodes its token. Then prompts are decoded, in chunks,
//! beginning with another prompt each time. While anything generates, prompts get a share of the *time*: each call
//! for those who generate earns them a credit of milliseconds, a chunk is as long as the credit lasts by a cost that
//! is learned while running, and what it really took is paid from the credit. So a long prompt slows the others down
//! by a known factor and never stops them: with a share f, the time between two tokens grows by 1/(1-f).
//!
//! The two are never in one call. With one KV stream for each slot every sequence of a call is computed at the length
//! of the longest, so that a deep prompt would make everybody's token as dear as its own.

use std::time::Duration;

use crate::cost::PrefillCost;
use crate::model::Slot;

/// The chunk that is tried beside others while nothing is known of costs.
const CHUNK_FIRST: u32 = 16;

/// Chunks of several of these are whole ones: kernels compute rows in tiles.
const CHUNK_TILE: u32 = 8;

/// Most tokens that a sequence which generates decodes in one step: samplers can force any number.
const FORCED_MAX: u32 = 32;

/// What the scheduler must know of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Where it lives.
    pub slot: Slot,
    /// Tokens that it has and the model has not decoded. Never 0.
    pub pending: u32,
    /// Tokens that the model has decoded.
    pub depth: u32,
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

/// The bounds of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most tokens in a call.
    pub batch_tokens_max: u32,
    /// Most tokens of prompts in a call: as many as the device computes at a time. Nothing is gained by more, and
    /// a new request would wait for them.
    pub chunk_tokens: u32,
    /// The part of the time that prompts get while a sequence generates, above 0 and below 1.
    pub prefill_share: f64,
}

/// Tokens of prompts for one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefill {
    /// Whose, in ascending order of slots, no slot twice.
    pub shares: Vec<Share>,
    /// The place of the deepest token, which all are computed at.
    depth: u32,
}

/// Divides calls among sequences.
#[derive(Clone, Debug)]
pub struct Scheduler {
    limits: Limits,
    cost: PrefillCost,
    /// Milliseconds that prompts have earned and not used. Below 0 after a chunk that took longer than expected.
    credit: f64,
    /// What they earned in this step.
    earned: f64,
    /// The slot after the one whose prompt was first in the last call.
    next_prompt: Slot,
}

impl Scheduler {
    /// A scheduler within limits; a limit of 0 is 1, and a share is held between 0.05 and 0.95.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            batch_tokens_max: limits.batch_tokens_max.max(1),
            chunk_tokens: limits.chunk_tokens.clamp(1, limits.batch_tokens_max.max(1)),
            prefill_share: limits.prefill_share.clamp(0.05, 0.95),
        };
        Self { limits, cost: PrefillCost::default(), credit: 0.0, earned: 0.0, next_prompt: 0 }
    }

    /// The next call for those who generate: one token each, and more where samplers forced them. Shares are in
    /// ascending order of slots, no slot twice. `demands` has each slot at most once, in any order.
    #[must_use]
    pub fn decode(&self, demands: &[Demand]) -> Vec<Share> {
        let generating = || demands.iter().filter(|demand| demand.generating);
        let count = u32::try_from(generating().count()).unwrap_or(u32::MAX).max(1);
        let each = (self.limits.batch_tokens_max / count).clamp(1, FORCED_MAX);
        let share = |demand: &Demand| Share { slot: demand.slot, tokens: demand.pending.min(each) };
        let mut shares: Vec<Share> = generating().map(share).collect();
        shares.sort_unstable_by_key(|share| share.slot);
        // A model whose calls are shorter than it has slots serves the first ones first.
        shares.truncate(self.limits.batch_tokens_max as usize);
        shares
    }

    /// The call of [`Scheduler::decode`], with all that belongs to it, took so long: prompts have earned their part.
    pub fn decoded(&mut self, took: Duration) {
        let share = self.limits.prefill_share;
        self.earned = milliseconds(took) * share / (1.0 - share);
        self.credit += self.earned;
    }

    /// The next call for prompts. `beside`: others are generating, so that it may last only as long as the credit.
    /// Empty where no prompt waits, or the credit is not enough yet.
    #[must_use]
    pub fn prefill(&mut self, demands: &[Demand], beside: bool) -> Prefill {
        let mut prompts: Vec<&Demand> = demands.iter().filter(|demand| !demand.generating).collect();
        prompts.sort_unstable_by_key(|demand| (demand.slot < self.next_prompt, demand.slot));
        let Some(&first) = prompts.first() else {
            // Who comes later earns from then on.
            self.credit = self.credit.min(0.0);
            return Prefill::default();
        };
        let mut room = self.limits.chunk_tokens;
        if beside {
            let Some(affordable) = self.affordable(first) else { return Prefill::default() };
            room = room.min(affordable);
        } else {
            self.credit = 0.0;
        }
        self.next_prompt = first.slot + 1;
        let mut prefill = Prefill::default();
        for demand in prompts {
            let tokens = demand.pending.min(room);
            // A deeper prompt would make the whole call as dear as its own: it waits for its turn.
            let is_deeper = beside && demand.depth > first.depth + first.pending;
            if tokens == 0 || is_deeper {
                continue;
            }
            prefill.shares.push(Share { slot: demand.slot, tokens });
            prefill.depth = prefill.depth.max(demand.depth + tokens);
            room -= tokens;
        }
        prefill.shares.sort_unstable_by_key(|share| share.slot);
        prefill
    }

    /// A call of [`Scheduler::prefill`] took so long.
    pub fn prefilled(&mut self, prefill: &Prefill, took: Duration) {
        let tokens = prefill.shares.iter().map(|share| share.tokens).sum();
        let took = milliseconds(took);
        self.cost.learn(tokens, prefill.depth, took);
        self.credit -= took;
    }

    /// How many tokens the credit is enough for, if it is enough for any.
    fn affordable(&mut self, first: &Demand) -> Option<u32> {
        let Some(efficient) = self.cost.efficient_tokens(first.depth) else { return Some(CHUNK_FIRST) };
        let least = first.pending.min(efficient).min(self.limits.chunk_tokens);
        let least_cost = self.cost.of(least, first.depth)?;
        // One step's chunk takes what a step earns. Only where that is too little for any sensible chunk, credit is
        // saved up for the smallest; what is left over does not add up to a long wait.
        let most = self.earned.max(least_cost);
        self.credit = self.credit.min(most + self.earned);
        if self.credit < least_cost {
            return None;
        }
        let tokens = self.cost.tokens_within(self.credit.min(most), first.depth)?.max(least);
        Some(if tokens >= 2 * CHUNK_TILE { tokens - tokens % CHUNK_TILE } else { tokens })
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { batch_tokens_max: 256, chunk_tokens: 128, prefill_share: 0.5 };

    fn demands() -> impl Strategy<Value = Vec<Demand>> {
        prop::collection::btree_map(0_u32..64, (1_u32..3000, 0_u32..3000, any::<bool>()), 0..40).prop_map(
            |by_slot| {
                let demand = |(slot, (pending, depth, generating))| Demand {
                    slot,
                    pending: if generating { pending % 3 + 1 } else { pending },
                    depth,
                    generating,
                };
                by_slot.into_iter().map(demand).collect()
            },
        )
    }

    /// Milliseconds of a call, roughly as measured of a 0.5B model on two cores: a pass over the weights, and for
    /// each sequence its tokens at the length of the longest.
    fn call_ms(shares: &[(u32, u32)]) -> f64 {
        let longest = shares.iter().map(|&(tokens, depth)| tokens + depth).max().unwrap_or(0);
        let tokens: u32 = shares.iter().map(|&(tokens, _)| tokens).sum();
        let each = if shares.len() > 1 { 2.0 } else { 1.2 };
        11.7 + f64::from(tokens) * (each + 0.0005 * f64::from(longest))
    }

    proptest! {
        #[test]
        fn calls_are_dense_bounded_and_leave_nobody_out_who_generates(demands in demands(), earned in 0_u64..500) {
            let mut scheduler = Scheduler::new(LIMITS);
            let decode = scheduler.decode(&demands);
            scheduler.decoded(Duration::from_millis(earned));
            let prefill = scheduler.prefill(&demands, !decode.is_empty());
            for (shares, generating, most) in [(&decode, true, 256), (&prefill.shares, false, 128)] {
                prop_assert!(shares.windows(2).all(|pair| pair[0].slot < pair[1].slot), "{shares:?}");
                prop_assert!(shares.iter().map(|share| share.tokens).sum::<u32>() <= most);
                for share in shares {
                    let demand = demands.iter().find(|demand| demand.slot == share.slot).expect("a demand");
                    prop_assert!(demand.generating == generating && (1..=demand.pending).contains(&share.tokens));
                }
            }
            let share = |slot| decode.iter().find(|share| share.slot == slot).map_or(0, |share| share.tokens);
            for demand in demands.iter().filter(|demand| demand.generating) {
                prop_assert_eq!(share(demand.slot), demand.pending);
            }
            prop_assert_eq!(decode.is_empty() && prefill.shares.is_empty(), demands.is_empty());
        }

        /// However many prompts wait beside one that generates, all are done within the time that their share is.
        #[test]
        fn every_prompt_gets_its_turn(prompts in prop::collection::vec(1_u32..400, 1..40)) {
            let mut scheduler = Scheduler::new(LIMITS);
            let mut left = prompts.clone();
            let mut steps = 0;
            while left.iter().any(|pending| *pending > 0) {
                steps += 1;
                prop_assert!(steps < 10_000, "{:?}", left);
                let mut demands = vec![Demand { slot: 63, pending: 1, depth: 10, generating: true }];
                demands.extend(left.iter().enumerate().filter(|(_, pending)| **pending > 0).map(|(slot, &pending)| {
                    Demand { slot: slot as u32, pending, depth: prompts[slot] - pending, generating: false }
                }));
                scheduler.decoded(Duration::from_millis(13));
                let prefill = scheduler.prefill(&demands, true);
                let cost: Vec<(u32, u32)> = prefill.shares.iter().map(|share| (share.tokens, 0)).collect();
                if !cost.is_empty() {
                    scheduler.prefilled(&prefill, Duration::from_secs_f64(call_ms(&cost) / 1e3));
                }
                for share in prefill.shares {
                    left[share.slot as usize] -= share.tokens;
                }
            }
        }
    }

    /// What a prompt that arrives does to streams: their step times alone and beside it, and how long it takes.
    struct Arrival {
        alone_ms: f64,
        beside_p99_ms: f64,
        prompt_ms: f64,
        prompt_alone_ms: f64,
    }

    /// Simulates `streams` that decode, and a prompt that arrives, by a clock that the costs of the calls move.
    fn arrival(streams: u32, prompt: u32, prefill_share: f64) -> Arrival {
        let mut scheduler = Scheduler::new(Limits { prefill_share, ..LIMITS });
        let mut alone = 0.0;
        let mut steps = Vec::new();
        let (mut depth, mut length) = (0, 500);
        // It has seen a prompt before, when nothing else ran.
        let seen = [Demand { slot: 0, pending: 128, depth: 0, generating: false }];
        let prefill = scheduler.prefill(&seen, false);
        scheduler.prefilled(&prefill, Duration::from_secs_f64(call_ms(&[(128, 0)]) / 1e3));
        let mut prompt_ms = 0.0;
        for step in 0.. {
            let mut demands: Vec<Demand> = (0..streams)
                .map(|slot| Demand { slot, pending: 1, depth: length, generating: true })
                .collect();
            let arrived = step >= 20;
            if arrived {
                demands.push(Demand { slot: streams, pending: prompt - depth, depth, generating: false });
            }
            let decode: Vec<(u32, u32)> = scheduler.decode(&demands).iter().map(|_| (1, length)).collect();
            let decode_ms = call_ms(&decode);
            scheduler.decoded(Duration::from_secs_f64(decode_ms / 1e3));
            let prefill = scheduler.prefill(&demands, true);
            let mut prefill_ms = 0.0;
            if let [share] = prefill.shares[..] {
                prefill_ms = call_ms(&[(share.tokens, depth)]);
                scheduler.prefilled(&prefill, Duration::from_secs_f64(prefill_ms / 1e3));
                depth += share.tokens;
            }
            if arrived {
                steps.push((decode_ms + prefill_ms) / decode_ms);
                prompt_ms += decode_ms + prefill_ms;
            } else {
                alone = decode_ms;
            }
            length += u32::from(step % 8 == 0);
            if depth == prompt {
                break;
            }
        }
        steps.sort_by(f64::total_cmp);
        let chunks = (0..prompt).step_by(128).map(|depth| call_ms(&[((prompt - depth).min(128), depth)]));
        Arrival {
            alone_ms: alone,
            beside_p99_ms: alone * steps[steps.len() * 99 / 100],
            prompt_ms,
            prompt_alone_ms: chunks.sum(),
        }
    }

    #[test]
    fn a_long_prompt_slows_streams_by_the_factor_that_its_share_is() {
        for (streams, share) in [(8, 0.5), (8, 0.67), (8, 0.8), (16, 0.5)] {
            let Arrival { alone_ms, beside_p99_ms, prompt_ms, prompt_alone_ms } =
                arrival(streams, 4_000, share);
            let (slower, longer) = (beside_p99_ms / alone_ms, prompt_ms / prompt_alone_ms);
            let case = format!("{streams} streams, share {share}");
            assert!(slower <= 1.1 / (1.0 - share), "{case}: steps {slower:.2} times as long");
            // Small chunks are less efficient than large ones: the prompt pays for that.
            assert!(longer <= 1.7 / share, "{case}: the prompt {longer:.2} times as long");
        }
    }

    #[test]
    fn where_a_share_is_too_little_for_any_chunk_it_is_saved_up() {
        for (streams, share) in [(1, 0.5), (4, 0.5), (16, 0.3)] {
            let Arrival { alone_ms, beside_p99_ms, prompt_ms, prompt_alone_ms } =
                arrival(streams, 4_000, share);
            let (longer, wait_ms) = (prompt_ms / prompt_alone_ms, beside_p99_ms - alone_ms);
            let case = format!("{streams} streams, share {share}");
            // Never a chunk of which most is overhead, and never one that is larger for having been waited for.
            assert!(longer <= 1.7 / share, "{case}: the prompt {longer:.2} times as long");
            assert!(wait_ms <= 3.0 * call_ms(&[(0, 0)]), "{case}: steps {wait_ms:.1} ms longer");
        }
    }

    #[test]
    fn a_short_prompt_does_not_wait_for_a_long_one() {
        let mut scheduler = Scheduler::new(LIMITS);
        let long = |depth| Demand { slot: 0, pending: 4_000 - depth, depth, generating: false };
        let short = Demand { slot: 5, pending: 30, depth: 0, generating: false };
        assert_eq!(scheduler.prefill(&[long(0)], false).shares, [Share { slot: 0, tokens: 128 }]);
        let shares = scheduler.prefill(&[long(128), short], false).shares;
        assert_eq!(shares, [Share { slot: 0, tokens: 98 }, Share { slot: 5, tokens: 30 }]);
    }
}
