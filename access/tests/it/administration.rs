//! Customers, accounts and permissions.

use annals_access::{Access, AccessError, Author, Client, Permission, Secret};
use annals_schemas::ids::OPERATOR_CUSTOMER;
use annals_schemas::{Actor, ActorKind, ConfigurationChanged, Event};

use crate::support::{Engine, Home, PASSWORD, at_once, client, personal, suite, told, told_one};

suite!(
    each_change_leaves_exactly_one_event,
    a_refused_change_leaves_nothing,
    customers_and_accounts_are_listed_and_found_without_case,
    the_last_operator_stays,
    the_event_of_a_change_names_its_author_and_the_customer_concerned,
    of_processes_that_add_the_same_name_one_succeeds,
    of_operators_that_disable_each_other_one_stays,
    of_processes_that_grant_the_same_permission_one_succeeds,
);

async fn change(access: &Access) -> ConfigurationChanged {
    match told_one(access).await {
        Event::ConfigurationChanged(event) => event,
        other => panic!("{other:?}"),
    }
}

/// (action, entity type, entity id, text) of the one event in the outbox.
async fn changed(access: &Access) -> (String, String, String, String) {
    let event = change(access).await;
    assert_eq!(event.category.as_deref(), Some("annals"));
    assert_eq!(event.meta.source, "annals:cli");
    assert_eq!(event.meta.actor, Actor::system());
    let personal = Event::from(event.clone()).personal().unwrap().clone();
    (event.action, event.entity_type.unwrap(), personal.entity_id.unwrap(), personal.text.unwrap())
}

fn event(action: &str, entity_type: &str, entity_id: &str, text: &str) -> (String, String, String, String) {
    (action.into(), entity_type.into(), entity_id.into(), text.into())
}

async fn each_change_leaves_exactly_one_event(engine: Engine) {
    let home = Home::new(engine).await;
    let access = home.process().await;
    told(&access).await;
    let by = Author::command_line();

    access.add_customer("acme", "Europe/Zurich", &by).await.unwrap();
    let text = "The customer acme was added with time zone Europe/Zurich.";
    assert_eq!(changed(&access).await, event("CUSTOMER_ADDED", "customer", "acme", text));

    let permissions = [Permission::ViewAuditLog, Permission::Publish];
    access.add_account("Ada@example.com", "ACME", &permissions, Secret::new(PASSWORD), &by).await.unwrap();
    let text = "The account Ada@example.com of acme was added with can_view_audit_log, can_publish.";
    assert_eq!(changed(&access).await, event("ACCOUNT_ADDED", "account", "Ada@example.com", text));

    access.add_account("bob", "acme", &[], Secret::new(PASSWORD), &by).await.unwrap();
    let text = "The account bob of acme was added with no permission.";
    assert_eq!(changed(&access).await, event("ACCOUNT_ADDED", "account", "bob", text));

    let permissions = [Permission::Publish, Permission::ManageUsers, Permission::ManageUsers];
    access.grant("ada@example.com", "acme", &permissions, &by).await.unwrap();
    let text = "Ada@example.com was granted can_manage_users at acme.";
    assert_eq!(changed(&access).await, event("PERMISSION_GRANTED", "account", "Ada@example.com", text));

    access.revoke("ada@example.com", "acme", &[Permission::Operate, Permission::Publish], &by).await.unwrap();
    let text = "can_publish was revoked from Ada@example.com at acme.";
    assert_eq!(changed(&access).await, event("PERMISSION_REVOKED", "account", "Ada@example.com", text));

    access.set_password("ADA@example.com", Secret::new("another password"), &by).await.unwrap();
    let text = "The password of Ada@example.com was changed.";
    assert_eq!(changed(&access).await, event("ACCOUNT_PASSWORD_CHANGED", "account", "Ada@example.com", text));

    access.disable_account("ada@EXAMPLE.com", &by).await.unwrap();
    let text = "The account Ada@example.com was disabled.";
    assert_eq!(changed(&access).await, event("ACCOUNT_DISABLED", "account", "Ada@example.com", text));
}

