//! What holds for every handler: a time limit, and a panic that becomes an answer.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

/// Why a handler gave no answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// It took too long.
    TimedOut,
    /// It panicked: a defect, which is in the log.
    Panicked,
}

/// Runs a handler. What it left half way is dropped, which every handler must stand: clients hang up, too.
pub(crate) async fn guarded<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Interruption> {
    // Unwind safe: nothing that the handler could have left broken is looked at again; locks recover by themselves.
    match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(panic)) => {
            tracing::error!(panic = text_of(&*panic), "a handler panicked");
            Err(Interruption::Panicked)
        }
        Err(_) => Err(Interruption::TimedOut),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_handler_answers_panics_or_takes_too_long() {
        assert_eq!(guarded(LIMIT, async { 1 }).await, Ok(1));
        assert_eq!(guarded(Duration::ZERO, std::future::pending::<()>()).await, Err(Interruption::TimedOut));
        let panics = async { u8::try_from(300_u16).unwrap() };
        assert_eq!(guarded(LIMIT, panics).await, Err(Interruption::Panicked));
    }

    #[test]
    fn the_text_of_a_panic_is_found_in_both_of_its_forms() {
        assert_eq!(text_of(&"static"), "static");
        assert_eq!(text_of(&"owned".to_owned()), "owned");
        assert_eq!(text_of(&1_u8), "no text");
    }
}
