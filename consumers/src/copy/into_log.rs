//! From a source into a log, exactly, whatever interrupts it.
//!
//! A note that is kept with the target says per topic how far the copy is, and which chunk is being appended. It is
//! written before the chunk is, together with the ends that the target had then; the note of the next chunk says that
//! this one is there. After an interruption the target may have any part of the chunk per partition. Going on, the copy
//! compares what came to the target since with the chunk, read again, and appends what lacks. So every record is there
//! exactly once, and those of one key are in the order that they have at the source, as long as nobody else writes to the
//! target. That is checked: by the positions that every append gives, and by the ends whenever a copy begins or ends.
//!
//! Which partition a record goes to follows from its key, in `Bus::append`; so a copy into a log with another number of
//! partitions is how keys are spread anew. Of several partitions the one that is furthest behind in time is copied
//! next, so that such a log, too, is roughly in the order of time.

use std::collections::BTreeMap;
use std::time::Instant;

use annals_bus::record::MAX_RECORD_BYTES;
use annals_bus::{Bus, BusError, Partition, Position, ReadLimit, Record, StoredRecord};
use annals_store::crash;
use bytes::Bytes;
use chrono::{DateTime, Datelike, Utc};

use super::mark::Mark;
use super::note::{Chunk, Note};
use super::settle::{Place, same, settle};
use super::source::{Source, SourceTopic, read_before};
use super::{CopyError, Limits, Progress, Result, Summary, TopicSummary, size_bytes};

/// Copies topics into a log that nobody else writes to. What the source gets while this runs is left to the next run.
///
/// # Errors
/// When the target has other records than a copy of this source, before anything is written; when one of the two cannot
/// be read or written; and when the result is not what the source has.
pub async fn into_log(
    source: &dyn Source,
    target: &dyn Bus,
    topics: &[&str],
    limits: &Limits,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Summary> {
    let started = Instant::now();
    let mut copies = Vec::new();
    for topic in topics {
        copies.extend(TopicCopy::plan(source, target, topic, limits).await?);
    }
    let total = copies.iter().map(TopicCopy::left).sum();
    let mut done = 0;
    let mut summary = Summary::default();
    for mut copy in copies {
        let before = done;
        copy.run(&mut |records| {
            done = before + records;
            progress(Progress::Copying { done, total });
        })
        .await?;
        copy.verify().await?;
        summary.topics.push(copy.summary);
    }
    summary.elapsed = started.elapsed();
    Ok(summary)
}

/// The copy of one topic.
struct TopicCopy<'a> {
    source: &'a dyn Source,
    target: &'a dyn Bus,
    limits: &'a Limits,
    topic: &'a str,
    from: SourceTopic,
    /// As it is kept with the target, or will be next.
    note: Note,
    /// Per partition of the source, the time of the last record that was copied.
    reached: Vec<Option<DateTime<Utc>>>,
    /// The last record that this run knows to be in each partition of the target.
    last: BTreeMap<u32, StoredRecord>,
    summary: TopicSummary,
}

impl<'a> TopicCopy<'a> {
    /// Looks how far the copy is, and refuses what cannot be. `None` when the source has no such topic.
    async fn plan(
        source: &'a dyn Source,
        target: &'a dyn Bus,
        topic: &'a str,
        limits: &'a Limits,
    ) -> Result<Option<Self>> {
        let Some(from) = source.topic(topic).await? else { return Ok(None) };
        let incarnation = target.incarnation(topic).await?;
        if incarnation == from.incarnation {
            return Err(CopyError::SameLog { topic: topic.to_owned(), incarnation });
        }
        let ends = ends(target, topic).await?;
        let noted = Note::read(target, topic).await?.filter(|note| note.target == incarnation);
        let note = match noted {
            Some(note) if note.source == from.incarnation => note,
            noted => {
                let first: u64 = target.first_positions(&[topic]).await?.iter().map(|(_, first)| first).sum();
                let records = ends.iter().sum::<u64>().saturating_sub(first);
                match noted {
                    _ if records == 0 => Note::begin(from.incarnation, incarnation, ends.clone()),
                    Some(note) => {
                        let (noted, found) = (note.source, from.incarnation);
                        return Err(CopyError::OtherSource { topic: topic.to_owned(), noted, found });
                    }
                    None => return Err(CopyError::NotEmpty { topic: topic.to_owned(), records }),
                }
            }
        };
        let summary =
            TopicSummary { topic: topic.to_owned(), already_there: note.records(), ..Default::default() };
        let reached = vec![None; from.partitions.len()];
        let copy =
            Self { source, target, limits, topic, from, note, reached, last: BTreeMap::new(), summary };
        copy.check_source().await?;
        copy.check_target(&ends)?;
        Ok(Some(copy))
    }

