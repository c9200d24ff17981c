//! Events of which there may be too many: failed sign-ins and reads of the audit log. The log of access must not drown
//! the log, and no attempt may be hidden by another.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Mutex;

use annals_schemas::ids::derived;
use annals_schemas::{Actor, ActorKind, Event};
use uuid::Uuid;

use crate::access::{Access, lock, to_the_end};
use crate::audit::{self, Failure, Read};
use crate::error::AccessError;
use crate::principal::{Client, Principal};
use crate::throttle::{Rule, Tally, Throttle};

/// Failed sign-ins of one account and address that are recorded one by one in a minute.
const FAILURES_AT_ONCE: u32 = 20;

/// Keys of each throttle that are kept at once.
const MAX_KEYS: usize = 10_000;

/// Whose failed sign-ins are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FailureKey {
    /// An account, from one address.
    Account(Uuid, Option<IpAddr>),
    /// A name that nobody has, from one address.
    Name(Uuid, Option<IpAddr>),
    /// Whoever came while too many others waited.
    Busy,
    /// Names that nobody has, beyond [`MAX_KEYS`].
    OtherNames,
}

/// Whose reads are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReadKey {
    account: Uuid,
    dialect: &'static str,
}

/// What this process counts and has not written yet.
pub(crate) struct Counters {
    /// Known accounts: without an overflow key, so that nobody can hide guesses at an account behind a flood of names.
    accounts: Mutex<Throttle<FailureKey, Failure>>,
    strangers: Mutex<Throttle<FailureKey, Failure>>,
    reads: Mutex<Throttle<ReadKey, Read>>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let failures = |overflow| Rule {
            at_once: FAILURES_AT_ONCE,
            count_takes_a_place: false,
            max_keys: MAX_KEYS,
            overflow,
        };
        let reads = Rule { at_once: 1, count_takes_a_place: true, max_keys: MAX_KEYS, overflow: None };
        Self {
            accounts: Mutex::new(Throttle::new(failures(None))),
            strangers: Mutex::new(Throttle::new(failures(Some(FailureKey::OtherNames)))),
            reads: Mutex::new(Throttle::new(reads)),
        }
    }

    fn of(&self, key: &FailureKey) -> &Mutex<Throttle<FailureKey, Failure>> {
        match key {
            FailureKey::Account(..) => &self.accounts,
            FailureKey::Name(..) | FailureKey::Busy | FailureKey::OtherNames => &self.strangers,
        }
    }
}

/// What is to be written now.
#[derive(Default)]
struct Due {
    failures: Vec<Tally<FailureKey, Failure>>,
    reads: Vec<Tally<ReadKey, Read>>,
}

impl Access {
    /// Records a read of the audit log: at once when it is the principal's first in this dialect for a minute, else
    /// within a count, at most one event a minute.
    ///
    /// # Errors
    /// When the database fails. The read is part of a later count then.
    pub async fn record_read(
        &self,
        principal: &Principal,
        dialect: &'static str,
        client: &Client,
    ) -> Result<(), AccessError> {
        let key = ReadKey { account: principal.account, dialect };
        let read = Read { principal: principal.clone(), client: client.clone(), dialect };
        let reads = lock(&self.counters().reads).hit(key, read, self.clock().now());
        self.write_due(Due { reads, ..Due::default() }).await
    }

    /// Writes the counted events whose minute is over; with `everything` also the others. To be called every few
    /// seconds, and with `everything` before the process ends: what is counted and not written is lost with it.
    ///
    /// # Errors
    /// When the database fails. What could not be written is part of a later count.
    pub async fn flush(&self, everything: bool) -> Result<(), AccessError> {
        let now = self.clock().now();
        let counters = self.counters();
        let mut due = Due::default();
        due.failures.extend(lock(&counters.accounts).drain(now, everything));
        due.failures.extend(lock(&counters.strangers).drain(now, everything));
        due.reads.extend(lock(&counters.reads).drain(now, everything));
        self.write_due(due).await
    }

    /// Records a failed sign-in, or counts it.
    pub(crate) async fn record_failure(&self, key: FailureKey, failure: Failure) -> Result<(), AccessError> {
        let failures = lock(self.counters().of(&key)).hit(key, failure, self.clock().now());
        self.write_due(Due { failures, ..Due::default() }).await
    }

    async fn write_due(&self, due: Due) -> Result<(), AccessError> {
        if due.failures.is_empty() && due.reads.is_empty() {
            return Ok(());
        }
        // To the end: a tally that is neither written nor put back would be lost.
        let access = self.clone();
        to_the_end(async move {
            let result = access.write_events(&due).await;
            if result.is_err() {
                access.put_back(due);
            }
            result
        })
        .await
    }

    async fn write_events(&self, due: &Due) -> Result<(), AccessError> {
        let mut change = self.begin_shared().await?;
        for tally in &due.failures {
            change.tell(&failure_event(tally)).await?;
        }
        for tally in &due.reads {
            change.tell(&audit::audit_log_read(&tally.details, tally.count, tally.last)).await?;
        }
        change.commit().await
    }

    fn put_back(&self, due: Due) {
        for tally in due.failures {
            lock(self.counters().of(&tally.key)).put_back(tally);
        }
        for tally in due.reads {
            lock(&self.counters().reads).put_back(tally);
        }
    }
}

fn failure_event(tally: &Tally<FailureKey, Failure>) -> Event {
    let kind = match tally.key {
        FailureKey::Busy => "busy",
        FailureKey::OtherNames => "other-names",
        FailureKey::Account(..) | FailureKey::Name(..) => "",
    };
    if kind.is_empty() || tally.count == 1 {
        return audit::login_failed(&tally.details, tally.count, tally.last);
    }
    // The count is that of many names and addresses: the last one must not stand for them.
    let crowd = Failure {
        actor: Actor::new(ActorKind::Unknown, derived(kind, &[])),
        account: None,
        client: Client::local(),
        ..tally.details.clone()
    };
    audit::login_failed(&crowd, tally.count, tally.last)
}
