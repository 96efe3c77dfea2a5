//! A host in miniature, for a plugin's unit tests.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::model::Special;
use crate::testing::{Commands, Vocabulary};
use crate::{Candidates, Finish, Level, Notation, RowSummary, Token};

/// A step as a test set it up.
#[derive(Debug, Default)]
pub(crate) struct StepData {
    pub(crate) history: Vec<Token>,
    pub(crate) random: u64,
    pub(crate) row: Option<Vec<f32>>,
    pub(crate) held: u32,
    pub(crate) commands: Commands,
}

/// One `bool` for each token of the vocabulary.
pub(crate) type TokenSetData = Vec<bool>;

/// Alternatives of plain text, and the tokens so far.
#[derive(Clone, Debug)]
pub(crate) struct GrammarData {
    texts: Vec<Vec<u8>>,
    taken: Vec<Token>,
}

thread_local! {
    pub(crate) static VOCABULARY: RefCell<Vocabulary> = RefCell::new(Vocabulary::default());
    static STORE: RefCell<BTreeMap<String, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
}

fn with<R>(body: impl FnOnce(&Vocabulary) -> R) -> R {
    VOCABULARY.with_borrow(body)
}

pub(crate) fn log(level: Level, message: &str) {
    eprintln!("[{level:?}] {message}");
}

pub(crate) fn vocab_size() -> u32 {
    with(|vocabulary| u32::try_from(vocabulary.pieces.len()).expect("a test's vocabulary is small"))
}

pub(crate) fn special(role: Special) -> Option<Token> {
    with(|vocabulary| vocabulary.special.iter().find(|(special, _)| *special == role).map(|&(_, id)| id))
}

pub(crate) fn is_eog(id: Token) -> bool {
    special(Special::Eos) == Some(id) || special(Special::Eot) == Some(id)
}

/// The longest piece that fits, again and again.
pub(crate) fn encode(text: &str, parse_special: bool) -> Result<Vec<Token>, String> {
    with(|vocabulary| {
        let is_special = |id: Token| vocabulary.special.iter().any(|&(_, special)| special == id);
        let (mut rest, mut ids) = (text.as_bytes(), Vec::new());
        while !rest.is_empty() {
            let fits = (0..).zip(&vocabulary.pieces).filter(|&(id, piece)| {
                !piece.is_empty() && rest.starts_with(piece) && (parse_special || !is_special(id))
            });
            let (id, piece) =
                fits.max_by_key(|(_, piece)| piece.len()).ok_or("no token for some of the text")?;
            ids.push(id);
            rest = &rest[piece.len()..];
        }
        Ok(ids)
    })
}

pub(crate) fn decode(ids: &[Token]) -> Vec<u8> {
    with(|vocabulary| {
        let printed = ids.iter().filter(|&&id| !vocabulary.special.iter().any(|&(_, special)| special == id));
        printed.filter_map(|&id| vocabulary.pieces.get(id as usize)).flatten().copied().collect()
    })
}

pub(crate) fn pieces() -> (Vec<u32>, Vec<u8>) {
    with(|vocabulary| {
        let mut bytes = Vec::new();
        let ends = vocabulary.pieces.iter().map(|piece| {
            bytes.extend_from_slice(piece);
            u32::try_from(bytes.len()).expect("a test's vocabulary is small")
        });
        (ends.collect(), bytes.clone())
    })
}

pub(crate) fn position(step: &StepData) -> u32 {
    u32::try_from(step.history.len()).expect("a test's history is short")
}

pub(crate) fn history(step: &StepData, count: u32) -> Vec<Token> {
    step.history[step.history.len().saturating_sub(count as usize)..].to_vec()
}

/// SplitMix64. The host's numbers are others.
pub(crate) fn random(step: &mut StepData) -> f32 {
    step.random = step.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = step.random;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit a float exactly")]
    let bits = ((z ^ (z >> 31)) >> 40) as f32;
    bits / 16_777_216.0
}

pub(crate) fn allow(step: &mut StepData, set: &TokenSetData) {
    match &mut step.commands.allowed {
        Some(allowed) => allowed.retain(|&id| set_has(set, id)),
        None => step.commands.allowed = Some((0..vocab_size()).filter(|&id| set_has(set, id)).collect()),
    }
}

