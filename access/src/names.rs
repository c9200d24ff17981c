//! Names of customers and accounts: what may be one, and how they are compared.

use annals_schemas::limits::cut;

use crate::error::AccessError;

/// Longest new name, in bytes: that of an e-mail address.
pub const MAX_NEW_NAME_BYTES: usize = 254;

/// How much of a refused name is shown.
const MAX_SHOWN_BYTES: usize = 100;

/// Says whether a new customer or account may have this name: an e-mail, or any other text without blanks.
pub(crate) fn check(name: &str) -> Result<(), AccessError> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NEW_NAME_BYTES {
        "it is longer than 254 bytes"
    } else if name.chars().any(char::is_control) {
        "it contains a control character"
    } else if name.chars().any(char::is_whitespace) {
        "it contains a blank"
    } else {
        return Ok(());
    };
    Err(AccessError::InvalidName { name: shown(name), reason })
}

/// The name as it is compared: without case.
pub(crate) fn key(name: &str) -> String {
    name.to_lowercase()
}

/// The name as it is compared, when anything stored can have it. What has a NUL is not looked for: PostgreSQL knows no
/// NUL, and the store puts another character in its place.
pub(crate) fn stored_key(name: &str) -> Option<String> {
    (!name.contains('\0')).then(|| key(name))
}

/// A name from outside, short enough for a message.
pub(crate) fn shown(name: &str) -> String {
    cut(name, MAX_SHOWN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_or_any_text_without_blanks_is_a_name() {
        for name in ["ada@example.com", "operator", "Ünïcode-名前", "a", &"x".repeat(254), "a,b'\";--"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in
            ["", " ", "a b", "a\u{a0}b", "a\tb", "a\0", "\u{85}", "a\n", &"x".repeat(255), &"é".repeat(128)]
        {
            assert!(check(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_refused_name_is_shown_short_and_escaped() {
        let message = check(&format!("a\u{7}{}", "b".repeat(1_000))).unwrap_err().to_string();
        assert!(message.starts_with("`a\\u{7}bbb") && message.len() < 200, "{message}");
    }

    #[test]
    fn names_compare_without_case() {
        assert_eq!(key("ADA@Example.COM"), key("ada@example.com"));
        assert_eq!(key("ÄRGER"), key("ärger"));
    }
}
