//! The embedded engine: the contract, and what is its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_bus::{Bus, BusError, Delivery, EmbeddedBus, Partition, ReadLimit};
use annals_store::{DataDir, StoreError};
use sqlx::{ConnectOptions, Connection};

use crate::contract::{self, Log};
use crate::{consumer, record, records};

const TOPICS: [(&str, u32); 2] = [("alpha", 3), ("beta", 1)];

async fn fresh() -> Log {
    let keep = tempfile::tempdir().unwrap();
    let directory = DataDir::create(keep.path()).unwrap();
    Log { bus: Arc::new(EmbeddedBus::open(&directory, &TOPICS).await.unwrap()), _keep: Box::new(keep) }
}

contract::suite!(fresh);

async fn sql(directory: &DataDir, statement: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.log_db());
    let mut connection = options.connect().await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_log_is_the_same_after_it_was_closed() {
    let keep = tempfile::tempdir().unwrap();
    let directory = DataDir::create(keep.path()).unwrap();
    let bus = EmbeddedBus::open(&directory, &TOPICS).await.unwrap();
    let incarnation = bus.incarnation("beta").await.unwrap();
    bus.append("beta", vec![record("k", "x")]).await.unwrap();
    bus.close().await;
    assert!(matches!(bus.append("beta", vec![record("k", "x")]).await, Err(BusError::Closed)));
    let bus = EmbeddedBus::open(&directory, &TOPICS).await.unwrap();
    assert_eq!(bus.incarnation("beta").await.unwrap(), incarnation);
    assert_eq!(bus.append("beta", vec![record("k", "y")]).await.unwrap()[0].offset, 1);
}

#[tokio::test]
async fn two_engines_on_one_file_append_and_see_each_other_within_100_ms() {
    let keep = tempfile::tempdir().unwrap();
    let directory = DataDir::create(keep.path()).unwrap();
    let (one, two) =
        tokio::join!(EmbeddedBus::open(&directory, &TOPICS), EmbeddedBus::open(&directory, &TOPICS));
    let (one, two) = (one.unwrap(), two.unwrap());
    let mut reader = consumer(&one, &["beta"], Vec::new()).await;
    assert!(matches!(reader.next().await.unwrap(), Delivery::Assigned(_)));
    let mut slowest = Duration::ZERO;
    for n in 0..20_u8 {
        let offset = two.append("beta", vec![record("k", vec![n])]).await.unwrap()[0].offset;
        let acknowledged = Instant::now();
        let seen = records(&mut *reader).await;
        slowest = slowest.max(acknowledged.elapsed());
        assert_eq!((seen[0].records[0].offset, seen[0].records[0].value[0]), (offset, n));
        one.append("alpha", vec![record("k", "other")]).await.unwrap();
    }
    assert!(slowest < Duration::from_millis(100), "seen after {slowest:?}");
}

#[tokio::test]
async fn a_truncated_log_and_a_damaged_batch_are_named() {
    let keep = tempfile::tempdir().unwrap();
    let directory = DataDir::create(keep.path()).unwrap();
    let bus = EmbeddedBus::open(&directory, &TOPICS).await.unwrap();
    let partition = Partition::new("beta", 0);
    for n in 0..3_u8 {
        bus.append("beta", vec![record("k", vec![n; 10])]).await.unwrap();
    }
    sql(&directory, "UPDATE batches SET body = CAST(substr(body, 1, length(body) - 1) || x'07' AS BLOB) WHERE id % 1099511627776 = 1")
        .await;
    let error = bus.read(&partition, 0, ReadLimit::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "the log is damaged at offset 1 of `beta/0`: the checksum does not match");
    sql(&directory, "DELETE FROM batches").await;
    sql(&directory, "UPDATE partitions SET next_offset = 0").await;
    let error = bus.read(&partition, 2, ReadLimit::default()).await.unwrap_err();
    assert!(error.to_string().contains("truncated or created again"), "{error}");
}

#[tokio::test]
async fn another_partition_count_and_a_newer_file_are_refused() {
    let keep = tempfile::tempdir().unwrap();
    let directory = DataDir::create(keep.path()).unwrap();
    EmbeddedBus::open(&directory, &TOPICS).await.unwrap().close().await;
    let error = EmbeddedBus::open(&directory, &[("alpha", 4)]).await.err().unwrap();
    assert!(error.to_string().contains("topic `alpha` has 3 partitions, not 4"), "{error}");
    sql(&directory, "PRAGMA user_version = 2").await;
    let error = EmbeddedBus::open(&directory, &TOPICS).await.err().unwrap();
    assert!(matches!(error, BusError::Store(StoreError::NewerVersion(_))), "{error}");
}

#[tokio::test]
async fn nothing_is_acknowledged_into_a_file_that_was_removed() {
    let keep = tempfile::tempdir().unwrap();
    let directory = DataDir::create(keep.path()).unwrap();
    let bus = EmbeddedBus::open(&directory, &TOPICS).await.unwrap();
    bus.append("beta", vec![record("k", "x")]).await.unwrap();
    std::fs::remove_file(directory.log_db()).unwrap();
    assert!(matches!(bus.append("beta", vec![record("k", "y")]).await, Err(BusError::Replaced(_))));
    EmbeddedBus::open(&directory, &TOPICS).await.unwrap();
    assert!(matches!(bus.append("beta", vec![record("k", "y")]).await, Err(BusError::Replaced(_))));
}
