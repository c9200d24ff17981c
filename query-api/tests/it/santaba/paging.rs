//! Size, offset, order, and how many there are.

use std::collections::HashSet;

use annals_query_api::ApiSettings;
use serde_json::Value;

use super::portal::{Portal, Record, VERSIONS};
use crate::engine::{Engine, suite};

suite!(
    pages_of_any_size_make_up_the_whole_and_tell_how_many_there_are,
    a_page_is_fifty_unless_more_is_asked_for,
    later_versions_end_where_the_vendor_ends_and_the_setting_moves_it,
    every_order_sorts_both_ways_and_ends_with_the_id,
    fields_are_those_asked_for,
    each_read_is_an_event_and_a_refusal_is_none,
);

const MANY: u64 = 120;

async fn portal(engine: Engine, settings: ApiSettings) -> Portal {
    let portal = Portal::start_with(engine, settings).await;
    let users = ["sarah", "Victoria", ""];
    let ips = [Some("10.0.0.1"), None, Some("::1")];
    let sessions = [None, Some("S1"), Some("s2")];
    let events: Vec<_> = (0..MANY)
        .map(|number| {
            let index = usize::try_from(number).unwrap();
            let record = Record {
                username: users[index % 3],
                ip: ips[index / 3 % 3],
                session: sessions[index / 9 % 3],
                ..Record::new(
                    u128::from(number) + 1,
                    &portal.acme,
                    1_400_000_000 + i64::try_from(number / 5).unwrap(),
                )
            };
            record.event()
        })
        .collect();
    portal.world.publish(&events).await;
    portal
}

async fn pages_of_any_size_make_up_the_whole_and_tell_how_many_there_are(engine: Engine) {
    let portal = portal(engine, ApiSettings::default()).await;
    for query in ["", "sort=+username", "sort=-sessionId,ip", "filter=username:%22%22||ip~10"] {
        let (total, whole) = portal.page(&format!("size=1000&{query}")).await;
        for size in [1_usize, 7, 50, 119, 120] {
            let mut collected: Vec<Value> = Vec::new();
            loop {
                let query = format!("size={size}&offset={}&{query}", collected.len());
                let (again, page) = portal.page(&query).await;
                assert_eq!(again, total, "{query}");
                if page.is_empty() {
                    break;
                }
                collected.extend(page);
            }
            assert_eq!(collected, whole, "{size} {query}");
        }
        let ids: HashSet<String> = whole.iter().map(|item| item["id"].to_string()).collect();
        assert_eq!(ids.len(), usize::try_from(total).unwrap());
    }
    assert_eq!(portal.page("offset=5000").await, (MANY, vec![]));
}

async fn a_page_is_fifty_unless_more_is_asked_for(engine: Engine) {
    let portal = portal(engine, ApiSettings::default()).await;
    for version in VERSIONS {
        let most = if version == 1 { 50 } else { 120 };
        for (query, size) in
            [("", 50), ("size=", 50), ("size=1", 1), ("size=51", most.min(51)), ("size=1000", most)]
        {
            let query = format!("filter=happenedOn>:0&{query}");
            let (total, items) = portal.ask(version, &portal.get(version, &query)).await.page();
            assert_eq!((total, items.len()), (MANY, size), "{version} {query}");
        }
        for bad in ["size=0", "size=-1", "size=x", "offset=-1", "offset=1.5"] {
            let (status, code, text) = portal.ask(version, &portal.get(version, bad)).await.refusal();
            let name = bad.split_once('=').unwrap().0;
            assert_eq!((status, code), if version == 1 { (200, 1007) } else { (400, 1400) }, "{bad}");
            assert!(text.contains(&format!("`{name}`")), "{text}");
        }
    }
}

