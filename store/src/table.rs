//! A table's description, and what is made of it: the DDL and the bulk write of each engine.
//!
//! Views describe their tables once; nothing outside this crate writes SQL that creates or fills one.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Earliest time that every engine can keep: the first whole day of PostgreSQL's `timestamptz`, 4713 years before our
/// era. Earlier ones become it, on every engine.
pub(crate) const EARLIEST_MICROS: i64 = -210_866_716_800_000_000;

/// Latest time that can be read again: the last one of [`DateTime`]. Later ones become it, on every engine.
pub(crate) const LATEST_MICROS: i64 = 8_210_266_876_799_999_999;

/// A time as every engine keeps it and every reader reads it.
pub(crate) fn storable_micros(micros: i64) -> i64 {
    micros.clamp(EARLIEST_MICROS, LATEST_MICROS)
}

/// A value on its way to a database. Each engine has its own form of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number or a surrogate id.
    Integer(i64),
    /// A text.
    Text(Arc<str>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A UUID.
    Uuid(Uuid),
    /// A time in microseconds since 1970, UTC.
    Time(i64),
    /// An IP address.
    Address(IpAddr),
    /// Numbers, for `= ANY(?)`.
    Integers(Vec<i64>),
    /// Texts, for `= ANY(?)`.
    Texts(Vec<String>),
    /// UUIDs, for `= ANY(?)`.
    Uuids(Vec<Uuid>),
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(storable(value))
    }
}

impl From<IpAddr> for Value {
    fn from(value: IpAddr) -> Self {
        // One address has one form, on every engine: the mapped one is the plain one.
        Self::Address(value.to_canonical())
    }
}

impl From<Vec<i64>> for Value {
    fn from(value: Vec<i64>) -> Self {
        Self::Integers(value)
    }
}

impl From<Vec<String>> for Value {
    fn from(mut value: Vec<String>) -> Self {
        for text in value.iter_mut().filter(|text| text.contains('\0')) {
            *text = text.replace('\0', "\u{FFFD}");
        }
        Self::Texts(value)
    }
}

impl From<Vec<Uuid>> for Value {
    fn from(value: Vec<Uuid>) -> Self {
        Self::Uuids(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

/// A text as every engine can keep and compare it: PostgreSQL's have no U+0000.
fn storable(text: &str) -> Arc<str> {
    if text.contains('\0') { text.replace('\0', "\u{FFFD}").into() } else { text.into() }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(storable(value))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(storable(&value))
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Uuid(value)
    }
}

impl From<DateTime<Utc>> for Value {
    fn from(value: DateTime<Utc>) -> Self {
        Self::Time(storable_micros(value.timestamp_micros()))
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
    /// The table's own surrogate id, given by the engine; never written. For dictionaries: it has 32 bits in PostgreSQL,
    /// as [`ColumnKind::DictionaryId`] has.
    RowId,
    /// The engine's own number of a row, under the name of the column; never written, and of no meaning beyond one
    /// snapshot. PostgreSQL has one already (`ctid`) and makes no column.
    RowNumber,
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
    /// An IP address.
    Address,
    /// Bytes.
    Bytes,
}

impl ColumnKind {
    /// Whether a column of this kind can hold the value.
    fn takes(self, value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Integer(_) => {
                matches!(
                    self,
                    Self::RowId | Self::RowNumber | Self::Integer | Self::SmallInteger | Self::DictionaryId
                )
            }
            Value::Text(_) => self == Self::Text,
            Value::Bytes(_) => self == Self::Bytes,
            Value::Uuid(_) => self == Self::Uuid,
            Value::Time(_) => self == Self::Timestamp,
            Value::Address(_) => self == Self::Address,
            Value::Integers(_) | Value::Texts(_) | Value::Uuids(_) => false,
        }
    }
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
    /// The key that makes a row the same row. None of its columns may be null: engines take two nulls for different.
    pub unique: &'static [&'static str],
    /// Whether columns that no index has are changed again and again. PostgreSQL then keeps room beside the rows, so that a
    /// changed one stays where it is and no index hears of it.
    pub is_changed: bool,
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
    /// Add these columns to those of the row that is there. The rows of one write have different keys.
    Add(&'static [&'static str]),
}

/// Rows on their way into one table, flat.
#[derive(Clone, Debug)]
pub struct Rows {
    kinds: Vec<ColumnKind>,
    values: Vec<Value>,
}

impl Rows {
    /// No rows yet.
    #[must_use]
    pub fn new(table: &Table) -> Self {
        Self { kinds: table.written_columns().map(|column| column.kind).collect(), values: Vec::new() }
    }

