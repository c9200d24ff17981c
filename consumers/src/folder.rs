//! One batch into one generation of one view: decode, fold, and write with the positions in one transaction.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use annals_bus::partitioner::partition_of;
use annals_bus::{PartitionRecords, StoredRecord};
use annals_schemas::registry::{self, KnownIds};
use annals_schemas::{Registry, cloudevents, codec, topics};
use annals_store::{Advance, DeadLetter, Partition, ViewStore, crash};
use annals_views::{LogEvent, View};

use crate::error::chain;
use crate::{ConsumerError, Result};

/// Records that are decoded without leaving the task; more of them would hold up others.
const DECODED_IN_PLACE: usize = 64;

/// Records from which on a transaction of their own pays.
const WORTH_A_LANE: usize = 1_000;

/// A batch, decoded and folded as far as no state is needed: ready to be written.
pub struct Batch<V: View> {
    moves: Vec<Advance>,
    folded: V::Folded,
    dead_letters: Vec<DeadLetter>,
    records: usize,
}

impl<V: View> Batch<V> {
    /// How many records it has.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records as u64
    }

    /// How far each partition is folded once this batch is.
    #[must_use]
    pub fn reaches(&self) -> Vec<(Partition, u64)> {
        self.moves.iter().map(|advance| (advance.partition.clone(), advance.to)).collect()
    }
}

/// Decodes and folds records. A record that cannot be decoded becomes a dead letter; its neighbours do not notice.
///
/// # Errors
/// [`ConsumerError::Registry`] when the registry must be asked and does not answer; [`ConsumerError::Task`] when the
/// work ended by a panic.
pub async fn decode<V: View>(parts: Vec<PartitionRecords>, registry: Option<&Registry>) -> Result<Batch<V>> {
    let values = parts.iter().flat_map(|part| &part.records).map(|record| &*record.value);
    let ids = registry::known_ids(registry, values).await?;
    let records: usize = parts.iter().map(|part| part.records.len()).sum();
    let work = move || {
        let Decoded { moves, events, dead_letters } = decode_now(parts, &ids);
        Batch { moves, folded: V::fold(events), dead_letters, records }
    };
    if records <= DECODED_IN_PLACE {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| ConsumerError::Task(V::NAME))
}

/// Decodes records for several transactions at once: the partitions of a large delivery are shared out, a small one stays
/// whole, because each transaction costs the same few steps.
///
/// # Errors
/// As [`decode`].
pub async fn decode_in_lanes<V: View>(
    mut parts: Vec<PartitionRecords>,
    registry: Option<&Registry>,
    lanes: usize,
) -> Result<Vec<Batch<V>>> {
    let records: usize = parts.iter().map(|part| part.records.len()).sum();
    let lanes = lanes.min(parts.len()).min(1 + records / WORTH_A_LANE).max(1);
    let mut shares: Vec<Vec<PartitionRecords>> = (0..lanes).map(|_| Vec::new()).collect();
    // The largest first, each to the lane that has least.
    parts.sort_by_key(|part| std::cmp::Reverse(part.records.len()));
    for part in parts {
        let size = |share: &Vec<PartitionRecords>| share.iter().map(|p| p.records.len()).sum::<usize>();
        if let Some(share) = shares.iter_mut().min_by_key(|share| size(share)) {
            share.push(part);
        }
    }
    futures_util::future::try_join_all(shares.into_iter().map(|share| decode(share, registry))).await
}

#[derive(Default)]
struct Decoded {
    moves: Vec<Advance>,
    events: Vec<LogEvent>,
    dead_letters: Vec<DeadLetter>,
}

fn decode_now(parts: Vec<PartitionRecords>, ids: &KnownIds) -> Decoded {
    let mut decoded = Decoded::default();
    decoded.events.reserve(parts.iter().map(|part| part.records.len()).sum());
    for part in parts {
        let to = part.next_offset();
        let partitions = topics::find(&part.partition.topic).map(|topic| topic.partitions);
        let mut last_event_id = None;
        for record in part.records {
            match decode_record(&part.partition, partitions, record, ids) {
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
    ids: &KnownIds,
) -> Result<LogEvent, DeadLetter> {
    let ce_type =
        record.headers.iter().find(|(name, _)| name == cloudevents::TYPE).map(|(_, value)| &**value);
    match codec::decode_checked(&record.value, ce_type, ids) {
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

    /// Folds batches of different partitions, each in a transaction of its own, at once.
    ///
    /// # Errors
    /// As [`fold`](Self::fold); others of them may be in the view then.
    pub async fn fold_all(&self, batches: Vec<Batch<V>>) -> Result<()> {
        futures_util::future::try_join_all(batches.into_iter().map(|batch| self.fold(batch))).await?;
        Ok(())
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
