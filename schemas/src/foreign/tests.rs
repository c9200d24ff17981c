//! Tests of schemas from outside: copies of ours in other words, copies that differ, and hostile ones.

use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use serde_json::{Value, json};

use super::*;
use crate::codec::{DecodeError, SchemaIds, current, decode, decode_resolving, frame, samples};
use crate::events::Event;

/// Every id is this schema.
struct Only(IdSchema);

impl SchemaIds for Only {
    fn schema(&self, _id: u32) -> Result<IdSchema, DecodeError> {
        Ok(self.0.clone())
    }
}

fn our_json(event_type: EventType) -> Value {
    serde_json::from_str(current(event_type).text).unwrap()
}

fn fields(schema: &mut Value) -> &mut Vec<Value> {
    schema["fields"].as_array_mut().unwrap()
}

/// An event as another program would write it: field by field, after the other schema.
fn written(event: &Event, schema: &Schema, more: &[(&str, Avro)]) -> Vec<u8> {
    let ours = current(event.event_type());
    let bytes = crate::codec::encode(event).unwrap();
    let value = apache_avro::reader::datum::GenericDatumReader::builder(ours.schema)
        .human_readable(false)
        .build()
        .unwrap()
        .read_value(&mut &bytes[10..])
        .unwrap();
    let Avro::Record(mut values) = value else { unreachable!() };
    values.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let Schema::Record(record) = schema else { unreachable!() };
    let ordered = record
        .fields
        .iter()
        .map(|field| values.iter().find(|(name, _)| *name == field.name).cloned().unwrap());
    let mut body = Vec::new();
    GenericDatumWriter::builder(schema)
        .human_readable(false)
        .build()
        .unwrap()
        .write_value(&mut body, Avro::Record(ordered.collect()))
        .unwrap();
    frame(1, &body)
}

fn without_words(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.remove("doc");
            object.values_mut().for_each(without_words);
        }
        Value::Array(array) => array.iter_mut().for_each(without_words),
        _ => {}
    }
}

#[test]
fn a_copy_in_other_words_is_ours() {
    for event in samples() {
        let mut schema = our_json(event.event_type());
        without_words(&mut schema);
        schema["aliases"] = json!(["annals.Other"]);
        let Ok(IdSchema::Ours(ours)) = recognise(&schema.to_string()) else { panic!("not ours") };
        assert_eq!(ours.fingerprint, current(event.event_type()).fingerprint);
    }
}

#[test]
fn a_foreign_copy_decodes_to_the_same_event() {
    for event in samples() {
        let mut schema = our_json(event.event_type());
        // The envelope stays first only because it defines the names that later fields use.
        fields(&mut schema)[1..].reverse();
        fields(&mut schema).push(json!({"name": "colour", "type": ["null", "string"], "default": null}));
        fields(&mut schema).push(json!({"name": "notes", "type": {"type": "array", "items": "string"}}));
        let recognised = recognise(&schema.to_string()).unwrap();
        let IdSchema::Foreign(foreign) = &recognised else { panic!("taken for ours") };
        let more = [
            ("colour", Avro::Union(1, Box::new(Avro::String("red".into())))),
            ("notes", Avro::Array(vec![Avro::String("one".into()), Avro::String("two".into())])),
        ];
        let bytes = written(&event, &foreign.schema, &more);
        let ids = Only(recognised);
        assert_eq!(decode(&bytes, &ids).unwrap(), event);
        assert_eq!(decode_resolving(&bytes, &ids).unwrap(), event);
        let longer = [&*bytes, &[0]].concat();
        assert!(matches!(decode(&longer, &ids), Err(DecodeError::TrailingBytes { count: 1, .. })));
        for end in 5..bytes.len() {
            assert!(decode(&bytes[..end], &ids).is_err(), "cut at {end}");
        }
    }
}

#[test]
fn a_copy_without_an_optional_field_decodes_with_its_default() {
    let mut schema = our_json(EventType::LoginSucceeded);
    fields(&mut schema).retain(|field| field["name"] != "account_number");
    let Ok(IdSchema::Foreign(foreign)) = recognise(&schema.to_string()) else { panic!("not foreign") };
    let Event::LoginSucceeded(mut login) = samples().remove(0) else { unreachable!() };
    let bytes = written(&login.clone().into(), &foreign.schema, &[]);
    login.account_number = None;
    assert_eq!(decode(&bytes, &Only(IdSchema::Foreign(foreign))).unwrap(), login.into());
}

