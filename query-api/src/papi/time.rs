//! Times of the papi dialect: `YYYY-MM-DD HH:MM:SS` in the zone of the request, no offset (docs/dialects.md, "Times and
//! zones").
//!
//! A range includes both ends ("on or after", "on or before", Lastline's AuditLog API document). Whatever a text leaves
//! open is read so that the range widens: an end in whole seconds includes that second, and a local time that the clocks
//! skipped or repeated is taken at its early reading for a start and at its late one for an end.

use chrono::{
    DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;

use super::errors::{PapiError, shown};

/// Microseconds are the resolution of every stored time.
const MICROS_PER_SECOND: i64 = 1_000_000;

/// 0001-01-01 00:00:00 UTC, in microseconds since 1970. Outside four-digit years a time has no documented form.
const FIRST_MICROS: i64 = -62_135_596_800 * MICROS_PER_SECOND;

/// 9999-12-31 23:59:59.999999 UTC.
const LAST_MICROS: i64 = 253_402_300_800 * MICROS_PER_SECOND - 1;

/// A range of time that includes both of its ends, each to the microsecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first instant; none is no lower bound.
    pub start: Option<DateTime<Utc>>,
    /// The last instant; none is no upper bound.
    pub end: Option<DateTime<Utc>>,
}

impl Range {
    /// A range between two instants.
    ///
    /// # Errors
    ///
    /// 3005 when the end lies before the start.
    pub fn new(start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>) -> Result<Self, PapiError> {
        if let (Some(start), Some(end)) = (start, end)
            && end < start
        {
            return Err(PapiError::invalid_parameter("the end of the time range lies before its start"));
        }
        Ok(Self { start, end })
    }

    /// A range from the texts of a request.
    ///
    /// # Errors
    ///
    /// 3005 when a text is not a time, or when the end lies before the start.
    pub fn from_texts(start: Option<&str>, end: Option<&str>, zone: Tz) -> Result<Self, PapiError> {
        let start = start.map(|text| range_start(text, zone)).transpose()?;
        let end = end.map(|text| range_end(text, zone)).transpose()?;
        Self::new(start, end)
    }

    /// Whether an instant lies in the range.
    #[must_use]
    pub fn contains(&self, instant: DateTime<Utc>) -> bool {
        self.start.is_none_or(|start| start <= instant) && self.end.is_none_or(|end| instant <= end)
    }
}

/// The first instant of a range that begins at `text`.
///
/// # Errors
///
/// 3005 when `text` is not a time of the years 0001 to 9999.
pub fn range_start(text: &str, zone: Tz) -> Result<DateTime<Utc>, PapiError> {
    let local = LocalTime::parse(text)?;
    let (earliest, _) = readings(local.time, zone);
    instant(text, earliest, local.micros)
}

/// The last instant of a range that ends at `text`: the end of its second unless a fraction is given.
///
/// # Errors
///
/// 3005 when `text` is not a time of the years 0001 to 9999.
pub fn range_end(text: &str, zone: Tz) -> Result<DateTime<Utc>, PapiError> {
    let local = LocalTime::parse(text)?;
    let (_, latest) = readings(local.time, zone);
    let micros = if local.has_fraction { local.micros } else { MICROS_PER_SECOND - 1 };
    instant(text, latest, micros)
}

/// How every answer shows a time. The fraction is left out, as in the samples of the documents.
#[must_use]
pub fn show(instant: DateTime<Utc>, zone: Tz) -> String {
    let local = instant.with_timezone(&zone);
    // A thousand rows show two thousand times: by hand this is four times as fast as a format string.
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second()
    )
}

/// A time as a client writes it, before a zone gives it a place.
struct LocalTime {
    /// To the second.
    time: NaiveDateTime,
    micros: i64,
    has_fraction: bool,
}

impl LocalTime {
    fn parse(text: &str) -> Result<Self, PapiError> {
        Self::read(text.trim()).ok_or_else(|| malformed(text))
    }

