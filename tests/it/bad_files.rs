//! Files that an import cannot use, or not all of: each is named with its line, the rest goes on, nothing is half done.

use std::io::Write;
use std::process::Command;

use serde_json::json;

use crate::support::home::CUSTOMER;
use crate::support::windows::{windows_logon, windows_logons};
use crate::support::{Home, Process, log, until};

/// Length of the monstrous line.
const MONSTER_BYTES: usize = 100 * 1024 * 1024;

/// How much more memory it may take than a line of usual length.
const MONSTER_MEMORY_KIB: u64 = 16 * 1024;

/// Events that are in the log by import.
fn imported(home: &Home) -> usize {
    log::read(home).iter().filter(|record| !log::is_own(record.event.as_ref().unwrap())).count()
}

#[test]
fn half_a_last_line_is_told_with_its_number_and_the_rest_is_imported() {
    let home = Home::new();
    let half = windows_logon(3);
    let file = home.write("half.jsonl", windows_logons(0..3) + &half[..half.len() / 2]);
    let summary = home.import(&file, 3);
    assert_eq!((&summary["published"], &summary["failed"]), (&json!(3), &json!(1)));
    let failure = &summary["failures"][0];
    assert_eq!((&failure["file"], &failure["line"]), (&json!(file), &json!(4)));
    assert!(
        failure["reason"].as_str().unwrap().starts_with("the file seems cut: its last line has no end"),
        "{failure}"
    );
    assert_eq!(imported(&home), 3);
    // The whole file later: only the missing record is new.
    let file = home.write("half.jsonl", windows_logons(0..4));
    let summary = home.import(&file, 0);
    assert_eq!((&summary["published"], &summary["already_known"]), (&json!(1), &json!(3)));
    assert_eq!(imported(&home), 4);
}

#[test]
fn a_line_of_100_megabytes_is_skipped_without_being_held_in_memory() {
    let home = Home::new();
    // A pipe instead of a file: while it stays open the process lives, and its memory can be read.
    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut import = Process::start(&mut home.import_command(&pipe));
    let mut input = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    input.write_all(windows_logons(0..2_000).as_bytes()).unwrap();
    until("the import publishes", || (imported(&home) > 0).then_some(()));
    let before = peak_memory_kib(&import);
    input.write_all(b"{\"EventID\":4624,\"Message\":\"").unwrap();
    let piece = vec![b'x'; 1024 * 1024];
    for _ in 0..MONSTER_BYTES / piece.len() {
        input.write_all(&piece).unwrap();
    }
    let after = peak_memory_kib(&import);
    assert!(import.is_running());
    eprintln!("peak memory: {before} KiB before the line, {after} KiB after it");
    assert!(after < before + MONSTER_MEMORY_KIB, "from {before} KiB to {after} KiB");
    input.write_all(b"\"}\n").unwrap();
    input.write_all(windows_logons(2_000..2_001).as_bytes()).unwrap();
    drop(input);
    let done = import.finish().expect(3);
    let summary: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&summary["published"], &summary["failed"]), (&json!(2_001), &json!(1)));
    assert_eq!(summary["failures"][0]["line"], 2_001);
    assert_eq!(summary["failures"][0]["reason"], "longer than 1048576 bytes");
    assert_eq!(imported(&home), 2_001);
}

/// The most memory that a process ever had.
fn peak_memory_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn bytes_that_are_no_text_and_lines_that_are_no_record_are_told_one_by_one() {
    let home = Home::new();
    let mut content = windows_logons(0..1).into_bytes();
    content.extend(
        b"{\"EventID\": 4624, \"Message\": \"\xff\xfe\"}\n[1]\n\nnothing\n{}\n{\"EventID\":\"x\"}\r\n",
    );
    content.extend(windows_logons(1..2).bytes());
    let file = home.write("mixed.jsonl", content);
    let mut command = home.command(&["import", "windows-security", "--customer", CUSTOMER]);
    let done = Process::start(command.arg(&file)).finish().expect(3);
    let lines: Vec<&str> = done.stdout.lines().collect();
    let name = file.display();
    for (line, (number, reason)) in lines.iter().zip([
        (2, "not UTF-8 from byte 31"),
        (3, "not a JSON object but an array"),
        (5, "not JSON: "),
        (6, "`EventID` is missing"),
        (7, "`EventID` is not "),
    ]) {
        assert!(line.starts_with(&format!("{name}:{number}: {reason}")), "{line}");
    }
    assert_eq!(lines[5], "7 read, 2 published, 0 already known, 5 failed");
    assert_eq!(imported(&home), 2);
}

#[test]
fn an_empty_file_is_an_import_of_nothing() {
    let home = Home::new();
    for content in ["", "\n", "\u{feff}", "\r\n\r\n"] {
        let summary = home.import(&home.write("empty.jsonl", content), 0);
        let counts =
            ["read", "published", "already_known", "failed"].map(|name| summary[name].as_u64().unwrap());
        assert_eq!(counts, [0; 4], "{content:?}");
    }
    assert_eq!(imported(&home), 0);
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_what_was_done_before_it_is_told() {
    let home = Home::new();
    let (good, missing) = (home.write("good.jsonl", windows_logons(0..2)), home.path().join("missing.jsonl"));
    let done = Process::start(home.import_command(&good).arg(&missing)).finish().expect(1);
    let done = done.says(&["annals: cannot open `", "missing.jsonl`", "No such file"]);
    let summary: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(summary["published"], 2);
    let done = Process::start(&mut home.import_command(home.path())).finish().expect(1);
    done.says(&["annals: cannot ", "Is a directory", &home.path().display().to_string()]);
    // The start of a compressed file: damaged, and told as that.
    let compressed = home.write("cut.jsonl.gz", [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b]);
    let done = Process::start(&mut home.import_command(&compressed)).finish().expect(1);
    done.says(&["annals: the compressed file `", "cut.jsonl.gz` is damaged or cut short"]);
    assert_eq!(imported(&home), 2);
}

#[test]
fn an_import_for_nobody_imports_nothing() {
    let home = Home::new();
    let file = home.write("events.jsonl", windows_logons(0..2));
    let before = log::read(&home).len();
    let mut command = home.command(&["import", "windows-security", "--customer", "nobody"]);
    Process::start(command.arg(&file)).finish().expect(1).says(&["annals: ", "`nobody`"]);
    let mut command =
        home.command(&["import", "windows-security", "--customer", CUSTOMER, "--timezone", "Mars/Base"]);
    Process::start(command.arg(&file)).finish().expect(2).says(&["Mars/Base", "--timezone"]);
    assert_eq!(log::read(&home).len(), before);
}