async fn later_versions_end_where_the_vendor_ends_and_the_setting_moves_it(engine: Engine) {
    let small = ApiSettings { audit_page_limit: 100, ..ApiSettings::default() };
    let portal = portal(engine, small).await;
    for version in [2, 3] {
        for (query, shown) in [("offset=50", 50), ("offset=99&size=1", 1), ("size=100", 100)] {
            let (total, items) = portal.ask(version, &portal.get(version, query)).await.page();
            assert_eq!((total, items.len()), (MANY, shown), "{query}");
        }
        for beyond in
            ["offset=51", "offset=100&size=1", "size=101", "size=1000", "offset=99999999999999999999"]
        {
            let refusal = portal.ask(version, &portal.get(version, beyond)).await.refusal();
            assert_eq!(
                refusal,
                (400, 1400, "the query limitation of auditLog is 100".to_owned()),
                "{beyond}"
            );
        }
    }
    let beyond = "filter=happenedOn>:0&offset=119";
    assert_eq!(portal.ask(1, &portal.get(1, beyond)).await.page().1.len(), 1);
    let far = "filter=happenedOn>:0&offset=99999999999999999999";
    assert_eq!(portal.ask(1, &portal.get(1, far)).await.page(), (MANY, vec![]));
}

async fn every_order_sorts_both_ways_and_ends_with_the_id(engine: Engine) {
    let portal = portal(engine, ApiSettings::default()).await;
    for field in ["username", "happenedOn", "sessionId", "id", "ip", "description"] {
        for (sign, ascending) in [("", true), ("+", true), ("-", false)] {
            let (_, items) = portal.page(&format!("size=1000&sort={sign}{field}")).await;
            let value = |item: &Value| match &item[field] {
                Value::Number(number) => format!("{number:>20}"),
                // Addresses go by their 16 bytes: `::1` before `::ffff:10.0.0.1`.
                Value::String(text) if field == "ip" => format!("{}{text}", u8::from(text.contains('.'))),
                Value::String(text) => text.clone(),
                _ => String::new(),
            };
            let values: Vec<_> = items.iter().map(&value).collect();
            let sorted = values.is_sorted_by(|a, b| if ascending { a <= b } else { a >= b });
            assert!(sorted, "{sign}{field}: {values:?}");
            let ids: Vec<_> = items.iter().map(|item| (value(item), item["id"].to_string())).collect();
            assert!(
                field == "id" || ids.is_sorted_by(|a, b| a.0 != b.0 || a.1 < b.1),
                "ties of {sign}{field} go by the id"
            );
        }
    }
    assert_eq!(portal.page("size=1000").await, portal.page("size=1000&sort=-happenedOn").await);
    for bad in ["nothing", "happenedOnLocal", "_all", "id;", "id,nothing", "--id", "Username"] {
        let (status, code, text) = portal.refusal(&format!("sort={bad}")).await;
        assert_eq!((status, code), (400, 1400), "{bad}");
        assert!(text.starts_with("parameter `sort` cannot be `"), "{text}");
    }
}

async fn fields_are_those_asked_for(engine: Engine) {
    let portal = portal(engine, ApiSettings::default()).await;
    for (fields, names) in [
        ("id", &["id"][..]),
        ("username,id", &["id", "username"]),
        ("id,nothing,Ip", &["id"]),
        ("nothing", &[]),
        ("happenedOnLocal,sessionId", &["happenedOnLocal", "sessionId"]),
    ] {
        let (total, items) = portal.page(&format!("fields={fields}")).await;
        assert_eq!(total, MANY);
        for item in items {
            assert_eq!(item.as_object().unwrap().keys().collect::<Vec<_>>(), names, "{fields}");
        }
    }
    for every in ["", "fields=", "fields=*", "fields=id&fields=*", "format=xml", "shoe=45"] {
        assert_eq!(portal.page(every).await.1[0].as_object().unwrap().len(), 7, "{every}");
    }
}

async fn each_read_is_an_event_and_a_refusal_is_none(engine: Engine) {
    let portal = portal(engine, ApiSettings::default()).await;
    portal.refusal("size=0").await;
    portal.refusal("filter=x").await;
    portal.ask(3, &portal.get_path(3, &format!("{}/2415", super::portal::LIST))).await.refusal();
    assert_eq!(portal.world.outbox().await, []);
    portal.page("filter=username:nobody").await;
    let events = portal.world.outbox().await;
    assert_eq!(crate::world::names(&events), ["AUDIT_LOG_READ"]);
    assert_eq!(events[0].meta().source, "annals:santaba");
    assert_eq!(events[0].meta().customer, portal.acme.id);
}
