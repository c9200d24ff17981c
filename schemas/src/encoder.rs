//! How a process writes events into the log: the framing, and whether CloudEvents headers go along.

use std::sync::Arc;

use crate::cloudevents::{self, Header};
use crate::codec::{self, EncodeError, NoRegistry};
use crate::events::Event;
use crate::registry::RegisteredIds;

/// Writes events. The default is single-object encoding without headers.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    ids: Option<Arc<RegisteredIds>>,
    headers: bool,
}

impl Encoder {
    /// Frames as schema registries do, under these ids.
    #[must_use]
    pub fn with_ids(self, ids: RegisteredIds) -> Self {
        Self { ids: Some(Arc::new(ids)), ..self }
    }

    /// Gives every record CloudEvents headers. They are for other people's consumers; a log that only annals reads
    /// does without, since they nearly double it.
    #[must_use]
    pub fn with_headers(self, headers: bool) -> Self {
        Self { headers, ..self }
    }

    /// The value of an event's record.
    ///
    /// # Errors
    /// As [`codec::encode`].
    pub fn value(&self, event: &Event) -> Result<Vec<u8>, EncodeError> {
        let fingerprint = codec::current(event.event_type()).fingerprint;
        match self.ids.as_ref().and_then(|ids| ids.get(fingerprint)) {
            Some(id) => codec::encode_registry(event, id),
            None => codec::encode(event),
        }
    }

    /// The headers of an event's record.
    #[must_use]
    pub fn headers(&self, event: &Event) -> Vec<Header> {
        if self.headers { cloudevents::headers(event) } else { Vec::new() }
    }

    /// Value and headers for an event that was encoded before, in single-object encoding: another head, the same
    /// body. Bytes that are no event are left as they are.
    #[must_use]
    pub fn forward(&self, value: Vec<u8>) -> (Vec<u8>, Vec<Header>) {
        let event = if self.headers { codec::decode(&value, &NoRegistry).ok() } else { None };
        let headers = event.map(|event| cloudevents::headers(&event)).unwrap_or_default();
        let framed = self.ids.as_ref().and_then(|ids| {
            let (fingerprint, body) = codec::single_object(&value)?;
            Some(codec::frame(ids.get(codec::by_fingerprint(fingerprint)?.fingerprint)?, body))
        });
        (framed.unwrap_or(value), headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{current, encode, encode_registry, samples, schemas};

    fn ids() -> RegisteredIds {
        schemas().iter().zip(100..).map(|(schema, id)| (schema.fingerprint, id)).collect()
    }

    #[test]
    fn without_a_registry_events_are_single_objects_and_nothing_is_changed() {
        let encoder = Encoder::default();
        for event in samples() {
            let bytes = encode(&event).unwrap();
            assert_eq!(encoder.value(&event).unwrap(), bytes);
            assert_eq!(encoder.forward(bytes.clone()), (bytes, Vec::new()));
            assert!(encoder.headers(&event).is_empty());
        }
    }

    #[test]
    fn with_a_registry_a_forwarded_event_is_the_same_as_one_encoded_anew() {
        let encoder = Encoder::default().with_ids(ids()).with_headers(true);
        for event in samples() {
            let id = ids().get(current(event.event_type()).fingerprint).unwrap();
            let framed = encode_registry(&event, id).unwrap();
            assert_eq!(encoder.value(&event).unwrap(), framed);
            assert_eq!(encoder.forward(encode(&event).unwrap()), (framed, encoder.headers(&event)));
        }
    }

    #[test]
    fn bytes_that_are_no_event_are_forwarded_as_they_are() {
        let encoder = Encoder::default().with_ids(ids()).with_headers(true);
        for bytes in
            [b"".to_vec(), b"{}".to_vec(), vec![0xC3, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9], vec![0xC3, 1, 1]]
        {
            assert_eq!(encoder.forward(bytes.clone()), (bytes, Vec::new()));
        }
    }
}