pub(crate) fn obey(step: &mut StepData, grammar: &GrammarData) -> Result<(), String> {
    allow(step, &grammar_allowed(grammar)?);
    Ok(())
}

pub(crate) fn bias(step: &mut StepData, ids: &[Token], add: &[f32]) {
    assert_eq!(ids.len(), add.len(), "bias with lists of different lengths");
    assert!(add.iter().all(|add| !add.is_nan() && *add < f32::INFINITY), "a bias that is NaN or infinite");
    step.commands.bias.extend(ids.iter().copied().zip(add.iter().copied()));
}

pub(crate) fn temperature(step: &mut StepData, value: f32) {
    assert!(value.is_finite() && value >= 0.0, "a temperature of {value}");
    step.commands.temperature = Some(value);
}

pub(crate) fn allow_eog(step: &mut StepData, allowed: bool) {
    step.commands.allow_eog = Some(allowed);
}

pub(crate) fn force(step: &mut StepData, ids: &[Token]) {
    step.commands.force.extend_from_slice(ids);
}

pub(crate) fn held(step: &StepData) -> u32 {
    step.held
}

pub(crate) fn hold(step: &mut StepData, count: u32) {
    step.commands.hold = step.commands.hold.max(count);
}

pub(crate) fn backtrack(step: &mut StepData, count: u32) {
    assert!(
        count <= step.held,
        "{count} tokens are taken back, and {} are held: use Step::with_held",
        step.held
    );
    step.commands.backtrack = step.commands.backtrack.max(count);
}

pub(crate) fn stop(step: &mut StepData, reason: Finish) {
    step.commands.stop = Some(reason);
}

pub(crate) fn full(step: &StepData) -> Vec<f32> {
    step.row.clone().expect("the row of logits was read where a test gave none: use Step::with_row")
}

pub(crate) fn summarize(step: &StepData) -> RowSummary {
    let row = full(step);
    let best = top(step, 1);
    let (argmax, max) = (best.ids[0], best.logits[0]);
    let sum: f32 = row.iter().map(|logit| (logit - max).exp()).sum();
    let logsumexp = max + sum.ln();
    let entropy = row.iter().map(|logit| -(logit - logsumexp) * (logit - logsumexp).exp()).sum();
    RowSummary { argmax, max, logsumexp, entropy }
}

pub(crate) fn top(step: &StepData, count: u32) -> Candidates {
    let mut all: Vec<(Token, f32)> = (0..).zip(full(step)).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(count as usize);
    let (ids, logits) = all.into_iter().unzip();
    Candidates { ids, logits }
}

pub(crate) fn at(step: &StepData, ids: &[Token]) -> Vec<f32> {
    let row = full(step);
    ids.iter().map(|&id| row.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY)).collect()
}

pub(crate) fn set_from_ids(ids: &[Token]) -> TokenSetData {
    let mut set = vec![false; vocab_size() as usize];
    for &id in ids {
        *set.get_mut(id as usize).expect("a token outside the vocabulary") = true;
    }
    set
}

pub(crate) fn set_from_words(words: &[u32]) -> TokenSetData {
    (0..vocab_size())
        .map(|id| words.get(id as usize / 32).is_some_and(|word| word >> (id % 32) & 1 == 1))
        .collect()
}

pub(crate) fn set_matching(regex: &str) -> Result<TokenSetData, String> {
    check_plain(regex)?;
    Ok(with(|vocabulary| vocabulary.pieces.iter().map(|piece| piece == regex.as_bytes()).collect()))
}

pub(crate) fn set_intersect(set: &mut TokenSetData, other: &TokenSetData) {
    set.iter_mut().zip(other).for_each(|(has, other)| *has &= other);
}

pub(crate) fn set_unite(set: &mut TokenSetData, other: &TokenSetData) {
    set.iter_mut().zip(other).for_each(|(has, other)| *has |= other);
}

pub(crate) fn set_invert(set: &mut TokenSetData) {
    set.iter_mut().for_each(|has| *has = !*has);
}

pub(crate) fn set_has(set: &TokenSetData, id: Token) -> bool {
    set.get(id as usize).is_some_and(|has| *has)
}

