//! An embedded log that was changed behind the back of its readers.

use annals_views::logged_on_users::LoggedOnUsers;

use crate::engines::{Engines, on};
use crate::projector::{folded, stops_with};
use crate::rows;

on!(embedded: EMBEDDED;
    a_truncated_log_stops_the_projector_with_the_reason,
    a_log_created_again_stops_the_projector_with_the_reason,
);
on!(embedded_postgres: EMBEDDED_POSTGRES;
    a_truncated_log_stops_the_projector_with_the_reason,
    a_log_created_again_stops_the_projector_with_the_reason,
);

async fn a_truncated_log_stops_the_projector_with_the_reason(engines: Engines) {
    let here = folded(engines).await;
    let before = rows::<LoggedOnUsers>(&here.engine).await;
    here.change_log("DELETE FROM batches").await;
    here.change_log("UPDATE partitions SET next_offset = 0").await;
    stops_with(&here.engine, "was truncated or created again").await;
    assert_eq!(rows::<LoggedOnUsers>(&here.engine).await, before, "nothing is skipped over or undone");
}

async fn a_log_created_again_stops_the_projector_with_the_reason(engines: Engines) {
    let here = folded(engines).await;
    here.change_log("UPDATE log SET incarnation = randomblob(16)").await;
    // The incarnation is read when a log is opened.
    stops_with(&here.process().await, "the log was created again").await;
}
