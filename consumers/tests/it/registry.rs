//! Records framed by a schema registry, with a real one: folded, forwarded, waited for, and read again after a rebuild.

#[path = "../../../schemas/tests/support/mod.rs"]
mod support;

use std::sync::Arc;

use annals_access::Access;
use annals_bus::{Bus, ReadLimit, Record, StoredRecord};
use annals_consumers::rebuild::rebuild;
use annals_consumers::relay::Relay;
use annals_consumers::{Engine, State};
use annals_producers::Publisher;
use annals_producers::fleet::Fleet;
use annals_schemas::registry::known_ids;
use annals_schemas::{Encoder, Registry, codec, topics};
use annals_store::DeadLetter;
use annals_views::View;
use annals_views::audit_log::AuditLog;
use chrono::Utc;

use crate::engines::{Engines, Installation, on_every_engine};
use crate::{AtWork, active, caught_up, keep, rows, shown};
use support::{Way, address};

on_every_engine!(
    framed_records_make_the_same_rows_as_single_objects,
    the_relay_gives_another_head_to_the_same_body,
    a_projector_waits_for_a_registry_that_is_down_and_loses_nothing,
    what_was_read_without_a_registry_is_read_with_one_after_a_rebuild,
    a_view_of_framed_records_does_not_go_on_without_the_registry,
);

/// Events of a fleet, published as the encoder says.
async fn publish(engine: &Engine, fleet: &mut Fleet, count: usize, encoder: &Encoder) {
    let events: Vec<_> = (0..count).map(|_| fleet.next(Utc::now())).collect();
    let publisher = Publisher::with_encoder(Arc::clone(&engine.bus), encoder.clone());
    publisher.publish(&events).await.unwrap();
}

/// Keeps the view until it has folded all there is, and gives its dead letters.
async fn fold(engine: &Engine) -> Vec<DeadLetter> {
    keep::<AuditLog>(engine).await;
    dead_letters(engine).await
}

async fn dead_letters(engine: &Engine) -> Vec<DeadLetter> {
    let generation = active::<AuditLog>(engine).await;
    let store = engine.database.view_store(AuditLog::NAME, generation, AuditLog::tables()).await.unwrap();
    let letters = store.dead_letters(100).await.unwrap();
    store.close().await;
    letters
}

async fn records(bus: &dyn Bus) -> Vec<StoredRecord> {
    let mut all = Vec::new();
    for topic in annals_schemas::TOPICS {
        for partition in bus.partitions(topic.name).await.unwrap() {
            all.extend(bus.read(&partition, 0, ReadLimit::default()).await.unwrap());
        }
    }
    all
}

async fn framed_records_make_the_same_rows_as_single_objects(engines: Engines) {
    let registry = Arc::new(Registry::connect(&address()).await.unwrap());
    let encoder = Encoder::default().with_ids(registry.register("").await.unwrap()).with_headers(true);
    let (plain, framed) = (Installation::new(engines).await, Installation::new(engines).await);
    let framed = Engine { registry: Some(registry), ..framed.engine.clone() };
    let events: Vec<_> = {
        let mut fleet = Fleet::new(3, true);
        (0..500).map(|_| fleet.next(Utc::now())).collect()
    };
    Publisher::new(Arc::clone(&plain.engine.bus)).publish(&events).await.unwrap();
    Publisher::with_encoder(Arc::clone(&framed.bus), encoder).publish(&events).await.unwrap();
    assert!(fold(&plain.engine).await.is_empty());
    assert!(fold(&framed).await.is_empty());
    let expected = shown::<AuditLog>(&plain.engine).await;
    assert!(expected.len() > 400);
    assert_eq!(shown::<AuditLog>(&framed).await, expected);
    let records = records(&*framed.bus).await;
    assert!(records.iter().all(|record| record.value[0] == 0 && record.headers[3].0 == "ce_source"));
}

