//! The projector loop: catching up, following, restarting, and refusing a view that is not its own.

use annals_consumers::State;
use annals_consumers::rebuild::rebuild;
use annals_producers::fleet::Fleet;
use annals_views::View;
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;

use crate::engines::{Engines, Installation, on_every_engine};
use crate::lost_log::change_the_last_events;
use crate::{AtWork, caught_up, keep, publish, rows};

on_every_engine!(
    a_projector_catches_up_follows_and_goes_on_after_a_restart,
    a_view_of_a_newer_version_is_refused,
    a_rebuild_sets_a_stopped_projector_going_again,
);

async fn a_projector_catches_up_follows_and_goes_on_after_a_restart(engines: Engines) {
    let here = Installation::new(engines).await;
    let mut fleet = Fleet::new(1, true);
    publish(&here.engine, &mut fleet, 500).await;
    for round in 0..3 {
        let projector = AtWork::start::<AuditLog>(&here.engine);
        publish(&here.engine, &mut fleet, 100).await;
        caught_up::<AuditLog>(&here.engine).await;
        assert_eq!(projector.status.state(), State::Running, "round {round}");
        assert_eq!(projector.end().await.state(), State::Ended);
        publish(&here.engine, &mut fleet, 100).await;
    }
    let distinct = rows::<AuditLog>(&here.engine).await.len();
    assert!((970..1000).contains(&distinct), "{distinct} rows of 1,000 records, some repeated");
}

/// Stops with a reason that says what happened.
pub async fn stops_with(engine: &annals_consumers::Engine, words: &str) {
    let mut projector = AtWork::start::<LoggedOnUsers>(engine);
    let reason = projector.stopped().await;
    projector.end().await;
    assert!(reason.contains(words) && reason.contains("logged_on_users"), "{reason}");
}

/// An installation whose view has folded a log.
pub async fn folded(engines: Engines) -> Installation {
    let here = Installation::new(engines).await;
    publish(&here.engine, &mut Fleet::new(2, true), 400).await;
    keep::<LoggedOnUsers>(&here.engine).await;
    here
}

async fn a_view_of_a_newer_version_is_refused(engines: Engines) {
    let here = folded(engines).await;
    here.databases.change_control("UPDATE generations SET version = version + 1").await;
    stops_with(&here.engine, "newer version of annals").await;
    assert_eq!(LoggedOnUsers::VERSION, 2);
}

async fn a_rebuild_sets_a_stopped_projector_going_again(engines: Engines) {
    let here = folded(engines).await;
    change_the_last_events(&here, engines.store).await;
    let mut projector = AtWork::start::<LoggedOnUsers>(&here.engine);
    projector.stopped().await;
    rebuild::<LoggedOnUsers>(&here.engine, None, &mut |_| {}).await.unwrap();
    projector.running().await;
    publish(&here.engine, &mut Fleet::new(6, true), 100).await;
    caught_up::<LoggedOnUsers>(&here.engine).await;
    projector.end().await;
}
