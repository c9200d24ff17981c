//! The failures of the santaba dialect: what each version says of them (docs/dialects.md, "santaba": Errors).
//!
//! Version 1 answers nearly always with HTTP 200, and its own code stands in the body. Versions 2 and 3 answer with a
//! status, and a code of 1,000 more. Where LogicMonitor's list of codes lacks a status, the general one of its class
//! stands for it: 1400 for 405 and 414, 1500 for 503.

use thiserror::Error;

pub(super) use crate::papi::errors::shown;

use super::version::Version;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// Missing, malformed or wrong credentials, or such as this version does not take.
    Authentication,
    /// A known account without the permission.
    Forbidden,
    /// No such record, or one that the caller may not know of.
    NoSuchRecord,
    /// A path that names nothing.
    NoSuchResource,
    /// A method that the resource does not take.
    Method,
    /// A parameter that cannot be read, or goes past a limit.
    Invalid,
    /// A body above the limit.
    TooLarge,
    /// A URL above the limit.
    TargetTooLong,
    /// More requests than the customer has.
    RateLimited,
    /// The server cannot answer now.
    Unavailable,
    /// The answer took longer than the server's limit.
    TimedOut,
    /// A defect of the server.
    Internal,
}

/// How a version tells a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The HTTP status.
    pub status: u16,
    /// The code in the envelope.
    pub code: u16,
}

impl Failure {
    /// Every failure.
    pub const ALL: [Self; 12] = [
        Self::Authentication,
        Self::Forbidden,
        Self::NoSuchRecord,
        Self::NoSuchResource,
        Self::Method,
        Self::Invalid,
        Self::TooLarge,
        Self::TargetTooLong,
        Self::RateLimited,
        Self::Unavailable,
        Self::TimedOut,
        Self::Internal,
    ];

    /// How `version` tells it.
    #[must_use]
    pub const fn told(self, version: Version) -> Told {
        let (status, code) = match version {
            Version::V1 => self.told_by_version_1(),
            Version::V2 | Version::V3 => self.told_by_later_versions(),
        };
        Told { status, code }
    }

    /// HTTP 200, but for five: 429 because clients wait only when they see it, 404, 405 and 414 because they are about the
    /// address and not about the call, and 503, which the vendor's own server gives in every version during upgrades.
    const fn told_by_version_1(self) -> (u16, u16) {
        match self {
            Self::Authentication => (200, 403),
            Self::Forbidden => (200, 1041),
            Self::NoSuchRecord => (200, 1069),
            Self::NoSuchResource => (404, 1069),
            Self::Method => (405, 1007),
            Self::Invalid | Self::TooLarge => (200, 1007),
            Self::TargetTooLong => (414, 1007),
            Self::RateLimited => (429, 1429),
            Self::Unavailable => (503, 1001),
            Self::TimedOut => (503, 1101),
            Self::Internal => (200, 1001),
        }
    }

    const fn told_by_later_versions(self) -> (u16, u16) {
        match self {
            Self::Authentication => (401, 1401),
            Self::Forbidden => (403, 1403),
            Self::NoSuchRecord | Self::NoSuchResource => (404, 1404),
            Self::Method => (405, 1400),
            Self::Invalid => (400, 1400),
            Self::TooLarge => (413, 1413),
            Self::TargetTooLong => (414, 1400),
            Self::RateLimited => (429, 1429),
            Self::Unavailable | Self::TimedOut => (503, 1500),
            Self::Internal => (500, 1500),
        }
    }

    /// The name for logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authentication => "authentication failed",
            Self::Forbidden => "forbidden",
            Self::NoSuchRecord => "no such record",
            Self::NoSuchResource => "no such resource",
            Self::Method => "method not allowed",
            Self::Invalid => "invalid",
            Self::TooLarge => "too large",
            Self::TargetTooLong => "URL too long",
            Self::RateLimited => "rate limited",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed out",
            Self::Internal => "internal error",
        }
    }
}

/// A failure as the client sees it. Causes stay in the log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct SantabaError {
    failure: Failure,
    message: String,
}

impl SantabaError {
    /// Credentials that do not sign anybody in. The wording is the vendor's.
    #[must_use]
    pub fn authentication() -> Self {
        Self::new(Failure::Authentication, "Authentication failed")
    }