    /// Adds a row: a value for each column but the surrogate id, in order.
    pub fn push<const N: usize>(&mut self, row: [Value; N]) {
        assert_eq!(N, self.kinds.len(), "a row has a value for each column");
        // SQLite would take some that PostgreSQL does not.
        debug_assert!(self.kinds.iter().zip(&row).all(|(kind, value)| kind.takes(value)), "{row:?}");
        self.values.extend(row);
    }

    /// How many rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.width()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Takes the rows in pieces of at most `rows` rows.
    pub(crate) fn chunks(&self, rows: usize) -> impl Iterator<Item = &[Value]> {
        self.values.chunks(rows * self.width())
    }

    /// Two numbers of each row: the values of these columns of its table.
    pub(crate) fn numbers(&self, table: &Table, columns: [&str; 2]) -> Vec<(i64, i64)> {
        let place = |name| table.written_columns().position(|column| column.name == name);
        let [one, other] = columns.map(place);
        let number = |row: &[Value], at: Option<usize>| match row.get(at?)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        };
        self.chunks(1).filter_map(|row| Some((number(row, one)?, number(row, other)?))).collect()
    }

    pub(crate) fn width(&self) -> usize {
        self.kinds.len()
    }
}

impl Table {
    /// The columns that a row brings.
    pub fn written_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !matches!(column.kind, ColumnKind::RowId | ColumnKind::RowNumber))
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
        let (key, kind) =
            if self.is_keyed() { ("PRIMARY KEY", "STRICT, WITHOUT ROWID") } else { ("UNIQUE", "STRICT") };
        let mut statements = vec![format!(
            "CREATE TABLE {} (\n  {},\n  {key} ({})\n) {kind}",
            self.name,
            columns.join(",\n  "),
            self.unique.join(", ")
        )];
        statements.extend(self.index_ddl());
        statements
    }

    /// The statements that create the indexes, the same for each engine.
    pub(crate) fn index_ddl(&self) -> impl Iterator<Item = String> {
        self.indexes.iter().map(|index| {
            format!(
                "CREATE INDEX IF NOT EXISTS {} ON {} ({})",
                index.name,
                self.name,
                index.columns.join(", ")
            )
        })
    }

    /// The bulk write of `rows` rows in SQLite.
    #[must_use]
    pub fn sqlite_insert(&self, rows: usize, on_conflict: OnConflict) -> String {
        let names: Vec<&str> = self.written_columns().map(|column| column.name).collect();
        let row = format!("({})", vec!["?"; names.len()].join(","));
        let values = vec![row.as_str(); rows].join(",");
        format!(
            "INSERT INTO {} ({}) VALUES {values} ON CONFLICT ({}) {}",
            self.name,
            names.join(", "),
            self.unique.join(", "),
            self.conflict(on_conflict)
        )
    }

    /// What follows `ON CONFLICT (…)`.
    pub(crate) fn conflict(&self, on_conflict: OnConflict) -> String {
        let set = |columns: &[&str], value: &dyn Fn(&str) -> String| {
            let set: Vec<String> =
                columns.iter().map(|column| format!("{column} = {}", value(column))).collect();
            format!("DO UPDATE SET {}", set.join(", "))
        };
        match on_conflict {
            OnConflict::Keep => "DO NOTHING".to_owned(),
            OnConflict::Update(columns) => set(columns, &|column| format!("excluded.{column}")),
            OnConflict::Add(columns) => {
                set(columns, &|column| format!("{}.{column} + excluded.{column}", self.name))
            }
        }
    }

    /// Whether rows stand in SQLite under their unique key and have no number. Not those with bytes: the whole of a row that
    /// has pages of its own would be copied whenever its key is compared.
    fn is_keyed(&self) -> bool {
        use ColumnKind::{Bytes, RowId, RowNumber};
        !self.columns.iter().any(|column| matches!(column.kind, RowId | RowNumber | Bytes))
    }
}

fn sqlite_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::RowId | ColumnKind::RowNumber => "INTEGER PRIMARY KEY",
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
        is_changed: false,
        indexes: &[Index { name: "things_by_until", columns: &["until", "event_id"] }],
    };

    #[test]
    fn a_description_becomes_ddl() {
        assert_eq!(
            TABLE.sqlite_ddl(),
            [
                "CREATE TABLE things (\n  id INTEGER PRIMARY KEY NOT NULL,\n  event_id BLOB NOT NULL,\n  until INTEGER,\n  UNIQUE (event_id)\n) STRICT",
                "CREATE INDEX IF NOT EXISTS things_by_until ON things (until, event_id)",
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
            rows.push([Uuid::from_u128(n).into(), Value::Null]);
        }
        assert_eq!(rows.len(), 5);
        assert_eq!(rows.chunks(2).map(<[Value]>::len).collect::<Vec<_>>(), [4, 4, 2]);
    }
}
