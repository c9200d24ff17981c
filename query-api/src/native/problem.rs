//! What went wrong, as RFC 9457 tells it. Causes from inside the server are logged here, once, and stay here.

use std::error::Error;

use annals_access::{AccessError, SignInError};
use annals_store::StoreError;
use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::token::TokenError;
use crate::guard::Interruption;
use crate::observe::chain;

/// The media type of RFC 9457.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// What a problem's type begins with; its code follows.
const TYPE_PREFIX: &str = "urn:annals:problem:";

/// Characters of what a client sent that an answer repeats.
const MAX_SHOWN_CHARACTERS: usize = 100;

/// The kinds of problems. Codes never change; texts may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    UnknownParameter,
    BadParameter,
    BadCursor,
    CursorOfAnotherLog,
    CursorOfAnotherQuery,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    MethodNotAllowed,
    TargetTooLong,
    NotYet,
    TooManyStreams,
    Internal,
    Unavailable,
    TimedOut,
}

impl Code {
    /// Every code.
    pub(super) const ALL: [Self; 15] = [
        Self::UnknownParameter,
        Self::BadParameter,
        Self::BadCursor,
        Self::CursorOfAnotherLog,
        Self::CursorOfAnotherQuery,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TargetTooLong,
        Self::NotYet,
        Self::TooManyStreams,
        Self::Internal,
        Self::Unavailable,
        Self::TimedOut,
    ];

    /// The code as answers, log lines and metrics write it.
    pub(super) fn name(self) -> &'static str {
        self.row().0
    }

    /// The status.
    pub(super) fn status(self) -> StatusCode {
        self.row().1
    }

    /// The same for every problem of the kind.
    pub(super) fn title(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::UnknownParameter => {
                ("unknown-parameter", S::BAD_REQUEST, "There is no parameter of this name here")
            }
            Self::BadParameter => ("bad-parameter", S::BAD_REQUEST, "A parameter cannot be used"),
            Self::BadCursor => ("bad-cursor", S::BAD_REQUEST, "A cursor or token is damaged"),
            Self::CursorOfAnotherLog => {
                ("cursor-of-another-log", S::BAD_REQUEST, "A cursor or token belongs to another log")
            }
            Self::CursorOfAnotherQuery => {
                ("cursor-of-another-query", S::BAD_REQUEST, "A cursor belongs to another query")
            }
            Self::Unauthenticated => {
                ("unauthenticated", S::UNAUTHORIZED, "Credentials are missing or not accepted")
            }
            Self::PermissionDenied => ("permission-denied", S::FORBIDDEN, "The permission is missing"),
            Self::NotFound => ("not-found", S::NOT_FOUND, "Nothing is here"),
            Self::MethodNotAllowed => {
                ("method-not-allowed", S::METHOD_NOT_ALLOWED, "The method is not taken here")
            }
            Self::TargetTooLong => ("target-too-long", S::URI_TOO_LONG, "The URL is too long"),
            Self::NotYet => ("not-yet", S::CONFLICT, "The view has not come so far yet"),
            Self::TooManyStreams => {
                ("too-many-streams", S::TOO_MANY_REQUESTS, "Too many streams are open at once")
            }
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Internal error"),
            Self::Unavailable => ("unavailable", S::SERVICE_UNAVAILABLE, "The server cannot answer now"),
            Self::TimedOut => ("timed-out", S::SERVICE_UNAVAILABLE, "The request took too long"),
        }
    }
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    code: Code,
    detail: String,
    parameter: Option<String>,
    behind: Option<u64>,
}

/// A problem as RFC 9457 writes it. `code` is for programs, `title` and `detail` are for people.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemDocument {
    /// The kind of problem, as a URI.
    #[serde(rename = "type")]
    #[schema(example = "urn:annals:problem:bad-parameter")]
    kind: String,
    /// The same for every problem of the kind.
    #[schema(value_type = String)]
    title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What went wrong this time.
    detail: String,
    /// The kind of problem, in short.
    #[schema(value_type = String, example = "bad-parameter")]
    code: &'static str,
    /// The parameter that cannot be used, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    parameter: Option<String>,
    /// How many events the view is behind what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64)]
    behind: Option<u64>,
}