async fn a_refused_change_leaves_nothing(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    let ada = "ada@example.com";
    access.add_account("bob", "acme", &[], Secret::new(PASSWORD), &by).await.unwrap();
    access.disable_account("bob", &by).await.unwrap();
    told(&access).await;
    let before = (access.customers().await.unwrap(), access.accounts().await.unwrap());

    let new = || Secret::new("new password");
    let errors = [
        access.add_customer("a b", "UTC", &by).await.unwrap_err(),
        access.add_customer("ACME", "UTC", &by).await.unwrap_err(),
        access.add_customer("other", "Europe/Zuerich", &by).await.unwrap_err(),
        access.add_account("", "acme", &[], new(), &by).await.unwrap_err(),
        access.add_account("Ada@Example.com", "acme", &[], new(), &by).await.unwrap_err(),
        access.add_account("eve", "nobody", &[], new(), &by).await.unwrap_err(),
        access.add_account("eve", "acme", &[], Secret::new("sevench"), &by).await.unwrap_err(),
        access.add_account("eve", "acme", &[], Secret::new("x".repeat(1_025)), &by).await.unwrap_err(),
        access.set_password("nobody", new(), &by).await.unwrap_err(),
        access.set_password(ada, Secret::new("sevench"), &by).await.unwrap_err(),
        access.disable_account("nobody", &by).await.unwrap_err(),
        access.disable_account("bob", &by).await.unwrap_err(),
        access.grant(ada, "acme", &[], &by).await.unwrap_err(),
        access.grant(ada, "acme", &[Permission::ViewAuditLog], &by).await.unwrap_err(),
        access.grant(ada, "nobody", &[Permission::Publish], &by).await.unwrap_err(),
        access.grant("nobody", "acme", &[Permission::Publish], &by).await.unwrap_err(),
        access.revoke(ada, "acme", &[Permission::Publish], &by).await.unwrap_err(),
        access.revoke(ada, "acme", &[], &by).await.unwrap_err(),
    ];
    let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "`a b` cannot be a name: it contains a blank",
            "a customer `ACME` is already there",
            "`Europe/Zuerich` is not a time zone of the IANA database",
            "`` cannot be a name: it is empty",
            "an account `Ada@Example.com` is already there",
            "there is no customer `nobody`",
            "the new password cannot be used: it has less than 8 characters",
            "the new password cannot be used: it has more than 1024 bytes",
            "there is no account `nobody`",
            "the new password cannot be used: it has less than 8 characters",
            "there is no account `nobody`",
            "the account `bob` is already disabled",
            "no permission was named",
            "`ada@example.com` already has `can_view_audit_log` at `acme`",
            "there is no customer `nobody`",
            "there is no account `nobody`",
            "`ada@example.com` does not have `can_publish` at `acme`",
            "no permission was named",
        ]
    );
    assert_eq!(told(&access).await, []);
    assert_eq!((access.customers().await.unwrap(), access.accounts().await.unwrap()), before);
}

async fn customers_and_accounts_are_listed_and_found_without_case(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    access.add_customer("Zebra@example.com", "UTC", &by).await.unwrap();
    access.grant("ada@example.com", "zebra@example.com", &[Permission::Publish], &by).await.unwrap();
    access.disable_account("ada@example.com", &by).await.unwrap();

    let names: Vec<_> = access.customers().await.unwrap().into_iter().map(|customer| customer.name).collect();
    assert_eq!(names, ["acme", "operator", "Zebra@example.com"]);
    let zebra = access.find_customer("ZEBRA@EXAMPLE.COM").await.unwrap();
    assert_eq!((zebra.name.as_str(), zebra.time_zone.name()), ("Zebra@example.com", "UTC"));
    assert!(matches!(access.find_customer("zebra").await, Err(AccessError::UnknownCustomer(_))));
    assert!(matches!(access.find_customer("a\0b").await, Err(AccessError::UnknownCustomer(_))));

    let accounts = access.accounts().await.unwrap();
    assert_eq!(accounts.len(), 2);
    assert_eq!((accounts[0].number, accounts[0].email.as_str()), (2, "ada@example.com"));
    assert_eq!((accounts[0].customer.as_str(), accounts[0].disabled), ("acme", true));
    let grants = [
        ("acme".to_owned(), Permission::ViewAuditLog),
        ("Zebra@example.com".to_owned(), Permission::Publish),
    ];
    assert_eq!(accounts[0].grants, grants);
    assert_eq!((accounts[1].email.as_str(), accounts[1].disabled), ("operator", false));
    assert_eq!(accounts[1].grants, [("operator".to_owned(), Permission::Operate)]);
}

async fn the_last_operator_stays(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    let operate = [Permission::Operate];
    let is_last = |result: Result<(), AccessError>| matches!(result, Err(AccessError::LastOperator(_)));
    assert!(is_last(access.disable_account("operator", &by).await));
    assert!(is_last(access.revoke("operator", "operator", &operate, &by).await));
    // Elsewhere it does not make an operator of the installation.
    access.grant("ada@example.com", "acme", &operate, &by).await.unwrap();
    assert!(is_last(access.disable_account("operator", &by).await));
    access.revoke("ada@example.com", "acme", &operate, &by).await.unwrap();

    access.grant("ada@example.com", "operator", &operate, &by).await.unwrap();
    access.revoke("operator", "operator", &operate, &by).await.unwrap();
    assert!(is_last(access.disable_account("ada@example.com", &by).await));
    access.grant("operator", "operator", &operate, &by).await.unwrap();
    access.disable_account("ada@example.com", &by).await.unwrap();
    // A disabled one does not count.
    assert!(is_last(access.revoke("operator", "operator", &operate, &by).await));
}

