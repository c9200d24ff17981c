//! Filters on each engine. What they mean without one is tested beside their meaning.

use annals_schemas::Event;

use super::portal::{Portal, Record};
use crate::engine::{Engine, suite};
use crate::http::{Ask, form};

suite!(
    each_filter_leaves_what_it_says,
    the_forms_of_real_clients_arrive,
    raw_bytes_of_a_filter_mean_the_same_as_encoded_ones,
    a_character_that_no_text_can_hold_finds_nothing,
    the_longest_filters_are_answered,
);

fn records(portal: &Portal) -> Vec<Event> {
    let record = |id, seconds| Record::new(id, &portal.acme, seconds);
    [
        Record { username: "Sarah", session: Some("S-One"), ..record(1, 1_000) },
        Record {
            username: "System:ActiveDiscovery",
            ip: None,
            description: "Checks 5% of (a) [b] $c & #d",
            ..record(2, 1_001)
        },
        Record {
            username: "SHIRE\\frodo",
            ip: Some("::1"),
            description: "Says \"friend\", and enters | leaves",
            ..record(3, 2_000)
        },
        Record {
            username: "",
            ip: Some("10.0.0.1"),
            description: "health check of straße_1*",
            ..record(4, 3_000)
        },
        Record {
            username: "ÉLODIE",
            ip: Some("10.0.0.10"),
            session: Some("S-One"),
            description: "",
            ..record(5, 3_000)
        },
    ]
    .map(Record::event)
    .to_vec()
}

async fn portal(engine: Engine) -> Portal {
    let portal = Portal::start(engine).await;
    portal.world.publish(&records(&portal)).await;
    portal
}

async fn each_filter_leaves_what_it_says(engine: Engine) {
    let portal = portal(engine).await;
    let all: &[u64] = &[1, 2, 3, 4, 5];
    let none: &[u64] = &[];
    let id = format!("id:{:032x}|00000000-0000-0000-0000-000000000003|2415", 1);
    for (filter, ids) in [
        ("username:Sarah", &[1][..]),
        ("username:sarah", none),
        ("username~sarah", &[1]),
        ("username~élodie", &[5]),
        ("username!:Sarah", &[2, 3, 4, 5]),
        ("username:\"System:ActiveDiscovery\"|\"Sarah\"", &[1, 2]),
        ("username:\"S*\"", &[1, 2, 3]),
        ("username:\"S*h\"", &[1]),
        ("username!~s", &[4, 5]),
        ("username:SHIRE\\frodo", &[3]),
        ("username:::\"empty\"", &[4]),
        ("username!::\"null\"", &[1, 2, 3, 5]),
        ("description~\"5% of\"", &[2]),
        ("description~\"5%25 of\"", &[2]),
        ("description~_1\\*", &[4]),
        ("description~\"STRASSE\"", none),
        ("description~\"STRAßE\"", &[4]),
        ("description:\"\"", &[5]),
        ("ip:\"::ffff:10.0.0.1\"", &[4]),
        ("ip~10.0", &[4, 5]),
        ("ip:10.0.0.*", &[4, 5]),
        ("ip:::1", &[3]),
        ("ip:::empty", &[2]),
        ("ip!:10.0.0.1", &[1, 2, 3, 5]),
        (&id, &[1, 3]),
        ("id!:00000000000000000000000000000001", &[2, 3, 4, 5]),
        ("sessionId:S-One", &[1, 5]),
        ("sessionId~s-o", &[1, 5]),
        ("sessionId:::empty", &[2, 3, 4]),
        ("happenedOn:3000", &[4, 5]),
        ("happenedOn!:3000", &[1, 2, 3]),
        ("happenedOn>1001", &[3, 4, 5]),
        ("happenedOn>:\"1001\"", &[2, 3, 4, 5]),
        ("happenedOn<1001", &[1]),
        ("happenedOn<:1001,happenedOn>1000", &[2]),
        ("happenedOn>99999999999999999999", none),
        ("happenedOn<99999999999999999999", all),
        ("_all~\"**\"", all),
        ("_all~health", &[4]),
        ("_all~\"* AND NOT *health*\"", &[1, 2, 3, 5]),
        ("_all~\"10.0 OR friend\"", &[3, 4, 5]),
        ("_all~\"(10.0 OR friend) AND NOT health\"", &[3, 5]),
        ("_all~\"health check\"", &[4]),
        ("_all!~S", &[5]),
        ("_all:\"10.0.0.10\"", &[5]),
        ("username:Sarah||happenedOn:3000,ip~.10", &[1, 5]),
        ("username:Sarah , happenedOn:3000 || ip:::empty", &[2]),
        ("nothing:x", none),
        ("nothing!:x", none),
        ("apiTokenId:5||username:Sarah", &[1]),
        ("happenedOn:\"login\"", none),
        ("happenedOnLocal>:1700000000", none),
    ] {
        assert_eq!(portal.ids(&form(&[("filter", filter)])).await, ids, "{filter}");
    }
    let both = form(&[("filter", "ip~10||ip:::1"), ("filter", "_all!~health")]);
    assert_eq!(portal.ids(&both).await, [3, 5]);
    assert_eq!(portal.ids("filter=").await, all);
}

