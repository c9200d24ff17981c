//! Several projectors of one view: on one log and one database they share the partitions, and never double a row.

use std::collections::BTreeSet;

use annals_consumers::rebuild::rebuild;
use annals_consumers::{Engine, for_each_view};
use annals_producers::fleet::Fleet;
use annals_schemas::Event;
use annals_views::View;
use annals_views::audit_log::AuditLog;
use annals_views::logged_on_users::LoggedOnUsers;

use crate::dump::Dump;
use crate::engines::{Engines, Installation, on};
use crate::rebuild::Reader;
use crate::{AtWork, caught_up, keep, publish, rows, until};

on!(kafka_postgres: KAFKA_POSTGRES;
    two_projectors_share_the_partitions_and_double_nothing,
    what_a_killed_projector_had_goes_to_the_other_one,
    a_rebuild_beside_two_projectors_loses_no_row_and_fails_no_read,
    projectors_that_come_and_go_double_nothing,
);
on!(embedded_postgres: EMBEDDED_POSTGRES; projectors_that_do_not_know_of_each_other_double_nothing);
on!(embedded: EMBEDDED; projectors_that_do_not_know_of_each_other_double_nothing);

/// CUSTOMER|EVENT of different events.
fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<String> {
    let id = |event: &Event| {
        let meta = event.meta();
        format!("{:X}|{:X}", meta.customer.simple(), meta.event_id.simple())
    };
    events.into_iter().map(id).collect()
}

/// Every different event is one row of the audit log, and nothing else is.
pub async fn assert_once(engine: &Engine, events: &[Event]) {
    let rows = rows::<AuditLog>(engine).await;
    let found: BTreeSet<String> =
        rows.iter().map(|row| row.split('|').take(2).collect::<Vec<_>>().join("|")).collect();
    assert_eq!(rows.len(), found.len(), "an event has two rows");
    let expected = ids(events);
    let missing: Vec<_> = expected.difference(&found).collect();
    let more: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing {missing:?}, too many {more:?}");
}

/// The rows are those that a fold of the whole log by one alone makes.
async fn assert_as_rebuilt<V: Dump>(engine: &Engine) {
    let live = rows::<V>(engine).await;
    rebuild::<V>(engine, None, &mut |_| {}).await.unwrap();
    assert_eq!(rows::<V>(engine).await, live);
}

/// Waits until every partition of a view's topics belongs to one of the projectors, and each has some.
pub async fn shared_out<V: View>(projectors: &[&AtWork]) {
    let all: u32 = V::topics().iter().map(|topic| topic.partitions).sum();
    until("the partitions are shared out", async || {
        let theirs: Vec<_> = projectors.iter().map(|projector| projector.status.partitions()).collect();
        let different: BTreeSet<_> = theirs.iter().flatten().collect();
        theirs.iter().all(|some| !some.is_empty())
            && different.len() == all as usize
            && theirs.iter().map(Vec::len).sum::<usize>() == all as usize
    })
    .await;
}

async fn two_projectors_share_the_partitions_and_double_nothing(engines: Engines) {
    let here = Installation::new(engines).await;
    let (one, two) = (here.engine.clone(), here.process().await);
    let mut fleet = Fleet::new(21, true);
    let mut all = publish(&one, &mut fleet, 2_000).await;
    macro_rules! start {
        ($view:ty) => {{
            let projectors = [AtWork::start::<$view>(&one), AtWork::start::<$view>(&two)];
            // While the group is finding itself.
            all.extend(publish(&one, &mut fleet, 1_000).await);
            shared_out::<$view>(&[&projectors[0], &projectors[1]]).await;
            all.extend(publish(&two, &mut fleet, 1_000).await);
            caught_up::<$view>(&one).await;
            for projector in projectors {
                projector.end().await;
            }
        }};
    }
    for_each_view!(start);
    keep::<AuditLog>(&two).await;
    assert_once(&one, &all).await;
    assert_as_rebuilt::<AuditLog>(&two).await;
    assert_as_rebuilt::<LoggedOnUsers>(&two).await;
}

