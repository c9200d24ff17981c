//! Members.

use std::time::Duration;

use annals_access::Member;
use annals_store::sql::sql;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::support::{Engine, Home, suite};

suite!(members_come_give_signs_and_go, a_member_without_a_sign_is_not_shown_and_then_forgotten);

async fn members_come_give_signs_and_go(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let minute = TimeDelta::minutes(1);
    let one = Member::this_process("query, projector", "host-ä", "1.0.0");
    let other = Member { id: Uuid::now_v7(), started_at: one.started_at + minute, ..one.clone() };
    access.register_member(&other).await.unwrap();
    access.register_member(&one).await.unwrap();
    assert!(access.register_member(&one).await.is_err());

    let seen = home.process().await.members(minute).await.unwrap();
    let expected = [&one, &other].map(|member| member.clone());
    assert_eq!(seen.len(), 2);
    for (seen, expected) in seen.into_iter().zip(expected) {
        assert_eq!(seen, Member { seen_at: seen.seen_at, ..expected });
        assert_eq!(seen.process, std::process::id());
    }

    assert!(access.heartbeat(one.id, r#"{"audit_log":"following"}"#).await.unwrap());
    assert!(!access.heartbeat(Uuid::now_v7(), "{}").await.unwrap());
    let seen = access.members(minute).await.unwrap();
    assert_eq!((seen[0].detail.as_str(), seen[1].detail.as_str()), (r#"{"audit_log":"following"}"#, "{}"));
    assert!(engine == Engine::Embedded || seen[0].seen_at > seen[1].seen_at);

    access.remove_member(one.id).await.unwrap();
    access.remove_member(one.id).await.unwrap();
    assert!(!access.heartbeat(one.id, "{}").await.unwrap());
    assert_eq!(access.members(minute).await.unwrap().len(), 1);
}

async fn a_member_without_a_sign_is_not_shown_and_then_forgotten(engine: Engine) {
    let (home, access) = Home::with_ada(engine).await;
    let pool = access.control().pool();
    let quiet = Member::this_process("query", "host", "1.0.0");
    access.register_member(&quiet).await.unwrap();
    let seen_at: DateTime<Utc> = sql("SELECT seen_at FROM members").fetch_scalar(pool).await.unwrap();
    let long_ago = |ago| sql("UPDATE members SET seen_at = ?").bind(seen_at - ago).execute(pool);

    long_ago(TimeDelta::hours(2)).await.unwrap();
    assert!(access.members(TimeDelta::hours(1)).await.unwrap().is_empty());
    assert_eq!(access.members(TimeDelta::hours(3)).await.unwrap().len(), 1);
    assert_eq!(access.members(TimeDelta::MAX).await.unwrap().len(), 1);

    long_ago(TimeDelta::hours(25)).await.unwrap();
    home.clock.advance(Duration::from_millis(1));
    let new = Member::this_process("query", "host", "1.0.0");
    access.register_member(&new).await.unwrap();
    let ids: Vec<_> =
        access.members(TimeDelta::MAX).await.unwrap().into_iter().map(|member| member.id).collect();
    assert_eq!(ids, [new.id]);
}
