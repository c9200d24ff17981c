//! get_events: every parameter, both generations of names, order and paging.

use annals_access::Permission;
use annals_schemas::{ActorKind, Event, Severity};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::engine::{Engine, suite};
use crate::events::{Action, utc};
use crate::http::Ask;
use crate::world::{World, names, number};

suite!(
    an_event_has_every_field_of_both_generations,
    the_xml_of_the_quick_start_has_the_fields_of_its_sample,
    each_filter_leaves_what_it_says,
    filters_combine_and_repeated_ones_are_merged,
    the_zone_applies_to_the_range_and_to_every_time,
    the_newest_come_first_and_every_field_sorts_both_ways,
    pages_of_any_size_and_order_make_up_the_whole_with_ties,
    no_results_and_huge_offsets_are_empty_pages,
    a_thousand_results_are_the_default_and_ten_thousand_the_most,
    values_that_cannot_be_read_are_refused_by_name,
    reads_are_events_also_when_nothing_is_found,
    a_login_is_shown_as_in_the_sample,
    an_event_from_the_future_is_shown_at_the_time_of_its_append,
    the_longest_lists_are_answered,
);

const ADA: &str = "ada@acme.example";

/// Five events, told apart by everything that can be asked for.
fn five(acme: Uuid) -> Vec<Event> {
    let event = |id, at| Action::new(id, acme, at);
    let cloud = (ActorKind::CloudIdentity, Uuid::from_u128(5));
    [
        Action {
            account: "alice",
            qualified: Some("SHIRE\\alice"),
            address: Some("10.0.0.1"),
            entity: ("host", "HOST-1"),
            ..event(1, "2020-05-01 10:00:00")
        },
        Action {
            account: "bob",
            address: Some("10.0.0.2"),
            name: "OTHER_DONE",
            category: "others",
            severity: Severity::Error,
            ..event(2, "2020-05-01 10:00:00.5")
        },
        Action {
            account: "alice",
            address: Some("::1"),
            severity: Severity::Warning,
            ..event(3, "2020-05-01 11:00:00")
        },
        Action {
            account: "carol",
            qualified: Some("arn:aws:iam::1:user/carol"),
            actor: cloud,
            entity: ("user", "carol"),
            ..event(4, "2020-05-02 00:00:00")
        },
        Action { account: "bob", address: Some("10.0.0.1"), ..event(5, "2020-05-02 00:00:00") },
    ]
    .map(Action::event)
    .to_vec()
}

/// A world with these events, and the cookie of an administrator.
async fn world(engine: Engine) -> (World, String) {
    let world = World::start(engine).await;
    let acme = world.customer("acme@acme.example").await;
    world.account(ADA, &acme, &[Permission::ManageUsers]).await;
    world.publish(&five(acme.id)).await;
    let cookie = world.cookie(ADA).await;
    world.empty_outbox().await;
    (world, cookie)
}

async fn an_event_has_every_field_of_both_generations(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let events = world.events(&cookie, &[("audit_event_id", &format!("{:032x}", 1))]).await;
    let expected = json!({
        "audit_event_id": "00000000000000000000000000000001",
        "account": "alice",
        "customer": "acme@acme.example",
        "entity_type": "host",
        "entity_id": "HOST-1",
        "portal_entity_id": "HOST-1",
        "event_name": "THING_DONE",
        "audit_action_type": "THING_DONE",
        "event_category": "things",
        "category": "things",
        "event_severity": "INFO",
        "severity": "INFO",
        "ts": "2020-05-01 10:00:00",
        "recorded_at": "2020-05-01 10:00:00",
        "src_ip": "10.0.0.1",
        "source_ip": "10.0.0.1",
    });
    assert_eq!(events, [expected]);
}

async fn the_xml_of_the_quick_start_has_the_fields_of_its_sample(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let ask = Ask::get("/papi/auditlog/get_events.xml?max_results=1&accounts=carol").cookie(&cookie);
    let reply = world.ask(&ask).await;
    let document = roxmltree::Document::parse(reply.text()).unwrap();
    let element = document.descendants().find(|node| node.has_tag_name("element")).unwrap();
    let text = |name| {
        let node = element.children().find(|node| node.has_tag_name(name)).unwrap();
        node.text().unwrap_or_default().to_owned()
    };
    for (name, value) in [
        ("entity_id", "carol"),
        ("entity_type", "user"),
        ("event_name", "THING_DONE"),
        ("ts", "2020-05-02 00:00:00"),
        ("src_ip", ""),
        ("event_severity", "INFO"),
        ("event_category", "things"),
        ("account", "carol"),
    ] {
        assert_eq!(text(name), value, "{name}");
    }
    assert!(reply.text().contains("<src_ip></src_ip>"));
}

