//! A record as Kafka has it, and back.
//!
//! Kafka's timestamp is `recorded_at` in milliseconds. The exact microseconds stand in a header, which the engine adds
//! on the way in and takes out on the way out; records of foreign producers do without.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use chrono::{DateTime, SecondsFormat, Utc};
use rdkafka::message::{BorrowedMessage, Header as KafkaHeader, Headers, Message, OwnedHeaders};

use crate::{Header, StoredRecord};

/// An extension attribute of CloudEvents, in their Kafka binding: RFC 3339 with six digits.
pub(super) const RECORDED_TIME: &str = "ce_recordedtime";

/// Kafka's timestamp of a time, in milliseconds. 0 means «now» to librdkafka, and negative ones are refused.
pub(super) fn timestamp_ms(time: DateTime<Utc>) -> i64 {
    time.timestamp_millis().max(1)
}

/// The exact time as the header has it.
pub(super) fn exact(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The headers that are sent: those of the record, then the exact time.
pub(super) fn headers(own: &[Header], exact: &str) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(own.len() + 1);
    for (name, value) in own {
        headers = headers.insert(KafkaHeader { key: name, value: Some(&value[..]) });
    }
    headers.insert(KafkaHeader { key: RECORDED_TIME, value: Some(exact.as_bytes()) })
}

/// A record that was read. All of its bytes stand in one piece of memory: readers take hundreds of thousands of records in
/// a second.
pub(super) fn stored(message: &BorrowedMessage<'_>) -> StoredRecord {
    let mut headers = read_headers(message);
    let exact = headers.iter().rposition(|(name, _)| *name == RECORDED_TIME);
    let exact = exact.and_then(|at| Some((at, read_time(headers[at].1)?)));
    let recorded_at = match exact {
        Some((at, time)) => {
            headers.remove(at);
            time
        }
        None => message.timestamp().to_millis().and_then(DateTime::from_timestamp_millis).unwrap_or_default(),
    };
    let (key, value) = (message.key(), message.payload().unwrap_or_default());
    let values: usize = headers.iter().map(|(_, value)| value.len()).sum();
    let mut piece = BytesMut::with_capacity(key.map_or(0, <[u8]>::len) + value.len() + values);
    let mut part = |bytes: &[u8]| {
        piece.extend_from_slice(bytes);
        piece.split().freeze()
    };
    StoredRecord {
        offset: message.offset().unsigned_abs(),
        recorded_at,
        key: key.map(&mut part),
        value: part(value),
        headers: headers.into_iter().map(|(name, value)| (name.into(), part(value))).collect(),
    }
}

fn read_time(value: &[u8]) -> Option<DateTime<Utc>> {
    let text = std::str::from_utf8(value).ok()?;
    Some(DateTime::parse_from_rfc3339(text).ok()?.to_utc())
}

fn read_headers<'m>(message: &'m BorrowedMessage<'_>) -> Vec<(&'m str, &'m [u8])> {
    let Some(headers) = message.headers() else { return Vec::new() };
    (0..headers.count())
        .filter_map(|index| {
            // rdkafka panics where a foreign header's name is not UTF-8. Such a header is left out: one record must not
            // stop every reader for ever.
            let header = catch_unwind(AssertUnwindSafe(|| headers.try_get(index))).ok()??;
            Some((header.key, header.value.unwrap_or_default()))
        })
        .collect()
}
