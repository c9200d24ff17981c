//! `annals credential` as its users type it, and the master key beside it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::home::ACCOUNT;
use crate::support::process::Finished;
use crate::support::{Home, Process, views};

/// What follows `name: ` in a line of the output.
#[track_caller]
fn line(done: &Finished, name: &str) -> String {
    let line = done.stdout.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("{done:?}")).to_owned()
}

#[track_caller]
fn finish(command: &mut Command) -> Finished {
    Process::start(command).finish()
}

#[test]
fn credentials_are_added_listed_rotated_and_revoked_and_secrets_shown_once() {
    let home = Home::new();
    let pair = home.run(&["credential", "add", ACCOUNT, "siem", "--kind", "lmv1"]).expect(0);
    assert_eq!(pair.stdout.lines().count(), 2);
    let (id, key) = (line(&pair, "access id"), line(&pair, "access key"));
    let token = home
        .run(&["credential", "add", ACCOUNT, "nightly export", "--kind", "bearer", "--expires", "90d"])
        .expect(0);
    let token = line(&token, "token");
    assert!(token.starts_with("lmb_"), "{token}");
    let api_key = home
        .run(&[
            "credential",
            "add",
            ACCOUNT,
            "script",
            "--kind",
            "api-key",
            "--expires",
            "2999-01-01T00:00:00Z",
            "--json",
        ])
        .expect(0);
    let api_key: serde_json::Value = serde_json::from_str(&api_key.stdout).unwrap();
    assert!(api_key["token"].as_str().unwrap().starts_with("ak_"), "{api_key}");

    let list = home.run(&["credential", "list"]).expect(0).stdout;
    let row = |name: &str| list.lines().find(|line| line.contains(&format!(" {name} "))).unwrap().to_owned();
    assert!(row("siem").contains(&id) && row("siem").contains("in use") && row("siem").contains("never"));
    assert!(row("script").contains("2999-01-01T00:00:00Z"), "{list}");
    let rotated = home.run(&["credential", "rotate", ACCOUNT, "SIEM", "--json"]).expect(0);
    let rotated: serde_json::Value = serde_json::from_str(&rotated.stdout).unwrap();
    assert!(rotated["access_id"].is_string() && rotated["access_id"] != id.as_str(), "{rotated}");
    assert!(rotated["access_key"] != key.as_str());
    let revoked = home.run(&["credential", "revoke", ACCOUNT, "nightly export"]).expect(0);
    assert_eq!(revoked.stdout, format!("revoked credential `nightly export` of {ACCOUNT}"));

    let listed = home.run(&["credential", "list", "--account", ACCOUNT, "--json"]).expect(0).stdout;
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
    let text = |one: &serde_json::Value, key: &str| one[key].as_str().unwrap().to_owned();
    let states: Vec<_> = listed.iter().map(|one| (text(one, "name"), text(one, "state"))).collect();
    let expected =
        [("nightly export", "revoked"), ("script", "in use"), ("siem", "revoked"), ("siem", "in use")];
    assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state.to_owned())));
    // The secrets were shown, and are nowhere: not in the list, not in the log, not in the database.
    let dump = home.run(&["log", "dump"]).expect(0).stdout;
    for action in ["CREDENTIAL_ADDED", "CREDENTIAL_ROTATED", "CREDENTIAL_REVOKED"] {
        assert!(dump.contains(action), "{action}");
    }
    let listed = format!("{listed:?}");
    for secret in [&key, &token, api_key["token"].as_str().unwrap(), rotated["access_key"].as_str().unwrap()]
    {
        assert!(!dump.contains(secret) && !listed.contains(secret));
    }
}

