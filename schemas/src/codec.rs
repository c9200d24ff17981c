//! The bytes of an event: Avro, framed either as single-object encoding (`C3 01`, 8-byte fingerprint) or as schema
//! registries frame it (`00`, 4-byte schema id). Both framings are always readable.
//!
//! Decoding uses the **writer's** schema straight into the Rust type: every field that a later version adds has a
//! serde default equal to the schema's default, so an old record becomes today's type. That is several times faster
//! than resolving through [`apache_avro::types::Value`], which [`decode_resolving`] keeps as the second opinion that
//! the golden tests compare with.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Schema, from_value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::events::{Event, EventType};
pub use crate::fingerprint::Fingerprint;
use crate::foreign::IdSchema;
use crate::limits::MAX_EVENT_BYTES;

/// First bytes of single-object encoding.
pub const SINGLE_OBJECT_MARK: [u8; 2] = [0xC3, 0x01];

/// First byte of a registry's framing.
pub const REGISTRY_MARK: u8 = 0x00;

/// Why an event could not be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The event does not fit its schema.
    #[error("event `{0}` does not fit its schema")]
    Schema(&'static str, #[source] Box<apache_avro::Error>),
    /// Larger than [`MAX_EVENT_BYTES`].
    #[error("event `{name}` is {size_bytes} bytes long, more than the limit of {MAX_EVENT_BYTES}")]
    TooLarge {
        /// Type of the event.
        name: &'static str,
        /// Its size.
        size_bytes: usize,
    },
}

/// Why bytes could not be decoded. Each becomes a dead letter with this text as its reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Neither framing.
    #[error("neither single-object encoding nor a registry's framing")]
    UnknownFraming,
    /// A schema that this program does not know.
    #[error("unknown schema fingerprint `{0}`")]
    UnknownFingerprint(Fingerprint),
    /// A schema id, and no registry to ask.
    #[error("framed with registry schema id `{0}`; start with --registry, then rebuild the view")]
    NoRegistry(u32),
    /// A schema id that the registry does not have.
    #[error("unknown registry schema id `{0}`")]
    UnknownSchemaId(u32),
    /// The registry's schema is none that an event can be read with.
    #[error("the schema with registry schema id `{id}` cannot be used: {reason}")]
    UnusableSchema {
        /// The id.
        id: u32,
        /// Why, in words.
        reason: Arc<str>,
    },
    /// The registry's schema is of another type than the record says it is.
    #[error(
        "registry schema id `{id}` is of `annals.{schema}`, but the record's ce_type is `annals.{header}`: did the registry lose its ids?"
    )]
    OtherType {
        /// The id.
        id: u32,
        /// Type of the registry's schema.
        schema: &'static str,
        /// Type that the header names.
        header: &'static str,
    },
    /// Larger than [`MAX_EVENT_BYTES`].
    #[error("{0} bytes long, more than the limit of {MAX_EVENT_BYTES}")]
    TooLarge(usize),
    /// Bytes that are not what their schema says.
    #[error("broken Avro in a record of type `{name}`")]
    Avro {
        /// Type that the framing names.
        name: &'static str,
        /// What the library says.
        #[source]
        source: Box<apache_avro::Error>,
    },
    /// The Avro library panicked on the bytes.
    #[error("the Avro library gave up on a record of type `{0}`")]
    Panicked(&'static str),
    /// Bytes after the end of the record.
    #[error("{count} bytes after the end of a record of type `{name}`")]
    TrailingBytes {
        /// Type that the framing names.
        name: &'static str,
        /// How many.
        count: usize,
    },
}

/// One version of one event type's schema.
pub struct WriterSchema {
    /// The event type.
    pub event_type: EventType,
    /// Version, from 1.
    pub version: u16,
    /// The schema file's text.
    pub text: &'static str,
    /// Fingerprint of its canonical form.
    pub fingerprint: Fingerprint,
    /// The parsed schema.
    pub schema: &'static Schema,
    reader: GenericDatumReader<'static>,
    writer: GenericDatumWriter<'static>,
}

macro_rules! schema_files {
    ($($event_type:ident / $version:literal: $path:literal),+ $(,)?) => {
        &[$((EventType::$event_type, $version, include_str!(concat!("../avro/", $path)))),+]
    };
}

