//! Tests of the codec: both framings, both paths, broken bytes, and the golden bytes of every schema version.

use super::*;
use crate::envelope::{Actor, ActorKind, Meta, Personal, PersonalData, Sealed};
use crate::events::*;
use chrono::DateTime;
use uuid::Uuid;

/// One event of every type, in the order of `EventType::ALL`, full of values that could go wrong.
pub(crate) fn samples() -> Vec<Event> {
    let meta = |n: u128| Meta {
        event_id: Uuid::from_u128(n),
        customer: Uuid::from_u128(0xC0),
        occurred_at: DateTime::from_timestamp_micros(1_600_000_000_123_456).unwrap(),
        source: "urn:windows:WS5".into(),
        actor: Actor { kind: ActorKind::HostAccount, id: Uuid::from_u128(0xA0), home_customer: None },
    };
    let who = |account: &str| {
        PersonalData::Personal(Personal {
            account: Some(account.into()),
            address: Some("172.18.39.5".into()),
            ..Personal::default()
        })
    };
    let object = |id: &str, text: &str| {
        PersonalData::Personal(Personal {
            account: Some("ada".into()),
            entity_id: Some(id.into()),
            text: Some(text.into()),
            record: Some("{\"a\":\"ü\\u0000\"}".into()),
            ..Personal::default()
        })
    };
    vec![
        LoginSucceeded { meta: meta(1), account_number: Some(7), personal: who("ada@example.com") }.into(),
        LoginFailed {
            meta: meta(2),
            reason: "wrong password".into(),
            attempts: 1,
            personal: who("ada@example.com"),
        }
        .into(),
        LoggedOut { meta: meta(3), account_number: Some(7), personal: who("ada@example.com") }.into(),
        ConfigurationChanged {
            meta: meta(4),
            action: "SERVICE_INSTALLED".into(),
            category: None,
            severity: Some(Severity::Warning),
            entity_type: Some("service".into()),
            personal: object("PSEXESVC", "A service was installed"),
        }
        .into(),
        ActionRecorded {
            meta: Meta {
                actor: Actor { home_customer: Some(Uuid::from_u128(0xC1)), ..meta(5).actor },
                ..meta(5)
            },
            action: "SPECIAL_PRIVILEGES_ASSIGNED".into(),
            category: "privilege".into(),
            severity: Severity::Info,
            entity_type: Some("user".into()),
            count: 1,
            personal: object("ada", "Special privileges assigned"),
        }
        .into(),
        HostLoggedOn {
            meta: meta(6),
            host: "WS5".into(),
            logon_id: Some("0x51dda6".into()),
            logon_type: Some(3),
            identity: HostIdentity::Person,
            personal: who("ada"),
        }
        .into(),
        HostLoggedOff {
            meta: meta(7),
            host: "WS5".into(),
            logon_id: Some("0x51dda6".into()),
            identity: HostIdentity::Machine,
            personal: who("ada"),
        }
        .into(),
        HostLogonFailed {
            meta: meta(8),
            host: "WS5".into(),
            logon_type: None,
            status: Some("0xc000010b".into()),
            personal: who("ada"),
        }
        .into(),
    ]
}

#[test]
fn both_framings_and_both_paths_give_the_event_back() {
    struct Ids(u32, EventType);
    impl SchemaIds for Ids {
        fn schema(&self, id: u32) -> Result<IdSchema, DecodeError> {
            if id == self.0 {
                Ok(IdSchema::Ours(current(self.1)))
            } else {
                Err(DecodeError::UnknownSchemaId(id))
            }
        }
    }
    for event in samples() {
        let bytes = encode(&event).unwrap();
        assert_eq!(decode(&bytes, &NoRegistry).unwrap(), event);
        assert_eq!(decode_resolving(&bytes, &NoRegistry).unwrap(), event);
        let framed = encode_registry(&event, 300).unwrap();
        assert!(matches!(decode(&framed, &NoRegistry), Err(DecodeError::NoRegistry(300))));
        let ids = Ids(300, event.event_type());
        assert_eq!(decode(&framed, &ids).unwrap(), event);
        assert_eq!(decode_resolving(&framed, &ids).unwrap(), event);
    }
}

#[test]
fn an_id_that_stands_for_another_type_than_the_record_says_is_noticed() {
    struct Mixed;
    impl SchemaIds for Mixed {
        fn schema(&self, _id: u32) -> Result<IdSchema, DecodeError> {
            Ok(IdSchema::Ours(current(EventType::LoggedOut)))
        }
    }
    let login = &samples()[0];
    let framed = encode_registry(login, 7).unwrap();
    // The two have the same fields: nothing else would notice.
    assert!(matches!(decode(&framed, &Mixed), Ok(Event::LoggedOut(_))));
    let error = decode_checked(&framed, Some(b"annals.LoginSucceeded"), &Mixed).unwrap_err().to_string();
    assert!(
        error.contains("id `7` is of `annals.LoggedOut`, but") && error.contains("LoginSucceeded"),
        "{error}"
    );
    for says_nothing in [None, Some(&b"com.acme.login"[..]), Some(b"annals.LoggedOut"), Some(b"\xFF")] {
        assert!(decode_checked(&framed, says_nothing, &Mixed).is_ok());
    }
    let single = encode(login).unwrap();
    assert_eq!(&decode_checked(&single, Some(b"annals.LoggedOut"), &Mixed).unwrap(), login);
}

