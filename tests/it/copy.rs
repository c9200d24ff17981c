//! `annals log copy` as its users run it: killed at every point, beside servers, on a full disk.

use std::process::Command;

use annals_bus::{KafkaBus, KafkaSettings};
use annals_testing::servers;
use serde_json::Value;
use uuid::Uuid;

use crate::crash::{kill_at, visits};
use crate::disk::SmallDisk;
use crate::support::process::Finished;
use crate::support::windows::windows_logons;
use crate::support::{Home, Process, Server, block_on};

/// Records that are imported before a copy.
const LINES: usize = 1_000;

/// A data directory with records in every partition of a topic.
fn filled() -> Home {
    let home = Home::new();
    let file = home.write("events.jsonl", windows_logons(0..LINES));
    home.import(&file, 0);
    home
}

fn command(home: &Home, from: &str, to: &str) -> Command {
    home.bare_command(&["log", "copy", from, to, "--json"])
}

fn copy(home: &Home, from: &str, to: &str) -> Finished {
    Process::start(&mut command(home, from, to)).finish()
}

/// Records copied by this run and by those before, as the summary says.
fn copied(done: &Finished) -> (u64, u64) {
    let summary: Value = serde_json::from_str(&done.stdout).unwrap();
    let topics = summary["topics"].as_array().unwrap();
    let sum = |field: &str| topics.iter().map(|topic| topic[field].as_u64().unwrap()).sum();
    (sum("records"), sum("already_there"))
}

/// The log of a data directory, as `annals log dump` prints it.
fn dump(home: &Home, directory: &str) -> String {
    Process::start(&mut home.bare_command(&["log", "dump", "--data", directory])).finish().expect(0).stdout
}

#[test]
fn a_copy_that_is_killed_at_any_point_goes_on_exactly() {
    let home = filled();
    let expected = dump(&home, "data");
    let total = expected.lines().count() as u64;
    assert!(total > LINES as u64);
    for visit in visits("copy:") {
        let name = visit.replace([':', '#'], "-");
        let to = if visit.contains("rename") || visit.contains("manifest") {
            format!("archive:{name}")
        } else {
            name.clone()
        };
        let mut killed = Process::start(command(&home, "data", &to).env("ANNALS_CRASH_POINT", visit));
        kill_at(&mut killed, visit);
        let (records, already_there) = copied(&copy(&home, "data", &to).expect(0));
        assert_eq!(records + already_there, total, "{visit}");
        assert_eq!(copied(&copy(&home, "data", &to).expect(0)), (0, total), "{visit}");
        if to != name {
            assert_eq!(copied(&copy(&home, &to, &name.replace("copy", "restored")).expect(0)), (total, 0));
        }
        assert_eq!(
            dump(&home, &name.replace("copy", if to == name { "copy" } else { "restored" })),
            expected
        );
    }
}

#[test]
fn a_server_may_run_on_the_source_but_not_on_the_target() {
    let home = filled();
    let server = Server::start(&home).ready();
    copy(&home, "data", "copy").expect(0);
    let refused = copy(&home, "copy", "data").expect(1);
    assert!(refused.stderr.contains("another process is the projector"), "{}", refused.stderr);
    server.stop();
    let refused = copy(&home, "copy", "data").expect(1);
    assert!(refused.stderr.contains("that did not come from FROM"), "{}", refused.stderr);
    // The copy is a log like any other.
    let copied = Home::with_data(&home.path().join("copy"));
    Server::start(&copied).ready().stop();
}

#[test]
fn what_cannot_be_copied_is_refused_in_words() {
    let home = filled();
    for (from, to, reason) in [
        ("data", "./data/", "FROM and TO are the same"),
        ("nowhere", "copy", "FROM: there is no data directory at `nowhere`"),
        ("archive:nowhere", "copy", "FROM: there is no archive at `nowhere`"),
        ("data", "archive:data", "`data` is neither empty nor an archive of annals"),
        (
            "data",
            "postgres://localhost/annals",
            "TO: a log is a data directory, a kafka:// address or archive:FOLDER",
        ),
        (
            "kafka://127.0.0.1:1?timeout_s=1",
            "copy",
            "FROM: the log at `kafka://127.0.0.1:1` cannot be reached",
        ),
        ("data", "kafka://127.0.0.1:1?timeout_s=1", "TO: the log at `kafka://127.0.0.1:1` cannot be reached"),
    ] {
        let refused = copy(&home, from, to).expect(1);
        assert!(refused.stderr.contains(reason), "{from} to {to}: {}", refused.stderr);
    }
    assert!(!home.path().join("nowhere").exists() && !home.path().join("copy").exists());
}

#[test]
fn a_full_disk_is_told_and_the_copy_goes_on_once_there_is_room() {
    let Some(disk) = SmallDisk::mount("64m") else {
        eprintln!("the tests may not mount a small disk here");
        return;
    };
    let home = filled();
    let total = dump(&home, "data").lines().count() as u64;
    for place in ["archive:", ""] {
        let to =
            format!("{place}{}/{}", disk.path().display(), if place.is_empty() { "data" } else { "archive" });
        // The folder is made before the disk is full.
        let mut killed = Process::start(command(&home, "data", &to).env(
            "ANNALS_CRASH_POINT",
            if place.is_empty() { "copy:before-note" } else { "copy:before-rename" },
        ));
        kill_at(&mut killed, if place.is_empty() { "copy:before-note" } else { "copy:before-rename" });
        let filler = disk.fill();
        let refused = copy(&home, "data", &to).expect(1);
        assert!(refused.stderr.contains("no space left on the disk"), "{}", refused.stderr);
        std::fs::remove_file(filler).unwrap();
        let (records, already_there) = copied(&copy(&home, "data", &to).expect(0));
        assert_eq!(records + already_there, total);
    }
}

/// What is said of every record but its place, sorted.
fn contents(dump: &str) -> Vec<String> {
    let content = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for place in ["position", "partition", "offset"] {
            line.as_object_mut().unwrap().remove(place);
        }
        line.to_string()
    };
    let mut contents: Vec<String> = dump.lines().map(content).collect();
    contents.sort();
    contents
}

#[test]
fn a_log_goes_through_kafka_whatever_the_number_of_its_partitions() {
    let home = filled();
    let address =
        format!("kafka://{}?topic_prefix=copy-{}.", servers::kafka().bootstrap, Uuid::new_v4().simple());
    let refused = copy(&home, "data", &address).expect(1);
    assert!(refused.stderr.contains("run `annals topics ensure`"), "{}", refused.stderr);
    let settings: KafkaSettings = address.parse().unwrap();
    block_on(KafkaBus::ensure_topics(&settings, &[("annals.audit", 7), ("annals.host-logons", 3)], None))
        .unwrap();
    let total = dump(&home, "data").lines().count() as u64;
    assert_eq!(copied(&copy(&home, "data", &address).expect(0)), (total, 0));
    assert_eq!(copied(&copy(&home, &address, "archive:archive").expect(0)), (total, 0));
    for from in [address.as_str(), "archive:archive"] {
        let to = format!("back-{}", from.len());
        assert_eq!(copied(&copy(&home, from, &to).expect(0)), (total, 0));
        assert_eq!(contents(&dump(&home, &to)), contents(&dump(&home, "data")));
        // The ids are the same, so one may go on where the other ended.
        assert_eq!(copied(&copy(&home, &address, &to).expect(0)), (0, total));
    }
}
