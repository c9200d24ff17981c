//! Dictionaries: integer ids for texts that repeat, so that rows and indexes stay narrow.
//!
//! A dictionary is a table with a surrogate `id` and a unique key. It is append-only and filled by insert-or-ignore
//! before the batch's transaction, so two writers never wait for each other. Surrogate ids differ between a live and
//! a rebuilt generation; they are never shown, and comparisons resolve them.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use crate::table::{Table, Value};

/// The unique key of a dictionary row: a value for each written column.
pub type Key = Vec<Value>;

/// Entries that one dictionary keeps in memory. Past it the cache starts again: skewed keys come back at once.
pub const MAX_CACHED_KEYS: usize = 100_000;

/// Ids of keys.
pub(crate) type Ids = HashMap<Key, i64, RandomState>;

/// What is known of the dictionaries of one generation, by their names.
#[derive(Debug, Default)]
pub(crate) struct Caches(HashMap<&'static str, Ids>);

/// Keys of one dictionary, as far as their ids are known.
pub(crate) struct Wanted<'k> {
    pub(crate) dictionary: &'static Table,
    keys: &'k [Key],
    ids: Vec<Option<i64>>,
    /// Keys without an id, each once, sorted: two writers then never wait for each other in a circle.
    pub(crate) unknown: Vec<&'k Key>,
    /// Their ids, once the database has said them.
    pub(crate) found: Ids,
}

impl Caches {
    /// What is known of these keys.
    pub(crate) fn look_up<'k>(&self, keys: &[(&'static Table, &'k [Key])]) -> Vec<Wanted<'k>> {
        keys.iter()
            .map(|&(dictionary, keys)| {
                let cache = self.0.get(dictionary.name);
                let ids: Vec<Option<i64>> =
                    keys.iter().map(|key| cache.and_then(|cache| cache.get(key).copied())).collect();
                let mut unknown: Vec<&Key> =
                    keys.iter().zip(&ids).filter(|(_, id)| id.is_none()).map(|(key, _)| key).collect();
                unknown.sort_unstable();
                unknown.dedup();
                Wanted { dictionary, keys, ids, unknown, found: Ids::default() }
            })
            .collect()
    }

    /// The ids of all keys, remembered from now on. `None` when one was not found.
    pub(crate) fn complete(&mut self, wanted: Vec<Wanted<'_>>) -> Option<Vec<Vec<i64>>> {
        wanted
            .into_iter()
            .map(|wanted| {
                let ids = wanted.keys.iter().zip(&wanted.ids);
                let ids = ids.map(|(key, id)| id.or_else(|| wanted.found.get(key).copied())).collect();
                let cache = self.0.entry(wanted.dictionary.name).or_default();
                for (key, id) in wanted.found {
                    if cache.len() >= MAX_CACHED_KEYS {
                        cache.clear();
                    }
                    cache.insert(key, id);
                }
                ids
            })
            .collect()
    }

    /// Forgets everything and gives the memory back.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
