//! Paths, methods, parameters in query and body, and limits.

use std::time::Duration;

use annals_access::Permission;
use annals_query_api::ApiSettings;
use annals_query_api::papi::ROUTES;
use annals_query_api::papi::parameters::MAX_BODY_BYTES;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::engine::{Engine, suite};
use crate::http::{self, Ask, form};
use crate::world::{PASSWORD, World};

suite!(
    every_route_answers_in_both_formats_by_every_method_and_from_query_or_body,
    other_methods_get_the_envelope_and_are_told_which_are_taken,
    head_is_get_without_its_body,
    unknown_functions_are_404_in_the_format_asked_for,
    an_encoded_path_is_the_same_path,
    paths_outside_every_dialect_are_404_in_json,
    query_and_body_are_one_pool_and_the_query_comes_first,
    what_real_clients_send_is_tolerated,
    a_body_above_the_limit_is_an_error_of_the_dialect,
    too_many_parameters_are_an_error_of_the_dialect,
    a_body_that_cannot_be_read_is_an_error_of_the_dialect,
    a_request_that_takes_too_long_gets_the_envelope,
);

const ADA: &str = "ada@acme.example";

async fn world(engine: Engine) -> World {
    let world = World::start(engine).await;
    let acme = world.customer("acme").await;
    world.account(ADA, &acme, &[Permission::ViewAppliances]).await;
    world
}

fn credentials() -> String {
    form(&[("username", ADA), ("password", PASSWORD), ("ip_address", "10.0.0.1")])
}

async fn every_route_answers_in_both_formats_by_every_method_and_from_query_or_body(engine: Engine) {
    let world = world(engine).await;
    for route in ROUTES {
        for suffix in ["", ".json", ".xml", ".XML"] {
            let target = format!("/papi/{}{suffix}", route.name);
            let in_query = format!("{target}?{}", credentials());
            for ask in [
                Ask::get(&in_query),
                Ask::post(&in_query),
                Ask::get(&target).form(credentials()),
                Ask::post(&target).form(credentials()),
            ] {
                let reply = world.ask(&ask).await;
                assert_eq!(
                    (reply.status, reply.header("cache-control")),
                    (200, Some("no-store")),
                    "{target}"
                );
                if suffix.eq_ignore_ascii_case(".xml") {
                    assert_eq!(reply.header("content-type"), Some("application/xml; charset=utf-8"));
                    assert!(reply.text().starts_with("<result><success>1</success>"), "{}", reply.text());
                } else {
                    reply.data();
                }
            }
        }
    }
}

async fn other_methods_get_the_envelope_and_are_told_which_are_taken(engine: Engine) {
    let world = world(engine).await;
    for route in ROUTES {
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
            let reply = world.ask(&Ask::new(method, &format!("/papi/{}", route.name))).await;
            assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, POST")));
            assert_eq!(reply.error().0, 3005);
        }
    }
    let reply = world.ask(&Ask::new("PUT", "/papi/ping.xml")).await;
    assert_eq!(
        (reply.status, reply.text()),
        (
            405,
            "<result><success>0</success><error_code>3005</error_code><error>this function takes GET, POST only</error></result>"
        )
    );
}

async fn head_is_get_without_its_body(engine: Engine) {
    let world = world(engine).await;
    let target = format!("/papi/ping?{}", credentials());
    let (get, head) = (world.ask(&Ask::get(&target)).await, world.ask(&Ask::new("HEAD", &target)).await);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert!(head.cookie().is_some());
}

async fn unknown_functions_are_404_in_the_format_asked_for(engine: Engine) {
    let world = world(engine).await;
    for path in [
        "",
        "/",
        "/nothing",
        "/login/",
        "//login",
        "/auditlog",
        "/auditlog/login",
        "/auditlog/get_events/more",
        "/Login",
        "/login.html",
        "/login.json.pdf",
        "/monitoring/ping",
        "/%2e%2e/healthz",
        "/login%00",
    ] {
        let reply = world.ask(&Ask::get(&format!("/papi{path}?{}", credentials()))).await;
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.error().0, 3007, "{path}");
        assert_eq!(reply.header("set-cookie"), None, "{path}");
    }
    let reply = world.ask(&Ask::get("/papi/no/such.xml")).await;
    assert_eq!((reply.status, reply.header("content-type")), (404, Some("application/xml; charset=utf-8")));
    assert!(reply.text().contains("<error>no such function `no/such`</error>"), "{}", reply.text());
}

