//! What must hold after any crash: every acknowledged event is in the log with the bytes sent and in each view exactly
//! once; a sent one may be; no other is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use annals_schemas::{Event, HostIdentity};
use uuid::Uuid;

use super::log::{self, LogRecord};
use super::{Home, Ledger, Server, views};

/// Events that papi is asked for at once.
const PAGE: usize = 10_000;

/// Checks log, views and papi against the ledger. A server must be at work. Gives the log for further questions.
#[track_caller]
pub fn everything(home: &Home, server: &Server, ledger: &Ledger) -> Vec<LogRecord> {
    let cookie = server.sign_in();
    // The sign-in is an event too: once it left the outbox, nothing is on its way any more.
    let records = log_and_views(home, ledger);
    the_dump(home, &records);
    papi(server, &cookie, &records, ledger);
    records
}

/// Checks log and views against the ledger, once the views have arrived at the end. Somebody must project and relay.
#[track_caller]
pub fn log_and_views(home: &Home, ledger: &Ledger) -> Vec<LogRecord> {
    views::outbox_empty(home);
    views::caught_up(home);
    let records = log::read(home);
    the_log(&records, ledger);
    the_views(home, &records);
    records
}

fn the_log(records: &[LogRecord], ledger: &Ledger) {
    let mut in_log: HashSet<Uuid> = HashSet::new();
    let mut imported: HashSet<Uuid> = HashSet::new();
    for record in records {
        let event = record.event.as_ref().unwrap_or_else(|| panic!("{} cannot be decoded", record.place));
        let id = event.meta().event_id;
        if log::is_own(event) {
            continue;
        }
        match ledger.sent.get(&id) {
            Some(bytes) => {
                assert_eq!(*bytes, record.value, "{id} at {} is not what was sent", record.place);
                in_log.insert(id);
            }
            None => {
                assert!(event.meta().source.starts_with("urn:windows:WS"), "nobody sent {event:?}");
                imported.insert(id);
            }
        }
    }
    let lost: Vec<_> = ledger.acknowledged.difference(&in_log).collect();
    assert!(lost.is_empty(), "acknowledged, but not in the log: {lost:?}");
    assert_eq!(imported.len(), ledger.imported, "records of imported files");
}

/// A second reading of the log, by another process.
fn the_dump(home: &Home, records: &[LogRecord]) {
    let dumped: BTreeMap<String, String> = log::dump(home)
        .iter()
        .map(|line| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (text(&line["position"]), text(&line["event"]["meta"]["event_id"]))
        })
        .collect();
    for record in records {
        assert_eq!(dumped.get(&record.place), Some(&record.id().unwrap().to_string()));
    }
}

fn the_views(home: &Home, records: &[LogRecord]) {
    same("audit_log", views::audit_log_ids(home), by_customer(records, |_| true));
    same("logged_on_users", views::logon_ids(home), by_customer(records, is_logon));
}

/// Logons of people from somewhere, and logoffs that name their logon: all that the load and the imports make.
fn is_logon(event: &Event) -> bool {
    match event {
        Event::HostLoggedOn(logon) => logon.identity == HostIdentity::Person,
        Event::HostLoggedOff(logoff) => logoff.identity == HostIdentity::Person && logoff.logon_id.is_some(),
        _ => false,
    }
}

/// CUSTOMER/EVENT of the different events among records.
fn by_customer(records: &[LogRecord], wanted: impl Fn(&Event) -> bool) -> BTreeSet<String> {
    let events = records.iter().filter_map(|record| record.event.as_ref()).filter(|event| wanted(event));
    events
        .map(|event| format!("{}/{}", event.meta().customer.simple(), event.meta().event_id.simple()))
        .collect()
}

fn same(view: &str, rows: Vec<String>, expected: BTreeSet<String>) {
    let different: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(rows.len(), different.len(), "{view} has a row twice");
    let missing: Vec<_> = expected.difference(&different).collect();
    let more: Vec<_> = different.difference(&expected).collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "{view} lacks {missing:?} and has beyond the log {more:?}"
    );
}

fn papi(server: &Server, cookie: &str, records: &[LogRecord], ledger: &Ledger) {
    let mut shown: HashMap<Uuid, usize> = HashMap::new();
    for page in 0.. {
        // Oldest first: what is told of this reading itself comes behind the last page.
        let query = format!("orderby=ts+ASC&max_results={PAGE}&offset_results={}", page * PAGE);
        let events = server.events(cookie, &query);
        for event in &events {
            *shown.entry(event["audit_event_id"].as_str().unwrap().parse().unwrap()).or_default() += 1;
        }
        if events.len() < PAGE {
            break;
        }
    }
    assert!(shown.values().all(|times| *times == 1), "papi shows an event twice");
    for id in
        records.iter().filter(|record| !log::is_own(record.event.as_ref().unwrap())).filter_map(LogRecord::id)
    {
        assert!(shown.contains_key(&id), "papi does not show {id}");
    }
    assert!(ledger.acknowledged.iter().all(|id| shown.contains_key(id)));
}
