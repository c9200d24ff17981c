//! What was sent and what was acknowledged, kept outside of every process of annals.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::Process;

/// The two sets of the crash test.
#[derive(Default)]
pub struct Ledger {
    /// Every event that was sent, with its bytes.
    pub sent: HashMap<Uuid, Vec<u8>>,
    /// The events among them whose append was acknowledged.
    pub acknowledged: HashSet<Uuid>,
    /// How many different records files had that were imported to the end.
    pub imported: usize,
    /// How often each event was sent without an answer. The fleet repeats itself, so that an event may have one answer and
    /// wait for another.
    pub missing_answers: HashMap<Uuid, i64>,
}

impl Ledger {
    /// Adds what a load said until it ended.
    pub fn add(&mut self, load: &Process) {
        for line in load.stdout() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["sent", id, bytes] => {
                    let (id, bytes) = (id.parse().unwrap(), unhex(bytes));
                    *self.missing_answers.entry(id).or_default() += 1;
                    let before = self.sent.insert(id, bytes.clone());
                    assert!(
                        before.is_none_or(|before| before == bytes),
                        "an event that is sent again is the same"
                    );
                }
                ["ok", id] => {
                    let id = id.parse().unwrap();
                    *self.missing_answers.entry(id).or_default() -= 1;
                    self.acknowledged.insert(id);
                }
                _ => panic!("the load said `{line}`"),
            }
        }
        assert!(self.acknowledged.iter().all(|id| self.sent.contains_key(id)));
    }

    /// Events of which a sending was not acknowledged; an earlier one may have been.
    pub fn unanswered(&self) -> HashSet<Uuid> {
        self.missing_answers.iter().filter(|(_, count)| **count > 0).map(|(id, _)| *id).collect()
    }

    /// Events that were sent and never acknowledged.
    pub fn open(&self) -> HashSet<Uuid> {
        self.sent.keys().filter(|id| !self.acknowledged.contains(id)).copied().collect()
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    digits.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