/// Every filter: parameter, value, and the events that it leaves.
async fn each_filter_leaves_what_it_says(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let dashed = Uuid::from_u128(3).hyphenated().to_string().to_uppercase();
    for (name, value, expected) in [
        ("accounts", "alice", &[1, 3][..]),
        ("accounts", "ALICE,bob", &[1, 2, 3, 5]),
        ("accounts", "shire\\ALICE", &[1]),
        ("accounts", "ARN:aws:iam::1:user/carol", &[4]),
        ("accounts", "nobody", &[]),
        ("accounts", " , ", &[1, 2, 3, 4, 5]),
        ("affected_customers", "ACME@acme.example", &[1, 2, 3, 4, 5]),
        ("affected_customers", "nobody", &[]),
        ("source_ips", "10.0.0.1", &[1, 5]),
        ("source_ips", "::ffff:10.0.0.2, ::1", &[2, 3]),
        ("source_ips", "localhost", &[]),
        ("source_ips", "localhost,10.0.0.2", &[2]),
        ("action_types", "OTHER_DONE", &[2]),
        ("action_types", "OTHER_DONE,THING_DONE", &[1, 2, 3, 4, 5]),
        ("action_types", "SUCCESSFUL_LOGIN", &[]),
        ("entity_types", "host,user", &[1, 4]),
        ("portal_entity_ids", "HOST-1", &[1]),
        ("portal_entity_ids", "host-1", &[]),
        ("audit_event_id", "00000000000000000000000000000002", &[2]),
        ("audit_event_id", &dashed, &[3]),
        ("audit_event_id", "1", &[]),
        ("audit_event_id", "00000000000000000000000000000002,00000000000000000000000000000004", &[2, 4]),
        ("start_time", "2020-05-01 10:00:01", &[3, 4, 5]),
        ("start_time", "2020-05-02", &[4, 5]),
        ("end_time", "2020-05-01T10:00:00", &[1, 2]),
        ("end_time", "2020-05-01 10:00:00.4", &[1]),
        ("end_time", "2020-04-30", &[]),
        ("unknown", "x", &[1, 2, 3, 4, 5]),
    ] {
        let mut ids = world.ids(&cookie, &[(name, value)]).await;
        ids.sort_unstable();
        assert_eq!(ids, expected, "{name}={value}");
    }
}

async fn filters_combine_and_repeated_ones_are_merged(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let ids = world.ids(&cookie, &[("accounts", "alice"), ("source_ips", "10.0.0.1,10.0.0.2")]).await;
    assert_eq!(ids, [1]);
    let ids = world
        .ids(&cookie, &[("accounts", "carol"), ("accounts", "bob"), ("end_time", "2020-05-01 23:59")])
        .await;
    assert_eq!(ids, [2]);
}

async fn the_zone_applies_to_the_range_and_to_every_time(engine: Engine) {
    let (world, cookie) = world(engine).await;
    for zone in ["timezone", "time_zone"] {
        let parameters =
            [(zone, "Asia/Taipei"), ("start_time", "2020-05-01 19:00"), ("end_time", "2020-05-01 19:00:00")];
        let events = world.events(&cookie, &parameters).await;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["ts"], "2020-05-01 19:00:00");
        assert_eq!(events[0]["recorded_at"], "2020-05-01 19:00:00");
    }
}

async fn the_newest_come_first_and_every_field_sorts_both_ways(engine: Engine) {
    let (world, cookie) = world(engine).await;
    assert_eq!(world.ids(&cookie, &[]).await, [4, 5, 3, 2, 1]);
    for (order, expected) in [
        ("ts", [1, 2, 3, 4, 5]),
        ("ts desc", [4, 5, 3, 2, 1]),
        ("TS DESC,audit_event_id DESC", [5, 4, 3, 2, 1]),
        ("audit_event_id DESC", [5, 4, 3, 2, 1]),
        ("recorded_at", [1, 2, 3, 4, 5]),
        ("account", [1, 3, 2, 5, 4]),
        ("account DESC, ts", [4, 2, 5, 1, 3]),
        ("event_name", [2, 1, 3, 4, 5]),
        ("Audit_Action_Type desc", [1, 3, 4, 5, 2]),
        ("category", [2, 1, 3, 4, 5]),
        ("event_severity", [2, 1, 4, 5, 3]),
        ("severity DESC", [3, 1, 4, 5, 2]),
        ("src_ip", [4, 3, 1, 5, 2]),
        ("source_ip desc", [2, 1, 5, 3, 4]),
        ("entity_type", [1, 2, 3, 5, 4]),
        ("entity_id", [1, 2, 3, 5, 4]),
        ("portal_entity_id DESC", [4, 2, 3, 5, 1]),
        ("customer", [1, 2, 3, 4, 5]),
    ] {
        assert_eq!(world.ids(&cookie, &[("orderby", order)]).await, expected, "{order}");
    }
}