    async fn check_source(&self) -> Result<()> {
        for extent in &self.from.partitions {
            let copied = match self.note.chunk {
                Some(chunk) if chunk.partition == extent.number => chunk.to,
                _ => self.note.next(extent.number),
            };
            if copied > extent.end {
                let partition = Partition::new(self.topic, extent.number);
                return Err(CopyError::SourceBehind { partition, end: extent.end, copied });
            }
            if let Some(last) = self.note.last(extent.number) {
                last.check(self.source, &Partition::new(self.topic, extent.number), extent).await?;
            }
        }
        Ok(())
    }

    /// Compares the ends of the target with the noted ones. What a chunk under way left behind is looked at later.
    fn check_target(&self, ends: &[u64]) -> Result<()> {
        let count = self.note.ends.len();
        if ends.len() != count {
            let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
            let (actual, wanted) = (number(ends.len()), number(count));
            return Err(BusError::PartitionCount { topic: self.topic.to_owned(), actual, wanted }.into());
        }
        for ((found, expected), number) in ends.iter().copied().zip(self.note.ends.iter().copied()).zip(0..) {
            let partition = Partition::new(self.topic, number);
            if found < expected {
                return Err(CopyError::TargetBehind { partition, expected, found });
            }
            if found > expected && self.note.chunk.is_none() {
                return Err(CopyError::OtherWriter { partition, expected, found: expected });
            }
        }
        Ok(())
    }

    /// Records that the source has and the target lacks, as far as offsets tell.
    fn left(&self) -> u64 {
        let left = |extent: &super::Extent| extent.end - self.note.next(extent.number).max(extent.first);
        self.from.partitions.iter().map(left).sum()
    }

    /// Copies up to where the source ended when it was looked at.
    async fn run(&mut self, progress: &mut (dyn FnMut(u64) + Send)) -> Result<()> {
        if let Some(chunk) = self.note.chunk {
            self.finish_chunk(chunk).await?;
        }
        let mut changed = false;
        while let Some((partition, from, end)) = self.furthest_behind() {
            let (records, to) = self.read_chunk(&partition, from, end).await?;
            let expected = self.note.next(partition.number);
            self.summary.missing += to - expected - records.len() as u64;
            let last = records.last().map(Mark::of);
            if let Some(last) = records.last() {
                self.reached[partition.number as usize] = Some(last.recorded_at);
                self.append_chunk(&partition, records, from, to).await?;
            }
            self.note.set_next(partition.number, to, last);
            self.note.chunk = None;
            changed = true;
            progress(self.summary.records);
        }
        if changed {
            self.note.write(self.target, self.topic).await?;
        }
        Ok(())
    }

    /// The partition whose last copied record is the oldest, with what is left of it.
    fn furthest_behind(&self) -> Option<(Partition, u64, u64)> {
        let left = self.from.partitions.iter().filter(|extent| self.note.next(extent.number) < extent.end);
        let extent = left.min_by_key(|extent| self.reached[extent.number as usize])?;
        let from = self.note.next(extent.number).max(extent.first);
        Some((Partition::new(self.topic, extent.number), from, extent.end))
    }

    /// Reads the next records before `end`, and says from where on the ones after them stand.
    async fn read_chunk(
        &self,
        partition: &Partition,
        from: u64,
        end: u64,
    ) -> Result<(Vec<StoredRecord>, u64)> {
        let records = read_before(self.source, partition, from, end, self.limits.chunk).await?;
        let to = records.last().map_or(end, |record| record.offset + 1);
        Ok((records, to))
    }

    async fn append_chunk(
        &mut self,
        partition: &Partition,
        records: Vec<StoredRecord>,
        from: u64,
        to: u64,
    ) -> Result<()> {
        check_sizes(partition, &records)?;
        self.note.chunk =
            Some(Chunk { partition: partition.number, from, to, records: records.len() as u64 });
        crash::point("copy:before-note");
        self.note.write(self.target, self.topic).await?;
        self.append(partition.number, records).await
    }

