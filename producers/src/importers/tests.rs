//! Both importers over whole files: the invented records of `fixtures/`, and real ones where they are at hand.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use annals_schemas::{Event, codec, present};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn context() -> ImportContext {
    ImportContext { customer: Uuid::from_u128(0xC0), time_zone: None }
}

fn events(path: &Path, format: Format) -> Vec<Event> {
    let mut events = Vec::new();
    read_records(path, format, &mut |input| {
        let record =
            input.record.unwrap_or_else(|error| panic!("{}:{}: {error}", path.display(), input.line));
        events.push(format.to_event(record, &context()).unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    events
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// The real data when it is there. It is never part of the project.
fn real(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("ANNALS_REAL_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = folder.join(name);
    path.is_file().then_some(path)
}

fn count_by<K: Ord>(events: &[Event], key: impl Fn(&Event) -> K) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(key(event)).or_default() += 1;
    }
    counts
}

/// What holds of every imported event.
fn check(path: &Path, format: Format) -> Vec<Event> {
    let first = events(path, format);
    eprintln!("{}: {} events", path.display(), first.len());
    assert_eq!(events(path, format), first, "a second import gives the same events");
    let ids: HashSet<Uuid> = first.iter().map(|event| event.meta().event_id).collect();
    assert_eq!(ids.len(), first.len(), "every record is an event of its own");
    for event in &first {
        let bytes = codec::encode(event).unwrap();
        assert_eq!(&codec::decode(&bytes, &codec::NoRegistry).unwrap(), event);
        let shown = present(event);
        assert!(
            !shown.name.is_empty() && !shown.category.is_empty() && !shown.description.is_empty(),
            "{event:?}"
        );
        let record = event.personal().unwrap().record.as_deref().unwrap();
        assert!(serde_json::from_str::<Map<String, Value>>(record).is_ok());
    }
    first
}

#[test]
fn windows_records_become_events() {
    let path = fixture("windows-security.jsonl");
    let events = check(&path, Format::WindowsSecurity);
    let names = count_by(&events, |event| present(event).name);
    for (name, count) in
        [("HOST_LOGON", 5), ("HOST_LOGOFF", 3), ("FAILED_HOST_LOGON", 1), ("SERVICE_INSTALLED", 3)]
    {
        assert_eq!(names[name], count, "{name}");
    }
    for (name, count) in [("GROUP_MEMBER_ADDED", 3), ("USER_RENAMED", 1), ("WINDOWS_EVENT_4624", 2)] {
        assert_eq!(names[name], count, "{name}");
    }
    assert_eq!(names.len(), 38);
    // Five hours behind UTC, as the two times of receipt tell.
    assert_eq!(events[0].meta().occurred_at.to_string(), "2024-03-05 09:00:10 UTC");
    let mut logons = events.iter().filter_map(|event| match event {
        Event::HostLoggedOff(event) => Some((&event.meta, &event.logon_id)),
        Event::HostLoggedOn(event) => Some((&event.meta, &event.logon_id)),
        _ => None,
    });
    let (logoff, logon) = (logons.next().unwrap(), logons.next().unwrap());
    assert_eq!((&logoff.0.actor, logoff.1), (&logon.0.actor, logon.1), "a logoff finds its logon");
}

#[test]
fn cloudtrail_records_become_events() {
    let events = check(&fixture("cloudtrail.jsonl"), Format::Cloudtrail);
    let categories = count_by(&events, |event| present(event).category);
    assert_eq!(categories["authentication"], 3);
    assert_eq!(categories["cloud_read"], 8);
    assert_eq!(categories["cloud_change"], 6);
}

#[test]
fn no_event_contains_a_secret_of_the_fixtures() {
    for (name, format) in
        [("windows-security.jsonl", Format::WindowsSecurity), ("cloudtrail.jsonl", Format::Cloudtrail)]
    {
        for event in events(&fixture(name), format) {
            let text = format!("{event:?}");
            assert!(!text.contains("HIDDEN") && !text.contains("SElEREVO"), "{text}");
        }
    }
}

#[test]
fn a_service_file_gives_the_same_events_as_its_lines() {
    let lines = std::fs::read_to_string(fixture("cloudtrail.jsonl")).unwrap();
    let records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("service.json");
    std::fs::write(&path, serde_json::to_string_pretty(&json!({"Records": records})).unwrap()).unwrap();
    assert_eq!(events(&path, Format::Cloudtrail), events(&fixture("cloudtrail.jsonl"), Format::Cloudtrail));
}

#[test]
fn real_windows_records_become_events() {
    let Some(path) = real("windows-security.jsonl") else {
        eprintln!("no real data; the fixtures are tested by themselves");
        return;
    };
    let events = check(&path, Format::WindowsSecurity);
    assert_eq!(events.len(), 1581);
    let record =
        |event: &Event| event.personal().and_then(|personal| personal.record.clone()).unwrap_or_default();
    assert_eq!(events.iter().filter(|event| record(event).contains("\"TimeCreated\":")).count(), 388);
    let types = count_by(&events, |event| event.event_type().name());
    let expected = [
        ("ActionRecorded", 583),
        ("ConfigurationChanged", 90),
        ("HostLoggedOff", 360),
        ("HostLoggedOn", 532),
        ("HostLogonFailed", 16),
    ];
    assert_eq!(types, BTreeMap::from(expected));
    let unknown = events.iter().filter(|event| present(event).name.starts_with("WINDOWS_EVENT_")).count();
    assert_eq!(unknown, 0, "every event of the sample is known");
    check_real_times(&events);
    check_real_logoffs(&events);
    for event in &events {
        assert!(!record(event).contains("SQBmACgA"), "an encoded command was kept");
    }
}

/// Shifted to UTC, a time lies shortly before the time of receipt.
fn check_real_times(events: &[Event]) {
    let mut count = 0;
    for event in events {
        let record: Value =
            serde_json::from_str(event.personal().unwrap().record.as_deref().unwrap()).unwrap();
        if record.get("EventTime").is_none() {
            continue;
        }
        let received: chrono::DateTime<chrono::Utc> = record["@timestamp"].as_str().unwrap().parse().unwrap();
        let seconds = (received - event.meta().occurred_at).num_seconds();
        assert!((0..=75).contains(&seconds), "{seconds} s late: {record}");
        count += 1;
    }
    assert_eq!(count, 1193);
}

/// The specification counts the logoffs that find a logon, and those that stand before theirs in the file.
fn check_real_logoffs(events: &[Event]) {
    let mut logons: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        if let Event::HostLoggedOn(logon) = event {
            let key = (logon.host.to_lowercase(), logon.logon_id.clone());
            logons.entry(key).or_default().push((logon.meta.occurred_at, index));
        }
    }
    let (mut found, mut before) = (0, 0);
    for (index, event) in events.iter().enumerate() {
        let Event::HostLoggedOff(logoff) = event else { continue };
        let candidates = logons.get(&(logoff.host.to_lowercase(), logoff.logon_id.clone()));
        let logon =
            candidates.into_iter().flatten().filter(|(time, _)| *time <= logoff.meta.occurred_at).max();
        found += usize::from(logon.is_some());
        before += usize::from(logon.is_some_and(|(_, logon)| *logon > index));
    }
    assert_eq!((found, before), (292, 157));
}

#[test]
fn real_cloudtrail_records_become_events() {
    let Some(path) = real("cloudtrail.jsonl") else {
        eprintln!("no real data; the fixtures are tested by themselves");
        return;
    };
    let events = check(&path, Format::Cloudtrail);
    assert_eq!(events.len(), 103);
    assert_eq!(
        count_by(&events, |event| present(event).category),
        BTreeMap::from([("cloud_read".to_owned(), 103)])
    );
    for event in &events {
        let record = event.personal().unwrap().record.as_deref().unwrap();
        assert!(!record.contains("ASIA") && !record.contains("IQoJ"), "{record}");
    }
}

/// A value of the kinds that records hold, and of those that they should not.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "Security",
            "system",
            "0x3e7",
            "S-1-5-18",
            "S-1-0-0",
            "-",
            "a@b",
            "c\\d",
            "::ffff:1.2.3.4",
            "true",
            "2024-05-06T07:08:09Z",
            "2024-05-06 07:08:09",
            "+262142-12-31T23:59:59Z",
            "9999-12-31T23:59:60.9-23:59",
            "ConsoleLogin",
            "arn:aws:iam::0:user/x",
            "Account Name:\t\nDomain Name: x",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,8}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A record whose fields have the right names more often than not.
fn any_record(names: &'static [&'static str]) -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![9 => prop::sample::select(names).prop_map(str::to_owned), 1 => any::<String>()];
    prop::collection::btree_map(name, any_value(), 0..24).prop_map(|fields| fields.into_iter().collect())
}

