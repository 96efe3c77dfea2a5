//! Which tokens are decoded next. Pure: no thread, no clock, no model.
//!
//! A step has two calls. First every sequence that generates decodes its token. Then prompts are decoded, beginning
//! with another one each time. While anything generates, prompts get a share of the *time*: each call for those who
//! generate earns them a credit of milliseconds, and what their own calls took is paid from it, by a cost that is learned
//! while running.
//!
//! A long prompt is decoded in chunks, each as long as a step's credit lasts. So it slows the others down by a known
//! factor and never stops them: with a share f, the time between two tokens grows by 1/(1-f), and a little. A
//! short one is decoded at once and in one call, on credit that the next steps pay back: cut into chunks it would cost
//! everybody more, because every call passes over all weights. How much may be owed is bounded
//! ([`Limits::prefill_burst`]), and so is what counts as short. And where more prompts wait than sequences generate,
//! they earn, and may owe, as many times more: a step costs little more for many than for few, so all get on faster
//! when the waiting come to generate soon.
//!
//! The two are never in one call. With one KV stream for each slot every sequence of a call is computed at the length
//! of the longest, so that a deep prompt would make everybody's token as dear as its own. For the same reason those who
//! generate are divided into two calls, by length, where that is quicker by what was learned of such calls.

use std::time::Duration;

use crate::cost::{CallCost, Work};
use crate::model::Slot;

/// The chunk that is tried beside others while nothing is known of costs.
const CHUNK_FIRST: u32 = 16;

/// Chunks are whole ones of so many: kernels compute rows in tiles, and what is left over one by one. On a CPU one of
/// these takes as long as five in a tile.
const CHUNK_TILE: u32 = 4;

/// So much of a step's time more than their share do prompts get in chunks: what chunks cost more than the prompt in
/// one piece would is shared by both.
const CHUNK_EXTRA: f64 = 0.36;

/// Two calls instead of one must promise to take less than this part of the one's time.
const SPLIT_GAIN: f64 = 0.85;

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
    /// Tokens of its prompt that were not in the cache: what they cost decides whether it is a short one.
    pub prompt: u32,
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
    /// By how many tokens those who generate may fall behind for short prompts: those that take no longer than half as
    /// many steps. 0: all are long.
    pub prefill_burst: u32,
    /// Every slot has a KV stream of its own: the length of the longest sequence of a call is what all cost.
    pub streams: bool,
}

/// One call of the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Whose tokens, in ascending order of slots, no slot twice.
    pub shares: Vec<Share>,
    work: Work,
}

impl Call {
    fn new(mut parts: Vec<(Share, u32)>) -> Self {
        parts.sort_unstable_by_key(|(share, _)| share.slot);
        let work = Work {
            passes: passes(parts.iter().map(|(share, _)| *share).collect()),
            tokens: parts.iter().map(|(share, _)| share.tokens).sum(),
            length: parts.iter().map(|(share, depth)| share.tokens + depth).max().unwrap_or(0),
        };
        Self { shares: parts.into_iter().map(|(share, _)| share).collect(), work }
    }
}

/// How often a call passes over the weights: llama.cpp computes every unbroken run of slots separately, and of a run
/// as many tokens of each at a time as its shortest has left (`split_equal`).
fn passes(mut left: Vec<Share>) -> u32 {
    let mut passes = 0;
    while !left.is_empty() {
        let broken = left.windows(2).position(|pair| pair[0].slot + 1 != pair[1].slot);
        let run = broken.map_or(left.len(), |at| at + 1);
        let least = left[..run].iter().map(|share| share.tokens).min().unwrap_or(0);
        left[..run].iter_mut().for_each(|share| share.tokens -= least);
        left.retain(|share| share.tokens > 0);
        passes += 1;
    }
    passes
}

