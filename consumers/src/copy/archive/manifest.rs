//! What an archive has.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use annals_bus::Partition;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::files;
use crate::copy::mark::Mark;
use crate::copy::{CopyError, Result};

/// The manifest of an archive that is whole.
const MANIFEST: &str = "manifest.json";

/// The manifest of a copy that is under way, or was interrupted.
const PARTIAL_MANIFEST: &str = "manifest.partial.json";

/// What the manifest says it is.
const FORMAT: &str = "annals-log-archive";

/// Version of the layout.
const VERSION: u32 = 1;

/// Longest manifest that is read.
const MAX_MANIFEST_BYTES: u64 = 256 * 1024 * 1024;

/// What every version of a manifest begins with.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// The manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: String,
    version: u32,
    /// Version of annals that wrote it.
    pub(super) annals: String,
    /// When it was written.
    pub(super) written_at: DateTime<Utc>,
    /// The topics.
    pub(super) topics: Vec<ArchivedTopic>,
    /// The files. Those of a partition are in the order of their records.
    pub(super) files: Vec<ArchivedFile>,
}

/// A topic of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ArchivedTopic {
    /// Its name.
    pub(super) topic: String,
    /// Its incarnation in the log that the archive was made from.
    pub(super) incarnation: Uuid,
    /// Partitions there.
    pub(super) partitions: u32,
}

/// A file of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ArchivedFile {
    /// Its name in the folder.
    pub(super) file: String,
    /// The topic.
    pub(super) topic: String,
    /// Number of the partition.
    pub(super) partition: u32,
    /// Offset of its first record.
    pub(super) first_offset: u64,
    /// Offset from which on the next file goes on.
    pub(super) end_offset: u64,
    /// Its last record.
    pub(super) last: Mark,
    /// Records in it. Fewer than the offsets between the two, when the log had gaps.
    pub(super) records: u64,
    /// Its length.
    pub(super) bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub(super) sha256: String,
}

impl ArchivedFile {
    pub(super) fn is_of(&self, partition: &Partition) -> bool {
        self.partition == partition.number && *self.topic == *partition.topic
    }
}

impl Manifest {
    /// The manifest of an empty archive.
    pub(super) fn new() -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            annals: env!("CARGO_PKG_VERSION").into(),
            written_at: Utc::now(),
            topics: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Reads the manifest of an archive that is whole; `None` when there is none.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        read(&folder.join(MANIFEST), folder)
    }

    /// Reads the manifest of a copy that was interrupted; `None` when there is none.
    pub(super) fn read_partial(folder: &Path) -> Result<Option<Self>> {
        read(&folder.join(PARTIAL_MANIFEST), folder)
    }

    /// Writes the manifest of the copy under way.
    pub(super) fn write_partial(&mut self, folder: &Path) -> Result<()> {
        self.annals = env!("CARGO_PKG_VERSION").into();
        self.written_at = Utc::now();
        let path = folder.join(PARTIAL_MANIFEST);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| CopyError::io(&path, "write", std::io::Error::other(error)))?;
        files::replace(&path, &text)
    }

    /// Makes the manifest of the copy under way that of the archive.
    pub(super) fn finish(folder: &Path) -> Result<()> {
        files::rename(&folder.join(PARTIAL_MANIFEST), &folder.join(MANIFEST))
    }

    /// The topic of this name.
    pub(super) fn topic(&self, topic: &str) -> Option<&ArchivedTopic> {
        self.topics.iter().find(|known| known.topic == topic)
    }

    /// The files of a partition, in the order of their records.
    pub(super) fn files_of<'m>(&'m self, partition: &'m Partition) -> impl Iterator<Item = &'m ArchivedFile> {
        self.files.iter().filter(move |file| file.is_of(partition))
    }

    /// Refuses what cannot be: the manifest may have been edited, and a wrong name must not lead out of the folder.
    fn check(&self, path: &Path) -> Result<()> {
        let mut before: HashMap<Partition, (usize, u64)> = HashMap::new();
        for file in &self.files {
            let partition = Partition::new(&file.topic, file.partition);
            let known = self.topic(&file.topic).is_some_and(|topic| file.partition < topic.partitions);
            let (count, end) = before.entry(partition.clone()).or_default();
            *count += 1;
            let named = file.file == file_name(&partition, *count);
            let follows = file.first_offset >= *end;
            let ends = (file.first_offset..file.end_offset).contains(&file.last.offset);
            let holds = ends && (1..=file.end_offset - file.first_offset).contains(&file.records);
            if !(known && named && follows && holds) {
                return Err(CopyError::damaged(path, format!("what it says of `{}` cannot be", file.file)));
            }
            *end = file.end_offset;
        }
        Ok(())
    }
}

