//! How far a copy of one topic into a log is: a note that is kept with the target.

use annals_bus::Bus;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::mark::Mark;
use super::{CopyError, Result};

/// Before the topic's name, in the key of its note.
const KEY_PREFIX: &str = "copy:";

/// A chunk that is being appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunk {
    /// The source's partition.
    pub(super) partition: u32,
    /// Its first offset.
    pub(super) from: u64,
    /// The offset after its last.
    pub(super) to: u64,
    /// How many records stand between the two.
    pub(super) records: u64,
}

/// How far a copy is. Everything but `chunk` speaks of the moment before the chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    /// Incarnation of the topic at the source.
    pub(super) source: Uuid,
    /// Incarnation of the topic at the target: a note of a topic that was removed says nothing of its successor.
    pub(super) target: Uuid,
    /// Per partition of the source, the next offset to copy.
    pub(super) next: Vec<u64>,
    /// Per partition of the source, the last record that was copied.
    pub(super) last: Vec<Option<Mark>>,
    /// Per partition of the target, where it ended before the first record.
    pub(super) base: Vec<u64>,
    /// Per partition of the target, where it ends.
    pub(super) ends: Vec<u64>,
    /// Whether every record got the partition and offset that it has at the source.
    pub(super) same_positions: bool,
    /// The chunk that is being appended, if any.
    pub(super) chunk: Option<Chunk>,
}

impl Note {
    /// The state before the first record.
    pub(super) fn begin(source: Uuid, target: Uuid, ends: Vec<u64>) -> Self {
        let base = ends.clone();
        Self {
            source,
            target,
            next: Vec::new(),
            last: Vec::new(),
            base,
            ends,
            same_positions: true,
            chunk: None,
        }
    }

    /// Records copied, as the target counts them.
    pub(super) fn records(&self) -> u64 {
        let grown = |(end, base): (&u64, &u64)| end.saturating_sub(*base);
        self.ends.iter().zip(&self.base).map(grown).sum()
    }

    /// Next offset to copy of one partition of the source.
    pub(super) fn next(&self, partition: u32) -> u64 {
        self.next.get(partition as usize).copied().unwrap_or_default()
    }

    /// The last record that was copied of one partition of the source.
    pub(super) fn last(&self, partition: u32) -> Option<&Mark> {
        self.last.get(partition as usize)?.as_ref()
    }

    /// Everything of one partition of the source is copied up to `next`; `last` is the last record, when there was any.
    pub(super) fn set_next(&mut self, partition: u32, next: u64, last: Option<Mark>) {
        let index = partition as usize;
        if self.next.len() <= index {
            self.next.resize(index + 1, 0);
            self.last.resize(index + 1, None);
        }
        self.next[index] = next;
        if last.is_some() {
            self.last[index] = last;
        }
    }

    pub(super) async fn read(target: &dyn Bus, topic: &str) -> Result<Option<Self>> {
        let Some(text) = target.note(&format!("{KEY_PREFIX}{topic}")).await? else { return Ok(None) };
        let note = serde_json::from_str(&text);
        note.map(Some).map_err(|source| CopyError::Note { topic: topic.to_owned(), source })
    }

    pub(super) async fn write(&self, target: &dyn Bus, topic: &str) -> Result<()> {
        let text = serde_json::to_string(self)
            .map_err(|source| CopyError::Note { topic: topic.to_owned(), source })?;
        Ok(target.set_note(&format!("{KEY_PREFIX}{topic}"), &text).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_stored_as_it_always_was() {
        let text = r#"{"source":"00000000-0000-0000-0000-000000000001","target":"00000000-0000-0000-0000-000000000002","next":[7,0],"last":[null,null],"base":[0],"ends":[7],"same_positions":false,"chunk":{"partition":1,"from":0,"to":9,"records":8}}"#;
        let note: Note = serde_json::from_str(text).unwrap();
        assert_eq!(note.chunk, Some(Chunk { partition: 1, from: 0, to: 9, records: 8 }));
        assert_eq!((note.records(), note.next(0), note.next(5)), (7, 7, 0));
        assert_eq!(serde_json::to_string(&note).unwrap(), text);
        let newer = text.replacen('{', r#"{"later":1,"#, 1);
        assert!(serde_json::from_str::<Note>(&newer).is_err());
    }
}
