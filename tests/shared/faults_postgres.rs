//! PostgreSQL, its disk and the connections to it go away and come back.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use annals_bus::partitioner::partition_of;
use annals_schemas::{ActionRecorded, Actor, ActorKind, Event, Meta, Personal, PersonalData, Severity};
use annals_testing::proxy::Proxy;
use annals_testing::servers::{self, Options, Server as Kind};
use chrono::Utc;
use uuid::Uuid;

use crate::support::servers::own;
use crate::support::{Home, Ledger, Load, Server, health, until, verify, views};

const VIEW: &str = "projector of audit_log";

/// A customer of whom nobody heard before.
const STRANGER: Uuid = Uuid::from_u128(0xbeef);

#[test]
fn a_database_that_is_restarted_delays_views_and_loses_no_row() {
    let own = own(Options { servers: vec![Kind::Postgres], ..Options::default() });
    let mut home = Home::at(&servers::kafka().bootstrap, "", &own.servers.postgres());
    home.set_up();
    let first = Server::start_command(&mut home.serve("projector,relay"));
    let second = Server::start_command(&mut home.serve("projector"));
    let query = Server::start_command(&mut home.serve("query")).ready();
    let all = [&first, &second, &query];
    let load = Load::at_rate(&home, 1, 500);
    health::goes_on(&home, &all, &load);
    for hard in [false, true, true] {
        if hard {
            own.kill(Kind::Postgres);
        } else {
            own.stop(Kind::Postgres);
        }
        for server in [&first, &second] {
            health::says(server, VIEW, "waiting", "cannot be reached");
        }
        health::says(&first, "relay", "waiting", "cannot be reached");
        // Nobody's acknowledgement depends on the database.
        load.more(300);
        own.start(Kind::Postgres);
        health::goes_on(&home, &all, &load);
        query.events(&query.sign_in(), "max_results=5");
    }
    let mut ledger = Ledger::default();
    load.stop(&mut ledger);
    verify::log_and_views(&home, &ledger);
    for server in [first, second, query] {
        server.stop();
    }
}

#[test]
fn a_connection_to_the_database_that_breaks_in_the_middle_of_a_batch_leaves_nothing_half() {
    let postgres = servers::postgres();
    let (before, after) = postgres.url.split_once('@').unwrap();
    let place = after.split('/').next().unwrap();
    let between = Proxy::start(None, place.parse().unwrap()).unwrap();
    let mut home = Home::new();
    let name = &home.database.name;
    home.store = format!("{before}@{}/{name}", between.address());
    let server = Server::start_command(&mut home.serve("projector,relay"));
    let mut ledger = Ledger::default();
    // Somewhere in the statements of a batch, most of whose bytes are its rows.
    for (seed, bytes) in (1..).zip([2_000, 20_000, 60_000, 100_000, 150_000, 250_000, 400_000, 700_000]) {
        server.process.signal("STOP");
        Load::of(&home, seed, 3_000, &mut ledger);
        between.cut_after(bytes);
        server.process.signal("CONT");
        until("the connections are cut", || between.is_cut().then_some(()));
        health::says(&server, VIEW, "waiting", "cannot be reached");
        between.restore();
        health::is_well(&server);
        views::caught_up(&home);
    }
    between.hold();
    Load::of(&home, 100, 300, &mut ledger);
    // A connection that answers no more, or none to be had: whichever it meets first.
    health::says(&server, VIEW, "waiting", "");
    between.restore();
    health::is_well(&server);
    verify::log_and_views(&home, &ledger);
    assert_eq!(views::dead_letters(&home), [""; 0]);
    server.stop();
}