impl Problem {
    fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), parameter: None, behind: None }
    }

    /// A parameter that is not there.
    pub(super) fn unknown_parameter(name: &str) -> Self {
        let name = shown(name);
        let detail = format!("there is no parameter `{name}` here");
        Self { parameter: Some(name), ..Self::new(Code::UnknownParameter, detail) }
    }

    /// A parameter whose value cannot be used. The text follows its name.
    pub(super) fn bad_parameter(name: &str, what: &str) -> Self {
        let detail = format!("parameter `{name}` {what}");
        Self { parameter: Some(name.to_owned()), ..Self::new(Code::BadParameter, detail) }
    }

    /// A token in a parameter or header that cannot be used.
    pub(super) fn token(name: &str, error: TokenError) -> Self {
        let (code, what) = match error {
            TokenError::Damaged => (Code::BadCursor, "is damaged, or is none"),
            TokenError::AnotherLog => {
                (Code::CursorOfAnotherLog, "belongs to another log; begin again without it")
            }
            TokenError::AnotherQuery => (
                Code::CursorOfAnotherQuery,
                "belongs to a query with other filters or another order; repeat those with it",
            ),
        };
        Self { parameter: Some(name.to_owned()), ..Self::new(code, format!("`{name}` {what}")) }
    }

    /// Nobody known. One text for every reason.
    pub(super) fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "wrong or missing credentials")
    }

    /// The permission is missing, or the customer is not there: one text for both.
    pub(super) fn permission_denied() -> Self {
        Self::new(Code::PermissionDenied, "the permission for this is not granted at this customer")
    }

    /// No such path.
    pub(super) fn unknown_path() -> Self {
        Self::new(Code::NotFound, "nothing is at this path; GET /v1/openapi.json lists what is there")
    }

    /// No event of this id that the caller may see.
    pub(super) fn unknown_event() -> Self {
        Self::new(Code::NotFound, "there is no event of this id")
    }

    /// A method that is not taken.
    pub(super) fn method_not_allowed() -> Self {
        Self::new(Code::MethodNotAllowed, "this path takes GET and HEAD only")
    }

    /// A URL above the limit.
    pub(super) fn target_too_long(limit: usize) -> Self {
        Self::new(Code::TargetTooLong, format!("the URL is longer than {limit} bytes"))
    }

    /// There is nothing to read yet.
    pub(super) fn no_views() -> Self {
        Self::new(Code::Unavailable, "no projector has made the views yet; try again")
    }

    /// The view is behind a token by so many events.
    pub(super) fn not_yet(behind: u64) -> Self {
        let detail =
            format!("the view is {behind} events behind `at-least`; ask again, or with a longer `wait`");
        Self { behind: Some(behind), ..Self::new(Code::NotYet, detail) }
    }

    /// More streams than the limit.
    pub(super) fn too_many_streams(what: &str, limit: usize) -> Self {
        Self::new(Code::TooManyStreams, format!("{limit} {what} are open on this server already"))
    }

    /// A view could not be read.
    pub(super) fn store(error: &StoreError) -> Self {
        failed(error.is_transient(), error)
    }

    /// The control tables could not be read.
    pub(super) fn access(error: &AccessError) -> Self {
        let passes = match error {
            AccessError::Store(error) => error.is_transient(),
            AccessError::Busy | AccessError::Stopping => true,
            _ => false,
        };
        failed(passes, error)
    }

    /// Somebody could not be made out.
    pub(super) fn sign_in(error: &SignInError) -> Self {
        match error {
            SignInError::Refused => Self::unauthenticated(),
            SignInError::Busy => Self::new(Code::Unavailable, "too many passwords are being checked at once"),
            SignInError::Access(error) => Self::access(error),
            other => failed(false, other),
        }
    }

    /// A handler gave no answer of its own.
    pub(super) fn interrupted(interruption: Interruption) -> Self {
        match interruption {
            Interruption::TimedOut => Self::new(Code::TimedOut, "the request took too long"),
            Interruption::Panicked => Self::internal(),
        }
    }

    /// The process stops in the middle of an answer.
    pub(super) fn stopping() -> Self {
        Self::new(Code::Unavailable, "the server stops")
    }

    /// A defect.
    pub(super) fn internal() -> Self {
        Self::new(Code::Internal, "internal error")
    }

    /// What kind it is.
    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// What went wrong, for the end of a file that is cut.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The answer.
    pub(super) fn response(&self) -> Response {
        let code = self.code;
        let document = ProblemDocument {
            kind: format!("{TYPE_PREFIX}{}", code.name()),
            title: code.title(),
            status: code.status().as_u16(),
            detail: self.detail.clone(),
            code: code.name(),
            parameter: self.parameter.clone(),
            behind: self.behind,
        };
        // Texts and numbers: writing them does not fail.
        let mut response = Response::new(Body::from(serde_json::to_vec(&document).unwrap_or_default()));
        *response.status_mut() = code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        match code {
            Code::MethodNotAllowed => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Code::Unauthenticated => {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"annals\""));
                let basic = HeaderValue::from_static("Basic realm=\"annals\", charset=\"UTF-8\"");
                headers.append(WWW_AUTHENTICATE, basic);
            }
            Code::TooManyStreams | Code::Unavailable | Code::TimedOut | Code::NotYet => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

