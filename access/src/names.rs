//! Names of customers, accounts and credentials: what may be one, and how they are compared.

use annals_schemas::limits::cut;

use crate::error::AccessError;

/// Longest new name, in bytes: that of an e-mail address.
pub const MAX_NEW_NAME_BYTES: usize = 254;

/// How much of a refused name is shown.
const MAX_SHOWN_BYTES: usize = 100;

/// Says whether a new customer or account may have this name: an e-mail, or any other text without blanks.
pub(crate) fn check(name: &str) -> Result<(), AccessError> {
    let blank = name.chars().any(char::is_whitespace).then_some("it contains a blank");
    checked(name, blank)
}

/// Says whether a new credential may have this name. It is for people, so that words may stand apart, by plain blanks:
/// others look alike, or end a line of a list.
pub(crate) fn check_words(name: &str) -> Result<(), AccessError> {
    let odd = |letter: char| letter.is_whitespace() && letter != ' ';
    let blank = if name.trim() != name {
        Some("it begins or ends with a blank")
    } else {
        name.chars().any(odd).then_some("it contains another blank than the plain one")
    };
    checked(name, blank)
}

/// What holds for every name, and then what is wrong with the blanks of this one.
fn checked(name: &str, blank: Option<&'static str>) -> Result<(), AccessError> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NEW_NAME_BYTES {
        "it is longer than 254 bytes"
    } else if name.chars().any(char::is_control) {
        "it contains a control character"
    } else if let Some(blank) = blank {
        blank
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
    fn a_credential_may_have_words_with_plain_blanks_between_them() {
        for name in ["siem", "sdk token", "a  b c", "Zürich 名前", &"x".repeat(254), "a,b'\";--"] {
            assert!(check_words(name).is_ok(), "{name}");
        }
        for (name, reason) in [
            ("", "it is empty"),
            (" ", "it begins or ends with a blank"),
            (" a", "it begins or ends with a blank"),
            ("a ", "it begins or ends with a blank"),
            ("\u{a0}a", "it begins or ends with a blank"),
            ("a\u{a0}b", "it contains another blank than the plain one"),
            ("a\u{2028}b", "it contains another blank than the plain one"),
            ("a\tb", "it contains a control character"),
            ("a\n", "it contains a control character"),
            ("a\0b", "it contains a control character"),
            (&"é".repeat(128), "it is longer than 254 bytes"),
        ] {
            let error = check_words(name).unwrap_err();
            assert!(
                matches!(error, AccessError::InvalidName { reason: found, .. } if found == reason),
                "{name:?}"
            );
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