const WINDOWS_FIELDS: &[&str] = &[
    "EventID",
    "Channel",
    "Hostname",
    "TimeCreated",
    "EventTime",
    "EventReceivedTime",
    "@timestamp",
    "RecordNumber",
    "TargetUserName",
    "TargetDomainName",
    "TargetUserSid",
    "TargetLogonId",
    "SubjectUserName",
    "SubjectUserSid",
    "LogonType",
    "IpAddress",
    "ClientAddress",
    "Status",
    "Message",
    "UserID",
    "Domain",
    "AccountName",
    "CommandLine",
];
const CLOUD_FIELDS: &[&str] = &[
    "eventID",
    "eventTime",
    "@timestamp",
    "eventName",
    "eventSource",
    "userIdentity",
    "sourceIPAddress",
    "resources",
    "readOnly",
    "errorCode",
    "errorMessage",
    "responseElements",
    "requestParameters",
    "userAgent",
    "awsRegion",
];
const NUMBERS: &[u64] =
    &[4624, 4625, 4634, 4648, 4672, 4698, 4768, 4769, 4776, 4778, 4800, 1102, 7045, 4907, 1];

/// Whatever the record says, the answer is an event that the log takes and shows, or a reason.
fn survives(format: Format, record: Map<String, Value>) -> Result<(), TestCaseError> {
    match format.to_event(record, &context()) {
        Ok(event) => {
            let bytes = codec::encode(&event).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&codec::decode(&bytes, &codec::NoRegistry).unwrap(), &event);
            prop_assert!(!present(&event).name.is_empty());
        }
        Err(error) => prop_assert!(error.to_string().starts_with('`')),
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_object_is_an_event_or_an_error(
        windows in any_record(WINDOWS_FIELDS), cloud in any_record(CLOUD_FIELDS),
        number in prop::sample::select(NUMBERS), is_whole in any::<bool>(),
    ) {
        let (mut windows, mut cloud) = (windows, cloud);
        if is_whole {
            windows.insert("EventID".into(), json!(number));
            windows.entry("Channel").or_insert_with(|| json!("Security"));
            windows.insert("EventTime".into(), json!("2024-05-06 07:08:09"));
            for field in ["eventID", "eventName", "eventSource"] {
                cloud.entry(field).or_insert_with(|| json!("AssumeRole.x"));
            }
            cloud.insert("eventTime".into(), json!("2024-05-06T07:08:09Z"));
        }
        survives(Format::WindowsSecurity, windows)?;
        survives(Format::Cloudtrail, cloud)?;
    }
}
