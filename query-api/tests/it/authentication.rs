//! Login, logout, implicit login and the cookie.

use std::time::Duration;

use annals_access::Permission;
use annals_query_api::ApiSettings;
use annals_query_api::papi::ROUTES;

use crate::engine::{Engine, suite};
use crate::http::{Ask, Reply, form};
use crate::world::{PASSWORD, World, names};

suite!(
    a_login_answers_true_and_gives_a_cookie_that_signs_in,
    the_audit_event_of_a_login_names_the_client,
    each_login_gives_another_cookie_and_the_earlier_one_goes_on,
    over_tls_the_cookie_is_secure,
    wrong_or_missing_credentials_are_the_same_error_on_every_function,
    a_wrong_password_beside_a_good_cookie_is_a_failed_login,
    good_credentials_beside_a_bad_cookie_sign_in,
    a_login_with_a_good_cookie_needs_no_readable_credentials_and_leaves_no_event,
    the_first_good_one_of_several_cookies_counts,
    an_implicit_login_gives_its_cookie_also_when_the_function_fails,
    a_logout_ends_the_sign_in_and_takes_the_cookie_away,
    a_logout_with_credentials_ends_the_sign_in_of_the_cookie,
    a_logout_never_ends_the_sign_in_of_another_account,
    a_sign_in_ends_without_use_and_when_the_account_changes,
    every_mutating_function_leaves_exactly_one_event_however_it_ends,
    functions_that_change_nothing_leave_no_event_of_their_own,
);

const ADA: &str = "ada@acme.example";
const REFUSED: &str = "Authentication Error.";

async fn world(engine: Engine) -> World {
    let world = World::start(engine).await;
    let acme = world.customer("acme").await;
    world.account(ADA, &acme, &[Permission::ManageUsers, Permission::ViewAppliances]).await;
    world.empty_outbox().await;
    world
}

fn credentials(username: &str, password: &str) -> String {
    form(&[("username", username), ("password", password)])
}

fn assert_refused(reply: &Reply) {
    assert_eq!(reply.status, 200);
    assert_eq!(reply.error(), (3004, REFUSED.to_owned()));
    assert_eq!(reply.header("set-cookie"), None);
}