pub(crate) fn set_size(set: &TokenSetData) -> u32 {
    u32::try_from(set.iter().filter(|has| **has).count()).expect("a test's vocabulary is small")
}

fn check_plain(regex: &str) -> Result<(), String> {
    if regex.contains(|c: char| r"\.+*?()|[]{}^$#&-~".contains(c)) {
        return Err("natively, only plain text can be matched".to_owned());
    }
    Ok(())
}

pub(crate) fn grammar_compile(notation: Notation, source: &str) -> Result<GrammarData, String> {
    if notation != Notation::Regex {
        return Err("natively, a grammar can only be a regular expression".to_owned());
    }
    source.split('|').try_for_each(check_plain)?;
    let texts = source.split('|').map(|text| text.as_bytes().to_vec()).collect();
    Ok(GrammarData { texts, taken: Vec::new() })
}

impl GrammarData {
    /// What may follow.
    fn rests(&self) -> impl Iterator<Item = &[u8]> {
        let taken = decode(&self.taken);
        self.texts.iter().filter_map(move |text| text.strip_prefix(taken.as_slice()))
    }

    fn fits(&self, id: Token) -> bool {
        let piece = decode(&[id]);
        let may_end = self.rests().any(<[u8]>::is_empty);
        (!piece.is_empty() && self.rests().any(|rest| rest.starts_with(&piece))) || (may_end && is_eog(id))
    }
}

pub(crate) fn grammar_allowed(grammar: &GrammarData) -> Result<TokenSetData, String> {
    let set: TokenSetData = (0..vocab_size()).map(|id| grammar.fits(id)).collect();
    if set.contains(&true) { Ok(set) } else { Err("the grammar allows no token here".to_owned()) }
}

pub(crate) fn grammar_forced(_: &GrammarData) -> Vec<Token> {
    Vec::new()
}

#[expect(clippy::unnecessary_wraps, reason = "the host's can fail")]
pub(crate) fn grammar_accept(grammar: &mut GrammarData, tokens: &[Token]) -> Result<u32, String> {
    let mut accepted = 0;
    for &token in tokens {
        if !grammar.fits(token) {
            break;
        }
        grammar.taken.push(token);
        accepted += 1;
    }
    Ok(accepted)
}

#[expect(clippy::unnecessary_wraps, reason = "the host's can fail")]
pub(crate) fn grammar_may_end(grammar: &GrammarData) -> Result<bool, String> {
    Ok(grammar.rests().any(<[u8]>::is_empty))
}

pub(crate) fn grammar_is_complete(grammar: &GrammarData) -> bool {
    let mut rests = grammar.rests().peekable();
    rests.peek().is_some() && rests.all(<[u8]>::is_empty)
}

pub(crate) fn grammar_rollback(grammar: &mut GrammarData, count: u32) -> Result<(), String> {
    let left = grammar.taken.len().checked_sub(count as usize);
    grammar.taken.truncate(left.ok_or("there are not so many tokens to take back")?);
    Ok(())
}

pub(crate) fn grammar_fork(grammar: &GrammarData) -> GrammarData {
    grammar.clone()
}

pub(crate) fn store_get(key: &str) -> Option<Vec<u8>> {
    STORE.with_borrow(|store| store.get(key).cloned())
}

/// The host's limits, by default.
pub(crate) fn store_set(key: &str, value: &[u8], _ttl_ms: u32) -> Result<(), String> {
    if key.len() > 256 || value.len() > 64 << 10 {
        return Err("the key or the value is too long".to_owned());
    }
    STORE.with_borrow_mut(|store| store.insert(key.to_owned(), value.to_vec()));
    Ok(())
}

pub(crate) fn store_add(key: &str, by: i64, ttl_ms: u32) -> Result<i64, String> {
    let value = store_get(key).unwrap_or_else(|| vec![0; 8]);
    let number = value.try_into().map_err(|_| "the value is no number")?;
    let sum = i64::from_le_bytes(number).saturating_add(by);
    store_set(key, &sum.to_le_bytes(), ttl_ms)?;
    Ok(sum)
}

pub(crate) fn store_remove(key: &str) {
    STORE.with_borrow_mut(|store| store.remove(key));
}
