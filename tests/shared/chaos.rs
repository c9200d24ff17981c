//! Projectors that join and leave at random under load.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::{Home, Ledger, Load, Server, verify, views};

/// Processes at most.
const PROCESSES: usize = 3;

/// How long it lasts, in seconds, unless ANNALS_TEST_SECONDS says otherwise.
const SECONDS: u64 = 20;

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

fn start(home: &Home) -> Server {
    Server::start_command(&mut home.serve("projector,relay"))
}

#[test]
fn projectors_that_join_and_leave_at_random_under_load_fold_each_event_once() {
    let seed = setting("ANNALS_TEST_SEED").unwrap_or_else(rand::random);
    eprintln!("ANNALS_TEST_SEED={seed} repeats this run's choices");
    let mut random = StdRng::seed_from_u64(seed);
    let home = Home::new();
    let mut running = vec![start(&home), start(&home)];
    let load = Load::start(&home, seed);
    let end = Instant::now() + Duration::from_secs(setting("ANNALS_TEST_SECONDS").unwrap_or(SECONDS));
    let mut stopped: Vec<Server> = Vec::new();
    while Instant::now() < end {
        // What happens next depends on events, not on time.
        load.more(random.random_range(100..1_500));
        let choice = random.random_range(0..10);
        if running.len() + stopped.len() < PROCESSES && choice < 5 || running.is_empty() {
            running.push(start(&home));
            continue;
        }
        let one = running.swap_remove(random.random_range(0..running.len()));
        match choice {
            0..4 => one.stop(),
            4..8 => {
                let mut one = one;
                one.process.kill();
            }
            // Stopped until a later round lets it go on, maybe after its group has given it up.
            _ => {
                one.process.signal("STOP");
                stopped.push(one);
            }
        }
        if !stopped.is_empty() && random.random_bool(0.3) {
            let one = stopped.swap_remove(0);
            one.process.signal("CONT");
            running.push(one);
        }
    }
    for one in stopped {
        one.process.signal("CONT");
        running.push(one);
    }
    if running.is_empty() {
        running.push(start(&home));
    }
    let mut ledger = Ledger::default();
    load.stop(&mut ledger);
    verify::log_and_views(&home, &ledger);
    assert_eq!(views::dead_letters(&home), [""; 0]);
    running.into_iter().for_each(Server::stop);
}