async fn the_relay_gives_another_head_to_the_same_body(engines: Engines) {
    let registry = Registry::connect(&address()).await.unwrap();
    let encoder = Encoder::default().with_ids(registry.register("").await.unwrap()).with_headers(true);
    let here = Installation::new(engines).await;
    let Engine { database, control, bus, .. } = here.engine.clone();
    let access = Access::open(control.clone(), &database).await.unwrap().access;
    let told = access.outbox(100).await.unwrap();
    assert!(!told.is_empty(), "the first opening tells what it made");
    let relay = Relay {
        access: access.clone(),
        control,
        bus: Arc::clone(&bus),
        encoder: encoder.clone(),
        lease: None,
    };
    relay.drain_once().await.unwrap();
    assert_eq!(access.outbox_len().await.unwrap(), 0);
    let records = records(&*bus).await;
    assert_eq!(records.len(), told.len());
    let ids = known_ids(Some(&registry), records.iter().map(|record| &*record.value)).await.unwrap();
    for entry in told {
        let sent = codec::decode(&entry.value, &codec::NoRegistry).unwrap();
        let found = records.iter().find(|record| record.value[5..] == entry.value[10..]).unwrap();
        assert_eq!(codec::decode(&found.value, &ids).unwrap(), sent);
        assert_eq!(found.value, encoder.value(&sent).unwrap());
        let id = found.headers.iter().find(|(name, _)| name == "ce_id").unwrap();
        assert_eq!(id.1, entry.event_id.to_string());
    }
}

async fn a_projector_waits_for_a_registry_that_is_down_and_loses_nothing(engines: Engines) {
    let mut way = Way::open().await;
    // The reader never asked for any id before the way is cut.
    let reader = Arc::new(Registry::connect(&way.address("")).await.unwrap());
    let writer = Registry::connect(&address()).await.unwrap();
    let encoder = Encoder::default().with_ids(writer.register("").await.unwrap());
    let here = Installation::new(engines).await;
    let engine = Engine { registry: Some(reader), ..here.engine.clone() };
    publish(&engine, &mut Fleet::new(4, true), 200, &encoder).await;
    way.cut().await;
    let mut projector = AtWork::start::<AuditLog>(&engine);
    let says = |state: &State| matches!(state, State::Waiting(reason) if reason.contains("--registry"));
    projector.status.wait_for(says).await.unwrap();
    assert!(rows::<AuditLog>(&engine).await.is_empty());
    way.mend().await;
    caught_up::<AuditLog>(&engine).await;
    projector.running().await;
    projector.end().await;
    assert!(dead_letters(&engine).await.is_empty());
}

async fn what_was_read_without_a_registry_is_read_with_one_after_a_rebuild(engines: Engines) {
    let registry = Arc::new(Registry::connect(&address()).await.unwrap());
    let encoder = Encoder::default().with_ids(registry.register("").await.unwrap());
    let here = Installation::new(engines).await;
    publish(&here.engine, &mut Fleet::new(5, true), 50, &encoder).await;
    let unknown = Record { value: vec![0, 0xFF, 0xFF, 0xFF, 0xF0, 1].into(), ..Record::default() };
    here.engine.bus.append(topics::AUDIT.name, vec![unknown]).await.unwrap();
    let letters = fold(&here.engine).await;
    assert_eq!(letters.len(), 51);
    for letter in &letters {
        let reason = &letter.reason;
        assert!(
            reason.contains("framed with registry schema id `") && reason.contains("--registry"),
            "{reason}"
        );
    }
    let engine = Engine { registry: Some(registry), ..here.engine.clone() };
    rebuild::<AuditLog>(&engine, None, &mut |_| {}).await.unwrap();
    let [letter] = &dead_letters(&engine).await[..] else { panic!("one is still unknown") };
    assert_eq!(letter.reason, "unknown registry schema id `4294967280`");
    assert!(!rows::<AuditLog>(&engine).await.is_empty());
}

async fn a_view_of_framed_records_does_not_go_on_without_the_registry(engines: Engines) {
    let registry = Arc::new(Registry::connect(&address()).await.unwrap());
    let encoder = Encoder::default().with_ids(registry.register("").await.unwrap());
    let here = Installation::new(engines).await;
    let engine = Engine { registry: Some(registry), ..here.engine.clone() };
    publish(&engine, &mut Fleet::new(6, true), 50, &encoder).await;
    assert!(fold(&engine).await.is_empty());
    let mut projector = AtWork::start::<AuditLog>(&here.engine);
    let reason = projector.stopped().await;
    projector.end().await;
    assert!(reason.contains("cannot be decoded now: framed with registry schema id"), "{reason}");
}
