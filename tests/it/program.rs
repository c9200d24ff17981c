//! The program as a whole: how it stops, what runs beside it, how soon what others append is seen, and the demo.

use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use annals_bus::Bus;
use annals_producers::fleet::Fleet;
use annals_producers::publisher;
use chrono::Utc;

use crate::support::home::{ACCOUNT, CUSTOMER, PASSWORD};
use crate::support::windows::windows_logons;
use crate::support::{Home, Ledger, Load, Process, Server, block_on, http, until, verify, views};

/// Another process's append is seen within 100 ms; a busy test machine may take longer.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

#[test]
fn sigterm_ends_a_server_with_status_0_once_the_requests_under_way_are_answered() {
    let home = Home::new();
    // Long enough for all that happens while the slow request waits.
    home.write("annals.toml", "request_timeout_seconds = 60\n");
    let mut ledger = Ledger::default();
    Load::of(&home, home.customer_id(CUSTOMER), 1, 300, &mut ledger);
    let mut server = Server::start(&home).ready();
    let cookie = server.sign_in();
    // A request that is certainly under way: its body has not all been sent.
    let body = "max_results=1000";
    let mut slow = http::connect(server.address).unwrap();
    write!(
        slow,
        "POST /papi/auditlog/get_events.json HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\nmax_",
        body.len()
    )
    .unwrap();
    // Others come and go all the time.
    let (stopping, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let sent = Instant::now();
                    match http::get(server.address, "/papi/auditlog/get_events.json", &[("Cookie", &cookie)])
                    {
                        Ok(answer) => {
                            assert_eq!((answer.status, &answer.json()["success"]), (200, &1.into()));
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                        // Nobody listens any more: refused, or accepted by the system and by nobody else.
                        Err(error) => {
                            assert!(stopping.load(Ordering::SeqCst), "{error} after {:?}", sent.elapsed());
                            return;
                        }
                    }
                }
            });
        }
        until("requests are under way", || (answered.load(Ordering::SeqCst) > 20).then_some(()));
        stopping.store(true, Ordering::SeqCst);
        server.process.signal("TERM");
    });
    assert!(http::connect(server.address).is_err(), "nobody is let in any more");
    assert!(server.process.is_running(), "the slow request is still under way");
    write!(slow, "{}", &body[4..]).unwrap();
    let answer = http::read_answer(&mut slow).unwrap();
    assert_eq!((answer.status, &answer.json()["success"]), (200, &1.into()));
    assert_eq!(server.process.end().code(), Some(0), "{}", server.process.stderr());
    // What it told of itself is in the log.
    assert!(views::query(&home.data.join("control.db"), "SELECT '' FROM outbox").is_empty());
    let server = Server::start(&home).ready();
    verify::everything(&home, &server, &ledger);
    server.stop();
}

#[test]
fn an_import_beside_a_running_server_is_seen_over_papi_at_once() {
    let home = Home::new();
    let server = Server::start(&home).ready();
    let cookie = server.sign_in();
    let file = home.write("events.jsonl", windows_logons(0..500));
    assert_eq!(home.import(&file, 0)["published"], 500);
    let ended = Instant::now();
    until("papi shows the import", || {
        (server.events(&cookie, "action_types=HOST_LOGON&max_results=1000").len() == 500).then_some(())
    });
    eprintln!("an import of 500 events was seen {:?} after it ended", ended.elapsed());
    assert!(ended.elapsed() < SEEN_WITHIN, "{:?}", ended.elapsed());
    let users = server.get_with("/papi/session/get_users_logged_on.json?ip_address=10.1.0.1", &cookie).json();
    assert!(!users["data"].as_array().unwrap().is_empty(), "{users}");
    server.stop();
}

#[test]
fn the_append_of_another_process_is_seen_within_a_moment() {
    let home = Home::new();
    let customer = home.customer_id(CUSTOMER);
    let server = Server::start(&home).ready();
    let cookie = server.sign_in();
    let mut fleet = Fleet::of_customers(1, vec![customer], false);
    let mut times: Vec<Duration> = block_on(async {
        let bus = home.bus().await;
        let mut times = Vec::new();
        for _ in 0..15 {
            let event = fleet.next(Utc::now());
            let query = format!("audit_event_id={}", event.meta().event_id.simple());
            bus.append(event.event_type().topic().name, vec![publisher::record(&event).unwrap()])
                .await
                .unwrap();
            let appended = Instant::now();
            until("papi shows the event", || (server.events(&cookie, &query).len() == 1).then_some(()));
            times.push(appended.elapsed());
        }
        bus.close().await;
        times
    });
    times.sort_unstable();
    eprintln!("seen after {:?} at the median, {:?} at most", times[times.len() / 2], times[times.len() - 1]);
    assert!(times[times.len() - 1] < SEEN_WITHIN, "{times:?}");
    server.stop();
}

