//! Who calls: signatures, tokens and passwords.

use annals_access::Author;
use chrono::{TimeDelta, Utc};

use super::portal::{LIST, NOBODY, Pair, Portal, SARAH, SIGNED, VERSIONS, basic};
use crate::engine::{Engine, suite};
use crate::http::Ask;
use crate::world::{PASSWORD, names};

suite!(
    each_version_takes_its_own_credentials,
    everything_that_is_signed_counts,
    the_path_is_signed_decoded_or_as_it_is_sent,
    a_clock_may_be_half_an_hour_wrong,
    every_refusal_looks_the_same_whatever_was_wrong,
    a_known_caller_leaves_no_login_and_a_wrong_one_a_failed_one,
    a_credential_ends_with_its_account,
);

/// Whether a header of this value is let in.
async fn lets_in(portal: &Portal, version: u8, authorization: &str) -> bool {
    let ask = Ask::get(LIST).header("X-Version", version.to_string()).header("Authorization", authorization);
    is_good(portal, version, &ask).await
}

async fn is_good(portal: &Portal, version: u8, ask: &Ask) -> bool {
    let answer = portal.ask(version, ask).await;
    let body = answer.reply.json();
    let good = answer.reply.status == 200 && (version > 1 || body["status"] == 200);
    if !good {
        let expected = if version == 1 { (200, 403) } else { (401, 1401) };
        let (status, code, text) = answer.refusal();
        assert_eq!(((status, code), &*text), (expected, "Authentication failed"));
        let challenge = (version > 1).then_some("LMv1, Bearer");
        assert_eq!(answer.reply.header("www-authenticate"), challenge);
    }
    good
}

async fn each_version_takes_its_own_credentials(engine: Engine) {
    let portal = Portal::start(engine).await;
    let pair = portal.pair_of(SARAH, "pair").await;
    for version in VERSIONS {
        assert!(lets_in(&portal, version, &pair.header(SIGNED)).await);
        assert!(lets_in(&portal, version, &pair.header(SIGNED).replace("LMv1", "lmv1")).await);
        assert!(lets_in(&portal, version, &format!("Bearer {}", portal.token)).await);
        assert_eq!(lets_in(&portal, version, &basic(SARAH, PASSWORD)).await, version == 1);
        assert_eq!(lets_in(&portal, version, &basic("SARAH@Acme.Example", PASSWORD)).await, version == 1);
    }
}

async fn everything_that_is_signed_counts(engine: Engine) {
    let portal = Portal::start(engine).await;
    let pair = portal.pair_of(SARAH, "pair").await;
    let now = Utc::now();
    for wrong in [
        pair.header_at("POST", SIGNED, b"", now),
        pair.header_at("get", SIGNED, b"", now),
        pair.header_at("GET", SIGNED, b"{}", now),
        pair.header_at("GET", LIST, b"", now),
        pair.header_at("GET", &format!("{SIGNED}/"), b"", now),
        pair.header_at("GET", &format!("{SIGNED}?size=1"), b"", now),
        pair.header_at("GET", SIGNED, b"", now).replace(&now.timestamp_millis().to_string(), "1436460382000"),
        Pair { key: pair.key.clone() + "x", ..pair.clone() }.header(SIGNED),
        Pair { access_id: "unknown".to_owned(), ..pair.clone() }.header(SIGNED),
    ] {
        assert!(!lets_in(&portal, 3, &wrong).await, "{wrong}");
    }
    // The query is not signed, a body is.
    let ask = |body: &str, signed: &[u8], query: &str| {
        let authorization = pair.header_at("GET", SIGNED, signed, now);
        let ask = Ask::get(&format!("{LIST}?{query}")).header("X-Version", "3");
        ask.header("Authorization", authorization).body("application/json", body)
    };
    assert!(is_good(&portal, 3, &ask("{ }", b"{ }", "size=3&sort=+id")).await);
    assert!(!is_good(&portal, 3, &ask("{ }", b"{}", "")).await);
    assert!(!is_good(&portal, 3, &ask("{}", b"", "")).await);
    let head = Ask::new("HEAD", LIST).header("X-Version", "3");
    let head = portal.ask(3, &head.header("Authorization", pair.header_at("HEAD", SIGNED, b"", now))).await;
    assert_eq!((head.reply.status, head.reply.body.len()), (200, 0));
}

async fn the_path_is_signed_decoded_or_as_it_is_sent(engine: Engine) {
    let portal = Portal::start(engine).await;
    let pair = portal.pair_of(SARAH, "pair").await;
    let ask = |signed: &str| {
        let authorization = pair.header(&format!("{SIGNED}/{signed}"));
        let target = format!("{LIST}/a%2Fb%20c%25%C3%A9");
        Ask::get(&target).header("X-Version", "3").header("Authorization", authorization)
    };
    for signed in ["a/b c%é", "a%2Fb%20c%25%C3%A9"] {
        let refusal = portal.ask(3, &ask(signed)).await.refusal();
        assert_eq!(refusal, (404, 1404, "No such record".to_owned()), "{signed}");
    }
    assert!(!is_good(&portal, 3, &ask("a%2fb%20c%25%c3%a9")).await);
}

