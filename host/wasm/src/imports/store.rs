//! `minerva:plugin/store`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Result;

use crate::bindings::minerva::plugin::store;
use crate::state::State;
use crate::store::Store;

/// What a call costs of the work that the host does for a guest, beside its bytes.
const CALL_WORK: usize = 256;

impl State {
    /// The plugin's memory. Not in `describe`: what a plugin says of itself hangs on nothing.
    fn store(&mut self, bytes: usize) -> Result<Arc<Store>> {
        self.context()?;
        self.quota.work(bytes + CALL_WORK)?;
        Ok(Arc::clone(&self.store))
    }
}

/// 0 is for as long as there is a plugin of the name.
fn ttl(milliseconds: u32) -> Option<Duration> {
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.into()))
}

impl store::Host for State {
    fn get(&mut self, key: String) -> Result<Option<Vec<u8>>> {
        let value = self.store(key.len())?.get(&key, Instant::now());
        self.quota.work(value.as_ref().map_or(0, Vec::len))?;
        Ok(value)
    }

    fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: u32) -> Result<Result<(), String>> {
        let store = self.store(key.len() + value.len())?;
        Ok(store.set(key, value, ttl(ttl_ms), &self.limits, Instant::now()))
    }

    fn add(&mut self, key: String, by: i64, ttl_ms: u32) -> Result<Result<i64, String>> {
        let store = self.store(key.len())?;
        Ok(store.add(key, by, ttl(ttl_ms), &self.limits, Instant::now()))
    }

    fn remove(&mut self, key: String) -> Result<()> {
        self.store(key.len())?.remove(&key);
        Ok(())
    }
}
