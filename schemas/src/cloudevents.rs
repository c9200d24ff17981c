//! CloudEvents attributes as headers of a record: the binary mode of the Kafka protocol binding.

use chrono::SecondsFormat;

use crate::events::Event;

/// Version of the CloudEvents specification that the headers follow.
const SPEC_VERSION: &str = "1.0";

/// The header that names the type.
pub const TYPE: &str = "ce_type";

/// A header: a name and bytes.
pub type Header = (&'static str, Vec<u8>);

/// The headers of an event. The time of the append is not among them: only the log knows it.
#[must_use]
pub fn headers(event: &Event) -> Vec<Header> {
    let meta = event.meta();
    let header = |name, value: String| (name, value.into_bytes());
    vec![
        header("content-type", "application/avro".to_owned()),
        header("ce_specversion", SPEC_VERSION.to_owned()),
        header("ce_id", meta.event_id.to_string()),
        header("ce_source", meta.source.clone()),
        header(TYPE, event.event_type().full_name()),
        header("ce_time", meta.occurred_at.to_rfc3339_opts(SecondsFormat::Micros, true)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_are_those_of_the_binary_mode() {
        let event = &crate::codec::samples()[5];
        let headers = headers(event);
        let shown: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, str::from_utf8(value).unwrap())).collect();
        let expected = [
            ("content-type", "application/avro"),
            ("ce_specversion", "1.0"),
            ("ce_id", "00000000-0000-0000-0000-000000000006"),
            ("ce_source", "urn:windows:WS5"),
            ("ce_type", "annals.HostLoggedOn"),
            ("ce_time", "2020-09-13T12:26:40.123456Z"),
        ];
        assert_eq!(shown, expected);
    }
}
