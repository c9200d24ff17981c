//! Configuration by flag, environment and `annals.toml`, in that order; and what the command line refuses.

use std::process::Command;

use crate::support::process::Finished;
use crate::support::{Home, Process, Server};

#[track_caller]
fn finish(command: &mut Command) -> Finished {
    Process::start(command).finish()
}

/// What `check-config` says of a setting.
#[track_caller]
fn setting(command: &mut Command, name: &str) -> String {
    let said = finish(command).expect(0).stdout;
    let line = said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{said}"));
    line[name.len()..].trim().to_owned()
}

#[test]
fn a_flag_goes_before_the_environment_and_the_environment_before_the_file() {
    let home = Home::empty();
    home.write(
        "annals.toml",
        "data = 'from-file'\nlisten = '127.0.0.3:0'\nlog = 'warn'\nsecure_cookies = true\n",
    );
    let check = || home.bare_command(&["check-config"]);
    assert_eq!(setting(&mut check(), "data"), "from-file");
    assert_eq!(setting(check().env("ANNALS_DATA", "from-environment"), "data"), "from-environment");
    let mut all = check();
    assert_eq!(
        setting(all.env("ANNALS_DATA", "from-environment").args(["--data", "from-flag"]), "data"),
        "from-flag"
    );
    assert_eq!(setting(&mut check(), "listen"), "127.0.0.3:0");
    assert_eq!(setting(check().env("ANNALS_LISTEN", "127.0.0.2:1"), "listen"), "127.0.0.2:1");
    assert_eq!(setting(check().env("ANNALS_LOG", "debug").args(["--log", "error"]), "log"), "error");
    assert_eq!(setting(check().env("ANNALS_LOG", "debug"), "log"), "debug");
    assert_eq!(setting(&mut check(), "log"), "warn");
    assert_eq!(setting(&mut check(), "secure cookies"), "true");
    assert_eq!(setting(&mut check(), "configuration file"), "annals.toml");
    let other = home.write("other.toml", "data = 'from-other'");
    assert_eq!(setting(check().env("ANNALS_CONFIG", &other), "data"), "from-other");
    assert_eq!(
        setting(check().env("ANNALS_CONFIG", "missing").arg("--config").arg(&other), "data"),
        "from-other"
    );
    assert!(!home.path().join("from-file").exists(), "checking makes nothing");
}

#[test]
fn a_server_listens_where_the_first_of_flag_environment_and_file_says() {
    let home = Home::empty();
    home.write("annals.toml", "data = 'data'\nlisten = '127.0.0.3:0'\n");
    let serve = || home.bare_command(&["serve"]);
    for (command, expected) in [
        (&mut serve(), "127.0.0.3"),
        (serve().env("ANNALS_LISTEN", "127.0.0.2:0"), "127.0.0.2"),
        (serve().env("ANNALS_LISTEN", "127.0.0.2:0").args(["--listen", "127.0.0.4:0"]), "127.0.0.4"),
    ] {
        let server = Server::start_command(command);
        assert_eq!(server.address.ip().to_string(), expected);
        server.stop();
    }
}

#[test]
fn a_configuration_that_cannot_be_meant_is_refused_with_its_file_and_key() {
    let home = Home::empty();
    for (text, named) in [
        ("lisen = '127.0.0.1:1'", "lisen"),
        ("listen = 'nowhere'", "listen"),
        ("request_timeout_seconds = 0", "request_timeout_seconds"),
        ("data = 'data", "line 1"),
        ("[server]\nlisten = '127.0.0.1:1'", "server"),
    ] {
        home.write("annals.toml", text);
        for arguments in [&["serve"][..], &["check-config"], &["customer", "list"]] {
            let done = home.run(arguments).expect(1).says(&["annals: ", named]);
            assert!(done.stderr.contains("annals.toml") || named == "request_timeout_seconds", "{done:?}");
        }
    }
    std::fs::remove_file(home.path().join("annals.toml")).unwrap();
    home.run(&["serve", "--config", "missing.toml"]).expect(1).says(&["annals: cannot read `missing.toml`"]);
    home.run(&["serve", "--log", "annals=loud"]).expect(1).says(&["`annals=loud` is not a log filter"]);
    let none = finish(&mut home.bare_command(&["serve"])).expect(1);
    none.says(&["--data DIR", "ANNALS_DATA", "annals.toml"]);
    assert!(!home.data.exists(), "a refused command makes nothing");
}

#[test]
fn what_is_no_command_is_refused_by_the_status_for_that() {
    let home = Home::empty();
    for (arguments, named) in [
        (&["serv"][..], "serv"),
        (&["serve", "--listen", "here"], "here"),
        (&["import", "syslog", "x", "--customer", "y"], "syslog"),
        (&["import", "cloudtrail", "x"], "--customer"),
        (&["account", "add", "x", "--customer", "y"], "--password-stdin"),
        (&["permission", "grant", "x", "can_fly"], "can_fly"),
    ] {
        finish(&mut home.bare_command(arguments)).expect(2).says(&[named]);
    }
    assert!(!home.data.exists());
}

#[test]
fn help_and_completions_are_printed_without_a_data_directory() {
    let home = Home::empty();
    let script = finish(&mut home.bare_command(&["completions", "bash"])).expect(0).stdout;
    assert!(script.contains("complete -F _annals") && script.contains("dead-letters"), "{script}");
    for shell in ["zsh", "fish"] {
        assert!(finish(&mut home.bare_command(&["completions", shell])).expect(0).stdout.contains("annals"));
    }
    let help = finish(&mut home.bare_command(&["--help"])).expect(0).stdout;
    for told in ["ANNALS_DATA", "annals.toml", "First steps", "rebuild"] {
        assert!(help.contains(told), "{told}");
    }
    // Bash itself takes the script.
    let file = home.write("completions", &script);
    assert!(Command::new("bash").arg("-n").arg(file).status().unwrap().success());
}
