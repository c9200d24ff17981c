//! Failures of the other rooms as this dialect tells them. Their causes are logged here, once, and stay here.

use std::error::Error;

use annals_access::{AccessError, SignInError};
use annals_store::StoreError;

use super::errors::SantabaError;
use crate::observe::chain;

/// A view could not be read.
pub(super) fn store(error: &StoreError) -> SantabaError {
    failed(error.is_transient(), error)
}

/// The control tables could not be read or written.
pub(super) fn access(error: &AccessError) -> SantabaError {
    let passes = match error {
        AccessError::Store(error) => error.is_transient(),
        AccessError::Busy | AccessError::Stopping => true,
        _ => false,
    };
    failed(passes, error)
}

/// Somebody could not be made out.
pub(super) fn sign_in(error: &SignInError) -> SantabaError {
    match error {
        SignInError::Refused => SantabaError::authentication(),
        SignInError::Busy => SantabaError::unavailable(),
        SignInError::Access(error) => access(error),
        other => failed(false, other),
    }
}

fn failed(passes: bool, error: &(dyn Error + 'static)) -> SantabaError {
    let error = chain(error);
    if passes {
        tracing::warn!(error, "a santaba request could not be answered now");
        SantabaError::unavailable()
    } else {
        tracing::error!(error, "a santaba request could not be answered");
        SantabaError::internal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::santaba::errors::Failure;

    #[test]
    fn what_passes_is_unavailable_and_the_rest_is_a_defect() {
        let busy = || StoreError::Busy("control.db".into());
        let damaged = || StoreError::Damaged("control.db".into());
        assert_eq!(store(&busy()).failure(), Failure::Unavailable);
        assert_eq!(store(&damaged()).failure(), Failure::Internal);
        assert_eq!(access(&busy().into()).failure(), Failure::Unavailable);
        assert_eq!(access(&AccessError::Busy).failure(), Failure::Unavailable);
        assert_eq!(access(&damaged().into()).failure(), Failure::Internal);
        assert_eq!(sign_in(&SignInError::Busy).failure(), Failure::Unavailable);
        assert_eq!(sign_in(&damaged().into()).message(), "internal error");
        assert_eq!(sign_in(&SignInError::Refused), SantabaError::authentication());
    }
}