#[test]
fn what_cannot_be_a_credential_is_refused_with_what_is_wrong() {
    let home = Home::new();
    home.run(&["credential", "add", ACCOUNT, "nightly export", "--kind", "bearer"]).expect(0);
    for (arguments, code, told) in [
        (&["credential", "add", ACCOUNT, "new", "--kind", "basic"][..], 2, "api-key"),
        (&["credential", "add", ACCOUNT, "new"], 2, "--kind"),
        (&["credential", "add", ACCOUNT, "NIGHTLY EXPORT", "--kind", "lmv1"], 1, "already has a credential"),
        (&["credential", "add", "nobody", "new", "--kind", "lmv1"], 1, "there is no account `nobody`"),
        (
            &["credential", "add", ACCOUNT, "new", "--kind", "bearer", "--expires", "soon"],
            1,
            "`soon` is neither",
        ),
        (&["credential", "add", ACCOUNT, "new", "--kind", "bearer", "--expires", "0d"], 1, "expired already"),
        (&["credential", "add", ACCOUNT, "new ", "--kind", "bearer"], 1, "begins or ends with a blank"),
        (&["credential", "add", ACCOUNT, "new\nline", "--kind", "bearer"], 1, "a control character"),
        (&["credential", "revoke", ACCOUNT, "new"], 1, "has no credential `new`"),
        (&["credential", "rotate", ACCOUNT, "new"], 1, "has no credential `new`"),
    ] {
        let done = home.run(arguments).expect(code).says(&[told]);
        assert_eq!(done.stdout, "", "{arguments:?}");
    }
}

#[test]
fn the_master_key_comes_from_its_setting_and_is_replaced_by_reseal() {
    let home = Home::new();
    let add = |name: &str| home.command(&["credential", "add", ACCOUNT, name, "--kind", "lmv1"]);
    let key_ids = || views::query(&home.data.join("control.db"), "SELECT DISTINCT key_id FROM credentials");
    finish(&mut add("first")).expect(0);
    let made = home.data.join("master.key");
    assert_eq!(std::fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o600);
    let old = key_ids();
    let checked = home.run(&["check-config"]).expect(0).stdout;
    assert!(checked.contains(&format!("the master key `{}` can be used", old[0])), "{checked}");

    // A file that others can read stops every command that changes something.
    std::fs::set_permissions(&made, Permissions::from_mode(0o644)).unwrap();
    home.run(&["customer", "add", "other"]).expect(1).says(&["master.key", "mode 0600"]);
    std::fs::set_permissions(&made, Permissions::from_mode(0o600)).unwrap();

    let file = home.write("own.key", "42".repeat(32));
    std::fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
    let reseal = |arguments: &[&str]| {
        let mut command = home.command(&["credential", "reseal"]);
        command.arg("--master-key-file").arg(&file).args(arguments);
        command
    };
    finish(&mut reseal(&[])).expect(1).says(&[&format!("`{}`", old[0]), "ANNALS_OLD_MASTER_KEYS"]);
    assert_eq!(key_ids(), old);
    let done = finish(&mut reseal(&["--old-key-file", made.to_str().unwrap()])).expect(0);
    assert_eq!(done.stdout, "sealed 1 keys anew, 0 were already");
    assert_ne!(key_ids(), old);
    let done = finish(reseal(&[]).env("ANNALS_OLD_MASTER_KEYS", &made)).expect(0);
    assert_eq!(done.stdout, "sealed 0 keys anew, 1 were already");

    // The key itself, in the environment.
    let own = "42".repeat(32);
    finish(add("second").env("ANNALS_MASTER_KEY", &own)).expect(0);
    assert_eq!(key_ids().len(), 1);
    finish(reseal(&[]).env("ANNALS_MASTER_KEY", &own)).expect(1).says(&["ANNALS_MASTER_KEY", "give one"]);
    // The file that the configuration names.
    home.write("annals.toml", "master_key_file = 'own.key'\n");
    let done = home.run(&["credential", "reseal"]).expect(0);
    assert_eq!(done.stdout, "sealed 0 keys anew, 2 were already");
    let wrong = finish(add("third").env("ANNALS_MASTER_KEY", "correct horse")).expect(1);
    assert!(!wrong.says(&["`ANNALS_MASTER_KEY` is not a master key"]).stderr.contains("horse"));
}
