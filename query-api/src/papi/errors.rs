//! The failures of the papi dialect: their codes, their texts and their HTTP status.
//!
//! An error of a known function travels with HTTP 200 (docs/dialects.md, "Answers"): Lastline's own client raises on
//! any other status before it looks at the envelope, and would never see the code.
//!
//! That client also signs in again and repeats its call whenever an error text contains "Permission denied"
//! (docs/dialects.md, "Codes"). The fields of [`PapiError`] are private so that no text of a caller can carry these
//! words into an error that means something else.

use thiserror::Error;

/// The only text that may say "Permission denied".
const PERMISSION_DENIED: &str = "Permission denied";

/// Longest piece of a request that an error text repeats, in characters.
pub const MAX_SHOWN_CHARACTERS: usize = 100;

/// The error codes that this server sends (docs/dialects.md, "Codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// 4: the operation is not supported by an appliance of this type (Lastline's Session API document).
    NotSupported = 4,
    /// 3001: a known account lacks the permission.
    PermissionDenied = 3001,
    /// 3004: wrong or missing credentials, or no sign-in.
    AuthenticationError = 3004,
    /// 3005: a parameter is missing, malformed or contradicts another.
    InvalidParameter = 3005,
    /// 3007: the object does not exist (Lastline's Session API document).
    NoSuchEntity = 3007,
    /// 3015: the server cannot answer now.
    BackendUnavailable = 3015,
    /// 9001: the appliance does not exist (Lastline's Session API document).
    NoSuchAppliance = 9001,
    /// 9006: the appliance configuration would be invalid (Lastline's Session API document).
    InvalidConfiguration = 9006,
}

impl ErrorCode {
    /// The number in the envelope.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The constant's name for logs and metrics, after the names that clients use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotSupported => "NOT_SUPPORTED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::AuthenticationError => "AUTHENTICATION_ERROR",
            Self::InvalidParameter => "INVALID_PARAMETER_ERROR",
            Self::NoSuchEntity => "NO_SUCH_ENTITY",
            Self::BackendUnavailable => "HOSTED_BACKEND_UNAVAILABLE",
            Self::NoSuchAppliance => "NO_SUCH_APPLIANCE",
            Self::InvalidConfiguration => "INVALID_CONFIGURATION",
        }
    }
}

/// A failure as the client sees it. Causes stay in the log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct PapiError {
    code: ErrorCode,
    message: String,
    status: u16,
}

impl PapiError {
    /// Wrong or missing credentials, or an expired sign-in. The text is what clients match on (docs/dialects.md,
    /// "Codes").
    #[must_use]
    pub fn authentication() -> Self {
        Self::fixed(ErrorCode::AuthenticationError, 200, "Authentication Error.")
    }

    /// A known account without the permission for this function.
    #[must_use]
    pub fn permission_denied() -> Self {
        Self::fixed(ErrorCode::PermissionDenied, 200, PERMISSION_DENIED)
    }

    /// A missing, malformed or contradictory parameter. `text` names it.
    #[must_use]
    pub fn invalid_parameter(text: &str) -> Self {
        Self::worded(ErrorCode::InvalidParameter, 200, text)
    }

    /// An object that does not exist, or that the caller may not know of.
    #[must_use]
    pub fn no_such_entity(text: &str) -> Self {
        Self::worded(ErrorCode::NoSuchEntity, 200, text)
    }

    /// An appliance that does not exist, or that is not granted to the caller (session API).
    #[must_use]
    pub fn no_such_appliance() -> Self {
        Self::fixed(ErrorCode::NoSuchAppliance, 200, "no such appliance")
    }

    /// An appliance whose type does not have the feature (session API).
    #[must_use]
    pub fn not_supported(text: &str) -> Self {
        Self::worded(ErrorCode::NotSupported, 200, text)
    }

    /// A change that would leave the appliance with an invalid configuration (session API).
    #[must_use]
    pub fn invalid_configuration(text: &str) -> Self {
        Self::worded(ErrorCode::InvalidConfiguration, 200, text)
    }

    /// A path that names no function, or asks for a format that does not exist. No client depends on this code: all
    /// real ones raise on the 404 first.
    #[must_use]
    pub fn unknown_function(name: &str) -> Self {
        Self::worded(ErrorCode::NoSuchEntity, 404, &format!("no such function `{}`", shown(name)))
    }

    /// A known function, called with a method that it does not take. `allowed` is the value of the `Allow` header.
    #[must_use]
    pub fn method_not_allowed(allowed: &str) -> Self {
        Self::worded(ErrorCode::InvalidParameter, 405, &format!("this function takes {allowed} only"))
    }

    /// A URL above the limit. Nothing says any more what the rest of it asked for.
    #[must_use]
    pub fn target_too_long(limit: usize) -> Self {
        let text = format!("the URL is longer than {limit} bytes; send parameters in a form body");
        Self::worded(ErrorCode::InvalidParameter, 414, &text)
    }

