//! Who sees what: nobody sees anything of a customer that was not granted, by any parameter or token.

use annals_access::{Customer, Permission};
use annals_schemas::ActorKind;
use uuid::Uuid;

use super::{ADA, Native, dechunked, numbers, problem};
use crate::engine::{Engine, suite};
use crate::events::{Action, logon};

suite!(
    without_the_permission_only_own_events_are_seen,
    other_permissions_do_not_open_the_audit_log,
    no_parameter_reaches_a_foreign_customer_in_any_form,
    an_event_of_a_foreign_customer_is_unknown,
    a_revocation_counts_in_the_middle_of_a_walk,
);

struct Two {
    native: Native,
    other: Customer,
}

/// ADA's customer, and another one.
async fn two(engine: Engine, may: &[Permission]) -> Two {
    let native = Native::start(engine).await;
    let by = annals_access::Author::command_line();
    let all = [Permission::ViewAuditLog, Permission::ViewAppliances];
    native.world.access.revoke(ADA, "acme", &all, &by).await.unwrap();
    if !may.is_empty() {
        native.world.grant(ADA, &native.acme, may).await;
    }
    native.world.empty_outbox().await;
    let ada = native.world.access.resume(&native.cookie).await.unwrap().account;
    let other = native.world.customer("other").await;
    let portal = (ActorKind::PortalAccount, ada);
    let event = |id, customer: &Customer| Action::new(id, customer.id, "2020-05-01 10:00:00");
    native
        .world
        .publish(&[
            Action { actor: portal, account: ADA, ..event(1, &native.acme) }.event(),
            event(2, &native.acme).event(),
            // Not ADA, whatever it is called: identities are typed.
            Action { actor: (ActorKind::HostAccount, ada), account: ADA, ..event(3, &native.acme) }.event(),
            Action { actor: portal, account: ADA, ..event(11, &other) }.event(),
            Action { account: "eve", name: "SECRET_DONE", entity: ("vault", "V-1"), ..event(12, &other) }
                .event(),
            logon(13, other.id, "2020-05-01 10:00:00", 32, "gollum", "10.0.0.9"),
        ])
        .await;
    Two { native, other }
}

async fn without_the_permission_only_own_events_are_seen(engine: Engine) {
    let Two { native, other } = two(engine, &[]).await;
    assert_eq!(native.numbers(&[]).await, [1]);
    assert_eq!(native.numbers(&[("text", "some")]).await, [0; 0]);
    assert_eq!(native.answer("audit-events", &[("count", "true")]).await["total"], 1);
    // With anything granted elsewhere, one's own there.
    native.world.grant(ADA, &other, &[Permission::Publish]).await;
    assert_eq!(native.numbers(&[]).await, [1, 11]);
    native.world.grant(ADA, &other, &[Permission::ViewAuditLog]).await;
    assert_eq!(native.numbers(&[]).await, [1, 11, 12, 13]);
}

async fn other_permissions_do_not_open_the_audit_log(engine: Engine) {
    let others = [
        Permission::ViewAppliances,
        Permission::ManageAppliances,
        Permission::ManageUsers,
        Permission::Publish,
        Permission::Operate,
    ];
    let Two { native, .. } = two(engine, &others).await;
    assert_eq!(native.numbers(&[]).await, [1]);
}

async fn no_parameter_reaches_a_foreign_customer_in_any_form(engine: Engine) {
    let Two { native, other } = two(engine, &[Permission::ViewAuditLog]).await;
    let id = other.id.to_string();
    for parameter in [
        ("customer", "other"),
        ("customer", &id),
        ("account", "eve"),
        ("action", "SECRET_DONE"),
        ("entity-type", "vault"),
        ("entity", "V-1"),
        ("address", "10.0.0.9"),
        ("text", "eve"),
    ] {
        assert_eq!(native.numbers(&[parameter]).await, [0; 0], "{parameter:?}");
        let feed = native.answer("audit-events", &[("after", ""), parameter]).await;
        assert_eq!(numbers(&feed), [0; 0], "{parameter:?}");
        let counted = native.answer("audit-events", &[("count", "true"), parameter]).await;
        assert_eq!(counted["total"], 0, "{parameter:?}");
        let file = native.get("audit-events", &[("format", "ndjson"), parameter]).await;
        assert_eq!(dechunked(&file).0, "", "{parameter:?}");
    }
    for parameter in
        [("sort", "time"), ("after", ""), ("account", "somebody"), ("end", "2021-01-01T00:00:00Z")]
    {
        let numbers = native.numbers(&[parameter]).await;
        assert!(
            !numbers.is_empty() && numbers.iter().all(|number| *number < 10),
            "{parameter:?}: {numbers:?}"
        );
    }
    // A customer that is not there and one that is not granted look the same.
    let (foreign, unknown) = (native.get("audit-events", &[("customer", "other")]).await.body, "nobody");
    assert_eq!(foreign, native.get("audit-events", &[("customer", unknown)]).await.body);
}

async fn an_event_of_a_foreign_customer_is_unknown(engine: Engine) {
    let Two { native, other } = two(engine, &[Permission::ViewAuditLog]).await;
    let id = |number: u128| format!("audit-events/{}", Uuid::from_u128(number));
    assert_eq!(native.get(&id(2), &[]).await.status, 200);
    let foreign = native.get(&id(12), &[]).await;
    assert_eq!(problem(&foreign), (404, "not-found".to_owned()));
    for path in [id(99), "audit-events/x".to_owned(), "audit-events/%00".to_owned()] {
        let unknown = native.get(&path, &[]).await;
        assert_eq!((unknown.status, unknown.body), (404, foreign.body.clone()), "{path}");
    }
    native.world.grant(ADA, &other, &[Permission::ViewAuditLog]).await;
    assert_eq!(native.get(&id(12), &[]).await.status, 200);
}

async fn a_revocation_counts_in_the_middle_of_a_walk(engine: Engine) {
    let Two { native, other } = two(engine, &[Permission::ViewAuditLog]).await;
    native.world.grant(ADA, &other, &[Permission::ViewAuditLog]).await;
    let first = native.answer("audit-events", &[("sort", "time"), ("limit", "3")]).await;
    assert_eq!(numbers(&first), [1, 2, 3]);
    let cursor = first["next"].as_str().unwrap();
    let by = annals_access::Author::command_line();
    native.world.access.revoke(ADA, "other", &[Permission::ViewAuditLog], &by).await.unwrap();
    let second = native.answer("audit-events", &[("sort", "time"), ("cursor", cursor)]).await;
    assert_eq!((numbers(&second), &second["next"]), (vec![], &serde_json::Value::Null));
}
