//! The group's callbacks. They only write down what is to be done: the thread that polls does it, outside of them, so
//! that it can go on polling while the owner finishes its work.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};

use super::health::{Events, Health, lock};

/// What the group decided.
pub(super) enum Rebalance {
    /// These partitions are ours, as soon as we say where we start.
    Assign(TopicPartitionList),
    /// These partitions go elsewhere, as soon as we let them.
    Revoke(TopicPartitionList),
}

pub(super) struct GroupContext {
    events: Events,
    decisions: Mutex<VecDeque<Rebalance>>,
    /// The consumer is being closed: nobody asks for decisions any more.
    closing: AtomicBool,
}

impl GroupContext {
    pub(super) fn new(health: Arc<Health>) -> Self {
        Self { events: Events(health), decisions: Mutex::default(), closing: AtomicBool::new(false) }
    }

    pub(super) fn next(&self) -> Option<Rebalance> {
        lock(&self.decisions).pop_front()
    }

    /// Lets everything go from now on, at once.
    pub(super) fn begin_closing(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        decision: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assigns = decision == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::SeqCst) {
            let nothing = TopicPartitionList::new();
            let result = if assigns {
                consumer.incremental_assign(&nothing)
            } else {
                consumer.incremental_unassign(partitions)
            };
            if let Err(error) = result {
                // Without an answer librdkafka would wait for one for ever.
                tracing::debug!(%error, "leaving a group");
                let _ = consumer.unassign();
            }
            return;
        }
        let partitions = partitions.clone();
        lock(&self.decisions).push_back(if assigns {
            Rebalance::Assign(partitions)
        } else {
            Rebalance::Revoke(partitions)
        });
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "offsets were not committed; only lag tools miss them");
        }
    }
}
