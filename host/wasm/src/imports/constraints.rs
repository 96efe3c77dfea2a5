//! `minerva:plugin/constraints`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use minerva_engine::model::{Token, Vocabulary};
use minerva_engine::step;
use regex::bytes::RegexBuilder;
use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTableError};

use crate::bindings::minerva::plugin::constraints::{self, HostTokenSet};
use crate::fault::Denied;
use crate::state::State;

/// What a guest's handle of a `token-set` stands for. Shared until it is changed.
#[expect(unreachable_pub, reason = "the generated bindings export it, and are private themselves")]
pub struct TokenSet(pub(crate) Arc<step::TokenSet>);

/// The longest regular expression.
const PATTERN_BYTES_MAX: usize = 4 << 10;

/// The largest compiled regular expression.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// How many results of `matching` are remembered.
const PATTERNS_MAX: usize = 64;

impl State {
    pub(crate) fn token_set(&self, set: &Resource<TokenSet>) -> Result<Arc<step::TokenSet>> {
        Ok(Arc::clone(&self.resources.get(set)?.0))
    }

    fn new_token_set(&mut self, set: Arc<step::TokenSet>) -> Result<Resource<TokenSet>> {
        self.push(TokenSet(set))
    }

    pub(crate) fn push<T: Send + 'static>(&mut self, entry: T) -> Result<Resource<T>> {
        let limit = self.resources.max_capacity();
        self.resources.push(entry).map_err(|error| match error {
            ResourceTableError::Full => Denied::limit("token sets and grammars", limit, "handles"),
            other => other.into(),
        })
    }

    /// Changes a set, of which others may still have the old form.
    fn change(&mut self, set: &Resource<TokenSet>, change: impl FnOnce(&mut step::TokenSet)) -> Result<()> {
        let words = self.resources.get(set)?.0.words().len();
        self.quota.work(words * 4)?;
        change(Arc::make_mut(&mut self.resources.get_mut(set)?.0));
        Ok(())
    }
}

impl constraints::Host for State {}

impl HostTokenSet for State {
    fn new(&mut self, ids: Vec<Token>) -> Result<Resource<TokenSet>> {
        self.check_tokens(&ids, "token-set")?;
        self.quota.work(ids.len() * 4)?;
        self.new_token_set(Arc::new(step::TokenSet::from_ids(&ids)))
    }

    fn from_words(&mut self, mut words: Vec<u32>) -> Result<Resource<TokenSet>> {
        let size = self.context()?.vocabulary.size() as usize;
        self.quota.work(words.len() * 4)?;
        words.truncate(size.div_ceil(32));
        if words.len() == size.div_ceil(32)
            && !size.is_multiple_of(32)
            && let Some(last) = words.last_mut()
        {
            *last &= (1 << (size % 32)) - 1;
        }
        self.new_token_set(Arc::new(step::TokenSet::from_words(words)))
    }

    fn matching(&mut self, regex: String) -> Result<Result<Resource<TokenSet>, String>> {
        let vocabulary = self.vocabulary()?;
        let patterns = Arc::clone(&self.patterns);
        if let Some(set) = patterns.get(&vocabulary, &regex) {
            return self.new_token_set(set).map(Ok);
        }
        // One pass over a vocabulary of 128k tokens takes some ten milliseconds, and so can the compilation: five
        // of them to a call.
        self.quota.work(COMPILED_BYTES_MAX + vocabulary.size() as usize * 80)?;
        match matching(vocabulary.as_ref(), &regex) {
            Ok(set) => {
                let set = Arc::new(set);
                patterns.put(&vocabulary, regex, &set);
                self.new_token_set(set).map(Ok)
            }
            Err(why) => Ok(Err(why)),
        }
    }

    fn intersect(&mut self, set: Resource<TokenSet>, other: Resource<TokenSet>) -> Result<()> {
        let other = self.token_set(&other)?;
        self.change(&set, |set| set.intersect(&other))
    }

