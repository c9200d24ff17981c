//! PostgreSQL, its disk and the connections to it go away and come back.

use std::path::Path;
use std::process::Command;

use annals_testing::proxy::Proxy;
use annals_testing::servers::{self, Options, Server as Kind};

use crate::support::servers::own;
use crate::support::{Home, Ledger, Load, Server, health, until, verify, views};

const VIEW: &str = "projector of audit_log";

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
    // Where in the batch it breaks: in its look for known rows, its COPY, and behind it.
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
    health::says(&server, VIEW, "waiting", "the database has been at a batch");
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
    disk.fill();
    server.process.stderr_line(|line| line.contains("no space left"));
    health::says(&server, VIEW, "waiting", "");
    load.more(300);
    disk.free();
    health::goes_on(&home, &[&server], &load);
    let mut ledger = Ledger::default();
    load.stop(&mut ledger);
    verify::log_and_views(&home, &ledger);
    server.stop();
}

#[test]
fn experiment_dictionary() {
    use annals_producers::fleet::Fleet;
    use chrono::Utc;
    use std::time::{Duration, Instant};
    let own = own(Options {
        servers: vec![Kind::Postgres],
        postgres: vec![("wal_writer_delay", "10000ms".into())],
        ..Options::default()
    });
    let home = Home::at(&servers::kafka().bootstrap, "", &own.servers.postgres());
    let server = Server::start_command(home.serve("projector,relay").env("ANNALS_LOG", "annals=debug,info"));
    let mut ledger = Ledger::default();
    Load::of(&home, 1, 400, &mut ledger);
    views::outbox_empty(&home);
    views::caught_up(&home);
    let customer = uuid::Uuid::from_u128(0xbeef);
    let mut fleet = Fleet::of_customers(7, vec![customer], false);
    let place =
        |event: &annals_schemas::Event| annals_bus::partitioner::partition_of(event.key().as_bytes(), 4);
    let first = fleet.next(Utc::now());
    let mut second = fleet.next(Utc::now());
    while place(&second) == place(&first) {
        second = fleet.next(Utc::now());
    }
    home.execute("CHECKPOINT");
    Load::these(&home, vec![first.clone()], &mut ledger);
    let id = first.meta().event_id;
    until("the first is a row", || {
        (views::count(&home, &format!("annals_audit_log_1.events WHERE event_id = '{id}'")) > 0).then_some(())
    });
    let folded = Instant::now();
    own.kill(Kind::Postgres);
    eprintln!("PROBE killed {:?}", folded.elapsed());
    while folded.elapsed() < Duration::from_millis(1100) {
        std::thread::yield_now();
    }
    Load::these(&home, vec![second.clone()], &mut ledger);
    eprintln!("PROBE second {:?}", folded.elapsed());
    own.start(Kind::Postgres);
    eprintln!("PROBE started {:?}", folded.elapsed());
    let id2 = second.meta().event_id;
    until("the second is a row", || {
        (views::count(&home, &format!("annals_audit_log_1.events WHERE event_id = '{id2}'")) > 0)
            .then_some(())
    });
    eprintln!("PROBE second is a row {:?}", folded.elapsed());
    eprintln!(
        "PROBE {:?}",
        views::query(
            &home,
            &format!(
                "SELECT customer::text || ' ' || event_id FROM annals_audit_log_1.events WHERE event_id IN ('{id}', '{}')",
                second.meta().event_id
            )
        )
    );
    eprintln!(
        "PROBE {:?}",
        views::query(&home, "SELECT id || ' ' || customer FROM annals_audit_log_1.customers")
    );
    eprintln!("{}", server.process.stderr());
    for _ in 0..40 {
        std::thread::sleep(Duration::from_millis(500));
    }
    eprintln!("PROBE positions {:?}", views::positions(&home, "audit_log"));
    eprintln!("PROBE status {}", home.run(&["status"]).stdout);
    verify::log_and_views(&home, &ledger);
    server.stop();
}