/// Every version of every schema, for ever; the last of a type is the one that is written.
const SCHEMA_FILES: &[(EventType, u16, &str)] = schema_files![
    LoginSucceeded / 1: "annals.audit/LoginSucceeded.v1.avsc",
    LoginFailed / 1: "annals.audit/LoginFailed.v1.avsc",
    LoggedOut / 1: "annals.audit/LoggedOut.v1.avsc",
    ConfigurationChanged / 1: "annals.audit/ConfigurationChanged.v1.avsc",
    ActionRecorded / 1: "annals.audit/ActionRecorded.v1.avsc",
    HostLoggedOn / 1: "annals.host-logons/HostLoggedOn.v1.avsc",
    HostLoggedOff / 1: "annals.host-logons/HostLoggedOff.v1.avsc",
    HostLogonFailed / 1: "annals.host-logons/HostLogonFailed.v1.avsc",
];

struct Schemas {
    all: Vec<WriterSchema>,
    by_fingerprint: HashMap<Fingerprint, usize>,
    current: HashMap<EventType, usize>,
}

/// The schemas are compiled in and parsed once; the tests parse each, so the `expect`s cannot fire in a build that
/// passed them.
static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    // Lengths in broken bytes must not be believed: a record is never longer than the limit, nor any part of it.
    apache_avro::util::max_allocation_bytes(MAX_EVENT_BYTES);
    let mut known = Schemas { all: Vec::new(), by_fingerprint: HashMap::new(), current: HashMap::new() };
    for &(event_type, version, text) in SCHEMA_FILES {
        let schema: &'static Schema =
            Box::leak(Box::new(Schema::parse_str(text).expect("schema files parse; a test holds it")));
        let fingerprint = Fingerprint::of(schema);
        let reader = GenericDatumReader::builder(schema)
            .human_readable(false)
            .build()
            .expect("names resolve; a test holds it");
        let writer = GenericDatumWriter::builder(schema)
            .human_readable(false)
            .build()
            .expect("names resolve; a test holds it");
        known.by_fingerprint.insert(fingerprint, known.all.len());
        if let Some(old) = Fingerprint::of_the_library(schema) {
            known.by_fingerprint.insert(old, known.all.len());
        }
        known.current.insert(event_type, known.all.len());
        known.all.push(WriterSchema { event_type, version, text, fingerprint, schema, reader, writer });
    }
    known
});

/// Every version of every schema.
#[must_use]
pub fn schemas() -> &'static [WriterSchema] {
    &SCHEMAS.all
}

/// The version of `event_type` that is written today.
#[must_use]
pub fn current(event_type: EventType) -> &'static WriterSchema {
    &SCHEMAS.all[SCHEMAS.current[&event_type]]
}

/// The schema with this fingerprint, when it is one of ours.
#[must_use]
pub fn by_fingerprint(fingerprint: Fingerprint) -> Option<&'static WriterSchema> {
    SCHEMAS.by_fingerprint.get(&fingerprint).map(|index| &SCHEMAS.all[*index])
}

/// Encodes an event with single-object encoding.
///
/// # Errors
/// When the event does not fit its schema, or is longer than [`MAX_EVENT_BYTES`].
pub fn encode(event: &Event) -> Result<Vec<u8>, EncodeError> {
    let writer = current(event.event_type());
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(&SINGLE_OBJECT_MARK);
    bytes.extend_from_slice(&writer.fingerprint.0.to_le_bytes());
    write_body(event, writer, &mut bytes)?;
    Ok(bytes)
}

/// Encodes an event as schema registries frame it, under the id that the registry gave its schema.
///
/// # Errors
/// As [`encode`].
pub fn encode_registry(event: &Event, schema_id: u32) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = frame(schema_id, &[]);
    write_body(event, current(event.event_type()), &mut bytes)?;
    Ok(bytes)
}

