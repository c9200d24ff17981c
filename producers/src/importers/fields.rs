//! Reading single fields of a record: collectors disagree whether a number is a number or a string.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use annals_schemas::Personal;
use annals_schemas::limits::{MAX_NAME_BYTES, MAX_TEXT_BYTES, cut};
use serde_json::{Map, Value};

/// A record as it was read.
pub(super) type Record = Map<String, Value>;

/// The text of a field, trimmed; a number is taken as its digits. Empty and `-` mean none, as in Windows.
pub(super) fn text<'r>(record: &'r Record, field: &str) -> Option<Cow<'r, str>> {
    text_of(record.get(field)?)
}

/// As [`text`], of a value.
pub(super) fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            (!text.is_empty() && text != "-").then_some(Cow::Borrowed(text))
        }
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// A whole number, written as a number or as a string.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A truth value, written as one or as a string.
pub(super) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A number in hexadecimal with `0x`, or in decimal.
pub(super) fn hexadecimal(value: &Value) -> Option<u64> {
    let Value::String(text) = value else { return number(value) };
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The canonical form of an address: `::ffff:a.b.c.d` is `a.b.c.d`, a zone (`%4`) is cut off. None for `-`, empty,
/// unspecified addresses and everything that is no IP address.
#[must_use]
pub fn canonical_address(text: &str) -> Option<String> {
    let address = text.trim();
    let address = match address.split_once('%') {
        Some((address, _zone)) => address.parse::<Ipv6Addr>().ok()?.into(),
        None => address.parse::<IpAddr>().ok()?,
    };
    let address = address.to_canonical();
    (!address.is_unspecified()).then(|| address.to_string())
}

/// Cuts every name and text of an event to its limit; the record is cut where it is made.
pub(super) fn within_limits(mut personal: Personal) -> Personal {
    let names = [
        &mut personal.account,
        &mut personal.qualified_account,
        &mut personal.user_agent,
        &mut personal.entity_id,
    ];
    for name in names.into_iter().flatten() {
        cut_in_place(name, MAX_NAME_BYTES);
    }
    if let Some(text) = &mut personal.text {
        cut_in_place(text, MAX_TEXT_BYTES);
    }
    personal
}

/// Cuts a name to its limit.
pub(super) fn name(text: &str) -> String {
    cut(text, MAX_NAME_BYTES)
}

fn cut_in_place(text: &mut String, limit: usize) {
    if text.len() > limit {
        *text = cut(text, limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_have_one_form() {
        assert_eq!(canonical_address("::ffff:192.0.2.5").as_deref(), Some("192.0.2.5"));
        assert_eq!(canonical_address(" 192.0.2.5 ").as_deref(), Some("192.0.2.5"));
        assert_eq!(canonical_address("2001:DB8:0::1").as_deref(), Some("2001:db8::1"));
        assert_eq!(canonical_address("fe80::1%12").as_deref(), Some("fe80::1"));
        assert_eq!(canonical_address("::1").as_deref(), Some("::1"));
        for none in ["", "-", "0.0.0.0", "::", "::ffff:0.0.0.0", "LOCAL", "ec2.amazonaws.com", "192.0.2.5%1"]
        {
            assert_eq!(canonical_address(none), None, "{none}");
        }
    }

    #[test]
    fn a_dash_and_blanks_are_no_text() {
        let record = json!({"a": "-", "b": "  ", "c": null, "d": " x ", "e": 5, "f": [1]});
        let record = record.as_object().unwrap();
        assert_eq!(["a", "b", "c", "f", "g"].map(|field| text(record, field)), [const { None }; 5]);
        assert_eq!(text(record, "d").as_deref(), Some("x"));
        assert_eq!(text(record, "e").as_deref(), Some("5"));
    }

    #[test]
    fn numbers_are_taken_in_every_spelling() {
        assert_eq!(number(&json!("4624")), Some(4624));
        assert_eq!(number(&json!(4624)), Some(4624));
        assert_eq!(number(&json!(-1)), None);
        assert_eq!(hexadecimal(&json!("0x0")), Some(0));
        assert_eq!(hexadecimal(&json!("0X00051DDA6")), Some(0x51_dda6));
        assert_eq!(hexadecimal(&json!("x")), None);
        assert_eq!(truth(&json!("True")), Some(true));
        assert_eq!(truth(&json!(null)), None);
    }

    #[test]
    fn names_and_texts_are_cut_to_their_limits() {
        let long = Some("é".repeat(MAX_TEXT_BYTES));
        let personal = Personal { account: long.clone(), text: long, ..Personal::default() };
        let personal = within_limits(personal);
        assert!(personal.account.unwrap().len() <= MAX_NAME_BYTES);
        assert!(personal.text.unwrap().len() <= MAX_TEXT_BYTES);
    }
}
