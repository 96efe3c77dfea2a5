//! Which cached sequence serves which prompt. Pure: no model, no bytes.
//!
//! What a prompt shares with something that was decoded before need not be decoded again. It may lie in a slot that
//! nobody uses (taken over in place), in one that another request is using, or in host memory (copied from there).

use crate::model::{Capabilities, Layout, Token};

/// Tokens that are worth a copy or a place in host memory: below, decoding them again is as quick.
pub(crate) const WORTH_COPYING: usize = 32;

/// A copy moves a whole sequence. It is made where at least one in so many of its tokens is shared: copying a token
/// was measured at 1/300 of the time of decoding one.
const COPIED_FOR_ONE_SHARED: usize = 16;

/// What can be done with cached sequences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// A tail can be dropped. Otherwise a sequence serves only prompts that extend the whole of it.
    pub partial_removal: bool,
    /// A sequence can be copied into another slot.
    pub copy: bool,
    /// A batch is computed faster when the slots in it stand side by side.
    pub dense: bool,
}

impl Rules {
    pub(crate) fn new(capabilities: &Capabilities) -> Self {
        let Capabilities { partial_removal, copy, layout, .. } = *capabilities;
        Self { partial_removal, copy, dense: layout == Layout::Streams }
    }

    /// How many tokens of a prompt a held sequence spares it. Never all: the last one is decoded, for its logits.
    fn shared(self, prompt: &[Token], held: &[Token]) -> usize {
        let common = prompt.iter().zip(held).take_while(|(a, b)| a == b).count();
        let most = prompt.len().saturating_sub(1);
        if self.partial_removal {
            common.min(most)
        } else if common == held.len() && common <= most {
            common
        } else {
            0
        }
    }
}

/// What a slot holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding<'a> {
    pub tokens: &'a [Token],
    /// A request is using it.
    pub is_busy: bool,
    /// When it was used last, in any unit.
    pub used: u64,
}

/// Where a prompt goes, and what spares it work there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The slot; nobody uses it.
    pub slot: usize,
    /// Where the shared tokens come from.
    pub source: Source,
    /// How many tokens of the prompt need not be decoded.
    pub shared: usize,
}

/// Where shared tokens come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// They are in the slot already, if there are any.
    InPlace,
    /// From another slot.
    Slot(usize),
    /// From the saved sequence of this index.
    Saved(usize),
}

/// Finds a place for a prompt; `None` where every slot is busy.
///
/// Of several it is the one that spares the most work, but never one that tears the busy slots further apart than
/// another would. Where nothing is shared, an empty slot, or else the one that was used longest ago.
pub(crate) fn place<'a>(
    prompt: &[Token],
    slots: &[Holding<'_>],
    saved: impl Iterator<Item = &'a [Token]>,
    rules: Rules,
) -> Option<Placement> {
    let runs = |slot: usize| if rules.dense { runs_with(slots, slot) } else { 0 };
    let free = || (0..slots.len()).filter(|&slot| !slots[slot].is_busy);
    let fewest = free().map(runs).min()?;
    let good = || free().filter(|&slot| runs(slot) == fewest);

    // In place costs nothing, but must not wipe out much for little.
    let shared = |slot: usize| rules.shared(prompt, slots[slot].tokens);
    let suits = |&(slot, shared): &(usize, usize)| {
        shared > 0 && (shared >= WORTH_COPYING || shared * 2 >= slots[slot].tokens.len())
    };
    let in_place = good().map(|slot| (slot, shared(slot))).filter(suits).max_by_key(|&(_, shared)| shared);

    let copied = if rules.copy { best_copy(prompt, slots, saved, rules) } else { None };
    let is_better =
        |(_, shared): &(Source, usize)| in_place.is_none_or(|(_, here)| *shared >= here + WORTH_COPYING);
    if let Some((source, shared)) = copied.filter(is_better) {
        let is_source = |slot: usize| source == Source::Slot(slot);
        if let Some(slot) = good().filter(|&slot| !is_source(slot)).min_by_key(|&slot| worth(&slots[slot])) {
            return Some(Placement { slot, source, shared });
        }
    }
    if let Some((slot, shared)) = in_place {
        return Some(Placement { slot, source: Source::InPlace, shared });
    }
    let slot = good().min_by_key(|&slot| worth(&slots[slot]))?;
    Some(Placement { slot, source: Source::InPlace, shared: shared(slot) })
}

/// The longest shared prefix that is worth a copy.
fn best_copy<'a>(
    prompt: &[Token],
    slots: &[Holding<'_>],
    saved: impl Iterator<Item = &'a [Token]>,
    rules: Rules,
) -> Option<(Source, usize)> {
    let held = slots.iter().enumerate().map(|(slot, held)| (Source::Slot(slot), held.tokens));
    let saved = saved.enumerate().map(|(index, tokens)| (Source::Saved(index), tokens));
    held.chain(saved)
        .map(|(source, tokens)| (source, rules.shared(prompt, tokens), tokens.len()))
        .filter(|&(_, shared, length)| {
            shared >= WORTH_COPYING && shared.saturating_mul(COPIED_FOR_ONE_SHARED) >= length
        })
        // The first of the longest: another slot before host memory.
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(source, shared, _)| (source, shared))
}

/// What is lost with a slot's content: least for an empty one, then by time.
fn worth(held: &Holding<'_>) -> (bool, u64) {
    (!held.tokens.is_empty(), held.used)
}