async fn what_a_killed_projector_had_goes_to_the_other_one(engines: Engines) {
    let here = Installation::new(engines).await;
    let mut fleet = Fleet::new(22, true);
    let mut all = publish(&here.engine, &mut fleet, 1_000).await;
    let stays = AtWork::start::<AuditLog>(&here.engine);
    for _ in 0..3 {
        let goes = AtWork::start::<AuditLog>(&here.process().await);
        shared_out::<AuditLog>(&[&stays, &goes]).await;
        all.extend(publish(&here.engine, &mut fleet, 500).await);
        goes.kill().await;
        all.extend(publish(&here.engine, &mut fleet, 500).await);
        shared_out::<AuditLog>(&[&stays]).await;
        caught_up::<AuditLog>(&here.engine).await;
    }
    stays.end().await;
    assert_once(&here.engine, &all).await;
    assert_as_rebuilt::<AuditLog>(&here.engine).await;
}

async fn a_rebuild_beside_two_projectors_loses_no_row_and_fails_no_read(engines: Engines) {
    let here = Installation::new(engines).await;
    let (one, two) = (here.engine.clone(), here.process().await);
    let mut fleet = Fleet::new(23, true);
    let mut all = publish(&one, &mut fleet, 2_000).await;
    let projectors = [AtWork::start::<AuditLog>(&one), AtWork::start::<AuditLog>(&two)];
    shared_out::<AuditLog>(&[&projectors[0], &projectors[1]]).await;
    caught_up::<AuditLog>(&one).await;
    let rebuilder = here.process().await;
    let readers = [Reader::start(&one).await, Reader::start(&rebuilder).await];
    for generation in 2..5 {
        let mut silent = |_| {};
        let (report, published) = tokio::join!(
            rebuild::<AuditLog>(&rebuilder, None, &mut silent),
            publish(&two, &mut fleet, 1_000)
        );
        assert_eq!(report.unwrap().generation, generation);
        all.extend(published);
        caught_up::<AuditLog>(&two).await;
        for reader in &readers {
            reader.reads(generation).await;
        }
    }
    shared_out::<AuditLog>(&[&projectors[0], &projectors[1]]).await;
    for reader in readers {
        reader.end().await;
    }
    for projector in projectors {
        projector.end().await;
    }
    assert_once(&one, &all).await;
    assert_as_rebuilt::<AuditLog>(&two).await;
}

async fn projectors_that_come_and_go_double_nothing(engines: Engines) {
    let here = Installation::new(engines).await;
    let mut fleet = Fleet::new(24, true);
    let mut all = Vec::new();
    let mut at_work = Vec::new();
    for round in 0..6 {
        at_work.push(AtWork::start::<AuditLog>(&here.process().await));
        all.extend(publish(&here.engine, &mut fleet, 400).await);
        if round % 2 == 1 {
            let oldest = at_work.remove(0);
            if round % 4 == 1 { oldest.kill().await } else { drop(oldest.end().await) }
        }
    }
    all.extend(publish(&here.engine, &mut fleet, 400).await);
    caught_up::<AuditLog>(&here.engine).await;
    for projector in at_work {
        projector.end().await;
    }
    assert_once(&here.engine, &all).await;
    assert_as_rebuilt::<AuditLog>(&here.engine).await;
}

/// On an embedded log there are no groups: only the positions keep two apart, whom a role should have kept apart.
async fn projectors_that_do_not_know_of_each_other_double_nothing(engines: Engines) {
    let here = Installation::new(engines).await;
    let another = here.process().await;
    let mut fleet = Fleet::new(25, true);
    let mut all = publish(&here.engine, &mut fleet, 1_000).await;
    let projectors = [AtWork::start::<AuditLog>(&here.engine), AtWork::start::<AuditLog>(&another)];
    for _ in 0..10 {
        all.extend(publish(&here.engine, &mut fleet, 100).await);
    }
    caught_up::<AuditLog>(&here.engine).await;
    for projector in projectors {
        projector.end().await;
    }
    assert_once(&here.engine, &all).await;
}
