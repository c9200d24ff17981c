//! Who calls: a token or key, a password, or the cookie of papi's sign-in (docs/api.md, "Credentials").
//!
//! The first of these decides that the request has; wrong ones are refused also beside good ones of another kind.

use annals_access::{Access, Client, CredentialKind, Principal, SignInError};
use axum::http::{Extensions, HeaderMap};

use super::DIALECT;
use super::problem::Problem;
use crate::caller::{self, Authorization};

/// Header of an API key.
const API_KEY: &str = "x-api-key";

/// What API keys begin with. Anything else is looked for among the bearer tokens.
const API_KEY_PREFIX: &str = "ak_";

/// Who calls, from where, and how it proves it. Kept by streams, which ask again whether it still holds.
#[derive(Clone)]
pub(super) struct Caller {
    /// From where, for audit events.
    pub(super) client: Client,
    credential: Credential,
}

/// How a caller proves who it is. No `Debug`: these are secrets.
#[derive(Clone)]
#[cfg_attr(test, derive(PartialEq, Eq))]
enum Credential {
    Token(CredentialKind, String),
    Password {
        username: String,
        password: String,
    },
    Cookies(Vec<String>),
    /// There is one, but nobody can have it.
    Unusable,
}

impl Caller {
    pub(super) fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        Self { client: caller::client(headers, extensions), credential: credential(headers) }
    }

    /// Finds out who it is. Nothing is signed in and no cookie is given.
    pub(super) async fn authenticate(&self, access: &Access) -> Result<Principal, Problem> {
        let client = &self.client;
        let principal = match &self.credential {
            Credential::Token(kind, token) => access.authenticate_token(*kind, token, client, DIALECT).await,
            Credential::Password { username, password } => {
                access.authenticate_password(username, password, client, DIALECT).await
            }
            Credential::Cookies(cookies) => caller::resume(access, cookies).await,
            Credential::Unusable => Err(SignInError::Refused),
        };
        principal.map_err(|error| Problem::sign_in(&error))
    }
}

fn credential(headers: &HeaderMap) -> Credential {
    if let Some(shown) = Authorization::of(headers) {
        return match shown {
            Authorization::Bearer(token) => {
                let is_key = token.starts_with(API_KEY_PREFIX);
                let kind = if is_key { CredentialKind::ApiKey } else { CredentialKind::Bearer };
                Credential::Token(kind, token)
            }
            Authorization::Basic { username, password } => Credential::Password { username, password },
            Authorization::Lmv1(_) | Authorization::Unreadable => Credential::Unusable,
        };
    }
    if let Some(value) = headers.get(API_KEY) {
        let key = value.to_str().map(|key| key.trim().to_owned());
        return key.map_or(Credential::Unusable, |key| Credential::Token(CredentialKind::ApiKey, key));
    }
    Credential::Cookies(caller::cookies(headers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn of(headers: &[(&'static str, &[u8])]) -> Credential {
        let pairs = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()));
        let mut map = HeaderMap::new();
        pairs.for_each(|(name, value)| {
            map.append(name, value);
        });
        credential(&map)
    }

    fn token(kind: CredentialKind, token: &str) -> Credential {
        Credential::Token(kind, token.to_owned())
    }

    #[test]
    fn tokens_and_keys_are_told_apart_by_their_prefix() {
        for (value, expected) in [
            ("Bearer lmb_abc", token(CredentialKind::Bearer, "lmb_abc")),
            ("bearer  lmb_abc ", token(CredentialKind::Bearer, "lmb_abc")),
            ("Bearer ak_abc", token(CredentialKind::ApiKey, "ak_abc")),
            ("Bearer whatever", token(CredentialKind::Bearer, "whatever")),
            ("Bearer", Credential::Unusable),
            ("LMv1 id:signature:1", Credential::Unusable),
            ("", Credential::Unusable),
        ] {
            assert!(of(&[("authorization", value.as_bytes())]) == expected, "{value}");
        }
        assert!(of(&[("x-api-key", b"ak_abc")]) == token(CredentialKind::ApiKey, "ak_abc"));
        assert!(of(&[("x-api-key", b"\xff")]) == Credential::Unusable);
    }

    #[test]
    fn a_password_is_one() {
        let expected = Credential::Password { username: "a".to_owned(), password: "b:c".to_owned() };
        assert!(of(&[("authorization", b"Basic YTpiOmM=")]) == expected);
    }

    #[test]
    fn the_first_kind_decides() {
        let cookie = ("cookie", &b"a=b; PHPSESSID=c0ffee"[..]);
        let key = ("x-api-key", &b"ak_1"[..]);
        assert!(of(&[cookie]) == Credential::Cookies(vec!["c0ffee".to_owned()]));
        assert!(of(&[cookie, key]) == token(CredentialKind::ApiKey, "ak_1"));
        assert!(of(&[cookie, key, ("authorization", b"nonsense")]) == Credential::Unusable);
        assert!(of(&[]) == Credential::Cookies(vec![]));
    }
}
