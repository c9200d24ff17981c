//! Known ids.

use std::collections::HashSet;

use uuid::Uuid;

use crate::support::Home;

#[tokio::test]
async fn known_ids_are_those_remembered_for_the_customer() {
    let (home, access) = Home::with_ada().await;
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let ids: Vec<Uuid> = (0..12_000u128).map(|number| Uuid::from_u128(number << 64 | number)).collect();
    assert!(access.known_ids(one, &ids).await.unwrap().is_empty());

    access.remember_ids(one, &ids[..11_000]).await.unwrap();
    access.remember_ids(one, &ids[10_000..11_500]).await.unwrap();
    access.remember_ids(one, &[]).await.unwrap();
    let known = home.process().await.known_ids(one, &ids).await.unwrap();
    assert_eq!(known, ids[..11_500].iter().copied().collect::<HashSet<_>>());
    assert_eq!(access.known_ids(one, &[ids[5], ids[5], ids[11_999]]).await.unwrap(), HashSet::from([ids[5]]));
    assert!(access.known_ids(one, &[]).await.unwrap().is_empty());
    assert!(access.known_ids(other, &ids).await.unwrap().is_empty());
}
