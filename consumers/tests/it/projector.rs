//! The projector loop: catching up, following, restarting, and refusing a log that is not its own.

use annals_consumers::{Engine, Projector, State, StopSignal};
use annals_producers::Publisher;
use annals_producers::fleet::Fleet;
use annals_views::View;
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;
use chrono::Utc;

use crate::{active_path, caught_up, execute, installation, rows};

async fn publish(engine: &Engine, fleet: &mut Fleet, count: usize) {
    let events: Vec<_> = (0..count).map(|_| fleet.next(Utc::now())).collect();
    Publisher::new(std::sync::Arc::clone(&engine.bus)).publish(&events).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projector_catches_up_follows_and_goes_on_after_a_restart() {
    let here = installation().await;
    let mut fleet = Fleet::new(1, true);
    publish(&here.engine, &mut fleet, 500).await;
    for round in 0..3 {
        let (signal, stop) = StopSignal::new();
        let (status, task) = Projector::<AuditLog>::spawn(here.engine.clone(), stop);
        publish(&here.engine, &mut fleet, 100).await;
        caught_up::<AuditLog>(&here.engine).await;
        assert_eq!(status.state(), State::Running, "round {round}");
        signal.stop();
        task.await.unwrap();
        assert_eq!(status.state(), State::Ended);
        publish(&here.engine, &mut fleet, 100).await;
    }
    let path = active_path::<AuditLog>(&here.engine).await;
    let distinct = rows::<AuditLog>(&path).await.len();
    assert!((970..1000).contains(&distinct), "{distinct} rows of 1,000 records, some repeated");
}

/// Stops with a reason that says what happened.
async fn stops_with(engine: &Engine, words: &str) {
    let (signal, stop) = StopSignal::new();
    let (mut status, task) = Projector::<LoggedOnUsers>::spawn(engine.clone(), stop);
    let state = status.wait_for(|state| matches!(state, State::Stopped(_))).await.unwrap();
    signal.stop();
    task.await.unwrap();
    let State::Stopped(reason) = state else { unreachable!() };
    assert!(reason.contains(words) && reason.contains("logged_on_users"), "{reason}");
}

async fn folded() -> (crate::Installation, std::path::PathBuf) {
    let here = installation().await;
    publish(&here.engine, &mut Fleet::new(2, true), 400).await;
    let (signal, stop) = StopSignal::new();
    let (_, task) = Projector::<LoggedOnUsers>::spawn(here.engine.clone(), stop);
    caught_up::<LoggedOnUsers>(&here.engine).await;
    signal.stop();
    task.await.unwrap();
    let path = active_path::<LoggedOnUsers>(&here.engine).await;
    (here, path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_log_stops_the_projector_with_the_reason() {
    let (here, path) = folded().await;
    let before = rows::<LoggedOnUsers>(&path).await;
    let log = here.engine.directory.log_db();
    execute(&log, "DELETE FROM batches").await;
    execute(&log, "UPDATE partitions SET next_offset = 0").await;
    stops_with(&here.engine, "was truncated or created again").await;
    assert_eq!(rows::<LoggedOnUsers>(&path).await, before, "nothing is skipped over or undone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_created_again_stops_the_projector_with_the_reason() {
    let (here, _path) = folded().await;
    execute(&here.engine.directory.log_db(), "UPDATE log SET incarnation = randomblob(16)").await;
    // The incarnation is read when a log is opened.
    let topics = annals_schemas::TOPICS.map(|topic| (topic.name, topic.partitions));
    let bus = annals_bus::EmbeddedBus::open(&here.engine.directory, &topics).await.unwrap();
    let engine = Engine { bus: std::sync::Arc::new(bus), ..here.engine.clone() };
    stops_with(&engine, "the log was created again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_changed_behind_the_view_stops_the_projector_with_the_reason() {
    let (here, path) = folded().await;
    execute(&path, "UPDATE positions SET last_event_id = randomblob(16)").await;
    stops_with(&here.engine, "the log was changed behind it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_of_a_newer_version_is_refused() {
    let (here, _path) = folded().await;
    execute(&here.engine.directory.control_db(), "UPDATE generations SET version = version + 1").await;
    stops_with(&here.engine, "newer version of annals").await;
    assert_eq!(LoggedOnUsers::VERSION, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_sets_a_stopped_projector_going_again() {
    let (here, path) = folded().await;
    execute(&path, "UPDATE positions SET last_event_id = randomblob(16)").await;
    let (signal, stop) = StopSignal::new();
    let (mut status, task) = Projector::<LoggedOnUsers>::spawn(here.engine.clone(), stop);
    status.wait_for(|state| matches!(state, State::Stopped(_))).await.unwrap();
    annals_consumers::rebuild::rebuild::<LoggedOnUsers>(&here.engine, None, &mut |_| {}).await.unwrap();
    status.wait_for(|state| *state == State::Running).await.unwrap();
    publish(&here.engine, &mut Fleet::new(6, true), 100).await;
    caught_up::<LoggedOnUsers>(&here.engine).await;
    signal.stop();
    task.await.unwrap();
}