async fn a_clock_may_be_half_an_hour_wrong(engine: Engine) {
    let portal = Portal::start(engine).await;
    let pair = portal.pair_of(SARAH, "pair").await;
    for (minutes, accepted) in [(-29, true), (29, true), (-31, false), (31, false), (-1_000_000, false)] {
        let at = Utc::now() + TimeDelta::minutes(minutes);
        let header = pair.header_at("GET", SIGNED, b"", at);
        assert_eq!(lets_in(&portal, 2, &header).await, accepted, "{minutes}");
    }
}

async fn every_refusal_looks_the_same_whatever_was_wrong(engine: Engine) {
    let portal = Portal::start(engine).await;
    let pair = portal.pair_of(SARAH, "pair").await;
    let nobody = portal.pair_of(NOBODY, "pair").await;
    let foreign = Pair { access_id: nobody.access_id.clone(), ..pair.clone() };
    let wrong = [
        String::new(),
        "LMv1".to_owned(),
        "LMv1 ::".to_owned(),
        "LMv1 unknown:eA==:1".to_owned(),
        "LMv3 unknown:eA==:1".to_owned(),
        "Digest x".to_owned(),
        "Bearer".to_owned(),
        "Bearer lmb_unknown".to_owned(),
        format!("Bearer {}x", portal.token),
        format!("Bearer {}", pair.key),
        format!("Bearer {}", pair.access_id),
        basic(SARAH, "wrong"),
        basic("unknown@acme.example", PASSWORD),
        basic("", ""),
        "Basic !".to_owned(),
        foreign.header(SIGNED),
        Pair { key: portal.token.clone(), ..pair.clone() }.header(SIGNED),
    ];
    for version in VERSIONS {
        let ask = |target: &str| Ask::get(target).header("X-Version", version.to_string());
        let known = format!("{LIST}/{:032x}", 1);
        for target in [LIST, &known] {
            let missing = portal.ask(version, &ask(target)).await;
            for wrong in &wrong {
                let refused = portal.ask(version, &ask(target).header("Authorization", wrong)).await;
                assert_eq!(refused.reply.status, missing.reply.status, "{wrong}");
                assert_eq!(refused.reply.text(), missing.reply.text(), "{wrong}");
                assert_eq!(refused.reply.header("x-rate-limit-remaining"), Some("6000"), "{wrong}");
            }
            let bytes = portal.ask(version, &ask(target).header("Authorization", b"Bearer \xff\xfe")).await;
            assert_eq!(bytes.reply.text(), missing.reply.text());
        }
    }
}

async fn a_known_caller_leaves_no_login_and_a_wrong_one_a_failed_one(engine: Engine) {
    let portal = Portal::start(engine).await;
    let pair = portal.pair_of(SARAH, "pair").await;
    portal.world.empty_outbox().await;
    assert!(lets_in(&portal, 3, &pair.header(SIGNED)).await);
    assert!(lets_in(&portal, 1, &basic(SARAH, PASSWORD)).await);
    assert_eq!(names(&portal.world.outbox().await), ["AUDIT_LOG_READ"]);
    portal.world.empty_outbox().await;
    assert!(!lets_in(&portal, 3, &Pair { key: "x".to_owned(), ..pair.clone() }.header(SIGNED)).await);
    assert!(!lets_in(&portal, 1, &basic(SARAH, "wrong")).await);
    let events = portal.world.outbox().await;
    assert_eq!(names(&events), ["FAILED_LOGIN", "FAILED_LOGIN"]);
    assert!(events.iter().all(|event| event.meta().source == "annals:santaba"));
    // A password that this version does not take is not even tried.
    portal.world.empty_outbox().await;
    assert!(!lets_in(&portal, 3, &basic(SARAH, "wrong")).await);
    assert_eq!(portal.world.outbox().await, []);
}

async fn a_credential_ends_with_its_account(engine: Engine) {
    let portal = Portal::start(engine).await;
    let pair = portal.pair_of(SARAH, "pair").await;
    let bearer = format!("Bearer {}", portal.token);
    let by = Author::command_line();
    portal.access.revoke_credential(SARAH, "token-of-the-tests", &by).await.unwrap();
    assert!(!lets_in(&portal, 3, &bearer).await);
    assert!(lets_in(&portal, 3, &pair.header(SIGNED)).await);
    portal.access.disable_account(SARAH, &by).await.unwrap();
    assert!(!lets_in(&portal, 3, &pair.header(SIGNED)).await);
    assert!(!lets_in(&portal, 1, &basic(SARAH, PASSWORD)).await);
}