async fn the_event_of_a_change_names_its_author_and_the_customer_concerned(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    let sign_in = access.sign_in("ada@example.com", PASSWORD, &Client::local(), "papi").await.unwrap();
    told(&access).await;
    let by = Author::principal(&sign_in.principal, "native", &client("10.0.0.7"));
    let other = access.add_customer("other", "UTC", &by).await.unwrap();
    let added = change(&access).await;
    assert_eq!((added.meta.customer, added.meta.source.as_str()), (other.id, "annals:native"));
    assert_eq!(added.meta.actor.kind, ActorKind::PortalAccount);
    assert_eq!(added.meta.actor.id, sign_in.principal.account);
    assert_eq!(added.meta.actor.home_customer, Some(sign_in.principal.customer.id));
    let added = Event::from(added);
    assert_eq!(personal(&added).account.as_deref(), Some("ada@example.com"));
    assert_eq!(personal(&added).address.as_deref(), Some("10.0.0.7"));
    assert_eq!(personal(&added).user_agent.as_deref(), Some("curl/8.0"));
    assert_eq!(personal(&added).sign_in_id, sign_in.principal.sign_in_id);

    access.grant("ada@example.com", "operator", &[Permission::ViewAppliances], &by).await.unwrap();
    assert_eq!(change(&access).await.meta.customer, OPERATOR_CUSTOMER);
    access.set_password("ada@example.com", Secret::new("another password"), &by).await.unwrap();
    let changed = change(&access).await;
    assert_eq!(changed.meta.customer, sign_in.principal.customer.id);
    assert_eq!(changed.meta.actor.home_customer, None);
}

async fn of_processes_that_add_the_same_name_one_succeeds(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let accounts = at_once(&home, 4, |access, _| async move {
        access.add_account("bob", "acme", &[], Secret::new(PASSWORD), &Author::command_line()).await
    });
    let failed: Vec<_> = accounts.await.into_iter().filter_map(Result::err).collect();
    assert_eq!(failed.len(), 3);
    assert!(failed.iter().all(|error| matches!(error, AccessError::AccountExists(_))), "{failed:?}");

    let customers = at_once(&home, 4, |access, number| async move {
        let name = ["other", "Other", "OTHER", "oTHER"][number];
        access.add_customer(name, "UTC", &Author::command_line()).await
    });
    let failed: Vec<_> = customers.await.into_iter().filter_map(Result::err).collect();
    assert_eq!(failed.len(), 3);
    assert!(failed.iter().all(|error| matches!(error, AccessError::CustomerExists(_))), "{failed:?}");
    assert_eq!(told(&access).await.len(), 2);
}

async fn of_operators_that_disable_each_other_one_stays(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let by = Author::command_line();
    for round in 0..5 {
        let names = [format!("one{round}"), format!("other{round}")];
        for name in &names {
            let operate = [Permission::Operate];
            access.add_account(name, "operator", &operate, Secret::new(PASSWORD), &by).await.unwrap();
        }
        // What the round before left, and at first the one that the installation came with.
        for account in access.accounts().await.unwrap() {
            if !account.disabled && account.email != "ada@example.com" && !names.contains(&account.email) {
                access.disable_account(&account.email, &by).await.unwrap();
            }
        }
        let results = at_once(&home, 2, |access, number| {
            let name = names[number].clone();
            async move {
                let by = Author::command_line();
                match number {
                    0 => access.disable_account(&name, &by).await,
                    _ => access.revoke(&name, "operator", &[Permission::Operate], &by).await,
                }
            }
        });
        let results = results.await;
        let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert!(matches!(failed.as_slice(), [AccessError::LastOperator(_)]), "{failed:?}");
    }
}

async fn of_processes_that_grant_the_same_permission_one_succeeds(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let results = at_once(&home, 4, |access, _| async move {
        access.grant("ada@example.com", "acme", &[Permission::Publish], &Author::command_line()).await
    });
    let failed: Vec<_> = results.await.into_iter().filter_map(Result::err).collect();
    assert_eq!(failed.len(), 3);
    assert!(failed.iter().all(|error| matches!(error, AccessError::AlreadyGranted { .. })), "{failed:?}");
    assert_eq!(told(&access).await.len(), 1);
}
