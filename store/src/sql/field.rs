//! Rows and their fields.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Row as _};
use uuid::Uuid;
#[cfg(feature = "postgres")]
use {
    super::values::{Inet, Time, Whole},
    sqlx::postgres::PgRow,
};

use crate::address;
use crate::table::storable_micros;

/// A row of an answer.
pub enum Row {
    /// The embedded engine.
    Sqlite(SqliteRow),
    /// PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(PgRow),
}

impl Row {
    /// A field, by number from 0 or by name.
    ///
    /// # Errors
    /// When there is no such field, or it holds something else.
    pub fn get<T: Field>(&self, at: impl At) -> Result<T, sqlx::Error> {
        match self {
            Self::Sqlite(row) => T::from_sqlite(row, at),
            #[cfg(feature = "postgres")]
            Self::Postgres(row) => T::from_postgres(row, at),
        }
    }
}

/// What names a field: its number or its name.
#[cfg(feature = "postgres")]
pub trait At: ColumnIndex<SqliteRow> + ColumnIndex<PgRow> + Copy {}
#[cfg(feature = "postgres")]
impl<T: ColumnIndex<SqliteRow> + ColumnIndex<PgRow> + Copy> At for T {}
/// What names a field: its number or its name.
#[cfg(not(feature = "postgres"))]
pub trait At: ColumnIndex<SqliteRow> + Copy {}
#[cfg(not(feature = "postgres"))]
impl<T: ColumnIndex<SqliteRow> + Copy> At for T {}

/// What a field may hold.
pub trait Field: Sized {
    /// From a row of SQLite.
    ///
    /// # Errors
    /// When it holds something else.
    fn from_sqlite(row: &SqliteRow, at: impl At) -> Result<Self, sqlx::Error>;

    /// From a row of PostgreSQL.
    ///
    /// # Errors
    /// When it holds something else.
    #[cfg(feature = "postgres")]
    fn from_postgres(row: &PgRow, at: impl At) -> Result<Self, sqlx::Error>;
}

/// Types that both drivers know, under what they are in each: `field!(T, sqlite type => map, postgres type => map)`.
macro_rules! field {
    ($type:ty, $sqlite:ty => $from_sqlite:expr, $postgres:ty => $from_postgres:expr) => {
        impl Field for $type {
            fn from_sqlite(row: &SqliteRow, at: impl At) -> Result<Self, sqlx::Error> {
                let convert: fn($sqlite) -> Result<Self, sqlx::Error> = $from_sqlite;
                convert(row.try_get::<$sqlite, _>(at)?)
            }

            #[cfg(feature = "postgres")]
            fn from_postgres(row: &PgRow, at: impl At) -> Result<Self, sqlx::Error> {
                let convert: fn($postgres) -> Result<Self, sqlx::Error> = $from_postgres;
                convert(row.try_get::<$postgres, _>(at)?)
            }
        }

        impl Field for Option<$type> {
            fn from_sqlite(row: &SqliteRow, at: impl At) -> Result<Self, sqlx::Error> {
                let convert: fn($sqlite) -> Result<$type, sqlx::Error> = $from_sqlite;
                row.try_get::<Option<$sqlite>, _>(at)?.map(convert).transpose()
            }

            #[cfg(feature = "postgres")]
            fn from_postgres(row: &PgRow, at: impl At) -> Result<Self, sqlx::Error> {
                let convert: fn($postgres) -> Result<$type, sqlx::Error> = $from_postgres;
                row.try_get::<Option<$postgres>, _>(at)?.map(convert).transpose()
            }
        }
    };
}

fn out_of_range(_: std::num::TryFromIntError) -> sqlx::Error {
    sqlx::Error::Decode("a number is out of its range".into())
}

field!(i64, i64 => Ok, Whole => |n| Ok(n.0));
field!(u32, i64 => |n| n.try_into().map_err(out_of_range), Whole => |n| n.0.try_into().map_err(out_of_range));
field!(u64, i64 => |n| n.try_into().map_err(out_of_range), Whole => |n| n.0.try_into().map_err(out_of_range));
field!(bool, i64 => |n| Ok(n != 0), Whole => |n| Ok(n.0 != 0));
field!(String, String => Ok, String => Ok);
field!(Vec<u8>, Vec<u8> => Ok, Vec<u8> => Ok);
field!(Uuid, Uuid => Ok, Uuid => Ok);
field!(DateTime<Utc>, i64 => |micros| Ok(DateTime::from_timestamp_micros(storable_micros(micros)).unwrap_or_default()),
    Time => |time| Ok(time.to_utc()));
field!(IpAddr, Vec<u8> => |bytes| address::from_bytes(&bytes)
        .ok_or_else(|| sqlx::Error::Decode("an address has 16 bytes".into())),
    Inet => |inet| Ok(inet.0.to_canonical()));
