//! Who calls: a token or key, a password, or the cookie of papi's sign-in (docs/api.md, "Credentials").
//!
//! The first of these decides that the request has; wrong ones are refused also beside good ones of another kind.

use std::net::SocketAddr;

use annals_access::{Access, Client, CredentialKind, Principal, SignInError};
use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, COOKIE, USER_AGENT};
use axum::http::{Extensions, HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::DIALECT;
use super::problem::Problem;

/// Header of an API key.
const API_KEY: &str = "x-api-key";

/// What API keys begin with. Anything else is looked for among the bearer tokens.
const API_KEY_PREFIX: &str = "ak_";

/// Name of papi's cookie.
pub(super) const COOKIE_NAME: &str = "PHPSESSID";

/// Cookies of this name that are tried. A client sends two when a proxy set one for another path.
const MAX_COOKIES: usize = 4;

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
        let address = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let user_agent = headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
        Self { client: Client::new(address, user_agent.as_deref()), credential: credential(headers) }
    }

    /// Finds out who it is. Nothing is signed in and no cookie is given.
    pub(super) async fn authenticate(&self, access: &Access) -> Result<Principal, Problem> {
        let client = &self.client;
        let principal = match &self.credential {
            Credential::Token(kind, token) => access.authenticate_token(*kind, token, client, DIALECT).await,
            Credential::Password { username, password } => {
                access.authenticate_password(username, password, client, DIALECT).await
            }
            Credential::Cookies(cookies) => resume(access, cookies).await,
            Credential::Unusable => Err(SignInError::Refused),
        };
        principal.map_err(|error| Problem::sign_in(&error))
    }
}

async fn resume(access: &Access, cookies: &[String]) -> Result<Principal, SignInError> {
    for cookie in cookies {
        match access.resume(cookie).await {
            Err(SignInError::Refused) => {}
            other => return other,
        }
    }
    Err(SignInError::Refused)
}

fn credential(headers: &HeaderMap) -> Credential {
    if let Some(value) = headers.get(AUTHORIZATION) {
        // What is not ASCII was never given out.
        return value.to_str().ok().and_then(authorization).unwrap_or(Credential::Unusable);
    }
    if let Some(value) = headers.get(API_KEY) {
        let key = value.to_str().map(|key| key.trim().to_owned());
        return key.map_or(Credential::Unusable, |key| Credential::Token(CredentialKind::ApiKey, key));
    }
    Credential::Cookies(cookies(headers))
}

fn authorization(value: &str) -> Option<Credential> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        let is_key = rest.starts_with(API_KEY_PREFIX);
        let kind = if is_key { CredentialKind::ApiKey } else { CredentialKind::Bearer };
        return Some(Credential::Token(kind, rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    let (username, password) = (username.to_owned(), password.to_owned());
    (!username.is_empty()).then_some(Credential::Password { username, password })
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .filter(|(name, _)| name.trim_end() == COOKIE_NAME)
        .map(|(_, value)| value.trim().trim_matches('"').to_owned())
        .take(MAX_COOKIES)
        .collect()
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
    fn a_password_may_hold_colons_and_letters_of_any_language() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let password = |username: &str, password: &str| Credential::Password {
            username: username.to_owned(),
            password: password.to_owned(),
        };
        assert!(of(&[("authorization", basic("a@b:p:w é").as_bytes())]) == password("a@b", "p:w é"));
        assert!(of(&[("authorization", basic("a:").as_bytes())]) == password("a", ""));
        for bad in ["Basic", "Basic !", &basic("no colon"), &basic(":password")] {
            assert!(of(&[("authorization", bad.as_bytes())]) == Credential::Unusable, "{bad}");
        }
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