#[test]
fn sealed_personal_data_survives_and_shows_as_erased() {
    let Event::LoginSucceeded(mut login) = samples().remove(0) else { unreachable!() };
    login.personal =
        PersonalData::Sealed(Sealed { key_id: "k1".into(), nonce: vec![0, 1, 255], ciphertext: vec![9; 40] });
    let event = Event::from(login);
    let bytes = encode(&event).unwrap();
    assert_eq!(decode(&bytes, &NoRegistry).unwrap(), event);
    assert_eq!(decode_resolving(&bytes, &NoRegistry).unwrap(), event);
    assert_eq!(crate::present(&event).description, "(erased) signs in (adminId=7).");
}

#[test]
fn broken_bytes_are_named_and_never_panic() {
    let whole = encode(&samples()[0]).unwrap();
    assert!(matches!(decode(b"", &NoRegistry), Err(DecodeError::UnknownFraming)));
    assert!(matches!(decode(b"{}", &NoRegistry), Err(DecodeError::UnknownFraming)));
    assert!(matches!(decode(&whole[..9], &NoRegistry), Err(DecodeError::UnknownFraming)));
    let mut other = whole.clone();
    other[2] ^= 1;
    assert!(matches!(decode(&other, &NoRegistry), Err(DecodeError::UnknownFingerprint(_))));
    let mut long = whole.clone();
    long.push(0);
    assert!(matches!(decode(&long, &NoRegistry), Err(DecodeError::TrailingBytes { count: 1, .. })));
    assert!(matches!(decode_resolving(&long, &NoRegistry), Err(DecodeError::TrailingBytes { count: 1, .. })));
    for end in 10..whole.len() {
        assert!(decode(&whole[..end], &NoRegistry).is_err(), "cut at {end}");
        assert!(decode_resolving(&whole[..end], &NoRegistry).is_err(), "cut at {end}, resolving");
    }
}

#[test]
fn an_event_over_the_limit_is_refused() {
    let Event::ActionRecorded(mut action) = samples().remove(4) else { unreachable!() };
    action.personal =
        PersonalData::Personal(Personal { record: Some("x".repeat(MAX_EVENT_BYTES)), ..Personal::default() });
    assert!(matches!(encode(&action.into()), Err(EncodeError::TooLarge { .. })));
}

#[test]
fn envelope_and_personal_data_are_the_same_in_every_current_schema() {
    let field = |text: &str, name: &str| -> String {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        let fields = json["fields"].as_array().unwrap();
        fields.iter().find(|f| f["name"] == name).unwrap().to_string()
    };
    let first = current(EventType::LoginSucceeded).text;
    for event_type in EventType::ALL {
        let text = current(*event_type).text;
        for name in ["meta", "personal"] {
            assert_eq!(field(text, name), field(first, name), "{name} of {event_type:?}");
        }
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(json["fields"][0]["name"], "meta");
        assert_eq!(json["name"], event_type.name());
    }
}

/// The golden bytes of every schema version, decoded for ever. A new version adds its files with `ANNALS_BLESS=1`;
/// existing ones never change.
#[test]
fn golden_bytes_of_every_version_decode_alike_on_both_paths() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    for writer in schemas() {
        let name = format!("{}.v{}", writer.event_type.name(), writer.version);
        let (bytes_file, json_file) =
            (folder.join(format!("{name}.hex")), folder.join(format!("{name}.json")));
        if std::env::var_os("ANNALS_BLESS").is_some() && !bytes_file.exists() {
            let event = samples().into_iter().find(|event| event.event_type() == writer.event_type).unwrap();
            let hex: String = encode(&event).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
            std::fs::write(&bytes_file, hex + "\n").unwrap();
            std::fs::write(&json_file, serde_json::to_string_pretty(&event).unwrap() + "\n").unwrap();
        }
        let missing = format!("golden bytes of {name} are missing; make them with ANNALS_BLESS=1");
        let hex = std::fs::read_to_string(&bytes_file).expect(&missing);
        let bytes: Vec<u8> = hex
            .trim()
            .as_bytes()
            .chunks(2)
            .map(|d| u8::from_str_radix(str::from_utf8(d).unwrap(), 16).unwrap())
            .collect();
        let expected: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&json_file).expect(&missing)).unwrap();
        let direct = decode(&bytes, &NoRegistry).unwrap();
        let resolved = decode_resolving(&bytes, &NoRegistry).unwrap();
        assert_eq!(direct, resolved, "{name}");
        assert_eq!(serde_json::to_value(&direct).unwrap(), expected, "{name}");
        // The first golden bytes were made when the library's own fingerprint was written.
        let (framed, body) = single_object(&bytes).unwrap();
        assert_eq!(by_fingerprint(framed).unwrap().fingerprint, writer.fingerprint, "the framing of {name}");
        if writer.version == current(writer.event_type).version {
            let again = encode(&direct).unwrap();
            assert_eq!(single_object(&again).unwrap(), (writer.fingerprint, body), "{name} encoded again");
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 2_000, ..Default::default() })]

    #[test]
    fn no_bytes_panic(kind in 0..8_usize, flips in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 1..6)) {
        let mut bytes = encode(&samples()[kind]).unwrap();
        for (at, byte) in flips {
            let at = 10 + at.index(bytes.len() - 10);
            bytes[at] = byte;
        }
        // Right or wrong, but an answer on both paths; and the same one when both accept the bytes.
        if let (Ok(direct), Ok(resolved)) = (decode(&bytes, &NoRegistry), decode_resolving(&bytes, &NoRegistry)) {
            proptest::prop_assert_eq!(direct, resolved);
        }
    }
}
