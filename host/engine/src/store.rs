//! Saved sequences in host memory: bounded in bytes, the least recently used goes first.

use crate::model::Token;

/// Saved sequences.
pub(crate) struct Store {
    limit_bytes: u64,
    bytes: u64,
    /// Least recently used first.
    entries: Vec<Entry>,
    /// The fewest bytes that a token of a saved sequence has taken so far.
    bytes_per_token: Option<u64>,
}

struct Entry {
    tokens: Vec<Token>,
    state: Vec<u8>,
}

impl Entry {
    fn bytes(&self) -> u64 {
        (self.state.capacity() + self.tokens.capacity() * size_of::<Token>()) as u64
    }
}

impl Store {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, bytes: 0, entries: Vec::new(), bytes_per_token: None }
    }

    /// Drops them all.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// What the saved sequences are, in the order of their indices.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = &[Token]> {
        self.entries.iter().map(|entry| entry.tokens.as_slice())
    }

    /// The tokens and the state of a sequence, which from now on is the most recently used.
    pub(crate) fn recall(&mut self, index: usize) -> (&[Token], &[u8]) {
        self.entries[index..].rotate_left(1);
        let entry = &self.entries[self.entries.len() - 1];
        (&entry.tokens, &entry.state)
    }

    /// Whether saving this sequence could add anything: it is not there yet, and by what others took it fits.
    pub(crate) fn wants(&self, tokens: &[Token]) -> bool {
        let least = (tokens.len() as u64).saturating_mul(self.bytes_per_token.unwrap_or(1));
        least < self.limit_bytes && !self.entries.iter().any(|entry| entry.tokens.starts_with(tokens))
    }

    /// Takes a sequence in, and out what it makes superfluous and what there is no room for any more. Returns how
    /// many sequences had to go for want of room: with one that is larger than the store, that one itself.
    pub(crate) fn insert(&mut self, tokens: Vec<Token>, state: Vec<u8>) -> u64 {
        let entry = Entry { tokens, state };
        let each = entry.bytes() / entry.tokens.len().max(1) as u64;
        self.bytes_per_token = Some(self.bytes_per_token.map_or(each, |least| least.min(each)));
        if entry.bytes() > self.limit_bytes {
            return 1;
        }
        self.entries.retain(|older| !entry.tokens.starts_with(&older.tokens));
        self.bytes = self.entries.iter().map(Entry::bytes).sum::<u64>() + entry.bytes();
        self.entries.push(entry);
        let mut evicted = 0;
        while self.bytes > self.limit_bytes {
            self.bytes -= self.entries.remove(0).bytes();
            evicted += 1;
        }
        evicted
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_when_the_bytes_are_full() {
        // Each entry is 100 bytes of state and 4 tokens of 4 bytes.
        let mut store = Store::new(3 * 116);
        for first in 0..3 {
            assert_eq!(store.insert(vec![first, 1, 2, 3], vec![0; 100]), 0);
        }
        assert_eq!((store.len(), store.bytes()), (3, 348));
        assert_eq!(store.recall(0).0, [0, 1, 2, 3]);
        assert_eq!(store.insert(vec![9, 1, 2, 3], vec![0; 100]), 1);
        assert_eq!(store.tokens().map(|tokens| tokens[0]).collect::<Vec<_>>(), [2, 0, 9]);
        // Larger than everything: it is not taken, and nobody suffers for it.
        assert_eq!(store.insert(vec![5], vec![0; 400]), 1);
        assert_eq!(store.len(), 3);
        // By what a token takes, 29 bytes, this one would not fit either.
        assert!(store.wants(&[7; 11]) && !store.wants(&[7; 12]));
    }

    #[test]
    fn a_sequence_takes_the_place_of_its_beginnings() {
        let mut store = Store::new(1000);
        store.insert(vec![1, 2], vec![0; 10]);
        assert!(!store.wants(&[1, 2]) && !store.wants(&[1]) && store.wants(&[1, 2, 3]));
        store.insert(vec![1, 2, 3], vec![0; 10]);
        assert_eq!((store.len(), store.bytes()), (1, 22));
        assert!(!Store::new(0).wants(&[1]));
    }
}
