//! Notes: small texts that are kept with the log. They came after the first release; an older annals does not look at
//! them, so the layout has no new version for their sake.

use std::path::Path;

use annals_store::error::Context;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::{FileId, Shared};
use crate::{BusError, Result};

pub(super) async fn lay_out(connection: &mut SqliteConnection, path: &Path) -> Result<()> {
    sqlx::query("CREATE TABLE IF NOT EXISTS notes (key TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT")
        .execute(connection)
        .await
        .during(path, "lay out the log")?;
    Ok(())
}

pub(super) async fn read(shared: &Shared, key: &str) -> Result<Option<String>> {
    let text = sqlx::query_scalar("SELECT text FROM notes WHERE key = ?")
        .bind(key)
        .fetch_optional(&shared.readers)
        .await
        .during(&shared.path, "read a note of the log")?;
    Ok(text)
}

pub(super) async fn write(
    shared: &Shared,
    options: &SqliteConnectOptions,
    key: &str,
    text: &str,
) -> Result<()> {
    const DOING: &str = "write a note of the log";
    let path = &shared.path;
    // Notes are rare: a connection of their own is cheaper than a second kind of work for the writer.
    let mut connection = options.clone().create_if_missing(false).connect().await.during(path, DOING)?;
    if FileId::of(path) != Some(shared.file) {
        return Err(BusError::Replaced(path.clone()));
    }
    sqlx::query(
        "INSERT INTO notes (key, text) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET text = excluded.text",
    )
    .bind(key)
    .bind(text)
    .execute(&mut connection)
    .await
    .during(path, DOING)?;
    connection.close().await.during(path, DOING)?;
    Ok(())
}