/// As they come in: LogicMonitor's PowerShell module, and others that encode values before they encode the query.
async fn the_forms_of_real_clients_arrive(engine: Engine) {
    let portal = portal(engine).await;
    for (query, ids) in [
        ("filter=username:%22System%253AActiveDiscovery%22", &[2][..]),
        ("filter=description~%22%255C%28a%255C%29%20%255C%5Bb%255C%5D%22", &[2]),
        ("filter=description~%22%255C%2524c%20%255C%2526%20%255C%2523d%22", &[2]),
        ("filter=description~%22Says%20\\%22friend\\%22%22", &[3]),
        ("filter=_all~%22%2ASARAH%2A%22%2ChappenedOn%3E%3A%220%22", &[1]),
        ("filter=username~\"*shire*\"+||+description~\"*shire*\"+||+ip~\"*shire*\"", &[3]),
        ("filter=description~%22enters%20\\%7C%20leaves%22", &[3]),
        ("filter=username:%22*h%22%2Cip%3A%22174.76.130.131%22", &[1]),
        ("filter=_all~health+check", &[4]),
    ] {
        assert_eq!(portal.ids(query).await, ids, "{query}");
    }
}

async fn raw_bytes_of_a_filter_mean_the_same_as_encoded_ones(engine: Engine) {
    let portal = portal(engine).await;
    for filter in
        ["happenedOn>:1001,happenedOn<3000", "username~élodie", "description~\"friend\"", "ip~10.0|<>"]
    {
        let encoded = portal.ids(&form(&[("filter", filter)])).await;
        assert_eq!(portal.ids(&format!("filter={}", filter.replace(' ', "%20"))).await, encoded, "{filter}");
    }
}

/// PostgreSQL's texts hold no U+0000.
async fn a_character_that_no_text_can_hold_finds_nothing(engine: Engine) {
    let portal = portal(engine).await;
    for field in ["username", "description", "ip", "sessionId", "id", "_all"] {
        for operator in [":", "~"] {
            for value in ["%00", "%2500", "a%00*", "%22Sarah%00%22%7CSarah%00"] {
                assert_eq!(
                    portal.ids(&format!("filter={field}{operator}{value}")).await,
                    [0; 0],
                    "{field}{operator}{value}"
                );
            }
        }
    }
    assert_eq!(portal.ids("filter=%00:x").await, [0; 0]);
    assert_eq!(portal.ids("filter=happenedOn:%00").await, [0; 0]);
}

async fn the_longest_filters_are_answered(engine: Engine) {
    let portal = portal(engine).await;
    let list = |value: &str| (0..1_000).map(|number| format!("{value}{number}")).collect::<Vec<_>>();
    let total = async |filter: String| -> u64 {
        let ask: Ask = portal.get(3, &form(&[("filter", &filter)]));
        portal.ask(3, &ask).await.page().0
    };
    for field in ["username", "description", "ip", "sessionId", "id", "_all"] {
        assert_eq!(total(format!("{field}:{}", list("v").join("|"))).await, 0, "{field}");
        let parts = list("v").join("|");
        assert_eq!(total(format!("{field}~{parts}")).await, 0, "{field}");
    }
    assert_eq!(total(format!("_all~\"{}\"", list("v").join(" OR "))).await, 0);
    assert_eq!(total(format!("_all~\"NOT {}\"", list("v").join(" NOT "))).await, 5);
    assert_eq!(total(list("happenedOn!:").join(",")).await, 5);
    assert_eq!(total(list("username:v").join("||")).await, 0);
    assert_eq!(total(format!("description~{}", "*".repeat(999))).await, 5);
    assert_eq!(total(format!("description~{}", vec!["a"; 1_000].join("*"))).await, 0);
    assert_eq!(total(format!("description~{}", "x".repeat(60_000))).await, 0);
}
