//! Removes secrets from records and texts.
//!
//! By name: the value of a field named like password, secret, token, key or credential is replaced whole, at any
//! depth. By place: in command lines and messages the values of password-like switches and encoded commands are
//! replaced. Replacing too much is accepted (`Keywords` is "named like key"); keeping a secret is not.

use std::borrow::Cow;
use std::sync::LazyLock;

use annals_schemas::limits::{MAX_TEXT_BYTES, cut};
use regex::{Captures, Regex};
use serde_json::{Map, Value};

use super::fields::Record;

/// What stands in place of a secret.
pub const REDACTED: &str = "(redacted)";

/// Longest record, as JSON, that an event carries, in bytes.
const RECORD_BYTES_MAX: usize = 256 * 1024;

/// Parts of field names that mean a secret.
const SECRET_NAMES: [&str; 8] =
    ["password", "secret", "token", "key", "credential", "passwd", "passphrase", "pwd"];

/// Parts of names of fields that hold command lines or texts with them.
const TEXT_NAMES: [&str; 6] =
    ["servicefilename", "imagepath", "commandline", "taskcontent", "message", "scriptblocktext"];

/// A value after a switch: in quotes (also as XML writes them, also without the closing one), or up to a blank.
const VALUE: &str = r#"(?:(?:\\"[^"\r\n]*"?|"(?:[^"\\\r\n]|\\.)*"?|'[^'\r\n]*'?|&quot;(?:[^&<\r\n]|&[^q])*(?:&quot;)?)+\w*|[^\s<]+)"#;

/// What may stand before a switch.
const BEFORE: &str = r#"(?:^|[\s"'`;&|(>,=\[{])"#;

fn pattern(text: &str) -> Regex {
    let text = text.replace("BEFORE", BEFORE).replace("DASH", "[-/–—―]{1,2}").replace("VALUE", VALUE);
    Regex::new(&format!("(?i){text}")).expect("the patterns are constants; the tests use each")
}

/// `-e`, `-enc`, `/EncodedCommand` and what follows.
static ENCODED: LazyLock<Regex> = LazyLock::new(|| {
    let prefixes: Vec<&str> =
        (1..="encodedcommand".len()).rev().map(|end| &"encodedcommand"[..end]).collect();
    let names = prefixes.join("|");
    pattern(&format!(
        r#"(BEFORE(?:DASH)(?:{names}|ec)(?:\s*[:=]\s*|\s+))(?:["'][a-z0-9+/=\s]{{16,}}["']|(?:["'\\]|&quot;)*[a-z0-9+/=]{{16,}}(?:["'\\]|&quot;)*)"#
    ))
});

/// `-p x`, `/pass:x`, `--db-password=x`, and the short switches of schtasks (`/rp`) and netdom (`/pd`).
static SWITCH: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?P<switch>BEFORE(?:DASH)(?:p|pw|rp|pd|[\w.\-]*(?:(?:passw|passphrase|secret|token|credential)\w*|pass|pwd|cred|key))(?:[ \t]*[:=]+[ \t]*|[ \t]+))(?P<value>VALUE)",
    )
});

/// `password=x`, `password:x`, `"password": "x"`, `Password: x`.
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r#"(?P<name>(?:passw|passphrase|pwd|secret|token|credential|key\b)\w*"#,
        r#"(?:\\?["']?[ \t]*:?=+[ \t]*|\\?["'][ \t]*:[ \t]*|:)"#,
        r#"|(?:passw\w*|passphrase|pwd):[ \t]*)(?P<value>VALUE)"#
    ))
});

/// `<Password>x</Password>`.
static ELEMENT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?P<tag><[\w:.\-]*(?:passw|passphrase|secret|token|credential)[^<>]*>)[^<]+"));

/// Removes secrets from a command line or a text with one in it.
#[must_use]
pub fn redact_text(text: &str) -> Cow<'_, str> {
    let mut text = ENCODED.replace_all(text, |found: &Captures<'_>| format!("{}{REDACTED}", &found[1]));
    if let Some(redacted) = redact_switches(&text) {
        text = Cow::Owned(redacted);
    }
    for (regex, replacement) in [(&ASSIGNMENT, "${name}(redacted)"), (&ELEMENT, "${tag}(redacted)")] {
        if let Cow::Owned(redacted) = regex.replace_all(&text, replacement) {
            text = Cow::Owned(redacted);
        }
    }
    text
}

