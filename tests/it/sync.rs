//! No acknowledgement comes before its sync: the system calls of a producer, one publisher, read in order.

use std::collections::HashMap;
use std::process::Command;

use crate::support::home::CUSTOMER;
use crate::support::{Home, Load, Process};

/// Events of a run.
const EVENTS: usize = 60;

/// What a producer's system calls come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    acknowledged: usize,
    synced: usize,
}

/// Reads a trace (`strace -f -y`): between two acknowledgements something must be written to the log, and all that was
/// written must be synced by a call that began after the last write and returned well before the acknowledgement.
fn check(trace: &str) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let mut writes = 0_usize;
    let mut synced_writes = 0;
    let mut writes_acknowledged = 0;
    // Syncs that a thread began and that have not returned: how many writes they cover.
    let mut under_way: HashMap<&str, usize> = HashMap::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, call)) = line.split_once(' ').map(|(thread, call)| (thread, call.trim_start()))
        else {
            continue;
        };
        let of_log = call.contains("/log.db");
        let is_sync = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        if is_sync && of_log {
            if call.contains("<unfinished") {
                under_way.insert(thread, writes);
            } else if call.ends_with("= 0") {
                (counts.synced, synced_writes) = (counts.synced + 1, writes);
            }
        } else if call.starts_with("<... fdatasync resumed>") || call.starts_with("<... fsync resumed>") {
            if let Some(covered) = under_way.remove(thread)
                && call.ends_with("= 0")
            {
                (counts.synced, synced_writes) = (counts.synced + 1, synced_writes.max(covered));
            }
        } else if (call.starts_with("write(") || call.starts_with("pwrite64(")) && of_log {
            writes += 1;
        } else if call.starts_with("write(1<") && call.contains("\"ok ") {
            if writes == writes_acknowledged {
                return Err(format!("line {}: nothing was written to the log before this ok", number + 1));
            }
            if synced_writes < writes {
                return Err(format!(
                    "line {}: this ok comes before the sync of what was written",
                    number + 1
                ));
            }
            (counts.acknowledged, writes_acknowledged) = (counts.acknowledged + 1, writes);
        }
    }
    Ok(counts)
}

/// The system calls of a load of one publisher.
fn trace(synchronous: &str) -> String {
    let home = Home::new();
    let customer = home.customer_id(CUSTOMER);
    let load = Load::command(&home, customer, 1);
    let output = home.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "64", "-e", "trace=fdatasync,fsync,write,pwrite64", "-o"]).arg(&output);
    command.arg(load.get_program()).args(load.get_args()).current_dir(home.path());
    command.args(["--count", &EVENTS.to_string(), "--concurrency", "1", "--synchronous", synchronous]);
    assert!(
        Command::new("strace").arg("--version").output().is_ok(),
        "this test needs strace: apt-get install strace"
    );
    let done = Process::start(&mut command).finish().expect(0);
    assert_eq!(done.stdout.lines().filter(|line| line.starts_with("ok ")).count(), EVENTS);
    std::fs::read_to_string(output).unwrap()
}

#[test]
fn no_acknowledgement_comes_before_its_sync() {
    let counts = check(&trace("full")).unwrap();
    eprintln!("{} acknowledgements, {} syncs of the log", counts.acknowledged, counts.synced);
    assert_eq!(counts.acknowledged, EVENTS);
    assert!(counts.synced >= EVENTS, "{counts:?}");
}

#[test]
fn a_log_that_is_not_synced_is_found_out() {
    let trace = trace("off");
    let refusal = check(&trace).unwrap_err();
    assert!(refusal.contains("this ok comes before the sync"), "{refusal}");
}

#[test]
fn the_reading_of_a_trace_knows_what_counts() {
    let write = "7 pwrite64(9</d/log.db-wal>, \"x\", 24, 0) = 24\n";
    let sync = "7 fdatasync(9</d/log.db-wal>) = 0\n";
    let ok = "8 write(1<pipe:[5]>, \"ok 0190\\n\", 8) = 8\n";
    let counts = |acknowledged, synced| Ok(Counts { acknowledged, synced });
    assert_eq!(check(&[write, write, sync, ok, write, sync, ok].concat()), counts(2, 2));
    for bad in [
        &[write, ok][..],
        &[sync, ok],
        &[write, sync, write, ok],
        &[write, sync, ok, ok],
        &[write, "7 fdatasync(9</d/control.db-wal>) = 0\n", ok],
        &[write, "7 fdatasync(9</d/log.db-wal>) = -1 EIO (Input/output error)\n", ok],
        &[write, "7 fdatasync(9</d/log.db-wal> <unfinished ...>\n", ok],
        // A sync that began before the write does not cover it.
        &["7 fdatasync(9</d/log.db-wal> <unfinished ...>\n", write, "7 <... fdatasync resumed>) = 0\n", ok],
    ] {
        assert!(check(&bad.concat()).is_err(), "{bad:?}");
    }
    let interrupted =
        [write, "7 fdatasync(9</d/log.db-wal> <unfinished ...>\n", "7 <... fdatasync resumed>) = 0\n", ok];
    assert_eq!(check(&interrupted.concat()), counts(1, 1));
}
