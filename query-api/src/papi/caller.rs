//! What a request says about its caller beside the parameters: address, program and cookies.

use std::net::SocketAddr;

use annals_access::Client;
use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use axum::http::header::{COOKIE, USER_AGENT};

/// Name of the cookie: one client reads it by this name (docs/dialects.md, "Sign-in").
pub(super) const COOKIE_NAME: &str = "PHPSESSID";

/// Cookies of this name that are tried. A client sends two when a proxy set one for another path.
const MAX_COOKIES: usize = 4;

/// Who calls.
#[derive(Debug)]
pub(super) struct Caller {
    /// From where, for audit events.
    pub(super) client: Client,
    /// Values of the cookie, in their order.
    pub(super) cookies: Vec<String>,
}

impl Caller {
    pub(super) fn of(request: &Request) -> Self {
        let address =
            request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let user_agent = request.headers().get(USER_AGENT);
        let user_agent = user_agent.map(|value| String::from_utf8_lossy(value.as_bytes()));
        Self { client: Client::new(address, user_agent.as_deref()), cookies: cookies(request.headers()) }
    }
}

/// Values that are not ASCII cannot be ours, and are passed over.
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
    use axum::body::Body;
    use axum::http::HeaderValue;

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
        let mut request = Request::new(Body::empty());
        assert_eq!(Caller::of(&request).client, Client::local());
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 80))));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_bytes(b"curl \xff").unwrap());
        let client = Caller::of(&request).client;
        assert_eq!(client, Client::new("127.0.0.1".parse().ok(), Some("curl \u{FFFD}")));
    }
}
