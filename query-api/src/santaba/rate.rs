//! How many requests a customer has left: the three headers of every answer (docs/dialects.md, "santaba": Rate limit).
//! One client throws when a 429 lacks any of them.

use std::sync::OnceLock;

use annals_access::{Access, Principal};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::errors::SantabaError;

/// The window that answers name before anybody is known.
const WINDOW_SECONDS: u32 = 60;

const LIMIT: HeaderName = HeaderName::from_static("x-rate-limit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-rate-limit-remaining");
const WINDOW: HeaderName = HeaderName::from_static("x-rate-limit-window");

/// The rate of one request. It is asked for once, when the caller is known, and shown whatever comes of the request.
pub(super) struct Rate {
    limit: u32,
    taken: OnceLock<Shown>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    limit: u32,
    remaining: u32,
    window_seconds: u32,
}

impl Rate {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, taken: OnceLock::new() }
    }

    /// Takes one request of the caller's customer.
    pub(super) async fn take(
        &self,
        access: &Access,
        principal: &Principal,
        endpoint: &'static str,
    ) -> Result<(), SantabaError> {
        let decision = access.take_rate(principal.customer.id, endpoint, self.limit).await;
        self.taken.get_or_init(|| Shown {
            limit: decision.limit,
            remaining: decision.remaining,
            window_seconds: decision.window_seconds,
        });
        if decision.allowed { Ok(()) } else { Err(SantabaError::rate_limited()) }
    }

    /// Adds the headers. Whoever is not known has everything left.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let Shown { limit, remaining, window_seconds } = self.shown();
        for (name, number) in [(LIMIT, limit), (REMAINING, remaining), (WINDOW, window_seconds)] {
            headers.insert(name, HeaderValue::from(number));
        }
    }

    fn shown(&self) -> Shown {
        let full = Shown { limit: self.limit, remaining: self.limit, window_seconds: WINDOW_SECONDS };
        self.taken.get().copied().unwrap_or(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(rate: &Rate) -> Vec<String> {
        let mut headers = HeaderMap::new();
        rate.write(&mut headers);
        [LIMIT, REMAINING, WINDOW].iter().map(|name| headers[name].to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn everything_is_left_until_something_was_taken() {
        let rate = Rate::new(6_000);
        assert_eq!(written(&rate), ["6000", "6000", "60"]);
        rate.taken.set(Shown { limit: 6_000, remaining: 0, window_seconds: 30 }).unwrap();
        assert_eq!(written(&rate), ["6000", "0", "30"]);
    }
}
