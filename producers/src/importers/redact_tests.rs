//! Tests of redaction.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn redacted(mut value: Value) -> Value {
    redact_value(&mut value);
    value
}

#[test]
fn fields_named_like_a_secret_lose_their_value_whatever_it_is() {
    for name in [
        "password",
        "Password",
        "adminPASSWORDhash",
        "clientSecret",
        "sessionToken",
        "accessKeyId",
        "credentials",
    ] {
        for value in [json!("x"), json!(5), json!({"a": "x"}), json!(["x"])] {
            let mut record = Map::new();
            record.insert(name.to_owned(), value);
            assert_eq!(redacted(json!({"a": [record]})), json!({"a": [{name: REDACTED}]}));
        }
    }
}

#[test]
fn other_fields_stay_as_they_are() {
    let record =
        json!({"Hostname": "WS1", "TicketOptions": "0x40810000", "LogonType": 3, "a": {"b": [null, true]}});
    assert_eq!(redacted(record.clone()), record);
}

#[test]
fn a_field_written_as_a_pair_is_a_field() {
    let record = json!({"env": [{"name": "DB_PASSWORD", "value": "x"}, {"name": "MODE", "value": "y"}]});
    let expected =
        json!({"env": [{"name": "DB_PASSWORD", "value": REDACTED}, {"name": "MODE", "value": "y"}]});
    assert_eq!(redacted(record), expected);
    assert_eq!(redacted(json!({"@Name": "Secret", "#text": "x"}))["#text"], REDACTED);
}

#[test]
fn json_in_a_string_is_searched_too() {
    let record = json!({"requestParameters": "{\"a\": {\"password\": \"x\"}}", "other": "{\"a\":  1}"});
    let expected =
        json!({"requestParameters": "{\"a\":{\"password\":\"(redacted)\"}}", "other": "{\"a\":  1}"});
    assert_eq!(redacted(record), expected);
}

#[test]
fn encoded_commands_are_removed() {
    let code = "SQBtAGEAZwBpAG4AZQA=";
    for switch in [
        "-e",
        "-E",
        "-en",
        "-enc",
        "-eNc",
        "-ec",
        "-encod",
        "-EncodedCommand",
        "/e",
        "/EncodedCommand",
        "--enc",
        "–enc",
    ] {
        for (before, after) in
            [(" ", ""), ("  ", " -File x"), (":", ""), (" \"", "\""), (" '", "' & b"), ("\t", "\r\nNext")]
        {
            let text = format!("powershell -noP {switch}{before}{code}{after}");
            let result = redact_text(&text);
            assert!(!result.contains("SQBtAGEA") && result.contains(REDACTED), "{text} → {result}");
            assert!(result.starts_with(&format!("powershell -noP {switch}")), "{result}");
        }
    }
    assert_eq!(redact_text(&format!("p -enc {code} -w 1")), "p -enc (redacted) -w 1");
}

#[test]
fn switches_that_only_look_like_it_are_left() {
    for text in [
        "powershell -ExecutionPolicy Bypass -File C:\\a\\script.ps1",
        "cmd.exe /e:on /c dir",
        "find -e short",
        "C:\\windows\\system32\\svchost.exe -k netsvcs -p -s Schedule",
        "svchost.exe -k LocalService -p\r\n\tService Type:\t0x20",
        "C:\\windows\\system32\\CredentialEnrollmentManager.exe",
        "Get-Item -PassThru",
        "Security ID:\t\tS-1-5-18\r\n\tElevated Token:\t\tYes\r\n\tKey Length:\t\t0",
        "An attempt was made to reset an account's password.",
    ] {
        assert_eq!(redact_text(text), text);
    }
}

