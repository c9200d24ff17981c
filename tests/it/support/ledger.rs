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
}

impl Ledger {
    /// Adds what a load said until it ended.
    pub fn add(&mut self, load: &Process) {
        for line in load.stdout() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["sent", id, bytes] => {
                    let bytes = unhex(bytes);
                    let before = self.sent.insert(id.parse().unwrap(), bytes.clone());
                    assert!(
                        before.is_none_or(|before| before == bytes),
                        "an event that is sent again is the same"
                    );
                }
                // The fleet repeats itself, so that an event may be acknowledged twice.
                ["ok", id] => drop(self.acknowledged.insert(id.parse().unwrap())),
                _ => panic!("the load said `{line}`"),
            }
        }
        assert!(self.acknowledged.iter().all(|id| self.sent.contains_key(id)));
    }

    /// Events that were sent and not acknowledged.
    pub fn open(&self) -> HashSet<Uuid> {
        self.sent.keys().filter(|id| !self.acknowledged.contains(id)).copied().collect()
    }
}

fn unhex(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    digits.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
