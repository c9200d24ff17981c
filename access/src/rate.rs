//! How much a customer may ask of an endpoint in a minute, over all processes that answer.
//!
//! The store knows how much of each minute's budget is given out. A process takes a block of it at a time, and needs to
//! ask again only when the block is used up; what is left of a block at the end of its minute is lost. So fewer requests
//! than allowed may get through when several processes answer, and never more. A minute is that of each process's own
//! clock: with clocks apart a process counts in a neighbouring minute, each of which has its limit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use annals_store::error::Context;
use annals_store::sql::sql_for;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::access::{Access, lock, to_the_end};
use crate::change::Change;
use crate::error::AccessError;

/// Length of a window.
const WINDOW_SECONDS: u32 = 60;

/// Blocks that a budget is given out in. A limit of less is given out one by one, and so exactly.
const BLOCKS: u32 = 20;

/// Windows that one process knows at once. Beyond it blocks are of one, which need not be known.
const MAX_WINDOWS: usize = 10_000;

/// How long a request waits for the store before it is let through.
const ASKED_FOR_AT_MOST: Duration = Duration::from_secs(2);

/// After the store could not be asked it is left alone for this time, so that few requests wait for it.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Windows are removed when they began this long ago: longer than clocks are apart.
const REMOVED_AFTER: TimeDelta = TimeDelta::minutes(10);

/// Windows that are removed at once at most: as many as a process can have added in a minute.
const MAX_REMOVED: u32 = 10_000;

/// Whether a request may be answered, and how much is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateDecision {
    /// Requests that are allowed in a window.
    pub limit: u32,
    /// What is left in this window, as far as this process knows: what other processes took since it last asked is not
    /// in it. Never more than it was before in the window.
    pub remaining: u32,
    /// Length of a window.
    pub window_seconds: u32,
    /// Whether this request is within the limit.
    pub allowed: bool,
}

