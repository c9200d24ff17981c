//! Making, checking and removing schemas and tables.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{CONTROL_SCHEMA, LAYOUT_LOCK, PostgresDb, rights};
use crate::control::{self, POSTGRES_MIGRATIONS};
use crate::error::Context;
use crate::table::{Column, ColumnKind};
use crate::{Place, Result, StoreError, Table};

/// Version of the layout inside a generation's schema (positions, dead letters, marks).
const LAYOUT_VERSION: u8 = 1;

const LAYOUT: [&str; 3] = [
    "CREATE TABLE marks (key text COLLATE \"C\" PRIMARY KEY, value bytea NOT NULL)",
    // Updated in place with every batch: room on its page keeps it one page.
    "CREATE TABLE positions (
       topic text COLLATE \"C\" NOT NULL, partition bigint NOT NULL, next_offset bigint NOT NULL, last_event_id uuid,
       PRIMARY KEY (topic, partition)) WITH (fillfactor = 25)",
    "CREATE TABLE dead_letters (
       topic text COLLATE \"C\" NOT NULL, partition bigint NOT NULL, \"offset\" bigint NOT NULL,
       recorded_at timestamptz NOT NULL, reason text NOT NULL, bytes bytea NOT NULL,
       PRIMARY KEY (topic, partition, \"offset\"))",
];

/// Brings the control tables to this program's version. Does nothing, and needs no right to, when they are.
pub(super) async fn migrate_control(database: &PostgresDb) -> Result<()> {
    let place = &database.place;
    let mut connection = database.connect("migration", CONTROL_SCHEMA).await?;
    let newest = POSTGRES_MIGRATIONS.last().map_or(0, |migration| migration.0);
    match migrated_to(&mut connection, place).await? {
        Some(version) if version == newest => return Ok(()),
        Some(version) if version > newest => return Err(StoreError::NewerVersion(place.clone())),
        _ => {}
    }
    // `CREATE SCHEMA IF NOT EXISTS` can fail when two processes do it at once.
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(LAYOUT_LOCK)
        .execute(&mut connection)
        .await
        .during(place, "migrate it")?;
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {CONTROL_SCHEMA}")))
        .execute(&mut connection)
        .await
        .during(place, "create its schema")?;
    control::migrator(POSTGRES_MIGRATIONS)
        .run_direct(None, &mut connection, false)
        .await
        .map_err(|error| control::migrate_error(place, error))?;
    let _ = connection.close().await;
    Ok(())
}

/// Whether the control tables were ever made.
pub(super) async fn has_control(database: &PostgresDb) -> Result<bool> {
    let mut connection = database.connect("check", CONTROL_SCHEMA).await?;
    let version = migrated_to(&mut connection, &database.place).await?;
    let _ = connection.close().await;
    Ok(version.is_some())
}

/// Version of the last migration; `None` when there was none.
async fn migrated_to(connection: &mut PgConnection, place: &Place) -> Result<Option<i64>> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(format!("{CONTROL_SCHEMA}._sqlx_migrations"))
        .fetch_one(&mut *connection)
        .await
        .during(place, "read its version")?;
    if !there {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await
        .during(place, "read its version")
}

/// Makes the schema of a generation with its tables, when it is not there.
pub(super) async fn lay_out(
    database: &PostgresDb,
    schema: &str,
    place: &Place,
    tables: &[&'static Table],
) -> Result<()> {
    const DOING: &str = "create its tables";
    let mut connection = database.connect("layout", schema).await?;
    if is_laid_out(&mut connection, schema, place).await? {
        return Ok(());
    }
    // Before the transaction begins: what another process made while this one waited is only known to a new one.
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(LAYOUT_LOCK)
        .execute(&mut connection)
        .await
        .during(place, DOING)?;
    let mut tx = connection.begin().await.during(place, DOING)?;
    if is_laid_out(&mut tx, schema, place).await? {
        return Ok(());
    }
    let mut statements = vec![format!("CREATE SCHEMA {schema}")];
    statements.extend(LAYOUT.map(str::to_owned));
    statements.extend(tables.iter().flat_map(|table| table.postgres_ddl()));
    statements.push(format!("INSERT INTO marks (key, value) VALUES ('layout', '\\x{LAYOUT_VERSION:02x}')"));
    statements.extend(rights::statements_for(&mut tx, schema, place).await?);
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await.during(place, DOING)?;
    }
    tx.commit().await.during(place, DOING)?;
    let _ = connection.close().await;
    Ok(())
}

