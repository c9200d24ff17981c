//! The publisher: events into the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals_bus::{Bus, BusError, Position, Record};
use annals_schemas::{EncodeError, Encoder, Event};

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
    encoder: Encoder,
}

impl Publisher {
    /// A publisher into this log, in single-object encoding.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        Self::with_encoder(bus, Encoder::default())
    }

    /// A publisher into this log that writes as the encoder says.
    #[must_use]
    pub fn with_encoder(bus: Arc<dyn Bus>, encoder: Encoder) -> Self {
        Self { bus, encoder }
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
            records.push(record_with(event, &self.encoder)?);
        }
        let mut positions = Vec::with_capacity(events.len());
        for (topic, (places, records)) in by_topic {
            positions.extend(places.into_iter().zip(self.bus.append(topic, records).await?));
        }
        positions.sort_by_key(|(place, _)| *place);
        Ok(positions.into_iter().map(|(_, position)| position).collect())
    }
}

/// The record of an event, in single-object encoding.
///
/// # Errors
/// When the event cannot be encoded.
pub fn record(event: &Event) -> Result<Record, EncodeError> {
    record_with(event, &Encoder::default())
}

/// The record of an event, as the encoder says.
///
/// # Errors
/// When the event cannot be encoded.
pub fn record_with(event: &Event, encoder: &Encoder) -> Result<Record, EncodeError> {
    let headers = encoder.headers(event).into_iter();
    Ok(Record {
        key: Some(event.key().into_bytes().into()),
        value: encoder.value(event)?.into(),
        headers: headers.map(|(name, value)| (name.into(), value.into())).collect(),
        ..Record::default()
    })
}
