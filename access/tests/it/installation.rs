//! The first opening of an installation.

use std::os::unix::fs::PermissionsExt;

use annals_access::{Access, AccessError, Client, Permission};
use annals_schemas::ids::OPERATOR_CUSTOMER;
use annals_schemas::{Actor, Event};
use annals_store::ControlDb;

use crate::support::{Home, personal, told};

fn password(home: &Home) -> String {
    let file = home.directory().operator_password();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let password = text.strip_suffix('\n').unwrap();
    assert!(password.len() >= 24 && !password.contains(char::is_whitespace));
    password.to_owned()
}

#[tokio::test]
async fn the_first_opening_makes_the_operator_and_the_next_ones_do_not() {
    let home = Home::new();
    let first = home.opened().await;
    assert_eq!(first.operator_password_file, Some(home.directory().operator_password()));
    let password = password(&home);

    let second = home.opened().await;
    assert_eq!(second.operator_password_file, None);
    for access in [&first.access, &second.access] {
        let principal =
            access.sign_in("operator", &password, &Client::local(), "papi").await.unwrap().principal;
        assert_eq!((principal.email.as_str(), principal.number), ("operator", 1));
        assert_eq!(principal.customer.id, OPERATOR_CUSTOMER);
        let granted: Vec<_> = Permission::ALL
            .into_iter()
            .filter(|permission| principal.may(*permission, OPERATOR_CUSTOMER))
            .collect();
        assert_eq!(granted, [Permission::Operate]);
        assert_eq!(principal.grants.customers().count(), 1);
    }
}

#[tokio::test]
async fn the_first_opening_tells_what_it_made() {
    let home = Home::new();
    let access = home.process().await;
    let events = told(&access).await;
    let names: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::ConfigurationChanged(event) => {
                (event.action.as_str(), event.entity_type.as_deref().unwrap())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, [("CUSTOMER_ADDED", "customer"), ("ACCOUNT_ADDED", "account")]);
    for event in &events {
        assert_eq!(event.meta().actor, Actor::system());
        assert_eq!(event.meta().customer, OPERATOR_CUSTOMER);
        assert_eq!(personal(event).entity_id.as_deref(), Some("operator"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openings_at_once_make_one_installation() {
    let home = Home::new();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (directory, clock) = (home.directory(), home.clock.clone());
            tokio::spawn(async move {
                let control = ControlDb::open(&directory).await.unwrap();
                Access::open_with_clock(control, &directory, clock).await.unwrap()
            })
        })
        .collect();
    let mut opened = Vec::new();
    for task in tasks {
        opened.push(task.await.unwrap());
    }
    assert_eq!(opened.iter().filter(|opened| opened.operator_password_file.is_some()).count(), 1);
    let password = password(&home);
    for opened in &opened {
        opened.access.sign_in("operator", &password, &Client::local(), "papi").await.unwrap();
    }
    assert_eq!(opened[0].access.outbox_len().await.unwrap(), 2 + 8);
}

#[tokio::test]
async fn what_a_crash_left_is_replaced() {
    let home = Home::new();
    let file = home.directory().operator_password();
    for left in [file.clone(), file.with_extension("new"), file.with_file_name("operator-password.new")] {
        std::fs::write(&left, "of an installation that was never committed\n").unwrap();
        std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o666)).unwrap();
    }
    let access = home.process().await;
    let password = password(&home);
    access.sign_in("operator", &password, &Client::local(), "papi").await.unwrap();
}

#[tokio::test]
async fn an_installation_that_cannot_be_finished_is_not_begun() {
    let home = Home::new();
    let file = home.directory().operator_password();
    std::fs::create_dir(&file).unwrap();
    let directory = home.directory();
    let control = ControlDb::open(&directory).await.unwrap();
    let error = Access::open(control.clone(), &directory).await.unwrap_err();
    assert!(matches!(&error, AccessError::PasswordFile { path, .. } if *path == file), "{error}");
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM accounts").fetch_one(control.pool()).await.unwrap();
    assert_eq!(rows, 0);

    std::fs::remove_dir(&file).unwrap();
    assert!(Access::open(control, &directory).await.unwrap().operator_password_file.is_some());
}

#[tokio::test]
async fn a_damaged_key_is_named_and_not_replaced() {
    let home = Home::new();
    let control = home.process().await.control().clone();
    sqlx::query("UPDATE installation SET secret = x'00'").execute(control.pool()).await.unwrap();
    let error = Access::open(control, &home.directory()).await.unwrap_err().to_string();
    assert!(
        error.starts_with("the installation's key in `") && error.ends_with("control.db` is damaged"),
        "{error}"
    );
}
