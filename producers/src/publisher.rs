//! The publisher: events into the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals_bus::{Bus, BusError, Position, Record};
use annals_schemas::{EncodeError, Event, codec};

/// Why events were not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// An event cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The log did not take them.
    #[error(transparent)]
    Bus(#[from] BusError),
}

impl PublishError {
    /// Whether trying again later may help without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Bus(error) if error.is_transient())
    }
}

/// Publishes events. Cheap to clone; concurrent publishers share the log's group commits.
#[derive(Clone)]
pub struct Publisher {
    bus: Arc<dyn Bus>,
}

impl Publisher {
    /// A publisher into this log.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus }
    }

    /// Publishes events, in order per key. They are durable when this returns, and their positions are given in the
    /// order of the events.
    ///
    /// # Errors
    /// When one cannot be encoded nothing is published. When the log fails, any of them may have been appended:
    /// publish them again under the same event ids, and the views absorb it.
    pub async fn publish(&self, events: &[Event]) -> Result<Vec<Position>, PublishError> {
        let mut by_topic: BTreeMap<&'static str, (Vec<usize>, Vec<Record>)> = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            let (places, records) = by_topic.entry(event.event_type().topic().name).or_default();
            places.push(index);
            records.push(record(event)?);
        }
        let mut positions = Vec::with_capacity(events.len());
        for (topic, (places, records)) in by_topic {
            positions.extend(places.into_iter().zip(self.bus.append(topic, records).await?));
        }
        positions.sort_by_key(|(place, _)| *place);
        Ok(positions.into_iter().map(|(_, position)| position).collect())
    }
}

/// The record of an event.
///
/// # Errors
/// When the event cannot be encoded.
pub fn record(event: &Event) -> Result<Record, EncodeError> {
    Ok(Record {
        key: Some(event.key().into_bytes().into()),
        value: codec::encode(event)?.into(),
        ..Record::default()
    })
}