/// A body in a registry's framing.
pub(crate) fn frame(schema_id: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len().max(512) + 5);
    bytes.push(REGISTRY_MARK);
    bytes.extend_from_slice(&schema_id.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn write_body(event: &Event, writer: &WriterSchema, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
    fn put<T: Serialize>(
        writer: &WriterSchema,
        event: &T,
        bytes: &mut Vec<u8>,
    ) -> Result<usize, apache_avro::Error> {
        writer.writer.write_ser(bytes, event)
    }
    let name = writer.event_type.name();
    match event {
        Event::LoginSucceeded(event) => put(writer, event, bytes),
        Event::LoginFailed(event) => put(writer, event, bytes),
        Event::LoggedOut(event) => put(writer, event, bytes),
        Event::ConfigurationChanged(event) => put(writer, event, bytes),
        Event::ActionRecorded(event) => put(writer, event, bytes),
        Event::HostLoggedOn(event) => put(writer, event, bytes),
        Event::HostLoggedOff(event) => put(writer, event, bytes),
        Event::HostLogonFailed(event) => put(writer, event, bytes),
    }
    .map_err(|source| EncodeError::Schema(name, Box::new(source)))?;
    if bytes.len() > MAX_EVENT_BYTES {
        return Err(EncodeError::TooLarge { name, size_bytes: bytes.len() });
    }
    Ok(())
}

/// Finds the schema that a registry's id stands for.
pub trait SchemaIds {
    /// The schema with this id.
    ///
    /// # Errors
    /// Says why there is none.
    fn schema(&self, schema_id: u32) -> Result<IdSchema, DecodeError>;
}

/// No registry: every id is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRegistry;

impl SchemaIds for NoRegistry {
    fn schema(&self, schema_id: u32) -> Result<IdSchema, DecodeError> {
        Err(DecodeError::NoRegistry(schema_id))
    }
}

/// The registry's id that a record is framed with, if it is.
#[must_use]
pub fn schema_id(bytes: &[u8]) -> Option<u32> {
    let (head, _) = bytes.strip_prefix(&[REGISTRY_MARK])?.split_first_chunk::<4>()?;
    Some(u32::from_be_bytes(*head))
}

/// Fingerprint and body of single-object encoding.
pub(crate) fn single_object(bytes: &[u8]) -> Option<(Fingerprint, &[u8])> {
    let (head, body) = bytes.strip_prefix(&SINGLE_OBJECT_MARK)?.split_first_chunk::<8>()?;
    Some((Fingerprint(u64::from_le_bytes(*head)), body))
}

/// Decodes an event in either framing: directly with the writer's schema where it is one of ours, else by resolving
/// the writer's schema to ours.
///
/// # Errors
/// Says what is wrong with the bytes. Never panics, whatever the bytes.
pub fn decode(bytes: &[u8], ids: &impl SchemaIds) -> Result<Event, DecodeError> {
    let (schema, body) = unframe(bytes, ids)?;
    match schema {
        IdSchema::Ours(writer) => read(writer.event_type, body, |body| read_direct(writer, body)),
        IdSchema::Foreign(foreign) => {
            read(foreign.event_type, body, |body| read_resolving(&foreign.schema, foreign.event_type, body))
        }
    }
}

/// Decodes as [`decode`], and compares what a registry says with the record's header `ce_type`. Some of our schemas have
/// the same fields: a registry that lost its storage and gave an id to another of them would turn logins into logouts.
/// A header that names no event type of ours says nothing.
///
/// # Errors
/// As [`decode`], and [`DecodeError::OtherType`].
pub fn decode_checked(
    bytes: &[u8],
    ce_type: Option<&[u8]>,
    ids: &impl SchemaIds,
) -> Result<Event, DecodeError> {
    let event = decode(bytes, ids)?;
    if let (Some(id), Some(claimed)) = (schema_id(bytes), ce_type)
        && let Some(named) = EventType::ALL.iter().find(|known| known.full_name().as_bytes() == claimed)
        && *named != event.event_type()
    {
        return Err(DecodeError::OtherType { id, schema: event.event_type().name(), header: named.name() });
    }
    Ok(event)
}

/// Decodes as [`decode`], but resolves through Avro values to today's schema. Slow; the golden tests' second opinion.
///
/// # Errors
/// As [`decode`].
pub fn decode_resolving(bytes: &[u8], ids: &impl SchemaIds) -> Result<Event, DecodeError> {
    let (schema, body) = unframe(bytes, ids)?;
    let (event_type, schema) = match &schema {
        IdSchema::Ours(writer) => (writer.event_type, writer.schema),
        IdSchema::Foreign(foreign) => (foreign.event_type, &foreign.schema),
    };
    read(event_type, body, |body| read_resolving(schema, event_type, body))
}

fn unframe<'b>(bytes: &'b [u8], ids: &impl SchemaIds) -> Result<(IdSchema, &'b [u8]), DecodeError> {
    if bytes.len() > MAX_EVENT_BYTES {
        return Err(DecodeError::TooLarge(bytes.len()));
    }
    if let Some((fingerprint, body)) = single_object(bytes) {
        let ours = by_fingerprint(fingerprint).ok_or(DecodeError::UnknownFingerprint(fingerprint))?;
        return Ok((IdSchema::Ours(ours), body));
    }
    let id = schema_id(bytes).ok_or(DecodeError::UnknownFraming)?;
    Ok((ids.schema(id)?, &bytes[5..]))
}

