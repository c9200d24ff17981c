//! Somebody tampers with the topics: they are removed and made again, and records are removed.

use std::collections::{BTreeSet, HashMap};

use annals_bus::{Bus, ReadLimit};
use annals_schemas::codec::{self, NoRegistry};
use annals_schemas::{Event, TOPICS};
use annals_testing::servers;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::{Home, Ledger, Load, Server, at_once, block_on, health, log, until, verify, views};

const VIEW: &str = "projector of audit_log";

/// Whoever has the right to do anything to the topics.
fn admin() -> AdminClient<DefaultClientContext> {
    let kafka = servers::kafka().bootstrap;
    ClientConfig::new().set("bootstrap.servers", kafka).create().unwrap()
}

fn delete_topic(home: &Home, name: &str) {
    let topic = home.topic(name);
    let done = block_on(admin().delete_topics(&[&topic], &AdminOptions::new())).unwrap();
    assert!(done.iter().all(Result::is_ok), "{done:?}");
}

/// Removes every record of a topic before these offsets.
fn delete_records(home: &Home, name: &str, before: &HashMap<u32, u64>) {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in before {
        let offset = Offset::Offset(offset.cast_signed());
        list.add_partition_offset(&home.topic(name), partition.cast_signed(), offset).unwrap();
    }
    let done = block_on(admin().delete_records(&list, &AdminOptions::new())).unwrap();
    assert!(done.elements().iter().all(|element| element.error().is_ok()), "{done:?}");
}

/// Where the audit log stands in a topic, by partition.
fn positions(home: &Home, topic: &str) -> HashMap<u32, u64> {
    let all = views::positions(home, "audit_log").unwrap();
    let of_topic = all.into_iter().filter_map(|(partition, next)| {
        let (name, number) = partition.rsplit_once('/').unwrap();
        (name == topic).then(|| (number.parse().unwrap(), next))
    });
    of_topic.collect()
}

fn server(home: &Home) -> Server {
    Server::start_command(&mut home.serve("projector,relay"))
}

/// Waits until the view has stopped with this reason, told by `/readyz` and in the log.
#[track_caller]
fn stopped(server: &mut Server, reason: &str) {
    health::says(server, VIEW, "stopped", reason);
    let ready = server.get("/readyz");
    assert!(ready.status == 503 && ready.body.contains(VIEW) && ready.body.contains(reason), "{ready:?}");
    server.process.stderr_line(|line| line.contains("the projector stopped") && line.contains(reason));
}

#[test]
fn a_topic_that_is_removed_and_made_again_stops_its_views_until_they_are_rebuilt() {
    // The new topic has fewer records than the old one had, or more.
    at_once([100, 900], |count| {
        let home = Home::new();
        let mut first = server(&home);
        Load::of(&home, 1, 400, &mut Ledger::default());
        views::outbox_empty(&home);
        views::caught_up(&home);
        let (before, rows) = (views::positions(&home, "audit_log"), views::audit_log_ids(&home));
        delete_topic(&home, "annals.audit");
        stopped(&mut first, "annals.audit");
        // Kafka removes a topic in the background: made again too early, it is made when that is done.
        until("the topic can be made again", || {
            (home.run(&["topics", "ensure"]).code == Some(0)).then_some(())
        });
        let mut ledger = Ledger::default();
        Load::of(&home, 2, count, &mut ledger);
        stopped(&mut first, "annals.audit");
        first.stop();
        let mut second = server(&home);
        stopped(&mut second, "rebuild the view");
        let now = (views::positions(&home, "audit_log"), views::audit_log_ids(&home));
        assert_eq!(now, (before, rows), "nothing was skipped over and nothing was added");
        for view in ["audit_log", "logged_on_users"] {
            home.run(&["rebuild", view]).expect(0);
        }
        health::is_well(&second);
        // What was in the removed topic is gone with it; the other topic is as it was.
        let records = log::read(&home);
        views::caught_up(&home);
        let expected: BTreeSet<String> = records.iter().filter_map(|r| r.event.as_ref()).map(key).collect();
        assert_eq!(views::audit_log_ids(&home).into_iter().collect::<BTreeSet<_>>(), expected);
        assert!(ledger.acknowledged.iter().all(|id| records.iter().any(|record| record.id() == Some(*id))));
        second.stop();
    });
}