fn failed(passes: bool, error: &(dyn Error + 'static)) -> Problem {
    let error = chain(error);
    if passes {
        tracing::warn!(error, "a request of the native API could not be answered now");
        Problem::new(Code::Unavailable, "the server cannot answer now; try again")
    } else {
        tracing::error!(error, "a request of the native API could not be answered");
        Problem::internal()
    }
}

/// What a client sent, short enough to be repeated to it.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARACTERS).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_name_and_a_status_of_its_kind() {
        let mut names: Vec<_> = Code::ALL.map(Code::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            let own_fault = [Code::Internal, Code::Unavailable, Code::TimedOut].contains(&code);
            assert_eq!(code.status().is_server_error(), own_fault, "{}", code.name());
            assert!(own_fault || code.status().is_client_error());
        }
    }

    #[test]
    fn what_passes_is_unavailable_and_the_rest_is_a_defect() {
        let busy = || StoreError::Busy("control.db".into());
        let damaged = || StoreError::Damaged("control.db".into());
        assert_eq!(Problem::store(&busy()).code(), Code::Unavailable);
        assert_eq!(Problem::store(&damaged()).code(), Code::Internal);
        assert_eq!(Problem::access(&AccessError::Busy).code(), Code::Unavailable);
        assert_eq!(Problem::sign_in(&SignInError::Busy).code(), Code::Unavailable);
        assert_eq!(Problem::sign_in(&damaged().into()).detail(), "internal error");
        assert_eq!(Problem::sign_in(&SignInError::Refused), Problem::unauthenticated());
        assert_eq!(Problem::interrupted(Interruption::TimedOut).code(), Code::TimedOut);
        assert_eq!(Problem::interrupted(Interruption::Panicked), Problem::internal());
    }

    #[test]
    fn a_client_is_repeated_to_itself_only_in_part_and_escaped() {
        let problem = Problem::unknown_parameter(&format!("a\u{7}{}", "b".repeat(1_000)));
        assert!(problem.detail().contains("`a\\u{7}bbb") && problem.detail().len() < 200);
    }

    #[test]
    fn the_answer_says_what_a_client_can_do() {
        let headers = |problem: Problem| problem.response().headers().clone();
        assert_eq!(headers(Problem::unauthenticated()).get_all(WWW_AUTHENTICATE).iter().count(), 2);
        assert_eq!(headers(Problem::method_not_allowed())[ALLOW], "GET, HEAD");
        assert_eq!(headers(Problem::not_yet(3))[RETRY_AFTER], "1");
        assert_eq!(headers(Problem::internal())[CONTENT_TYPE], MEDIA_TYPE);
    }
}
