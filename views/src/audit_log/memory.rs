//! What one process remembers of questions that it answered, so that their following pages, and the same question later,
//! cost less. Rows are only ever added: what was found at some positions of the log stays right for them, and only the rows
//! beyond are looked at again. Answers are the same whatever is remembered.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::query::AuditQuery;
use super::ranking::Ranking;
use super::text::{Effort, Hits};
use super::totals::Total;

/// Totals that are remembered.
const MAX_TOTALS: usize = 1_000;

/// Bytes of all rankings together.
const MAX_RANKING_BYTES: usize = 32 << 20;

/// Bytes of all hits together.
const MAX_HIT_BYTES: usize = 32 << 20;

/// Bytes that a value takes beside its rows, about: its keys, and what holds it.
const OVERHEAD: usize = 512;

/// What this process remembers. Cheap to make; one for all requests.
#[derive(Debug)]
pub struct Memory {
    effort: Effort,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    totals: Bounded<Total>,
    rankings: Bounded<Arc<Ranking>>,
    hits: Bounded<Arc<Hits>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self::with_effort(Effort::default())
    }
}

impl Memory {
    /// Questions are answered by way of the text index with so much effort. The answers are the same whatever it is; tests
    /// see all ways to them.
    #[must_use]
    pub fn with_effort(effort: Effort) -> Self {
        let kept = Kept {
            totals: Bounded::to(MAX_TOTALS),
            rankings: Bounded::to(MAX_RANKING_BYTES),
            hits: Bounded::to(MAX_HIT_BYTES),
        };
        Self { effort, kept: Mutex::new(kept) }
    }

    pub(super) fn effort(&self) -> Effort {
        self.effort
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn total(&self, question: Key) -> Option<Total> {
        self.kept().totals.get(question).cloned()
    }

    pub(super) fn keep_total(&self, question: Key, total: Total) {
        self.kept().totals.put(question, total, 1);
    }

    pub(super) fn ranking(&self, question: Key) -> Option<Arc<Ranking>> {
        self.kept().rankings.get(question).cloned()
    }

    pub(super) fn keep_ranking(&self, question: Key, ranking: Ranking) {
        let bytes = OVERHEAD + ranking.bytes();
        self.kept().rankings.put(question, Arc::new(ranking), bytes);
    }

    pub(super) fn hits(&self, question: Key) -> Option<Arc<Hits>> {
        self.kept().hits.get(question).cloned()
    }

    pub(super) fn keep_hits(&self, question: Key, hits: Hits) {
        let bytes = OVERHEAD + hits.bytes();
        self.kept().hits.put(question, Arc::new(hits), bytes);
    }
}

/// A question: two hashes of different beginnings, as what collides in one does not in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64, u64);

impl Key {
    /// What rows match. `generation` tells views apart that are folded anew.
    pub(super) fn of_matches(generation: i64, query: &AuditQuery) -> Self {
        let scope = &query.scope;
        Self::of((
            (generation, &query.filter),
            (&scope.all_of, &scope.own_of, scope.caller.0.number(), scope.caller.1),
        ))
    }

    /// What rows match, and their order.
    pub(super) fn of_order(self, query: &AuditQuery) -> Self {
        Self::of((self, &query.order, &query.customer_order))
    }

    fn of(what: impl Hash) -> Self {
        let half = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            (seed, &what).hash(&mut hasher);
            hasher.finish()
        };
        Self(half(0), half(1))
    }
}

/// Values of so much weight together; the oldest ones go. One that is too much alone is not kept.
#[derive(Debug)]
struct Bounded<T> {
    values: HashMap<Key, (T, usize)>,
    /// The oldest first.
    order: VecDeque<Key>,
    weight: usize,
    most: usize,
}

impl<T> Bounded<T> {
    fn to(most: usize) -> Self {
        Self { values: HashMap::new(), order: VecDeque::new(), weight: 0, most }
    }

    fn get(&self, key: Key) -> Option<&T> {
        self.values.get(&key).map(|(value, _)| value)
    }

    fn put(&mut self, key: Key, value: T, weight: usize) {
        if weight > self.most {
            return self.remove(key);
        }
        match self.values.insert(key, (value, weight)) {
            Some((_, before)) => self.weight -= before,
            None => self.order.push_back(key),
        }
        self.weight += weight;
        while self.weight > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.weight -= self.values.remove(&oldest).map_or(0, |(_, weight)| weight);
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some((_, weight)) = self.values.remove(&key) {
            self.weight -= weight;
            self.order.retain(|known| *known != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let mut kept = Bounded::to(10);
        for n in 0..30_u64 {
            kept.put(Key(n, 0), n, 3);
            kept.put(Key(n, 0), n + 1, 2);
        }
        assert_eq!((kept.get(Key(25, 0)), kept.get(Key(26, 0))), (None, Some(&27)));
        assert_eq!((kept.values.len(), kept.order.len(), kept.weight), (4, 4, 8));
        // What is too much alone is not kept, nor what was there of its question.
        kept.put(Key(29, 0), 0, 11);
        assert_eq!((kept.values.len(), kept.order.len(), kept.weight), (3, 3, 6));
        kept.put(Key(0, 1), 0, 11);
        assert_eq!((kept.values.len(), kept.order.len(), kept.weight), (3, 3, 6));
    }

    #[test]
    fn what_found_nothing_is_bounded_too() {
        let memory = Memory::default();
        let most = MAX_HIT_BYTES / OVERHEAD;
        for n in 0..most as u64 + 10 {
            memory.keep_hits(Key(n, 0), Hits::none());
        }
        let kept = memory.kept();
        assert!(kept.hits.values.len() <= most && kept.hits.values.len() > most / 2);
    }
}
