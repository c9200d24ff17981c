//! Health, readiness and metrics.

use std::collections::BTreeMap;

use annals_access::Permission;
use annals_query_api::{ApiSettings, Component, ComponentState};
use serde_json::json;
use std::sync::Arc;

use crate::engine::{Engine, suite};
use crate::events::{Action, logon};
use crate::http::Ask;
use crate::world::World;

suite!(
    a_process_is_alive_and_lists_its_components,
    an_empty_log_is_ready_at_once,
    it_is_ready_when_every_view_has_what_was_in_the_log_at_the_start_and_stays_so,
    a_stopped_component_takes_readiness_away_and_a_waiting_one_does_not,
    metrics_tell_where_log_and_views_are_and_what_was_asked,
    pages_for_operators_take_get_and_head_only,
    a_panic_is_an_answer,
);

const ADA: &str = "ada@acme.example";

fn component(name: &str, state: ComponentState) -> Component {
    Component { name: name.to_owned(), state }
}

async fn a_process_is_alive_and_lists_its_components(engine: Engine) {
    let world = World::start(engine).await;
    *world.components.lock().unwrap() = vec![
        component("projector audit_log", ComponentState::Running),
        component("projector logged_on_users", ComponentState::Waiting("the disk is full".to_owned())),
        component("relay", ComponentState::Stopped("the log was re-created".to_owned())),
    ];
    let reply = world.ask(&Ask::get("/healthz")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json(),
        json!({"status": "alive", "components": [
            {"name": "projector audit_log", "state": "running"},
            {"name": "projector logged_on_users", "state": "waiting", "reason": "the disk is full"},
            {"name": "relay", "state": "stopped", "reason": "the log was re-created"},
        ]})
    );
}

async fn an_empty_log_is_ready_at_once(engine: Engine) {
    let world = World::start(engine).await;
    let reply = world.ask(&Ask::get("/readyz")).await;
    assert_eq!((reply.status, reply.json()), (200, json!({"status": "ready"})));
}

async fn it_is_ready_when_every_view_has_what_was_in_the_log_at_the_start_and_stays_so(engine: Engine) {
    let world = World::start(engine).await;
    let acme = world.customer("acme").await;
    world.append(&[logon(1, acme.id, "2020-05-01 10:00:00", 3, "bob", "10.0.0.1")]).await;
    let server = world.second_server().await;
    let ready = || Ask::get("/readyz");
    let first = ready().send(server).await;
    assert_eq!(first.status, 503);
    let answer = first.json();
    assert_eq!(answer["status"], "catching up");
    assert_eq!(
        (&answer["views"][0]["view"], &answer["views"][1]["view"]),
        (&json!("audit_log"), &json!("logged_on_users"))
    );
    assert_eq!(answer["views"][0]["generation"], 1);
    assert_eq!(answer["views"][0]["partitions"].as_array().unwrap().len(), 8);
    assert_eq!(answer["views"][1]["partitions"].as_array().unwrap().len(), 4);
    let behind = |view: &serde_json::Value| {
        let partitions = view["partitions"].as_array().unwrap();
        partitions.iter().filter(|at| at["position"] == 0 && at["end"] == 1).count()
    };
    assert_eq!((behind(&answer["views"][0]), behind(&answer["views"][1])), (1, 1));
    // What comes later is not waited for.
    world.append(&[Action::new(2, acme.id, "2020-05-01 10:00:00").event()]).await;
    world.fold_audit_log().await;
    assert_eq!(ready().send(server).await.status, 503);
    world.fold().await;
    world.append(&[Action::new(3, acme.id, "2020-05-01 10:00:00").event()]).await;
    assert_eq!(ready().send(server).await.json(), json!({"status": "ready"}));
    world.append(&[Action::new(4, acme.id, "2020-05-01 10:00:00").event()]).await;
    assert_eq!(ready().send(server).await.status, 200);
}