/// As the views show an event.
fn key(event: &Event) -> String {
    format!("{}/{}", event.meta().customer.simple(), event.meta().event_id.simple())
}

#[test]
fn records_that_are_removed_behind_a_view_do_not_matter() {
    let home = Home::new();
    let mut ledger = Ledger::default();
    Load::of(&home, 1, 400, &mut ledger);
    let mut server = server(&home);
    verify::log_and_views(&home, &ledger);
    // Some of those that were folded, then all of them.
    for (seed, kept) in [(2, 3), (3, 0)] {
        let at = positions(&home, "annals.audit").into_iter();
        delete_records(
            &home,
            "annals.audit",
            &at.map(|(partition, next)| (partition, next - kept)).collect(),
        );
        Load::of(&home, seed, 400, &mut ledger);
        views::caught_up(&home);
        server.stop();
        let at = positions(&home, "annals.audit").into_iter();
        delete_records(
            &home,
            "annals.audit",
            &at.map(|(partition, next)| (partition, next - kept)).collect(),
        );
        server = self::server(&home);
        Load::of(&home, 10 + seed, 400, &mut ledger);
        views::caught_up(&home);
        health::is_well(&server);
    }
    let rows = views::audit_log_ids(&home);
    let shown = |id: &uuid::Uuid| rows.iter().any(|row| row.ends_with(&id.simple().to_string()));
    assert!(ledger.acknowledged.iter().all(shown), "every acknowledged event is shown");
    server.stop();
}

/// Removes records that the view has not folded: it is not at work meanwhile.
fn removed_before_it_was_folded(home: &Home) {
    let first = server(home);
    Load::of(home, 1, 400, &mut Ledger::default());
    views::caught_up(home);
    first.stop();
    let at = positions(home, "annals.audit");
    Load::of(home, 2, 400, &mut Ledger::default());
    let before = at.iter().map(|(partition, next)| (*partition, next + 7)).collect();
    delete_records(home, "annals.audit", &before);
}

#[test]
fn records_that_are_removed_before_a_view_folded_them_stop_it() {
    let home = Home::new();
    removed_before_it_was_folded(&home);
    let (before, rows) = (positions(&home, "annals.audit"), views::audit_log_ids(&home));
    let mut second = server(&home);
    stopped(&mut second, "was removed");
    assert_eq!(positions(&home, "annals.audit"), before, "nothing was skipped over");
    assert!(views::audit_log_ids(&home).len() >= rows.len());
    second.stop();
}

#[test]
fn a_declared_retention_is_no_fault() {
    let (kafka, postgres) = (servers::kafka(), servers::postgres());
    let home = Home::without_topics(&kafka.bootstrap, "", &postgres);
    home.run(&["topics", "ensure", "--retention", "400d"]).expect(0);
    removed_before_it_was_folded(&home);
    let mut expected: BTreeSet<String> = views::audit_log_ids(&home).into_iter().collect();
    let before = expected.len();
    let second = server(&home);
    views::caught_up(&home);
    health::is_well(&second);
    expected.extend(remaining(&home));
    assert!(expected.len() > before + 300);
    assert_eq!(views::audit_log_ids(&home).into_iter().collect::<BTreeSet<_>>(), expected);
    second.stop();
}

/// The events that the log still has, as the audit log shows them.
fn remaining(home: &Home) -> BTreeSet<String> {
    block_on(async {
        let bus = home.bus().await;
        let mut all = BTreeSet::new();
        for (partition, first) in bus.first_positions(&TOPICS.map(|topic| topic.name)).await.unwrap() {
            let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
            let records = bus.read(&partition, first, limit).await.unwrap();
            all.extend(records.iter().map(|record| key(&codec::decode(&record.value, &NoRegistry).unwrap())));
        }
        bus.close().await;
        all
    })
}
