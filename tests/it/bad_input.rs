//! Data directories that cannot be used, logs that are not the ones that a view folded, and records that cannot be
//! decoded.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use annals_bus::{Bus, Record};
use annals_schemas::codec;
use annals_schemas::topics::AUDIT;
use serde_json::Value;

use crate::support::home::{ACCOUNT, CUSTOMER};
use crate::support::windows::windows_logons;
use crate::support::{Home, Ledger, Load, Process, Server, block_on, is_root, log, until, verify, views};

/// Somebody who owns nothing.
const NOBODY: &str = "65534";

/// A data directory with some events, whose server has come and gone.
fn used_home(events: usize) -> (Home, Ledger) {
    let home = Home::new();
    let mut ledger = Ledger::default();
    Load::of(&home, home.customer_id(CUSTOMER), 1, events, &mut ledger);
    Server::start(&home).ready().stop();
    (home, ledger)
}

#[test]
fn a_directory_of_a_newer_version_is_refused_by_its_file_and_not_touched() {
    let (home, ledger) = used_home(50);
    let (log_db, control) = (home.data.join("log.db"), home.data.join("control.db"));
    let view = views::active(&home, "audit_log").unwrap();
    let newer = |version: u32| format!("PRAGMA user_version = {version}");
    let migration = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     VALUES (9999, 'of tomorrow', 1, x'00', 0)";
    let generation =
        |version: u32| format!("UPDATE generations SET version = {version} WHERE view = 'audit_log'");
    for (file, make, undo) in [
        (&log_db, newer(99), newer(1)),
        (&view, newer(99), newer(1)),
        (&control, migration.to_owned(), "DELETE FROM _sqlx_migrations WHERE version = 9999".to_owned()),
        (&view, generation(99), generation(1)),
    ] {
        let changed = if make.starts_with("UPDATE") { &control } else { file };
        views::execute(changed, &[&make]);
        let told = format!("`{}` was made by a newer version of annals", file.display());
        let refused = home.run(&["serve", "--listen", "127.0.0.1:0"]).expect(1).says(&["annals: ", &told]);
        assert_eq!(refused.stdout, "", "it never listened");
        if file != &view {
            home.run(&["customer", "add", "late"]).expect(1).says(&[&told]);
        }
        views::execute(changed, &[&undo]);
    }
    let server = Server::start(&home);
    let records = verify::everything(&home, &server, &ledger);
    assert!(!records.iter().any(|record| String::from_utf8_lossy(&record.value).contains("late")));
    server.stop();
}

#[test]
fn a_second_server_hears_who_has_the_directory_and_the_first_one_notices_nothing() {
    let home = Home::new();
    let server = Server::start(&home).ready();
    let (place, holder) = (home.data.display().to_string(), format!("process {}", server.process.id()));
    let refused = home.run(&["serve", "--listen", "127.0.0.1:0"]).expect(1);
    refused.says(&["annals: another process is the projector of `", &place, &holder]);
    server.sign_in();
    server.stop();
    // The role goes with the process, and what it had written down does not keep anybody out.
    Server::start(&home).ready().stop();
}

#[test]
fn a_second_rebuild_hears_that_one_is_under_way() {
    let (home, _) = used_home(50);
    let mut first = Process::start(
        home.command(&["rebuild", "audit_log"]).env("ANNALS_CRASH_POINT", "rebuild:before-switch"),
    );
    first.stderr_line(|line| line.starts_with("crash point"));
    let holder = format!("process {}", first.id());
    let second = home.run(&["rebuild", "logged_on_users"]).expect(1);
    second.says(&["annals: another process is the rebuild of `", &home.data.display().to_string(), &holder]);
    first.kill();
    home.run(&["rebuild", "logged_on_users"]).expect(0);
}

