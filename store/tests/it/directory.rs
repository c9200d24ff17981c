//! The data directory and its roles.

use std::os::unix::fs::PermissionsExt;

use annals_store::{DataDir, Role, StoreError};

#[test]
fn a_role_is_taken_once_and_its_holder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let directory = DataDir::create(&folder.path().join("data")).unwrap();
    let held = directory.take_role(Role::Projector).unwrap();
    let error = directory.take_role(Role::Projector).unwrap_err();
    let StoreError::InUse { role: "projector", holder: Some(holder), .. } = &error else { panic!("{error}") };
    assert_eq!(*holder, std::process::id().to_string());
    assert!(directory.take_role(Role::Relay).is_ok(), "another role is free");
    drop(held);
    assert!(directory.take_role(Role::Projector).is_ok());
}

#[test]
fn a_new_directory_is_private_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    assert!(
        matches!(DataDir::open(&path), Err(StoreError::NoDirectory(missing)) if missing == (&path).into())
    );
    assert!(!path.exists(), "looking makes nothing");
    DataDir::create(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(DataDir::create(&file), Err(StoreError::Open { .. })));
}
