//! Who calls: what every dialect reads of a request's head. Which of it counts, and what it opens, is the dialect's.

use std::net::SocketAddr;

use annals_access::{Access, Client, Principal, SignInError};
use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, COOKIE, USER_AGENT};
use axum::http::{Extensions, HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Name of the cookie of a sign-in: one client of papi reads it by this name (docs/dialects.md, "Sign-in").
pub(crate) const COOKIE_NAME: &str = "PHPSESSID";

/// Cookies of this name that are tried. A client sends two when a proxy set one for another path.
const MAX_COOKIES: usize = 4;

/// From where a request comes, for audit events.
pub(crate) fn client(headers: &HeaderMap, extensions: &Extensions) -> Client {
    let address = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let user_agent = headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    Client::new(address, user_agent.as_deref())
}

/// What the first header `Authorization` says. No `Debug`: these are secrets.
#[derive(Clone)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub(crate) enum Authorization {
    /// What follows `LMv1`, not looked at.
    Lmv1(String),
    /// A token, never empty.
    Bearer(String),
    /// An account's e-mail, never empty, and its password.
    Basic {
        /// What stands before the first colon.
        username: String,
        /// What follows it.
        password: String,
    },
    /// It cannot be read, or has a scheme that no dialect knows. What is not ASCII was never given out.
    Unreadable,
}

impl Authorization {
    /// None when there is no such header.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let header = headers.get(AUTHORIZATION)?;
        Some(header.to_str().ok().and_then(Self::parse).unwrap_or(Self::Unreadable))
    }

    fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("lmv1") {
            Some(Self::Lmv1(rest.to_owned()))
        } else if scheme.eq_ignore_ascii_case("bearer") {
            Some(Self::Bearer(rest.to_owned()))
        } else if scheme.eq_ignore_ascii_case("basic") {
            let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
            let (username, password) = pair.split_once(':').filter(|(username, _)| !username.is_empty())?;
            Some(Self::Basic { username: username.to_owned(), password: password.to_owned() })
        } else {
            None
        }
    }
}

/// Values of the cookie, in their order. Those that are not ASCII cannot be ours, and are passed over.
pub(crate) fn cookies(headers: &HeaderMap) -> Vec<String> {
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

/// Whose sign-in one of the cookies names: the first that goes on.
///
/// # Errors
/// `Refused` when none does; anything else when that cannot be found out.
pub(crate) async fn resume(access: &Access, cookies: &[String]) -> Result<Principal, SignInError> {
    for cookie in cookies {
        match access.resume(cookie).await {
            Err(SignInError::Refused) => {}
            other => return other,
        }
    }
    Err(SignInError::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    fn authorization(header: &[u8]) -> Authorization {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(header).unwrap());
        // Only the first one counts.
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer another"));
        Authorization::of(&headers).unwrap()
    }

    fn basic(pair: &[u8]) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(pair)).into_bytes()
    }

    fn password(username: &str, password: &str) -> Authorization {
        Authorization::Basic { username: username.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn each_scheme_is_read_in_any_case() {
        for scheme in ["LMv1", "lmv1", "LMV1"] {
            let read = authorization(format!("{scheme} id:signature:1").as_bytes());
            assert!(read == Authorization::Lmv1("id:signature:1".to_owned()), "{scheme}");
        }
        for header in [&b"Bearer lmb_abc=:x"[..], b"bearer  lmb_abc=:x ", b" BEARER lmb_abc=:x"] {
            let read = authorization(header);
            assert!(read == Authorization::Bearer("lmb_abc=:x".to_owned()));
        }
        assert!(authorization(&basic(b"apiUser:example")) == password("apiUser", "example"));
    }

    #[test]
    fn a_password_may_hold_colons_blanks_and_letters_of_any_language_or_be_empty() {
        assert!(authorization(&basic("a@b:p:w é ".as_bytes())) == password("a@b", "p:w é "));
        assert!(authorization(&basic(b"ada:")) == password("ada", ""));
    }

    #[test]
    fn anything_else_is_unreadable_and_nothing_is_nothing() {
        assert!(Authorization::of(&HeaderMap::new()).is_none());
        for bad in [
            b"".as_slice(),
            b"LMv1",
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
            &basic(b"no colon"),
            &basic(b""),
        ] {
            let read = authorization(bad);
            assert!(read == Authorization::Unreadable, "{}", String::from_utf8_lossy(bad));
        }
    }

    fn cookies_of(headers: &[&[u8]]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append(COOKIE, HeaderValue::from_bytes(header).unwrap());
        }
        cookies(&map)
    }

    #[test]
    fn the_cookie_is_found_among_others_and_however_it_is_written() {
        for header in [
            "PHPSESSID=abc",
            "a=b; PHPSESSID=abc; c",
            " PHPSESSID = \"abc\" ;",
            ";;PHPSESSID=abc",
            "PHPSESSID=abc;=",
        ] {
            assert_eq!(cookies_of(&[header.as_bytes()]), ["abc"], "{header}");
        }
        for header in ["", ";", "PHPSESSID", "phpsessid=abc", "XPHPSESSID=abc", "a=PHPSESSID=abc"] {
            assert!(cookies_of(&[header.as_bytes()]).is_empty(), "{header}");
        }
        assert_eq!(cookies_of(&[b"PHPSESSID=a=b"]), ["a=b"]);
    }

    #[test]
    fn a_few_cookies_of_the_name_are_kept_in_their_order() {
        assert_eq!(cookies_of(&[b"PHPSESSID=1; PHPSESSID=2", b"\xff\xfe", b"PHPSESSID=3"]), ["1", "2", "3"]);
        assert_eq!(cookies_of(&["PHPSESSID=x;".repeat(100).as_bytes()]).len(), MAX_COOKIES);
    }

    #[test]
    fn address_and_program_are_taken_from_the_connection_and_its_head() {
        let (mut headers, mut extensions) = (HeaderMap::new(), Extensions::new());
        assert_eq!(client(&headers, &extensions), Client::local());
        extensions.insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 80))));
        headers.insert(USER_AGENT, HeaderValue::from_bytes(b"curl \xff").unwrap());
        let expected = Client::new("127.0.0.1".parse().ok(), Some("curl \u{FFFD}"));
        assert_eq!(client(&headers, &extensions), expected);
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_unreadable(header in "((?i:lmv1|bearer|basic) )?[ -~]{0,60}") {
            let read = authorization(header.as_bytes());
            if let Authorization::Bearer(token) | Authorization::Lmv1(token) = read {
                prop_assert!(!token.is_empty());
            }
        }
    }
}
