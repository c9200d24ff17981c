//! Failures of the other rooms as this dialect tells them. Their causes are logged here, once, and stay here.

use std::error::Error;

use annals_access::{AccessError, SignInError};
use annals_store::StoreError;

use super::errors::PapiError;
use crate::observe::chain;

/// A view could not be read.
pub(super) fn store(error: &StoreError) -> PapiError {
    failed(error.is_transient(), error)
}

/// The control tables could not be read or written.
pub(super) fn access(error: &AccessError) -> PapiError {
    let passes = match error {
        AccessError::Store(error) => error.is_transient(),
        AccessError::Busy | AccessError::Stopping => true,
        _ => false,
    };
    failed(passes, error)
}

/// Somebody could not be signed in.
pub(super) fn sign_in(error: &SignInError) -> PapiError {
    match error {
        SignInError::Refused => PapiError::authentication(),
        SignInError::Busy => PapiError::unavailable(),
        SignInError::Access(error) => access(error),
        other => failed(false, other),
    }
}

/// A customer could not be found by its name. Nobody is told whether it exists.
pub(super) fn customer(error: &AccessError) -> PapiError {
    match error {
        AccessError::UnknownCustomer(_) => PapiError::permission_denied(),
        other => access(other),
    }
}

fn failed(passes: bool, error: &(dyn Error + 'static)) -> PapiError {
    let error = chain(error);
    if passes {
        tracing::warn!(error, "a papi request could not be answered now");
        PapiError::unavailable()
    } else {
        tracing::error!(error, "a papi request could not be answered");
        PapiError::internal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::papi::errors::ErrorCode;

    #[test]
    fn what_passes_is_unavailable_and_the_rest_is_a_defect() {
        let busy = || StoreError::Busy("control.db".into());
        let damaged = || StoreError::Damaged("control.db".into());
        assert_eq!(store(&busy()).status(), 503);
        assert_eq!(store(&damaged()).status(), 500);
        assert_eq!(access(&busy().into()).status(), 503);
        assert_eq!(access(&AccessError::Busy).status(), 503);
        assert_eq!(access(&damaged().into()).status(), 500);
        assert_eq!(sign_in(&SignInError::Busy).status(), 503);
        assert_eq!(sign_in(&damaged().into()).message(), "internal error");
        assert_eq!(sign_in(&SignInError::Refused), PapiError::authentication());
    }

    #[test]
    fn an_unknown_customer_is_denied_like_a_foreign_one() {
        let error = customer(&AccessError::UnknownCustomer("x".to_owned()));
        assert_eq!((error.code(), error.status()), (ErrorCode::PermissionDenied, 200));
        assert_eq!(customer(&AccessError::Busy).status(), 503);
    }
}
