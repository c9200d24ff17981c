//! Who calls: the `Authorization` header (docs/dialects.md, "santaba": Credentials).
//!
//! Nobody signs in here: every request brings its credentials, there is no cookie, and the records show no sign-in.

use annals_access::{Access, Client, CredentialKind, Principal};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;

use super::errors::SantabaError;
use super::lmv1::{Lmv1, SignedParts};
use super::version::Version;
use super::{DIALECT, failures};

/// What a request shows of its caller.
enum Credentials {
    /// The signature of an access key.
    Signature(Lmv1),
    /// A token.
    Bearer(String),
    /// An account's e-mail and password.
    Basic(String, String),
}

impl Credentials {
    /// The first `Authorization` header. None when it is missing, or cannot be read.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let header = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
        let (scheme, credentials) = header.split_once(' ')?;
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("LMv1") {
            Lmv1::parse(credentials).map(Self::Signature)
        } else if scheme.eq_ignore_ascii_case("Bearer") {
            (!credentials.is_empty()).then(|| Self::Bearer(credentials.to_owned()))
        } else if scheme.eq_ignore_ascii_case("Basic") {
            let pair = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
            let (email, password) = pair.split_once(':').filter(|(email, _)| !email.is_empty())?;
            Some(Self::Basic(email.to_owned(), password.to_owned()))
        } else {
            None
        }
    }

    /// Whether a version takes them: the vendor ended passwords with version 2.
    const fn are_taken_by(&self, version: Version) -> bool {
        match self {
            Self::Basic(..) => matches!(version, Version::V1),
            Self::Signature(_) | Self::Bearer(_) => true,
        }
    }
}

/// Finds out who calls. `request` is what an access key may have signed.
pub(super) async fn authenticate(
    access: &Access,
    version: Version,
    headers: &HeaderMap,
    request: SignedParts,
    client: &Client,
) -> Result<Principal, SantabaError> {
    let credentials = Credentials::of(headers).filter(|credentials| credentials.are_taken_by(version));
    let principal = match credentials.ok_or_else(SantabaError::authentication)? {
        Credentials::Signature(lmv1) => {
            let now = Utc::now();
            let access_id = lmv1.access_id.clone();
            let verify = move |key: &str| lmv1.is_good(key, &request, now);
            access.authenticate_signed(&access_id, client, DIALECT, verify).await
        }
        Credentials::Bearer(token) => {
            access.authenticate_token(CredentialKind::Bearer, &token, client, DIALECT).await
        }
        Credentials::Basic(email, password) => {
            access.authenticate_password(&email, &password, client, DIALECT).await
        }
    };
    principal.map_err(|error| failures::sign_in(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    /// Kind and parts of what a header holds.
    fn read(header: &[u8]) -> Option<(&'static str, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(header).ok()?);
        Some(match Credentials::of(&headers)? {
            Credentials::Signature(lmv1) => ("signature", lmv1.access_id),
            Credentials::Bearer(token) => ("bearer", token),
            Credentials::Basic(email, password) => ("basic", format!("{email} {password}")),
        })
    }

    fn basic(pair: &[u8]) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(pair)).into_bytes()
    }

    #[test]
    fn each_scheme_is_read_in_any_case() {
        let signature = STANDARD.encode(hex::encode([7; 32]));
        for scheme in ["LMv1", "lmv1", "LMV1"] {
            let header = format!("{scheme} id:{signature}:1436460382000");
            assert_eq!(read(header.as_bytes()), Some(("signature", "id".to_owned())));
        }
        assert_eq!(read(b"bearer  lmb_abc=:x "), Some(("bearer", "lmb_abc=:x".to_owned())));
        assert_eq!(read(&basic(b"apiUser:example")), Some(("basic", "apiUser example".to_owned())));
        assert_eq!(read(&basic("ada:pä:ss ".as_bytes())), Some(("basic", "ada pä:ss ".to_owned())));
        assert_eq!(read(&basic(b"ada:")), Some(("basic", "ada ".to_owned())));
    }

    #[test]
    fn anything_else_is_nobody() {
        assert!(Credentials::of(&HeaderMap::new()).is_none());
        for bad in [
            b"".as_slice(),
            b"LMv1",
            b"LMv1 id:x:1",
            b"LMv3 id:x:1",
            b"Bearer",
            b"Bearer ",
            b"Basic",
            b"Basic !",
            b"Basic YWRh",
            b"Digest x",
            b"Bearer \xff",
            &basic(b"\xff:x"),
            &basic(b":x"),
            &basic(b""),
        ] {
            assert_eq!(read(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn passwords_end_with_version_1() {
        let taken = |credentials: &Credentials| Version::ALL.map(|version| credentials.are_taken_by(version));
        assert_eq!(taken(&Credentials::Basic(String::new(), String::new())), [true, false, false]);
        assert_eq!(taken(&Credentials::Bearer(String::new())), [true; 3]);
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_nobody(header in "((?i:lmv1|bearer|basic) )?[ -~]{0,60}") {
            let _ = read(header.as_bytes());
        }
    }
}