/// The program as somebody who may not write what the tests own.
fn as_nobody(home: &Home, arguments: &[&str]) -> Command {
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    if !is_root() {
        return home.command(arguments);
    }
    // The build directory need not be open to everybody.
    let program = home.path().join("annals");
    if !program.is_file() {
        std::fs::copy(env!("CARGO_BIN_EXE_annals"), &program).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(program).args(arguments);
    command.arg("--data").arg(&home.data).current_dir(home.path());
    command
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let home = Home::empty();
    set_mode(home.path(), 0o755);
    let place = home.data.display().to_string();
    // It cannot be made.
    if is_root() {
        for arguments in [&["serve"][..], &["customer", "add", "acme"]] {
            let refused = Process::start(&mut as_nobody(&home, arguments)).finish().expect(1);
            refused.says(&["annals: `", &place, "` is not writable"]);
        }
        assert!(!home.data.exists());
    }
    // It is there, and may be read.
    home.set_up();
    for folder in [&home.data, &home.data.join("views"), &home.data.join("roles")] {
        set_mode(folder, 0o555);
    }
    let before = std::fs::read_dir(&home.data).unwrap().count();
    for arguments in
        [&["serve", "--listen", "127.0.0.1:0"][..], &["customer", "add", "late"], &["rebuild", "audit_log"]]
    {
        let refused = Process::start(&mut as_nobody(&home, arguments)).finish().expect(1);
        refused.says(&["annals: `", &place, "` is not writable"]);
    }
    assert_eq!(std::fs::read_dir(&home.data).unwrap().count(), before);
    // It is there, and may not even be looked into: as annals makes it.
    set_mode(&home.data, if is_root() { 0o700 } else { 0o000 });
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["customer", "list"]] {
        let refused = Process::start(&mut as_nobody(&home, arguments)).finish().expect(1).says(&[&place]);
        assert!(
            !refused.stderr.contains("there is no data directory"),
            "{arguments:?}: it is there: {refused:?}"
        );
    }
    for folder in [&home.data, &home.data.join("views"), &home.data.join("roles")] {
        set_mode(folder, 0o700);
    }
    Server::start(&home).ready().stop();
}

#[test]
fn a_directory_that_is_not_there_or_is_a_file_is_named_and_not_made_by_readers() {
    let home = Home::empty();
    let place = home.data.display().to_string();
    for arguments in
        [&["customer", "list"][..], &["log", "dump"], &["rebuild", "audit_log"], &["dead-letters", "list"]]
    {
        home.run(arguments).expect(1).says(&["annals: there is no data directory at `", &place]);
    }
    assert!(!home.data.exists());
    std::fs::write(&home.data, "a file").unwrap();
    home.run(&["serve"]).expect(1).says(&["annals: ", &place]);
    std::fs::remove_file(&home.data).unwrap();
    home.set_up();
    std::fs::write(
        home.data.join("log.db"),
        "this was never a database of anybody, long enough to be looked at",
    )
    .unwrap();
    home.run(&["serve"]).expect(1).says(&["annals: `", "log.db` is damaged or not a database of annals"]);
}

/// Takes the last records of every partition away.
fn truncate(home: &Home) {
    views::execute(
        &home.data.join("log.db"),
        &[
            "DELETE FROM batches WHERE id NOT IN (SELECT min(id) FROM batches GROUP BY partition)",
            "UPDATE partitions SET next_offset = coalesce((SELECT count FROM batches WHERE partition = partitions.id), 0)",
        ],
    );
}

fn remove_log(home: &Home) {
    for file in ["log.db", "log.db-wal", "log.db-shm"] {
        let _ = std::fs::remove_file(home.data.join(file));
    }
}