/// Reads the whole body. The library documents that it may panic where bytes and type disagree; a poison record is a
/// dead letter, not a dead projector.
fn read(
    event_type: EventType,
    mut body: &[u8],
    how: impl FnOnce(&mut &[u8]) -> Result<Event, apache_avro::Error>,
) -> Result<Event, DecodeError> {
    let name = event_type.name();
    let event = catch_unwind(AssertUnwindSafe(|| how(&mut body)))
        .map_err(|_| DecodeError::Panicked(name))?
        .map_err(|source| DecodeError::Avro { name, source: Box::new(source) })?;
    if !body.is_empty() {
        return Err(DecodeError::TrailingBytes { name, count: body.len() });
    }
    Ok(event)
}

fn read_direct(writer: &WriterSchema, body: &mut &[u8]) -> Result<Event, apache_avro::Error> {
    fn get<T: DeserializeOwned + Into<Event>>(
        w: &WriterSchema,
        body: &mut &[u8],
    ) -> Result<Event, apache_avro::Error> {
        w.reader.read_deser::<T>(body).map(Into::into)
    }
    use crate::events as e;
    match writer.event_type {
        EventType::LoginSucceeded => get::<e::LoginSucceeded>(writer, body),
        EventType::LoginFailed => get::<e::LoginFailed>(writer, body),
        EventType::LoggedOut => get::<e::LoggedOut>(writer, body),
        EventType::ConfigurationChanged => get::<e::ConfigurationChanged>(writer, body),
        EventType::ActionRecorded => get::<e::ActionRecorded>(writer, body),
        EventType::HostLoggedOn => get::<e::HostLoggedOn>(writer, body),
        EventType::HostLoggedOff => get::<e::HostLoggedOff>(writer, body),
        EventType::HostLogonFailed => get::<e::HostLogonFailed>(writer, body),
    }
}

/// Bytes whose end is an error. The library takes a missing text or union for null where its values are read.
struct Whole<'a, 'b>(&'a mut &'b [u8]);

impl io::Read for Whole<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() && !into.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the record is cut"));
        }
        self.0.read(into)
    }
}

fn read_resolving(
    writer: &Schema,
    event_type: EventType,
    body: &mut &[u8],
) -> Result<Event, apache_avro::Error> {
    fn get<T: DeserializeOwned + Into<Event>>(
        value: &apache_avro::types::Value,
    ) -> Result<Event, apache_avro::Error> {
        from_value::<T>(value).map(Into::into)
    }
    use crate::events as e;
    let reader = GenericDatumReader::builder(writer)
        .reader_schema(current(event_type).schema)
        .human_readable(false)
        .build()?;
    let value = reader.read_value(&mut Whole(body))?;
    match event_type {
        EventType::LoginSucceeded => get::<e::LoginSucceeded>(&value),
        EventType::LoginFailed => get::<e::LoginFailed>(&value),
        EventType::LoggedOut => get::<e::LoggedOut>(&value),
        EventType::ConfigurationChanged => get::<e::ConfigurationChanged>(&value),
        EventType::ActionRecorded => get::<e::ActionRecorded>(&value),
        EventType::HostLoggedOn => get::<e::HostLoggedOn>(&value),
        EventType::HostLoggedOff => get::<e::HostLoggedOff>(&value),
        EventType::HostLogonFailed => get::<e::HostLogonFailed>(&value),
    }
}

#[cfg(test)]
pub(crate) use tests::samples;

#[cfg(test)]
mod tests;