    /// A known account without the permission.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(Failure::Forbidden, "Permission denied")
    }

    /// An id that no record has, or one that the caller may not know of.
    #[must_use]
    pub fn no_such_record() -> Self {
        Self::new(Failure::NoSuchRecord, "No such record")
    }

    /// A path that names nothing.
    #[must_use]
    pub fn no_such_resource() -> Self {
        Self::new(Failure::NoSuchResource, "HTTP 404 Not Found")
    }

    /// A known path with a method that it does not take. `allowed` is the value of the `Allow` header.
    #[must_use]
    pub fn method_not_allowed(allowed: &str) -> Self {
        Self::new(Failure::Method, &format!("this resource takes {allowed} only"))
    }

    /// A parameter that cannot be read, or goes past a limit. `text` names it.
    #[must_use]
    pub fn invalid(text: &str) -> Self {
        Self::new(Failure::Invalid, text)
    }

    /// A page that ends behind the first `limit` records. One client looks for these words.
    #[must_use]
    pub fn page_limit(limit: u64) -> Self {
        Self::invalid(&format!("the query limitation of auditLog is {limit}"))
    }

    /// A body above the limit.
    #[must_use]
    pub fn body_too_long(limit: usize) -> Self {
        Self::new(Failure::TooLarge, &format!("the body is longer than {limit} bytes"))
    }

    /// A URL above the limit.
    #[must_use]
    pub fn target_too_long(limit: usize) -> Self {
        Self::new(Failure::TargetTooLong, &format!("the URL is longer than {limit} bytes"))
    }

    /// More requests than the customer has.
    #[must_use]
    pub fn rate_limited() -> Self {
        Self::new(Failure::RateLimited, "Too many requests")
    }

    /// The store cannot be reached, or too many requests wait. The wording is the vendor's.
    #[must_use]
    pub fn unavailable() -> Self {
        let text = "Apologies, service is temporarily unavailable. Please try again later.";
        Self::new(Failure::Unavailable, text)
    }

    /// The answer took longer than the server's limit.
    #[must_use]
    pub fn timed_out() -> Self {
        Self::new(Failure::TimedOut, "the request took too long")
    }

    /// A defect of the server. The cause is for the log, never for the client.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(Failure::Internal, "internal error")
    }

    /// What went wrong.
    #[must_use]
    pub const fn failure(&self) -> Failure {
        self.failure
    }

    /// The text in the envelope.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    fn new(failure: Failure, text: &str) -> Self {
        Self { failure, message: text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(failure: Failure) -> [(u16, u16); 3] {
        Version::ALL.map(|version| failure.told(version)).map(|told| (told.status, told.code))
    }

    #[test]
    fn every_failure_has_the_codes_of_the_vendor() {
        for (failure, first, later) in [
            (Failure::Authentication, (200, 403), (401, 1401)),
            (Failure::Forbidden, (200, 1041), (403, 1403)),
            (Failure::NoSuchRecord, (200, 1069), (404, 1404)),
            (Failure::NoSuchResource, (404, 1069), (404, 1404)),
            (Failure::Method, (405, 1007), (405, 1400)),
            (Failure::Invalid, (200, 1007), (400, 1400)),
            (Failure::TooLarge, (200, 1007), (413, 1413)),
            (Failure::TargetTooLong, (414, 1007), (414, 1400)),
            (Failure::RateLimited, (429, 1429), (429, 1429)),
            (Failure::Unavailable, (503, 1001), (503, 1500)),
            (Failure::TimedOut, (503, 1101), (503, 1500)),
            (Failure::Internal, (200, 1001), (500, 1500)),
        ] {
            assert_eq!(told(failure), [first, later, later], "{failure:?}");
        }
    }

    #[test]
    fn names_tell_the_failures_apart() {
        let mut names: Vec<_> = Failure::ALL.iter().map(|failure| failure.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Failure::ALL.len());
    }

    #[test]
    fn the_texts_that_clients_know_stand_word_for_word() {
        assert_eq!(SantabaError::authentication().message(), "Authentication failed");
        assert_eq!(SantabaError::page_limit(10_000).message(), "the query limitation of auditLog is 10000");
        assert_eq!(SantabaError::page_limit(10_000).failure(), Failure::Invalid);
        assert!(SantabaError::unavailable().message().contains("temporarily unavailable"));
    }
}
