//! Schemas that came from a registry: whether one is ours, and if it is somebody's own copy, whether records of it can
//! be read.
//!
//! A schema from outside is data like any other. One that refers to itself, or has values that take no byte, could
//! make a short record as deep or as large in memory as its writer likes; such a schema is refused with the reason.

use std::collections::HashMap;
use std::panic::catch_unwind;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::{DecimalSchema, FixedSchema, InnerDecimalSchema, SchemaKind, UuidSchema};

use crate::codec::{self, Fingerprint, WriterSchema};
use crate::events::EventType;
use crate::limits::MAX_EVENT_BYTES;

/// Values within values that a schema may have, counted through its named types. Ours have 5.
const MAX_DEPTH: usize = 24;

/// Longest name of a field or symbol. It is copied for every value.
const MAX_NAME_BYTES: usize = 256;

/// The schema that a registry's id stands for.
#[derive(Clone)]
pub enum IdSchema {
    /// One of ours, down to the meaning of its numbers.
    Ours(&'static WriterSchema),
    /// Another schema of one of our event types.
    Foreign(Arc<ForeignSchema>),
}

/// A schema of one of our event types that somebody else wrote: other order of fields, more or fewer of them.
pub struct ForeignSchema {
    pub(crate) event_type: EventType,
    pub(crate) schema: Schema,
}

/// Says what a schema is.
///
/// # Errors
/// In words, why records of it cannot be read.
pub fn recognise(text: &str) -> Result<IdSchema, String> {
    let schema = catch_unwind(|| Schema::parse_str(text))
        .map_err(|_| "the Avro library gave up on it".to_owned())?
        .map_err(|error| format!("it is not an Avro schema: {error}"))?;
    let Schema::Record(record) = &schema else {
        return Err("it is not a record, so no event of annals".to_owned());
    };
    let name = record.name.fullname(None);
    let event_type = EventType::ALL.iter().find(|known| known.full_name() == name);
    let Some(event_type) = event_type.copied() else {
        return Err(format!("it is of `{name}`, which is no event of annals"));
    };
    if let Some(ours) = codec::by_fingerprint(Fingerprint::of(&schema))
        && same_meaning(&schema, ours.schema)
    {
        return Ok(IdSchema::Ours(ours));
    }
    Heights::default().of(&schema, false)?;
    Ok(IdSchema::Foreign(Arc::new(ForeignSchema { event_type, schema })))
}

/// Whether two schemas of one canonical form also agree in what it leaves out: milliseconds are not microseconds.
fn same_meaning(one: &Schema, other: &Schema) -> bool {
    SchemaKind::from(one) == SchemaKind::from(other)
        && match (one, other) {
            (Schema::Record(one), Schema::Record(other)) => {
                one.fields.iter().zip(&other.fields).all(|(a, b)| same_meaning(&a.schema, &b.schema))
            }
            (Schema::Union(one), Schema::Union(other)) => {
                one.variants().iter().zip(other.variants()).all(|(a, b)| same_meaning(a, b))
            }
            (Schema::Array(one), Schema::Array(other)) => same_meaning(&one.items, &other.items),
            (Schema::Map(one), Schema::Map(other)) => same_meaning(&one.types, &other.types),
            _ => true,
        }
}

/// How deep the values of a schema are. Names are counted where they are defined, so that the walk is as long as the
/// schema's text, however often it uses them.
#[derive(Default)]
struct Heights {
    of_names: HashMap<String, usize>,
}

impl Heights {
    fn of(&mut self, schema: &Schema, in_union: bool) -> Result<usize, String> {
        let below = match schema {
            Schema::Null if !in_union => return Err("it has a `null` outside of a union".to_owned()),
            Schema::Ref { name } => {
                let name = name.fullname(None);
                // A record has no height before its end: this one stands in itself.
                return self.of_names.get(&name).copied().ok_or(format!("`{name}` refers to itself"));
            }
            Schema::Record(record) => {
                if record.fields.is_empty() {
                    return Err(format!("record `{}` has no fields", record.name.fullname(None)));
                }
                let mut deepest = 0;
                for field in &record.fields {
                    short_name(&field.name)?;
                    deepest = deepest.max(self.of(&field.schema, false)?);
                }
                deepest
            }
            Schema::Union(union) => {
                let mut deepest = 0;
                for variant in union.variants() {
                    deepest = deepest.max(self.of(variant, true)?);
                }
                deepest
            }
            Schema::Array(array) => self.of(&array.items, false)?,
            Schema::Map(map) => self.of(&map.types, false)?,
            Schema::Enum(symbols) => {
                symbols.symbols.iter().try_for_each(|symbol| short_name(symbol))?;
                0
            }
            _ => 0,
        };
        if let Some(fixed) = fixed(schema)
            && !(1..=MAX_EVENT_BYTES).contains(&fixed.size)
        {
            return Err(format!("`{}` is {} bytes long", fixed.name.fullname(None), fixed.size));
        }
        let height = below + 1;
        if height > MAX_DEPTH {
            return Err(format!("its values are nested more than {MAX_DEPTH} deep"));
        }
        if let Some(name) = schema.name() {
            self.of_names.insert(name.fullname(None), height);
        }
        Ok(height)
    }
}

fn fixed(schema: &Schema) -> Option<&FixedSchema> {
    match schema {
        Schema::Fixed(fixed)
        | Schema::Duration(fixed)
        | Schema::Uuid(UuidSchema::Fixed(fixed))
        | Schema::Decimal(DecimalSchema { inner: InnerDecimalSchema::Fixed(fixed), .. }) => Some(fixed),
        _ => None,
    }
}

fn short_name(name: &str) -> Result<(), String> {
    if name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(format!("a name in it is {} bytes long", name.len()))
}

#[cfg(test)]
mod tests;