async fn is_laid_out(connection: &mut PgConnection, schema: &str, place: &Place) -> Result<bool> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(format!("{schema}.marks"))
        .fetch_one(&mut *connection)
        .await
        .during(place, "look for its tables")?;
    if !there {
        return Ok(false);
    }
    let version: Option<Vec<u8>> = sqlx::query_scalar("SELECT value FROM marks WHERE key = 'layout'")
        .fetch_optional(connection)
        .await
        .during(place, "read its version")?;
    match version.as_deref() {
        Some([version]) if *version <= LAYOUT_VERSION => Ok(true),
        Some([_]) => Err(StoreError::NewerVersion(place.clone())),
        _ => Err(StoreError::Damaged(place.clone())),
    }
}

/// Removes the schema of a generation with everything in it.
pub(super) async fn remove(database: &PostgresDb, schema: &str, place: &Place) -> Result<()> {
    let mut connection = database.connect("removal", schema).await?;
    sqlx::query(AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {schema} CASCADE")))
        .execute(&mut connection)
        .await
        .during(place, "remove it")?;
    let _ = connection.close().await;
    Ok(())
}

impl Table {
    /// The statements that create the table and its indexes in PostgreSQL.
    #[must_use]
    pub fn postgres_ddl(&self) -> Vec<String> {
        let mut columns: Vec<&Column> =
            self.columns.iter().filter(|column| column.kind != ColumnKind::RowNumber).collect();
        // Wide ones first: no bytes are lost between them.
        columns.sort_by_key(|column| std::cmp::Reverse(alignment(column.kind)));
        let mut lines: Vec<String> = columns
            .iter()
            .map(|column| {
                let null = if column.nullable { "" } else { " NOT NULL" };
                format!("{} {}{null}", column.name, postgres_type(column.kind))
            })
            .collect();
        lines.push(format!("UNIQUE ({})", self.unique.join(", ")));
        let room = if self.is_changed { " WITH (fillfactor = 60)" } else { "" };
        let mut statements =
            vec![format!("CREATE TABLE {} (\n  {}\n){room}", self.name, lines.join(",\n  "))];
        // What views write as bytes is packed already: PostgreSQL would gain little by packing it again, and unpack it with
        // every read.
        let bytes = self.columns.iter().filter(|column| column.kind == ColumnKind::Bytes);
        statements.extend(bytes.map(|column| {
            format!("ALTER TABLE {} ALTER COLUMN {} SET STORAGE EXTERNAL", self.name, column.name)
        }));
        statements.extend(self.index_ddl());
        statements
    }
}

/// The type of a column, and of the elements of an array that brings its values.
pub(super) fn postgres_type(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::RowId => "integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        ColumnKind::RowNumber | ColumnKind::Integer => "bigint",
        ColumnKind::DictionaryId => "integer",
        ColumnKind::SmallInteger => "smallint",
        ColumnKind::Timestamp => "timestamptz",
        ColumnKind::Text => "text COLLATE \"C\"",
        ColumnKind::Uuid => "uuid",
        ColumnKind::Address => "inet",
        ColumnKind::Bytes => "bytea",
    }
}

fn alignment(kind: ColumnKind) -> u8 {
    match kind {
        ColumnKind::RowNumber | ColumnKind::Integer | ColumnKind::Timestamp => 8,
        ColumnKind::RowId | ColumnKind::DictionaryId => 4,
        ColumnKind::SmallInteger => 2,
        ColumnKind::Uuid => 1,
        ColumnKind::Text | ColumnKind::Address | ColumnKind::Bytes => 0,
    }
}