async fn an_encoded_path_is_the_same_path(engine: Engine) {
    let world = world(engine).await;
    for target in
        ["/papi/ping%2Ejson", "/papi/%70ing", "/%70api/ping", "/papi%2Fping", "http://any.host/papi/ping"]
    {
        let reply = world.ask(&Ask::get(&format!("{target}?{}", credentials()))).await;
        assert_eq!(reply.data(), "pong", "{target}");
    }
}

async fn paths_outside_every_dialect_are_404_in_json(engine: Engine) {
    let world = world(engine).await;
    for (method, target) in [
        ("GET", "/"),
        ("POST", "/login"),
        ("GET", "/papix/login"),
        ("OPTIONS", "*"),
        ("DELETE", "/healthz/x"),
    ] {
        let reply = world.ask(&Ask::new(method, target)).await;
        assert_eq!(reply.status, 404, "{target}");
        assert_eq!(reply.json()["error"], "nothing is here", "{target}");
    }
}

async fn query_and_body_are_one_pool_and_the_query_comes_first(engine: Engine) {
    let world = world(engine).await;
    let wrong_in_body = form(&[("username", ADA), ("password", "wrong")]);
    let reply = world.ask(&Ask::post(&format!("/papi/login?{}", credentials())).form(&wrong_in_body)).await;
    assert_eq!(reply.data(), "true");
    let reply = world.ask(&Ask::post(&format!("/papi/login?{wrong_in_body}")).form(credentials())).await;
    assert_eq!(reply.error().0, 3004);
    // Half here, half there.
    let reply = world
        .ask(
            &Ask::get(&format!("/papi/login?{}", form(&[("username", ADA)])))
                .form(form(&[("password", PASSWORD)])),
        )
        .await;
    assert_eq!(reply.data(), "true");
}

/// The oddities of real clients (docs/dialects.md, "Parameters").
async fn what_real_clients_send_is_tolerated(engine: Engine) {
    let world = world(engine).await;
    let target = format!("/papi/ping?{}&format=json&", credentials());
    let raw = format!("username={ADA}&password={}", PASSWORD.replace(' ', "+"));
    for ask in [
        Ask::get(&target).header("Content-Type", "application/json"),
        Ask::get(&target).header("Content-Type", "multipart/form-data"),
        Ask::get(&target).body("multipart/form-data", "username=x&password=y"),
        Ask::post(&target).header("Content-Length", "0"),
        Ask::post("/papi/ping").form(raw),
    ] {
        assert_eq!(world.ask(&ask).await.data(), "pong", "{ask:?}");
    }
}

async fn a_body_above_the_limit_is_an_error_of_the_dialect(engine: Engine) {
    let world = world(engine).await;
    let padding = |size: usize| "&".repeat(size - credentials().len()) + &credentials();
    let reply = world.ask(&Ask::post("/papi/ping").form(padding(MAX_BODY_BYTES))).await;
    assert_eq!(reply.data(), "pong");
    for size in [MAX_BODY_BYTES + 1, 4 * 1024 * 1024] {
        let reply = world.ask(&Ask::post("/papi/ping").form(padding(size))).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.error(), (3005, "the body is longer than 262144 bytes".to_owned()));
    }
    let reply = world.ask(&Ask::post("/papi/ping.xml").form(padding(MAX_BODY_BYTES + 1))).await;
    assert!(reply.text().contains("<error_code>3005</error_code>"), "{}", reply.text());
}

async fn too_many_parameters_are_an_error_of_the_dialect(engine: Engine) {
    let world = world(engine).await;
    let reply = world.ask(&Ask::get(&format!("/papi/ping?{}{}", "a&".repeat(1_000), credentials()))).await;
    assert_eq!(reply.error(), (3005, "more than 1000 parameters".to_owned()));
}

async fn a_body_that_cannot_be_read_is_an_error_of_the_dialect(engine: Engine) {
    let world = world(engine).await;
    let mut stream = TcpStream::connect(world.server).await.unwrap();
    let head = "POST /papi/ping HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let reply = http::read(&mut stream).await;
    assert_eq!((reply.status, reply.error()), (200, (3005, "the body cannot be read".to_owned())));
}

async fn a_request_that_takes_too_long_gets_the_envelope(engine: Engine) {
    let settings = ApiSettings { request_timeout: Duration::from_millis(50), ..ApiSettings::default() };
    let world = World::start_with(engine, settings, |_| {}).await;
    let mut stream = TcpStream::connect(world.server).await.unwrap();
    let head = "POST /papi/ping.json HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let reply = http::read(&mut stream).await;
    assert_eq!((reply.status, reply.error()), (503, (3015, "the request took too long".to_owned())));
}