    fn unite(&mut self, set: Resource<TokenSet>, other: Resource<TokenSet>) -> Result<()> {
        let other = self.token_set(&other)?;
        self.change(&set, |set| {
            let (short, long) = if set.words().len() < other.words().len() {
                (set.words(), other.words())
            } else {
                (other.words(), set.words())
            };
            let mut words = long.to_vec();
            words.iter_mut().zip(short).for_each(|(word, other)| *word |= other);
            *set = step::TokenSet::from_words(words);
        })
    }

    fn invert(&mut self, set: Resource<TokenSet>) -> Result<()> {
        let size = self.context()?.vocabulary.size();
        self.quota.work(size as usize / 8)?;
        self.change(&set, |set| set.invert(size))
    }

    fn has(&mut self, set: Resource<TokenSet>, id: Token) -> Result<bool> {
        Ok(self.resources.get(&set)?.0.has(id))
    }

    fn size(&mut self, set: Resource<TokenSet>) -> Result<u32> {
        let set = self.token_set(&set)?;
        self.quota.work(set.words().len() * 4)?;
        Ok(set.words().iter().map(|word| word.count_ones()).sum())
    }

    fn drop(&mut self, set: Resource<TokenSet>) -> Result<()> {
        self.resources.delete(set)?;
        Ok(())
    }
}

/// The tokens whose bytes, as a whole, match. The expression is the guest's, so it is bounded in length, size
/// and nesting, and matched in linear time.
fn matching(vocabulary: &dyn Vocabulary, pattern: &str) -> Result<step::TokenSet, String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("an expression of {} bytes; at most {PATTERN_BYTES_MAX}", pattern.len()));
    }
    // On its own first, so that it cannot close the group around it.
    let build = |pattern: &str| {
        let mut builder = RegexBuilder::new(pattern);
        builder.size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).nest_limit(64);
        builder.build().map_err(|error| error.to_string())
    };
    build(pattern)?;
    // The second form is for one that ends in a comment, which would swallow the parenthesis.
    let whole =
        build(&format!(r"\A(?:{pattern})\z")).or_else(|_| build(&format!("\\A(?:{pattern}\n)\\z")))?;
    let mut words = vec![0_u32; (vocabulary.size() as usize).div_ceil(32)];
    for id in 0..vocabulary.size() {
        let piece = vocabulary.piece(id);
        if !piece.is_empty() && !vocabulary.is_control(id) && whole.is_match(piece) {
            words[id as usize / 32] |= 1 << (id % 32);
        }
    }
    Ok(step::TokenSet::from_words(words))
}

/// The latest results of `matching`, of all plugins: a plugin that opens with the same expression for every
/// request pays for it once.
#[derive(Default)]
pub(crate) struct Patterns {
    latest: Mutex<VecDeque<Pattern>>,
}

struct Pattern {
    vocabulary: Weak<dyn Vocabulary>,
    pattern: String,
    set: Arc<step::TokenSet>,
}

impl Pattern {
    fn is(&self, vocabulary: &Arc<dyn Vocabulary>, pattern: &str) -> bool {
        // A weak reference keeps the address from being another's.
        self.pattern == pattern && std::ptr::addr_eq(self.vocabulary.as_ptr(), Arc::as_ptr(vocabulary))
    }
}

impl Patterns {
    fn get(&self, vocabulary: &Arc<dyn Vocabulary>, pattern: &str) -> Option<Arc<step::TokenSet>> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.iter().find(|known| known.is(vocabulary, pattern)).map(|known| Arc::clone(&known.set))
    }

    fn put(&self, vocabulary: &Arc<dyn Vocabulary>, pattern: String, set: &Arc<step::TokenSet>) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.retain(|known| known.vocabulary.strong_count() > 0);
        latest.truncate(PATTERNS_MAX - 1);
        let set = Arc::clone(set);
        latest.push_front(Pattern { vocabulary: Arc::downgrade(vocabulary), pattern, set });
    }
}
