//! Which version is spoken, and how the versions differ.

use serde_json::json;

use super::portal::{Answer, LIST, Portal, Record, VERSIONS};
use crate::engine::{Engine, suite};
use crate::http::Ask;

suite!(
    a_version_is_chosen_by_header_or_parameter,
    an_unknown_version_is_refused_in_the_envelope_of_the_third,
    one_record_is_wrapped_in_version_1_only,
    only_version_1_looks_back_a_day,
);

async fn a_version_is_chosen_by_header_or_parameter(engine: Engine) {
    let portal = Portal::start(engine).await;
    for (header, query, version) in [
        (None, "", 1),
        (Some("1"), "", 1),
        (Some("2"), "", 2),
        (Some("3"), "v=1", 3),
        (None, "v=2", 2),
        (None, "size=1&v=3", 3),
        (Some("1"), "v=3", 1),
    ] {
        let mut ask =
            Ask::get(&format!("{LIST}?{query}")).header("Authorization", format!("Bearer {}", portal.token));
        if let Some(header) = header {
            ask = ask.header("x-version", header);
        }
        assert_eq!(portal.ask(version, &ask).await.page().0, 0, "{header:?} {query}");
    }
}

async fn an_unknown_version_is_refused_in_the_envelope_of_the_third(engine: Engine) {
    let portal = Portal::start(engine).await;
    for number in ["4", "0", "03", "v3", "-1", "99999999999999999999"] {
        let expected = (400, 1400, format!("there is no version `{number}`"));
        let by_header = portal.get_path(3, LIST);
        let by_parameter = Ask::get(&format!("{LIST}?v={number}"));
        assert_eq!(portal.ask(3, &by_header).await.page().0, 0);
        let by_header = Ask::get(LIST).header("X-Version", number);
        for ask in [by_header, by_parameter] {
            assert_eq!(portal.ask(3, &ask).await.refusal(), expected, "{number}");
        }
    }
    // A path that is none, and a method that is none, are told before.
    let ask = Ask::get("/santaba/rest/nothing").header("X-Version", "9");
    assert_eq!(portal.ask(3, &ask).await.refusal().0, 404);
}

async fn one_record_is_wrapped_in_version_1_only(engine: Engine) {
    let portal = Portal::start(engine).await;
    let record = Record { ip: None, ..Record::new(0x2415, &portal.acme, 1_436_460_382) };
    portal.world.publish(&[record.event()]).await;
    let expected = json!({
        "id": format!("{:032x}", 0x2415),
        "username": "sarah",
        "happenedOn": 1_436_460_382,
        "happenedOnLocal": "2015-07-09 09:46:22 PDT",
        "ip": null,
        "sessionId": null,
        "description": "Something was done",
    });
    for version in VERSIONS {
        // No window hides a record that is asked for by its id.
        let target = format!("{LIST}/{:032x}", 0x2415);
        assert_eq!(portal.ask(version, &portal.get_path(version, &target)).await.content(), expected);
        let dashed = format!("{LIST}/00000000-0000-0000-0000-000000002415?fields=id,nothing,username");
        let answer = portal.ask(version, &portal.get_path(version, &dashed)).await;
        assert_eq!(answer.content(), json!({"id": format!("{:032x}", 0x2415), "username": "sarah"}));
    }
}

async fn only_version_1_looks_back_a_day(engine: Engine) {
    let portal = Portal::start(engine).await;
    let old = Record::new(1, &portal.acme, 1_436_460_382);
    let new = Record { at: chrono::Utc::now(), username: "Victoria", ..Record::new(2, &portal.acme, 0) };
    portal.world.publish(&[old.event(), new.event()]).await;
    let total = async |version, query| -> u64 {
        let answer: Answer = portal.ask(version, &portal.get(version, query)).await;
        answer.page().0
    };
    for (query, first, later) in [
        ("", 1, 2),
        ("filter=username:sarah", 0, 1),
        ("filter=username~%22*%22", 1, 2),
        ("filter=happenedOn>:0", 2, 2),
        ("filter=username:sarah&filter=happenedOn>:0", 1, 1),
        ("filter=username:Victoria||happenedOn<:1436460382", 2, 2),
        ("filter=happenedOn:never", 0, 0),
    ] {
        for version in VERSIONS {
            let expected = if version == 1 { first } else { later };
            assert_eq!(total(version, query).await, expected, "{version} {query}");
        }
    }
}
