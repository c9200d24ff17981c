//! The first opening of an installation.

use std::os::unix::fs::PermissionsExt;

use annals_access::{Access, AccessError, Author, Client, OperatorPassword, Permission, Secret};
use annals_schemas::ids::OPERATOR_CUSTOMER;
use annals_schemas::{Actor, Event};
use annals_store::sql::sql;

use crate::support::{Engine, Home, PASSWORD, personal, suite, told};

suite!(
    the_first_opening_makes_the_operator_and_the_next_ones_do_not,
    the_first_opening_tells_what_it_made,
    openings_at_once_make_one_installation,
    a_damaged_key_is_named_and_not_replaced,
);

/// The operator's password: that of the file, or one that is set where there is none.
async fn password(home: &Home, access: &Access) -> String {
    let Some(file) = home.database().operator_password() else {
        let by = Author::command_line();
        access.set_password("operator", Secret::new(PASSWORD), &by).await.unwrap();
        return PASSWORD.to_owned();
    };
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let password = text.strip_suffix('\n').unwrap();
    assert!(password.len() >= 24 && !password.contains(char::is_whitespace));
    password.to_owned()
}

async fn the_first_opening_makes_the_operator_and_the_next_ones_do_not(engine: Engine) {
    let home = Home::new(engine).await;
    let first = home.opened().await;
    let expected = match engine {
        Engine::Embedded => OperatorPassword::InFile(home.database().operator_password().unwrap()),
        Engine::Postgres => OperatorPassword::Unset,
    };
    assert_eq!(first.operator, expected);
    let password = password(&home, &first.access).await;

    let second = home.opened().await;
    assert_eq!(second.operator, OperatorPassword::AlreadyThere);
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

async fn the_first_opening_tells_what_it_made(engine: Engine) {
    let home = Home::new(engine).await;
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

async fn openings_at_once_make_one_installation(engine: Engine) {
    let home = Home::new(engine).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (database, clock) = (home.database(), home.clock.clone());
            tokio::spawn(async move {
                let control = database.control().await.unwrap();
                Access::open_with_clock(control, &database, clock).await.unwrap()
            })
        })
        .collect();
    let mut opened = Vec::new();
    for task in tasks {
        opened.push(task.await.unwrap());
    }
    let made = opened.iter().filter(|opened| opened.operator != OperatorPassword::AlreadyThere);
    assert_eq!(made.count(), 1);
    assert_eq!(told(&opened[0].access).await.len(), 2);
    let password = password(&home, &opened[0].access).await;
    for opened in &opened {
        opened.access.sign_in("operator", &password, &Client::local(), "papi").await.unwrap();
    }
}

async fn a_damaged_key_is_named_and_not_replaced(engine: Engine) {
    let home = Home::new(engine).await;
    let control = home.process().await.control().clone();
    sql("UPDATE installation SET secret = ?").bind(vec![0_u8]).execute(control.pool()).await.unwrap();
    let place = control.place().clone();
    let error = Access::open(control, &home.database()).await.unwrap_err().to_string();
    assert_eq!(error, format!("the installation's key in `{place}` is damaged"));
}

#[tokio::test]
async fn what_a_crash_left_is_replaced() {
    let home = Home::new(Engine::Embedded).await;
    let file = home.database().operator_password().unwrap();
    for left in [file.clone(), file.with_extension("new"), file.with_file_name("operator-password.new")] {
        std::fs::write(&left, "of an installation that was never committed\n").unwrap();
        std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o666)).unwrap();
    }
    let access = home.process().await;
    let password = password(&home, &access).await;
    access.sign_in("operator", &password, &Client::local(), "papi").await.unwrap();
}

#[tokio::test]
async fn an_installation_that_cannot_be_finished_is_not_begun() {
    let home = Home::new(Engine::Embedded).await;
    let database = home.database();
    let file = database.operator_password().unwrap();
    std::fs::create_dir(&file).unwrap();
    let control = database.control().await.unwrap();
    let error = Access::open(control.clone(), &database).await.unwrap_err();
    assert!(matches!(&error, AccessError::PasswordFile { path, .. } if *path == file), "{error}");
    let rows: i64 = sql("SELECT count(*) FROM accounts").fetch_scalar(control.pool()).await.unwrap();
    assert_eq!(rows, 0);

    std::fs::remove_dir(&file).unwrap();
    let opened = Access::open(control, &database).await.unwrap();
    assert_eq!(opened.operator, OperatorPassword::InFile(file));
}
