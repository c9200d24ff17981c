//! Tests with a real schema registry; ANNALS_REGISTRY says where it is.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use annals_schemas::codec::{self, DecodeError, SchemaIds};
use annals_schemas::foreign::IdSchema;
use annals_schemas::registry::{known_ids, subject};
use annals_schemas::{
    Actor, ActorKind, Encoder, Event, EventType, LoginSucceeded, Meta, Personal, PersonalData, Registry,
    RegistryError,
};
use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use chrono::DateTime;
use serde_json::{Value, json};
use support::{Way, address, foreign_hand, foreign_schema, remove};
use tokio::sync::Mutex;
use uuid::Uuid;

/// Held by tests that register schemas or remove them. Registries are not all safe against both at once: Apicurio
/// drops contents that nothing refers to with each removal, also one that another registration is about to refer to.
static SUBJECTS: Mutex<()> = Mutex::const_new(());

async fn connected() -> Registry {
    Registry::connect(&address()).await.unwrap()
}

fn login() -> Event {
    let meta = Meta {
        event_id: Uuid::from_u128(1),
        customer: Uuid::from_u128(2),
        occurred_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap(),
        source: "acme:portal".into(),
        actor: Actor::new(ActorKind::PortalAccount, Uuid::from_u128(3)),
    };
    let personal = Personal { account: Some("ada@example.com".into()), ..Personal::default() };
    LoginSucceeded { meta, account_number: Some(7), personal: PersonalData::Personal(personal) }.into()
}

/// What the registry says of an id, by way of a record that is framed with it.
async fn decoded(registry: &Registry, id: u32, body: &[u8]) -> Result<Event, DecodeError> {
    let record = [&[0], &id.to_be_bytes()[..], body].concat();
    let ids = known_ids(Some(registry), [&*record]).await.unwrap();
    codec::decode(&record, &ids)
}

/// One of our schemas as somebody else would have it.
fn copy(event_type: EventType, change: impl FnOnce(&mut Vec<Value>)) -> String {
    let mut schema: Value = serde_json::from_str(codec::current(event_type).text).unwrap();
    change(schema["fields"].as_array_mut().unwrap());
    schema.to_string()
}

#[tokio::test]
async fn an_address_without_a_registry_is_told_by_the_name_of_the_setting() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = Registry::connect(&format!("http://ada:sesame@{free}/apis/ccompat/v7")).await.unwrap_err();
    assert!(matches!(nobody, RegistryError::Unreachable { .. }) && nobody.is_transient(), "{nobody:?}");
    assert_eq!(
        nobody.to_string(),
        format!("the schema registry `http://{free}/apis/ccompat/v7` (--registry) cannot be reached")
    );
    assert!(!format!("{nobody:?}").contains("sesame"));
    let elsewhere = address().replace("/ccompat/v7", "/nothing");
    let elsewhere = Registry::connect(&elsewhere).await.unwrap_err().to_string();
    assert!(elsewhere.contains("(--registry)") && elsewhere.contains("GET /config with 404"), "{elsewhere}");
}