/// The server says in `/readyz` why a view stopped, and answers papi all the same.
#[track_caller]
fn stopped_because(server: &Server, reason: &str) {
    let answer = until("a projector stopped", || {
        let answer = server.get("/readyz");
        (answer.json()["status"] == "stopped").then_some(answer)
    });
    assert_eq!(answer.status, 503);
    let components = answer.json()["components"].as_array().unwrap().clone();
    let told = |component: &Value| {
        let text = component["reason"].as_str().unwrap();
        text.contains(reason) && text.contains("rebuild the view")
    };
    assert!(components.iter().any(told), "{components:?}");
    let cookie = server.sign_in();
    assert!(!server.events(&cookie, "max_results=10").is_empty());
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn a_log_that_was_created_again_stops_its_views_with_the_reason_until_they_are_rebuilt() {
    let (home, _) = used_home(200);
    let customer = home.customer_id(CUSTOMER);
    let rows = views::audit_log_ids(&home);
    remove_log(&home);
    let server = Server::start(&home);
    stopped_because(&server, "the log was created again");
    assert_eq!(views::audit_log_ids(&home), rows, "nothing was skipped over, nothing was lost");
    server.stop();
    let mut ledger = Ledger::default();
    Load::of(&home, customer, 2, 100, &mut ledger);
    for view in ["audit_log", "logged_on_users"] {
        home.run(&["rebuild", view]).expect(0);
    }
    let server = Server::start(&home).ready();
    verify::everything(&home, &server, &ledger);
    server.stop();
}

#[test]
fn a_log_that_was_truncated_stops_its_views_with_the_reason_until_they_are_rebuilt() {
    for while_it_runs in [false, true] {
        let (home, _) = used_home(300);
        let rows = views::audit_log_ids(&home);
        let server = if while_it_runs {
            let server = Server::start(&home).ready();
            truncate(&home);
            server
        } else {
            truncate(&home);
            Server::start(&home)
        };
        stopped_because(&server, "the log was truncated or created again");
        assert_eq!(views::audit_log_ids(&home), rows);
        server.stop();
        for view in ["audit_log", "logged_on_users"] {
            home.run(&["rebuild", view]).expect(0);
        }
        let server = Server::start(&home).ready();
        assert!(views::audit_log_ids(&home).len() < rows.len());
        server.stop();
    }
}

#[test]
fn a_log_whose_last_record_is_another_one_stops_its_views() {
    let (home, _) = used_home(300);
    truncate(&home);
    // It grows beyond where the views stood before anybody looks.
    Load::of(&home, home.customer_id(CUSTOMER), 9, 600, &mut Ledger::default());
    let server = Server::start(&home);
    stopped_because(&server, "the log was changed behind it");
    server.stop();
}

#[test]
fn records_that_cannot_be_decoded_are_dead_letters_and_their_neighbours_are_rows() {
    let home = Home::new();
    let customer = home.customer_id(CUSTOMER);
    let mut ledger = Ledger::default();
    let server = Server::start(&home).ready();
    Load::of(&home, customer, 1, 20, &mut ledger);
    let broken: [(&str, Vec<u8>); 4] = [
        (
            "unknown schema fingerprint `efcdab8967452301`",
            vec![0xC3, 1, 1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 9],
        ),
        ("broken Avro in a record of type `LoginFailed`", {
            let mut bytes = vec![0xC3, 1];
            let failed =
                codec::schemas().iter().find(|schema| schema.event_type.name() == "LoginFailed").unwrap();
            bytes.extend(failed.fingerprint.0.to_le_bytes());
            bytes.extend([7; 5]);
            bytes
        }),
        (
            "framed with registry schema id `7`; start with --registry, then rebuild the view",
            vec![0, 0, 0, 0, 7, 1, 2],
        ),
        ("neither single-object encoding nor a registry's framing", b"{}".to_vec()),
    ];
    // Straight into the log, by a process that is not the server.
    let places: Vec<String> = block_on(async {
        let bus = home.bus().await;
        let record = |bytes: &Vec<u8>| Record {
            key: Some("k".into()),
            value: bytes.clone().into(),
            ..Record::default()
        };
        let records = broken.iter().map(|(_, bytes)| record(bytes)).collect();
        let positions = bus.append(AUDIT.name, records).await.unwrap();
        bus.close().await;
        positions.iter().map(ToString::to_string).collect()
    });
    Load::of(&home, customer, 2, 20, &mut ledger);
    views::caught_up(&home);
    let listed = home.run(&["dead-letters", "list"]).expect(0).stdout;
    assert_eq!(listed.lines().count(), 1 + broken.len(), "{listed}");
    for ((reason, bytes), place) in broken.iter().zip(&places) {
        assert!(
            listed.lines().any(|line| line.contains(place.as_str()) && line.contains(reason)),
            "{reason}: {listed}"
        );
        let shown = home.run(&["dead-letters", "show", "audit_log", place]).expect(0).stdout;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(shown.contains(reason) && shown.contains(&hex), "{shown}");
    }
    let dumped = log::dump(&home);
    let line = dumped.iter().find(|line| line["position"] == places[0].as_str()).unwrap();
    assert!(line["error"].as_str().unwrap().contains("fingerprint") && line["event"].is_null(), "{line}");
    // The neighbours: everything that was acknowledged is a row.
    let rows = views::audit_log_ids(&home);
    for id in &ledger.acknowledged {
        let row = format!("{}/{}", customer.simple(), id.simple());
        assert!(rows.contains(&row), "{id}");
    }
    let metrics = server.get("/metrics").body;
    let told =
        |line: &str| line.contains("dead_letters") && line.contains("\"audit_log\"") && line.ends_with(" 4");
    assert!(metrics.lines().any(told), "{metrics}");
    assert_eq!(server.get("/readyz").status, 200, "a bad record is no reason to stop");
    for (arguments, named) in [
        (
            &["dead-letters", "show", "audit_log", "annals.audit/0/999999"][..],
            "has no dead letter at `annals.audit/0/999999`",
        ),
        (&["dead-letters", "show", "audit_log", "there"], "`there` is not TOPIC/PARTITION/OFFSET"),
        (
            &["dead-letters", "list", "--view", "nothing"],
            "there is no view `nothing`; the views are audit_log, logged_on_users",
        ),
    ] {
        home.run(arguments).expect(1).says(&["annals: ", named]);
    }
    server.stop();
}

#[test]
fn commands_about_what_is_not_there_name_it_and_leave_no_trace() {
    let home = Home::new();
    let before = log::read(&home).len();
    for (arguments, named) in [
        (
            &["rebuild", "everything"][..],
            "there is no view `everything`; the views are audit_log, logged_on_users",
        ),
        (
            &["log", "dump", "--topic", "annals.gossip"],
            "`annals.gossip`; the topics are annals.audit, annals.host-logons",
        ),
        (&["log", "dump", "--from", "yesterday"], "`yesterday`"),
        (&["customer", "add", CUSTOMER], "`acme`"),
        (&["customer", "add", "x", "--time-zone", "Mars/Base"], "`Mars/Base`"),
        (&["account", "disable", "nobody@acme.example"], "`nobody@acme.example`"),
        (&["permission", "grant", "nobody@acme.example", "can_publish"], "`nobody@acme.example`"),
        (&["permission", "grant", ACCOUNT, "can_publish", "--customer", "nobody"], "`nobody`"),
    ] {
        home.run(arguments).expect(1).says(&["annals: ", named]);
    }
    let add = ["account", "add", "new@acme.example", "--customer", CUSTOMER, "--password-stdin"];
    for (arguments, input, named) in [
        (&add[..], "", "there is no password on standard input"),
        (&add, "\n", "there is no password on standard input"),
        (
            &["account", "add", ACCOUNT, "--customer", CUSTOMER, "--password-stdin"],
            "long-enough-1\n",
            ACCOUNT,
        ),
        (
            &["account", "add", "new@acme.example", "--customer", "nobody", "--password-stdin"],
            "long-enough-1\n",
            "`nobody`",
        ),
        (
            &["account", "password", "nobody@acme.example", "--password-stdin"],
            "long-enough-1\n",
            "`nobody@acme.example`",
        ),
    ] {
        home.run_with_input(arguments, input).expect(1).says(&["annals: ", named]);
    }
    assert_eq!(log::read(&home).len(), before, "refused commands tell nothing");
}

#[test]
fn a_wrong_password_is_refused_each_time_and_each_time_an_event() {
    let home = Home::new();
    let server = Server::start(&home).ready();
    let file = home.write("events.jsonl", windows_logons(0..3));
    home.import(&file, 0);
    for _ in 0..2 {
        let refused = server.get(&format!("/papi/login.json?username={ACCOUNT}&password=wrong")).json();
        assert_eq!((&refused["success"], refused["data"].is_null()), (&0.into(), true));
    }
    let cookie = server.sign_in();
    views::outbox_empty(&home);
    views::caught_up(&home);
    assert_eq!(server.events(&cookie, "action_types=FAILED_LOGIN").len(), 2);
    assert_eq!(server.events(&cookie, "action_types=SUCCESSFUL_LOGIN").len(), 1);
    server.stop();
}
