//! Several relays: one works, the others take over.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use annals_schemas::Event;
use sqlx::{Connection, Executor};
use uuid::Uuid;

use crate::support::{Home, Ledger, Server, at_once, block_on, log, until, until_within, verify, views};

/// A relay's lease lasts five seconds, and the others look every second.
const TAKEOVER: Duration = Duration::from_secs(20);

fn relay(home: &Home) -> Server {
    Server::start_command(&mut home.serve("relay"))
}

/// A server whose sign-ins fill the outbox, and which relays nothing itself.
fn portal(home: &Home) -> Server {
    Server::start_command(&mut home.serve("projector,query"))
}

/// Event ids that wait, in their order.
fn waiting(home: &Home) -> Vec<Uuid> {
    let ids = views::query(home, "SELECT event_id::text FROM annals.outbox ORDER BY sequence");
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

/// How often each event that annals tells of itself stands in the log.
fn told(home: &Home) -> HashMap<Uuid, usize> {
    let mut times = HashMap::new();
    for record in log::read(home) {
        if record.event.as_ref().is_some_and(log::is_own) {
            *times.entry(record.id().unwrap()).or_default() += 1;
        }
    }
    times
}

#[test]
fn two_relays_at_once_bring_every_event_and_each_view_shows_it_once() {
    let home = Home::with_account();
    let portal = portal(&home);
    let relays = [relay(&home), relay(&home)];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..8).for_each(|_| drop(portal.sign_in())));
        }
    });
    let records = verify::everything(&home, &portal, &Ledger::default());
    let sign_ins =
        |event: &Event| matches!(event, Event::LoginSucceeded(login) if login.meta.source.contains("papi"));
    let sign_ins: HashSet<Uuid> = records
        .iter()
        .filter(|record| record.event.as_ref().is_some_and(sign_ins))
        .filter_map(log::LogRecord::id)
        .collect();
    assert_eq!(sign_ins.len(), 33, "each sign-in is told, also that of the check");
    for relay in relays {
        relay.stop();
    }
    portal.stop();
}

#[test]
fn a_relay_that_ends_between_append_and_acknowledgement_is_replaced_within_seconds() {
    // Held for ever at the point with all else alive; stopped whole; dead.
    at_once(["HELD", "STOP", "KILL"], |signal| {
        let home = Home::with_account();
        let portal = portal(&home);
        let mut first =
            Server::start_command(home.serve("relay").env("ANNALS_CRASH_POINT", "relay:after-append"));
        let second = relay(&home);
        // Only the first one is there to take it.
        second.process.signal("STOP");
        portal.sign_in();
        first.process.stderr_line(|line| line == "crash point relay:after-append");
        let open = waiting(&home);
        assert_eq!(open.len(), 1, "it was appended and not yet taken from the outbox");
        assert_eq!(told(&home)[&open[0]], 1);
        if signal != "HELD" {
            first.process.signal(signal);
        }
        second.process.signal("CONT");
        until_within(TAKEOVER, "the other relay takes over", || waiting(&home).is_empty().then_some(()));
        assert_eq!(told(&home)[&open[0]], 2, "{signal}: nobody can know, so it is appended again");
        verify::everything(&home, &portal, &Ledger::default());
        first.process.kill();
        second.stop();
        portal.stop();
    });
}

/// Makes relays wait for this lock before they take anything out of the outbox.
const HOLD_UP: &str = "
    CREATE FUNCTION held_up() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$;
    CREATE TRIGGER held_up BEFORE DELETE ON annals.outbox FOR EACH STATEMENT EXECUTE FUNCTION held_up();";

#[test]
fn a_relay_that_was_stopped_between_append_and_acknowledgement_goes_on() {
    let home = Home::with_account();
    let portal = portal(&home);
    home.execute(HOLD_UP);
    let mut lock = home.connection();
    block_on(lock.execute("SELECT pg_advisory_lock(4711)")).unwrap();
    let mut first = relay(&home);
    portal.sign_in();
    let waits = format!(
        "pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'
         AND application_name = 'annals control ({})'",
        first.process.id()
    );
    until("the relay waits to take the event out", || (views::count(&home, &waits) > 0).then_some(()));
    let open = waiting(&home);
    first.process.signal("STOP");
    block_on(lock.close()).unwrap();
    let second = relay(&home);
    until_within(TAKEOVER, "the other relay takes over", || waiting(&home).is_empty().then_some(()));
    assert_eq!(told(&home)[&open[0]], 2);
    first.process.signal("CONT");
    first.process.stderr_line(|line| line.contains("the relay is waiting to try again"));
    second.stop();
    portal.sign_in();
    verify::everything(&home, &portal, &Ledger::default());
    first.stop();
    portal.stop();
}
