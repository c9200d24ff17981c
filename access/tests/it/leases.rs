//! Leases.

use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

use crate::support::{Engine, Home, at_once, suite, until};

suite!(
    a_lease_has_one_holder_until_it_is_given_back,
    a_lease_that_is_not_prolonged_goes_to_another_one,
    of_many_that_take_a_lease_at_once_one_has_it,
);

async fn a_lease_has_one_holder_until_it_is_given_back(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let other = home.process().await;
    let (me, you) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let minute = TimeDelta::minutes(1);
    assert!(access.take_lease("relay", me, minute).await.unwrap());
    assert!(access.take_lease("relay", me, minute).await.unwrap());
    assert!(!other.take_lease("relay", you, minute).await.unwrap());
    assert!(other.take_lease("another", you, minute).await.unwrap());
    // Nobody gives back what another one has.
    other.release_lease("relay", you).await.unwrap();
    assert!(!other.take_lease("relay", you, minute).await.unwrap());
    access.release_lease("relay", me).await.unwrap();
    assert!(other.take_lease("relay", you, minute).await.unwrap());
    assert!(!access.take_lease("relay", me, TimeDelta::MAX).await.unwrap());
}

async fn a_lease_that_is_not_prolonged_goes_to_another_one(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let (me, you) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let (short, long) = (TimeDelta::seconds(10), TimeDelta::minutes(1));
    assert!(access.take_lease("relay", me, short).await.unwrap());
    assert!(!access.take_lease("relay", you, long).await.unwrap());
    match engine {
        Engine::Embedded => {
            home.clock.advance(Duration::from_secs(10));
            assert!(access.take_lease("relay", you, long).await.unwrap());
        }
        Engine::Postgres => {
            // The clock of this process does not count.
            home.clock.advance(Duration::from_secs(3_600));
            assert!(!access.take_lease("relay", you, long).await.unwrap());
            until(true, async || access.take_lease("relay", you, long).await.unwrap()).await;
        }
    }
    assert!(!access.take_lease("relay", me, short).await.unwrap());
}

async fn of_many_that_take_a_lease_at_once_one_has_it(engine: Engine) {
    let home = Home::new(engine).await;
    let taken = at_once(&home, 6, |access, number| async move {
        let holder = Uuid::from_u128(number as u128);
        access.take_lease("relay", holder, TimeDelta::minutes(1)).await.unwrap()
    });
    assert_eq!(taken.await.into_iter().filter(|taken| *taken).count(), 1);
}
