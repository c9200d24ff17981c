//! Topics of Kafka that were removed, made again, or cut, by administrators.

use annals_access::Access;
use annals_bus::BusError;
use annals_consumers::ConsumerError;
use annals_consumers::rebuild::rebuild;
use annals_consumers::survey::survey;
use annals_producers::fleet::Fleet;
use annals_views::View;
use annals_views::logged_on_users::LoggedOnUsers;

use crate::engines::{Engines, on};
use crate::projector::{folded, stops_with};
use crate::shared::shared_out;
use crate::{AtWork, caught_up, publish, rows, shown};

on!(kafka_embedded: KAFKA_EMBEDDED;
    topics_made_again_stop_the_projector_until_a_rebuild,
    topics_made_again_stop_a_projector_at_work,
    records_removed_before_they_were_folded_stop_the_projector,
    what_was_removed_before_it_was_folded_is_no_lag,
);
on!(kafka_postgres: KAFKA_POSTGRES;
    topics_made_again_stop_the_projector_until_a_rebuild,
    topics_made_again_stop_a_projector_at_work,
    records_removed_before_they_were_folded_stop_the_projector,
    what_was_removed_before_it_was_folded_is_no_lag,
);

async fn topics_made_again_stop_the_projector_until_a_rebuild(engines: Engines) {
    let here = folded(engines).await;
    let before = rows::<LoggedOnUsers>(&here.engine).await;
    here.topics().remove().await;
    here.topics().ensure().await;
    let engine = here.process().await;
    // As many records as before, and more: offsets alone do not tell.
    publish(&engine, &mut Fleet::new(3, true), 800).await;
    let mut projector = AtWork::start::<LoggedOnUsers>(&engine);
    let reason = projector.stopped().await;
    assert!(reason.contains("the log was created again") && reason.contains("logged_on_users"), "{reason}");
    assert_eq!(rows::<LoggedOnUsers>(&engine).await, before, "nothing is skipped over or undone");
    rebuild::<LoggedOnUsers>(&engine, None, &mut |_| {}).await.unwrap();
    projector.running().await;
    caught_up::<LoggedOnUsers>(&engine).await;
    projector.end().await;
    assert_ne!(shown::<LoggedOnUsers>(&engine).await, before);
}

async fn topics_made_again_stop_a_projector_at_work(engines: Engines) {
    let here = folded(engines).await;
    let mut projector = AtWork::start::<LoggedOnUsers>(&here.engine);
    shared_out::<LoggedOnUsers>(&[&projector]).await;
    let before = rows::<LoggedOnUsers>(&here.engine).await;
    here.topics().remove().await;
    here.topics().ensure().await;
    publish(&here.process().await, &mut Fleet::new(3, true), 800).await;
    let reason = projector.stopped().await;
    // By the topic that is gone, or by the end of the one that is there now: whichever is seen first.
    assert!(reason.contains("created again"), "{reason}");
    projector.end().await;
    assert_eq!(rows::<LoggedOnUsers>(&here.engine).await, before, "nothing is skipped over or undone");
    stops_with(&here.process().await, "the log was created again").await;
}

async fn records_removed_before_they_were_folded_stop_the_projector(engines: Engines) {
    let here = folded(engines).await;
    publish(&here.engine, &mut Fleet::new(3, true), 800).await;
    let before = rows::<LoggedOnUsers>(&here.engine).await;
    for (partition, end) in here.engine.bus.end_positions(&["annals.host-logons"]).await.unwrap() {
        here.topics().remove_records(&partition, end - 1).await;
    }
    let mut projector = AtWork::start::<LoggedOnUsers>(&here.engine);
    let reason = projector.stopped().await;
    projector.end().await;
    assert!(
        reason.contains("although `annals.host-logons` is declared to keep its records for ever"),
        "{reason}"
    );
    assert_eq!(rows::<LoggedOnUsers>(&here.engine).await, before, "nothing is skipped over");
    // A rebuild would lose what the old generation still has: it says so too.
    let error = rebuild::<LoggedOnUsers>(&here.engine, None, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, ConsumerError::Bus(BusError::Removed { .. })), "{error}");
    assert_eq!(rows::<LoggedOnUsers>(&here.engine).await, before);
}

async fn what_was_removed_before_it_was_folded_is_no_lag(engines: Engines) {
    let here = folded(engines).await;
    publish(&here.engine, &mut Fleet::new(3, true), 800).await;
    let access = Access::open(here.engine.control.clone(), &here.engine.database).await.unwrap().access;
    let lag = async || -> u64 {
        let survey = survey(&here.engine, &access).await.unwrap();
        let views = survey.generations.iter().filter(|generation| generation.view == LoggedOnUsers::NAME);
        views.flat_map(|generation| &generation.partitions).map(|partition| partition.lag).sum()
    };
    assert!(lag().await > 0);
    for (partition, end) in here.engine.bus.end_positions(&["annals.host-logons"]).await.unwrap() {
        here.topics().remove_records(&partition, end).await;
    }
    assert_eq!(lag().await, 0);
}
