//! Paths, methods, credentials, and what every answer has.

use annals_access::Permission;
use annals_query_api::native::ROUTES;
use serde_json::Value;

use super::{ADA, Native, problem};
use crate::engine::{Engine, suite};
use crate::http::Ask;
use crate::world::PASSWORD;

suite!(
    paths_and_methods_are_refused_as_problems,
    nobody_is_answered_without_credentials,
    a_password_is_taken_with_each_request_and_signs_nobody_in,
    the_document_is_for_everybody,
    nothing_may_keep_an_answer,
);

/// ada:correct horse battery
fn basic(username: &str, password: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{username}:{password}");
    let mut encoded = String::from("Basic ");
    for three in text.as_bytes().chunks(3) {
        let bits =
            three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            encoded.push(if digit <= three.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    encoded
}

async fn paths_and_methods_are_refused_as_problems(engine: Engine) {
    let native = Native::start(engine).await;
    for path in ["/v1", "/v1/", "/v1/nothing", "/v1/audit-events/", "/v1/audit-events/a/b", "/%761/x"] {
        let reply = native.world.ask(&Ask::get(path).cookie(&native.cookie)).await;
        assert_eq!(problem(&reply), (404, "not-found".to_owned()), "{path}");
    }
    for route in ROUTES {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let reply = native.world.ask(&Ask::new(method, route.path).cookie(&native.cookie)).await;
            assert_eq!(problem(&reply), (405, "method-not-allowed".to_owned()), "{method} {}", route.path);
            assert_eq!(reply.header("allow"), Some("GET, HEAD"));
        }
    }
    let head = native.world.ask(&Ask::new("HEAD", "/v1/audit-events").cookie(&native.cookie)).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let encoded = native.world.ask(&Ask::get("/v1/%61udit-events").cookie(&native.cookie)).await;
    assert_eq!(encoded.status, 200);
}

async fn nobody_is_answered_without_credentials(engine: Engine) {
    let native = Native::start(engine).await;
    for route in ROUTES.iter().filter(|route| !route.is_public) {
        let bare = Ask::get(&route.path.replace("{id}", "1"));
        for ask in [
            bare.clone(),
            bare.clone().cookie("c0ffee"),
            bare.clone().header("Authorization", "Bearer lmb_nothing"),
            bare.clone().header("Authorization", "Bearer ak_nothing"),
            bare.clone().header("X-API-Key", "ak_nothing"),
            bare.clone().header("Authorization", "nonsense"),
            bare.clone().header("Authorization", basic(ADA, "wrong")),
            bare.clone().header("Authorization", basic("nobody", PASSWORD)),
            // What comes first decides.
            bare.clone().header("Authorization", "Bearer lmb_nothing").cookie(&native.cookie),
        ] {
            let reply = native.world.ask(&ask).await;
            assert_eq!(problem(&reply), (401, "unauthenticated".to_owned()), "{}", route.path);
            assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"annals\""));
        }
    }
}

async fn a_password_is_taken_with_each_request_and_signs_nobody_in(engine: Engine) {
    let native = Native::start(engine).await;
    native.world.publish(&[native.event(1, "2020-05-01 10:00:00")]).await;
    let ask = Ask::get("/v1/audit-events").header("Authorization", basic(ADA, PASSWORD));
    let reply = native.world.ask(&ask).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("set-cookie"), None);
    native.world.access.disable_account(ADA, &annals_access::Author::command_line()).await.unwrap();
    assert_eq!(native.world.ask(&ask).await.status, 401);
}

async fn the_document_is_for_everybody(engine: Engine) {
    let native = Native::start(engine).await;
    let reply = native.world.ask(&Ask::get("/v1/openapi.json")).await;
    let document: Value = reply.json();
    assert_eq!(document["info"]["title"], "annals");
    for route in ROUTES {
        assert!(document["paths"][route.path]["get"].is_object(), "{}", route.path);
    }
    let unknown = native.world.ask(&Ask::get("/v1/openapi.json?x=1")).await;
    assert_eq!(problem(&unknown).1, "unknown-parameter");
}

async fn nothing_may_keep_an_answer(engine: Engine) {
    let native = Native::start(engine).await;
    native.world.grant(ADA, &native.acme, &[Permission::ManageUsers]).await;
    for path in ["audit-events", "audit-events/1", "logons", "nothing"] {
        let reply = native.get(path, &[]).await;
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}
