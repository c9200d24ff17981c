//! Every parameter, and the JSON of an event.

use annals_schemas::{ActorKind, Event, Severity};
use serde_json::json;
use uuid::Uuid;

use super::{Native, number, numbers, problem, telling};
use crate::engine::{Engine, suite};
use crate::events::Action;
use crate::http::Ask;

suite!(
    an_event_is_shown_with_every_member_also_alone,
    each_filter_leaves_what_it_says,
    pages_are_sorted_by_time_both_ways_and_cut,
    what_cannot_be_used_is_refused_by_name,
    totals_are_exact,
    a_read_is_an_event,
);

/// Five events, told apart by everything that can be asked for.
fn five(acme: Uuid) -> Vec<Event> {
    let event = |id, at| Action::new(id, acme, at);
    let cloud = (ActorKind::CloudIdentity, Uuid::from_u128(5));
    let address = Some("10.0.0.1");
    vec![
        telling(
            Action {
                account: "alice",
                qualified: Some("SHIRE\\alice"),
                address,
                entity: ("host", "CN=HOST-1,OU=X"),
                ..event(1, "2020-05-01 10:00:00")
            }
            .event(),
            "Moved the Ring, quietly: 100%",
            Some("s-1"),
        ),
        Action {
            account: "bob",
            address: Some("10.0.0.2"),
            name: "OTHER_DONE",
            category: "others",
            severity: Severity::Error,
            ..event(2, "2020-05-01 10:00:00.5")
        }
        .event(),
        Action {
            account: "alice",
            address: Some("::1"),
            severity: Severity::Warning,
            ..event(3, "2020-05-01 11:00:00")
        }
        .event(),
        Action {
            account: "carol",
            qualified: Some("arn:aws:iam::1:user/carol"),
            actor: cloud,
            entity: ("user", "carol"),
            ..event(4, "2020-05-02 00:00:00")
        }
        .event(),
        Action { account: "bob", address, ..event(5, "2020-05-02 00:00:00") }.event(),
    ]
}

async fn native(engine: Engine) -> Native {
    let native = Native::start(engine).await;
    native.world.publish(&five(native.acme.id)).await;
    native
}

async fn an_event_is_shown_with_every_member_also_alone(engine: Engine) {
    let native = native(engine).await;
    let answer = native.answer("audit-events", &[("account", "SHIRE\\ALICE")]).await;
    assert_eq!(answer["next"], json!(null));
    assert_eq!(answer.get("total"), None);
    let expected = json!({
        "id": "00000000-0000-0000-0000-000000000001",
        "customer": {"id": native.acme.id.to_string(), "name": "acme"},
        "time": "2020-05-01T10:00:00.000000Z",
        "claimed_time": null,
        "recorded_at": "2020-05-01T10:00:00.000000Z",
        "actor": {"kind": "host_account", "id": "00000000-0000-0000-0000-00000000004d",
            "account": "alice", "qualified_account": "SHIRE\\alice"},
        "action": "THING_DONE",
        "category": "things",
        "severity": "INFO",
        "entity": {"type": "host", "id": "CN=HOST-1,OU=X"},
        "address": "10.0.0.1",
        "description": "Moved the Ring, quietly: 100%",
        "sign_in": "s-1",
        "misplaced": false,
    });
    assert_eq!(answer["events"], json!([expected]));
    let alone = native.get("audit-events/00000000-0000-0000-0000-000000000001", &[]).await;
    assert_eq!(alone.json(), expected);
    assert!(alone.header("annals-position").is_some());
    // Without dashes it is the same id.
    let plain = native.get("audit-events/00000000000000000000000000000001", &[]).await;
    assert_eq!(plain.body, alone.body);
}

/// Every filter: parameter, value, and the events that it leaves.
async fn each_filter_leaves_what_it_says(engine: Engine) {
    let native = native(engine).await;
    let acme = native.acme.id.to_string();
    for (name, value, expected) in [
        ("start", "2020-05-01T11:00:00Z", &[3, 4, 5][..]),
        ("start", "2020-05-01T13:00:00.000001+02:00", &[4, 5]),
        ("end", "2020-05-01T10:00:00Z", &[1]),
        ("end", "2020-05-01T10:00:00.499999Z", &[1]),
        ("customer", "ACME", &[1, 2, 3, 4, 5]),
        ("customer", &acme, &[1, 2, 3, 4, 5]),
        ("customer", "nobody", &[]),
        ("account", "alice", &[1, 3]),
        ("account", "ALICE,bob", &[1, 2, 3, 5]),
        ("account", "shire\\ALICE", &[1]),
        ("account", "ARN:aws:iam::1:user/carol", &[4]),
        ("account", "ali", &[]),
        ("actor", "00000000-0000-0000-0000-000000000005", &[4]),
        ("address", "10.0.0.1", &[1, 5]),
        ("address", "::ffff:10.0.0.1,0:0::1", &[1, 3, 5]),
        ("action", "OTHER_DONE", &[2]),
        ("action", "other_done", &[]),
        ("category", "others,things", &[1, 2, 3, 4, 5]),
        ("category", "others", &[2]),
        ("severity", "warning,ERROR", &[2, 3]),
        ("entity-type", "user,host", &[1, 4]),
        ("entity", "carol", &[4]),
        ("entity", "CN=HOST-1\\,OU=X,carol", &[1, 4]),
        ("description", "the ring, QUIETLY", &[1]),
        ("description", "100%", &[1]),
        ("description", "1_0", &[]),
        ("description", "alice", &[]),
        ("text", "ALIC", &[1, 3]),
        ("text", "ring", &[1]),
        ("text", "10.0.0.", &[1, 2, 5]),
        ("text", "\u{0}", &[]),
        ("sign-in", "s-1", &[1]),
        ("sign-in", "S-1", &[]),
    ] {
        assert_eq!(native.numbers(&[(name, value)]).await, expected, "{name}={value}");
    }
    let both = [("account", "alice"), ("severity", "INFO"), ("severity", "ERROR")];
    assert_eq!(native.numbers(&both).await, [1]);
    assert_eq!(native.numbers(&[("text", "ring"), ("text", "10.0.0.2")]).await, [1, 2]);
}

