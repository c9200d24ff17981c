//! Who calls: credentials in the parameters, or the cookie of an earlier sign-in (docs/dialects.md, "Sign-in").
//!
//! Credentials decide when both are there; wrong ones are a failed login even beside a good cookie. Good ones are a
//! login, on every function ("implicit login"), and every login gives a new cookie.

use annals_access::{Access, Client, Principal, SignInError};
use axum::extract::Request;
use axum::http::HeaderValue;

use super::DIALECT;
use super::errors::PapiError;
use super::failures;
use super::parameters::Parameters;
use crate::caller::{self, COOKIE_NAME};

/// What a request says about its caller beside the parameters. No `Debug`: cookies are secrets.
pub(super) struct Caller {
    /// From where, for audit events.
    pub(super) client: Client,
    /// Values of the cookie, in their order.
    pub(super) cookies: Vec<String>,
}

impl Caller {
    pub(super) fn of(request: &Request) -> Self {
        let headers = request.headers();
        Self { client: caller::client(headers, request.extensions()), cookies: caller::cookies(headers) }
    }
}

/// Somebody known.
pub(super) struct Signed {
    pub(super) principal: Principal,
    pub(super) cookie: CookieChange,
}

/// What the answer does to the client's cookie.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum CookieChange {
    /// Nothing: no login happened.
    Keep,
    /// Gives it this value.
    Set(String),
    /// Takes it away.
    Delete,
}

impl CookieChange {
    /// The value of `Set-Cookie`.
    pub(super) fn header(&self, tls: bool) -> Option<HeaderValue> {
        let secure = if tls { "; Secure" } else { "" };
        let value = match self {
            Self::Keep => return None,
            Self::Set(value) => format!("{COOKIE_NAME}={value}; Path=/; HttpOnly; SameSite=Lax{secure}"),
            Self::Delete => format!("{COOKIE_NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax{secure}"),
        };
        // Cookies are hexadecimal digits, so that this does not fail.
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Finds out who calls.
///
/// `mutating` functions leave an audit event however they end. Where nobody can be made out, that is a failed login
/// under the name that was given, if any.
pub(super) async fn authenticate(
    access: &Access,
    mutating: bool,
    parameters: &Parameters,
    caller: &Caller,
) -> Result<Signed, PapiError> {
    if let Some((username, password)) = parameters.credentials() {
        return sign_in(access, username, password, caller).await;
    }
    if let Some(principal) = resume(access, caller).await? {
        return Ok(Signed { principal, cookie: CookieChange::Keep });
    }
    if mutating {
        let given = |name| parameters.text(name).unwrap_or_default();
        return sign_in(access, given("username"), given("password"), caller).await;
    }
    Err(PapiError::authentication())
}

/// The sign-in that a cookie of the caller names.
pub(super) async fn resume(access: &Access, caller: &Caller) -> Result<Option<Principal>, PapiError> {
    match caller::resume(access, &caller.cookies).await {
        Ok(principal) => Ok(Some(principal)),
        Err(SignInError::Refused) => Ok(None),
        Err(error) => Err(failures::sign_in(&error)),
    }
}

async fn sign_in(
    access: &Access,
    username: &str,
    password: &str,
    caller: &Caller,
) -> Result<Signed, PapiError> {
    let signed = access.sign_in(username, password, &caller.client, DIALECT).await;
    let signed = signed.map_err(|error| failures::sign_in(&error))?;
    Ok(Signed { principal: signed.principal, cookie: CookieChange::Set(signed.cookie) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(change: &CookieChange, tls: bool) -> Option<String> {
        change.header(tls).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_cookie_has_the_documented_attributes() {
        let set = CookieChange::Set("c0ffee".to_owned());
        assert_eq!(header(&set, false).unwrap(), "PHPSESSID=c0ffee; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(header(&set, true).unwrap(), "PHPSESSID=c0ffee; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(
            header(&CookieChange::Delete, false).unwrap(),
            "PHPSESSID=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
        );
        assert_eq!(header(&CookieChange::Keep, true), None);
        assert!(set.header(false).unwrap().is_sensitive());
    }
}