    /// `date`, `date HH:MM`, `date HH:MM:SS` or `date HH:MM:SS.fraction`; a blank or `T` stands after the date.
    fn read(text: &str) -> Option<Self> {
        let (date, clock) = match text.split_once([' ', 'T']) {
            Some((date, clock)) => (date, clock),
            // A bare date is its midnight, for an end too.
            None => (text, "00:00"),
        };
        let (clock, fraction) = match clock.split_once('.') {
            // A fraction belongs to seconds: `10:15.5` is not a time.
            Some((clock, fraction)) if clock.len() == "HH:MM:SS".len() => (clock, Some(fraction)),
            Some(_) => return None,
            None => (clock, None),
        };
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = match clock.len() {
            5 => numbers(clock, ':', [2, 2]).map(|[hour, minute]| [hour, minute, 0])?,
            _ => numbers(clock, ':', [2, 2, 2])?,
        };
        if year == 0 {
            return None;
        }
        let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
        Some(Self {
            time: date.and_hms_opt(hour, minute, second)?,
            micros: fraction.map_or(Some(0), micros)?,
            has_fraction: fraction.is_some(),
        })
    }
}

/// Numbers of fixed widths with `separator` between them, and nothing else.
fn numbers<const COUNT: usize>(text: &str, separator: char, widths: [usize; COUNT]) -> Option<[u32; COUNT]> {
    let mut parts = text.split(separator);
    let mut values = [0; COUNT];
    for (value, width) in values.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *value = part.parse().ok()?;
    }
    parts.next().is_none().then_some(values)
}

