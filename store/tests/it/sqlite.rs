//! What is the embedded engine's own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use annals_store::sqlite::SqliteViewStore;
use annals_store::{StoreError, ViewStore};
use sqlx::{ConnectOptions, Connection};

use crate::engine::TABLES;

struct Fresh {
    store: SqliteViewStore,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

async fn fresh() -> Fresh {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("view.db");
    Fresh { store: SqliteViewStore::open(&path, &TABLES).await.unwrap(), path, _folder: folder }
}

#[tokio::test]
async fn a_file_is_private_and_opened_again_as_it_was() {
    let fresh = fresh().await;
    fresh.store.bind_incarnation("topic", uuid::Uuid::from_u128(7)).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&fresh.path), 0o600);
    assert_eq!(mode(&fresh.path.with_extension("db-wal")), 0o600);
    fresh.store.close().await;
    let again = SqliteViewStore::open(&fresh.path, &TABLES).await.unwrap();
    assert_eq!(again.incarnations().await.unwrap(), [("topic".to_owned(), uuid::Uuid::from_u128(7))]);
}

#[tokio::test]
async fn a_newer_layout_and_a_file_that_is_no_database_are_named() {
    let fresh = fresh().await;
    fresh.store.close().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&fresh.path);
    let mut connection = options.connect().await.unwrap();
    sqlx::query("PRAGMA user_version = 99").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let error = SqliteViewStore::open(&fresh.path, &TABLES).await.err().unwrap();
    assert!(matches!(&error, StoreError::NewerVersion(place) if *place == (&fresh.path).into()), "{error}");
    let text = fresh.path.with_extension("txt");
    std::fs::write(&text, "this is not a database, only a text that is longer than a header").unwrap();
    let error = SqliteViewStore::open(&text, &TABLES).await.err().unwrap();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
}

/// SQLite's locks are POSIX locks: a second opening in this process must not drop those of the first, or another
/// process could remove the write-ahead log under it.
#[tokio::test]
async fn opening_a_file_again_keeps_the_locks_of_the_first_opening() {
    use std::os::unix::fs::MetadataExt;
    let fresh = fresh().await;
    let readers = SqliteViewStore::open_readers(&fresh.path, 1).await.unwrap();
    let inode = std::fs::metadata(&fresh.path).unwrap().ino();
    let locked = || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let (own, file) = (format!(" {} ", std::process::id()), format!(":{inode} "));
        locks.lines().filter(|lock| lock.contains(&own) && lock.contains(&file)).count()
    };
    assert!(locked() > 0, "an open database is locked");
    SqliteViewStore::open(&fresh.path, &TABLES).await.unwrap();
    assert!(locked() > 0, "and stays so");
    readers.close().await;
}