    /// Appends what lacks of a chunk that was interrupted.
    async fn finish_chunk(&mut self, chunk: Chunk) -> Result<()> {
        let partition = Partition::new(self.topic, chunk.partition);
        let records = self.read_again(&partition, chunk).await?;
        check_sizes(&partition, &records)?;
        let mut tails = Vec::new();
        let mut found = 0;
        for (number, from) in (0..).zip(&self.note.ends) {
            let tail = self.tail(number, *from, chunk.records - found).await?;
            found += tail.len() as u64;
            tails.push(tail);
        }
        let places = settle(&records, &tails).map_err(|(number, offset)| CopyError::NotOurs {
            partition: Partition::new(self.topic, number),
            offset,
        })?;
        for (tail, end) in tails.iter().zip(&mut self.note.ends) {
            *end += tail.len() as u64;
        }
        self.summary.already_there += found;
        let last = records.last().map(Mark::of);
        self.summary.missing += chunk.to - self.note.next(chunk.partition) - chunk.records;
        let (mut there, mut lacking) = (Vec::new(), Vec::new());
        for (record, place) in records.into_iter().zip(places) {
            match place {
                Some(place) => there.push((record, place)),
                None => lacking.push(record),
            }
        }
        self.landed(chunk.partition, there);
        self.append(chunk.partition, lacking).await?;
        self.note.set_next(chunk.partition, chunk.to, last);
        self.note.chunk = None;
        self.note.write(self.target, self.topic).await
    }

    async fn read_again(&self, partition: &Partition, chunk: Chunk) -> Result<Vec<StoredRecord>> {
        let mut records: Vec<StoredRecord> = Vec::new();
        let mut from = chunk.from;
        while from < chunk.to {
            let (more, to) = self.read_chunk(partition, from, chunk.to).await?;
            records.extend(more);
            from = to;
        }
        let (noted, found) = (chunk.records, records.len() as u64);
        if noted != found {
            let partition = partition.clone();
            return Err(CopyError::ChunkGone { partition, from: chunk.from, noted, found });
        }
        Ok(records)
    }

    /// What one partition of the target got since the chunk was begun: no more than the chunk could have brought.
    async fn tail(&self, number: u32, from: u64, most: u64) -> Result<Vec<StoredRecord>> {
        let partition = Partition::new(self.topic, number);
        let mut tail: Vec<StoredRecord> = Vec::new();
        loop {
            let next = tail.last().map_or(from, |record| record.offset + 1);
            let more = self.target.read(&partition, next, self.limits.chunk).await?;
            if more.is_empty() {
                return Ok(tail);
            }
            tail.extend(more);
            if tail.len() as u64 > most {
                let offset = from + most;
                return Err(CopyError::NotOurs { partition, offset });
            }
        }
    }

    /// Appends records of one partition of the source, and checks that they got the places next to the last ones.
    async fn append(&mut self, from: u32, records: Vec<StoredRecord>) -> Result<()> {
        let sent = records.iter().map(|record| Record {
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record.headers.clone(),
            recorded_at: Some(record.recorded_at),
        });
        let sent: Vec<Record> = sent.collect();
        self.summary.records += sent.len() as u64;
        self.summary.bytes += records.iter().map(size_bytes).sum::<u64>();
        let positions = self.target.append(self.topic, sent).await?;
        crash::point("copy:after-append");
        let mut placed = Vec::with_capacity(records.len());
        let mut delicate: BTreeMap<u32, Vec<StoredRecord>> = BTreeMap::new();
        for (record, Position { partition, offset, .. }) in records.into_iter().zip(positions) {
            let expected = &mut self.note.ends[partition.number as usize];
            if offset != *expected {
                return Err(CopyError::OtherWriter { partition, expected: *expected, found: offset });
            }
            *expected += 1;
            if is_delicate(&record) {
                let expected = StoredRecord { offset, ..record.clone() };
                delicate.entry(partition.number).or_default().push(expected);
            }
            placed.push((record, (partition.number, offset)));
        }
        self.landed(from, placed);
        for (number, expected) in delicate {
            self.compare_all(&Partition::new(self.topic, number), &expected).await?;
        }
        Ok(())
    }

    /// Takes note of where records of one partition of the source are.
    fn landed(&mut self, from: u32, placed: Vec<(StoredRecord, Place)>) {
        let mut last = BTreeMap::new();
        for (record, (number, offset)) in placed {
            self.note.same_positions &= (from, record.offset) == (number, offset);
            last.insert(number, StoredRecord { offset, ..record });
        }
        // Kept for long, they must not hold the memory of whole chunks.
        self.last.extend(last.into_iter().map(|(number, record)| (number, detached(record))));
    }