    /// The store cannot be reached, or too many requests wait.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::fixed(ErrorCode::BackendUnavailable, 503, "temporarily unavailable, try again later")
    }

    /// The answer took longer than the server's limit.
    #[must_use]
    pub fn timed_out() -> Self {
        Self::fixed(ErrorCode::BackendUnavailable, 503, "the request took too long")
    }

    /// A defect of the server. The cause is for the log, never for the client.
    #[must_use]
    pub fn internal() -> Self {
        Self::fixed(ErrorCode::BackendUnavailable, 500, "internal error")
    }

    /// The code in the envelope.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The text in the envelope.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    fn fixed(code: ErrorCode, status: u16, text: &str) -> Self {
        Self { code, message: text.to_owned(), status }
    }

    fn worded(code: ErrorCode, status: u16, text: &str) -> Self {
        Self { code, message: without_permission_denied(text), status }
    }
}

/// The first [`MAX_SHOWN_CHARACTERS`] characters of `text`: how an error repeats what the client sent.
#[must_use]
pub fn shown(text: &str) -> &str {
    text.char_indices().nth(MAX_SHOWN_CHARACTERS).map_or(text, |(end, _)| &text[..end])
}

/// Puts a hyphen between the two words. Any case, because a client may compare without it.
fn without_permission_denied(text: &str) -> String {
    // ASCII lower case keeps every byte offset.
    let lower = text.to_ascii_lowercase();
    let phrase = PERMISSION_DENIED.to_ascii_lowercase();
    let mut safe = text.to_owned();
    for (start, _) in lower.match_indices(&phrase) {
        let blank = start + "permission".len();
        safe.replace_range(blank..=blank, "-");
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_two_texts_that_clients_match_on_stand_word_for_word() {
        assert_eq!(PapiError::authentication().message(), "Authentication Error.");
        assert_eq!(PapiError::authentication().code().number(), 3004);
        assert_eq!(PapiError::permission_denied().message(), "Permission denied");
        assert_eq!(PapiError::permission_denied().code().number(), 3001);
    }

    #[test]
    fn only_routing_and_server_failures_leave_http_200() {
        let ok = [
            PapiError::authentication(),
            PapiError::permission_denied(),
            PapiError::invalid_parameter("x"),
            PapiError::no_such_entity("x"),
            PapiError::no_such_appliance(),
            PapiError::not_supported("x"),
            PapiError::invalid_configuration("x"),
        ];
        assert!(ok.iter().all(|error| error.status() == 200));
        assert_eq!(PapiError::unknown_function("x").status(), 404);
        assert_eq!(PapiError::method_not_allowed("GET, POST").status(), 405);
        assert_eq!(PapiError::target_too_long(9).status(), 414);
        assert_eq!(PapiError::unavailable().status(), 503);
        assert_eq!(PapiError::timed_out().status(), 503);
        assert_eq!(PapiError::internal().status(), 500);
    }

    #[test]
    fn every_code_has_the_number_of_the_vendor() {
        let codes = [
            (ErrorCode::NotSupported, 4),
            (ErrorCode::PermissionDenied, 3001),
            (ErrorCode::AuthenticationError, 3004),
            (ErrorCode::InvalidParameter, 3005),
            (ErrorCode::NoSuchEntity, 3007),
            (ErrorCode::BackendUnavailable, 3015),
            (ErrorCode::NoSuchAppliance, 9001),
            (ErrorCode::InvalidConfiguration, 9006),
        ];
        for (code, number) in codes {
            assert_eq!(code.number(), number, "{}", code.name());
        }
    }

    #[test]
    fn a_text_of_the_caller_never_says_permission_denied() {
        let text = "Permission denied, permission DENIED; PermissionPermission denied denied";
        let error = PapiError::invalid_parameter(text);
        assert_eq!(
            error.message(),
            "Permission-denied, permission-DENIED; PermissionPermission-denied denied"
        );
        assert_eq!(
            PapiError::unknown_function("Permission denied").message(),
            "no such function `Permission-denied`"
        );
    }

    #[test]
    fn a_long_piece_is_cut_at_a_character() {
        assert_eq!(shown("short"), "short");
        assert_eq!(shown(&"é".repeat(100)), "é".repeat(100));
        assert_eq!(shown(&"é".repeat(101)), "é".repeat(100));
    }

    proptest! {
        #[test]
        fn no_mix_of_the_words_gets_through(words in proptest::collection::vec("(?i:permission|denied)| |é|.", 0..12)) {
            let error = PapiError::no_such_entity(&words.concat());
            prop_assert!(!error.message().to_ascii_lowercase().contains("permission denied"));
            prop_assert_eq!(error.message().chars().count(), words.concat().chars().count());
        }
    }
}
