//! A projector that is stopped for a while and then goes on: another one takes over, and the first one's write is refused.

use annals_bus::partitioner::partition_of;
use annals_producers::fleet::Fleet;
use annals_schemas::Event;
use annals_schemas::topics::AUDIT;
use chrono::Utc;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::support::{Home, Ledger, Load, Process, Server, at_once, block_on, until, verify, views};

/// Told by a projector whose write was refused.
const REFUSED: &str = "another writer came first";

/// Told by a projector whose connection the server has ended.
const LOST: &str = "waiting to try again";

/// A lock on a table of the audit log that keeps writers waiting.
struct Lock(PgConnection);

impl Lock {
    fn take(home: &Home, table: &str) -> Self {
        let schema = views::active(home, "audit_log").unwrap();
        let mut connection = home.connection();
        block_on(async {
            connection.execute("BEGIN").await.unwrap();
            let lock = format!("LOCK TABLE {schema}.{table} IN SHARE MODE");
            connection.execute(AssertSqlSafe(lock)).await.unwrap();
        });
        Self(connection)
    }

    /// Waits until a process waits for the lock.
    #[track_caller]
    fn holds_up(&self, home: &Home, process: &Process) {
        let waiting = format!(
            "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
             AND application_name LIKE 'annals audit_log.% projector ({})'",
            process.id()
        );
        until("the projector waits for the lock", || (views::count(home, &waiting) > 0).then_some(()));
    }

    fn release(self) {
        block_on(self.0.close()).unwrap();
    }
}

/// How often a process said something.
fn said(process: &Process, text: &str) -> usize {
    process.stderr().matches(text).count()
}

fn projector(home: &Home) -> Server {
    Server::start_command(&mut home.serve("projector,relay"))
}

/// Events of the audit log, some of one partition and some of any.
fn events(home: &Home, of_one_partition: usize, of_any: usize) -> Vec<Event> {
    let mut fleet = Fleet::of_customers(2, vec![home.customer], true);
    let mut next = || loop {
        let event = fleet.next(Utc::now());
        if event.event_type().topic() == AUDIT {
            return event;
        }
    };
    let any: Vec<Event> = (0..of_any).map(|_| next()).collect();
    let is_of_one = |event: &Event| partition_of(event.key().as_bytes(), AUDIT.partitions) == 0;
    let of_one = std::iter::repeat_with(next).filter(is_of_one).take(of_one_partition);
    any.into_iter().chain(of_one).collect()
}

/// A projector that has folded something, and is then stopped while it waits for this table with events in hand.
fn stopped_at(home: &Home, table: &str, events: Vec<Event>, ledger: &mut Ledger) -> Server {
    let first = projector(home);
    Load::of(home, 1, 300, ledger);
    views::caught_up(home);
    let lock = Lock::take(home, table);
    Load::these(home, events, ledger);
    lock.holds_up(home, &first.process);
    first.process.signal("STOP");
    lock.release();
    first
}

/// After another one has taken over: the stopped one goes on, spoils nothing, and works again when it is alone.
fn goes_on(home: &Home, mut first: Server, second: Server, said_so: &[&str], ledger: &mut Ledger) {
    first.process.signal("CONT");
    first.process.stderr_line(|line| said_so.iter().any(|words| line.contains(words)));
    verify::log_and_views(home, ledger);
    second.stop();
    Load::of(home, 3, 300, ledger);
    verify::log_and_views(home, ledger);
    assert!(views::dead_letters(home).is_empty());
    first.stop();
}

#[test]
fn a_projector_that_was_stopped_before_its_transaction_is_refused_and_goes_on() {
    let home = Home::new();
    let mut ledger = Ledger::default();
    // With its batch in hand, it waits to fill a dictionary.
    let first = stopped_at(&home, "actors", events(&home, 0, 300), &mut ledger);
    let second = projector(&home);
    verify::log_and_views(&home, &ledger);
    assert_eq!(said(&first.process, REFUSED), 0);
    goes_on(&home, first, second, &[REFUSED], &mut ledger);
}

#[test]
fn a_projector_that_was_stopped_in_its_transaction_loses_it_and_goes_on() {
    // A large delivery of several partitions is written in two transactions side by side. One of them waits for the lock;
    // the other one may stand before it, and hear first that it came too late.
    let cases: [(usize, usize, &[&str]); 3] =
        [(40, 0, &[LOST]), (4_000, 0, &[LOST]), (0, 4_000, &[LOST, REFUSED])];
    at_once(cases, |(of_one_partition, of_any, said_so)| {
        let home = Home::new();
        let mut ledger = Ledger::default();
        // Its positions are moved in the transaction that is open.
        let first = stopped_at(&home, "events", events(&home, of_one_partition, of_any), &mut ledger);
        let second = projector(&home);
        verify::log_and_views(&home, &ledger);
        goes_on(&home, first, second, said_so, &mut ledger);
    });
}

#[test]
fn a_projector_that_is_stopped_at_any_point_for_ever_is_replaced() {
    let points = [
        "projector:before-transaction",
        "projector:after-positions",
        "projector:before-commit",
        "projector:after-commit",
    ];
    at_once(points, |point| {
        let home = Home::new();
        let mut ledger = Ledger::default();
        let mut first = Server::start_command(home.serve("projector,relay").env("ANNALS_CRASH_POINT", point));
        Load::of(&home, 1, 300, &mut ledger);
        first.process.stderr_line(|line| line == format!("crash point {point}"));
        first.process.signal("STOP");
        let second = projector(&home);
        verify::log_and_views(&home, &ledger);
        let third = projector(&home);
        // What it still does outside of the thread that is held does no harm either.
        first.process.signal("CONT");
        Load::of(&home, 2, 300, &mut ledger);
        first.process.kill();
        verify::log_and_views(&home, &ledger);
        second.stop();
        third.stop();
    });
}