/// The text with the values of switches replaced, when there are any.
fn redact_switches(text: &str) -> Option<String> {
    let mut redacted: Option<String> = None;
    let mut copied = 0;
    let mut position = 0;
    while let Some(found) = SWITCH.captures_at(text, position) {
        let (Some(switch), Some(value)) = (found.name("switch"), found.name("value")) else { break };
        // `svchost.exe -k netsvcs -p -s Schedule`: here `-p` has no value. The next switch may have one, and needs
        // the blank before it to be found.
        if is_bare_switch(value.as_str()) && switch.as_str().ends_with([' ', '\t']) {
            position = value.start() - 1;
            continue;
        }
        let redacted = redacted.get_or_insert_default();
        redacted.push_str(&text[copied..switch.end()]);
        redacted.push_str(REDACTED);
        copied = value.end();
        position = value.end();
    }
    if let Some(redacted) = &mut redacted {
        redacted.push_str(&text[copied..]);
    }
    redacted
}

fn is_bare_switch(value: &str) -> bool {
    matches!(value.as_bytes(), [b'-' | b'/', letter] if letter.is_ascii_alphabetic())
}

/// Removes secrets from a value and everything in it.
pub fn redact_value(value: &mut Value) {
    match value {
        Value::Object(fields) => redact_object(fields),
        Value::Array(elements) => elements.iter_mut().for_each(redact_value),
        Value::String(text) => {
            if let Some(redacted) = redact_nested_json(text) {
                *text = redacted;
            }
        }
        _ => {}
    }
}

fn redact_object(fields: &mut Map<String, Value>) {
    redact_pair(fields);
    for (name, value) in fields.iter_mut() {
        let name = name.to_lowercase();
        if SECRET_NAMES.iter().any(|secret| name.contains(secret)) {
            *value = Value::from(REDACTED);
            continue;
        }
        redact_value(value);
        if let Value::String(text) = value
            && TEXT_NAMES.iter().any(|part| name.contains(part))
            && let Cow::Owned(redacted) = redact_text(text)
        {
            *text = redacted;
        }
    }
}

/// A field may be written as a pair: `{"name": "DB_PASSWORD", "value": "x"}`.
fn redact_pair(fields: &mut Map<String, Value>) {
    let is_secret = ["name", "Name", "@Name", "key", "Key", "parameterKey", "ParameterKey", "parameterName"]
        .iter()
        .filter_map(|field| fields.get(*field)?.as_str())
        .any(|name| {
            let name = name.to_lowercase();
            SECRET_NAMES.iter().any(|secret| name.contains(secret))
        });
    if !is_secret {
        return;
    }
    for (name, value) in fields.iter_mut() {
        let name = name.to_lowercase();
        if name.contains("value") || name.contains("text") {
            *value = Value::from(REDACTED);
        }
    }
}

/// Some collectors give nested objects as a string of JSON. The new text when a secret was in it.
fn redact_nested_json(text: &str) -> Option<String> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut value: Value = serde_json::from_str(text).ok()?;
    let original = value.clone();
    redact_value(&mut value);
    (value != original).then(|| value.to_string())
}

/// The record as an event carries it: compact JSON without secrets, long strings cut. `None` when it is still too
/// long: a shortened JSON text would be no JSON, and the event stands without it.
pub(super) fn record_text(record: Record) -> Option<String> {
    let mut record = Value::Object(record);
    redact_value(&mut record);
    cut_strings(&mut record);
    let text = record.to_string();
    (text.len() <= RECORD_BYTES_MAX).then_some(text)
}

fn cut_strings(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(_, value)| cut_strings(value)),
        Value::Array(elements) => elements.iter_mut().for_each(cut_strings),
        Value::String(text) if text.len() > MAX_TEXT_BYTES => *text = cut(text, MAX_TEXT_BYTES),
        _ => {}
    }
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
