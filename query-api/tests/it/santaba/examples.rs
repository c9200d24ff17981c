//! The examples of the seed, as they are typed there.

use annals_schemas::Event;
use chrono::{TimeDelta, Utc};
use serde_json::json;

use super::portal::{Answer, LIST, Portal, Record, SARAH, basic};
use crate::engine::{Engine, suite};
use crate::http::Ask;
use crate::world::PASSWORD;

suite!(
    the_first_example_lists_the_records_of_the_past_day,
    a_record_looks_as_in_the_sample,
    the_second_example_gives_three_fields_of_three_records,
    every_example_of_a_parameter_means_what_the_page_says,
    a_login_of_annals_reads_as_in_the_sample,
);

const TASK: &str = "Datasource Collector Active Discovery Task updated. Reason unspecified. AD parameters from \
                    path=\"LogicMonitor:type=AutoDiscoveryTask,name=*\" url=\"service:jmx:local\" ports=\"\"  to  \
                    url=\"service:jmx:local\" ports=\"\" path=\"LogicMonitor:type=AutoDiscoveryTask,name=*\" ";

/// The records of both samples, and some beside them.
fn records(portal: &Portal) -> Vec<Event> {
    let record = |id, seconds| Record::new(id, &portal.acme, seconds);
    let signs_in = "sarah signs in (adminId=4).";
    [
        Record {
            ip: Some("174.76.130.100"),
            session: Some("17A45B032911D0A8F701906E922A4B50"),
            description: signs_in,
            ..record(2415, 1_436_460_382)
        },
        Record {
            username: "Victoria",
            ip: Some("174.76.130.120"),
            session: Some("3F624A15623BF5DF77456358F8D3289F"),
            description: "Victoria signs in (adminId=7).",
            ..record(2414, 1_436_395_431)
        },
        Record {
            description: "Add a new collector 115 (hostname=null, desc=)",
            ..record(2413, 1_436_375_816)
        },
        // The second sample: the ends of its range are included.
        Record { description: signs_in, ..record(11, 1_436_203_979) },
        Record { description: signs_in, ..record(12, 1_436_203_987) },
        Record { username: "Victoria", description: "no such word", ..record(13, 1_436_204_000) },
        Record { description: TASK, ..record(14, 1_436_204_111) },
        Record { description: signs_in, ..record(15, 1_436_204_148) },
        Record { description: signs_in, ..record(16, 1_436_204_151) },
    ]
    .map(Record::event)
    .to_vec()
}

async fn portal(engine: Engine) -> Portal {
    let portal = Portal::start(engine).await;
    portal.world.publish(&records(&portal)).await;
    portal
}

/// `curl --user`, with the credentials replaced.
async fn typed(portal: &Portal, query: &str) -> Answer {
    let ask = Ask::get(&format!("{LIST}{query}")).header("Authorization", basic(SARAH, PASSWORD));
    portal.ask(1, &ask.header("Accept", "*/*")).await
}

async fn the_first_example_lists_the_records_of_the_past_day(engine: Engine) {
    let portal = portal(engine).await;
    let ago =
        |id, hours| Record { at: Utc::now() - TimeDelta::hours(hours), ..Record::new(id, &portal.acme, 0) };
    portal.world.publish(&[ago(21, 1).event(), ago(22, 23).event(), ago(23, 25).event()]).await;
    let (total, items) = typed(&portal, "").await.page();
    let ids: Vec<_> = items.iter().map(|item| crate::world::number(&item["id"])).collect();
    assert_eq!((total, ids), (2, vec![21, 22]));
}

async fn a_record_looks_as_in_the_sample(engine: Engine) {
    let portal = portal(engine).await;
    let answer = typed(&portal, "?filter=happenedOn>:1436460382&size=1").await;
    assert_eq!(
        answer.reply.text(),
        "{\"status\":200,\"errmsg\":\"OK\",\"data\":{\"total\":1,\"items\":[\
         {\"id\":\"0000000000000000000000000000096f\",\"username\":\"sarah\",\"happenedOn\":1436460382,\
         \"happenedOnLocal\":\"2015-07-09 09:46:22 PDT\",\"ip\":\"174.76.130.100\",\
         \"sessionId\":\"17A45B032911D0A8F701906E922A4B50\",\"description\":\"sarah signs in (adminId=4).\"}\
         ],\"searchId\":null}}"
    );
    let (_, items) = typed(&portal, "?filter=happenedOn:1436375816").await.page();
    assert_eq!(items[0]["sessionId"], json!(null));
}

async fn the_second_example_gives_three_fields_of_three_records(engine: Engine) {
    let portal = portal(engine).await;
    let query = "?sort=+happenedOn&filter=_all~sarah,happenedOn<:1436204150,happenedOn>:1436203980\
                 &fields=username,happenedOn,description";
    let (total, items) = typed(&portal, query).await.page();
    assert_eq!(
        (total, items),
        (
            3,
            vec![
                json!({"username": "sarah", "happenedOn": 1_436_203_987, "description": "sarah signs in (adminId=4)."}),
                json!({"username": "sarah", "happenedOn": 1_436_204_111, "description": TASK}),
                json!({"username": "sarah", "happenedOn": 1_436_204_148, "description": "sarah signs in (adminId=4)."}),
            ]
        )
    );
}

async fn every_example_of_a_parameter_means_what_the_page_says(engine: Engine) {
    let portal = portal(engine).await;
    let all = "filter=happenedOn>:0";
    let times = async |query: &str| -> Vec<i64> {
        let (_, items) = typed(&portal, query).await.page();
        items.iter().map(|item| item["happenedOn"].as_i64().unwrap()).collect()
    };
    let newest_first = times(&format!("?{all}")).await;
    assert!(newest_first.is_sorted_by(|a, b| a > b) && newest_first.len() == 9);
    let oldest_first: Vec<_> = newest_first.iter().rev().copied().collect();
    for sort in ["+happenedOn", "%2BhappenedOn", "%20happenedOn", "happenedOn"] {
        assert_eq!(times(&format!("?sort={sort}&{all}")).await, oldest_first, "{sort}");
    }
    assert_eq!(times(&format!("?sort=-happenedOn&{all}")).await, newest_first);
    for keyword in ["*victoria*", "victoria", "Victoria", "%22*victoria*%22", "\"victoria\""] {
        let (total, _) = typed(&portal, &format!("?filter=_all~{keyword},%20happenedOn>:0")).await.page();
        assert_eq!(total, 2, "{keyword}");
    }
    let (total, items) = typed(&portal, &format!("?fields=description,username&{all}")).await.page();
    assert_eq!((total, items[0].as_object().unwrap().len()), (9, 2));
    assert_eq!(times(&format!("?size=5&{all}")).await, newest_first[..5]);
    assert_eq!(times(&format!("?offset=2&{all}")).await, newest_first[2..]);
}

async fn a_login_of_annals_reads_as_in_the_sample(engine: Engine) {
    let portal = portal(engine).await;
    portal.world.cookie(SARAH).await;
    portal.world.relay().await;
    let (total, items) =
        portal.page("filter=_all~%22signs%20in%20(adminId=%22,username:%22sarah@acme.example%22").await;
    assert_eq!(total, 1);
    let text = items[0]["description"].as_str().unwrap();
    assert!(text.starts_with("sarah@acme.example signs in (adminId=") && text.ends_with(")."), "{text}");
    assert_eq!(items[0]["sessionId"].as_str().unwrap().len(), 32);
}
