//! get_users_logged_on.

use annals_access::Permission;
use serde_json::{Value, json};

use crate::engine::{Engine, suite};
use crate::events::{logoff, logon};
use crate::world::World;

suite!(
    each_user_of_an_address_is_a_row_the_latest_first,
    the_interval_includes_both_ends_and_has_three_spellings,
    the_zone_applies_to_the_interval_and_to_the_answer,
    an_unknown_address_is_an_empty_list_and_none_an_error,
    without_the_permission_it_is_denied_before_parameters_are_read,
);

const ADA: &str = "ada@acme.example";
const FUNCTION: &str = "session/get_users_logged_on";

async fn world(engine: Engine) -> (World, String) {
    let world = World::start(engine).await;
    let acme = world.customer("acme").await;
    world.account(ADA, &acme, &[Permission::ViewAppliances]).await;
    let on = |id, at, user, account, address| logon(id, acme.id, at, user, account, address);
    world
        .publish(&[
            on(1, "2020-09-14 09:00:00", 50, "frodo", "10.0.0.1"),
            on(2, "2020-09-14 10:00:00", 50, "frodo", "10.0.0.1"),
            on(3, "2020-09-14 11:00:00.5", 50, "FRODO", "10.0.0.1"),
            on(4, "2020-09-14 10:30:00", 51, "sam", "::ffff:10.0.0.1"),
            on(5, "2020-09-14 10:30:00", 52, "sam", "10.0.0.2"),
            on(6, "2020-09-14 10:30:00", 53, "HOST$", "10.0.0.1"),
            logoff(7, acme.id, "2020-09-14 10:45:00", 51, "sam"),
        ])
        .await;
    let cookie = world.cookie(ADA).await;
    (world, cookie)
}

/// Names with first and last logon.
async fn users(world: &World, cookie: &str, parameters: &[(&str, &str)]) -> Vec<(String, String, String)> {
    let Value::Array(users) = world.papi(FUNCTION, cookie, parameters).await.data() else { panic!("a list") };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    users
        .iter()
        .map(|user| (text(&user["username"]), text(&user["first_seen"]), text(&user["last_seen"])))
        .collect()
}

fn row(name: &str, first: &str, last: &str) -> (String, String, String) {
    (name.to_owned(), format!("2020-09-14 {first}"), format!("2020-09-14 {last}"))
}

async fn each_user_of_an_address_is_a_row_the_latest_first(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let reply = world.papi(FUNCTION, &cookie, &[("ip_address", "10.0.0.1")]).await;
    assert_eq!(
        reply.data(),
        json!([
            {"username": "FRODO", "user_uuid": "00000000000000000000000000000032",
             "session_log_type": "ActiveDirectory",
             "first_seen": "2020-09-14 09:00:00", "last_seen": "2020-09-14 11:00:00"},
            {"username": "sam", "user_uuid": "00000000000000000000000000000033",
             "session_log_type": "ActiveDirectory",
             "first_seen": "2020-09-14 10:30:00", "last_seen": "2020-09-14 10:30:00"},
        ])
    );
}

async fn the_interval_includes_both_ends_and_has_three_spellings(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let address = ("ip_address", "10.0.0.1");
    let (start, end) = ("2020-09-14 10:00:00", "2020-09-14 10:30");
    let both = [row("sam", "10:30:00", "10:30:00"), row("frodo", "10:00:00", "10:00:00")];
    let twice = [address, ("lookup_start", start), ("lookup_start", end)];
    assert_eq!(users(&world, &cookie, &twice).await, both);
    let alias = [address, ("lookup_end", end), ("lookup_start", start)];
    assert_eq!(users(&world, &cookie, &alias).await, both);
    let end_only = [address, ("lookup_end", start)];
    assert_eq!(users(&world, &cookie, &end_only).await, [row("frodo", "09:00:00", "10:00:00")]);
    // Whole seconds include their fractions.
    let whole = [address, ("lookup_start", "2020-09-14 11:00:00"), ("lookup_end", "2020-09-14 11:00:00")];
    assert_eq!(users(&world, &cookie, &whole).await, [row("FRODO", "11:00:00", "11:00:00")]);
    // A logon before the interval does not count, though it goes on.
    let after = [address, ("lookup_start", "2020-09-14 11:00:01")];
    assert_eq!(users(&world, &cookie, &after).await, []);
}

async fn the_zone_applies_to_the_interval_and_to_the_answer(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let parameters = [
        ("ip_address", "10.0.0.2"),
        ("timezone", "Asia/Taipei"),
        ("lookup_start", "2020-09-14 18:30"),
        ("lookup_start", "2020-09-14 18:30"),
    ];
    assert_eq!(users(&world, &cookie, &parameters).await, [row("sam", "18:30:00", "18:30:00")]);
}

async fn an_unknown_address_is_an_empty_list_and_none_an_error(engine: Engine) {
    let (world, cookie) = world(engine).await;
    assert_eq!(users(&world, &cookie, &[("ip_address", "192.0.2.1")]).await, []);
    for (name, value) in [("ip_address", ""), ("ip_address", "host"), ("nothing", "at all")] {
        let (code, text) = world.papi(FUNCTION, &cookie, &[(name, value)]).await.error();
        assert_eq!(code, 3005);
        assert!(text.contains("`ip_address`"), "{text}");
    }
    let address = ("ip_address", "10.0.0.1");
    for bad in [
        &[address, ("lookup_start", "soon")][..],
        &[address, ("lookup_start", "2020-09-14"), ("lookup_start", "2020-09-13")],
        &[address, ("timezone", "Mars/Olympus")],
    ] {
        assert_eq!(world.papi(FUNCTION, &cookie, bad).await.error().0, 3005, "{bad:?}");
    }
}

async fn without_the_permission_it_is_denied_before_parameters_are_read(engine: Engine) {
    let world = World::start(engine).await;
    let acme = world.customer("acme").await;
    let others = [Permission::ManageUsers, Permission::ManageAppliances, Permission::ViewAuditLog];
    world.account(ADA, &acme, &others).await;
    let cookie = world.cookie(ADA).await;
    for parameters in [&[("ip_address", "10.0.0.1")][..], &[]] {
        let reply = world.papi(FUNCTION, &cookie, parameters).await;
        assert_eq!((reply.status, reply.error()), (200, (3001, "Permission denied".to_owned())));
    }
}
