//! Reading the log from outside: with the library, and by the program's own dump.

use annals_bus::{Bus, ReadLimit};
use annals_schemas::codec::{self, NoRegistry};
use annals_schemas::{Event, TOPICS};
use serde_json::Value;
use uuid::Uuid;

use super::{Home, block_on};

/// A record of the log.
#[derive(Debug)]
pub struct LogRecord {
    /// TOPIC/PARTITION/OFFSET.
    pub place: String,
    pub value: Vec<u8>,
    /// The event, when it can be decoded.
    pub event: Option<Event>,
}

impl LogRecord {
    /// Id of the event.
    pub fn id(&self) -> Option<Uuid> {
        self.event.as_ref().map(|event| event.meta().event_id)
    }
}

/// Every record of the log.
pub fn read(home: &Home) -> Vec<LogRecord> {
    block_on(async {
        let bus = home.bus().await;
        let mut all = Vec::new();
        for topic in TOPICS {
            for (partition, end) in bus.end_positions(&[topic.name]).await.unwrap() {
                let mut next = 0;
                while next < end {
                    let records = bus.read(&partition, next, ReadLimit::default()).await.unwrap();
                    assert_eq!(records[0].offset, next, "the log has no gaps");
                    next = records.last().unwrap().offset + 1;
                    all.extend(records.into_iter().map(|record| LogRecord {
                        place: format!("{partition}/{}", record.offset),
                        event: codec::decode(&record.value, &NoRegistry).ok(),
                        value: record.value.to_vec(),
                    }));
                }
            }
        }
        bus.close().await;
        all
    })
}

/// Every record as `annals log dump` prints it.
#[track_caller]
pub fn dump(home: &Home) -> Vec<Value> {
    let printed = home.run(&["log", "dump"]).expect(0).stdout;
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether annals tells this event of itself. The invented fleet of the load has a source of its own.
pub fn is_own(event: &Event) -> bool {
    let source = &event.meta().source;
    source.starts_with("annals:") && source != "annals:fleet"
}
