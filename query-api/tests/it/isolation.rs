//! Who sees what: nobody sees anything of a customer that was not granted, by any parameter.

use annals_access::{Customer, Permission};
use annals_schemas::ActorKind;
use uuid::Uuid;

use crate::engine::{Engine, suite};
use crate::events::{Action, logon};
use crate::world::World;

suite!(
    without_a_permission_only_own_events_are_seen_and_accounts_narrow_them,
    other_permissions_do_not_open_the_audit_log_of_papi,
    an_administrator_sees_its_customer_and_own_events_of_where_anything_was_granted,
    no_parameter_reaches_a_foreign_customer,
    users_of_a_foreign_customer_are_denied_in_the_words_for_an_unknown_one,
);

const ADA: &str = "ada@acme.example";
const EVE: &str = "eve@other.example";

struct Two {
    world: World,
    acme: Customer,
    other: Customer,
    ada: Uuid,
    eve: Uuid,
}

/// Two customers with an account and events each.
async fn two(engine: Engine, ada_may: &[Permission], eve_may: &[Permission]) -> Two {
    let world = World::start(engine).await;
    let acme = world.customer("acme").await;
    let other = world.customer("other").await;
    let ada = world.account(ADA, &acme, ada_may).await;
    let eve = world.account(EVE, &other, eve_may).await;
    let portal = |account| (ActorKind::PortalAccount, account);
    let event = |id, customer: &Customer| Action {
        address: Some("10.0.0.1"),
        ..Action::new(id, customer.id, "2020-05-01 10:00:00")
    };
    world
        .publish(&[
            Action { actor: portal(ada), account: ADA, ..event(1, &acme) }.event(),
            Action { account: "bob", entity: ("host", "HOST-1"), ..event(2, &acme) }.event(),
            // Not Ada, whatever it is called: identities are typed.
            Action { actor: (ActorKind::HostAccount, ada), account: ADA, ..event(3, &acme) }.event(),
            Action { actor: (ActorKind::PortalAccount, Uuid::from_u128(9)), account: ADA, ..event(4, &acme) }
                .event(),
            Action { actor: portal(eve), account: EVE, ..event(11, &other) }.event(),
            Action { account: "bob", name: "SECRET_DONE", entity: ("vault", "V-1"), ..event(12, &other) }
                .event(),
            Action { actor: portal(ada), account: ADA, ..event(13, &other) }.event(),
            logon(21, acme.id, "2020-05-01 10:00:00", 31, "frodo", "10.0.0.9"),
            logon(22, other.id, "2020-05-01 10:00:00", 32, "gollum", "10.0.0.9"),
        ])
        .await;
    Two { world, acme, other, ada, eve }
}

async fn without_a_permission_only_own_events_are_seen_and_accounts_narrow_them(engine: Engine) {
    let two = two(engine, &[], &[]).await;
    let ada = two.world.cookie(ADA).await;
    assert_eq!(two.world.ids(&ada, &[]).await, [1]);
    assert_eq!(two.world.ids(&ada, &[("accounts", ADA)]).await, [1]);
    assert_eq!(two.world.ids(&ada, &[("accounts", "bob")]).await, [0; 0]);
    assert_eq!(two.world.ids(&ada, &[("audit_event_id", &format!("{:032x}", 2))]).await, [0; 0]);
    assert_eq!(two.world.ids(&ada, &[("orderby", "account")]).await, [1]);
    assert_ne!(two.ada, two.eve);
}

async fn other_permissions_do_not_open_the_audit_log_of_papi(engine: Engine) {
    let others = [
        Permission::ViewAppliances,
        Permission::ManageAppliances,
        Permission::ViewAuditLog,
        Permission::Publish,
        Permission::Operate,
    ];
    let two = two(engine, &others, &[]).await;
    let ada = two.world.cookie(ADA).await;
    assert_eq!(two.world.ids(&ada, &[]).await, [1]);
}

