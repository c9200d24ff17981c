//! An archive as a source.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use annals_bus::{Partition, ReadLimit, StoredRecord};
use async_trait::async_trait;

use super::container::{ContainerReader, Fault};
use super::files::Hashing;
use super::manifest::{ArchivedFile, Manifest, path_of};
use crate::copy::{CopyError, Extent, Progress, Result, Source, SourceTopic};

/// How much of a file is read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// An archive that is whole.
#[derive(Debug)]
pub struct ArchiveSource {
    folder: PathBuf,
    manifest: Manifest,
    /// Where the last read of each partition ended.
    cursors: Mutex<HashMap<Partition, Cursor>>,
}

impl ArchiveSource {
    /// Opens an archive. Every file is read once and compared with its checksum, so that a damaged archive is refused
    /// before anything of it is copied.
    ///
    /// # Errors
    /// When there is no archive, or an unfinished, newer or damaged one.
    pub async fn open(folder: &Path, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<Self> {
        let manifest = match Manifest::read(folder)? {
            Some(manifest) => manifest,
            None if Manifest::read_partial(folder)?.is_some() => {
                return Err(CopyError::Unfinished(folder.to_owned()));
            }
            None => return Err(CopyError::NoArchive(folder.to_owned())),
        };
        let total = manifest.files.iter().map(|file| file.bytes).sum();
        let mut done = 0;
        for file in &manifest.files {
            let (path, file) = (path_of(folder, file), file.clone());
            done += file.bytes;
            blocking(move || check_sum(&path, &file)).await?;
            progress(Progress::Checking { done, total });
        }
        Ok(Self { folder: folder.to_owned(), manifest, cursors: Mutex::default() })
    }

    fn cursor(&self, partition: &Partition, from: u64) -> Cursor {
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = cursors.remove(partition).filter(|cursor| cursor.next == from);
        kept.unwrap_or_else(|| {
            let files = self.manifest.files_of(partition).filter(|file| file.end_offset > from);
            let files = files.map(|file| (path_of(&self.folder, file), file.clone())).collect();
            Cursor { files, open: None, ahead: None, next: from }
        })
    }
}

#[async_trait]
impl Source for ArchiveSource {
    async fn topic(&self, topic: &str) -> Result<Option<SourceTopic>> {
        let Some(archived) = self.manifest.topic(topic) else { return Ok(None) };
        let extent = |number| {
            let partition = Partition::new(topic, number);
            let mut files = self.manifest.files_of(&partition);
            let first = files.next();
            let last = files.last().or(first);
            let (first, end) =
                (first.map_or(0, |file| file.first_offset), last.map_or(0, |file| file.end_offset));
            Extent { number, first, end }
        };
        let partitions = (0..archived.partitions).map(extent).collect();
        Ok(Some(SourceTopic { incarnation: archived.incarnation, partitions }))
    }

    async fn read(&self, partition: &Partition, from: u64, limit: ReadLimit) -> Result<Vec<StoredRecord>> {
        let mut cursor = self.cursor(partition, from);
        let (records, cursor) = blocking(move || Ok((cursor.read(limit)?, cursor))).await?;
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner).insert(partition.clone(), cursor);
        Ok(records)
    }
}

/// Does work that waits for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| CopyError::Task)?
}

fn check_sum(path: &Path, file: &ArchivedFile) -> Result<()> {
    let mut hashing = Hashing::new(open(path)?);
    std::io::copy(&mut hashing, &mut std::io::sink())
        .map_err(|source| CopyError::io(path, "read", source))?;
    compare_sums(path, file, hashing)
}

fn compare_sums<T>(path: &Path, file: &ArchivedFile, hashed: Hashing<T>) -> Result<()> {
    if hashed.bytes != file.bytes {
        return Err(CopyError::damaged(path, format!("it has {} bytes, not {}", hashed.bytes, file.bytes)));
    }
    if hashed.sha256() != file.sha256 {
        return Err(CopyError::damaged(path, "its checksum is not the one in the manifest"));
    }
    Ok(())
}

/// Reads a file that was just written, record by record.
pub(super) fn check_records(path: &Path, file: &ArchivedFile) -> Result<()> {
    let input = BufReader::with_capacity(BUFFER_BYTES, Hashing::new(open(path)?));
    let mut records = FileRecords::open(path, file, input)?;
    while records.next()?.is_some() {}
    compare_sums(path, file, records.reader.into_inner().into_inner())
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CopyError::damaged(path, "it is missing"),
        _ => CopyError::io(path, "open", error),
    })
}

/// The records of a file, held against what the manifest says of it.
#[derive(Debug)]
struct FileRecords<R> {
    path: PathBuf,
    file: ArchivedFile,
    reader: ContainerReader<R>,
    seen: u64,
    /// The lowest offset that the next record may have.
    next: u64,
}

impl<R: Read> FileRecords<R> {
    fn open(path: &Path, file: &ArchivedFile, input: R) -> Result<Self> {
        let reader = ContainerReader::open(input).map_err(|fault| explain(path, fault))?;
        Ok(Self { path: path.to_owned(), file: file.clone(), reader, seen: 0, next: file.first_offset })
    }

    fn next(&mut self) -> Result<Option<StoredRecord>> {
        let record = self.reader.next().map_err(|fault| explain(&self.path, fault))?;
        match &record {
            Some(record) if record.offset < self.next || record.offset >= self.file.end_offset => {
                let reason = format!("a record has offset {}, which cannot be there", record.offset);
                return Err(CopyError::damaged(&self.path, reason));
            }
            Some(record) => {
                self.seen += 1;
                self.next = record.offset + 1;
            }
            None if self.seen != self.file.records => {
                let reason = format!("it has {} records, not {}", self.seen, self.file.records);
                return Err(CopyError::damaged(&self.path, reason));
            }
            None => {}
        }
        Ok(record)
    }
}

fn explain(path: &Path, fault: Fault) -> CopyError {
    match fault {
        Fault::Io(source) => CopyError::io(path, "read", source),
        Fault::Damaged(reason) => CopyError::damaged(path, reason),
    }
}

/// A place in the records of a partition.
#[derive(Debug)]
struct Cursor {
    /// Files that are not open yet.
    files: VecDeque<(PathBuf, ArchivedFile)>,
    open: Option<FileRecords<BufReader<File>>>,
    /// A record that did not fit into the last read.
    ahead: Option<StoredRecord>,
    /// The offset that is read from next.
    next: u64,
}

impl Cursor {
    fn read(&mut self, limit: ReadLimit) -> Result<Vec<StoredRecord>> {
        let mut records: Vec<StoredRecord> = Vec::new();
        let mut bytes = 0;
        while records.len() < limit.records.max(1) {
            let Some(record) = self.next_record()? else { break };
            bytes += record.value.len() + record.key.as_ref().map_or(0, |key| key.len());
            if !records.is_empty() && bytes > limit.bytes {
                self.ahead = Some(record);
                break;
            }
            self.next = record.offset + 1;
            records.push(record);
        }
        Ok(records)
    }

    fn next_record(&mut self) -> Result<Option<StoredRecord>> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        loop {
            if let Some(open) = &mut self.open {
                match open.next()? {
                    Some(record) if record.offset >= self.next => return Ok(Some(record)),
                    Some(_) => continue,
                    None => self.open = None,
                }
            }
            let Some((path, file)) = self.files.pop_front() else { return Ok(None) };
            let input = BufReader::with_capacity(BUFFER_BYTES, open(&path)?);
            self.open = Some(FileRecords::open(&path, &file, input)?);
        }
    }
}