async fn a_login_answers_true_and_gives_a_cookie_that_signs_in(engine: Engine) {
    let world = world(engine).await;
    let login = world.ask(&Ask::post("/papi/login").form(credentials(ADA, PASSWORD))).await;
    assert_eq!((login.status, login.text()), (200, r#"{"success": 1, "data": "true"}"#));
    let cookie = login.cookie().unwrap();
    assert_eq!(
        login.header("set-cookie"),
        Some(&*format!("PHPSESSID={cookie}; Path=/; HttpOnly; SameSite=Lax"))
    );
    let ping = world.papi("ping", &cookie, &[]).await;
    assert_eq!(ping.data(), "pong");
    assert_eq!(ping.header("set-cookie"), None);
    assert_eq!(names(&world.outbox().await), ["SUCCESSFUL_LOGIN"]);
}

async fn the_audit_event_of_a_login_names_the_client(engine: Engine) {
    let world = world(engine).await;
    let login = Ask::post("/papi/login").form(credentials(ADA, PASSWORD)).header("User-Agent", "tau");
    world.ask(&login).await.data();
    let events = world.outbox().await;
    let personal = events[0].personal().unwrap();
    assert_eq!(personal.account.as_deref(), Some(ADA));
    assert_eq!(personal.address.as_deref(), Some("127.0.0.1"));
    assert_eq!(personal.user_agent.as_deref(), Some("tau"));
    assert_eq!(events[0].meta().source, "annals:papi");
}

async fn each_login_gives_another_cookie_and_the_earlier_one_goes_on(engine: Engine) {
    let world = world(engine).await;
    let mut cookies = Vec::new();
    for target in ["/papi/login", "/papi/login.json", "/papi/ping", "/papi/auditlog/get_events.xml"] {
        let ask = Ask::get(&format!("{target}?{}", credentials("ADA@Acme.Example", PASSWORD)));
        cookies.push(world.ask(&ask).await.cookie().unwrap());
    }
    let mut different = cookies.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 4);
    for cookie in &cookies {
        assert_eq!(world.papi("ping", cookie, &[]).await.data(), "pong");
    }
}

async fn over_tls_the_cookie_is_secure(engine: Engine) {
    let settings = ApiSettings { tls: true, ..ApiSettings::default() };
    let world = World::start_with(engine, settings, |_| {}).await;
    let acme = world.customer("acme").await;
    world.account(ADA, &acme, &[]).await;
    let login = world.ask(&Ask::post("/papi/login").form(credentials(ADA, PASSWORD))).await;
    assert!(login.header("set-cookie").unwrap().ends_with("; SameSite=Lax; Secure"));
}

async fn wrong_or_missing_credentials_are_the_same_error_on_every_function(engine: Engine) {
    let world = world(engine).await;
    for route in ROUTES {
        for query in [
            String::new(),
            credentials(ADA, "wrong password"),
            credentials("nobody@acme.example", PASSWORD),
            credentials(ADA, ""),
            form(&[("username", ADA)]),
            form(&[("password", PASSWORD)]),
        ] {
            assert_refused(&world.ask(&Ask::get(&format!("/papi/{}?{query}", route.name))).await);
        }
        assert_refused(&world.papi(route.name, "0123456789abcdef", &[]).await);
        assert_refused(&world.papi(route.name, "", &[]).await);
    }
}

async fn a_wrong_password_beside_a_good_cookie_is_a_failed_login(engine: Engine) {
    let world = world(engine).await;
    let cookie = world.cookie(ADA).await;
    world.empty_outbox().await;
    assert_refused(&world.papi("ping", &cookie, &[("username", ADA), ("password", "wrong")]).await);
    assert_eq!(names(&world.outbox().await), ["FAILED_LOGIN"]);
    // The sign-in of the cookie is not touched by it.
    assert_eq!(world.papi("ping", &cookie, &[]).await.data(), "pong");
}

async fn good_credentials_beside_a_bad_cookie_sign_in(engine: Engine) {
    let world = world(engine).await;
    let reply = world.papi("ping", "old", &[("username", ADA), ("password", PASSWORD)]).await;
    assert_eq!(reply.data(), "pong");
    assert!(reply.cookie().is_some());
}

async fn a_login_with_a_good_cookie_needs_no_readable_credentials_and_leaves_no_event(engine: Engine) {
    let world = world(engine).await;
    let cookie = world.cookie(ADA).await;
    world.empty_outbox().await;
    let multipart = Ask::get("/papi/login").body("multipart/form-data", credentials(ADA, PASSWORD));
    for ask in [multipart, Ask::post("/papi/login"), Ask::get("/papi/login.json?username=&password=x")] {
        let login = world.ask(&ask.cookie(&cookie)).await;
        assert_eq!(login.data(), "true");
        assert_eq!(login.header("set-cookie"), None);
    }
    assert_eq!(world.outbox().await, []);
}

async fn the_first_good_one_of_several_cookies_counts(engine: Engine) {
    let world = world(engine).await;
    let cookie = world.cookie(ADA).await;
    let ask = Ask::get("/papi/ping").header("Cookie", format!("PHPSESSID=other; a=b; PHPSESSID={cookie}"));
    assert_eq!(world.ask(&ask).await.data(), "pong");
}

async fn an_implicit_login_gives_its_cookie_also_when_the_function_fails(engine: Engine) {
    let world = world(engine).await;
    let parameters = credentials(ADA, PASSWORD) + "&max_results=-1";
    let reply = world.ask(&Ask::get(&format!("/papi/auditlog/get_events?{parameters}"))).await;
    assert_eq!(reply.error().0, 3005);
    let cookie = reply.cookie().unwrap();
    assert_eq!(world.papi("ping", &cookie, &[]).await.data(), "pong");
    assert_eq!(names(&world.outbox().await), ["SUCCESSFUL_LOGIN"]);
}

async fn a_logout_ends_the_sign_in_and_takes_the_cookie_away(engine: Engine) {
    let world = world(engine).await;
    for method in ["GET", "POST"] {
        let (cookie, other) = (world.cookie(ADA).await, world.cookie(ADA).await);
        world.empty_outbox().await;
        let logout = world.ask(&Ask::new(method, "/papi/logout.json").cookie(&cookie)).await;
        assert_eq!(logout.data(), "true");
        assert_eq!(
            logout.header("set-cookie"),
            Some("PHPSESSID=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")
        );
        assert_eq!(names(&world.outbox().await), ["LOGOUT"]);
        assert_refused(&world.papi("ping", &cookie, &[]).await);
        assert_eq!(world.papi("ping", &other, &[]).await.data(), "pong");
    }
}

async fn a_logout_with_credentials_ends_the_sign_in_of_the_cookie(engine: Engine) {
    let world = world(engine).await;
    let cookie = world.cookie(ADA).await;
    world.empty_outbox().await;
    let parameters = [("username", ADA), ("password", PASSWORD)];
    let logout = world.papi("logout", &cookie, &parameters).await;
    assert_eq!((logout.data(), logout.cookie().as_deref()), ("true".into(), Some("")));
    assert_eq!(names(&world.outbox().await), ["SUCCESSFUL_LOGIN", "LOGOUT"]);
    assert_refused(&world.papi("ping", &cookie, &[]).await);
}

async fn a_logout_never_ends_the_sign_in_of_another_account(engine: Engine) {
    let world = world(engine).await;
    let acme = world.access.find_customer("acme").await.unwrap();
    world.account("bob@acme.example", &acme, &[]).await;
    let cookie = world.cookie("bob@acme.example").await;
    world.papi("logout", &cookie, &[("username", ADA), ("password", PASSWORD)]).await.data();
    assert_eq!(world.papi("ping", &cookie, &[]).await.data(), "pong");
}

async fn a_sign_in_ends_without_use_and_when_the_account_changes(engine: Engine) {
    let world = world(engine).await;
    let cookie = world.cookie(ADA).await;
    world.clock.advance(Duration::from_secs(29 * 60));
    assert_eq!(world.papi("ping", &cookie, &[]).await.data(), "pong");
    world.clock.advance(Duration::from_secs(31 * 60));
    assert_refused(&world.papi("ping", &cookie, &[]).await);
    let cookie = world.cookie(ADA).await;
    world.access.disable_account(ADA, &annals_access::Author::command_line()).await.unwrap();
    assert_refused(&world.papi("ping", &cookie, &[]).await);
}

/// Invariant 6 of the architecture, from the route table: exactly one event, beside that of an implicit login.
async fn every_mutating_function_leaves_exactly_one_event_however_it_ends(engine: Engine) {
    let world = world(engine).await;
    for route in ROUTES.iter().filter(|route| route.mutating) {
        for method in route.methods {
            let target = format!("/papi/{}", route.name);
            let ask = |query: &str| {
                Ask::new(if method == "GET" { "GET" } else { "POST" }, &(target.clone() + query))
            };
            let cookie = world.cookie(ADA).await;
            let implicit = format!("?{}", credentials(ADA, PASSWORD));
            for (ask, login) in [
                (ask("").cookie(&cookie), false),
                (ask(&implicit), true),
                (ask(""), false),
                (ask("").cookie("expired"), false),
                (ask("?username=ada@acme.example&password=wrong"), false),
                (ask("?username=ada@acme.example"), false),
            ] {
                world.empty_outbox().await;
                world.ask(&ask).await;
                let events = names(&world.outbox().await);
                // The exceptions that the architecture names: a login by cookie alone, and implicit logins.
                let expected = match route.name {
                    "login"
                        if ask.bytes().windows(6).any(|six| six == b"Cookie")
                            && !ask.bytes().ends_with(b"expired\r\n\r\n") =>
                    {
                        0
                    }
                    "login" => 1,
                    _ => 1 + usize::from(login),
                };
                assert_eq!(events.len(), expected, "{ask:?} left {events:?}");
            }
        }
    }
}

async fn functions_that_change_nothing_leave_no_event_of_their_own(engine: Engine) {
    let world = world(engine).await;
    let cookie = world.cookie(ADA).await;
    world.empty_outbox().await;
    for route in ROUTES.iter().filter(|route| !route.mutating && route.function() != "get_events") {
        world.papi(route.name, &cookie, &[("ip_address", "10.0.0.1")]).await.data();
        assert_refused(&world.papi(route.name, "wrong", &[]).await);
    }
    assert_eq!(world.outbox().await, []);
}
