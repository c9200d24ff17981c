//! When a Windows record happened.
//!
//! `TimeCreated` is the host's own time. `EventTime` is the collector's local time without a zone; how far it is from
//! UTC is told by two times of one moment, `EventReceivedTime` (local) and `@timestamp` (UTC). `@timestamp` by itself
//! is the time of receipt and only the last resort.

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;

use super::super::RecordError;
use super::super::fields::{Record, text_of};
use super::super::time::{LocalZone, TIME, Written, moment, read, storable};

const TIME_CREATED: &str = "TimeCreated";
const EVENT_TIME: &str = "EventTime";
const TIMESTAMP: &str = "@timestamp";

/// Zones differ from UTC by whole quarters of an hour.
const QUARTER_MS: i64 = 15 * 60 * 1000;

/// No zone is further from UTC. A greater distance is a delay of the collector, not a zone.
const SHIFT_MS_MAX: i64 = 14 * 60 * 60 * 1000;

/// The field that gives the time, and its value.
fn source(record: &Record) -> Option<(&'static str, &Value)> {
    [TIME_CREATED, EVENT_TIME, TIMESTAMP]
        .into_iter()
        .find_map(|field| record.get(field).filter(|value| is_there(value)).map(|value| (field, value)))
}

fn is_there(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(_) => text_of(value).is_some(),
        _ => true,
    }
}

/// The time as written, which is a part of the record's identity.
pub(super) fn as_written(record: &Record) -> String {
    source(record)
        .map(|(_, value)| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        .unwrap_or_default()
}

/// The moment of the record; `zone` is what the operator says about `EventTime`.
pub(super) fn occurred_at(record: &Record, zone: Option<LocalZone>) -> Result<DateTime<Utc>, RecordError> {
    let (field, value) = source(record).ok_or(RecordError::Missing(TIME_CREATED))?;
    if field != EVENT_TIME {
        return moment(field, value);
    }
    let occurred_at = match value.as_str().and_then(read) {
        Some(Written::Local(local)) => match zone {
            Some(zone) => zone.moment(local),
            None => local.and_utc().checked_add_signed(shift(record).unwrap_or_default()),
        },
        Some(Written::Moment(moment)) => Some(moment),
        None => None,
    };
    occurred_at.and_then(storable).ok_or_else(|| RecordError::unreadable(field, TIME, value))
}

/// How far the collector's local time is behind UTC. `None` when the record does not tell.
fn shift(record: &Record) -> Option<Duration> {
    let received = match read(record.get("EventReceivedTime")?.as_str()?)? {
        Written::Local(received) => received.and_utc(),
        // With a zone it is not the local time that is looked for.
        Written::Moment(_) => return None,
    };
    let distance = read(record.get(TIMESTAMP)?.as_str()?)?.or_utc() - received;
    let rounded_ms = (distance.num_milliseconds() + QUARTER_MS / 2).div_euclid(QUARTER_MS) * QUARTER_MS;
    (rounded_ms.abs() <= SHIFT_MS_MAX).then(|| Duration::milliseconds(rounded_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn occurred(record: Value, zone: Option<&str>) -> Result<String, String> {
        let zone = zone.map(|zone| zone.parse().unwrap());
        occurred_at(record.as_object().unwrap(), zone)
            .map(|moment| moment.format("%FT%T%.fZ").to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn time_created_is_taken_as_written_and_without_zone_is_utc() {
        for text in ["2024-05-06T07:08:09.5Z", "2024-05-06 07:08:09.500", "2024-05-06T09:08:09.5+02:00"] {
            let record = json!({"TimeCreated": text, "EventTime": "2020-01-01 00:00:00"});
            assert_eq!(occurred(record, Some("Asia/Tokyo")).unwrap(), "2024-05-06T07:08:09.500Z");
        }
    }

    #[test]
    fn event_time_is_shifted_by_the_zone_of_the_collector() {
        for (received, timestamp, expected) in [
            ("2024-05-06 03:08:11", "2024-05-06T07:08:13.2Z", "2024-05-06T07:08:09Z"),
            // A clock that is a minute ahead of the collector.
            ("2024-05-06 03:08:11", "2024-05-06T07:07:20Z", "2024-05-06T07:08:09Z"),
            // East of Greenwich, with a quarter.
            ("2024-05-06 12:53:11", "2024-05-06T07:08:13Z", "2024-05-05T21:23:09Z"),
            // 23 days later is no zone.
            ("2024-05-06 03:08:11", "2024-05-29T07:08:13Z", "2024-05-06T03:08:09Z"),
        ] {
            let record = json!({"EventTime": "2024-05-06 03:08:09", "EventReceivedTime": received, "@timestamp": timestamp});
            assert_eq!(occurred(record, None).unwrap(), expected);
        }
    }

    #[test]
    fn the_operators_zone_overrides_the_shift() {
        let record = json!({"EventTime": "2024-05-06 03:08:09", "EventReceivedTime": "2024-05-06 03:08:11",
            "@timestamp": "2024-05-06T07:08:13.2Z"});
        assert_eq!(occurred(record.clone(), Some("Europe/Berlin")).unwrap(), "2024-05-06T01:08:09Z");
        assert_eq!(occurred(record, Some("-05:00")).unwrap(), "2024-05-06T08:08:09Z");
    }

    #[test]
    fn event_time_is_utc_when_nothing_tells_its_zone() {
        assert_eq!(
            occurred(json!({"EventTime": "2024-05-06 03:08:09"}), None).unwrap(),
            "2024-05-06T03:08:09Z"
        );
        let zoned = json!({"EventTime": "2024-05-06T03:08:09+01:00"});
        assert_eq!(occurred(zoned, Some("Asia/Tokyo")).unwrap(), "2024-05-06T02:08:09Z");
    }

    #[test]
    fn the_time_of_receipt_is_the_last_resort() {
        let record = json!({"TimeCreated": "-", "EventTime": null, "@timestamp": "2024-05-06T03:08:09Z"});
        assert_eq!(occurred(record.clone(), None).unwrap(), "2024-05-06T03:08:09Z");
        assert_eq!(as_written(record.as_object().unwrap()), "2024-05-06T03:08:09Z");
    }

    #[test]
    fn an_unreadable_time_is_refused_also_when_another_one_stands_beside_it() {
        let record = json!({"TimeCreated": "yesterday", "EventTime": "2024-05-06 03:08:09"});
        assert_eq!(occurred(record, None).unwrap_err(), "`TimeCreated` is not a time: `yesterday`");
        assert_eq!(occurred(json!({"EventTime": 17}), None).unwrap_err(), "`EventTime` is not a time: `17`");
        assert_eq!(occurred(json!({}), None).unwrap_err(), "`TimeCreated` is missing");
    }
}
