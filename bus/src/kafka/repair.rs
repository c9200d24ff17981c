//! Partitions that do not have the offset that was asked for, and topics that are gone.

use std::time::Duration;

use rdkafka::consumer::Consumer as _;

use super::admin;
use super::health::{code_of, is_missing};
use super::poller::Poller;
use crate::{BusError, Partition, Result};

/// How long one question may take: the thread does not poll meanwhile.
pub(super) const QUESTION: Duration = Duration::from_secs(5);

/// Looks at every partition after librdkafka said that some offset is not there; it does not say whose.
///
/// Where declared retention removed records the reading goes on at the first that is left. A partition that has its
/// offset after all is read again from it: a server that had not caught up may have said so.
///
/// # Errors
/// [`BusError::OffsetOutOfRange`] beyond the end, [`BusError::Removed`] when records are gone that were to stay.
pub(super) fn repair(poller: &mut Poller) -> Result<()> {
    let standing: Vec<(Partition, u64)> =
        poller.next.iter().map(|(partition, next)| (partition.clone(), *next)).collect();
    let mut again = Vec::new();
    for (partition, next) in standing {
        let outer = poller.settings.outer_name(&partition.topic);
        let watermarks = poller.consumer.fetch_watermarks(&outer, partition.number.cast_signed(), QUESTION);
        let (first, end) = match watermarks {
            Ok((low, high)) => (low.unsigned_abs(), high.unsigned_abs()),
            Err(error) => {
                let error = poller.health.explain("tell its offsets", Some(&partition.topic), &error);
                if error.is_transient() {
                    poller.repair_later();
                    return Ok(());
                }
                return Err(error);
            }
        };
        if next > end {
            return Err(BusError::OffsetOutOfRange { partition, offset: next, end });
        }
        if next < first {
            let (settings, health) = (poller.settings.clone(), poller.health.clone());
            let keeps = poller
                .runtime
                .block_on(async move { admin::keeps_for_ever(&settings, &health, &outer).await });
            match keeps {
                Ok(true) => return Err(BusError::Removed { partition, offset: next, first }),
                Ok(false) => again.push((partition, first)),
                Err(error) if error.is_transient() => {
                    poller.repair_later();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        } else {
            again.push((partition, next));
        }
    }
    stand(poller, &again)
}

/// Reads these partitions from these offsets. The consumer's own positions stay: what it hands over next begins where
/// the owner stands, also when the records in between are gone.
fn stand(poller: &mut Poller, places: &[(Partition, u64)]) -> Result<()> {
    let partitions: Vec<Partition> = places.iter().map(|(partition, _)| partition.clone()).collect();
    let offsets: Vec<u64> = places.iter().map(|(_, offset)| *offset).collect();
    let list = poller.list(partitions.iter().map(|partition| (partition, 0)))?;
    let gone = poller.consumer.incremental_unassign(&list);
    gone.map_err(|error| poller.start_again(&error))?;
    poller.assign(&partitions, &offsets)
}

/// Whether a topic is gone for good, after librdkafka said that one is.
///
/// # Errors
/// [`BusError::Recreated`] when it is; else a transient error, so that the owner starts again and looks whether the
/// topics are still the ones that it knows.
pub(super) fn missing(poller: &mut Poller) -> Result<()> {
    for (outer, partitions) in &poller.topics {
        let gone = match poller.consumer.fetch_metadata(Some(outer), QUESTION) {
            Ok(metadata) => metadata.topics().iter().any(|topic| {
                topic.name() == outer && topic.error().is_some_and(|error| is_missing(error.into()))
            }),
            Err(error) => code_of(&error).is_some_and(is_missing),
        };
        if gone {
            let name =
                partitions.first().map_or_else(|| outer.clone(), |partition| partition.topic.to_string());
            return Err(BusError::Recreated(name));
        }
    }
    Err(BusError::Unavailable {
        address: poller.settings.address(),
        reason: "a topic was missing for a moment".into(),
    })
}
