//! Columns of values as PostgreSQL's arrays, for statements that take many rows at once.

use sqlx::Arguments;
use sqlx::postgres::PgArguments;
use uuid::Uuid;

use super::layout::postgres_type;
use crate::sql::{Inet, Time};
use crate::table::{Column, ColumnKind, Value};

/// A number in a narrower type.
///
/// # Errors
/// When it does not fit: it must never be stored as another one.
pub(super) fn narrow<T: TryFrom<N>, N>(number: N) -> Result<T, sqlx::Error> {
    T::try_from(number).map_err(|_| sqlx::Error::Encode("a number is too large for its column".into()))
}

/// A value of another kind than its column.
pub(super) fn misfit(kind: ColumnKind) -> sqlx::Error {
    sqlx::Error::Encode(format!("a column of the kind {kind:?} got a value of another kind").into())
}

/// Arrays as rows: `unnest($1::uuid[]) AS customer, …`, for the list of a `SELECT`; `before` parameters come first. (As a
/// table, `FROM unnest(…)`, they would be stored in between, which takes four times as long.)
pub(super) fn unnest(columns: &[&Column], before: usize) -> String {
    let arrays: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            format!("unnest(${}::{}[]) AS {}", before + at + 1, element_type(column.kind), column.name)
        })
        .collect();
    arrays.join(", ")
}

fn element_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text => "text",
        ColumnKind::RowId => "integer",
        other => postgres_type(other),
    }
}

/// Adds one array per column. `value` gives the value of a row and a column.
pub(super) fn add_arrays<'v>(
    arguments: &mut PgArguments,
    columns: &[&Column],
    rows: usize,
    value: impl Fn(usize, usize) -> &'v Value,
) -> Result<(), sqlx::Error> {
    columns
        .iter()
        .enumerate()
        .try_for_each(|(at, column)| add_array(arguments, column.kind, (0..rows).map(|row| value(row, at))))
}

fn add_array<'v>(
    arguments: &mut PgArguments,
    kind: ColumnKind,
    values: impl Iterator<Item = &'v Value>,
) -> Result<(), sqlx::Error> {
    macro_rules! collect {
        ($type:ty, $pattern:pat => $value:expr) => {{
            let values: Result<Vec<Option<$type>>, sqlx::Error> = values
                .map(|value| match value {
                    Value::Null => Ok(None),
                    $pattern => $value.map(Some),
                    _ => Err(misfit(kind)),
                })
                .collect();
            arguments.add(values?)
        }};
    }
    match kind {
        ColumnKind::Text => collect!(&str, Value::Text(text) => Ok(text.as_ref())),
        ColumnKind::Bytes => collect!(&[u8], Value::Bytes(bytes) => Ok(bytes.as_slice())),
        ColumnKind::Uuid => collect!(Uuid, Value::Uuid(id) => Ok(*id)),
        ColumnKind::Address => collect!(Inet, Value::Address(address) => Ok(Inet(*address))),
        ColumnKind::Timestamp => collect!(Time, Value::Time(micros) => Ok(Time(*micros))),
        ColumnKind::SmallInteger => collect!(i16, Value::Integer(number) => narrow(*number)),
        ColumnKind::DictionaryId | ColumnKind::RowId => {
            collect!(i32, Value::Integer(number) => narrow(*number))
        }
        ColumnKind::Integer | ColumnKind::RowNumber => collect!(i64, Value::Integer(number) => Ok(*number)),
    }
    .map_err(sqlx::Error::Encode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_kind_is_refused_and_not_taken_for_null() {
        let column = Column::nullable("until", ColumnKind::Timestamp);
        for (value, fits) in [(Value::Null, true), (Value::Time(1), true), (Value::Integer(1), false)] {
            let added = add_arrays(&mut PgArguments::default(), &[&column], 1, |_, _| &value);
            assert_eq!(added.is_ok(), fits, "{value:?}");
        }
    }
}
