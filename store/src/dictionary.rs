//! Dictionaries: integer ids for texts that repeat, so that rows and indexes stay narrow.
//!
//! A dictionary is a table with a surrogate `id` and a unique key. It is append-only and filled by insert-or-ignore
//! before the batch's transaction, so two writers never wait for each other. Surrogate ids differ between a live and
//! a rebuilt generation; they are never shown, and comparisons resolve them.

use std::collections::HashMap;

use crate::table::Value;

/// The unique key of a dictionary row: a value for each written column.
pub type Key = Vec<Value>;

/// Entries that one dictionary keeps in memory. Past it the cache starts again: skewed keys come back at once.
pub const MAX_CACHED_KEYS: usize = 100_000;

/// What is known of one dictionary.
#[derive(Debug, Default)]
pub struct Cache {
    ids: HashMap<Key, i64>,
}

impl Cache {
    /// The id of a key that was seen before.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<i64> {
        self.ids.get(key).copied()
    }

    /// The keys among these that are not known, each once, in order.
    pub(crate) fn unknown<'k>(&self, keys: &'k [Key]) -> Vec<&'k Key> {
        let mut unknown: Vec<&Key> = keys.iter().filter(|key| self.get(key).is_none()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// Remembers an id.
    pub fn insert(&mut self, key: Key, id: i64) {
        if self.ids.len() >= MAX_CACHED_KEYS {
            self.ids.clear();
        }
        self.ids.insert(key, id);
    }

    /// Forgets everything and gives the memory back.
    pub fn clear(&mut self) {
        self.ids = HashMap::new();
    }
}