/// Divides calls among sequences.
#[derive(Clone, Debug)]
pub struct Scheduler {
    limits: Limits,
    decode_cost: CallCost,
    prefill_cost: CallCost,
    /// Milliseconds that prompts have earned and not used. Below 0 after a chunk that took longer than expected.
    credit: f64,
    /// What the calls for those who generate took in this step.
    decode_ms: f64,
    /// Whose prompt is first in the next call; if it is gone, the one after it.
    next_prompt: Slot,
    /// How many more tokens it has before it is another one's turn. A turn is a whole chunk: prompts that advanced by
    /// turns of a few tokens would all be late.
    turn_left: u32,
}

impl Scheduler {
    /// A scheduler within limits; a limit of 0 is 1, and a share is held between 0.05 and 0.95.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            batch_tokens_max: limits.batch_tokens_max.max(1),
            chunk_tokens: limits.chunk_tokens.clamp(1, limits.batch_tokens_max.max(1)),
            prefill_share: limits.prefill_share.clamp(0.05, 0.95),
            ..limits
        };
        let (decode_cost, prefill_cost) = (CallCost::default(), CallCost::default());
        Self { limits, decode_cost, prefill_cost, credit: 0.0, decode_ms: 0.0, next_prompt: 0, turn_left: 0 }
    }

    /// The next calls for those who generate, one or two, or none where nobody does: one token each, and more where
    /// samplers forced them. `demands` has each slot at most once, in any order.
    #[must_use]
    pub fn decode(&self, demands: &[Demand]) -> Vec<Call> {
        let generating = || demands.iter().filter(|demand| demand.generating);
        let count = u32::try_from(generating().count()).unwrap_or(u32::MAX).max(1);
        let each = (self.limits.batch_tokens_max / count).clamp(1, FORCED_MAX);
        let part =
            |demand: &Demand| (Share { slot: demand.slot, tokens: demand.pending.min(each) }, demand.depth);
        let mut parts: Vec<(Share, u32)> = generating().map(part).collect();
        // A model whose calls are shorter than it has slots serves the first ones first.
        parts.truncate(self.limits.batch_tokens_max as usize);
        self.split(parts)
    }

    /// Divides those who generate by length, where that is quicker.
    fn split(&self, mut parts: Vec<(Share, u32)>) -> Vec<Call> {
        if parts.is_empty() {
            return Vec::new();
        }
        parts.sort_unstable_by_key(|(_, depth)| *depth);
        let one = Call::new(parts.clone());
        let Some(cost) = self.decode_cost.of(one.work).filter(|_| self.limits.streams) else {
            return vec![one];
        };
        // Only where there is a jump in length can a split gain more than the second call costs.
        let jumps = (1..parts.len()).filter(|&at| parts[at].1 > parts[at - 1].1 / 2 * 3 + 64);
        let calls = |at: usize| [Call::new(parts[..at].to_vec()), Call::new(parts[at..].to_vec())];
        let costed = jumps.filter_map(|at| {
            let calls = calls(at);
            Some((self.decode_cost.of(calls[0].work)? + self.decode_cost.of(calls[1].work)?, calls))
        });
        match costed.min_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((two, calls)) if two < cost * SPLIT_GAIN => calls.into(),
            _ => vec![one],
        }
    }

    /// The model took so long for a call of [`Scheduler::decode`].
    pub fn decoded(&mut self, call: &Call, took: Duration) {
        self.decode_cost.learn(call.work, milliseconds(took));
    }

    /// All calls of [`Scheduler::decode`], with all that belongs to them, took so long: prompts will earn their part.
    pub fn earn(&mut self, took: Duration) {
        self.decode_ms = milliseconds(took);
    }

    /// The next call for prompts. `beside`: others are generating, so that it may last only as long as the credit.
    /// `None` where no prompt waits, or the credit is not enough yet.
    #[must_use]
    pub fn prefill(&mut self, demands: &[Demand], beside: bool) -> Option<Call> {
        let mut prompts: Vec<&Demand> = demands.iter().filter(|demand| !demand.generating).collect();
        prompts.sort_unstable_by_key(|demand| (demand.slot < self.next_prompt, demand.slot));
        // Where more wait than generate, all get on faster when the waiting come to generate soon: a step costs
        // little more for many than for few.
        let generating = demands.len() - prompts.len();
        #[expect(clippy::cast_precision_loss, reason = "there are at most a few hundred slots")]
        let crowd = (prompts.len() as f64 / generating.max(1) as f64).max(1.0);
        self.credit = if beside { self.credit + self.decode_ms * self.ratio() * crowd } else { 0.0 };
        let Some(&first) = prompts.first() else {
            // Debts are paid, but nothing is saved up: who comes later earns from then on.
            self.credit = self.credit.min(0.0);
            return None;
        };
        let burst = f64::from(self.limits.prefill_burst) * self.decode_ms * crowd;
        let room = if !beside {
            self.limits.chunk_tokens
        } else if self.is_short(first, burst) {
            // What was saved up for a long one is no reason to let anybody wait later.
            self.credit = self.credit.min(0.0);
            if self.credit < -burst {
                return None;
            }
            self.limits.chunk_tokens
        } else {
            self.affordable(first, crowd)?
        };
        if first.slot != self.next_prompt || self.turn_left == 0 {
            self.turn_left = self.limits.chunk_tokens;
        }
        let given = first.pending.min(room);
        self.turn_left = self.turn_left.saturating_sub(given);
        let is_over = self.turn_left == 0 || given == first.pending;
        self.next_prompt = if is_over { first.slot + 1 } else { first.slot };
        self.turn_left = if is_over { 0 } else { self.turn_left };
        let mut parts = vec![(Share { slot: first.slot, tokens: given }, first.depth)];
        let mut room = room - given;
        for demand in &prompts[1..] {
            // What is cut costs another call, and a deeper prompt would make the whole call as dear as its own.
            if demand.pending <= room && demand.depth <= first.depth + first.pending {
                parts.push((Share { slot: demand.slot, tokens: demand.pending }, demand.depth));
                room -= demand.pending;
            }
        }
        Some(Call::new(parts))
    }

    /// Whether a prompt, from its beginning, takes no longer than half of what may be owed.
    fn is_short(&self, prompt: &Demand, burst: f64) -> bool {
        let calls = f64::from(prompt.prompt.div_ceil(self.limits.chunk_tokens));
        let tokens = prompt.prompt.min(self.limits.chunk_tokens);
        let cost = self.prefill_cost.of(Work::of_one(tokens, prompt.depth + prompt.pending));
        cost.is_some_and(|cost| cost * calls <= burst / 2.0)
    }

    /// The model took so long for a call of [`Scheduler::prefill`].
    pub fn prefilled(&mut self, call: &Call, took: Duration) {
        self.prefill_cost.learn(call.work, milliseconds(took));
        self.credit -= milliseconds(took);
    }

    /// The time of prompts, as a multiple of the time of those who generate.
    fn ratio(&self) -> f64 {
        self.limits.prefill_share / (1.0 - self.limits.prefill_share)
    }

    /// How many tokens of a long prompt the credit is enough for, if it is enough for any.
    fn affordable(&mut self, first: &Demand, crowd: f64) -> Option<u32> {
        let Some(efficient) = self.prefill_cost.efficient_tokens(first.depth) else {
            return Some(CHUNK_FIRST);
        };
        let least = efficient.next_multiple_of(CHUNK_TILE).min(first.pending).min(self.limits.chunk_tokens);
        let least_cost = self.prefill_cost.of(Work::of_one(least, first.depth))?;
        // One step's chunk takes what a step earns. Only where that is too little for any sensible chunk, credit is
        // saved up for the smallest; what is left over does not add up to a long wait.
        let earned = self.decode_ms * (self.ratio() + CHUNK_EXTRA) * crowd;
        let most = earned.max(least_cost);
        self.credit = (self.credit + self.decode_ms * CHUNK_EXTRA * crowd).min(most + earned);
        if self.credit < least_cost {
            return None;
        }
        // The end of a prompt in two calls would cost a call more: it borrows the time of two steps, and pays it back.
        let rest = first.pending.min(self.limits.chunk_tokens);
        let longest = most + 2.0 * self.decode_ms;
        if rest == first.pending && self.prefill_cost.of(Work::of_one(rest, first.depth))? <= longest {
            return Some(rest);
        }
        let tokens = self.prefill_cost.tokens_within(self.credit.min(most), first.depth)?.max(least);
        Some(if tokens > CHUNK_TILE { tokens - tokens % CHUNK_TILE } else { tokens })
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        batch_tokens_max: 256,
        chunk_tokens: 128,
        prefill_share: 0.5,
        prefill_burst: 64,
        streams: true,
    };

    fn demands() -> impl Strategy<Value = Vec<Demand>> {
        prop::collection::btree_map(0_u32..64, (1_u32..3000, 0_u32..3000, any::<bool>()), 0..40).prop_map(
            |by_slot| {
                let demand = |(slot, (pending, depth, generating))| Demand {
                    slot,
                    pending: if generating { pending % 3 + 1 } else { pending },
                    depth,
                    prompt: pending,
                    generating,
                };
                by_slot.into_iter().map(demand).collect()
            },
        )
    }

    fn generating(slot: Slot, depth: u32) -> Demand {
        Demand { slot, pending: 1, depth, prompt: depth, generating: true }
    }

    /// What is left of a prompt.
    fn prompt(slot: Slot, prompt: u32, depth: u32) -> Demand {
        Demand { slot, pending: prompt - depth, depth, prompt, generating: false }
    }

    /// Milliseconds of a call, roughly as measured of a 0.5B model on two cores: for each pass over the weights, and
    /// each token at the length of the longest sequence. Of a prompt's tokens those that are left over from tiles of
    /// four are dear; many tokens of a sequence attend cheaper each than one of each of many sequences.
    fn ms(call: &Call) -> f64 {
        let Work { passes, tokens, length } = call.work;
        let is_prefill = tokens as usize > call.shares.len() || call.shares.len() == 1;
        let (left_over, attention) = if is_prefill { (tokens % 4, 0.0005) } else { (0, 0.0012) };
        let each = 1.2 + attention * f64::from(length);
        8.0 * f64::from(passes) + f64::from(tokens) * each + f64::from(left_over) * 4.8
    }

    fn time(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    /// A step by the clock that the costs of the calls move: milliseconds of decoding and of prefill, and the prefill.
    fn step(scheduler: &mut Scheduler, demands: &[Demand]) -> (f64, f64, Option<Call>) {
        let mut decode_ms = 0.0;
        for call in scheduler.decode(demands) {
            scheduler.decoded(&call, time(ms(&call)));
            decode_ms += ms(&call);
        }
        scheduler.earn(time(decode_ms));
        let prefill = scheduler.prefill(demands, decode_ms > 0.0);
        let prefill_ms = prefill.as_ref().map_or(0.0, ms);
        if let Some(call) = &prefill {
            scheduler.prefilled(call, time(prefill_ms));
        }
        (decode_ms, prefill_ms, prefill)
    }

    proptest! {
        #[test]
        fn calls_are_dense_bounded_and_leave_nobody_out_who_generates(demands in demands(), steps in 1..4) {
            let mut scheduler = Scheduler::new(LIMITS);
            (1..steps).for_each(|_| { step(&mut scheduler, &demands); });
            let decode = scheduler.decode(&demands);
            scheduler.earn(Duration::from_millis(100));
            let prefill = scheduler.prefill(&demands, !decode.is_empty());
            let decoded = decode.iter().map(|call| (call, true, 256));
            for (call, generating, most) in decoded.chain(prefill.iter().map(|call| (call, false, 128))) {
                let shares = &call.shares;
                prop_assert!(shares.windows(2).all(|pair| pair[0].slot < pair[1].slot), "{shares:?}");
                prop_assert!((1..=most).contains(&shares.iter().map(|share| share.tokens).sum::<u32>()));
                for share in shares {
                    let demand = demands.iter().find(|demand| demand.slot == share.slot).expect("a demand");
                    prop_assert!(demand.generating == generating && (1..=demand.pending).contains(&share.tokens));
                }
            }
            let shares: Vec<&Share> = decode.iter().flat_map(|call| &call.shares).collect();
            prop_assert_eq!(shares.len(), demands.iter().filter(|demand| demand.generating).count());
            prop_assert_eq!(decode.is_empty() && prefill.is_none(), demands.is_empty());
        }

        /// However many prompts wait beside one that generates, all are done within a time that grows with them.
        #[test]
        fn every_prompt_gets_its_turn(prompts in prop::collection::vec(1_u32..400, 1..40)) {
            let mut scheduler = Scheduler::new(LIMITS);
            let mut left = prompts.clone();
            let mut steps = 0;
            while left.iter().any(|pending| *pending > 0) {
                steps += 1;
                prop_assert!(steps < 10_000, "{:?}", left);
                let waiting = (0..).zip(&left).filter(|(_, pending)| **pending > 0);
                let rest = |(slot, &pending): (Slot, &u32)| {
                    let whole = prompts[slot as usize];
                    prompt(slot, whole, whole - pending)
                };
                let demands: Vec<Demand> = waiting.map(rest).chain([generating(63, 10)]).collect();
                for share in step(&mut scheduler, &demands).2.into_iter().flat_map(|call| call.shares) {
                    left[share.slot as usize] -= share.tokens;
                }
            }
        }
    }

    /// What a prompt that arrives does to streams, and they to it.
    struct Arrival {
        /// A step without it.
        alone_ms: f64,
        /// The 99th percentile of the steps beside it but for the last, as a multiple of what each would take without it.
        slower: f64,
        /// The time that it takes, as a multiple of what it takes alone.
        longer: f64,
    }

    /// Simulates streams that decode, and a prompt that arrives.
    fn arrival(streams: u32, length: u32, prefill_share: f64) -> Arrival {
        let mut scheduler = Scheduler::new(Limits { prefill_share, ..LIMITS });
        // Alone, in whole chunks: so it has seen what prompts cost.
        let (mut alone, mut depth) = (0.0, 0);
        while depth < length {
            let (_, prefill_ms, _) = step(&mut scheduler, &[prompt(0, length, depth)]);
            alone += prefill_ms;
            depth += 128;
        }
        let (mut slower, mut took, mut alone_ms, mut streamed, mut depth) = (Vec::new(), 0.0, 0.0, 500, 0);
        while depth < length {
            let mut demands: Vec<Demand> = (0..streams).map(|slot| generating(slot, streamed)).collect();
            streamed += 1;
            if streamed > 520 {
                demands.push(prompt(streams, length, depth));
            }
            let (decode_ms, prefill_ms, prefill) = step(&mut scheduler, &demands);
            if streamed > 520 {
                slower.push((decode_ms + prefill_ms) / decode_ms);
                took += decode_ms + prefill_ms;
            } else {
                alone_ms = decode_ms;
            }
            depth += prefill.map_or(0, |call| call.work.tokens);
        }
        // The end of a prompt may borrow the time of two steps, and a little for what it is wrong about.
        let last = slower.pop().expect("a step");
        assert!(last <= slower.iter().copied().fold(1.1 / (1.0 - prefill_share), f64::max) + 2.3, "{last}");
        slower.sort_by(f64::total_cmp);
        Arrival { alone_ms, slower: slower[slower.len() * 99 / 100], longer: took / alone }
    }

    #[test]
    fn a_long_prompt_slows_streams_by_the_factor_that_its_share_is() {
        for (streams, share) in [(8, 0.5), (8, 0.67), (8, 0.8), (16, 0.5)] {
            let Arrival { slower, longer, .. } = arrival(streams, 4_000, share);
            let case = format!("{streams} streams, share {share}");
            assert!(slower <= 1.2 / (1.0 - share), "{case}: steps {slower:.2} times as long");
            // Small chunks are less efficient than large ones: the prompt pays for that.
            assert!(longer <= 1.25 / share, "{case}: the prompt {longer:.2} times as long");
        }
    }

    #[test]
    fn where_a_share_is_too_little_for_any_chunk_it_is_saved_up() {
        for (streams, share) in [(1, 0.5), (4, 0.5), (16, 0.2)] {
            let Arrival { alone_ms, slower, longer } = arrival(streams, 4_000, share);
            let (case, wait_ms) = (format!("{streams} streams, share {share}"), (slower - 1.0) * alone_ms);
            // A chunk is never nearly all overhead, and never larger for having been waited for.
            assert!(longer <= 2.8 / share, "{case}: the prompt {longer:.2} times as long");
            assert!(wait_ms <= 4.0 * 8.0, "{case}: steps {wait_ms:.1} ms longer");
        }
    }

    #[test]
    fn a_short_prompt_does_not_wait_for_a_long_one() {
        let mut scheduler = Scheduler::new(LIMITS);
        let mut shares = |demands: &[Demand]| scheduler.prefill(demands, false).expect("a call").shares;
        let (long, short) = (|depth| prompt(0, 4_000, depth), prompt(5, 30, 0));
        assert_eq!(shares(&[long(0)]), [Share { slot: 0, tokens: 128 }]);
        assert_eq!(shares(&[long(128), short]), [Share { slot: 5, tokens: 30 }]);
        assert_eq!(shares(&[long(128)]), [Share { slot: 0, tokens: 128 }]);
    }

    #[test]
    fn prompts_share_a_call_and_none_is_cut_for_it() {
        let mut scheduler = Scheduler::new(LIMITS);
        let waiting: Vec<Demand> = (1..6).map(|slot| prompt(slot, 48, 0)).collect();
        let shares = |of: &[Slot]| of.iter().map(|&slot| Share { slot, tokens: 48 }).collect::<Vec<_>>();
        let first = scheduler.prefill(&waiting, false).expect("a call");
        assert_eq!((first.shares, first.work.passes), (shares(&[1, 2]), 1));
        assert_eq!(scheduler.prefill(&waiting[2..], false).expect("a call").shares, shares(&[3, 4]));
    }

    #[test]
    fn a_call_passes_over_the_weights_as_often_as_llama_cpp_splits_it() {
        let passes = |shares: &[(Slot, u32)]| {
            passes(shares.iter().map(|&(slot, tokens)| Share { slot, tokens }).collect())
        };
        assert_eq!(passes(&[(0, 1), (1, 1), (2, 1)]), 1);
        assert_eq!(passes(&[(0, 1), (2, 1), (3, 1)]), 2);
        assert_eq!(passes(&[(0, 64), (1, 64)]), 1);
        assert_eq!(passes(&[(0, 64), (1, 30)]), 2);
        assert_eq!(passes(&[(0, 64), (1, 30), (2, 64)]), 3);
    }

    #[test]
    fn short_prompts_are_done_in_one_call_and_keep_to_their_share() {
        for (pending, share) in [(64, 0.5), (120, 0.5), (64, 0.2)] {
            let mut scheduler = Scheduler::new(Limits { prefill_share: share, ..LIMITS });
            let generating: Vec<Demand> = (0..16).map(|slot| generating(slot, 100)).collect();
            // One after the other arrives; at first nothing is known of costs.
            let demands = [generating.as_slice(), &[prompt(16, pending, 0)]].concat();
            (0..200).for_each(|_| {
                step(&mut scheduler, &demands);
            });
            let steps: Vec<_> = (0..100).map(|_| step(&mut scheduler, &demands)).collect();
            let tokens: Vec<u32> =
                steps.iter().filter_map(|(.., call)| Some(call.as_ref()?.work.tokens)).collect();
            assert!(tokens.iter().all(|tokens| *tokens == pending), "{tokens:?}");
            let sum = |of: fn(&(f64, f64, Option<Call>)) -> f64| steps.iter().map(of).sum::<f64>();
            let taken = sum(|step| step.1) / sum(|step| step.0 + step.1);
            assert!((share * 0.95..share * 1.1).contains(&taken), "{taken}, not {share}");
        }
    }

    /// What a burst may do to those who generate: they fall behind by so many tokens and a call, and no more.
    #[test]
    fn short_prompts_owe_no_more_than_they_may() {
        let mut scheduler = Scheduler::new(LIMITS);
        let demands: Vec<Demand> =
            (0..8).map(|slot| generating(slot, 100)).chain([prompt(8, 100, 0)]).collect();
        step(&mut scheduler, &demands[8..]);
        let (mut decoded, mut prefilled) = (0.0, 0.0);
        for _ in 0..1000 {
            let (decode_ms, prefill_ms, _) = step(&mut scheduler, &demands);
            (decoded, prefilled) = (decoded + decode_ms, prefilled + prefill_ms);
            let behind = prefilled - decoded;
            assert!(behind <= 64.0 * decode_ms + prefill_ms.max(140.0), "{behind} ms behind");
        }
        assert!(prefilled > 0.95 * decoded, "and they get what is theirs");
    }

    /// Many requests at once, of 64 tokens in and out: the whole takes little longer than all prompts first, in whole
    /// chunks, and then everybody together.
    #[test]
    fn a_crowd_that_arrives_together_is_soon_generating_together() {
        for count in [2, 4, 8, 16, 32] {
            let mut scheduler = Scheduler::new(LIMITS);
            // It has seen others before.
            (0..8).for_each(|_| {
                step(&mut scheduler, &[generating(0, 64), prompt(1, 500, 0)]);
            });
            let (mut prompts, mut answers) = (vec![64_u32; count], vec![64_u32; count]);
            let (mut took, mut prefills) = (0.0, 0);
            while answers.iter().any(|left| *left > 0) {
                let demand = |slot: usize| {
                    let (prompt, answer) = (prompts[slot], answers[slot]);
                    let (depth, slot) = (128 - prompt - answer, Slot::try_from(slot).expect("a slot"));
                    Demand { slot, pending: prompt.max(1), depth, prompt: 64, generating: prompt == 0 }
                };
                let demands: Vec<Demand> = (0..count).filter(|&slot| answers[slot] > 0).map(demand).collect();
                let (decode_ms, prefill_ms, prefill) = step(&mut scheduler, &demands);
                took += decode_ms + prefill_ms;
                for demand in demands.iter().filter(|demand| demand.generating) {
                    answers[demand.slot as usize] -= 1;
                }
                prefills += usize::from(prefill.is_some());
                for share in prefill.into_iter().flat_map(|call| call.shares) {
                    prompts[share.slot as usize] -= share.tokens;
                }
            }
            let slots = 0..Slot::try_from(count).expect("a slot");
            let all = Call::new(slots.map(|slot| (Share { slot, tokens: 1 }, 96)).collect());
            let chunk = Call::new(vec![(Share { slot: 0, tokens: 128 }, 0)]);
            #[expect(clippy::cast_precision_loss, reason = "it is small")]
            let best = (count / 2) as f64 * ms(&chunk) + 64.0 * ms(&all);
            assert!(took < 1.05 * best, "{count}: {took:.0} ms, and at best {best:.0}");
            assert_eq!(prefills, count / 2, "two share a call");
        }
    }

    #[test]
    fn a_long_sequence_is_decoded_beside_short_ones_and_not_with_them() {
        let run = |streams: bool| {
            let mut scheduler = Scheduler::new(Limits { streams, ..LIMITS });
            let mut short: Vec<Demand> = (0..15).map(|slot| generating(slot, 64)).collect();
            (0..20).for_each(|_| {
                step(&mut scheduler, &short);
            });
            assert_eq!(scheduler.decode(&short).len(), 1, "what is alike stays together");
            short.push(generating(15, 4_000));
            let times: Vec<f64> = (0..40).map(|_| step(&mut scheduler, &short).0).collect();
            times
        };
        let times = run(true);
        assert!(times[0] > 100.0 && times[20..].iter().all(|ms| *ms < 50.0), "{times:?}");
        assert!(run(false).iter().all(|ms| *ms > 100.0), "in one pool a split gains nothing");
    }
}
