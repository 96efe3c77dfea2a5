//! What a plugin remembers from one request to the next: keys and values in memory, within quotas.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::Limits;

/// What an entry takes beside its key and value.
const ENTRY_BYTES: usize = 64;

/// The longest key.
const KEY_BYTES_MAX: usize = 256;

/// The memories of all plugins, by name. One lives as long as a plugin of that name does, from version to version.
#[derive(Default)]
pub(crate) struct Stores {
    by_name: Mutex<BTreeMap<String, Weak<Store>>>,
}

impl Stores {
    /// The memory of a plugin's name, without its version.
    pub(crate) fn of(&self, name: &str) -> Arc<Store> {
        let base = name.split('@').next().unwrap_or(name);
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = by_name.get(base).and_then(Weak::upgrade) {
            return store;
        }
        by_name.retain(|_, store| store.strong_count() > 0);
        let store = Arc::default();
        by_name.insert(base.to_owned(), Arc::downgrade(&store));
        store
    }
}

/// What one plugin remembers. All its sessions share it.
#[derive(Default)]
pub(crate) struct Store {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    bytes: usize,
}

struct Entry {
    value: Vec<u8>,
    /// `None` never.
    expires: Option<Instant>,
}

impl Store {
    /// The value of a key.
    pub(crate) fn get(&self, key: &str, now: Instant) -> Option<Vec<u8>> {
        self.with(|state| state.live(key, now).map(|entry| entry.value.clone()))
    }

    /// Sets a key, or says which quota it would exceed and leaves everything as it was.
    pub(crate) fn set(
        &self,
        key: String,
        value: Vec<u8>,
        ttl: Option<Duration>,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), String> {
        self.with(|state| state.set(key, value, ttl, limits, now))
    }

    /// Adds to a key's number, which is 0 where there is none, and returns the sum. No other session comes between.
    pub(crate) fn add(
        &self,
        key: String,
        by: i64,
        ttl: Option<Duration>,
        limits: &Limits,
        now: Instant,
    ) -> Result<i64, String> {
        self.with(|state| {
            let number = match state.live(&key, now) {
                None => 0,
                Some(entry) => match entry.value.as_slice().try_into() {
                    Ok(bytes) => i64::from_le_bytes(bytes),
                    Err(_) => return Err(format!("the value of '{key}' is no number: it is not of 8 bytes")),
                },
            };
            let sum = number.saturating_add(by);
            state.set(key, sum.to_le_bytes().to_vec(), ttl, limits, now).map(|()| sum)
        })
    }

    /// Forgets a key.
    pub(crate) fn remove(&self, key: &str) {
        self.with(|state| state.forget(key));
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn live(&self, key: &str, now: Instant) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| !entry.is_over(now))
    }

    fn forget(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= cost(key, &entry.value);
        }
    }

    fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl: Option<Duration>,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), String> {
        if key.len() > KEY_BYTES_MAX {
            return Err(format!("a key of {} bytes; at most {KEY_BYTES_MAX}", key.len()));
        }
        if value.len() > limits.store_value_bytes {
            return Err(format!("a value of {} bytes; at most {}", value.len(), limits.store_value_bytes));
        }
        if !self.has_room(&key, &value, limits) {
            self.forget_what_is_over(now);
            if !self.has_room(&key, &value, limits) {
                let Limits { store_keys, store_bytes, .. } = limits;
                return Err(format!(
                    "the store is full: {store_keys} keys and {store_bytes} bytes are all it holds"
                ));
            }
        }
        self.forget(&key);
        self.bytes += cost(&key, &value);
        // Beyond what the clock can say is never.
        let expires = ttl.and_then(|ttl| now.checked_add(ttl));
        self.entries.insert(key, Entry { value, expires });
        Ok(())
    }

    fn has_room(&self, key: &str, value: &[u8], limits: &Limits) -> bool {
        let (old_keys, old_bytes) = self.entries.get(key).map_or((0, 0), |old| (1, cost(key, &old.value)));
        self.entries.len() - old_keys < limits.store_keys
            && self.bytes - old_bytes + cost(key, value) <= limits.store_bytes
    }

    fn forget_what_is_over(&mut self, now: Instant) {
        let Self { entries, bytes } = self;
        entries.retain(|key, entry| {
            let is_over = entry.is_over(now);
            if is_over {
                *bytes -= cost(key, &entry.value);
            }
            !is_over
        });
    }
}

impl Entry {
    fn is_over(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

fn cost(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { store_bytes: 1_000, store_keys: 3, store_value_bytes: 500, ..Limits::default() }
    }

    #[test]
    fn values_last_until_they_are_over_or_removed() {
        let (store, now) = (Store::default(), Instant::now());
        let second = Duration::from_secs(1);
        store.set("a".into(), vec![1], None, &limits(), now).unwrap();
        store.set("b".into(), vec![2], Some(second), &limits(), now).unwrap();
        assert_eq!(
            (store.get("a", now), store.get("b", now), store.get("c", now)),
            (Some(vec![1]), Some(vec![2]), None)
        );
        assert_eq!((store.get("a", now + second), store.get("b", now + second)), (Some(vec![1]), None));
        store.remove("a");
        store.remove("c");
        assert_eq!(store.get("a", now), None);
        assert_eq!(store.state.lock().unwrap().bytes, 66);
    }

    #[test]
    fn quotas_hold_and_what_is_over_makes_room() {
        let (store, now) = (Store::default(), Instant::now());
        let second = Duration::from_secs(1);
        let set =
            |key: &str, bytes: usize, ttl, at| store.set(key.into(), vec![0; bytes], ttl, &limits(), at);
        assert!(set(&"k".repeat(257), 1, None, now).unwrap_err().contains("a key of 257 bytes; at most 256"));
        assert!(set("a", 501, None, now).unwrap_err().contains("a value of 501 bytes; at most 500"));
        set("a", 500, Some(second), now).unwrap();
        assert!(set("b", 400, None, now).unwrap_err().contains("3 keys and 1000 bytes"));
        // In its own place there is room for as much again.
        set("a", 499, Some(second), now).unwrap();
        set("b", 1, None, now).unwrap();
        set("c", 1, None, now).unwrap();
        assert!(set("d", 1, None, now).unwrap_err().contains("full"));
        assert_eq!(store.get("a", now).unwrap().len(), 499, "a refusal changes nothing");
        set("d", 400, None, now + second).unwrap();
    }

    #[test]
    fn numbers_are_added_to() {
        let (store, now) = (Store::default(), Instant::now());
        let add = |key: &str, by| store.add(key.into(), by, None, &limits(), now);
        assert_eq!((add("n", 3), add("n", -5), add("n", i64::MIN)), (Ok(3), Ok(-2), Ok(i64::MIN)));
        store.set("t".into(), vec![1], None, &limits(), now).unwrap();
        assert!(add("t", 1).unwrap_err().contains("is no number"));
    }

    #[test]
    fn each_name_has_a_memory_that_lives_as_long_as_a_plugin_does() {
        let (stores, now) = (Stores::default(), Instant::now());
        let (a, other) = (stores.of("a"), stores.of("b"));
        a.set("k".into(), vec![1], None, &limits(), now).unwrap();
        assert_eq!(other.get("k", now), None);
        let next = stores.of("a@2");
        drop(a);
        assert_eq!(next.get("k", now), Some(vec![1]), "from version to version");
        drop(next);
        assert_eq!(stores.of("a").get("k", now), None, "and no longer");
    }
}
