//! Copying into an archive.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Instant;

use annals_bus::{Partition, StoredRecord};
use annals_store::crash;
use uuid::Uuid;

use super::container::ContainerWriter;
use super::files::{self, Hashing};
use super::manifest::{ArchivedFile, ArchivedTopic, Manifest, file_name, path_of};
use super::reader::{blocking, check_records};
use crate::copy::mark::Mark;
use crate::copy::source::read_before;
use crate::copy::{
    CopyError, Extent, Limits, Progress, Result, Source, SourceTopic, Summary, TopicSummary, size_bytes,
};

/// Copies topics into an archive, making it when it is not there. What the source gets while this runs is left to the
/// next run.
///
/// # Errors
/// When the folder holds something else, or an archive of another log; when the source cannot be read or the archive
/// written; and when a file cannot be read back as it was written.
pub async fn into_archive(
    source: &dyn Source,
    folder: &Path,
    topics: &[&str],
    limits: &Limits,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary> {
    let started = Instant::now();
    let place = folder.to_owned();
    let (_lock, manifest, finished) = blocking(move || open(&place)).await?;
    let mut copy =
        ArchiveCopy { source, folder: folder.to_owned(), limits, manifest, progress, done: 0, total: 0 };
    let mut planned = Vec::new();
    for topic in topics {
        if let Some(from) = source.topic(topic).await? {
            copy.plan(topic, &from).await?;
            planned.push((*topic, from));
        }
    }
    copy.keep().await?;
    let mut summary = Summary::default();
    for (topic, from) in planned {
        summary.topics.push(copy.topic(topic, from).await?);
    }
    copy.verify(finished).await?;
    let place = folder.to_owned();
    blocking(move || Manifest::finish(&place)).await?;
    summary.elapsed = started.elapsed();
    Ok(summary)
}

/// Opens an archive for writing: its manifest with the files that an interrupted copy had finished, and how many of them
/// were of a copy that came to its end.
fn open(folder: &Path) -> Result<(files::Lock, Manifest, usize)> {
    files::make_folder(folder)?;
    let is_archive = Manifest::read(folder)?.is_some() || Manifest::read_partial(folder)?.is_some();
    // Before the lock: nothing is made in a folder of something else.
    if !is_archive && !files::is_empty(folder)? {
        return Err(CopyError::NotAnArchive(folder.to_owned()));
    }
    let lock = files::lock(folder)?;
    let finished = Manifest::read(folder)?.unwrap_or_else(Manifest::new);
    for file in &finished.files {
        let path = path_of(folder, file);
        if !has_its_size(&path, file) {
            return Err(CopyError::damaged(&path, "it is missing, or has another length"));
        }
    }
    let count = finished.files.len();
    let partial =
        Manifest::read_partial(folder)?.filter(|partial| partial.files.starts_with(&finished.files));
    let manifest = partial.map_or(finished, |mut partial| {
        let mut lost = Vec::new();
        partial.files.retain(|file| {
            let partition = Partition::new(&file.topic, file.partition);
            let whole = !lost.contains(&partition) && has_its_size(&path_of(folder, file), file);
            if !whole {
                // Without it the later ones of its partition do not follow.
                lost.push(partition);
            }
            whole
        });
        partial
    });
    files::remove_unfinished(folder)?;
    Ok((lock, manifest, count))
}

fn has_its_size(path: &Path, file: &ArchivedFile) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == file.bytes)
}

struct ArchiveCopy<'a> {
    source: &'a dyn Source,
    folder: PathBuf,
    limits: &'a Limits,
    manifest: Manifest,
    progress: &'a mut (dyn FnMut(Progress) + Send),
    done: u64,
    total: u64,
}

