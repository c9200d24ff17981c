//! Far behind: indexes are put aside, and made by whoever comes near the end, also in another process.

use std::sync::Arc;

use annals_bus::Partition;
use annals_consumers::Engine;
use annals_producers::fleet::Fleet;
use annals_store::ViewStore;
use annals_views::View;
use annals_views::audit_log::AuditLog;
use async_trait::async_trait;

use crate::engines::{Engines, Installation, on_every_engine};
use crate::hooked::{Hook, Hooked};
use crate::{AtWork, active, caught_up, keep, publish, rows, until};

on_every_engine!(
    a_view_that_is_far_behind_gets_its_indexes_when_it_is_near_the_end,
    a_view_that_has_rows_keeps_its_indexes,
);

/// A log that looks longer than it is.
struct Longer;

#[async_trait]
impl Hook for Longer {
    fn ends(&self, ends: Vec<(Partition, u64)>) -> Vec<(Partition, u64)> {
        ends.into_iter().map(|(partition, end)| (partition, end + 200_000)).collect()
    }
}

fn longer(engine: &Engine) -> Engine {
    Engine {
        bus: Arc::new(Hooked { log: Arc::clone(&engine.bus), hook: Arc::new(Longer) }),
        ..engine.clone()
    }
}

async fn store(engine: &Engine) -> Arc<dyn ViewStore> {
    let active = active::<AuditLog>(engine).await;
    engine.database.view_store(AuditLog::NAME, active, AuditLog::tables()).await.unwrap()
}

async fn a_view_that_is_far_behind_gets_its_indexes_when_it_is_near_the_end(engines: Engines) {
    let here = Installation::new(engines).await;
    let engine = &here.engine;
    publish(engine, &mut Fleet::new(11, true), 2_000).await;
    let projector = AtWork::start::<AuditLog>(&longer(engine));
    caught_up::<AuditLog>(engine).await;
    let store = store(engine).await;
    assert_eq!(
        store.are_indexes_aside().await.unwrap(),
        store.answers_without_indexes(),
        "its end is not near"
    );
    let folded = rows::<AuditLog>(engine).await;
    projector.end().await;
    let mut projector = AtWork::start::<AuditLog>(engine);
    projector.running().await;
    until("indexes are made", async || !store.are_indexes_aside().await.unwrap()).await;
    assert_eq!(rows::<AuditLog>(engine).await, folded);
    publish(engine, &mut Fleet::new(12, true), 100).await;
    caught_up::<AuditLog>(engine).await;
    assert!(rows::<AuditLog>(engine).await.len() > folded.len());
    projector.end().await;
    store.close().await;
}

async fn a_view_that_has_rows_keeps_its_indexes(engines: Engines) {
    let here = Installation::new(engines).await;
    let engine = &here.engine;
    publish(engine, &mut Fleet::new(11, true), 500).await;
    keep::<AuditLog>(engine).await;
    publish(engine, &mut Fleet::new(12, true), 500).await;
    let projector = AtWork::start::<AuditLog>(&longer(engine));
    caught_up::<AuditLog>(engine).await;
    projector.end().await;
    let store = store(engine).await;
    assert!(!store.are_indexes_aside().await.unwrap());
    store.close().await;
}