#[test]
fn values_after_password_like_switches_are_removed() {
    for (text, expected) in [
        ("psexec -u a -p hunter2 cmd", "psexec -u a -p (redacted) cmd"),
        ("x.dll,a /p:hunter2", "x.dll,a /p:(redacted)"),
        ("app --password=hunter2 --b", "app --password=(redacted) --b"),
        ("app -Password hunter2", "app -Password (redacted)"),
        ("app -Password \"hunter2 hunter2\" -b", "app -Password (redacted) -b"),
        ("app -Password 'hunter2 hunter2' -b", "app -Password (redacted) -b"),
        ("app -Password \"hunter2 hunter2", "app -Password (redacted)"),
        ("app -Password \"hunter2\\\" hunter2\" -b", "app -Password (redacted) -b"),
        ("app -Password \"hunter2\"hunter2 -b", "app -Password (redacted) -b"),
        ("sh -c \"app -Password \\\"hunter2 hunter2\\\" -b\"", "sh -c \"app -Password (redacted) -b\""),
        ("net use /user:d\\a /pass:hunter2", "net use /user:d\\a /pass:(redacted)"),
        ("schtasks /ru a /rp hunter2 /tn b", "schtasks /ru a /rp (redacted) /tn b"),
        ("app --db-password hunter2", "app --db-password (redacted)"),
        ("app --api-key hunter2", "app --api-key (redacted)"),
        ("app -p -p hunter2", "app -p -p (redacted)"),
        ("app -p hunter2 -pwd hunter2", "app -p (redacted) -pwd (redacted)"),
        ("<Arguments>-p hunter2</Arguments>", "<Arguments>-p (redacted)</Arguments>"),
        ("<A>-p &quot;hunter2 hunter2&quot; x</A>", "<A>-p (redacted) x</A>"),
        ("cmd /c \"app -p hunter2\"", "cmd /c \"app -p (redacted)"),
        ("set PASSWORD=hunter2", "set PASSWORD=(redacted)"),
        ("$password = 'hunter2'", "$password = (redacted)"),
        ("if ($password == 'hunter2')", "if ($password == (redacted))"),
        ("Server=a;Password=hunter2;", "Server=a;Password=(redacted)"),
        ("AccountKey=hunter2", "AccountKey=(redacted)"),
        ("{\"password\": \"hunter2\", \"a\": 1}", "{\"password\": (redacted), \"a\": 1}"),
        ("Password: hunter2", "Password: (redacted)"),
        ("<Password>hunter2</Password>", "<Password>(redacted)</Password>"),
    ] {
        assert_eq!(redact_text(text), expected);
    }
}

#[test]
fn command_lines_are_redacted_where_they_stand() {
    for field in
        ["ServiceFileName", "ImagePath", "CommandLine", "TaskContent", "TaskContentNew", "Message", "message"]
    {
        let mut record = Map::new();
        record.insert(field.to_owned(), json!("app -p hunter2"));
        assert_eq!(
            redacted(json!({"EventData": record})),
            json!({"EventData": {field: "app -p (redacted)"}})
        );
    }
}

#[test]
fn a_long_record_is_shortened_and_a_huge_one_is_left_out() {
    let record = |value: Value| value.as_object().unwrap().clone();
    let text = record_text(record(json!({"a": "x".repeat(200_000), "b": 1}))).unwrap();
    assert!(text.len() < 70_000 && text.ends_with("…\",\"b\":1}"));
    let many: Vec<String> = vec!["x".repeat(60_000); 5];
    assert_eq!(record_text(record(json!({"a": many}))), None);
}

/// Any JSON, with keys that may look like secrets.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,8}", inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_secret_planted_at_any_depth_is_gone(
        inside in any_json(),
        path in prop::collection::vec(prop_oneof![Just(None), "[b-d]{1,6}".prop_map(Some)], 0..20),
        prefix in "[a-zA-Z0-9_.]{0,8}",
        name in prop::sample::select(vec!["password", "Secret", "TOKEN", "key", "Credential"]),
        suffix in "[a-zA-Z0-9_.]{0,8}",
    ) {
        let mut value = json!({format!("{prefix}{name}{suffix}"): {"PLANTED": [inside, "PLANTED"]}});
        for step in path {
            value = match step {
                Some(name) => json!({name: value}),
                None => json!([value]),
            };
        }
        let result = redacted(value).to_string();
        prop_assert!(!result.contains("PLANTED"), "{}", result);
        prop_assert!(result.contains(REDACTED));
    }

    #[test]
    fn a_secret_after_a_switch_is_gone_whatever_stands_around(
        before in "([ -~]{0,30} )?",
        switch in prop::sample::select(vec!["-p ", "/p:", "--password=", "-Password ", "/pass:", "-secret ", "--token "]),
        after in "( [ -~]{0,30})?",
    ) {
        let text = format!("{before}{switch}PLANTED{after}");
        let result = redact_text(&text);
        prop_assert!(!result.contains("PLANTED"), "{} → {}", text, result);
    }

    #[test]
    fn redaction_takes_any_text_and_any_json(text in any::<String>(), value in any_json()) {
        let _ = redact_text(&text);
        let once = redacted(value);
        prop_assert_eq!(redacted(once.clone()), once);
    }
}