impl ArchiveCopy<'_> {
    /// Looks how far the archive is, and refuses what cannot be.
    async fn plan(&mut self, topic: &str, from: &SourceTopic) -> Result<()> {
        let found = from.incarnation;
        let has_records = self.manifest.files.iter().any(|file| file.topic == topic);
        match self.manifest.topic(topic).map(|known| known.incarnation) {
            Some(noted) if noted != found && has_records => {
                return Err(CopyError::OtherSource { topic: topic.to_owned(), noted, found });
            }
            _ => {}
        }
        for extent in &from.partitions {
            let partition = Partition::new(topic, extent.number);
            let copied = self.copied(&partition);
            if copied > extent.end {
                return Err(CopyError::SourceBehind { partition, end: extent.end, copied });
            }
            if let Some(file) = self.manifest.files_of(&partition).last() {
                file.last.check(self.source, &partition, extent).await?;
            }
            self.total += extent.end - copied.max(extent.first);
        }
        let partitions = u32::try_from(from.partitions.len()).unwrap_or(u32::MAX);
        match self.manifest.topics.iter_mut().find(|known| known.topic == topic) {
            Some(known) => {
                known.incarnation = found;
                known.partitions = known.partitions.max(partitions);
            }
            None => {
                let topic = topic.to_owned();
                self.manifest.topics.push(ArchivedTopic { topic, incarnation: found, partitions });
            }
        }
        Ok(())
    }

    /// The offset up to which the archive has a partition.
    fn copied(&self, partition: &Partition) -> u64 {
        self.manifest.files_of(partition).last().map_or(0, |file| file.end_offset)
    }

    /// Writes the manifest of the copy under way.
    async fn keep(&mut self) -> Result<()> {
        let (mut manifest, folder) = (self.manifest.clone(), self.folder.clone());
        blocking(move || manifest.write_partial(&folder)).await
    }

    async fn topic(&mut self, topic: &str, from: SourceTopic) -> Result<TopicSummary> {
        let there =
            self.manifest.files.iter().filter(|file| file.topic == topic).map(|file| file.records).sum();
        let mut summary = TopicSummary {
            topic: topic.to_owned(),
            already_there: there,
            same_positions: true,
            ..TopicSummary::default()
        };
        for extent in from.partitions {
            let partition = Partition::new(topic, extent.number);
            let mut next = self.copied(&partition);
            while next < extent.end {
                next = self.file(&partition, next, extent, &mut summary).await?;
            }
        }
        Ok(summary)
    }

    /// Writes the next file of a partition, and says up to where the archive has it then.
    async fn file(
        &mut self,
        partition: &Partition,
        copied: u64,
        extent: Extent,
        summary: &mut TopicSummary,
    ) -> Result<u64> {
        let nth = self.manifest.files_of(partition).count() + 1;
        let path = self.folder.join(file_name(partition, nth));
        let mut writing: Option<Writing> = None;
        let mut next = copied;
        while next < extent.end && writing.as_ref().is_none_or(|file| file.bytes() < self.limits.file_bytes) {
            let from = next.max(extent.first);
            let records = read_before(self.source, partition, from, extent.end, self.limits.chunk).await?;
            let to = records.last().map_or(extent.end, |record| record.offset + 1);
            let count = records.len() as u64;
            summary.missing += to - next - count;
            summary.records += count;
            summary.bytes += records.iter().map(size_bytes).sum::<u64>();
            if count > 0 {
                let path = path.clone();
                writing = Some(blocking(move || Writing::of(writing, &path)?.push(records)).await?);
            }
            next = to;
            self.done += count;
            (self.progress)(Progress::Copying { done: self.done, total: self.total });
        }
        if let Some(file) = writing {
            crash::point("copy:before-rename");
            let partition = partition.clone();
            self.manifest.files.push(blocking(move || file.finish(&path, &partition, next)).await?);
            crash::point("copy:before-manifest");
            self.keep().await?;
        }
        Ok(next)
    }

    /// Reads every file back that no finished copy has vouched for.
    async fn verify(&mut self, finished: usize) -> Result<()> {
        for file in self.manifest.files.iter().skip(finished) {
            let (path, file) = (path_of(&self.folder, file), file.clone());
            blocking(move || check_records(&path, &file)).await?;
        }
        Ok(())
    }
}

/// A file that is being written.
struct Writing {
    path: PathBuf,
    container: ContainerWriter<Hashing<BufWriter<File>>>,
    first_offset: Option<u64>,
    last: Option<Mark>,
    records: u64,
}

impl Writing {
    /// The file under way, or a new one.
    fn of(under_way: Option<Self>, path: &Path) -> Result<Self> {
        if let Some(file) = under_way {
            return Ok(file);
        }
        let out = Hashing::new(BufWriter::new(files::begin(path)?));
        let container = ContainerWriter::begin(out, Uuid::new_v4().into_bytes())
            .map_err(|source| CopyError::io(path, "write", source))?;
        Ok(Self { path: path.to_owned(), container, first_offset: None, last: None, records: 0 })
    }

    fn push(mut self, records: Vec<StoredRecord>) -> Result<Self> {
        self.last = records.last().map(Mark::of).or(self.last);
        for record in records {
            self.first_offset.get_or_insert(record.offset);
            self.records += 1;
            let pushed = self.container.push(&record);
            pushed.map_err(|source| CopyError::io(&self.path, "write", source))?;
        }
        Ok(self)
    }

    /// About how long the file is so far.
    fn bytes(&self) -> u64 {
        self.container.get_ref().bytes + self.container.pending_bytes()
    }

    /// Brings the file to the disk under its name.
    fn finish(self, path: &Path, partition: &Partition, end_offset: u64) -> Result<ArchivedFile> {
        let failed = |source| CopyError::io(path, "write", source);
        let hashing = self.container.finish().map_err(failed)?;
        let bytes = hashing.bytes;
        let file = hashing.inner.get_ref().try_clone().map_err(failed)?;
        files::finish(&file, path)?;
        let (Some(first_offset), Some(last)) = (self.first_offset, self.last) else {
            return Err(CopyError::damaged(path, "it has no record"));
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(ArchivedFile {
            file: name,
            topic: partition.topic.to_string(),
            partition: partition.number,
            first_offset,
            end_offset,
            last,
            records: self.records,
            bytes,
            sha256: hashing.sha256(),
        })
    }
}
