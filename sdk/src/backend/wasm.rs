//! The functions of the host.

use super::exports;
use super::exports::imports::minerva::plugin::{constraints, host, model as vocabulary, step, store};
use crate::model::Special;
use crate::{Candidates, Finish, Level, Notation, RowSummary, Token};

/// The host knows which step it is.
pub(crate) type StepData = ();
pub(crate) type TokenSetData = constraints::TokenSet;
pub(crate) type GrammarData = constraints::Grammar;

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Error => host::Level::Error,
        Level::Warn => host::Level::Warn,
        Level::Info => host::Level::Info,
        Level::Debug => host::Level::Debug,
    };
    host::log(level, message);
}

pub(crate) fn vocab_size() -> u32 {
    vocabulary::vocab_size()
}

pub(crate) fn special(role: Special) -> Option<Token> {
    vocabulary::special_id(match role {
        Special::Bos => vocabulary::Special::Bos,
        Special::Eos => vocabulary::Special::Eos,
        Special::Eot => vocabulary::Special::Eot,
        Special::ThinkStart => vocabulary::Special::ThinkStart,
        Special::ThinkEnd => vocabulary::Special::ThinkEnd,
    })
}

pub(crate) fn is_eog(id: Token) -> bool {
    vocabulary::is_eog(id)
}

pub(crate) fn encode(text: &str, parse_special: bool) -> Result<Vec<Token>, String> {
    vocabulary::encode(text, parse_special)
}

pub(crate) fn decode(ids: &[Token]) -> Vec<u8> {
    vocabulary::decode(ids)
}

pub(crate) fn pieces() -> (Vec<u32>, Vec<u8>) {
    vocabulary::pieces()
}

pub(crate) fn position((): &StepData) -> u32 {
    step::position()
}

pub(crate) fn history((): &StepData, count: u32) -> Vec<Token> {
    step::history(count)
}

pub(crate) fn random((): &mut StepData) -> f32 {
    step::random()
}

pub(crate) fn allow((): &mut StepData, set: &TokenSetData) {
    step::allow(set);
}

pub(crate) fn obey((): &mut StepData, grammar: &GrammarData) -> Result<(), String> {
    step::obey(grammar)
}

pub(crate) fn bias((): &mut StepData, ids: &[Token], add: &[f32]) {
    step::bias(ids, add);
}

pub(crate) fn temperature((): &mut StepData, value: f32) {
    step::temperature(value);
}

pub(crate) fn allow_eog((): &mut StepData, allowed: bool) {
    step::allow_eog(allowed);
}

pub(crate) fn force((): &mut StepData, ids: &[Token]) {
    step::force(ids);
}

pub(crate) fn held((): &StepData) -> u32 {
    step::held()
}

pub(crate) fn hold((): &mut StepData, count: u32) {
    step::hold(count);
}

pub(crate) fn backtrack((): &mut StepData, count: u32) {
    step::backtrack(count);
}

pub(crate) fn stop((): &mut StepData, reason: Finish) {
    step::stop(reason.into());
}

pub(crate) fn summarize((): &StepData) -> RowSummary {
    let step::RowSummary { argmax, max, logsumexp, entropy } = step::summarize();
    RowSummary { argmax, max, logsumexp, entropy }
}

pub(crate) fn top((): &StepData, count: u32) -> Candidates {
    let best = step::top(count);
    Candidates { ids: best.ids, logits: best.logits }
}

pub(crate) fn at((): &StepData, ids: &[Token]) -> Vec<f32> {
    step::at(ids)
}

pub(crate) fn full((): &StepData) -> Vec<f32> {
    step::full()
}

pub(crate) fn set_from_ids(ids: &[Token]) -> TokenSetData {
    TokenSetData::new(ids)
}

pub(crate) fn set_from_words(words: &[u32]) -> TokenSetData {
    TokenSetData::from_words(words)
}

pub(crate) fn set_matching(regex: &str) -> Result<TokenSetData, String> {
    TokenSetData::matching(regex)
}

pub(crate) fn set_intersect(set: &mut TokenSetData, other: &TokenSetData) {
    set.intersect(other);
}

pub(crate) fn set_unite(set: &mut TokenSetData, other: &TokenSetData) {
    set.unite(other);
}

pub(crate) fn set_invert(set: &mut TokenSetData) {
    set.invert();
}

pub(crate) fn set_has(set: &TokenSetData, id: Token) -> bool {
    set.has(id)
}

pub(crate) fn set_size(set: &TokenSetData) -> u32 {
    set.size()
}

pub(crate) fn grammar_compile(notation: Notation, source: &str) -> Result<GrammarData, String> {
    GrammarData::compile(exports::notation(notation), source)
}

pub(crate) fn grammar_allowed(grammar: &GrammarData) -> Result<TokenSetData, String> {
    grammar.allowed()
}

pub(crate) fn grammar_forced(grammar: &GrammarData) -> Vec<Token> {
    grammar.forced()
}

pub(crate) fn grammar_accept(grammar: &mut GrammarData, tokens: &[Token]) -> Result<u32, String> {
    grammar.accept(tokens)
}

pub(crate) fn grammar_may_end(grammar: &GrammarData) -> Result<bool, String> {
    grammar.may_end()
}

pub(crate) fn grammar_is_complete(grammar: &GrammarData) -> bool {
    grammar.is_complete()
}

pub(crate) fn grammar_rollback(grammar: &mut GrammarData, count: u32) -> Result<(), String> {
    grammar.rollback(count)
}

pub(crate) fn grammar_fork(grammar: &GrammarData) -> GrammarData {
    grammar.fork()
}

pub(crate) fn store_get(key: &str) -> Option<Vec<u8>> {
    store::get(key)
}

pub(crate) fn store_set(key: &str, value: &[u8], ttl_ms: u32) -> Result<(), String> {
    store::set(key, value, ttl_ms)
}

pub(crate) fn store_add(key: &str, by: i64, ttl_ms: u32) -> Result<i64, String> {
    store::add(key, by, ttl_ms)
}

pub(crate) fn store_remove(key: &str) {
    store::remove(key);
}
