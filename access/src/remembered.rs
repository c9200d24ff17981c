//! Credentials that were verified lately, so that clients which send them with each request do not cost a hash each
//! time. Kept as keyed hashes over the account's version too: a change of the account makes them unfindable at once,
//! in every process.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};

use crate::secret::KeyedHash;

/// How long a verified credential is remembered. Not prolonged by use.
const REMEMBERED_FOR: TimeDelta = TimeDelta::minutes(5);

/// Credentials that are remembered at once; beyond it the oldest are forgotten.
const MAX_REMEMBERED: usize = 10_000;

/// The remembered credentials of one process.
#[derive(Default)]
pub(crate) struct Remembered {
    verified_at: HashMap<KeyedHash, DateTime<Utc>>,
    /// The same in the order of time. An entry that was verified again stands here twice; only the newer one counts.
    order: VecDeque<(DateTime<Utc>, KeyedHash)>,
}

impl Remembered {
    /// Whether this credential was verified within the time.
    pub(crate) fn contains(&self, credential: &KeyedHash, now: DateTime<Utc>) -> bool {
        self.verified_at.get(credential).is_some_and(|at| !is_over(*at, now))
    }

    /// Remembers a credential that was verified just now.
    pub(crate) fn insert(&mut self, credential: KeyedHash, now: DateTime<Utc>) {
        self.verified_at.insert(credential, now);
        self.order.push_back((now, credential));
        while let Some((at, oldest)) = self.order.front().copied() {
            let is_renewed = self.verified_at.get(&oldest) != Some(&at);
            if !is_renewed {
                if self.order.len() <= MAX_REMEMBERED && !is_over(at, now) {
                    break;
                }
                self.verified_at.remove(&oldest);
            }
            self.order.pop_front();
        }
    }
}

fn is_over(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    // A clock that was set back must not prolong it.
    now < at || now - at >= REMEMBERED_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn credential(number: u32) -> KeyedHash {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        hash
    }

    #[test]
    fn a_credential_is_remembered_for_five_minutes_however_often_it_is_used() {
        let mut remembered = Remembered::default();
        remembered.insert(credential(1), at(0));
        assert!(remembered.contains(&credential(1), at(0)));
        assert!(remembered.contains(&credential(1), at(299)));
        assert!(!remembered.contains(&credential(1), at(300)));
        assert!(!remembered.contains(&credential(1), at(-1)));
        assert!(!remembered.contains(&credential(2), at(0)));
    }

    #[test]
    fn a_credential_verified_again_is_remembered_anew() {
        let mut remembered = Remembered::default();
        remembered.insert(credential(1), at(0));
        remembered.insert(credential(1), at(200));
        remembered.insert(credential(2), at(310));
        assert!(remembered.contains(&credential(1), at(499)));
        assert_eq!(remembered.verified_at.len(), 2);
    }

    #[test]
    fn the_number_of_remembered_credentials_is_bounded() {
        let mut remembered = Remembered::default();
        for number in 0..25_000 {
            remembered.insert(credential(number), at(0));
            remembered.insert(credential(24_999), at(i64::from(number % 2)));
        }
        assert!(remembered.order.len() <= MAX_REMEMBERED && remembered.verified_at.len() <= MAX_REMEMBERED);
        assert!(remembered.contains(&credential(24_998), at(2)));
        assert!(!remembered.contains(&credential(0), at(2)));
    }

    #[test]
    fn what_is_over_leaves_the_memory() {
        let mut remembered = Remembered::default();
        for number in 0..100 {
            remembered.insert(credential(number), at(0));
        }
        remembered.insert(credential(200), at(301));
        assert_eq!((remembered.order.len(), remembered.verified_at.len()), (1, 1));
    }
}