/// Into how many unbroken runs the busy slots fall, once this one is busy too.
fn runs_with(slots: &[Holding<'_>], joining: usize) -> usize {
    let is_busy = |slot: usize| slot == joining || slots[slot].is_busy;
    (0..slots.len()).filter(|&slot| is_busy(slot) && (slot == 0 || !is_busy(slot - 1))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Rules = Rules { partial_removal: true, copy: true, dense: true };

    /// So many tokens of a text of its own.
    fn text(which: Token, length: u32) -> Vec<Token> {
        (0..length).map(|place| which * 1000 + place).collect()
    }

    /// Slots as `(tokens, is busy)`; the first was used longest ago.
    fn check(
        prompt: &[Token],
        slots: &[(Vec<Token>, bool)],
        saved: &[Vec<Token>],
        rules: Rules,
    ) -> Option<Placement> {
        let slots: Vec<Holding<'_>> = (0..)
            .zip(slots)
            .map(|(used, (tokens, is_busy))| Holding { tokens, is_busy: *is_busy, used })
            .collect();
        place(prompt, &slots, saved.iter().map(Vec::as_slice), rules)
    }

    fn at(slot: usize, source: Source, shared: usize) -> Option<Placement> {
        Some(Placement { slot, source, shared })
    }

    #[test]
    fn the_longest_prefix_serves() {
        let (a, b) = (text(1, 100), text(2, 100));
        let longer = [text(1, 100), text(3, 50)].concat();
        let free = |tokens: &[Token]| (tokens.to_vec(), false);
        let busy = |tokens: &[Token]| (tokens.to_vec(), true);
        // Nothing is held: the first slot.
        assert_eq!(check(&a, &[free(&[]), free(&[])], &[], ALL), at(0, Source::InPlace, 0));
        // In place, all but the last token at most.
        assert_eq!(check(&a, &[free(&b), free(&a)], &[], ALL), at(1, Source::InPlace, 99));
        assert_eq!(check(&longer, &[free(&b), free(&a)], &[], ALL), at(1, Source::InPlace, 100));
        // From a busy slot and from host memory, into the slot that is worth the least.
        assert_eq!(check(&longer, &[busy(&a), free(&b), free(&[])], &[], ALL), at(1, Source::Slot(0), 100));
        assert_eq!(
            check(&longer, &[free(&b), free(&[])], &[b.clone(), a.clone()], ALL),
            at(1, Source::Saved(1), 100)
        );
        // A few tokens more are not worth a copy.
        assert_eq!(
            check(&longer, &[free(&a[..90])], std::slice::from_ref(&a), ALL),
            at(0, Source::InPlace, 90)
        );
        // All are busy.
        assert_eq!(check(&a, &[busy(&a)], &[], ALL), None);
    }

    #[test]
    fn little_in_common_wipes_out_nothing() {
        let (old, newer) = ([text(9, 5), text(1, 100)].concat(), [text(9, 5), text(2, 100)].concat());
        let prompt = [text(9, 5), text(3, 100)].concat();
        // Five tokens in common: the one that was used longest ago goes, and what it shares is used.
        let slots = [(old, false), (newer, false)];
        assert_eq!(check(&prompt, &slots, &[], ALL), at(0, Source::InPlace, 5));
    }

    #[test]
    fn busy_slots_stay_together() {
        let a = text(1, 100);
        let free = || (Vec::new(), false);
        let busy = || (text(7, 10), true);
        // What is held far off is copied to where the others are.
        let slots = [busy(), free(), free(), (a.clone(), false)];
        assert_eq!(check(&a, &slots, &[], ALL), at(1, Source::Slot(3), 99));
        let anywhere = Rules { dense: false, ..ALL };
        assert_eq!(check(&a, &slots, &[], anywhere), at(3, Source::InPlace, 99));
        // A gap is filled first.
        let slots = [busy(), free(), busy(), free()];
        assert_eq!(check(&a, &slots, &[], ALL), at(1, Source::InPlace, 0));
    }

    #[test]
    fn what_cannot_be_cut_serves_only_what_extends_it() {
        let whole = Rules { partial_removal: false, ..ALL };
        let a = text(1, 100);
        let slots = [(a.clone(), false), (text(2, 50), false)];
        assert_eq!(check(&text(1, 101), &slots, &[], whole), at(0, Source::InPlace, 100));
        assert_eq!(check(&a, &slots, &[], whole), at(0, Source::InPlace, 0));
        assert_eq!(check(&text(1, 99), &slots, &[], whole), at(0, Source::InPlace, 0));
        assert_eq!(
            check(&text(1, 101), &[(a, true), (Vec::new(), false)], &[], whole),
            at(1, Source::Slot(0), 100)
        );
    }

    #[test]
    fn a_copy_of_much_for_little_is_not_made() {
        let long = [text(1, 40), (0..900).map(|place| 50_000 + place).collect()].concat();
        let prompt = [text(1, 40), text(2, 40)].concat();
        assert_eq!(check(&prompt, &[(long, true), (Vec::new(), false)], &[], ALL), at(1, Source::InPlace, 0));
        let no_copy = Rules { copy: false, ..ALL };
        assert_eq!(
            check(&prompt, &[(text(1, 40), true), (Vec::new(), false)], &[], no_copy),
            at(1, Source::InPlace, 0)
        );
    }
}
