//! One generation of one view in its own schema.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::postgres::PgPool;
use sqlx::{Postgres, Transaction};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{answered, close, write};
use crate::dictionary::{Cache, Key};
use crate::error::Context;
use crate::sql::{Connection, Pool};
use crate::table::{OnConflict, Rows, Table};
use crate::view_store::{
    Advance, DeadLetter, StoredPosition, ViewStore, ViewTransaction, advance, keep_dead_letters,
    stored_dead_letters, stored_incarnations, stored_positions,
};
use crate::{Place, Result, StoreError};

/// Transactions of one projector at once: the indexes are the cost of a row, and each connection of the server keeps
/// them with one processor.
pub(super) const LANES: usize = 2;

/// Connections of one generation's projector: one per lane, one for a fence, and one for what stands beside
/// transactions (dictionaries), which those that are under way wait for.
pub(super) const CONNECTIONS: u32 = LANES as u32 + 2;

/// How long a fence may stand between two statements: a rebuild folds the rest of the log meanwhile.
const FENCE_IDLE: &str = "SET LOCAL idle_in_transaction_session_timeout = '10min'";

/// How a batch begins. A view is a cache: after a crash of the server, its rows and positions go back together.
const BEGIN: &str = "BEGIN; SET LOCAL synchronous_commit = off";

/// One generation of one view in its own schema.
pub struct PostgresViewStore {
    pool: PgPool,
    place: Place,
    caches: Mutex<HashMap<&'static str, Cache>>,
}

impl PostgresViewStore {
    pub(super) fn new(pool: PgPool, place: Place) -> Self {
        Self { pool, place, caches: Mutex::default() }
    }

    async fn transaction(&self) -> Result<PostgresViewTransaction> {
        let tx = answered(self.pool.begin_with(BEGIN)).await.during(&self.place, "begin a batch")?;
        Ok(PostgresViewTransaction { place: self.place.clone(), tx })
    }
}

#[async_trait]
impl ViewStore for PostgresViewStore {
    async fn positions(&self) -> Result<Vec<StoredPosition>> {
        stored_positions(&Pool::Postgres(self.pool.clone()), &self.place).await
    }

    async fn incarnations(&self) -> Result<Vec<(String, Uuid)>> {
        stored_incarnations(&Pool::Postgres(self.pool.clone()), &self.place).await
    }

    async fn bind_incarnation(&self, topic: &str, incarnation: Uuid) -> Result<()> {
        let mark = sqlx::query(
            "INSERT INTO marks (key, value) VALUES ('incarnation:' || $1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(topic)
        .bind(incarnation.as_bytes().as_slice());
        answered(mark.execute(&self.pool)).await.during(&self.place, "bind the incarnation")?;
        Ok(())
    }

    async fn begin(&self) -> Result<Box<dyn ViewTransaction>> {
        Ok(Box::new(self.transaction().await?))
    }

    async fn fence(&self) -> Result<Box<dyn ViewTransaction>> {
        let mut fence = self.transaction().await?;
        // Conflicts with every write of a position, not with reads.
        for statement in [FENCE_IDLE, "LOCK TABLE positions IN EXCLUSIVE MODE"] {
            answered(sqlx::query(statement).execute(&mut *fence.tx))
                .await
                .during(&self.place, "keep writers out")?;
        }
        Ok(Box::new(fence))
    }

    fn lanes(&self) -> usize {
        LANES
    }

    async fn resolve(&self, dictionary: &'static Table, keys: &[Key]) -> Result<Vec<i64>> {
        let mut caches = self.caches.lock().await;
        let cache = caches.entry(dictionary.name).or_default();
        let unknown = cache.unknown(keys);
        let mut found: HashMap<Key, i64> = HashMap::new();
        if !unknown.is_empty() {
            answered(write::dictionary_ids(&self.pool, dictionary, &unknown, &mut found))
                .await
                .during(&self.place, "fill a dictionary")?;
        }
        let ids = keys
            .iter()
            .map(|key| found.get(key).copied().or_else(|| cache.get(key)))
            .collect::<Option<Vec<i64>>>()
            .ok_or_else(|| StoreError::Damaged(self.place.clone()))?;
        for (key, id) in found {
            cache.insert(key, id);
        }
        Ok(ids)
    }

    async fn dead_letters(&self, limit: u32) -> Result<Vec<DeadLetter>> {
        stored_dead_letters(&Pool::Postgres(self.pool.clone()), &self.place, limit).await
    }

    async fn dead_letter_count(&self) -> Result<u64> {
        let count = sqlx::query_scalar("SELECT count(*) FROM dead_letters");
        let count: i64 =
            answered(count.fetch_one(&self.pool)).await.during(&self.place, "count dead letters")?;
        Ok(count.unsigned_abs())
    }

    async fn settle(&self) -> Result<()> {
        self.caches.lock().await.values_mut().for_each(Cache::clear);
        Ok(())
    }

    async fn close(&self) {
        close(&self.pool).await;
    }
}

struct PostgresViewTransaction {
    place: Place,
    tx: Transaction<'static, Postgres>,
}

#[async_trait]
impl ViewTransaction for PostgresViewTransaction {
    async fn advance(&mut self, moves: &[Advance]) -> Result<()> {
        advance(Connection::Postgres(&mut self.tx), &self.place, moves).await
    }

    fn connection(&mut self) -> Connection<'_> {
        Connection::Postgres(&mut self.tx)
    }

    async fn write(&mut self, table: &'static Table, rows: &Rows, on_conflict: OnConflict) -> Result<u64> {
        if rows.is_empty() {
            return Ok(0);
        }
        answered(write::rows(&mut self.tx, table, rows, on_conflict)).await.during(&self.place, "write rows")
    }

    async fn write_dead_letters(&mut self, letters: &[DeadLetter]) -> Result<()> {
        keep_dead_letters(Connection::Postgres(&mut self.tx), &self.place, letters).await
    }

    async fn retire(&mut self) -> Result<()> {
        let mark =
            sqlx::query("INSERT INTO marks (key, value) VALUES ('retired', '\\x01') ON CONFLICT DO NOTHING");
        answered(mark.execute(&mut *self.tx)).await.during(&self.place, "retire it")?;
        Ok(())
    }

    async fn positions(&mut self) -> Result<Vec<StoredPosition>> {
        stored_positions(Connection::Postgres(&mut self.tx), &self.place).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let Self { place, tx } = *self;
        answered(tx.commit()).await.during(&place, "commit a batch")
    }
}
