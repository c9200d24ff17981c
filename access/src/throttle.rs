//! Which of many equal events are written: the first of a minute one by one, the rest as one event with their count.
//! Pure; it is told what time it is.

use std::collections::HashMap;
use std::hash::Hash;

use chrono::{DateTime, TimeDelta, Utc};

/// Length of a window.
const WINDOW: TimeDelta = TimeDelta::minutes(1);

/// What a throttle lets through.
#[derive(Clone, Debug)]
pub struct Rule<K> {
    /// Events of one key that are written one by one in a window. The following ones are counted.
    pub at_once: u32,
    /// Whether the event with the count is one of those that its (the next) window may have. Then a key never has more
    /// than `at_once` events a minute of any kind.
    pub count_takes_a_place: bool,
    /// Keys that are kept at once.
    pub max_keys: usize,
    /// Where events of a further key go: counted together under this key, or, without one, each is written at once
    /// (nothing is hidden, and the log grows).
    pub overflow: Option<K>,
}

/// One event to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally<K, D> {
    /// Whose.
    pub key: K,
    /// How many hits it stands for.
    pub count: u64,
    /// Time of the last of them.
    pub last: DateTime<Utc>,
    /// What was told about the last of them.
    pub details: D,
}

/// Decides which events are written, per key.
#[derive(Debug)]
pub struct Throttle<K, D> {
    rule: Rule<K>,
    windows: HashMap<K, Window<D>>,
}

#[derive(Debug)]
struct Window<D> {
    began: DateTime<Utc>,
    written: u32,
    counted: Option<Counted<D>>,
}

#[derive(Debug)]
struct Counted<D> {
    count: u64,
    last: DateTime<Utc>,
    details: D,
}

impl<D> Window<D> {
    fn new(began: DateTime<Utc>) -> Self {
        Self { began, written: 0, counted: None }
    }

    fn is_over(&self, now: DateTime<Utc>) -> bool {
        // A clock that was set back ends the window too: otherwise it would stay open for as long as the step.
        now < self.began || now - self.began >= WINDOW
    }

    fn count(&mut self, count: u64, last: DateTime<Utc>, details: D) {
        let before = self.counted.take();
        let last = before.as_ref().map_or(last, |before| before.last.max(last));
        let count = before.map_or(0, |before| before.count).saturating_add(count);
        self.counted = Some(Counted { count, last, details });
    }

    /// Ends the window, begins the next and returns what was counted.
    fn end(&mut self, count_takes_a_place: bool, now: DateTime<Utc>) -> Option<Counted<D>> {
        let counted = self.counted.take();
        self.began = now;
        self.written = u32::from(count_takes_a_place && counted.is_some());
        counted
    }
}

impl<D> Counted<D> {
    fn tally<K>(self, key: K) -> Tally<K, D> {
        Tally { key, count: self.count, last: self.last, details: self.details }
    }
}

impl<K: Clone + Eq + Hash, D> Throttle<K, D> {
    /// A throttle that has seen nothing.
    #[must_use]
    pub fn new(rule: Rule<K>) -> Self {
        Self { rule, windows: HashMap::new() }
    }

    /// Something happened. Returns the events to write now: what the key's last window had counted, if it is over, and
    /// this one, unless it is counted.
    #[must_use]
    pub fn hit(&mut self, key: K, details: D, now: DateTime<Utc>) -> Vec<Tally<K, D>> {
        let Some(key) = self.place(&key, now) else {
            return vec![Tally { key, count: 1, last: now, details }];
        };
        let window = self.windows.entry(key.clone()).or_insert_with(|| Window::new(now));
        let mut tallies = Vec::new();
        if window.is_over(now) {
            tallies.extend(
                window.end(self.rule.count_takes_a_place, now).map(|counted| counted.tally(key.clone())),
            );
        }
        if window.written < self.rule.at_once {
            window.written += 1;
            tallies.push(Tally { key, count: 1, last: now, details });
        } else {
            window.count(1, now, details);
        }
        tallies
    }

    /// Returns what was counted in the windows that are over, or in all of them, and forgets keys that were quiet.
    #[must_use]
    pub fn drain(&mut self, now: DateTime<Utc>, everything: bool) -> Vec<Tally<K, D>> {
        let mut tallies = Vec::new();
        for (key, window) in &mut self.windows {
            if everything || window.is_over(now) {
                tallies.extend(
                    window.end(self.rule.count_takes_a_place, now).map(|counted| counted.tally(key.clone())),
                );
            }
        }
        // A window that began now with nothing in it says no more than no window.
        self.windows.retain(|_, window| window.written > 0 || window.counted.is_some());
        tallies
    }

