//! Processes under load that are killed: at every named point, and at random moments.
//!
//! The tests keep what was sent and what was acknowledged; `support/verify.rs` says what must hold afterwards.

use std::collections::{BTreeSet, HashSet};

use annals_store::crash::POINTS;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::support::home::CUSTOMER;
use crate::support::load::acknowledged;
use crate::support::windows::windows_logons;
use crate::support::{Home, Ledger, Load, Process, Server, log, until, verify, views};

/// Every visit of every point that a test here or in `copy.rs` kills a process at. `NAME#3` is the third visit.
const VISITS: [&str; 29] = [
    "append:before-commit",
    "append:before-commit#7",
    "append:after-commit",
    "append:after-commit#7",
    "import:before-known-ids",
    "import:before-known-ids#2",
    "relay:after-append",
    "relay:after-append#3",
    "projector:before-transaction",
    "projector:before-transaction#9",
    "projector:after-positions",
    "projector:after-positions#9",
    "projector:before-commit",
    "projector:before-commit#9",
    "projector:after-commit",
    "index:before-commit",
    "index:after-commit",
    "rebuild:indexes-aside",
    "rebuild:before-indexes",
    "rebuild:before-switch",
    "rebuild:after-switch",
    "copy:before-note",
    "copy:before-note#3",
    "copy:after-append",
    "copy:after-append#2",
    "copy:before-rename",
    "copy:before-rename#3",
    "copy:before-manifest",
    "copy:before-manifest#2",
];

#[test]
fn every_named_point_is_visited() {
    let visited: BTreeSet<&str> = VISITS.iter().map(|visit| visit.split('#').next().unwrap()).collect();
    assert_eq!(visited, BTreeSet::from(POINTS));
}

/// The visits of the points that begin like this.
pub fn visits(prefix: &str) -> impl Iterator<Item = &'static str> {
    VISITS.into_iter().filter(move |visit| visit.starts_with(prefix))
}

/// Waits until a process says that it stands at the point, and kills it there.
#[track_caller]
pub fn kill_at(process: &mut Process, visit: &str) {
    let said = format!("crash point {}", visit.split('#').next().unwrap());
    process.stderr_line(|line| line == said);
    assert!(process.is_running(), "a process that stands at a point is alive");
    process.kill();
}

/// Waits until a load was told so many times that its event is durable.
#[track_caller]
fn wait_for_acknowledgements(load: &mut Process, count: usize) {
    until("events are acknowledged", || {
        assert!(load.is_running(), "{}", load.stderr());
        (acknowledged(load) >= count).then_some(())
    });
}

/// Ends a load as a crash does, and enters what it said.
fn kill_load(mut load: Process, ledger: &mut Ledger) {
    load.kill();
    ledger.add(&load);
}

fn in_log(home: &Home) -> HashSet<Uuid> {
    log::read(home).iter().filter_map(log::LogRecord::id).collect()
}

#[test]
fn a_producer_that_dies_around_its_commit_loses_nothing_acknowledged() {
    for visit in visits("append:") {
        let home = Home::new();
        let customer = home.customer_id(CUSTOMER);
        let server = Server::start(&home);
        let mut ledger = Ledger::default();
        let mut command = Load::command(&home, customer, 1);
        let mut load = Process::start(command.args(["--concurrency", "8"]).env("ANNALS_CRASH_POINT", visit));
        kill_at(&mut load, visit);
        ledger.add(&load);
        assert!(!ledger.unanswered().is_empty(), "{visit}: the process died under load");
        let log = in_log(&home);
        if visit.starts_with("append:before-commit") {
            let survived = log.intersection(&ledger.open()).count();
            assert_eq!(survived, 0, "{visit}: what was not committed is not there");
        } else {
            let survived = log.intersection(&ledger.unanswered()).count();
            assert!(survived > 0, "{visit}: what was committed is there, although nobody heard so");
        }
        Load::of(&home, customer, 2, 200, &mut ledger);
        verify::everything(&home, &server, &ledger);
        server.stop();
    }
}