async fn pages_of_any_size_and_order_make_up_the_whole_with_ties(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let acme = world.access.find_customer("acme@acme.example").await.unwrap();
    let ties: Vec<Event> =
        (100..140).map(|id| Action::new(id, acme.id, "2020-06-01 00:00:00").event()).collect();
    world.publish(&ties).await;
    for order in ["", "ts", "account", "severity DESC", "src_ip"] {
        let whole = world.ids(&cookie, &[("orderby", order)]).await;
        assert_eq!(whole.len(), 45);
        for size in [1_usize, 7, 44, 45, 46] {
            let mut paged = Vec::new();
            loop {
                let (limit, offset) = (size.to_string(), paged.len().to_string());
                let parameters = [("orderby", order), ("max_results", &limit), ("offset_results", &offset)];
                let page = world.ids(&cookie, &parameters).await;
                assert!(page.len() <= size);
                if page.is_empty() {
                    break;
                }
                paged.extend(page);
            }
            assert_eq!(paged, whole, "orderby={order}, pages of {size}");
        }
    }
}

async fn no_results_and_huge_offsets_are_empty_pages(engine: Engine) {
    let (world, cookie) = world(engine).await;
    assert_eq!(world.ids(&cookie, &[("max_results", "0")]).await, [0; 0]);
    for offset in ["5", "4294967296", "18446744073709551615", "99999999999999999999999"] {
        assert_eq!(world.ids(&cookie, &[("offset_results", offset)]).await, [0; 0], "{offset}");
    }
    assert_eq!(
        world.ids(&cookie, &[("max_results", "99999999999999999999"), ("offset_results", "4")]).await,
        [1]
    );
}

async fn a_thousand_results_are_the_default_and_ten_thousand_the_most(engine: Engine) {
    let world = World::start(engine).await;
    let acme = world.customer("acme").await;
    world.account(ADA, &acme, &[Permission::ManageUsers]).await;
    let many: Vec<Event> =
        (1..=10_002).map(|id| Action::new(id, acme.id, "2020-06-01 00:00:00").event()).collect();
    world.publish(&many).await;
    let cookie = world.cookie(ADA).await;
    assert_eq!(world.ids(&cookie, &[]).await.len(), 1_000);
    for asked in ["10000", "10001", "99999999999"] {
        assert_eq!(world.ids(&cookie, &[("max_results", asked)]).await.len(), 10_000);
    }
    let rest = world.ids(&cookie, &[("max_results", "10000"), ("offset_results", "10000")]).await;
    assert_eq!(rest, [10_001, 10_002]);
}

async fn values_that_cannot_be_read_are_refused_by_name(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let long = "x,".repeat(1_001);
    for (name, value, text) in [
        ("max_results", "-1", "parameter `max_results` must be a whole number, 0 or more"),
        ("offset_results", "x", "parameter `offset_results` must be a whole number, 0 or more"),
        ("timezone", "Mars/Olympus", "unknown time zone `Mars/Olympus`"),
        ("orderby", "shoe_size", "parameter `orderby` cannot be `shoe_size`"),
        ("orderby", "ts sideways", "parameter `orderby` cannot be `ts sideways`"),
        ("accounts", &long, "parameter `accounts` lists more than 1000 values"),
        ("start_time", "yesterday", "yesterday"),
        ("end_time", "2020-13-01", "2020-13-01"),
        ("start_time", "2020-05-01 10:00:00Z", "2020-05-01 10:00:00Z"),
    ] {
        let (code, error) = world.papi("auditlog/get_events", &cookie, &[(name, value)]).await.error();
        assert_eq!(code, 3005, "{name}");
        assert!(error.contains(text), "{error}");
    }
    let range = [("start_time", "2020-05-02"), ("end_time", "2020-05-01")];
    assert_eq!(world.papi("auditlog/get_events", &cookie, &range).await.error().0, 3005);
    assert_eq!(names(&world.outbox().await), [""; 0], "none of it was a read");
}

