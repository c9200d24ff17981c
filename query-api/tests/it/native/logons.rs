//! Who logged on from an address.

use annals_access::Permission;
use serde_json::json;
use uuid::Uuid;

use super::{ADA, Native, problem};
use crate::engine::{Engine, suite};
use crate::events::logon;

suite!(
    users_are_shown_with_their_first_and_last_logon_in_the_interval,
    what_is_missing_or_no_address_is_refused_by_name,
    a_foreign_customer_is_denied_in_the_words_for_an_unknown_one,
);

async fn native(engine: Engine) -> Native {
    let native = Native::start(engine).await;
    let at = |id, at, user, account, address| logon(id, native.acme.id, at, user, account, address);
    native
        .world
        .publish(&[
            at(1, "2020-05-01 10:00:00", 31, "frodo", "10.0.0.9"),
            at(2, "2020-05-01 12:00:00", 31, "frodo", "10.0.0.9"),
            at(3, "2020-05-01 11:00:00", 32, "sam", "10.0.0.9"),
            at(4, "2020-05-01 11:00:00", 33, "gollum", "10.0.0.8"),
        ])
        .await;
    native
}

async fn users_are_shown_with_their_first_and_last_logon_in_the_interval(engine: Engine) {
    let native = native(engine).await;
    let answer = native.answer("logons", &[("address", "::ffff:10.0.0.9")]).await;
    let frodo = json!({"user_id": Uuid::from_u128(31).to_string(), "username": "frodo",
        "first_seen": "2020-05-01T10:00:00.000000Z", "last_seen": "2020-05-01T12:00:00.000000Z"});
    assert_eq!(answer["logons"].as_array().unwrap().len(), 2);
    assert_eq!(answer["logons"][0], frodo);
    let until = [("address", "10.0.0.9"), ("end", "2020-05-01T10:30:00Z")];
    let early = native.answer("logons", &until).await;
    assert_eq!(early["logons"][0]["last_seen"], "2020-05-01T10:00:00.000000Z");
    let from = [("address", "10.0.0.9"), ("start", "2020-05-01T11:30:00Z"), ("customer", "ACME")];
    assert_eq!(native.answer("logons", &from).await["logons"].as_array().unwrap().len(), 1);
    assert_eq!(native.answer("logons", &[("address", "10.0.0.7")]).await, json!({"logons": []}));
}

async fn what_is_missing_or_no_address_is_refused_by_name(engine: Engine) {
    let native = native(engine).await;
    for parameters in [
        &[][..],
        &[("address", "")],
        &[("address", "10.0.0.9,10.0.0.8")],
        &[("address", "host")],
        &[("address", "10.0.0.9"), ("start", "2999-01-01T00:00:00Z")],
        &[("address", "10.0.0.9"), ("start", "2020-01-02T00:00:00Z"), ("end", "2020-01-01T00:00:00Z")],
    ] {
        let reply = native.get("logons", parameters).await;
        assert_eq!(problem(&reply), (400, "bad-parameter".to_owned()), "{parameters:?}");
    }
    let unknown = native.get("logons", &[("address", "10.0.0.9"), ("account", "frodo")]).await;
    assert_eq!(problem(&unknown).1, "unknown-parameter");
}

async fn a_foreign_customer_is_denied_in_the_words_for_an_unknown_one(engine: Engine) {
    let native = native(engine).await;
    let other = native.world.customer("other").await;
    let ask =
        async |customer: &str| native.get("logons", &[("address", "10.0.0.9"), ("customer", customer)]).await;
    let foreign = ask("other").await;
    assert_eq!(problem(&foreign), (403, "permission-denied".to_owned()));
    for unknown in ["nobody", "", &other.id.to_string()] {
        let reply = ask(unknown).await;
        assert_eq!((reply.status, &reply.body), (403, &foreign.body), "{unknown}");
    }
    native.world.grant(ADA, &other, &[Permission::ViewAuditLog]).await;
    assert_eq!(ask("other").await.status, 403);
    native.world.grant(ADA, &other, &[Permission::ViewAppliances]).await;
    assert_eq!(ask(&other.id.to_string()).await.status, 200);
}
