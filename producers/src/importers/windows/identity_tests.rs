//! Tests of the ids of records and accounts.

use super::*;
use serde_json::json;

const CUSTOMER: Uuid = Uuid::from_u128(7);

fn id(record: Value) -> Uuid {
    event_id(record.as_object().unwrap(), CUSTOMER, 4624)
}

fn actor(sid: Option<&str>, name: Option<&str>, domain: Option<&str>, host: &str) -> Actor {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Account::new(owned(sid), owned(name), owned(domain)).actor(CUSTOMER, host)
}

#[test]
fn a_numbered_record_is_known_again_whatever_the_collector_added() {
    let record = |host: &str, number: Value, time: &str, timestamp: &str| {
        id(json!({"RecordNumber": number, "Hostname": host, "Channel": "Security", "EventTime": time,
            "@timestamp": timestamp, "Extra": timestamp}))
    };
    let first = record("WS1", json!(17), "2024-05-06 03:08:09", "a");
    assert_eq!(first, record("ws1", json!("17"), "2024-05-06 03:08:09", "b"));
    assert_ne!(first, record("ws1", json!(18), "2024-05-06 03:08:09", "a"));
    assert_ne!(first, record("ws2", json!(17), "2024-05-06 03:08:09", "a"));
    assert_ne!(first, record("ws1", json!(17), "2024-05-06 03:08:10", "a"));
}

#[test]
fn a_record_without_number_is_all_that_it_says() {
    let first =
        id(json!({"Hostname": "WS1", "b": [1.5, {"z": 1, "a": "ü\n"}], "@timestamp": "x", "tags": ["y"]}));
    assert_eq!(
        first,
        id(json!({"b": [1.5, {"a": "ü\n", "z": 1}], "Hostname": "WS1", "host": "z", "port": 5}))
    );
    assert_ne!(first, id(json!({"Hostname": "WS1", "b": [1.5, {"z": 2, "a": "ü\n"}]})));
    assert_ne!(first, id(json!({"Hostname": "ws1", "b": [1.5, {"z": 1, "a": "ü\n"}]})));
}

#[test]
fn a_number_without_a_host_is_no_identity() {
    assert_ne!(id(json!({"RecordNumber": 1, "a": 1})), id(json!({"RecordNumber": 1, "a": 2})));
}

#[test]
fn canonical_json_is_sorted_and_has_no_blanks() {
    let record = json!({"b": {"d": null, "c": -9_214_364_837_600_034_816_i64}, "a": ["\"", true], "tags": 1});
    let json = canonical_json(record.as_object().unwrap());
    assert_eq!(json, r#"{"a":["\"",true],"b":{"c":-9214364837600034816,"d":null}}"#);
}

#[test]
fn ids_of_accounts_follow_sid_host_and_name() {
    let domain_sid = Some("S-1-5-21-1-2-3-1104");
    let ada = actor(domain_sid, Some("ada"), Some("EXAMPLE"), "ws1");
    // One account under several spellings of its domain and on several hosts.
    assert_eq!(ada, actor(domain_sid, Some("ADA"), Some("EXAMPLE.ORG"), "WS2"));
    // The system account of another host is another account.
    let system = actor(Some("S-1-5-18"), Some("SYSTEM"), None, "WS1");
    assert_eq!(system, actor(Some("s-1-5-18"), Some("WS1$"), None, "ws1"));
    assert_ne!(system, actor(Some("S-1-5-18"), Some("SYSTEM"), None, "WS2"));
    // Without a SID the name must do, on every host.
    let by_name = actor(None, Some("ada@EXAMPLE.ORG"), Some("Example"), "ws1");
    for sid in [Some("S-1-0-0"), Some("NULL SID"), Some("EXAMPLE\\ada")] {
        assert_eq!(by_name, actor(sid, Some("Ada"), Some("EXAMPLE"), "ws2"), "{sid:?}");
    }
    assert_eq!(by_name, actor(None, Some("example\\ada"), None, "ws3"));
    assert_ne!(by_name, actor(None, Some("ada"), None, "ws1"));
    assert_ne!(by_name, ada);
    let nobody = actor(Some("S-1-0-0"), None, Some("EXAMPLE"), "ws1");
    assert_eq!(nobody.kind, ActorKind::Unknown);
    assert_ne!(nobody, actor(None, None, None, "ws2"));
}

#[test]
fn machines_and_services_are_told_by_name_or_sid() {
    let identity = |sid: &str, name: &str| Account::new(Some(sid.into()), Some(name.into()), None).identity();
    assert_eq!(identity("S-1-5-18", "WS1$"), HostIdentity::Machine);
    assert_eq!(identity("S-1-5-21-1-2-3-1000", "WS1$@EXAMPLE.ORG"), HostIdentity::Machine);
    for (sid, name) in [
        ("S-1-5-18", "Système"),
        ("S-1-5-90-0-1", "x"),
        ("S-1-5-96-0-1", "x"),
        ("S-1-5-7", "x"),
        ("-", "Anonymous Logon"),
        ("-", "DWM-3"),
        ("-", "umfd-0"),
        ("-", "NETWORK SERVICE"),
    ] {
        assert_eq!(identity(sid, name), HostIdentity::Service, "{sid} {name}");
    }
    assert_eq!(identity("S-1-5-21-1-2-3-500", "Administrator"), HostIdentity::Person);
    assert_eq!(identity("S-1-5-1800", "SYSTEMA"), HostIdentity::Person);
}

#[test]
fn a_cleared_log_names_its_actor_in_the_message() {
    for end in ["\r\n", "\n"] {
        let message = [
            "The audit log was cleared.",
            "Subject:",
            "\tSecurity ID:\tS-1-5-21-1-2-3-500",
            "\tAccount Name:\tada ",
            "  Domain Name:   EXAMPLE",
            "\tLogon ID:\t0x1F",
        ]
        .join(end);
        let record = json!({"Message": message});
        let account = Account::of(record.as_object().unwrap(), ActorFields::Message);
        assert_eq!(account.sid.as_deref(), Some("S-1-5-21-1-2-3-500"));
        assert_eq!(account.qualified_name().as_deref(), Some("EXAMPLE\\ada"));
    }
    let bare = json!({"Message": "The audit log was cleared.\nAccount Name:\n\t-"});
    assert_eq!(Account::of(bare.as_object().unwrap(), ActorFields::Message), Account::default());
}

#[test]
fn the_user_of_a_service_installation_is_not_the_services_account() {
    let account = |record: Value| Account::of(record.as_object().unwrap(), ActorFields::User);
    assert_eq!(account(json!({"AccountName": "LocalSystem"})), Account::default());
    let known = account(json!({"UserID": "S-1-5-21-1-2-3-4", "AccountName": "ada", "Domain": "EXAMPLE"}));
    assert_eq!(known.qualified_name().as_deref(), Some("EXAMPLE\\ada"));
    let unnamed = account(json!({"UserID": "S-1-5-21-1-2-3-4", "AccountName": "LocalSystem"}));
    assert_eq!((unnamed.sid.is_some(), unnamed.name), (true, None));
}