async fn reads_are_events_also_when_nothing_is_found(engine: Engine) {
    let (world, cookie) = world(engine).await;
    assert_eq!(world.ids(&cookie, &[("accounts", "nobody")]).await, [0; 0]);
    assert_eq!(world.ids(&cookie, &[]).await.len(), 5);
    world.papi("auditlog/get_events", "wrong", &[]).await.error();
    world.access.flush(true).await.unwrap();
    let events = world.outbox().await;
    assert_eq!(names(&events), ["AUDIT_LOG_READ", "AUDIT_LOG_READ"]);
    assert_eq!(events[0].meta().source, "annals:papi");
    assert_eq!(events[0].personal().unwrap().account.as_deref(), Some(ADA));
    assert_eq!(events[0].personal().unwrap().address.as_deref(), Some("127.0.0.1"));
}

async fn a_login_is_shown_as_in_the_sample(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let login = format!(
        "/papi/login?{}",
        crate::http::form(&[("username", ADA), ("password", crate::world::PASSWORD)])
    );
    world.ask(&Ask::post(&login)).await.data();
    world.relay().await;
    let events = world.events(&cookie, &[("action_types", "SUCCESSFUL_LOGIN")]).await;
    assert_eq!(events.len(), 1);
    assert_eq!((&events[0]["entity_id"], &events[0]["entity_type"]), (&Value::Null, &Value::Null));
    assert_eq!(events[0]["account"], ADA);
    assert_eq!(events[0]["src_ip"], "127.0.0.1");
    assert_eq!(
        (&events[0]["event_category"], &events[0]["severity"]),
        (&json!("authentication"), &json!("INFO"))
    );
}

async fn an_event_from_the_future_is_shown_at_the_time_of_its_append(engine: Engine) {
    let (world, cookie) = world(engine).await;
    let acme = world.access.find_customer("acme@acme.example").await.unwrap();
    let future = Action::new(9, acme.id, "2999-01-01 00:00:00").event();
    world.append_at(&future, utc("2020-05-01 10:30:00")).await;
    assert_eq!(world.ids(&cookie, &[]).await, [4, 5, 3, 9, 2, 1]);
    let events = world
        .events(&cookie, &[("start_time", "2020-05-01 10:30"), ("end_time", "2020-05-01 10:30:00")])
        .await;
    assert_eq!(number(&events[0]["audit_event_id"]), 9);
    assert_eq!(events[0]["ts"], "2020-05-01 10:30:00");
}

/// Lists as long as they may be, all of whose values are known, so that none is dropped before the view is asked.
async fn the_longest_lists_are_answered(engine: Engine) {
    let world = World::start(engine).await;
    let acme = world.customer("acme").await;
    world.account(ADA, &acme, &[Permission::ManageUsers]).await;
    let words: Vec<&'static str> = (0..1_000).map(|number| &*format!("w{number}").leak()).collect();
    let addresses: Vec<&'static str> =
        (0..1_000).map(|n| &*format!("10.0.{}.{}", n / 250, n % 250).leak()).collect();
    let events: Vec<Event> = (1..)
        .zip(words.iter().zip(&addresses))
        .map(|(id, (word, address))| {
            let action = Action::new(id, acme.id, "2020-06-01 00:00:00");
            let actor = (ActorKind::HostAccount, Uuid::from_u128(id));
            Action {
                actor,
                account: word,
                name: word,
                address: Some(address),
                entity: (word, word),
                ..action
            }
            .event()
        })
        .collect();
    world.publish(&events).await;
    let cookie = world.cookie(ADA).await;
    let (words, addresses) = (words.join(","), addresses.join(","));
    let lists = [
        ("accounts", &*words),
        ("action_types", &words),
        ("entity_types", &words),
        ("portal_entity_ids", &words),
        ("source_ips", &addresses),
    ];
    for some in [&lists[..], &lists[1..], &lists[3..], &lists[4..]] {
        let body = crate::http::form(some);
        let reply = world.ask(&Ask::post("/papi/auditlog/get_events").form(body).cookie(&cookie)).await;
        assert_eq!(reply.data().as_array().unwrap().len(), 1_000);
    }
    // Few accounts, each with everything else.
    let accounts: Vec<String> = (0..300).map(|number| format!("w{number}")).collect();
    let body = crate::http::form(&[("accounts", &accounts.join(",")), ("portal_entity_ids", &words)]);
    let reply = world.ask(&Ask::post("/papi/auditlog/get_events").form(body).cookie(&cookie)).await;
    assert_eq!(reply.data().as_array().unwrap().len(), 300);
}