    /// Takes back what could not be written; it will be part of a later count. Never refused for want of room: it had
    /// its place when it was hit.
    pub fn put_back(&mut self, tally: Tally<K, D>) {
        let window = self.windows.entry(tally.key).or_insert_with(|| Window::new(tally.last));
        window.count(tally.count, tally.last, tally.details);
    }

    /// Keys that are kept now.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.windows.len()
    }

    /// The key under which a hit is kept; none when it is not kept at all.
    fn place(&mut self, key: &K, now: DateTime<Utc>) -> Option<K> {
        if self.windows.contains_key(key) {
            return Some(key.clone());
        }
        if self.windows.len() >= self.rule.max_keys {
            self.windows.retain(|_, window| window.counted.is_some() || !window.is_over(now));
        }
        if self.windows.len() < self.rule.max_keys { Some(key.clone()) } else { self.rule.overflow.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn logins(max_keys: usize, overflow: Option<u8>) -> Throttle<u8, i64> {
        Throttle::new(Rule { at_once: 3, count_takes_a_place: false, max_keys, overflow })
    }

    fn reads() -> Throttle<u8, i64> {
        Throttle::new(Rule { at_once: 1, count_takes_a_place: true, max_keys: 10, overflow: None })
    }

    fn counts(tallies: &[Tally<u8, i64>]) -> Vec<u64> {
        tallies.iter().map(|tally| tally.count).collect()
    }

    #[test]
    fn the_first_ones_are_written_and_the_rest_is_counted_when_the_minute_ends() {
        let mut throttle = logins(10, None);
        for second in 0..3 {
            assert_eq!(counts(&throttle.hit(1, second, at(second))), [1]);
        }
        for second in 3..8 {
            assert!(throttle.hit(1, second, at(second)).is_empty());
        }
        assert!(throttle.drain(at(59), false).is_empty());
        let expected = Tally { key: 1, count: 5, last: at(7), details: 7 };
        assert_eq!(throttle.drain(at(60), false), [expected]);
        assert!(throttle.drain(at(200), false).is_empty());
        assert_eq!(throttle.keys(), 0);
    }

    #[test]
    fn a_hit_after_the_minute_brings_the_count_without_a_drain() {
        let mut throttle = logins(10, None);
        for second in 0..5 {
            let _ = throttle.hit(1, second, at(second));
        }
        assert_eq!(counts(&throttle.hit(1, 61, at(61))), [2, 1]);
        assert_eq!(counts(&throttle.hit(1, 62, at(62))), [1]);
        assert_eq!(counts(&throttle.hit(1, 63, at(63))), [1]);
        assert!(throttle.hit(1, 64, at(64)).is_empty());
    }

    #[test]
    fn a_read_is_written_at_once_and_then_there_is_one_event_a_minute() {
        let mut throttle = reads();
        assert_eq!(counts(&throttle.hit(1, 0, at(0))), [1]);
        assert!(throttle.hit(1, 0, at(30)).is_empty());
        assert_eq!(counts(&throttle.drain(at(60), false)), [1]);
        assert!(throttle.hit(1, 0, at(61)).is_empty());
        assert!(throttle.drain(at(119), false).is_empty());
        assert_eq!(counts(&throttle.drain(at(120), false)), [1]);
        assert!(throttle.drain(at(180), false).is_empty());
        assert_eq!(counts(&throttle.hit(1, 0, at(181))), [1]);
    }

    #[test]
    fn keys_do_not_disturb_each_other_and_everything_can_be_drained() {
        let mut throttle = reads();
        for key in [1, 2, 1, 2, 2] {
            let _ = throttle.hit(key, 0, at(0));
        }
        let mut tallies = throttle.drain(at(1), true);
        tallies.sort_by_key(|tally| tally.key);
        assert_eq!(counts(&tallies), [1, 2]);
    }

    #[test]
    fn without_an_overflow_key_what_finds_no_room_is_written() {
        let mut throttle = logins(2, None);
        for key in [1, 2, 3, 3, 3, 3, 3] {
            assert_eq!(counts(&throttle.hit(key, 0, at(0))), [1]);
        }
        assert_eq!(throttle.keys(), 2);
        // Quiet keys make room when their minute is over.
        assert_eq!(counts(&throttle.hit(3, 0, at(60))), [1]);
        assert_eq!(throttle.keys(), 1);
    }

    #[test]
    fn with_an_overflow_key_what_finds_no_room_is_counted_there() {
        let mut throttle = logins(2, Some(0));
        let events: usize = (1..=100).map(|key| throttle.hit(key, i64::from(key), at(0)).len()).sum();
        assert_eq!(events, 2 + 3);
        assert_eq!(throttle.keys(), 3);
        assert_eq!(throttle.drain(at(60), false), [Tally { key: 0, count: 95, last: at(0), details: 100 }]);
    }

    #[test]
    fn a_clock_set_back_ends_the_window() {
        let mut throttle = reads();
        let _ = throttle.hit(1, 0, at(0));
        let _ = throttle.hit(1, 0, at(0));
        assert_eq!(counts(&throttle.drain(at(-3_600), false)), [1]);
    }

    #[test]
    fn what_is_put_back_is_counted_later() {
        let mut throttle = reads();
        let tally = throttle.hit(1, 0, at(0)).remove(0);
        throttle.put_back(tally);
        let _ = throttle.hit(1, 0, at(1));
        let tallies = throttle.drain(at(60), false);
        assert_eq!(counts(&tallies), [2]);
        throttle.put_back(tallies[0].clone());
        assert_eq!(counts(&throttle.drain(at(120), false)), [2]);
    }

    /// Steps of (key, seconds to wait before it, whether it is a drain).
    fn steps() -> impl Strategy<Value = Vec<(u8, i64, bool)>> {
        prop::collection::vec((0u8..5, 0i64..40, prop::bool::weighted(0.2)), 0..300)
    }

    /// Events with the second of their writing.
    type Written = Vec<(i64, Tally<u8, i64>)>;

    /// Returns the number of hits, the last second, and what was written.
    fn run(throttle: &mut Throttle<u8, i64>, steps: &[(u8, i64, bool)]) -> (u64, i64, Written) {
        let (mut now, mut hits, mut written) = (0, 0, Vec::new());
        for &(key, wait, is_drain) in steps {
            now += wait;
            let tallies = if is_drain {
                throttle.drain(at(now), false)
            } else {
                hits += 1;
                throttle.hit(key, now, at(now))
            };
            written.extend(tallies.into_iter().map(|tally| (now, tally)));
        }
        (hits, now, written)
    }

    proptest! {
        #[test]
        fn no_hit_is_lost_or_invented(
            steps in steps(), at_once in 0u32..4, place in any::<bool>(), max_keys in 0usize..6, overflow in any::<bool>(),
        ) {
            let overflow = overflow.then_some(99);
            let mut throttle = Throttle::new(Rule { at_once, count_takes_a_place: place, max_keys, overflow });
            let (hits, now, mut written) = run(&mut throttle, &steps);
            prop_assert!(throttle.keys() <= max_keys + 1);
            written.extend(throttle.drain(at(now), true).into_iter().map(|tally| (now, tally)));
            prop_assert_eq!(written.iter().map(|(_, tally)| tally.count).sum::<u64>(), hits);
            prop_assert!(written.iter().all(|(when, tally)| tally.count > 0 && tally.last <= at(*when)));
        }

        #[test]
        fn a_reader_never_has_two_events_within_a_minute(steps in steps()) {
            let mut throttle = reads();
            let (_, _, written) = run(&mut throttle, &steps);
            for key in written.iter().map(|(_, tally)| tally.key).collect::<HashSet<_>>() {
                let times: Vec<i64> = written.iter().filter(|(_, t)| t.key == key).map(|(when, _)| *when).collect();
                prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 60), "{:?}", times);
            }
        }

        #[test]
        fn no_more_than_the_limit_is_written_one_by_one_in_any_window(steps in steps()) {
            let mut throttle = logins(10, None);
            let (_, _, written) = run(&mut throttle, &steps);
            // Windows do not overlap, so that any minute meets at most two of them.
            for (when, tally) in &written {
                let near = written.iter().filter(|(w, t)| t.key == tally.key && (*when..*when + 60).contains(w));
                prop_assert!(near.count() <= 2 * (3 + 1));
            }
        }
    }
}
