//! The control database and the generations in it.

use annals_store::generations::{self, State};
use annals_store::{ControlDb, DataDir, StoreError};

async fn fresh() -> (ControlDb, DataDir, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let directory = DataDir::create(folder.path()).unwrap();
    (ControlDb::open(&directory).await.unwrap(), directory, folder)
}

#[tokio::test]
async fn several_processes_may_open_a_new_directory_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let directory = DataDir::create(folder.path()).unwrap();
    let (a, b, c) =
        tokio::join!(ControlDb::open(&directory), ControlDb::open(&directory), ControlDb::open(&directory));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let (control, directory, _folder) = fresh().await;
    sqlx::query("UPDATE _sqlx_migrations SET version = 99, checksum = x'00'")
        .execute(control.pool())
        .await
        .unwrap();
    control.close().await;
    let error = ControlDb::open(&directory).await.unwrap_err();
    assert!(matches!(error, StoreError::NewerVersion(_)), "{error}");
}

#[tokio::test]
async fn a_view_has_one_active_generation_through_every_switch() {
    let (control, _directory, _folder) = fresh().await;
    let first = generations::active_or_first(&control, "view", 1).await.unwrap();
    assert_eq!((first.number, first.version), (1, 1));
    assert_eq!(
        generations::active_or_first(&control, "view", 2).await.unwrap(),
        first,
        "it is there already"
    );
    let left = generations::begin_building(&control, "view", 2).await.unwrap();
    let new = generations::begin_building(&control, "view", 2).await.unwrap();
    assert_eq!((left.number, new.number), (2, 3), "one that was left is not taken up again");
    let mut tx = control.begin().await.unwrap();
    generations::switch(&mut tx, &control, "view", new.number).await.unwrap();
    drop(tx);
    assert_eq!(
        generations::find(&control, "view", State::Active).await.unwrap(),
        Some(first),
        "not committed"
    );
    let mut tx = control.begin().await.unwrap();
    generations::switch(&mut tx, &control, "view", new.number).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(generations::find(&control, "view", State::Active).await.unwrap(), Some(new));
    assert_eq!(generations::retired(&control, "view").await.unwrap(), [1, 2]);
    generations::forget(&control, "view", 1).await.unwrap();
    generations::forget(&control, "view", 3).await.unwrap();
    assert_eq!(generations::retired(&control, "view").await.unwrap(), [2]);
    assert_eq!(
        generations::find(&control, "view", State::Active).await.unwrap(),
        Some(new),
        "only retired ones go"
    );
}
