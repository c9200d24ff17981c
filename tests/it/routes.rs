//! Every route of papi's own table: which audit events it leaves, and that another customer's objects look to it like
//! unknown ones. A new route fails these tests until it is entered here.

use std::collections::HashSet;

use annals_bus::Bus;
use annals_producers::publisher;
use annals_query_api::papi::{ROUTES, Route};
use annals_schemas::{
    ActionRecorded, Actor, ActorKind, Event, HostIdentity, HostLoggedOn, Meta, Personal, PersonalData,
    Severity,
};
use chrono::Utc;
use uuid::Uuid;

use crate::support::home::{CUSTOMER, PASSWORD};
use crate::support::{Home, Server, block_on, http, log, until, views};

const LOGIN: &str = "LoginSucceeded";
const FAILED: &str = "LoginFailed";
const LOGOUT: &str = "LoggedOut";
/// A read of the audit log.
const READ: &str = "ActionRecorded AUDIT_LOG_READ";

/// What a function needs beyond credentials, to be answered well.
fn parameters(route: &Route) -> &'static str {
    match route.name {
        "login" | "logout" | "ping" | "auditlog/ping" | "session/ping" | "auditlog/get_events" => "",
        "session/get_users_logged_on" => "ip_address=10.0.0.1",
        other => panic!("enter what `{other}` needs"),
    }
}

/// The audit events that a function leaves beside those of signing in, when it does what it is asked.
fn left_by(route: &Route) -> &'static [&'static str] {
    match route.name {
        // The login is its event; by a cookie alone it changes nothing and leaves none (architecture, section 8).
        "login" | "ping" | "auditlog/ping" | "session/ping" | "session/get_users_logged_on" => &[],
        "logout" => &[LOGOUT],
        "auditlog/get_events" => &[READ],
        other => panic!("enter what `{other}` leaves"),
    }
}

/// Audit events that annals told of itself since the last look.
struct Watch<'a> {
    home: &'a Home,
    seen: HashSet<Uuid>,
    looks: usize,
}

impl<'a> Watch<'a> {
    fn new(home: &'a Home) -> Self {
        let mut watch = Self { home, seen: HashSet::new(), looks: 0 };
        watch.look();
        watch
    }