async fn pages_are_sorted_by_time_both_ways_and_cut(engine: Engine) {
    let native = native(engine).await;
    let order = async |parameters: &[(&str, &str)]| numbers(&native.answer("audit-events", parameters).await);
    let newest = order(&[]).await;
    assert_eq!(newest[2..], [3, 2, 1]);
    let mut oldest = order(&[("sort", "time")]).await;
    assert_eq!(oldest[..3], [1, 2, 3]);
    oldest.reverse();
    // Those of one time stand in the order of their ids both ways.
    assert_eq!(oldest[2..], newest[2..]);
    assert_eq!(order(&[("limit", "2")]).await, newest[..2]);
    assert_eq!(order(&[("sort", "-time"), ("limit", "1000")]).await, newest);
}

async fn what_cannot_be_used_is_refused_by_name(engine: Engine) {
    let native = native(engine).await;
    for (name, value) in [
        ("start", "2020-05-01"),
        ("end", "yesterday"),
        ("actor", "ada"),
        ("address", "10.0.0.0/8"),
        ("severity", "FATAL"),
        ("sort", "account"),
        ("limit", "0"),
        ("limit", "1001"),
        ("count", "yes"),
        ("format", "xml"),
        ("account", ""),
        ("wait", "11"),
    ] {
        // The wait counts only for those who wait.
        let parameters = [(name, value), ("at-least", "")];
        let reply = native.get("audit-events", &parameters).await;
        assert_eq!(problem(&reply), (400, "bad-parameter".to_owned()), "{name}={value}: {}", reply.text());
        assert!(reply.text().contains(&format!("\"parameter\":\"{name}\"")), "{}", reply.text());
    }
    let many = "a,".repeat(1_001);
    assert_eq!(problem(&native.get("audit-events", &[("action", &many)]).await).1, "bad-parameter");
    let turned = [("start", "2020-05-02T00:00:00Z"), ("end", "2020-05-01T00:00:00Z")];
    assert_eq!(problem(&native.get("audit-events", &turned).await).1, "bad-parameter");
    let unknown = native.get("audit-events", &[("acount", "alice")]).await;
    assert_eq!(problem(&unknown), (400, "unknown-parameter".to_owned()));
    let twice = Ask::get("/v1/audit-events?limit=1&limit=1").cookie(&native.cookie);
    assert_eq!(problem(&native.world.ask(&twice).await).1, "bad-parameter");
}

async fn totals_are_exact(engine: Engine) {
    let native = native(engine).await;
    for (parameters, total) in [
        (&[][..], 5),
        (&[("limit", "1")], 5),
        (&[("account", "alice")], 2),
        (&[("text", "ring")], 1),
        (&[("start", "2020-05-01T10:30:00Z"), ("severity", "INFO")], 2),
        (&[("customer", "nobody")], 0),
    ] {
        let mut parameters = parameters.to_vec();
        parameters.push(("count", "true"));
        // The second time from what was remembered.
        for _ in 0..2 {
            assert_eq!(native.answer("audit-events", &parameters).await["total"], total, "{parameters:?}");
        }
    }
    native.world.publish(&[native.event(6, "2020-05-01 09:00:00")]).await;
    assert_eq!(native.answer("audit-events", &[("count", "true"), ("text", "somebody")]).await["total"], 1);
    assert_eq!(native.answer("audit-events", &[("count", "true")]).await["total"], 6);
}

async fn a_read_is_an_event(engine: Engine) {
    let native = native(engine).await;
    native.answer("audit-events", &[("account", "nobody")]).await;
    native.world.relay().await;
    let read = native.answer("audit-events", &[("action", "AUDIT_LOG_READ")]).await;
    assert_eq!(read["events"][0]["actor"]["account"], super::ADA);
    let id = read["events"][0]["id"].as_str().unwrap();
    let found = native.answer(&format!("audit-events/{id}"), &[]).await;
    assert_eq!(found, read["events"][0]);
    assert_eq!(number(&native.answer("audit-events", &[("entity", "carol")]).await["events"][0]), 4);
}
