//! A table's description, and what is made of it: the DDL and the bulk write of each engine.
//!
//! Views describe their tables once; nothing outside this crate writes SQL that creates or fills one.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A value on its way into a table. The column says how the engine keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number, a time in microseconds, a surrogate id.
    Integer(i64),
    /// A text.
    Text(Arc<str>),
    /// Bytes: a UUID, an address, an encoded record.
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Bytes(value.into_bytes().to_vec())
    }
}

impl From<DateTime<Utc>> for Value {
    fn from(value: DateTime<Utc>) -> Self {
        Self::Integer(value.timestamp_micros())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// The table's own surrogate id, given by the engine; never written.
    RowId,
    /// A UUID.
    Uuid,
    /// A 64-bit number.
    Integer,
    /// A 16-bit number.
    SmallInteger,
    /// Surrogate id of a dictionary.
    DictionaryId,
    /// A time in microseconds, UTC.
    Timestamp,
    /// A text, compared by bytes.
    Text,
    /// An IP address as 16 bytes.
    Address,
    /// Bytes.
    Bytes,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Name.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
    /// Whether it may be null.
    pub nullable: bool,
}

impl Column {
    /// A column that is never null.
    #[must_use]
    pub const fn new(name: &'static str, kind: ColumnKind) -> Self {
        Self { name, kind, nullable: false }
    }

    /// A column that may be null.
    #[must_use]
    pub const fn nullable(name: &'static str, kind: ColumnKind) -> Self {
        Self { name, kind, nullable: true }
    }
}

/// An index beside the unique key.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// Name, unique within the database.
    pub name: &'static str,
    /// Columns in order.
    pub columns: &'static [&'static str],
}

/// A table of a view.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Name.
    pub name: &'static str,
    /// Columns in order.
    pub columns: &'static [Column],
    /// The key that makes a row the same row.
    pub unique: &'static [&'static str],
    /// Further indexes.
    pub indexes: &'static [Index],
}

/// What a write does with a row whose unique key is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Keep the row that is there: the first one wins.
    Keep,
    /// Take these columns from the new row.
    Update(&'static [&'static str]),
}

/// Rows on their way into one table, flat.
#[derive(Clone, Debug)]
pub struct Rows {
    width: usize,
    values: Vec<Value>,
}

impl Rows {
    /// No rows yet.
    #[must_use]
    pub fn new(table: &Table) -> Self {
        Self { width: table.written_columns().count(), values: Vec::new() }
    }

    /// Adds a row: a value for each column but the surrogate id, in order.
    pub fn push<const N: usize>(&mut self, row: [Value; N]) {
        assert_eq!(N, self.width, "a row has a value for each column");
        self.values.extend(row);
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Takes the rows in pieces of at most `rows` rows.
    pub(crate) fn chunks(&self, rows: usize) -> impl Iterator<Item = &[Value]> {
        self.values.chunks(rows * self.width)
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }
}

impl Table {
    /// The columns that a row brings.
    pub fn written_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.kind != ColumnKind::RowId)
    }

    /// The statements that create the table and its indexes in SQLite.
    #[must_use]
    pub fn sqlite_ddl(&self) -> Vec<String> {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let null = if column.nullable { "" } else { " NOT NULL" };
                format!("{} {}{null}", column.name, sqlite_type(column.kind))
            })
            .collect();
        let mut statements = vec![format!(
            "CREATE TABLE {} (\n  {},\n  UNIQUE ({})\n) STRICT",
            self.name,
            columns.join(",\n  "),
            self.unique.join(", ")
        )];
        for index in self.indexes {
            statements.push(format!(
                "CREATE INDEX {} ON {} ({})",
                index.name,
                self.name,
                index.columns.join(", ")
            ));
        }
        statements
    }

    /// The bulk write of `rows` rows in SQLite.
    #[must_use]
    pub fn sqlite_insert(&self, rows: usize, on_conflict: OnConflict) -> String {
        let names: Vec<&str> = self.written_columns().map(|column| column.name).collect();
        let row = format!("({})", vec!["?"; names.len()].join(","));
        let values = vec![row.as_str(); rows].join(",");
        let conflict = match on_conflict {
            OnConflict::Keep => "DO NOTHING".to_owned(),
            OnConflict::Update(columns) => {
                let set: Vec<String> = columns.iter().map(|c| format!("{c} = excluded.{c}")).collect();
                format!("DO UPDATE SET {}", set.join(", "))
            }
        };
        format!(
            "INSERT INTO {} ({}) VALUES {values} ON CONFLICT ({}) {conflict}",
            self.name,
            names.join(", "),
            self.unique.join(", ")
        )
    }
}

fn sqlite_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::RowId => "INTEGER PRIMARY KEY",
        ColumnKind::Integer | ColumnKind::SmallInteger | ColumnKind::DictionaryId | ColumnKind::Timestamp => {
            "INTEGER"
        }
        ColumnKind::Text => "TEXT",
        ColumnKind::Uuid | ColumnKind::Address | ColumnKind::Bytes => "BLOB",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: Table = Table {
        name: "things",
        columns: &[
            Column::new("id", ColumnKind::RowId),
            Column::new("event_id", ColumnKind::Uuid),
            Column::nullable("until", ColumnKind::Timestamp),
        ],
        unique: &["event_id"],
        indexes: &[Index { name: "things_by_until", columns: &["until", "event_id"] }],
    };

    #[test]
    fn a_description_becomes_ddl() {
        assert_eq!(
            TABLE.sqlite_ddl(),
            [
                "CREATE TABLE things (\n  id INTEGER PRIMARY KEY NOT NULL,\n  event_id BLOB NOT NULL,\n  until INTEGER,\n  UNIQUE (event_id)\n) STRICT",
                "CREATE INDEX things_by_until ON things (until, event_id)",
            ]
        );
    }

    #[test]
    fn a_bulk_write_leaves_the_surrogate_id_to_the_engine() {
        assert_eq!(
            TABLE.sqlite_insert(2, OnConflict::Keep),
            "INSERT INTO things (event_id, until) VALUES (?,?),(?,?) ON CONFLICT (event_id) DO NOTHING"
        );
        assert!(
            TABLE
                .sqlite_insert(1, OnConflict::Update(&["until"]))
                .ends_with("DO UPDATE SET until = excluded.until")
        );
    }

    #[test]
    fn rows_are_cut_into_pieces_of_whole_rows() {
        let mut rows = Rows::new(&TABLE);
        for n in 0..5 {
            rows.push([Value::Integer(n), Value::Null]);
        }
        assert_eq!(rows.len(), 5);
        assert_eq!(rows.chunks(2).map(<[Value]>::len).collect::<Vec<_>>(), [4, 4, 2]);
    }
}