    /// The outbox is brought into the log in order: once a later event of our own is there, nothing earlier is missing.
    fn look(&mut self) -> Vec<String> {
        self.looks += 1;
        let barrier = format!("barrier-{}", self.looks);
        self.home.add_customer(&barrier);
        let is_barrier =
            |event: &Event| event.personal().is_some_and(|p| p.entity_id.as_ref() == Some(&barrier));
        let records = until("the barrier is in the log", || {
            let records = log::read(self.home);
            records.iter().any(|record| record.event.as_ref().is_some_and(is_barrier)).then_some(records)
        });
        let mut new: Vec<String> = Vec::new();
        for event in
            records.iter().filter_map(|record| record.event.as_ref()).filter(|event| log::is_own(event))
        {
            if self.seen.insert(event.meta().event_id) && !is_barrier(event) {
                let name = event.event_type().name();
                new.push(match event {
                    Event::ActionRecorded(action) => format!("{name} {}", action.action),
                    Event::ConfigurationChanged(change) => format!("{name} {}", change.action),
                    _ => name.to_owned(),
                });
            }
        }
        new.sort();
        new
    }
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_route_leaves_exactly_the_audit_events_that_are_promised() {
    let home = Home::new();
    let server = Server::start(&home).ready();
    // An account for each: a read is told at once only when it is the account's first for a minute.
    let account = |index: usize, way: &str| format!("{way}{index}@acme.example");
    for index in 0..ROUTES.len() {
        for way in ["good", "cookie"] {
            home.add_account(&account(index, way), CUSTOMER, &["can_manage_users", "can_view_appliances"]);
        }
    }
    let mut watch = Watch::new(&home);
    for (index, route) in ROUTES.iter().enumerate() {
        let url = |more: &str| format!("/papi/{}.json?{}&{more}", route.name, parameters(route));
        let success = |answer: http::Answer| answer.json()["success"].clone();
        // Nobody: whoever would have changed something is a failed login, whoever would have looked is nothing.
        assert_eq!(success(server.get(&url(""))), 0, "{}", route.name);
        let expected = if route.mutating { sorted(&[FAILED]) } else { vec![] };
        assert_eq!(watch.look(), expected, "{} by nobody", route.name);
        // Somebody with a wrong password.
        let name = account(index, "good");
        assert_eq!(success(server.get(&url(&format!("username={name}&password=wrong")))), 0);
        assert_eq!(watch.look(), sorted(&[FAILED]), "{} with a wrong password", route.name);
        // Somebody with the right one: an implicit login leaves its own event besides.
        assert_eq!(success(server.get(&url(&format!("username={name}&password={PASSWORD}")))), 1);
        let expected = sorted(&[&[LOGIN], left_by(route)].concat());
        assert_eq!(watch.look(), expected, "{} with the password", route.name);
        // Somebody with a cookie.
        let cookie = server.sign_in_as(&account(index, "cookie"));
        assert_eq!(watch.look(), sorted(&[LOGIN]));
        let answer = server.get_with(&url(""), &cookie);
        assert_eq!(success(answer), 1, "{} by cookie", route.name);
        assert_eq!(watch.look(), sorted(left_by(route)), "{} by cookie", route.name);
        // A cookie that means nothing.
        assert_eq!(success(server.get_with(&url(""), "PHPSESSID=0123456789abcdef")), 0);
        let expected = if route.mutating { sorted(&[FAILED]) } else { vec![] };
        assert_eq!(watch.look(), expected, "{} by an unknown cookie", route.name);
    }
    // What is no function leaves nothing, whoever asks.
    server.get(&format!("/papi/auditlog/delete_events.json?username={}&password=wrong", account(0, "good")));
    assert_eq!(watch.look(), Vec::<String>::new());
    server.stop();
}

/// What only the other customer has.
const FOREIGN_CUSTOMER: &str = "globex";
const FOREIGN_ACCOUNT: &str = "grace@globex.example";
const FOREIGN_ADDRESS: &str = "198.51.100.77";
const FOREIGN_ENTITY: &str = "secret-device";

/// Ways to name an object: the parameter, the other customer's object, and one that nobody has.
fn names(route: &Route, event: Uuid) -> Vec<(&'static str, String, String)> {
    let pair = |parameter, foreign: &str, unknown: &str| (parameter, foreign.to_owned(), unknown.to_owned());
    match route.name {
        "login" | "logout" | "ping" | "auditlog/ping" | "session/ping" => vec![],
        "auditlog/get_events" => vec![
            pair("audit_event_id", &event.simple().to_string(), &Uuid::new_v4().simple().to_string()),
            pair("affected_customers", FOREIGN_CUSTOMER, "unknown"),
            pair("accounts", FOREIGN_ACCOUNT, "unknown@globex.example"),
            pair("source_ips", FOREIGN_ADDRESS, "198.51.100.78"),
            pair("portal_entity_ids", FOREIGN_ENTITY, "unknown-device"),
            pair("action_types", "GLOBEX_ACTION", "UNKNOWN_ACTION"),
            pair("entity_types", "globex-thing", "unknown-thing"),
        ],
        "session/get_users_logged_on" => vec![
            pair("customer", FOREIGN_CUSTOMER, "unknown"),
            pair("ip_address", FOREIGN_ADDRESS, "198.51.100.78"),
        ],
        other => panic!("enter by which names `{other}` can be asked"),
    }
}

/// Events of the other customer, by which its objects are known.
fn foreign_events(customer: Uuid) -> Vec<Event> {
    let meta = |kind| Meta {
        event_id: Uuid::now_v7(),
        customer,
        occurred_at: Utc::now(),
        source: "urn:test".to_owned(),
        actor: Actor::new(kind, Uuid::new_v4()),
    };
    let personal = |account: &str| Personal {
        account: Some(account.to_owned()),
        address: Some(FOREIGN_ADDRESS.to_owned()),
        ..Personal::default()
    };
    vec![
        ActionRecorded {
            meta: meta(ActorKind::PortalAccount),
            action: "GLOBEX_ACTION".to_owned(),
            category: "test".to_owned(),
            severity: Severity::Info,
            entity_type: Some("globex-thing".to_owned()),
            count: 1,
            personal: PersonalData::Personal(Personal {
                entity_id: Some(FOREIGN_ENTITY.to_owned()),
                ..personal(FOREIGN_ACCOUNT)
            }),
        }
        .into(),
        HostLoggedOn {
            meta: meta(ActorKind::HostAccount),
            host: "WS1.globex.example".to_owned(),
            logon_id: Some("0x1".to_owned()),
            logon_type: Some(3),
            identity: HostIdentity::Person,
            personal: PersonalData::Personal(personal("grace")),
        }
        .into(),
    ]
}

/// An answer without what differs between any two.
fn comparable(mut answer: http::Answer) -> http::Answer {
    answer.headers.retain(|line| !line.to_lowercase().starts_with("date:"));
    answer
}

#[test]
fn on_every_route_another_customers_objects_cannot_be_told_from_unknown_ones() {
    let home = Home::new();
    let customer = home.add_customer(FOREIGN_CUSTOMER);
    home.add_account(FOREIGN_ACCOUNT, FOREIGN_CUSTOMER, &["can_manage_users", "can_view_appliances"]);
    let server = Server::start(&home).ready();
    let events = foreign_events(customer);
    block_on(async {
        let bus = home.bus().await;
        for event in &events {
            let record = publisher::record(event).unwrap();
            bus.append(event.event_type().topic().name, vec![record]).await.unwrap();
        }
        bus.close().await;
    });
    let (ours, theirs) = (server.sign_in(), server.sign_in_as(FOREIGN_ACCOUNT));
    views::outbox_empty(&home);
    views::caught_up(&home);
    let mut tried = 0;
    for route in ROUTES {
        for (parameter, foreign, unknown) in names(route, events[0].meta().event_id) {
            for format in ["json", "xml"] {
                let ask = |value: &str, cookie: &str| {
                    let given = if parameter == "ip_address" { "" } else { parameters(route) };
                    let path = format!("/papi/{}.{format}?{given}&{parameter}={value}", route.name);
                    comparable(server.get_with(&path, cookie))
                };
                let (denied, nothing) = (ask(&foreign, &ours), ask(&unknown, &ours));
                assert_eq!(denied, nothing, "{} by {parameter}", route.name);
                for secret in [FOREIGN_ACCOUNT, FOREIGN_ADDRESS, FOREIGN_ENTITY, "grace"] {
                    assert!(!denied.body.contains(secret), "{} by {parameter}: {denied:?}", route.name);
                }
                if format == "json" && parameter != "customer" {
                    let found = ask(&foreign, &theirs).json();
                    assert!(
                        !found["data"].as_array().unwrap().is_empty(),
                        "{} by {parameter}: {found}",
                        route.name
                    );
                }
                tried += 1;
            }
        }
        // The account itself: a wrong password of somebody else's account is answered as an unknown account is.
        let sign_in = |name: &str| {
            let given = parameters(route);
            comparable(
                server.get(&format!("/papi/{}.json?{given}&username={name}&password=wrong", route.name)),
            )
        };
        assert_eq!(sign_in(FOREIGN_ACCOUNT), sign_in("unknown@globex.example"), "{}", route.name);
    }
    assert_eq!(tried, 2 * 9);
    server.stop();
}
