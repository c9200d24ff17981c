//! The pauses between attempts.

use std::time::Duration;

/// Pauses that double up to a limit.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// The first pause.
    pub(crate) const FIRST: Duration = Duration::from_millis(100);

    /// The longest pause.
    pub(crate) const LONGEST: Duration = Duration::from_secs(5);

    /// The pause before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
        pause
    }

    /// An attempt went well.
    pub(crate) fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_begin_again() {
        let mut backoff = Backoff::default();
        assert_eq!(
            (backoff.next(), backoff.next()),
            (Duration::from_millis(100), Duration::from_millis(200))
        );
        assert_eq!((0..20).map(|_| backoff.next()).last(), Some(Backoff::LONGEST));
        backoff.reset();
        assert_eq!(backoff.next(), Backoff::FIRST);
    }
}