/// Name of the nth file of a partition, from 1.
pub(super) fn file_name(partition: &Partition, nth: usize) -> String {
    let Partition { topic, number } = partition;
    if nth == 1 { format!("{topic}-{number}.avro") } else { format!("{topic}-{number}.{nth}.avro") }
}

/// The path of a file of an archive.
pub(super) fn path_of(folder: &Path, file: &ArchivedFile) -> PathBuf {
    folder.join(&file.file)
}

fn read(path: &Path, folder: &Path) -> Result<Option<Manifest>> {
    let Some(text) = files::read_if_there(path, MAX_MANIFEST_BYTES)? else { return Ok(None) };
    let damaged = |error: serde_json::Error| CopyError::damaged(path, error.to_string());
    let head: Head = serde_json::from_slice(&text).map_err(damaged)?;
    if head.format != FORMAT {
        return Err(CopyError::NotAnArchive(folder.to_owned()));
    }
    if head.version > VERSION {
        return Err(CopyError::NewerArchive(folder.to_owned()));
    }
    let manifest: Manifest = serde_json::from_slice(&text).map_err(damaged)?;
    manifest.check(path)?;
    Ok(Some(manifest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(file: &str, first_offset: u64, end_offset: u64, records: u64) -> Manifest {
        let topic = || "annals.audit".to_owned();
        let last = format!(r#"{{"offset":{},"sha256":""}}"#, end_offset - 1);
        let last = serde_json::from_str(&last).unwrap();
        let files = vec![ArchivedFile {
            file: file.into(),
            topic: topic(),
            partition: 1,
            first_offset,
            end_offset,
            last,
            records,
            bytes: 1,
            sha256: String::new(),
        }];
        let topics = vec![ArchivedTopic { topic: topic(), incarnation: Uuid::nil(), partitions: 2 }];
        Manifest { topics, files, ..Manifest::new() }
    }

    #[test]
    fn a_manifest_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), None);
        let mut written = manifest("annals.audit-1.avro", 3, 9, 6);
        written.write_partial(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), None);
        assert_eq!(Manifest::read_partial(folder.path()).unwrap().as_ref(), Some(&written));
        Manifest::finish(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), Some(written));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for wrong in [
            manifest("../../etc/passwd", 0, 9, 9),
            manifest("annals.audit-0.avro", 0, 9, 9),
            manifest("annals.audit-1.2.avro", 0, 9, 9),
            manifest("annals.audit-1.avro", 9, 3, 1),
            manifest("annals.audit-1.avro", 0, 9, 10),
            manifest("annals.audit-1.avro", 0, 9, 0),
            Manifest { topics: Vec::new(), ..manifest("annals.audit-1.avro", 0, 9, 9) },
        ] {
            let folder = tempfile::tempdir().unwrap();
            wrong.clone().write_partial(folder.path()).unwrap();
            let error = Manifest::read_partial(folder.path()).unwrap_err();
            assert!(matches!(error, CopyError::Damaged { .. }), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn others_and_newer_ones_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let say = |text: &str| {
            std::fs::write(folder.path().join(MANIFEST), text).unwrap();
            Manifest::read(folder.path()).unwrap_err()
        };
        assert!(matches!(say(r#"{"format":"x","version":1}"#), CopyError::NotAnArchive(_)));
        let newer = r#"{"format":"annals-log-archive","version":2,"other":[]}"#;
        assert!(matches!(say(newer), CopyError::NewerArchive(_)));
        assert!(matches!(say("{"), CopyError::Damaged { .. }));
    }
}
