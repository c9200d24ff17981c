//! Rate budgets of several processes.

use std::time::{Duration, Instant};

use annals_access::{Access, RateDecision};
use annals_store::sql::sql;
use uuid::Uuid;

use crate::support::{Engine, Home, at_once, suite};

suite!(
    one_process_tells_exactly_what_is_left,
    a_small_limit_is_exact_over_processes,
    a_large_limit_is_never_exceeded_over_processes_and_costs_few_writes,
    customers_endpoints_and_minutes_have_budgets_of_their_own,
    when_the_store_cannot_be_asked_requests_are_let_through,
    while_the_store_is_held_requests_do_not_wait_long,
    old_windows_are_removed,
);

const ACME: Uuid = Uuid::from_u128(1);
const LOGS: &str = "GET /setting/accesslogs";
const MINUTE: Duration = Duration::from_secs(60);

async fn take(access: &Access, limit: u32) -> RateDecision {
    access.take_rate(ACME, LOGS, limit).await
}

async fn rows(access: &Access) -> Vec<i64> {
    let taken = sql("SELECT taken FROM rate_windows ORDER BY began").fetch_scalars(access.control().pool());
    taken.await.unwrap()
}

async fn one_process_tells_exactly_what_is_left(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    for number in 1..=105 {
        let expected = RateDecision {
            limit: 100,
            remaining: 100_u32.saturating_sub(number),
            window_seconds: 60,
            allowed: number <= 100,
        };
        assert_eq!(take(&access, 100).await, expected, "{number}");
        // A block of five at a time.
        assert_eq!(rows(&access).await, [i64::from(number.min(100).next_multiple_of(5))]);
    }
}

async fn a_small_limit_is_exact_over_processes(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    for limit in [1, 2, 20] {
        let allowed = at_once(&home, 3, move |access, _| async move {
            let mut allowed = 0;
            for _ in 0..15 {
                allowed += u32::from(take(&access, limit).await.allowed);
            }
            allowed
        });
        assert_eq!(allowed.await.into_iter().sum::<u32>(), limit);
        let after = take(&access, limit).await;
        assert_eq!((after.allowed, after.remaining), (false, 0));
        home.clock.advance(MINUTE);
    }
}

async fn a_large_limit_is_never_exceeded_over_processes_and_costs_few_writes(engine: Engine) {
    const LIMIT: u32 = 1_000;
    let (home, access) = Home::with_ada(engine).await;
    let allowed = at_once(&home, 3, |access, _| async move {
        // Clients of one process ask at the same time.
        let clients = (0..8).map(|_| {
            let access = access.clone();
            tokio::spawn(async move {
                let (mut allowed, mut told) = (0, LIMIT);
                for _ in 0..100 {
                    let decision = take(&access, LIMIT).await;
                    assert!(decision.remaining <= told, "it rose");
                    told = decision.remaining;
                    allowed += u32::from(decision.allowed);
                }
                allowed
            })
        });
        let mut allowed = 0;
        for client in clients.collect::<Vec<_>>() {
            allowed += client.await.unwrap();
        }
        allowed
    });
    let allowed = allowed.await;
    // Each process asked 800 times, together more than enough to use up every block.
    assert_eq!(allowed.iter().sum::<u32>(), LIMIT, "{allowed:?}");
    assert_eq!(rows(&access).await, [i64::from(LIMIT)]);
    assert_eq!(take(&access, LIMIT).await.remaining, 0);
}

async fn customers_endpoints_and_minutes_have_budgets_of_their_own(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let other = home.process().await;
    let all = async || {
        let mut allowed = Vec::new();
        for customer in [ACME, Uuid::from_u128(2)] {
            for endpoint in [LOGS, "GET /setting/accesslogs/{id}"] {
                for process in [&access, &other] {
                    allowed.push(process.take_rate(customer, endpoint, 1).await.allowed);
                }
            }
        }
        allowed
    };
    assert_eq!(all().await, [true, false].repeat(4));
    assert_eq!(all().await, [false].repeat(8));
    home.clock.advance(MINUTE);
    assert_eq!(all().await, [true, false].repeat(4));
    assert_eq!(rows(&access).await, [1].repeat(8));
}

async fn when_the_store_cannot_be_asked_requests_are_let_through(engine: Engine) {
    let (_home, access) = Home::with_ada(engine).await;
    assert_eq!(take(&access, 20).await.remaining, 19);
    let pool = access.control().pool();
    sql("ALTER TABLE rate_windows RENAME TO gone").execute(pool).await.unwrap();
    for remaining in [18, 17, 16] {
        let decision = take(&access, 20).await;
        assert_eq!((decision.allowed, decision.remaining), (true, remaining));
    }
    for _ in 0..30 {
        assert!(take(&access, 20).await.allowed);
    }
    sql("ALTER TABLE gone RENAME TO rate_windows").execute(pool).await.unwrap();
    // It is asked again a moment later. What was let through meanwhile is not counted; what is told never rises.
    let began = Instant::now();
    while rows(&access).await == [1] {
        assert!(began.elapsed() < MINUTE);
        assert_eq!(take(&access, 20).await.remaining, 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rows(&access).await, [2]);
}

async fn while_the_store_is_held_requests_do_not_wait_long(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    take(&access, 20).await;
    let mut held = home.process().await.control().begin().await.unwrap();
    sql("UPDATE rate_windows SET taken = taken").execute(&mut held).await.unwrap();
    let began = Instant::now();
    for _ in 0..50 {
        assert!(take(&access, 20).await.allowed);
    }
    // One waits for a while; the others do not wait one after another.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(held);
}

async fn old_windows_are_removed(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    for _ in 0..30 {
        take(&access, 100).await;
        home.clock.advance(MINUTE);
    }
    let rows = rows(&access).await;
    assert!((10..=12).contains(&rows.len()), "{}", rows.len());
}