#[test]
fn a_client_that_polls_notices_nothing_of_rebuilds() {
    let home = Home::new();
    let customer = home.customer_id(CUSTOMER);
    let mut ledger = Ledger::default();
    Load::of(&home, customer, 1, 400, &mut ledger);
    let server = Server::start(&home).ready();
    let cookie = server.sign_in();
    let mut load = Process::start(&mut Load::command(&home, customer, 2));
    let (rebuilding, polls) = (AtomicBool::new(true), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let mut rows = 0;
            while rebuilding.load(Ordering::SeqCst) {
                // Whatever is no whole, good answer fails the test.
                let now = server.events(&cookie, "max_results=10000").len();
                assert!(now >= rows, "rows went back from {rows} to {now}");
                rows = now;
                polls.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut generation = 2;
        while !poller.is_finished() && (generation < 6 || polls.load(Ordering::SeqCst) < 20) {
            let said = home.run(&["rebuild", "audit_log"]).expect(0).stdout;
            assert!(said.starts_with(&format!("rebuilt audit_log as generation {generation} ")), "{said}");
            generation += 1;
        }
        rebuilding.store(false, Ordering::SeqCst);
        poller.join().unwrap();
        eprintln!("{} polls beside {} rebuilds", polls.load(Ordering::SeqCst), generation - 2);
    });
    load.kill();
    ledger.add(&load);
    verify::everything(&home, &server, &ledger);
    server.stop();
}

#[test]
fn the_demo_prints_curl_lines_that_work_and_removes_its_directory() {
    let home = Home::empty();
    let folder = home.path().join("temporary");
    std::fs::create_dir(&folder).unwrap();
    let mut demo = home.bare_command(&["demo", "--listen", "127.0.0.1:0", "--rate", "50"]);
    let mut demo = Process::start(demo.env("TMPDIR", &folder));
    demo.stdout_line(|line| line.contains("curl ") && line.contains("/metrics"));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    let said = demo.stdout();
    let lines: Vec<&str> =
        said.iter().map(|line| line.trim()).filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(lines.len(), 10, "{said:#?}");
    let mut address = String::new();
    for line in lines {
        let line = line.replace("ADDRESS", &address);
        // The backlog is on its way into the views while the lines are printed.
        let answer = until(&line, || {
            let done = Command::new("sh").args(["-c", &line]).current_dir(home.path()).output().unwrap();
            let answer = String::from_utf8(done.stdout).unwrap();
            assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
            let good = if line.contains("/papi/login") {
                answer.contains("\"success\": 1")
            } else if line.contains(".xml?") {
                answer.matches("<audit_event_id>").count() == 3
            } else if line.contains("get_events.json") {
                answer.contains("\"audit_event_id\"")
            } else if line.contains("get_users_logged_on") {
                answer.contains("\"username\"")
            } else if line.contains("/santaba/") {
                answer.starts_with("{\"status\":200,") && answer.matches("\"happenedOn\":").count() == 3
            } else if line.contains("/v1/") {
                answer.matches("\"action\":\"HOST_LOGON\"").count() == 3
            } else if line.contains("/readyz") {
                answer.contains("\"ready\"")
            } else {
                answer.contains("annals_appended_records_total")
            };
            good.then_some(answer)
        });
        // As the text above the lines says: an address is taken from an answer.
        if line.contains("action_types=HOST_LOGON") {
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            answer["data"][0]["source_ip"].as_str().unwrap().clone_into(&mut address);
        }
    }
    demo.signal("INT");
    assert_eq!(demo.end().code(), Some(0), "{}", demo.stderr());
    assert!(demo.stdout().last().unwrap().starts_with("removed "), "{:?}", demo.stdout());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing is left");
}

#[test]
fn the_operator_is_told_once_where_the_first_password_is_and_can_sign_in_with_it() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::empty();
    let first = home.run(&["customer", "add", CUSTOMER]).expect(0);
    let file = home.data.join("operator-password");
    assert!(first.stderr.contains(&file.display().to_string()), "{first:?}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let second = home.run(&["customer", "add", "globex"]).expect(0);
    assert!(!second.stderr.contains("operator"), "{second:?}");
    let password = std::fs::read_to_string(&file).unwrap();
    let server = Server::start(&home).ready();
    let answer = server.get(&format!("/papi/login.json?username=operator&password={}", password.trim()));
    assert_eq!(answer.json()["success"], 1, "{answer:?}");
    // No secret comes out of what it writes about itself.
    let (log, metrics) = (server.process.stderr(), server.get("/metrics").body);
    assert!(!log.contains(password.trim()) && !metrics.contains(password.trim()));
    server.stop();
}

#[test]
fn an_account_that_is_disabled_or_gets_another_password_beside_a_running_server_is_out_at_once() {
    let home = Home::new();
    let server = Server::start(&home).ready();
    let ping = |cookie: &str| server.get_with("/papi/ping.json", cookie).json()["success"].clone();
    let cookie = server.sign_in();
    assert_eq!(ping(&cookie), 1);
    home.run_with_input(&["account", "password", ACCOUNT, "--password-stdin"], "another-good-one\n")
        .expect(0);
    assert_eq!(ping(&cookie), 0);
    let login = |password: &str| {
        server.get(&format!("/papi/login.json?username={ACCOUNT}&password={password}")).json()["success"]
            .clone()
    };
    assert_eq!((login(PASSWORD), login("another-good-one")), (0.into(), 1.into()));
    home.run(&["account", "disable", ACCOUNT]).expect(0);
    assert_eq!(login("another-good-one"), 0);
    server.stop();
}