/// Whose requests for what are counted together.
type Key = (Uuid, &'static str);

/// The budgets as one process knows them.
#[derive(Default)]
pub(crate) struct RateBudget {
    windows: Mutex<HashMap<Key, Arc<Window>>>,
    /// Until when the store is left alone.
    quiet_until: Mutex<Option<Instant>>,
    /// The window in which this process last removed old ones.
    removed_in: AtomicI64,
}

/// A minute of one customer and endpoint. Whoever asks the store holds the lock, so that one block is taken, not many.
struct Window {
    began: DateTime<Utc>,
    block: u32,
    budget: tokio::sync::Mutex<Budget>,
}

/// What a process knows of a budget. Pure.
struct Budget {
    limit: u32,
    /// What is left of the block.
    left: u32,
    /// What nobody had taken when the store was last asked.
    free: u32,
    /// What the client was told to be left.
    told: u32,
}

impl Budget {
    fn new(limit: u32) -> Self {
        Self { limit, left: 0, free: limit, told: limit }
    }

    /// Whether the store is to be asked before the next request.
    fn needs_block(&self) -> bool {
        self.left == 0 && self.free > 0
    }

    /// A block was taken. `taken` is what everybody took up to now, this block included. What of it lies beyond the limit
    /// does not count.
    fn add(&mut self, block: u32, taken: u64) {
        let limit = u64::from(self.limit);
        let added = u64::from(block).saturating_sub(taken.saturating_sub(limit));
        self.left = self.left.saturating_add(u32::try_from(added).unwrap_or(u32::MAX));
        self.free = u32::try_from(limit.saturating_sub(taken)).unwrap_or(u32::MAX);
    }

    /// A request within the block, or beyond the limit.
    fn take(&mut self) -> RateDecision {
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        self.told = self.told.min(self.left.saturating_add(self.free));
        self.decision(allowed)
    }

    /// A request that nobody could be asked about.
    fn let_through(&mut self) -> RateDecision {
        self.told = self.told.saturating_sub(1);
        self.decision(true)
    }

    fn decision(&self, allowed: bool) -> RateDecision {
        RateDecision { limit: self.limit, remaining: self.told, window_seconds: WINDOW_SECONDS, allowed }
    }
}

impl RateBudget {
    /// The window of a key at this time, and what it was before in it.
    fn window(&self, key: Key, limit: u32, now: DateTime<Utc>) -> Arc<Window> {
        let began = beginning(now);
        let mut windows = lock(&self.windows);
        if let Some(window) = windows.get(&key) {
            // One that looked at the clock a moment before the others belongs to their window.
            let next = began + TimeDelta::seconds(WINDOW_SECONDS.into());
            if window.began == began || window.began == next {
                return Arc::clone(window);
            }
        }
        if windows.len() >= MAX_WINDOWS {
            windows.retain(|_, window| window.began == began);
        }
        let is_kept = windows.len() < MAX_WINDOWS;
        let block = if is_kept { (limit / BLOCKS).max(1) } else { 1 };
        let window = Arc::new(Window { began, block, budget: tokio::sync::Mutex::new(Budget::new(limit)) });
        if is_kept {
            windows.insert(key, Arc::clone(&window));
        }
        window
    }

    fn is_quiet(&self) -> bool {
        lock(&self.quiet_until).is_some_and(|until| Instant::now() < until)
    }

    fn be_quiet(&self) {
        *lock(&self.quiet_until) = Some(Instant::now() + ASKED_AGAIN_AFTER);
    }

    /// Whether old windows are to be removed: once in each window.
    fn shall_remove(&self, began: DateTime<Utc>) -> bool {
        self.removed_in.swap(began.timestamp(), Ordering::Relaxed) != began.timestamp()
    }
}

impl Access {
    /// Takes one request of `customer` out of the budget of `endpoint` for this minute: `limit` over all processes. When
    /// the store cannot be asked, the request is allowed.
    pub async fn take_rate(&self, customer: Uuid, endpoint: &'static str, limit: u32) -> RateDecision {
        let window = self.rates().window((customer, endpoint), limit, self.clock().now());
        let mut budget = window.budget.lock().await;
        if budget.needs_block() {
            match self.ask_for_block(customer, endpoint, limit, &window).await {
                Some(taken) => budget.add(window.block, taken),
                None => return budget.let_through(),
            }
        }
        budget.take()
    }

    /// What everybody took, a block of ours included; none when the store does not say.
    async fn ask_for_block(
        &self,
        customer: Uuid,
        endpoint: &'static str,
        limit: u32,
        window: &Window,
    ) -> Option<u64> {
        if self.rates().is_quiet() {
            return None;
        }
        let (access, began, block) = (self.clone(), window.began, window.block);
        // To the end: a block that was taken must not be lost because a client hung up.
        let taken =
            to_the_end(async move { access.take_block(customer, endpoint, began, block, limit).await });
        match tokio::time::timeout(ASKED_FOR_AT_MOST, taken).await {
            Ok(Ok(taken)) => return Some(taken),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the rate limit could not be looked up: requests are let through");
            }
            Err(_) => {
                tracing::warn!("looking up the rate limit took too long: requests are let through");
            }
        }
        self.rates().be_quiet();
        None
    }

    async fn take_block(
        &self,
        customer: Uuid,
        endpoint: &str,
        began: DateTime<Utc>,
        block: u32,
        limit: u32,
    ) -> Result<u64, AccessError> {
        let mut change = self.begin_shared().await?;
        if self.rates().shall_remove(began) {
            self.remove_windows(&mut change, began - REMOVED_AFTER).await?;
        }
        let taken: Option<u64> = sql_for(
            "INSERT INTO rate_windows (began, customer, endpoint, taken) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (began, customer, endpoint) DO UPDATE SET taken = rate_windows.taken + excluded.taken
             WHERE rate_windows.taken < ?5
             RETURNING taken",
            // What a crash of the server loses of it is not worth a sync.
            "INSERT INTO rate_windows (began, customer, endpoint, taken) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (began, customer, endpoint) DO UPDATE SET taken = rate_windows.taken + excluded.taken
             WHERE rate_windows.taken < ?5
             RETURNING taken, set_config('synchronous_commit', 'off', true)",
        )
        .bind(began)
        .bind(customer)
        .bind(endpoint)
        .bind(block)
        .bind(limit)
        .fetch_optional_scalar(change.on())
        .await
        .during(self.control().place(), "look up a rate limit")?;
        change.commit().await?;
        // Without a row everything was taken before.
        Ok(taken.unwrap_or(u64::MAX))
    }

    async fn remove_windows(
        &self,
        change: &mut Change<'_>,
        before: DateTime<Utc>,
    ) -> Result<(), AccessError> {
        sql_for(
            "DELETE FROM rate_windows WHERE (began, customer, endpoint) IN
             (SELECT began, customer, endpoint FROM rate_windows WHERE began < ? LIMIT ?)",
            // What another process is removing is left to it: two that wait for each other's rows would never end.
            "DELETE FROM rate_windows WHERE ctid = ANY(ARRAY(
             SELECT ctid FROM rate_windows WHERE began < ? LIMIT ? FOR UPDATE SKIP LOCKED))",
        )
        .bind(before)
        .bind(MAX_REMOVED)
        .execute(change.on())
        .await
        .during(self.control().place(), "remove old rate limits")?;
        Ok(())
    }
}

