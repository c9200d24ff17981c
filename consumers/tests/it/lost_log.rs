//! A log that is not the one that a view was folded from: the projector stops with the reason, and the view stays as it
//! was.

use annals_views::logged_on_users::LoggedOnUsers;

use crate::engines::{Engines, Installation, Store, on_every_engine};
use crate::projector::{folded, stops_with};
use crate::rows;

on_every_engine!(
    a_log_that_ends_before_the_view_stops_the_projector,
    a_log_changed_behind_the_view_stops_the_projector,
);

async fn a_log_that_ends_before_the_view_stops_the_projector(engines: Engines) {
    let here = folded(engines).await;
    let before = rows::<LoggedOnUsers>(&here.engine).await;
    let moved =
        here.change_view::<LoggedOnUsers>("UPDATE positions SET next_offset = next_offset + 1000").await;
    assert!(moved > 1);
    stops_with(&here.engine, "was truncated or created again").await;
    assert_eq!(rows::<LoggedOnUsers>(&here.engine).await, before, "nothing is skipped over or undone");
}

/// Makes the view believe that the last records it folded were others.
pub async fn change_the_last_events(here: &Installation, store: Store) {
    let another = match store {
        Store::Embedded => "randomblob(16)",
        Store::Postgres => "gen_random_uuid()",
    };
    let sql = format!("UPDATE positions SET last_event_id = {another}");
    assert!(here.change_view::<LoggedOnUsers>(&sql).await > 1);
}

async fn a_log_changed_behind_the_view_stops_the_projector(engines: Engines) {
    let here = folded(engines).await;
    let before = rows::<LoggedOnUsers>(&here.engine).await;
    change_the_last_events(&here, engines.store).await;
    stops_with(&here.engine, "the log was changed behind it").await;
    assert_eq!(rows::<LoggedOnUsers>(&here.engine).await, before, "nothing is skipped over or undone");
}
