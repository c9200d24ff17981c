//! `/metrics`: what everything in this process counts, and what only a look at log, views and outbox can tell.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use metrics::gauge;

use crate::observe::chain;
use crate::positions::{ViewProgress, log_begins, log_ends};
use crate::router::App;
use crate::state::ApiState;

/// Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

const LOG_END_OFFSET: &str = "annals_log_end_offset";
const VIEW_POSITION: &str = "annals_view_position";
const VIEW_LAG_RECORDS: &str = "annals_view_lag_records";
const VIEW_DEAD_LETTERS: &str = "annals_view_dead_letters";
const VIEW_GENERATION: &str = "annals_view_generation";
const OUTBOX_ENTRIES: &str = "annals_outbox_entries";
const PASSWORD_HASHES: &str = "annals_password_hashes";

/// Tells the recorder what the metrics mean.
pub(crate) fn describe() {
    metrics::describe_gauge!(LOG_END_OFFSET, "Offset that the next record of a partition will get.");
    metrics::describe_gauge!(VIEW_POSITION, "Next offset of a partition that a view will fold.");
    metrics::describe_gauge!(VIEW_LAG_RECORDS, "Records of a partition that a view has not folded yet.");
    metrics::describe_gauge!(VIEW_DEAD_LETTERS, "Records that a view could not decode.");
    metrics::describe_gauge!(VIEW_GENERATION, "Generation of a view that is read.");
    metrics::describe_gauge!(OUTBOX_ENTRIES, "Events that wait to be appended to the log.");
    metrics::describe_gauge!(PASSWORD_HASHES, "Passwords that are being hashed, or wait for it.");
}

/// Looks, and renders. What cannot be looked at keeps its last value: the other metrics are needed most then.
#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
pub(crate) async fn answer(app: &App) -> Response {
    look_at_log_and_views(&app.state).await;
    match app.state.access.outbox_len().await {
        Ok(entries) => gauge!(OUTBOX_ENTRIES).set(entries as f64),
        Err(error) => tracing::warn!(error = chain(&error), "the outbox cannot be counted"),
    }
    gauge!(PASSWORD_HASHES).set(app.state.access.hashing_load().admitted as f64);
    let mut response = Response::new(Body::from((app.state.render_metrics)()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
    response
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
async fn look_at_log_and_views(state: &ApiState) {
    let (begins, ends) = match tokio::try_join!(log_begins(state), log_ends(state)) {
        Ok(places) => places,
        Err(error) => {
            tracing::warn!(error = chain(&error), "the log's end cannot be read");
            return;
        }
    };
    for (partition, end) in &ends {
        let labels = [("topic", partition.topic.to_string()), ("partition", partition.number.to_string())];
        gauge!(LOG_END_OFFSET, &labels).set(*end as f64);
    }
    for (view, topics) in state.followed() {
        match ViewProgress::read(view, topics, &begins, &ends).await {
            Ok(progress) => show(&progress),
            Err(error) => {
                tracing::warn!(
                    view = view.view(),
                    error = chain(&error),
                    "the view's positions cannot be read"
                );
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn show(progress: &ViewProgress) {
    let view = progress.view;
    gauge!(VIEW_DEAD_LETTERS, "view" => view).set(progress.dead_letters as f64);
    gauge!(VIEW_GENERATION, "view" => view).set(progress.generation as f64);
    for at in &progress.partitions {
        let labels = [
            ("view", view.to_owned()),
            ("topic", at.partition.topic.to_string()),
            ("partition", at.partition.number.to_string()),
        ];
        gauge!(VIEW_POSITION, &labels).set(at.position as f64);
        gauge!(VIEW_LAG_RECORDS, &labels).set(at.lag() as f64);
    }
}