#[test]
fn an_import_that_dies_before_it_remembers_is_imported_again() {
    const LINES: usize = 2_400;
    for visit in visits("import:") {
        let home = Home::new();
        let customer = home.customer_id(CUSTOMER);
        let file = home.write("events.jsonl", windows_logons(0..LINES));
        let server = Server::start(&home);
        let mut load = Load::endless(&home, customer, 3);
        let mut import = Process::start(home.import_command(&file).env("ANNALS_CRASH_POINT", visit));
        kill_at(&mut import, visit);
        wait_for_acknowledgements(&mut load, 100);
        let mut ledger = Ledger { imported: LINES, ..Ledger::default() };
        // A group of a thousand is remembered after its append; the one that died with the process was not.
        let known = if visit.ends_with("#2") { 1_000 } else { 0 };
        let again = home.import(&file, 0);
        assert_eq!(
            (&again["already_known"], &again["published"]),
            (&known.into(), &(LINES - known).into()),
            "{visit}"
        );
        let third = home.import(&file, 0);
        assert_eq!((&third["already_known"], &third["published"]), (&LINES.into(), &0.into()));
        kill_load(load, &mut ledger);
        let records = verify::everything(&home, &server, &ledger);
        let twice = records.iter().filter(|record| {
            record.event.as_ref().is_some_and(|event| event.meta().source.starts_with("urn:windows:WS"))
        });
        assert_eq!(twice.count(), LINES + 1_000, "{visit}: the group that died was appended twice");
        server.stop();
    }
}

#[test]
fn a_relay_that_dies_after_its_append_tells_nothing_twice() {
    for visit in visits("relay:") {
        let home = Home::new();
        let customer = home.customer_id(CUSTOMER);
        let mut ledger = Ledger::default();
        let mut server = Server::start_with_crash_point(&home, visit);
        let mut load = Load::endless(&home, customer, 4);
        let wanted: usize = visit.split_once('#').map_or(1, |(_, number)| number.parse().unwrap());
        for number in 1..=wanted {
            let email = format!("user{number}@acme.example");
            home.add_account(&email, CUSTOMER, &[]);
            if number < wanted {
                views::outbox_empty(&home);
            }
        }
        kill_at(&mut server.process, visit);
        wait_for_acknowledgements(&mut load, 100);
        kill_load(load, &mut ledger);
        let waiting = views::query(&home.data.join("control.db"), "SELECT lower(hex(event_id)) FROM outbox");
        assert_eq!(waiting.len(), 1, "{visit}: it was appended and not yet taken from the outbox");
        let times = |records: &[log::LogRecord]| {
            records.iter().filter(|r| r.id().is_some_and(|id| id.simple().to_string() == waiting[0])).count()
        };
        assert_eq!(times(&log::read(&home)), 1);
        let server = Server::start(&home);
        let records = verify::everything(&home, &server, &ledger);
        assert_eq!(times(&records), 2, "{visit}: the restarted relay cannot know, and appends it again");
        server.stop();
    }
}

#[test]
fn a_projector_that_dies_anywhere_in_its_fold_folds_each_event_once() {
    for visit in visits("projector:") {
        let home = Home::new();
        let customer = home.customer_id(CUSTOMER);
        let mut ledger = Ledger::default();
        Load::of(&home, customer, 5, 300, &mut ledger);
        let mut load = Load::endless(&home, customer, 6);
        let mut server = Server::start_with_crash_point(&home, visit);
        kill_at(&mut server.process, visit);
        // Producers notice nothing of it.
        let before = acknowledged(&load);
        wait_for_acknowledgements(&mut load, before + 50);
        let server = Server::start(&home);
        wait_for_acknowledgements(&mut load, before + 100);
        kill_load(load, &mut ledger);
        verify::everything(&home, &server, &ledger);
        server.stop();
    }
}

#[test]
fn a_projector_that_dies_while_it_feeds_the_text_index_goes_on_where_it_stood() {
    // More than questions look through without it.
    const EVENTS: usize = 9_000;
    for visit in visits("index:") {
        let home = Home::new();
        let customer = home.customer_id(CUSTOMER);
        let mut ledger = Ledger::default();
        Load::of(&home, customer, 9, EVENTS, &mut ledger);
        let mut server = Server::start_with_crash_point(&home, visit);
        kill_at(&mut server.process, visit);
        let view = views::active(&home, "audit_log").unwrap();
        let chunks = || views::query(&view, "SELECT CAST(count(*) AS text) FROM text_chunks").remove(0);
        let committed = if visit == "index:after-commit" { "1" } else { "0" };
        assert_eq!(chunks(), committed, "{visit}");
        let server = Server::start(&home).ready();
        until("the text index has the rows", || (chunks() == "1").then_some(()));
        verify::everything(&home, &server, &ledger);
        server.stop();
    }
}

