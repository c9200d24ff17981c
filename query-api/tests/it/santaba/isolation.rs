//! Who sees what: nobody sees anything of a customer where the permission was not granted, by any parameter.

use annals_access::{Author, Permission};
use annals_schemas::ActorKind;
use serde_json::json;

use super::portal::{LIST, Portal, Record, SARAH};
use crate::engine::{Engine, suite};
use crate::events::Action;
use crate::http::{Ask, form};

suite!(
    only_customers_with_the_permission_are_seen_and_never_ones_own_elsewhere,
    no_parameter_reaches_a_foreign_customer,
    a_foreign_record_looks_like_one_that_does_not_exist,
    a_local_time_is_in_the_zone_of_its_customer,
);

/// Records 1 and 2 of acme, 11 and 12 of the other customer; 3 and 13 are Sarah's own doing.
async fn portal(engine: Engine) -> Portal {
    let portal = Portal::start(engine).await;
    let accounts = portal.access.accounts().await.unwrap();
    let sarah = accounts.iter().find(|account| account.email == SARAH).unwrap().id;
    let (acme, other) = (&portal.acme, &portal.other);
    let own = |id, customer| Action {
        actor: (ActorKind::PortalAccount, sarah),
        account: SARAH,
        ..Action::new(id, customer, "2020-05-01 10:00:00")
    };
    portal
        .world
        .publish(&[
            Record { session: Some("S1"), ..Record::new(1, acme, 1_400_000_000) }.event(),
            Record { username: "bob", ip: Some("10.0.0.1"), ..Record::new(2, acme, 1_400_000_001) }.event(),
            own(3, acme.id).event(),
            Record { session: Some("S1"), ..Record::new(11, other, 1_400_000_000) }.event(),
            Record {
                username: "eve",
                ip: Some("10.0.0.9"),
                description: "a secret",
                ..Record::new(12, other, 1_400_000_002)
            }
            .event(),
            own(13, other.id).event(),
        ])
        .await;
    portal
}

async fn only_customers_with_the_permission_are_seen_and_never_ones_own_elsewhere(engine: Engine) {
    let portal = portal(engine).await;
    assert_eq!(portal.ids("").await, [1, 2, 3]);
    let others = [
        Permission::ViewAppliances,
        Permission::ManageUsers,
        Permission::ManageAppliances,
        Permission::Publish,
    ];
    portal.world.grant(SARAH, &portal.other, &others).await;
    assert_eq!(portal.ids("").await, [1, 2, 3]);
    portal.world.grant(SARAH, &portal.other, &[Permission::ViewAuditLog]).await;
    assert_eq!(portal.ids("").await, [1, 2, 3, 11, 12, 13]);
    // The permission at another customer is enough.
    let by = Author::command_line();
    portal.access.revoke(SARAH, "acme", &[Permission::ViewAuditLog], &by).await.unwrap();
    assert_eq!(portal.ids("").await, [11, 12, 13]);
    portal.access.revoke(SARAH, "other", &[Permission::ViewAuditLog], &by).await.unwrap();
    assert_eq!(portal.refusal("").await, (403, 1403, "Permission denied".to_owned()));
}

async fn no_parameter_reaches_a_foreign_customer(engine: Engine) {
    let portal = portal(engine).await;
    for filter in [
        "username:eve",
        "username!:sarah,username!:bob,username!~acme",
        "ip:10.0.0.9",
        "description~secret",
        "_all~secret",
        "happenedOn:1400000002",
        "id:0000000000000000000000000000000c",
    ] {
        assert_eq!(portal.ids(&form(&[("filter", filter)])).await, [0; 0], "{filter}");
    }
    for query in [
        "filter=_all~%22*%22",
        "filter=nothing:x||id:*",
        "filter=username!:nobody",
        "filter=_all!~secret",
        "sort=-username",
        "fields=*",
        "customer=other",
        "affected_customers=other",
    ] {
        let ids = portal.ids(query).await;
        assert!(!ids.is_empty() && ids.iter().all(|id| [1, 2, 3].contains(id)), "{query}: {ids:?}");
    }
}

async fn a_foreign_record_looks_like_one_that_does_not_exist(engine: Engine) {
    let portal = portal(engine).await;
    let target = |id: u128| format!("{LIST}/{id:032x}");
    for version in [1, 3] {
        let known = portal.ask(version, &portal.get_path(version, &target(1))).await;
        assert_eq!(known.content()["username"], "sarah");
        let unknown = portal.ask(version, &portal.get_path(version, &target(99))).await;
        for foreign in [11, 12, 13] {
            let answer = portal.ask(version, &portal.get_path(version, &target(foreign))).await;
            assert_eq!(answer.reply.text(), unknown.reply.text());
            assert_eq!(answer.reply.status, unknown.reply.status);
        }
    }
}

async fn a_local_time_is_in_the_zone_of_its_customer(engine: Engine) {
    let portal = portal(engine).await;
    portal.world.grant(SARAH, &portal.other, &[Permission::ViewAuditLog]).await;
    let query = "filter=happenedOn:1400000000&sort=id&fields=happenedOnLocal";
    assert_eq!(
        portal.page(query).await.1,
        [
            json!({"happenedOnLocal": "2014-05-13 09:53:20 PDT"}),
            json!({"happenedOnLocal": "2014-05-13 16:53:20 UTC"})
        ]
    );
    let ask: Ask = portal.get_path(3, &format!("{LIST}/{:032x}?fields=happenedOnLocal", 11));
    assert_eq!(portal.ask(3, &ask).await.content(), json!({"happenedOnLocal": "2014-05-13 16:53:20 UTC"}));
}