/// The microseconds of a fraction. Further digits are dropped: no stored time has them.
fn micros(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(6);
    Some(digits.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

/// The earliest and the latest instant that a local time can mean, in seconds since 1970.
///
/// A time that the clocks skipped is read once with the offset before the gap and once with the one after it: with the
/// larger offset it is the earlier instant. A day to either side is surely outside the gap, since no zone ever skipped
/// more than a day. The years of [`LocalTime`] leave chrono ample room for that day.
fn readings(local: NaiveDateTime, zone: Tz) -> (i64, i64) {
    let day = TimeDelta::days(1);
    let naive = local.and_utc().timestamp();
    let with_offset_at =
        |utc: NaiveDateTime| naive - i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc());
    let (one, other) = match zone.from_local_datetime(&local) {
        LocalResult::Single(only) => (only.timestamp(), only.timestamp()),
        LocalResult::Ambiguous(one, other) => (one.timestamp(), other.timestamp()),
        LocalResult::None => (with_offset_at(local - day), with_offset_at(local + day)),
    };
    (one.min(other), one.max(other))
}

/// An end such as `9999-12-31 23:59:59` means "for ever". West of Greenwich it lies in the year 10000, where it has no
/// written form any more, so that instants are cut to the years 0001 to 9999 of UTC.
fn instant(text: &str, seconds: i64, micros: i64) -> Result<DateTime<Utc>, PapiError> {
    let all = (seconds * MICROS_PER_SECOND + micros).clamp(FIRST_MICROS, LAST_MICROS);
    DateTime::from_timestamp_micros(all).ok_or_else(|| malformed(text))
}

fn malformed(text: &str) -> PapiError {
    PapiError::invalid_parameter(&format!("`{}` is not a time: expected `YYYY-MM-DD HH:MM:SS`", shown(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::papi::errors::ErrorCode;
    use proptest::prelude::*;

    const ZONES: [Tz; 14] = [
        Tz::UTC,
        Tz::Europe__Rome,
        Tz::Europe__Dublin,
        Tz::America__New_York,
        Tz::America__St_Johns,
        Tz::America__Sao_Paulo,
        Tz::America__Caracas,
        Tz::Asia__Taipei,
        Tz::Asia__Kathmandu,
        Tz::Asia__Manila,
        Tz::Australia__Lord_Howe,
        Tz::Antarctica__Troll,
        Tz::Pacific__Apia,
        Tz::Pacific__Kwajalein,
    ];

    fn utc(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).expect("a good time").to_utc()
    }

    fn start(text: &str, zone: Tz) -> DateTime<Utc> {
        range_start(text, zone).expect("a good start")
    }

    fn end(text: &str, zone: Tz) -> DateTime<Utc> {
        range_end(text, zone).expect("a good end")
    }

    #[test]
    fn every_accepted_form_means_what_it_says() {
        for (text, expected) in [
            ("2014-01-17 09:58:15", "2014-01-17T09:58:15Z"),
            ("2014-01-17T09:58:15", "2014-01-17T09:58:15Z"),
            ("2014-01-17 09:58", "2014-01-17T09:58:00Z"),
            ("2014-01-17", "2014-01-17T00:00:00Z"),
            (" 2014-01-17 ", "2014-01-17T00:00:00Z"),
            ("2014-01-17 09:58:15.5", "2014-01-17T09:58:15.5Z"),
            ("2014-01-17 09:58:15.000001", "2014-01-17T09:58:15.000001Z"),
            ("2014-01-17 09:58:15.1234569999", "2014-01-17T09:58:15.123456Z"),
            ("2016-02-29", "2016-02-29T00:00:00Z"),
        ] {
            assert_eq!(start(text, Tz::UTC), utc(expected), "{text}");
        }
        assert_eq!(start("2014-01-17", Tz::Asia__Taipei), utc("2014-01-16T16:00:00Z"));
    }

    #[test]
    fn an_end_in_whole_seconds_includes_that_second() {
        for (text, expected) in [
            ("2014-01-17 09:58:15", "2014-01-17T09:58:15.999999Z"),
            ("2014-01-17 09:58", "2014-01-17T09:58:00.999999Z"),
            ("2014-01-17", "2014-01-17T00:00:00.999999Z"),
            ("2014-01-17 09:58:15.0", "2014-01-17T09:58:15Z"),
            ("2014-01-17 09:58:15.25", "2014-01-17T09:58:15.25Z"),
        ] {
            assert_eq!(end(text, Tz::UTC), utc(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_and_shown() {
        for text in [
            "",
            "now",
            "2014",
            "2014-01",
            "2014-1-17",
            "2014-13-01",
            "2014-02-29",
            "2014-01-00",
            "0000-01-01",
            "10000-01-01",
            "-001-01-01",
            "+2014-01-1",
            "99999999999999999999-01-01",
            "2014-01-17 24:00:00",
            "2014-01-17 23:59:60",
            "2014-01-17 09:58:15.",
            "2014-01-17 09:58:15.-1",
            "2014-01-17 09:58.5",
            "2014-01-17 09",
            "2014-01-17T",
            "2014-01-17  09:58:15",
            "2014-01-17t09:58:15",
            "2014-01-17 9:58:15",
            "2014-01-17 09:58:15 UTC",
            "2014-01-17T09:58:15Z",
            "2014-01-17T09:58:15+01:00",
            "2014-01-17 09:58:15.5+0100",
            "2014/01/17",
            "٢٠١٤-01-17",
            "2014-01-17\0",
            "1389952695",
        ] {
            for refused in [range_start(text, Tz::UTC), range_end(text, Tz::UTC)] {
                let error = refused.expect_err(text);
                assert_eq!((error.code(), error.status()), (ErrorCode::InvalidParameter, 200));
                assert!(error.message().starts_with(&format!("`{text}` is not a time")), "{error}");
            }
        }
        assert!(range_start(&"9".repeat(60_000), Tz::UTC).expect_err("long").message().len() < 200);
    }

    #[test]
    fn a_local_time_that_comes_twice_widens_the_range() {
        // Clocks in Rome went from 03:00 back to 02:00.
        assert_eq!(start("2023-10-29 02:30:00", Tz::Europe__Rome), utc("2023-10-29T00:30:00Z"));
        assert_eq!(end("2023-10-29 02:30:00", Tz::Europe__Rome), utc("2023-10-29T01:30:00.999999Z"));
    }

    #[test]
    fn a_local_time_that_never_was_widens_the_range() {
        // Clocks in Rome went from 02:00 to 03:00, that is at 01:00 UTC.
        assert_eq!(start("2023-03-26 02:30:00", Tz::Europe__Rome), utc("2023-03-26T00:30:00Z"));
        assert_eq!(end("2023-03-26 02:30:00", Tz::Europe__Rome), utc("2023-03-26T01:30:00.999999Z"));
        // Samoa crossed the date line and had no 30 December 2011; it ended at 10:00 UTC.
        assert_eq!(start("2011-12-30", Tz::Pacific__Apia), utc("2011-12-29T10:00:00Z"));
        assert_eq!(end("2011-12-30 23:59:59", Tz::Pacific__Apia), utc("2011-12-31T09:59:59.999999Z"));
    }

    #[test]
    fn the_ends_of_the_calendar_are_cut_to_what_can_be_written() {
        let last = utc("9999-12-31T23:59:59.999999Z");
        assert_eq!(end("9999-12-31 23:59:59", Tz::UTC), last);
        assert_eq!(end("9999-12-31 23:59:59", Tz::America__New_York), last);
        assert_eq!(start("0001-01-01", Tz::UTC), utc("0001-01-01T00:00:00Z"));
        assert_eq!(start("0001-01-01", Tz::Asia__Taipei), utc("0001-01-01T00:00:00Z"));
    }

    #[test]
    fn a_range_checks_its_order_and_includes_both_ends() {
        let range = Range::from_texts(Some("2014-01-17"), Some("2014-01-17"), Tz::UTC).expect("one second");
        assert!(range.contains(utc("2014-01-17T00:00:00Z")));
        assert!(range.contains(utc("2014-01-17T00:00:00.999999Z")));
        assert!(!range.contains(utc("2014-01-17T00:00:01Z")));
        assert!(!range.contains(utc("2014-01-16T23:59:59.999999Z")));
        assert_eq!(Range::from_texts(None, None, Tz::UTC), Ok(Range::default()));
        assert!(Range::default().contains(Utc::now()));
        let error =
            Range::from_texts(Some("2014-01-18"), Some("2014-01-17"), Tz::UTC).expect_err("backwards");
        assert_eq!((error.code(), error.status()), (ErrorCode::InvalidParameter, 200));
        assert!(Range::from_texts(Some("x"), None, Tz::UTC).is_err());
        assert!(Range::from_texts(None, Some("x"), Tz::UTC).is_err());
    }

    #[test]
    fn times_are_shown_in_the_zone_of_the_request() {
        let instant = utc("2014-01-17T09:58:15.999999Z");
        assert_eq!(show(instant, Tz::UTC), "2014-01-17 09:58:15");
        assert_eq!(show(instant, Tz::Asia__Taipei), "2014-01-17 17:58:15");
        for extreme in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            assert!(ZONES.iter().all(|zone| !show(extreme, *zone).is_empty()));
        }
    }

    prop_compose! {
        /// Any local time, with more weight on the years in which the clocks of the zones changed.
        fn any_local()(
            year in prop_oneof![1_i32..=9999, 1880_i32..=2040], day in 1_u32..=366, second in 0_u32..86_400
        ) -> Option<NaiveDateTime> {
            NaiveDate::from_yo_opt(year, day)?.and_hms_opt(second / 3600, second / 60 % 60, second % 60)
        }
    }

    proptest! {
        #[test]
        fn any_local_time_has_a_start_that_is_not_after_its_end(
            local in any_local(), zone in proptest::sample::select(&ZONES[..])
        ) {
            prop_assume!(local.is_some());
            let text = local.unwrap_or_default().format("%Y-%m-%d %H:%M:%S").to_string();
            let (first, last) = (start(&text, zone), end(&text, zone));
            prop_assert!(first <= last);
            let inside = (FIRST_MICROS + 1..LAST_MICROS).contains(&first.timestamp_micros());
            let exists = zone.from_local_datetime(&local.unwrap_or_default()) != LocalResult::None;
            if inside && exists {
                prop_assert_eq!(show(first, zone), text);
            }
        }

        #[test]
        fn any_instant_lies_in_the_range_of_its_own_text(
            seconds in prop_oneof![-2_840_000_000_i64..2_300_000_000, -62_000_000_000_i64..253_000_000_000],
            nanos in 0_u32..1_000_000_000, zone in proptest::sample::select(&ZONES[..])
        ) {
            let micros = DateTime::from_timestamp(seconds, nanos / 1000 * 1000).expect("in the calendar");
            let text = show(micros, zone);
            let range = Range::from_texts(Some(&text), Some(&text), zone).expect("a good range");
            prop_assert!(range.contains(micros), "{} in {:?}", micros, range);
        }

        #[test]
        fn any_text_is_a_time_or_refused(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9:.]{0,12})?|.*") {
            for read in [range_start(&text, Tz::America__New_York), range_end(&text, Tz::Asia__Taipei)] {
                match read {
                    Ok(time) => prop_assert!((FIRST_MICROS..=LAST_MICROS).contains(&time.timestamp_micros())),
                    Err(error) => prop_assert_eq!((error.code(), error.status()), (ErrorCode::InvalidParameter, 200)),
                }
            }
        }
    }
}