#[tokio::test]
async fn registering_again_and_at_the_same_time_gives_the_same_ids() {
    let _subjects = SUBJECTS.lock().await;
    // From nothing, as after a first start of several processes.
    EventType::ALL.iter().for_each(|event_type| remove(&subject("", *event_type)));
    let (one, two) = (connected().await, connected().await);
    let (first, at_once) = tokio::join!(one.register(""), two.register(""));
    let first = first.unwrap();
    assert_eq!(first, at_once.unwrap());
    assert_eq!(first, connected().await.register("").await.unwrap());
    for schema in codec::schemas() {
        let id = first.get(schema.fingerprint).unwrap();
        let record = [&[0], &id.to_be_bytes()[..]].concat();
        let known = known_ids(Some(&connected().await), [&*record]).await.unwrap().schema(id).unwrap();
        let IdSchema::Ours(ours) = known else { panic!("{id} is not ours") };
        assert_eq!(ours.fingerprint, schema.fingerprint);
        let (_, config) = foreign_hand("GET", &format!("/config/{}", subject("", schema.event_type)), "");
        assert_eq!(config, r#"{"compatibilityLevel":"BACKWARD_TRANSITIVE"}"#);
    }
    assert_eq!(subject("", EventType::LoginSucceeded), "annals.audit-annals.LoginSucceeded");
}

#[tokio::test]
async fn topics_with_a_prefix_have_subjects_with_it() {
    let _subjects = SUBJECTS.lock().await;
    let registry = connected().await;
    let ids = registry.register("tests.").await.unwrap();
    assert!(ids.get(codec::current(EventType::LoggedOut).fingerprint).is_some());
    let (_, subjects) = foreign_hand("GET", "/subjects", "");
    let subjects: Vec<String> = serde_json::from_str(&subjects).unwrap();
    for event_type in EventType::ALL {
        let subject = subject("tests.", *event_type);
        assert!(
            subject.starts_with("tests.annals.") && subjects.contains(&subject),
            "{subject}: {subjects:?}"
        );
        remove(&subject);
    }
}

#[tokio::test]
async fn what_was_encoded_with_the_registry_is_decoded_with_it() {
    let _subjects = SUBJECTS.lock().await;
    let encoder = Encoder::default().with_ids(connected().await.register("").await.unwrap());
    let bytes = encoder.value(&login()).unwrap();
    // A reader that registered nothing.
    let ids = known_ids(Some(&connected().await), [&*bytes]).await.unwrap();
    assert_eq!(codec::decode(&bytes, &ids).unwrap(), login());
    let without = known_ids(None, [&*bytes]).await.unwrap();
    let reason = codec::decode(&bytes, &without).unwrap_err().to_string();
    assert!(reason.contains("framed with registry schema id") && reason.contains("--registry"), "{reason}");
}

#[tokio::test]
async fn a_schema_of_a_foreign_hand_under_our_subject_is_told_with_the_registrys_reason() {
    let _subjects = SUBJECTS.lock().await;
    let subject = subject("", EventType::LoginFailed);
    remove(&subject);
    let foreign = copy(EventType::LoginFailed, |fields| fields[1]["type"] = json!("int"));
    foreign_schema(&subject, &foreign);
    let error = connected().await.register("").await.unwrap_err();
    assert!(matches!(&error, RegistryError::Incompatible { .. }) && !error.is_transient(), "{error:?}");
    let text = error.to_string();
    assert!(
        text.starts_with(&format!(
            "the schema registry (--registry) refuses version 1 of subject `{subject}`: "
        )),
        "{text}"
    );
    assert!(text.contains("STRING not compatible with writer type: INT"), "{text}");
    remove(&subject);
    connected().await.register("").await.unwrap();
}

#[tokio::test]
async fn a_record_under_a_foreign_schema_decodes_to_the_same_event() {
    let _subjects = SUBJECTS.lock().await;
    let text = copy(EventType::LoginSucceeded, |fields| {
        fields[1..].reverse();
        fields.push(json!({"name": "colour", "type": ["null", "string"], "default": null}));
    });
    let id = foreign_schema("acme-logins-value", &text);
    let schema = Schema::parse_str(&text).unwrap();
    let nothing = || Avro::Union(0, Box::new(Avro::Null));
    let text = |text: &str| Avro::String(text.to_owned());
    let uuid = |n: u128| Avro::Uuid(Uuid::from_u128(n));
    let record = |fields: Vec<(&str, Avro)>| {
        Avro::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let optional = ["qualified_account", "display_name", "address", "user_agent", "sign_in_id", "entity_id"];
    let mut personal = vec![("account", Avro::Union(1, Box::new(text("ada@example.com"))))];
    personal.extend(optional.into_iter().chain(["text", "record"]).map(|name| (name, nothing())));
    let actor = record(vec![
        ("kind", Avro::Enum(0, "portal_account".to_owned())),
        ("id", uuid(3)),
        ("home_customer", nothing()),
    ]);
    let value = record(vec![
        (
            "meta",
            record(vec![
                ("event_id", uuid(1)),
                ("customer", uuid(2)),
                ("occurred_at", Avro::TimestampMicros(1_700_000_000_123_456)),
                ("source", text("acme:portal")),
                ("actor", actor),
            ]),
        ),
        ("personal", Avro::Union(0, Box::new(record(personal)))),
        ("account_number", Avro::Union(1, Box::new(Avro::Long(7)))),
        ("colour", Avro::Union(1, Box::new(text("red")))),
    ]);
    let mut body = Vec::new();
    let writer = GenericDatumWriter::builder(&schema).human_readable(false).build().unwrap();
    writer.write_value(&mut body, value).unwrap();
    assert_eq!(decoded(&connected().await, id, &body).await.unwrap(), login());
}

#[tokio::test]
async fn schemas_that_are_none_of_ours_are_refused_with_the_reason() {
    let _subjects = SUBJECTS.lock().await;
    let registry = connected().await;
    let other =
        foreign_schema("acme-other-value", r#"{"type": "record", "name": "acme.Other", "fields": []}"#);
    let reason = decoded(&registry, other, &[]).await.unwrap_err().to_string();
    let expected = format!(
        "the schema with registry schema id `{other}` cannot be used: it is of `acme.Other`, which is no event of annals"
    );
    assert_eq!(reason, expected);
    let long = copy(EventType::LoginSucceeded, |fields| fields[0]["doc"] = json!("x".repeat(1024 * 1024)));
    let long = foreign_schema("acme-long-value", &long);
    let reason = decoded(&registry, long, &[]).await.unwrap_err().to_string();
    assert!(reason.ends_with("cannot be used: it is longer than the limit of 1048576 bytes"), "{reason}");
    let body = json!({"schemaType": "JSON", "schema": r#"{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}"#});
    let (status, answer) = foreign_hand("POST", "/subjects/acme-json-value/versions", &body.to_string());
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let id = u32::try_from(answer["id"].as_u64().unwrap()).unwrap();
    let reason = decoded(&registry, id, &[]).await.unwrap_err().to_string();
    assert!(reason.ends_with("cannot be used: it is of type JSON, not AVRO"), "{reason}");
}

#[tokio::test]
async fn only_a_registry_that_answers_makes_an_id_unknown() {
    let _subjects = SUBJECTS.lock().await;
    let mut way = Way::open().await;
    // Basic authentication is sent, and a registry without accounts does not mind.
    let registry = Registry::connect(&way.address("ada:sesame@")).await.unwrap();
    let ids = registry.register("").await.unwrap();
    let bytes = Encoder::default().with_ids(ids).value(&login()).unwrap();
    let missing = |id: u32| [&[0], &id.to_be_bytes()[..]].concat();
    let (asked, not_asked) = (missing(u32::MAX - 1), missing(u32::MAX - 2));
    let known = known_ids(Some(&registry), [&*asked, &*bytes]).await.unwrap();
    let reason = codec::decode(&asked, &known).unwrap_err();
    assert!(matches!(reason, DecodeError::UnknownSchemaId(id) if id == u32::MAX - 1), "{reason}");

    way.cut().await;
    // What is known needs no registry; what is missing is not asked for again at once.
    let known = known_ids(Some(&registry), [&*asked, &*bytes]).await.unwrap();
    assert_eq!(codec::decode(&bytes, &known).unwrap(), login());
    assert!(matches!(codec::decode(&asked, &known), Err(DecodeError::UnknownSchemaId(_))));
    let error = known_ids(Some(&registry), [&*not_asked]).await.err().unwrap();
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().ends_with("(--registry) cannot be reached"), "{error}");

    way.mend().await;
    let known = known_ids(Some(&registry), [&*not_asked]).await.unwrap();
    assert!(matches!(codec::decode(&not_asked, &known), Err(DecodeError::UnknownSchemaId(_))));
}