    /// Compares the target with what was copied.
    async fn verify(&mut self) -> Result<()> {
        let found = ends(self.target, self.topic).await?;
        self.check_target(&found)?;
        let copied = self.summary.already_there + self.summary.records;
        if self.note.records() != copied {
            let there = self.note.records();
            let text = format!("topic `{}` has {there} records of the {copied} that were copied", self.topic);
            return Err(CopyError::Unverified(text));
        }
        for (number, expected) in &self.last {
            self.compare(&Partition::new(self.topic, *number), expected).await?;
        }
        if self.note.same_positions {
            self.compare_positions().await?;
        }
        self.summary.same_positions = self.note.same_positions;
        Ok(())
    }

    /// Where every record kept its position, both logs end alike, now and after earlier runs.
    async fn compare_positions(&self) -> Result<()> {
        let one = ReadLimit { records: 1, bytes: 1 };
        for (extent, end) in self.from.partitions.iter().zip(&self.note.ends) {
            // What retention has removed at the source cannot be compared any more.
            if !(extent.first + 1..=extent.end).contains(end) {
                continue;
            }
            let partition = Partition::new(self.topic, extent.number);
            let last = self.source.read(&partition, end - 1, one).await?;
            if let Some(last) = last.first().filter(|last| last.offset == end - 1) {
                self.compare(&partition, last).await?;
            }
        }
        Ok(())
    }

    /// Compares one record of the target, unless retention has removed it there.
    async fn compare(&self, partition: &Partition, expected: &StoredRecord) -> Result<()> {
        self.compare_all(partition, std::slice::from_ref(expected)).await
    }

    /// Compares records of one partition of the target, in their order, unless retention has removed them there. What
    /// stands between them is read as well: single reads would cost more.
    async fn compare_all(&self, partition: &Partition, expected: &[StoredRecord]) -> Result<()> {
        let first = self.target.first_positions(&[self.topic]).await?;
        let first = first.iter().find(|(known, _)| known == partition).map_or(0, |(_, first)| *first);
        let mut expected = expected.iter().filter(|record| record.offset >= first).peekable();
        while let Some(&next) = expected.peek() {
            let limit = match expected.clone().nth(1) {
                None => ReadLimit { records: 1, bytes: 1 },
                Some(_) => self.limits.chunk,
            };
            let found = self.target.read(partition, next.offset, limit).await?;
            let Some(end) = found.last().map(|record| record.offset + 1) else {
                return Err(another(partition, next.offset));
            };
            let mut found = found.iter();
            while let Some(wanted) = expected.next_if(|wanted| wanted.offset < end) {
                if !found.any(|found| found.offset == wanted.offset && same(found, wanted)) {
                    return Err(another(partition, wanted.offset));
                }
            }
        }
        Ok(())
    }
}

fn another(partition: &Partition, offset: u64) -> CopyError {
    CopyError::Unverified(format!("the record at `{partition}/{offset}` in TO is another one"))
}

/// Refuses what no log of annals takes before anything of the chunk is appended.
fn check_sizes(partition: &Partition, records: &[StoredRecord]) -> Result<()> {
    for stored in records {
        let headers = stored.headers.clone();
        let (key, value) = (stored.key.clone(), stored.value.clone());
        let size_bytes = Record { key, value, headers, recorded_at: None }.size_bytes();
        if size_bytes > MAX_RECORD_BYTES {
            let (partition, offset) = (partition.clone(), stored.offset);
            return Err(CopyError::RecordTooLarge {
                partition,
                offset,
                size_bytes,
                limit_bytes: MAX_RECORD_BYTES,
            });
        }
    }
    Ok(())
}

/// Whether an engine may not keep a record as it is: names of Kafka's headers end at a zero byte, and a text with a time
/// has four digits for the year. Foreign producers that take microseconds for milliseconds have later ones.
fn is_delicate(record: &StoredRecord) -> bool {
    !(0..=9_999).contains(&record.recorded_at.year())
        || record.headers.iter().any(|(name, _)| name.contains('\0'))
}

/// The same record in memory of its own.
fn detached(record: StoredRecord) -> StoredRecord {
    let copied = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
    StoredRecord {
        key: record.key.as_ref().map(copied),
        value: copied(&record.value),
        headers: record.headers.iter().map(|(name, value)| (name.clone(), copied(value))).collect(),
        ..record
    }
}

/// The end of every partition, by its number.
async fn ends(bus: &dyn Bus, topic: &str) -> Result<Vec<u64>> {
    Ok(bus.end_positions(&[topic]).await?.into_iter().map(|(_, end)| end).collect())
}