#[test]
fn a_copy_without_a_needed_field_is_a_dead_letter() {
    let mut schema = our_json(EventType::HostLoggedOn);
    fields(&mut schema).retain(|field| field["name"] != "host");
    let Ok(IdSchema::Foreign(foreign)) = recognise(&schema.to_string()) else { panic!("not foreign") };
    let bytes = written(&samples()[5], &foreign.schema, &[]);
    let error = decode(&bytes, &Only(IdSchema::Foreign(foreign))).unwrap_err();
    assert!(matches!(error, DecodeError::Avro { name: "HostLoggedOn", .. }), "{error}");
}

#[test]
fn milliseconds_are_never_taken_for_microseconds_although_the_fingerprint_is_the_same() {
    let text = current(EventType::LoginSucceeded).text.replace("timestamp-micros", "timestamp-millis");
    let Ok(IdSchema::Foreign(foreign)) = recognise(&text) else { panic!("taken for ours") };
    let ours = crate::codec::encode(&samples()[0]).unwrap();
    let error = decode(&frame(1, &ours[10..]), &Only(IdSchema::Foreign(foreign))).unwrap_err();
    assert!(matches!(error, DecodeError::Avro { .. }), "{error}");
}

#[test]
fn a_copy_without_logical_types_decodes_to_the_same_event() {
    let text = current(EventType::LoginSucceeded).text;
    let plain = text
        .replace(",\n              \"logicalType\": \"uuid\"", "")
        .replace(",\n              \"logicalType\": \"timestamp-micros\"", "");
    assert!(!plain.contains("logicalType"));
    let recognised = recognise(&plain).unwrap();
    assert!(matches!(recognised, IdSchema::Foreign(_)));
    let ours = crate::codec::encode(&samples()[0]).unwrap();
    assert_eq!(decode(&frame(1, &ours[10..]), &Only(recognised)).unwrap(), samples()[0]);
}

#[test]
fn a_schema_of_something_else_is_refused_with_its_name() {
    let refusal = |text: &str| recognise(text).err().unwrap();
    let ours = current(EventType::LoginSucceeded).text;
    assert_eq!(
        refusal(&ours.replacen("\"annals\"", "\"acme\"", 1)),
        "it is of `acme.LoginSucceeded`, which is no event of annals"
    );
    assert_eq!(refusal("\"string\""), "it is not a record, so no event of annals");
    assert!(refusal("{\"type\":").starts_with("it is not an Avro schema: "));
    assert!(refusal("").starts_with("it is not an Avro schema: "));
}

#[test]
fn a_hostile_schema_is_refused_with_the_reason() {
    let long = "x".repeat(300);
    let deep = (1..40).fold(json!("int"), |inner, n| {
        json!({"type": "record", "name": format!("Deep{n}"), "fields": [{"name": "in", "type": inner}]})
    });
    let chain: Vec<Value> = (0..40)
        .map(|n| {
            let inner = if n == 0 { json!("int") } else { json!(format!("C{}", n - 1)) };
            json!({"name": format!("c{n}"), "type":
                {"type": "record", "name": format!("C{n}"), "fields": [{"name": "in", "type": inner}]}})
        })
        .collect();
    let chain = json!({"type": "record", "name": "Chain", "fields": chain});
    let cases = [
        (json!(["null", "annals.LoginSucceeded"]), "`annals.LoginSucceeded` refers to itself"),
        (
            json!({"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}),
            "`annals.Node` refers to itself",
        ),
        (json!({"type": "array", "items": "null"}), "it has a `null` outside of a union"),
        (json!({"type": "record", "name": "Nothing", "fields": []}), "record `annals.Nothing` has no fields"),
        (
            json!({"type": "fixed", "name": "Huge", "size": 1_u64 << 40}),
            "`annals.Huge` is 1099511627776 bytes long",
        ),
        (json!({"type": "fixed", "name": "Void", "size": 0}), "`annals.Void` is 0 bytes long"),
        (json!({"type": "enum", "name": "Long", "symbols": [long]}), "a name in it is 300 bytes long"),
        (deep, "its values are nested more than 24 deep"),
        (chain, "its values are nested more than 24 deep"),
    ];
    for (more, reason) in cases {
        let mut schema = our_json(EventType::LoginSucceeded);
        fields(&mut schema).push(json!({"name": "more", "type": more}));
        assert_eq!(recognise(&schema.to_string()).err().unwrap(), reason);
    }
}