/// A small file system in memory, for as long as this lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("annals-disk-").tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0755"), "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(mounted.unwrap().success(), "a file system in memory can be mounted");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let filled = std::fs::File::create(self.path().join("filler")).map(|mut file| {
            use std::io::Write;
            let zeros = vec![0; 64 * 1024];
            while file.write_all(&zeros).is_ok() {}
        });
        filled.unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whatever still runs on it is killed with its servers; the mount point itself is free at once.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_of_the_database_is_waited_for() {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: only root may mount the small file system of this test");
        return;
    }
    let disk = SmallDisk::mount("400m");
    let own = own(Options {
        servers: vec![Kind::Postgres],
        postgres_directory: Some(disk.path().to_owned()),
        postgres: vec![
            ("max_wal_size", "64MB".into()),
            ("min_wal_size", "64MB".into()),
            ("checkpoint_timeout", "30s".into()),
        ],
        ..Options::default()
    });
    let home = Home::at(&servers::kafka().bootstrap, "", &own.servers.postgres());
    let mut server = Server::start_command(&mut home.serve("projector,relay"));
    let load = Load::start(&home, 1);
    health::goes_on(&home, &[&server], &load);
    for dies in [false, true] {
        disk.fill();
        server.process.stderr_line(|line| line.contains("no space left"));
        health::says(&server, VIEW, "waiting", "");
        if dies {
            // PostgreSQL ends when its write-ahead log finds no room, and stays down when its recovery finds none either.
            until("no room for the write-ahead log", || {
                let more = "SELECT pg_logical_emit_message(false, 'test', 'more'), pg_switch_wal()";
                home.try_execute(more).is_err().then_some(())
            });
            health::says(&server, VIEW, "waiting", "cannot be reached");
        }
        load.more(300);
        disk.free();
        // It may have ended without being asked to, at any moment since. Whoever watches over it starts it again.
        until("the database answers", || {
            own.start(Kind::Postgres);
            home.try_execute("SELECT 1").is_ok().then_some(())
        });
        health::goes_on(&home, &[&server], &load);
    }
    let mut ledger = Ledger::default();
    load.stop(&mut ledger);
    verify::log_and_views(&home, &ledger);
    server.stop();
}

/// An event with texts that no other one has, by somebody whose events stand in this partition.
fn event(partition: u32) -> Event {
    let at = |actor: &Uuid| partition_of(format!("{STRANGER}/{actor}").as_bytes(), 4) == partition;
    let actor = (1..).map(Uuid::from_u128).find(at).unwrap();
    let personal = Personal {
        account: Some("stranger@acme.example".into()),
        address: Some("192.0.2.77".into()),
        entity_id: Some("door-4711".into()),
        ..Personal::default()
    };
    let meta = Meta {
        event_id: Uuid::now_v7(),
        customer: STRANGER,
        occurred_at: Utc::now(),
        source: "urn:test".into(),
        actor: Actor::new(ActorKind::PortalAccount, actor),
    };
    ActionRecorded {
        meta,
        action: "DOOR_OPENED".into(),
        category: "door".into(),
        severity: Severity::Info,
        entity_type: Some("door".into()),
        count: 1,
        personal: PersonalData::Personal(personal),
    }
    .into()
}

#[test]
fn a_database_that_loses_its_last_transactions_in_a_crash_gets_them_again() {
    // What is committed is written to the disk late: the crash always takes something with it.
    let postgres = vec![("wal_writer_delay", "10000ms".into())];
    let own = own(Options { servers: vec![Kind::Postgres], postgres, ..Options::default() });
    let home = Home::at(&servers::kafka().bootstrap, "", &own.servers.postgres());
    let server = Server::start_command(&mut home.serve("projector,relay"));
    let mut ledger = Ledger::default();
    Load::of(&home, 1, 400, &mut ledger);
    verify::log_and_views(&home, &ledger);
    home.execute("CHECKPOINT");
    Load::these(&home, vec![event(1)], &mut ledger);
    views::caught_up(&home);
    let folded = Instant::now();
    own.kill(Kind::Postgres);
    // With all of its texts known already, and without a reason to look at the first one again. A connection that was idle
    // for less than a second is used without a look at it, and its failure alone would begin everything anew.
    until("the connections count as idle", || {
        (folded.elapsed() > Duration::from_millis(1_100)).then_some(())
    });
    Load::these(&home, vec![event(2)], &mut ledger);
    own.start(Kind::Postgres);
    verify::log_and_views(&home, &ledger);
    let schema = views::active(&home, "audit_log").unwrap();
    let rows = views::audit_log_rows(&home, &schema);
    let whole =
        rows.iter().filter(|row| row.contains("|DOOR_OPENED|") && row.contains("|192.0.2.77|door-4711|"));
    assert_eq!(whole.count(), 2, "both with all of their texts");
    server.stop();
}
