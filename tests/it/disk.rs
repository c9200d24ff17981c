//! A disk that is full: whoever writes hears which disk, whoever reads is answered, and all goes on once there is room.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use crate::support::home::CUSTOMER;
use crate::support::load::acknowledged;
use crate::support::windows::windows_logons;
use crate::support::{Home, Ledger, Load, Process, Server, until, verify};

/// A small file system in memory, unmounted at the end.
pub struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts it; `None` where the tests may not.
    pub fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("annals-disk-").tempdir().unwrap();
        let options = format!("size={size},mode=0755");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "annals-it"])
            .arg(folder.path())
            .output();
        mounted.is_ok_and(|done| done.status.success()).then_some(Self { folder })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the room that is left. Gives the file that takes it.
    pub fn fill(&self) -> std::path::PathBuf {
        let path = self.path().join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        for size in [1024 * 1024, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn on_a_full_disk_readers_are_answered_writers_hear_so_and_all_go_on_once_there_is_room() {
    let Some(disk) = SmallDisk::mount("256m") else {
        eprintln!("the tests may not mount a small disk here; only the limit on a file's size is tested");
        return;
    };
    eprintln!("tested on a small disk of its own");
    let home = Home::with_data(&disk.path().join("data"));
    home.set_up();
    let customer = home.customer_id(CUSTOMER);
    let file = home.write("events.jsonl", windows_logons(0..50));
    let server = Server::start(&home).ready();
    let cookie = server.sign_in();
    let mut ledger = Ledger::default();
    let mut load = Process::start(&mut Load::command(&home, customer, 1));
    until("the load is under way", || (acknowledged(&load) > 50).then_some(()));
    let filler = disk.fill();
    load.stderr_line(|line| {
        line.starts_with("again in a moment: ")
            && line.contains("no space left on the disk that holds `")
            && line.contains("/data/log.db`")
    });
    let before = acknowledged(&load);
    // The import is a process that gives up, with the reason and the place.
    let import = Process::start(&mut home.import_command(&file)).finish().expect(1);
    let place = disk.path().join("data").display().to_string();
    let import = import.says(&["annals: ", "no space left on the disk that holds `", &place]);
    assert!(!import.stderr.contains("panicked"), "{import:?}");
    // Who is signed in still reads; who signs in hears that it does not go now, in the dialect's form.
    assert!(!server.events(&cookie, "max_results=5").is_empty());
    let refused = server.get("/papi/login.json?username=ada@acme.example&password=wrong");
    assert_eq!((refused.status, &refused.json()["success"]), (503, &0.into()), "{refused:?}");
    assert_eq!(server.get("/healthz").status, 200);
    assert!(load.is_running() && acknowledged(&load) <= before + 1);
    std::fs::remove_file(filler).unwrap();
    // The same processes go on.
    until("the load goes on", || (acknowledged(&load) > before + 50).then_some(()));
    load.kill();
    ledger.add(&load);
    let summary = home.import(&file, 0);
    assert_eq!(summary["published"], 50);
    ledger.imported = 50;
    verify::everything(&home, &server, &ledger);
    assert_eq!(server.get("/readyz").status, 200);
    server.stop();
}

#[test]
fn a_log_that_may_not_grow_fails_the_import_with_its_name_and_a_second_import_completes_it() {
    const LINES: usize = 4_000;
    let home = Home::new();
    let file = home.write("events.jsonl", windows_logons(0..LINES));
    // The limit counts blocks of 512 bytes or of 1,024; the signal that it sends is ignored, so that writes fail.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 600; exec \"$@\"", "sh"]).current_dir(home.path());
    let import = home.import_command(&file);
    command.arg(import.get_program()).args(import.get_args());
    let done = Process::start(&mut command).finish().expect(1);
    let done = done.says(&["annals: ", "/data/"]);
    let first: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let known = first["published"].as_u64().unwrap();
    assert!(known < LINES as u64, "{done:?}");
    let second = home.import(&file, 0);
    assert_eq!(
        second["published"].as_u64().unwrap() + second["already_known"].as_u64().unwrap(),
        LINES as u64
    );
    assert!(second["already_known"].as_u64().unwrap() >= known);
    let server = Server::start(&home).ready();
    verify::everything(&home, &server, &Ledger { imported: LINES, ..Ledger::default() });
    server.stop();
}