async fn a_stopped_component_takes_readiness_away_and_a_waiting_one_does_not(engine: Engine) {
    let world = World::start(engine).await;
    let ready = Ask::get("/readyz");
    assert_eq!(world.ask(&ready).await.status, 200);
    *world.components.lock().unwrap() = vec![component("relay", ComponentState::Waiting("busy".to_owned()))];
    assert_eq!(world.ask(&ready).await.status, 200);
    let stopped = ComponentState::Stopped("log re-created".to_owned());
    *world.components.lock().unwrap() = vec![component("projector", stopped)];
    let reply = world.ask(&ready).await;
    assert_eq!(reply.status, 503);
    let components = json!([{"name": "projector", "state": "stopped", "reason": "log re-created"}]);
    assert_eq!(reply.json(), json!({"status": "stopped", "components": components}));
    world.components.lock().unwrap().clear();
    assert_eq!(world.ask(&ready).await.status, 200);
}

/// Name and labels of each sample, with its value.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

async fn metrics_tell_where_log_and_views_are_and_what_was_asked(engine: Engine) {
    let world = World::start(engine).await;
    let acme = world.customer("acme").await;
    world.account(ADA, &acme, &[Permission::ManageUsers]).await;
    let cookie = world.cookie(ADA).await;
    world.empty_outbox().await;
    let event = logon(1, acme.id, "2020-05-01 10:00:00", 3, "bob", "10.0.0.1");
    world.publish(std::slice::from_ref(&event)).await;
    world.append(&[logon(2, acme.id, "2020-05-01 10:00:00", 3, "bob", "10.0.0.1")]).await;
    world.papi("auditlog/get_events", &cookie, &[]).await.data();
    world.papi("auditlog/get_events", &cookie, &[("max_results", "x")]).await.error();
    world.ask(&Ask::get("/papi/made-up-by-a-client/x")).await.error();
    let reply = world.ask(&Ask::get("/metrics")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = reply.text();
    let samples = samples(text);
    let sum = |name: &str, part: &str| -> f64 {
        let matching =
            samples.iter().filter(|(key, _)| key.starts_with(&format!("{name}{{")) && key.contains(part));
        matching.map(|(_, value)| value).sum()
    };
    // Other tests of this process count into the same recorder, so that only some values are known here.
    for (name, part) in [
        ("annals_log_end_offset", "topic=\"annals.host-logons\",partition=\"0\""),
        ("annals_view_position", "view=\"audit_log\",topic=\"annals.audit\""),
        ("annals_view_lag_records", "view=\"logged_on_users\",topic=\"annals.host-logons\""),
        ("annals_view_dead_letters", "view=\"audit_log\""),
        ("annals_view_generation", "view=\"logged_on_users\""),
        ("annals_http_request_seconds", "dialect=\"papi\",function=\"auditlog/get_events\""),
    ] {
        assert!(
            samples.keys().any(|key| key.starts_with(name) && key.contains(part)),
            "{name} {part}\n{text}"
        );
    }
    assert!(samples.contains_key("annals_outbox_entries"), "{text}");
    let requests = "annals_http_requests_total";
    assert!(sum(requests, "function=\"auditlog/get_events\",status=\"200\",outcome=\"ok\"") >= 1.0, "{text}");
    assert!(sum(requests, "outcome=\"INVALID_PARAMETER_ERROR\"") >= 1.0, "{text}");
    assert!(sum(requests, "dialect=\"papi\",function=\"unknown\",status=\"404\"") >= 1.0, "{text}");
    assert!(!text.contains("made-up"), "a client made a label");
    assert!(text.contains("# HELP annals_view_lag_records "), "{text}");
}

async fn pages_for_operators_take_get_and_head_only(engine: Engine) {
    let world = World::start(engine).await;
    for page in ["/healthz", "/readyz", "/metrics"] {
        let reply = world.ask(&Ask::post(page)).await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));
        assert_eq!(reply.json(), json!({"error": "this page takes GET and HEAD only"}));
        let reply = world.ask(&Ask::new("HEAD", page)).await;
        assert_eq!((reply.status, reply.body.len()), (200, 0));
    }
}

async fn a_panic_is_an_answer(engine: Engine) {
    let world = World::start_with(engine, ApiSettings::default(), |state| {
        state.render_metrics = Arc::new(|| panic!("on purpose"));
    })
    .await;
    let reply = world.ask(&Ask::get("/metrics")).await;
    assert_eq!((reply.status, reply.json()), (500, json!({"error": "internal error"})));
    assert_eq!(world.ask(&Ask::get("/healthz")).await.status, 200);
}
