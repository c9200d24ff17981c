//! Who calls: the `Authorization` header (docs/dialects.md, "santaba": Credentials).
//!
//! Nobody signs in here: every request brings its credentials, there is no cookie, and the records show no sign-in.

use annals_access::{Access, Client, CredentialKind, Principal};
use axum::http::HeaderMap;
use chrono::Utc;

use super::errors::SantabaError;
use super::lmv1::{Lmv1, SignedParts};
use super::version::Version;
use super::{DIALECT, failures};
use crate::caller::Authorization;

/// The credentials of a request. None when they are missing, cannot be read, or are of a kind that the version does not
/// take: the vendor ended passwords with version 2.
fn credentials(headers: &HeaderMap, version: Version) -> Option<Authorization> {
    Authorization::of(headers).filter(|shown| match shown {
        Authorization::Lmv1(_) | Authorization::Bearer(_) => true,
        Authorization::Basic { .. } => version == Version::V1,
        Authorization::Unreadable => false,
    })
}

/// Finds out who calls. `request` is what an access key may have signed.
pub(super) async fn authenticate(
    access: &Access,
    version: Version,
    headers: &HeaderMap,
    request: SignedParts,
    client: &Client,
) -> Result<Principal, SantabaError> {
    let principal = match credentials(headers, version) {
        Some(Authorization::Lmv1(text)) => {
            let lmv1 = Lmv1::parse(&text).ok_or_else(SantabaError::authentication)?;
            let now = Utc::now();
            let access_id = lmv1.access_id.clone();
            let verify = move |key: &str| lmv1.is_good(key, &request, now);
            access.authenticate_signed(&access_id, client, DIALECT, verify).await
        }
        Some(Authorization::Bearer(token)) => {
            access.authenticate_token(CredentialKind::Bearer, &token, client, DIALECT).await
        }
        Some(Authorization::Basic { username, password }) => {
            access.authenticate_password(&username, &password, client, DIALECT).await
        }
        Some(Authorization::Unreadable) | None => return Err(SantabaError::authentication()),
    };
    principal.map_err(|error| failures::sign_in(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use axum::http::header::AUTHORIZATION;

    fn taken(header: &'static str) -> [bool; 3] {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(header))]);
        Version::ALL.map(|version| credentials(&headers, version).is_some())
    }

    #[test]
    fn passwords_end_with_version_1() {
        assert_eq!(taken("Basic YWRhOng="), [true, false, false]);
        assert_eq!(taken("Bearer lmb_abc"), [true; 3]);
        assert_eq!(taken("LMv1 id:signature:1"), [true; 3]);
        assert_eq!(taken("Digest x"), [false; 3]);
        assert!(Version::ALL.iter().all(|version| credentials(&HeaderMap::new(), *version).is_none()));
    }
}
