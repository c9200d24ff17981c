//! Values in each engine's own form.

use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;
#[cfg(feature = "postgres")]
use {
    chrono::{DateTime, Utc},
    sqlx::encode::IsNull,
    sqlx::postgres::types::Oid,
    sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo, PgValueRef},
    sqlx::{Decode, Encode, Postgres, Type},
    std::net::IpAddr,
};

use crate::table::storable_micros;
use crate::{Value, address};

#[cfg(feature = "postgres")]
type Boxed = Box<dyn std::error::Error + Send + Sync>;

/// The arguments of a statement for SQLite.
pub(super) fn for_sqlite(values: &[Value]) -> Result<SqliteArguments, sqlx::Error> {
    sqlite_arguments(values.iter())
}

pub(crate) fn sqlite_arguments<'v>(
    values: impl Iterator<Item = &'v Value>,
) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(values.size_hint().0, 0);
    for value in values {
        match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Integer(number) => arguments.add(*number),
            Value::Time(micros) => arguments.add(storable_micros(*micros)),
            Value::Text(text) => arguments.add(text.clone()),
            Value::Bytes(bytes) => arguments.add(bytes.clone()),
            Value::Uuid(id) => arguments.add(*id),
            Value::Address(address) => arguments.add(address::to_bytes(*address).to_vec()),
            Value::Integers(list) => arguments.add(json(list.iter().map(i64::to_string))),
            Value::Uuids(list) => arguments.add(json(list.iter().map(|id| format!("\"{}\"", id.simple())))),
            Value::Texts(list) => arguments.add(json(list.iter().map(|text| quoted(text)))),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn json(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// A text as JSON spells it.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The arguments of a statement for PostgreSQL.
#[cfg(feature = "postgres")]
pub(super) fn for_postgres(values: &[Value]) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    arguments.reserve(values.len(), 0);
    for value in values {
        match value {
            Value::Null => arguments.add(UntypedNull),
            Value::Integer(number) => arguments.add(*number),
            Value::Text(text) => arguments.add(text.as_ref()),
            Value::Bytes(bytes) => arguments.add(bytes.as_slice()),
            Value::Uuid(id) => arguments.add(*id),
            Value::Time(micros) => arguments.add(Time(*micros)),
            Value::Address(address) => arguments.add(Inet(*address)),
            Value::Integers(list) => arguments.add(list.as_slice()),
            Value::Uuids(list) => arguments.add(list.as_slice()),
            Value::Texts(list) => arguments.add(list.as_slice()),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// Microseconds between 1970 and 2000, where PostgreSQL's times begin.
#[cfg(feature = "postgres")]
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A time in microseconds since 1970 as PostgreSQL's `timestamptz`. (The driver's own type panics at times that it
/// cannot hold, such as `infinity`.)
#[cfg(feature = "postgres")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) i64);

#[cfg(feature = "postgres")]
impl Time {
    /// The binary form.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        (storable_micros(self.0) - POSTGRES_EPOCH_MICROS).to_be_bytes()
    }

    pub(super) fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(storable_micros(self.0)).unwrap_or_default()
    }
}

#[cfg(feature = "postgres")]
impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        <DateTime<Utc> as Type<Postgres>>::type_info()
    }
}

#[cfg(feature = "postgres")]
impl PgHasArrayType for Time {
    fn array_type_info() -> PgTypeInfo {
        <DateTime<Utc> as PgHasArrayType>::array_type_info()
    }
}

#[cfg(feature = "postgres")]
impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, Boxed> {
        buffer.extend_from_slice(&self.to_bytes());
        Ok(IsNull::No)
    }
}

#[cfg(feature = "postgres")]
impl Decode<'_, Postgres> for Time {
    fn decode(value: PgValueRef<'_>) -> Result<Self, Boxed> {
        let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        Ok(Self(storable_micros(micros.saturating_add(POSTGRES_EPOCH_MICROS))))
    }
}

/// A number, whichever width its column has. SQLite has only one, and truth values are numbers there.
#[cfg(feature = "postgres")]
pub(crate) struct Whole(pub(crate) i64);

#[cfg(feature = "postgres")]
impl Type<Postgres> for Whole {
    fn type_info() -> PgTypeInfo {
        <i64 as Type<Postgres>>::type_info()
    }

    fn compatible(given: &PgTypeInfo) -> bool {
        // bool, int8, int2, int4.
        matches!(given.oid(), Some(Oid(16 | 20 | 21 | 23)))
    }
}

#[cfg(feature = "postgres")]
impl Decode<'_, Postgres> for Whole {
    fn decode(value: PgValueRef<'_>) -> Result<Self, Boxed> {
        <i64 as Decode<Postgres>>::decode(value).map(Self)
    }
}

/// A null whose type the server infers.
#[cfg(feature = "postgres")]
struct UntypedNull;

#[cfg(feature = "postgres")]
impl Type<Postgres> for UntypedNull {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

#[cfg(feature = "postgres")]
impl Encode<'_, Postgres> for UntypedNull {
    fn encode_by_ref(&self, _buffer: &mut PgArgumentBuffer) -> Result<IsNull, Boxed> {
        Ok(IsNull::Yes)
    }
}

/// An address as PostgreSQL's `inet`.
#[cfg(feature = "postgres")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inet(pub(crate) IpAddr);

#[cfg(feature = "postgres")]
impl Inet {
    /// The binary form: family, bits, whether it is a network, length, bytes.
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        match self.0.to_canonical() {
            IpAddr::V4(address) => {
                out.extend_from_slice(&[2, 32, 0, 4]);
                out.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                out.extend_from_slice(&[3, 128, 0, 16]);
                out.extend_from_slice(&address.octets());
            }
        }
    }

    fn read(bytes: &[u8]) -> Option<IpAddr> {
        let octets = bytes.get(4..)?;
        match bytes.first()? {
            2 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        }
    }
}

#[cfg(feature = "postgres")]
impl Type<Postgres> for Inet {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(869))
    }
}

#[cfg(feature = "postgres")]
impl PgHasArrayType for Inet {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1041))
    }
}

#[cfg(feature = "postgres")]
impl Encode<'_, Postgres> for Inet {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, Boxed> {
        let mut bytes = Vec::with_capacity(20);
        self.put(&mut bytes);
        buffer.extend_from_slice(&bytes);
        Ok(IsNull::No)
    }
}

#[cfg(feature = "postgres")]
impl Decode<'_, Postgres> for Inet {
    fn decode(value: PgValueRef<'_>) -> Result<Self, Boxed> {
        Self::read(value.as_bytes()?).map(Inet).ok_or_else(|| "an inet has 4 or 16 bytes".into())
    }
}