async fn an_administrator_sees_its_customer_and_own_events_of_where_anything_was_granted(engine: Engine) {
    let two = two(engine, &[Permission::ManageUsers], &[]).await;
    let ada = two.world.cookie(ADA).await;
    let ascending = ("orderby", "audit_event_id");
    assert_eq!(two.world.ids(&ada, &[ascending]).await, [1, 2, 3, 4, 21]);
    two.world.grant(ADA, &two.other, &[Permission::ViewAppliances]).await;
    assert_eq!(two.world.ids(&ada, &[ascending]).await, [1, 2, 3, 4, 13, 21]);
    two.world.grant(ADA, &two.other, &[Permission::ManageUsers]).await;
    assert_eq!(two.world.ids(&ada, &[ascending]).await, [1, 2, 3, 4, 11, 12, 13, 21, 22]);
    let customers: Vec<_> = two.world.events(&ada, &[ascending]).await;
    assert_eq!((&customers[0]["customer"], &customers[4]["customer"]), (&"acme".into(), &"other".into()));
    assert_eq!(two.world.ids(&ada, &[ascending, ("affected_customers", "OTHER")]).await, [11, 12, 13, 22]);
    assert_eq!(two.world.ids(&ada, &[ascending, ("affected_customers", "acme,other,third")]).await.len(), 9);
    // A revocation counts at once, for a sign-in that goes on.
    let by = annals_access::Author::command_line();
    two.world.access.revoke(ADA, "other", &[Permission::ManageUsers], &by).await.unwrap();
    assert_eq!(two.world.ids(&ada, &[ascending, ("affected_customers", "other")]).await, [13]);
}

async fn no_parameter_reaches_a_foreign_customer(engine: Engine) {
    let two = two(engine, &[Permission::ManageUsers], &[Permission::ManageUsers]).await;
    let ada = two.world.cookie(ADA).await;
    let foreign = format!("{:032x}", 12);
    for (name, value) in [
        ("affected_customers", "other"),
        ("accounts", EVE),
        ("action_types", "SECRET_DONE"),
        ("entity_types", "vault"),
        ("portal_entity_ids", "V-1"),
        ("audit_event_id", &foreign),
    ] {
        assert_eq!(two.world.ids(&ada, &[(name, value)]).await, [0; 0], "{name}={value}");
    }
    for parameter in [
        ("source_ips", "10.0.0.1"),
        ("start_time", "2020-05-01"),
        ("end_time", "2020-05-02"),
        ("orderby", "customer DESC"),
        ("orderby", "source_ip"),
        ("max_results", "10000"),
        ("customer", "other"),
        ("timezone", "Asia/Taipei"),
    ] {
        let ids = two.world.ids(&ada, &[parameter]).await;
        assert!(
            !ids.is_empty() && ids.iter().all(|id| [1, 2, 3, 4, 21].contains(id)),
            "{parameter:?}: {ids:?}"
        );
    }
}

async fn users_of_a_foreign_customer_are_denied_in_the_words_for_an_unknown_one(engine: Engine) {
    let may = [Permission::ViewAppliances];
    let two = two(engine, &may, &may).await;
    let ada = two.world.cookie(ADA).await;
    let users = async |customer: &str| {
        let parameters = [("ip_address", "10.0.0.9"), ("customer", customer)];
        two.world.papi("session/get_users_logged_on", &ada, &parameters).await
    };
    for customer in ["", "acme", "ACME"] {
        assert_eq!(users(customer).await.data()[0]["username"], "frodo", "{customer}");
    }
    assert_eq!(users("other").await.error(), (3001, "Permission denied".to_owned()));
    assert_eq!(users("nobody").await.error(), (3001, "Permission denied".to_owned()));
    assert_eq!(users("other").await.status, 200);
    two.world.grant(ADA, &two.other, &[Permission::ManageUsers]).await;
    assert_eq!(users("other").await.error().0, 3001);
    two.world.grant(ADA, &two.other, &[Permission::ViewAppliances]).await;
    assert_eq!(users("Other").await.data()[0]["username"], "gollum");
    assert_eq!(two.acme.name, "acme");
}
