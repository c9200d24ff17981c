//! Records that cannot be decoded, in the middle of others.

use annals_bus::{Bus, Record};
use annals_producers::fleet::Fleet;
use annals_producers::publisher;
use chrono::Utc;

use crate::support::{Home, Server, block_on, log, views};

/// Bytes of nobody, an unknown schema, and a known schema with its record cut.
fn poison(good: &[u8]) -> Vec<Vec<u8>> {
    let mut unknown = good.to_vec();
    unknown[2] ^= 0xff;
    vec![
        b"\xde\xad\xbe\xef".to_vec(),
        Vec::new(),
        b"{\"json\": true}".to_vec(),
        unknown,
        good[..good.len() / 2].to_vec(),
    ]
}

#[test]
fn a_poison_record_is_a_dead_letter_and_its_neighbours_are_rows() {
    let home = Home::new();
    let mut fleet = Fleet::of_customers(1, vec![home.customer], true);
    let mut good = Vec::new();
    let mut bad = Vec::new();
    block_on(async {
        let bus = home.bus().await;
        // One append per topic before anybody reads: it is one batch for the projector.
        for topic in ["annals.audit", "annals.host-logons"] {
            let mut records = Vec::new();
            while records.len() < 300 {
                let event = fleet.next(Utc::now());
                if event.event_type().topic().name != topic {
                    continue;
                }
                let record = publisher::record(&event).unwrap();
                good.push(event.meta().event_id);
                if records.len() % 60 == 30 {
                    let spoilt = poison(&record.value);
                    let value = spoilt[records.len() / 60 % spoilt.len()].clone().into();
                    records.push(Record { value, ..record.clone() });
                }
                records.push(record);
            }
            let spoilt: Vec<usize> = (0..records.len()).filter(|at| at % 60 == 30).collect();
            let positions = bus.append(topic, records).await.unwrap();
            bad.extend(spoilt.into_iter().map(|at| positions[at].to_string()));
        }
        bus.close().await;
    });
    let server = Server::start_command(&mut home.serve("projector,relay"));
    views::caught_up(&home);
    let mut letters = Vec::new();
    for view in ["audit_log", "logged_on_users"] {
        let own = bad.iter().filter(|at| view == "audit_log" || at.starts_with("annals.host-logons"));
        letters.extend(own.map(|at| format!("{view} {at}")));
    }
    let mut found = views::dead_letters(&home);
    letters.sort();
    found.sort();
    assert_eq!(found, letters);
    let rows: std::collections::BTreeSet<String> = views::audit_log_ids(&home).into_iter().collect();
    let records = log::read(&home);
    let expected = records.iter().filter_map(|record| record.event.as_ref());
    let expected = expected.map(|e| format!("{}/{}", e.meta().customer.simple(), e.meta().event_id.simple()));
    assert_eq!(rows, expected.collect());
    for id in &good {
        assert!(rows.contains(&format!("{}/{}", home.customer.simple(), id.simple())), "{id} is a row");
    }
    let listed = home.run(&["dead-letters", "list"]).expect(0).stdout;
    let shown = |letter: &String| letter.split(' ').all(|word| listed.contains(word));
    assert!(letters.iter().all(shown) && listed.lines().count() == letters.len() + 1, "{listed}");
    server.stop();
}
