//! One log line and the metrics of every request. No query string, cookie, address or name of a person gets here: an
//! [`Answer`] carries only texts of this program.

use std::error::Error;
use std::time::Duration;

use axum::http::Method;
use axum::response::Response;

/// Requests, by dialect, function, status and outcome.
const REQUESTS: &str = "annals_http_requests_total";

/// Time from a request's head to its answer, by dialect and function.
const SECONDS: &str = "annals_http_request_seconds";

/// The function of a path that names none, so that nobody can make labels.
pub(crate) const UNKNOWN: &str = "unknown";

/// An answer, and what is told about it.
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) dialect: &'static str,
    pub(crate) function: &'static str,
    /// `ok`, or what went wrong in the dialect's words: in papi failures have status 200.
    pub(crate) outcome: &'static str,
}

/// The outcome of what went well.
pub(crate) const OK: &str = "ok";

/// Tells the recorder what the metrics mean.
pub(crate) fn describe() {
    metrics::describe_counter!(REQUESTS, "Requests answered, by dialect, function, HTTP status and outcome.");
    metrics::describe_histogram!(
        SECONDS,
        metrics::Unit::Seconds,
        "Time from a request's head to its answer, by dialect and function."
    );
}

/// Writes the log line and counts.
pub(crate) fn answered(method: &Method, answer: &Answer, took: Duration) {
    let Answer { response, dialect, function, outcome } = answer;
    let status = response.status();
    metrics::counter!(REQUESTS, "dialect" => *dialect, "function" => *function,
        "status" => status.as_str().to_owned(), "outcome" => *outcome)
    .increment(1);
    metrics::histogram!(SECONDS, "dialect" => *dialect, "function" => *function).record(took);
    let (method, status) = (name_of(method), status.as_u16());
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    // Whoever watches over this process asks every few seconds.
    if *dialect == crate::health::DIALECT {
        tracing::debug!(
            method,
            dialect,
            function,
            status,
            outcome,
            duration_ms,
            "{method} {function}: {status} in {duration_ms} ms"
        );
    } else {
        tracing::info!(
            method,
            dialect,
            function,
            status,
            outcome,
            duration_ms,
            "{method} {dialect} {function}: {status} {outcome} in {duration_ms} ms"
        );
    }
}

/// A client may invent methods.
fn name_of(method: &Method) -> &'static str {
    [Method::GET, Method::POST, Method::HEAD, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS]
        .into_iter()
        .zip(["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
        .find_map(|(known, name)| (known == method).then_some(name))
        .unwrap_or("other")
}

/// An error with everything that led to it, for the log.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_methods_have_one_name() {
        assert_eq!(name_of(&Method::GET), "GET");
        assert_eq!(name_of(&Method::from_bytes(b"X-SECRET").unwrap()), "other");
    }

    #[test]
    fn the_chain_names_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(chain(&Outer(std::io::Error::other("inner"))), "outer: inner");
    }
}
