//! The responses that later ones can go on from: in memory, the latest, within a limit of number and of bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minerva_engine::request::Message;
use serde_json::value::RawValue;

/// Responses by id. Clones share them.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<Mutex<Inner>>,
    responses_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Inner {
    by_id: HashMap<String, Stored>,
    /// Oldest first. Ids that were removed may still be in it.
    order: VecDeque<String>,
    bytes: usize,
}

struct Stored {
    messages: Vec<Message>,
    response: Box<RawValue>,
    bytes: usize,
}

impl Store {
    pub(crate) fn new(responses_max: usize, bytes_max: usize) -> Self {
        Self { inner: Arc::default(), responses_max, bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a response and the conversation up to and with it; the oldest go where there is no room.
    pub(super) fn put(&self, id: &str, messages: Vec<Message>, response: Box<RawValue>) {
        let bytes = response.get().len() + messages.iter().map(size).sum::<usize>();
        if bytes > self.bytes_max || self.responses_max == 0 {
            return;
        }
        let mut inner = self.lock();
        inner.bytes += bytes;
        inner.order.push_back(id.to_owned());
        inner.by_id.insert(id.to_owned(), Stored { messages, response, bytes });
        while inner.by_id.len() > self.responses_max || inner.bytes > self.bytes_max {
            let Some(oldest) = inner.order.pop_front() else { break };
            inner.remove(&oldest);
        }
        // Removed ids do not pile up.
        if inner.order.len() > 2 * inner.by_id.len() + 16 {
            let Inner { by_id, order, .. } = &mut *inner;
            order.retain(|id| by_id.contains_key(id));
        }
    }

    /// The conversation up to and with a response.
    pub(super) fn messages(&self, id: &str) -> Option<Vec<Message>> {
        self.lock().by_id.get(id).map(|stored| stored.messages.clone())
    }

    /// A response as it was answered.
    pub(super) fn response(&self, id: &str) -> Option<Box<RawValue>> {
        self.lock().by_id.get(id).map(|stored| stored.response.clone())
    }

    /// Forgets a response; whether there was one.
    pub(super) fn remove(&self, id: &str) -> bool {
        self.lock().remove(id)
    }
}

impl Inner {
    fn remove(&mut self, id: &str) -> bool {
        let Some(stored) = self.by_id.remove(id) else { return false };
        self.bytes -= stored.bytes;
        true
    }
}

/// About what a message takes in memory.
fn size(message: &Message) -> usize {
    let calls = message.tool_calls.iter().map(|call| call.id.len() + call.name.len() + call.arguments.len());
    size_of::<Message>() + message.joined_text().len() + calls.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &Store, id: &str, text: &str) {
        store.put(id, vec![Message::text("user", text)], RawValue::NULL.to_owned());
    }

    #[test]
    fn the_oldest_go_where_there_is_no_room() {
        let store = Store::new(2, 10_000);
        for id in ["a", "b", "c"] {
            put(&store, id, "x");
        }
        let kept = |id: &str| store.messages(id).is_some();
        assert_eq!([kept("a"), kept("b"), kept("c")], [false, true, true]);
        put(&store, "long", &"x".repeat(9_800));
        assert_eq!([kept("b"), kept("c"), kept("long")], [false, false, true]);
        put(&store, "too long", &"x".repeat(10_001));
        assert!(!kept("too long") && kept("long"));
        assert!(store.remove("long") && !store.remove("long"));
        assert_eq!(store.lock().bytes, 0);
        for at in 0..1000 {
            put(&store, &at.to_string(), "x");
            store.remove(&at.to_string());
        }
        assert!(store.lock().order.len() < 20);
    }
}