#[test]
fn a_rebuild_that_dies_at_its_switch_leaves_the_view_whole_and_a_second_one_gives_the_same_rows() {
    for visit in visits("rebuild:") {
        let home = Home::new();
        let customer = home.customer_id(CUSTOMER);
        let mut ledger = Ledger::default();
        Load::of(&home, customer, 7, 500, &mut ledger);
        let server = Server::start(&home).ready();
        let mut load = Load::endless(&home, customer, 8);
        wait_for_acknowledgements(&mut load, 50);
        let first = views::active(&home, "audit_log").unwrap();
        let mut rebuild =
            Process::start(home.command(&["rebuild", "audit_log"]).env("ANNALS_CRASH_POINT", visit));
        kill_at(&mut rebuild, visit);
        let switched = views::active(&home, "audit_log").unwrap() != first;
        assert_eq!(switched, visit == "rebuild:after-switch", "{visit}");
        let before = acknowledged(&load);
        wait_for_acknowledgements(&mut load, before + 50);
        kill_load(load, &mut ledger);
        verify::everything(&home, &server, &ledger);
        let live: BTreeSet<String> = views::audit_log_rows(&home).into_iter().collect();
        let said = home.run(&["rebuild", "audit_log"]).expect(0).stdout;
        assert!(said.starts_with("rebuilt audit_log as generation 3 "), "{said}");
        verify::everything(&home, &server, &ledger);
        let rebuilt: BTreeSet<String> = views::audit_log_rows(&home).into_iter().collect();
        assert!(live.is_subset(&rebuilt), "{visit}: {:?}", live.difference(&rebuilt).next());
        for row in rebuilt.difference(&live) {
            // The rebuild, the sign-in of the second check, and its read of the audit log.
            let own = ["|VIEW_REBUILT|", "|SUCCESSFUL_LOGIN|", "|AUDIT_LOG_READ|"];
            assert!(own.iter().any(|action| row.contains(action)), "{visit}: {row}");
        }
        server.stop();
    }
}

#[test]
fn processes_that_are_killed_at_random_moments_under_load_lose_nothing_and_repeat_nothing() {
    const ROUNDS: u64 = 6;
    let seed = std::env::var("IT_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("IT_SEED={seed} repeats this run's choices");
    let mut random = StdRng::seed_from_u64(seed);
    let home = Home::new();
    let customer = home.customer_id(CUSTOMER);
    let mut ledger = Ledger::default();
    for round in 0..ROUNDS {
        let mut server = Server::start(&home);
        let mut load = Load::endless(&home, customer, 100 + round);
        let mut other = Load::endless(&home, customer, 200 + round);
        wait_for_acknowledgements(&mut load, random.random_range(1..300));
        let mut rebuild =
            random.random_bool(0.5).then(|| Process::start(&mut home.command(&["rebuild", "audit_log"])));
        wait_for_acknowledgements(&mut other, random.random_range(1..400));
        if random.random_bool(0.7) {
            server.process.kill();
        }
        if let Some(rebuild) = &mut rebuild {
            rebuild.kill();
        }
        kill_load(load, &mut ledger);
        kill_load(other, &mut ledger);
        drop(server);
        let server = Server::start(&home);
        verify::everything(&home, &server, &ledger);
        // Every second round goes on from a server that was stopped as one should be.
        if round % 2 == 0 {
            server.stop();
        }
    }
}

#[test]
fn the_check_after_a_crash_notices_what_is_lost_changed_invented_or_twice() {
    let home = Home::new();
    let mut ledger = Ledger::default();
    Load::of(&home, home.customer_id(CUSTOMER), 1, 50, &mut ledger);
    let server = Server::start(&home).ready();
    let fails = |ledger: &Ledger| {
        let check = std::panic::AssertUnwindSafe(|| drop(verify::everything(&home, &server, ledger)));
        std::panic::catch_unwind(check).is_err()
    };
    assert!(!fails(&ledger));
    let id = *ledger.acknowledged.iter().next().unwrap();
    let bytes = ledger.sent[&id].clone();
    ledger.acknowledged.insert(Uuid::from_u128(1));
    assert!(fails(&ledger), "acknowledged and not in the log");
    ledger.acknowledged.remove(&Uuid::from_u128(1));
    ledger.sent.insert(id, b"other bytes".to_vec());
    assert!(fails(&ledger), "in the log with other bytes");
    ledger.sent.remove(&id);
    assert!(fails(&ledger), "in the log and never sent");
    ledger.sent.insert(id, bytes);
    assert!(!fails(&ledger));
    let row = format!("DELETE FROM events WHERE event_id = x'{}'", id.simple());
    views::execute(&views::active(&home, "audit_log").unwrap(), &[&row]);
    assert!(fails(&ledger), "in the log and not in the view");
}
