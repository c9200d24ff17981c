//! Times as records write them, and the zone of those that name none.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Duration, FixedOffset, NaiveDateTime, Offset, TimeZone, Utc};
use serde_json::Value;

use super::RecordError;

/// A zone that the operator names: `Europe/Berlin`, `+02:00`, `-0530`, `Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalZone {
    /// A fixed distance from UTC.
    Fixed(FixedOffset),
    /// A zone of the IANA database, with its summer times.
    Named(chrono_tz::Tz),
}

/// The text names no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither an IANA time zone, for example `Europe/Berlin`, nor an offset, for example `+02:00`"
)]
pub struct UnknownZone(String);

impl FromStr for LocalZone {
    type Err = UnknownZone;

    fn from_str(text: &str) -> Result<Self, UnknownZone> {
        let trimmed = text.trim();
        if trimmed.eq_ignore_ascii_case("z") {
            return Ok(Self::Named(chrono_tz::Tz::UTC));
        }
        // The offset's own parser also takes words and blanks in between, so that a typing error would pass.
        if trimmed.starts_with(['+', '-']) {
            return trimmed.parse().map(Self::Fixed).map_err(|_| UnknownZone(text.to_owned()));
        }
        trimmed.parse().map(Self::Named).map_err(|_| UnknownZone(text.to_owned()))
    }
}

impl fmt::Display for LocalZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(offset) => offset.fmt(f),
            Self::Named(zone) => f.write_str(zone.name()),
        }
    }
}

impl LocalZone {
    /// The moment at which clocks of this zone show `local`. An hour that occurs twice is its first occurrence; an
    /// hour that summer time leaves out is read as if the clocks had not been changed yet.
    pub(super) fn moment(self, local: NaiveDateTime) -> Option<DateTime<Utc>> {
        let offset = match self {
            Self::Fixed(offset) => offset,
            Self::Named(zone) => {
                let before = local.checked_sub_signed(Duration::hours(3))?;
                zone.offset_from_local_datetime(&local)
                    .earliest()
                    .or_else(|| zone.offset_from_local_datetime(&before).latest())?
                    .fix()
            }
        };
        Some(local.checked_sub_offset(offset)?.and_utc())
    }
}

/// A time as it stands in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// With a zone.
    Moment(DateTime<Utc>),
    /// Without.
    Local(NaiveDateTime),
}

impl Written {
    /// The moment, when a time without zone is UTC.
    pub(super) fn or_utc(self) -> DateTime<Utc> {
        match self {
            Self::Moment(moment) => moment,
            Self::Local(local) => local.and_utc(),
        }
    }
}

/// Reads RFC 3339, or the same without a zone, or with the offset's colon left out.
pub(super) fn read(text: &str) -> Option<Written> {
    let text = text.trim();
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Some(Written::Moment(moment.to_utc()));
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok((local, rest)) = NaiveDateTime::parse_and_remainder(text, format) {
            if rest.is_empty() {
                return Some(Written::Local(local));
            }
            let offset: FixedOffset = rest.trim().parse().ok()?;
            return Some(Written::Moment(local.checked_sub_offset(offset)?.and_utc()));
        }
    }
    None
}

/// Cuts a moment to the log's microseconds. `None` outside of the years that RFC 3339 can write, because everything
/// that shows an event writes its time in that form.
pub(super) fn storable(moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let moment = DateTime::from_timestamp_micros(moment.timestamp_micros())?;
    (0..=9999).contains(&moment.year()).then_some(moment)
}

/// The moment that `value` gives, when a time without zone is UTC.
pub(super) fn moment(field: &'static str, value: &Value) -> Result<DateTime<Utc>, RecordError> {
    value
        .as_str()
        .and_then(read)
        .and_then(|written| storable(written.or_utc()))
        .ok_or_else(|| RecordError::unreadable(field, TIME, value))
}

/// What a field that holds no time should have been.
pub(super) const TIME: &str = "a time";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn times_are_read_with_and_without_zone() {
        let moment = Written::Moment(utc("2024-05-06T07:08:09.123456700Z"));
        for text in [
            "2024-05-06T07:08:09.1234567Z",
            "2024-05-06 07:08:09.1234567Z",
            "2024-05-06T09:08:09.1234567+02:00",
            "2024-05-06T09:08:09.1234567+0200",
            " 2024-05-06 09:08:09.1234567 +02:00 ",
        ] {
            assert_eq!(read(text), Some(moment), "{text}");
        }
        let Some(Written::Local(local)) = read("2024-05-06 07:08:09") else { panic!("no zone, so local") };
        assert_eq!(local.and_utc(), utc("2024-05-06T07:08:09Z"));
        for text in ["", "2024-05-06", "2024-13-06 07:08:09", "07/22/2020 03:27:55", "2024-05-06 07:08:09 x"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_moment_is_cut_to_microseconds_also_before_1970() {
        assert_eq!(storable(utc("2024-05-06T07:08:09.1234567Z")), Some(utc("2024-05-06T07:08:09.123456Z")));
        assert_eq!(storable(utc("1960-05-06T07:08:09.1234567Z")), Some(utc("1960-05-06T07:08:09.123456Z")));
        assert_eq!(storable(DateTime::<Utc>::MAX_UTC), None);
        assert_eq!(storable(DateTime::<Utc>::MIN_UTC), None);
    }

    #[test]
    fn an_unreadable_time_names_its_field_and_the_start_of_its_value() {
        let value = json!("x".repeat(500));
        let error = moment("TimeCreated", &value).unwrap_err().to_string();
        assert_eq!(error, format!("`TimeCreated` is not a time: `{}`", "x".repeat(100)));
    }

    #[test]
    fn zones_are_names_or_offsets() {
        for (text, expected) in [
            ("Europe/Berlin", "2024-07-01T10:00:00Z"),
            ("+02:00", "2024-07-01T10:00:00Z"),
            ("-0530", "2024-07-01T17:30:00Z"),
            ("Z", "2024-07-01T12:00:00Z"),
            ("UTC", "2024-07-01T12:00:00Z"),
        ] {
            let zone: LocalZone = text.parse().unwrap();
            assert_eq!(zone.moment(utc("2024-07-01T12:00:00Z").naive_utc()), Some(utc(expected)), "{text}");
        }
        for text in ["", "Berlin", "+2", "two hours", "+99:00"] {
            let error = text.parse::<LocalZone>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is neither")), "{error}");
        }
    }

    #[test]
    fn hours_that_occur_twice_or_never_have_one_moment() {
        let berlin: LocalZone = "Europe/Berlin".parse().unwrap();
        let moment = |text| berlin.moment(utc(text).naive_utc());
        assert_eq!(moment("2024-10-27T02:30:00Z"), Some(utc("2024-10-27T00:30:00Z")));
        assert_eq!(moment("2024-03-31T02:30:00Z"), Some(utc("2024-03-31T01:30:00Z")));
        assert_eq!(berlin.moment(NaiveDateTime::MIN), None);
    }
}
