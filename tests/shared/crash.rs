//! Processes on Kafka and PostgreSQL that are killed at every named point.

use std::collections::BTreeSet;

use annals_store::crash::POINTS;

use crate::support::home::CUSTOMER;
use crate::support::windows::windows_logons;
use crate::support::{Home, Ledger, Load, Process, Server, at_once, log, verify, views};

/// Every visit of every point that a test below kills a process at. `NAME#3` is the third visit.
const VISITS: [&str; 15] = [
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
    "rebuild:indexes-aside",
    "rebuild:before-indexes",
    "rebuild:before-switch",
    "rebuild:after-switch",
];

#[test]
fn every_named_point_of_this_engine_is_visited() {
    let visited: BTreeSet<&str> = VISITS.iter().map(|visit| visit.split('#').next().unwrap()).collect();
    // Those of appends are the embedded log's; copies and the text index are the same on every engine, and killed in the
    // tests of the embedded one.
    let others = |point: &&str| ["append:", "copy:", "index:"].iter().any(|other| point.starts_with(other));
    assert_eq!(visited, POINTS.into_iter().filter(|point| !others(point)).collect());
}

/// The visits of the points that begin like this.
fn visits(prefix: &str) -> impl Iterator<Item = &'static str> {
    VISITS.into_iter().filter(move |visit| visit.starts_with(prefix))
}

/// Waits until a process says that it stands at the point, and kills it there.
#[track_caller]
fn kill_at(process: &mut Process, visit: &str) {
    let said = format!("crash point {}", visit.split('#').next().unwrap());
    process.stderr_line(|line| line == said);
    assert!(process.is_running(), "a process that stands at a point is alive");
    process.kill();
}

#[test]
fn a_projector_that_dies_anywhere_in_its_fold_folds_each_event_once() {
    at_once(visits("projector:"), |visit| {
        let home = Home::new();
        let mut ledger = Ledger::default();
        Load::of(&home, 5, 300, &mut ledger);
        let load = Load::at_rate(&home, 6, 100);
        let mut server =
            Server::start_command(home.serve("projector,relay").env("ANNALS_CRASH_POINT", visit));
        kill_at(&mut server.process, visit);
        load.more(100);
        let server = Server::start_command(&mut home.serve("projector,relay"));
        load.more(100);
        load.stop(&mut ledger);
        verify::log_and_views(&home, &ledger);
        server.stop();
    });
}

#[test]
fn a_relay_that_dies_after_its_append_tells_nothing_twice() {
    at_once(visits("relay:"), |visit| {
        let home = Home::with_account();
        let portal = Server::start_command(&mut home.serve("projector,query"));
        let mut relay = Server::start_command(home.serve("relay").env("ANNALS_CRASH_POINT", visit));
        let wanted: usize = visit.split_once('#').map_or(1, |(_, number)| number.parse().unwrap());
        for number in 1..=wanted {
            portal.sign_in();
            if number < wanted {
                views::outbox_empty(&home);
            }
        }
        kill_at(&mut relay.process, visit);
        let open = views::query(&home, "SELECT event_id::text FROM annals.outbox");
        assert_eq!(open.len(), 1, "{visit}: it was appended and not yet taken from the outbox");
        let times = |records: &[log::LogRecord]| {
            records.iter().filter(|record| record.id().is_some_and(|id| id.to_string() == open[0])).count()
        };
        assert_eq!(times(&log::read(&home)), 1);
        let relay = Server::start_command(&mut home.serve("relay"));
        let records = verify::everything(&home, &portal, &Ledger::default());
        assert_eq!(times(&records), 2, "{visit}: the restarted relay cannot know, and appends it again");
        relay.stop();
        portal.stop();
    });
}

#[test]
fn an_import_that_dies_before_it_remembers_is_imported_again() {
    const LINES: usize = 2_400;
    at_once(visits("import:"), |visit| {
        let home = Home::with_account();
        let file = home.write("events.jsonl", windows_logons(0..LINES));
        let file = file.to_str().unwrap();
        let import = ["import", "windows-security", "--customer", CUSTOMER, "--json", file];
        let server = Server::start_command(&mut home.serve("projector,query,relay"));
        let mut dies = Process::start(home.command(&import).env("ANNALS_CRASH_POINT", visit));
        kill_at(&mut dies, visit);
        // A group of a thousand is remembered after its append; the one that died with the process was not.
        let known = if visit.ends_with("#2") { 1_000 } else { 0 };
        for (known, published) in [(known, LINES - known), (LINES, 0)] {
            let told = home.run(&import).expect(0).stdout;
            let told: serde_json::Value = serde_json::from_str(&told).unwrap();
            assert_eq!(
                (&told["already_known"], &told["published"]),
                (&known.into(), &published.into()),
                "{visit}"
            );
        }
        let ledger = Ledger { imported: LINES, ..Ledger::default() };
        let records = verify::everything(&home, &server, &ledger);
        let events = records.iter().filter_map(|record| record.event.as_ref());
        let imported = events.filter(|event| event.meta().source.starts_with("urn:windows:WS")).count();
        assert_eq!(imported, LINES + 1_000, "{visit}: the group that died was appended twice");
        server.stop();
    });
}

#[test]
fn a_rebuild_that_dies_at_its_switch_leaves_the_view_whole_and_a_second_one_gives_the_same_rows() {
    at_once(visits("rebuild:"), |visit| {
        let home = Home::new();
        let mut ledger = Ledger::default();
        Load::of(&home, 7, 500, &mut ledger);
        let projectors = [0; 2].map(|_| Server::start_command(&mut home.serve("projector,relay")));
        let load = Load::at_rate(&home, 8, 100);
        load.more(50);
        let mut rebuild =
            Process::start(home.command(&["rebuild", "audit_log"]).env("ANNALS_CRASH_POINT", visit));
        kill_at(&mut rebuild, visit);
        let switched = views::active(&home, "audit_log").unwrap() == "annals_audit_log_2";
        assert_eq!(switched, visit == "rebuild:after-switch", "{visit}");
        load.more(50);
        load.stop(&mut ledger);
        verify::log_and_views(&home, &ledger);
        let schema = views::active(&home, "audit_log").unwrap();
        let live: BTreeSet<String> = views::audit_log_rows(&home, &schema).into_iter().collect();
        let said = home.run(&["rebuild", "audit_log"]).expect(0).stdout;
        assert!(said.starts_with("rebuilt audit_log as generation 3 "), "{said}");
        verify::log_and_views(&home, &ledger);
        let rebuilt: BTreeSet<String> =
            views::audit_log_rows(&home, "annals_audit_log_3").into_iter().collect();
        assert!(live.is_subset(&rebuilt), "{visit}: {:?}", live.difference(&rebuilt).next());
        let own: Vec<_> = rebuilt.difference(&live).collect();
        assert!(own.len() == 1 && own[0].contains("|VIEW_REBUILT|"), "{visit}: {own:?}");
        projectors.into_iter().for_each(Server::stop);
    });
}
