//! One generation of one view in its own schema.

use std::io::ErrorKind;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{answered, close, write};
use crate::dictionary::{Caches, Key};
use crate::error::Context;
use crate::sql::{Connection, Pool};
use crate::table::{OnConflict, Rows, Table};
use crate::view_store::{
    Advance, DeadLetter, StoredPosition, ViewStore, ViewTransaction, advance, are_aside, keep_dead_letters,
    put_aside, stored_dead_letters, stored_incarnations, stored_positions, take_aside,
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

/// How long making indexes may take: a server that is gone without a word is noticed then. Hundreds of millions of rows
/// need less.
const INDEXES_TIMEOUT: Duration = Duration::from_secs(6 * 3600);

/// How indexes are made: without a limit for one, sorted in memory where it is enough for them, after those who do the same.
const MAKING_INDEXES: &str =
    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL maintenance_work_mem = '256MB'";

/// How a batch begins. A view is a cache: after a crash of the server, its rows and positions go back together.
const BEGIN: &str = "BEGIN; SET LOCAL synchronous_commit = off";

/// One generation of one view in its own schema.
pub struct PostgresViewStore {
    pool: PgPool,
    place: Place,
    tables: Vec<&'static Table>,
    caches: Mutex<Caches>,
}

impl PostgresViewStore {
    pub(super) fn new(pool: PgPool, place: Place, tables: &[&'static Table]) -> Self {
        Self { pool, place, tables: tables.to_vec(), caches: Mutex::default() }
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

    async fn resolve_all(&self, keys: &[(&'static Table, &[Key])]) -> Result<Vec<Vec<i64>>> {
        let mut caches = self.caches.lock().await;
        let mut wanted = caches.look_up(keys);
        answered(write::dictionary_ids(&self.pool, &mut wanted))
            .await
            .during(&self.place, "fill a dictionary")?;
        caches.complete(wanted).ok_or_else(|| StoreError::Damaged(self.place.clone()))
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

    async fn put_indexes_aside(&self) -> Result<bool> {
        let mut fence = self.fence().await?;
        let aside = put_aside(fence.connection(), &self.place, &self.tables).await?;
        fence.commit().await?;
        Ok(aside)
    }

    fn answers_without_indexes(&self) -> bool {
        true
    }

    async fn are_indexes_aside(&self) -> Result<bool> {
        are_aside(&Pool::Postgres(self.pool.clone()), &self.place).await
    }

    async fn make_indexes(&self) -> Result<()> {
        const DOING: &str = "make its indexes";
        let mut tx = self.transaction().await?;
        let work = async {
            sqlx::raw_sql(MAKING_INDEXES).execute(&mut *tx.tx).await.during(&self.place, DOING)?;
            if !take_aside(Connection::Postgres(&mut tx.tx), &self.place).await? {
                return Ok(());
            }
            // The planner would only learn within minutes what is in the tables.
            let analyze = self.tables.iter().map(|table| format!("ANALYZE {}", table.name));
            for statement in self.tables.iter().flat_map(|table| table.index_ddl()).chain(analyze) {
                sqlx::query(AssertSqlSafe(statement))
                    .execute(&mut *tx.tx)
                    .await
                    .during(&self.place, DOING)?;
            }
            tx.tx.commit().await.during(&self.place, DOING)
        };
        let late = |_| StoreError::database(&self.place, DOING, sqlx::Error::Io(ErrorKind::TimedOut.into()));
        tokio::time::timeout(INDEXES_TIMEOUT, work).await.map_err(late)?
    }

    async fn settle(&self) -> Result<()> {
        self.caches.lock().await.clear();
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

    async fn write_new(
        &mut self,
        table: &'static Table,
        rows: &Rows,
        numbers: [&'static str; 2],
    ) -> Result<Vec<(i64, i64)>> {
        answered(write::new_rows(&mut self.tx, table, rows, numbers)).await.during(&self.place, "write rows")
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