/// When the window of this time began.
fn beginning(now: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = now.timestamp();
    DateTime::from_timestamp(seconds - seconds.rem_euclid(WINDOW_SECONDS.into()), 0).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CUSTOMER: Uuid = Uuid::from_u128(1);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_040 + seconds, 0).unwrap()
    }

    /// The store, as the statement above has it.
    fn ask(taken: &mut u64, block: u32, limit: u32) -> u64 {
        if *taken >= u64::from(limit) {
            return u64::MAX;
        }
        *taken += u64::from(block);
        *taken
    }

    #[test]
    fn one_process_allows_the_limit_and_tells_exactly_what_is_left() {
        for limit in [0, 1, 2, 19, 20, 21, 39, 40, 100, 6_000] {
            let (mut budget, mut taken) = (Budget::new(limit), 0);
            let block = (limit / BLOCKS).max(1);
            for number in 1..=limit + 5 {
                if budget.needs_block() {
                    budget.add(block, ask(&mut taken, block, limit));
                }
                let expected = RateDecision {
                    limit,
                    remaining: limit.saturating_sub(number),
                    window_seconds: 60,
                    allowed: number <= limit,
                };
                assert_eq!(budget.take(), expected, "{number} of {limit}");
            }
        }
    }

    #[test]
    fn what_nobody_could_be_asked_about_is_let_through() {
        let mut budget = Budget::new(2);
        let through: Vec<_> = (0..4).map(|_| budget.let_through()).collect();
        assert!(through.iter().all(|decision| decision.allowed));
        assert_eq!(through.iter().map(|decision| decision.remaining).collect::<Vec<_>>(), [1, 0, 0, 0]);
    }

    #[test]
    fn a_window_is_a_minute_of_the_clock() {
        let budgets = RateBudget::default();
        let window = |customer, endpoint, second| budgets.window((customer, endpoint), 100, at(second));
        let first = window(CUSTOMER, "get", 0);
        assert_eq!((first.began, first.block), (at(0), 5));
        assert!(Arc::ptr_eq(&first, &window(CUSTOMER, "get", 59)));
        assert!(!Arc::ptr_eq(&first, &window(CUSTOMER, "list", 0)));
        assert!(!Arc::ptr_eq(&first, &window(Uuid::nil(), "get", 0)));
        let next = window(CUSTOMER, "get", 60);
        assert!(!Arc::ptr_eq(&first, &next));
        // Who looked at the clock before, and came after.
        assert!(Arc::ptr_eq(&next, &window(CUSTOMER, "get", 59)));
        // A clock set back.
        assert_eq!(window(CUSTOMER, "get", -3_600).began, at(-3_600));
        assert_eq!(beginning(DateTime::from_timestamp(-1, 0).unwrap()).timestamp(), -60);
    }

    #[test]
    fn the_number_of_known_windows_is_bounded_and_the_rest_is_given_out_one_by_one() {
        let budgets = RateBudget::default();
        let window = |number: usize, second| {
            budgets.window((Uuid::from_u128(number as u128), "get"), 100, at(second)).block
        };
        assert!((0..MAX_WINDOWS).all(|number| window(number, 0) == 5));
        assert_eq!((window(MAX_WINDOWS, 0), window(0, 0)), (1, 5));
        assert_eq!(lock(&budgets.windows).len(), MAX_WINDOWS);
        // The next minute makes room.
        assert_eq!(window(MAX_WINDOWS, 60), 5);
        assert_eq!(lock(&budgets.windows).len(), 1);
    }

    proptest! {
        #[test]
        fn many_processes_never_exceed_the_limit_and_small_limits_are_exact(
            limit in 0u32..200, processes in 1usize..6, order in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let block = (limit / BLOCKS).max(1);
            let mut budgets: Vec<Budget> = (0..processes).map(|_| Budget::new(limit)).collect();
            let mut told = vec![limit; processes];
            let (mut taken, mut allowed) = (0, 0);
            for &who in &order {
                let who = usize::from(who) % processes;
                if budgets[who].needs_block() {
                    let answer = ask(&mut taken, block, limit);
                    budgets[who].add(block, answer);
                }
                let decision = budgets[who].take();
                allowed += u32::from(decision.allowed);
                prop_assert!(decision.remaining <= told[who], "it rose");
                told[who] = decision.remaining;
            }
            prop_assert!(allowed <= limit);
            if block == 1 {
                prop_assert_eq!(allowed, limit.min(u32::try_from(order.len()).unwrap()));
            }
        }
    }
}
