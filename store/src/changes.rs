//! Seeing what other processes change in the control tables: by looking at SQLite's change counter, or by being told by
//! PostgreSQL (`NOTIFY`, sent by triggers on the tables that somebody waits for).

use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::SqlitePool;
use tokio::sync::watch;

use crate::error::Context;
use crate::sql::Pool;
use crate::{ControlDb, Place, Result, sqlite};

/// How often the embedded control database is looked at.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The longest that a change can stay unseen when the server's message is lost with its connection.
#[cfg(feature = "postgres")]
const LOOK_ANYWAY: Duration = Duration::from_secs(5);

/// Channel of the triggers' messages.
#[cfg(feature = "postgres")]
const CHANNEL: &str = "annals_control";

/// A receiver that changes with the tables. The task behind it ends when the control database is closed.
pub(crate) async fn watch(control: &ControlDb) -> Result<watch::Receiver<u64>> {
    match control.pool() {
        Pool::Sqlite(pool) => poll(pool, control.place()).await,
        #[cfg(feature = "postgres")]
        Pool::Postgres(pool) => listen(pool, control.place()).await,
    }
}

async fn poll(pool: &SqlitePool, place: &Place) -> Result<watch::Receiver<u64>> {
    let options = (*pool.connect_options()).clone().pragma("query_only", "ON");
    let mut connection = options.connect().await.during(place, "watch it")?;
    let (sender, receiver) = watch::channel(0);
    let (pool, place) = (pool.clone(), place.clone());
    tokio::spawn(async move {
        let mut seen = None;
        while !pool.is_closed() && !sender.is_closed() {
            match sqlite::data_version(&mut connection, &place).await {
                Ok(version) if seen != Some(version) => {
                    seen = Some(version);
                    sender.send_modify(|count| *count += 1);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "cannot look for changes of the control tables"),
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    });
    Ok(receiver)
}

#[cfg(feature = "postgres")]
async fn listen(pool: &sqlx::postgres::PgPool, place: &Place) -> Result<watch::Receiver<u64>> {
    use sqlx::postgres::PgListener;
    let mut listener = PgListener::connect_with(pool).await.during(place, "listen for changes")?;
    listener.listen(CHANNEL).await.during(place, "listen for changes")?;
    let (sender, receiver) = watch::channel(0);
    // What changed before somebody listened: whoever asks for a receiver may have read the tables before that.
    sender.send_modify(|count| *count += 1);
    tokio::spawn(async move {
        let mut silence = tokio::time::interval(LOOK_ANYWAY);
        loop {
            let told = {
                // Not cut off by the clock: a reconnection that is cut off half way would leave a connection that
                // listens for nobody.
                let mut message = std::pin::pin!(listener.try_recv());
                loop {
                    tokio::select! {
                        told = &mut message => break told,
                        _ = silence.tick() => sender.send_modify(|count| *count += 1),
                        () = sender.closed() => return,
                    }
                }
            };
            silence.reset();
            match told {
                // A message, or a new connection after a lost one.
                Ok(_) => {}
                Err(sqlx::Error::PoolClosed) => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot listen for changes of the control tables");
                    tokio::time::sleep(POLL_INTERVAL * 4).await;
                }
            }
            while listener.next_buffered().is_some() {}
            sender.send_modify(|count| *count += 1);
        }
    });
    Ok(receiver)
}
