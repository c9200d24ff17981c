//! Reading by position: records, ends, and the position for a time.

use chrono::{DateTime, Utc};
use rdkafka::Offset;

use super::reader::Edge;
use super::{Shared, admin};
use crate::{BusError, Partition, ReadLimit, Result, StoredRecord};

/// Reads records of one partition. Where declared retention removed what is asked for, they begin further on.
pub(super) async fn read(
    shared: &Shared,
    partition: &Partition,
    from: u64,
    limit: ReadLimit,
) -> Result<Vec<StoredRecord>> {
    let topic = shared.find(partition)?.outer.clone();
    let mut offset = from;
    loop {
        let (outer, number) = (topic.clone(), partition.number);
        let place = Some((outer.clone(), number, offset));
        let found =
            shared.readers.with(place, move |reader| reader.read(&outer, number, offset, limit)).await?;
        match found {
            Ok(records) => return Ok(records),
            Err(Edge::End) => return Ok(Vec::new()),
            Err(Edge::OutOfRange { first, end }) => {
                offset = out_of_range(shared, partition, from, first, end).await?;
            }
        }
    }
}

/// Where reading goes on from an offset that the partition does not have.
///
/// # Errors
/// [`BusError::OffsetOutOfRange`] beyond the end; [`BusError::Removed`] before the first record of a topic that is to
/// keep them all.
async fn out_of_range(
    shared: &Shared,
    partition: &Partition,
    from: u64,
    first: u64,
    end: u64,
) -> Result<u64> {
    if from > end {
        return Err(BusError::OffsetOutOfRange { partition: partition.clone(), offset: from, end });
    }
    if from >= first {
        // A server that had not caught up yet said so. The next one knows better.
        return Err(shared.health.timed_out("be read"));
    }
    if admin::keeps_for_ever(&shared.settings, &shared.health, &shared.find(partition)?.outer).await? {
        return Err(BusError::Removed { partition: partition.clone(), offset: from, first });
    }
    Ok(first)
}

/// The offsets of the logical place in every partition of the topics.
pub(super) async fn edges(shared: &Shared, topics: &[&str], edge: Offset) -> Result<Vec<(Partition, u64)>> {
    let mut partitions = Vec::new();
    let mut asked = Vec::new();
    for name in topics {
        let topic = shared.topic(name)?;
        asked.extend((0..topic.partitions).map(|number| (topic.outer.clone(), number)));
        partitions.extend(topic.partitions(name));
    }
    let offsets = shared
        .readers
        .with(None, move |reader| {
            let asked: Vec<_> = asked.iter().map(|(topic, number)| (topic.as_str(), *number, edge)).collect();
            reader.offsets(&asked)
        })
        .await?;
    Ok(partitions.into_iter().zip(offsets.into_iter().map(Option::unwrap_or_default)).collect())
}

/// The offset of the first record that was appended at `time` or later.
pub(super) async fn position_at(shared: &Shared, partition: &Partition, time: DateTime<Utc>) -> Result<u64> {
    let topic = shared.find(partition)?.outer.clone();
    let number = partition.number;
    let millis = super::record::timestamp_ms(time);
    // Kafka knows milliseconds. What is as late as the next one is late enough; between the two each record tells.
    let (low, high, end) = shared
        .readers
        .with(None, move |reader| {
            let offset_of = |offset| reader.offsets(&[(&topic, number, offset)]).map(|found| found[0]);
            let end = offset_of(Offset::End)?.unwrap_or_default();
            let low = offset_of(Offset::Offset(millis))?;
            Ok((low, offset_of(Offset::Offset(millis + 1))?, end))
        })
        .await?;
    let Some(mut from) = low else { return Ok(end) };
    let until = high.unwrap_or(end);
    while from < until {
        let records = read(shared, partition, from, ReadLimit::default()).await?;
        let Some(last) = records.last() else { break };
        let late = |record: &&StoredRecord| record.recorded_at >= time && record.offset < until;
        if let Some(found) = records.iter().find(late) {
            return Ok(found.offset);
        }
        from = last.offset + 1;
    }
    Ok(until)
}
