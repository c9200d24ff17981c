//! One batch into one generation of one view: decode, fold, and write with the positions in one transaction.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use annals_bus::partitioner::partition_of;
use annals_bus::{PartitionRecords, StoredRecord};
use annals_schemas::codec::{self, NoRegistry};
use annals_schemas::topics;
use annals_store::{Advance, DeadLetter, Partition, ViewStore, crash};
use annals_views::{LogEvent, View};

use crate::error::chain;
use crate::{ConsumerError, Result};

/// Records that are decoded without leaving the task; more of them would hold up others.
const DECODED_IN_PLACE: usize = 64;

/// A batch, decoded and folded as far as no state is needed: ready to be written.
pub struct Batch<V: View> {
    moves: Vec<Advance>,
    folded: V::Folded,
    dead_letters: Vec<DeadLetter>,
    records: usize,
}

/// Decodes and folds records. A record that cannot be decoded becomes a dead letter; its neighbours do not notice.
///
/// # Errors
/// [`ConsumerError::Task`] when the work ended by a panic.
pub async fn decode<V: View>(parts: Vec<PartitionRecords>) -> Result<Batch<V>> {
    let records: usize = parts.iter().map(|part| part.records.len()).sum();
    let work = move || {
        let Decoded { moves, events, dead_letters } = decode_now(parts);
        Batch { moves, folded: V::fold(events), dead_letters, records }
    };
    if records <= DECODED_IN_PLACE {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| ConsumerError::Task(V::NAME))
}

#[derive(Default)]
struct Decoded {
    moves: Vec<Advance>,
    events: Vec<LogEvent>,
    dead_letters: Vec<DeadLetter>,
}

fn decode_now(parts: Vec<PartitionRecords>) -> Decoded {
    let mut decoded = Decoded::default();
    for part in parts {
        let to = part.next_offset();
        let partitions = topics::find(&part.partition.topic).map(|topic| topic.partitions);
        let mut last_event_id = None;
        for record in part.records {
            match decode_record(&part.partition, partitions, record) {
                Ok(event) => {
                    last_event_id = Some(event.event.meta().event_id);
                    decoded.events.push(event);
                }
                Err(letter) => {
                    last_event_id = None;
                    decoded.dead_letters.push(letter);
                }
            }
        }
        decoded.moves.push(Advance { partition: part.partition, from: part.from, to, last_event_id });
    }
    decoded
}

fn decode_record(
    partition: &Partition,
    partitions: Option<u32>,
    record: StoredRecord,
) -> Result<LogEvent, DeadLetter> {
    match codec::decode(&record.value, &NoRegistry) {
        Ok(event) => {
            // A foreign producer may have placed it otherwise. It counts all the same, and the row says so.
            let misplaced = partitions
                .is_some_and(|count| partition_of(event.key().as_bytes(), count) != partition.number);
            Ok(LogEvent {
                partition: partition.clone(),
                offset: record.offset,
                recorded_at: record.recorded_at,
                misplaced,
                event,
            })
        }
        Err(error) => Err(DeadLetter {
            partition: partition.clone(),
            offset: record.offset,
            recorded_at: record.recorded_at,
            reason: chain(&error),
            bytes: record.value.to_vec(),
        }),
    }
}

/// Folds batches into one generation.
pub struct Folder<V> {
    store: Arc<dyn ViewStore>,
    view: PhantomData<fn() -> V>,
}

impl<V: View> Folder<V> {
    /// A folder of this generation.
    #[must_use]
    pub fn new(store: Arc<dyn ViewStore>) -> Self {
        Self { store, view: PhantomData }
    }

    /// The generation.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ViewStore> {
        &self.store
    }

    /// Folds one batch. All of it is in the view when this returns, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Fenced`](annals_store::StoreError::Fenced) when another writer came first; anything else that
    /// the database says.
    pub async fn fold(&self, batch: Batch<V>) -> Result<()> {
        let started = Instant::now();
        let letters = batch.dead_letters;
        let prepared = V::prepare(&*self.store, batch.folded).await?;
        crash::point("projector:before-transaction");
        let mut tx = self.store.begin().await?;
        tx.advance(&batch.moves).await?;
        crash::point("projector:after-positions");
        V::apply(&mut *tx, prepared).await?;
        tx.write_dead_letters(&letters).await?;
        crash::point("projector:before-commit");
        tx.commit().await?;
        crash::point("projector:after-commit");
        for letter in &letters {
            tracing::error!(view = V::NAME, position = %letter.partition, offset = letter.offset, reason = letter.reason, "a record cannot be decoded");
        }
        metrics::counter!("annals_projected_records_total", "view" => V::NAME)
            .increment(batch.records as u64);
        metrics::histogram!("annals_batch_seconds", "view" => V::NAME)
            .record(started.elapsed().as_secs_f64());
        Ok(())
    }
}
