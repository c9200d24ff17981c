//! Into an archive and back, and what an archive is refused for.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use annals_bus::Bus;
use annals_consumers::copy::{self, ArchiveSource, CopyError, Limits, LogSource, Progress, Source, Summary};
use serde_json::{Value, json};

use super::faults::Faulty;
use super::{SMALL, TOPICS, assert_copied, assert_same, copied, counts, fill, log, log_with, read_all};

async fn archive(from: &dyn Bus, folder: &Path) -> Result<Summary, CopyError> {
    copy::into_archive(&LogSource::new(from), folder, &TOPICS, &SMALL, &mut |_| {}).await
}

async fn restore(folder: &Path, to: &dyn Bus) -> Result<Summary, CopyError> {
    let source = ArchiveSource::open(folder, &mut |_| {}).await?;
    copy::into_log(&source, to, &TOPICS, &SMALL, &mut |_| {}).await
}

fn manifest(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap()
}

fn write_manifest(folder: &Path, manifest: &Value) {
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
}

/// The Avro files of an archive by name, and what makes them the files they are.
fn files(folder: &Path) -> BTreeMap<String, (u64, u64)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "avro"))
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap()))
        .map(|(name, data)| (name, (data.ino(), data.len())))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_is_the_log_and_grows_with_it() {
    let (from, to, folder) = (log().await, log().await, tempfile::tempdir().unwrap());
    let place = folder.path().join("made/here");
    fill(&*from.bus, 0..200).await;
    assert_eq!(counts(&archive(&*from.bus, &place).await.unwrap()), (400, 0, 0));
    assert_eq!(counts(&restore(&place, &*to.bus).await.unwrap()), (400, 0, 0));
    assert_copied(&*from.bus, &*to.bus).await;

    let before = files(&place);
    assert!(before.contains_key("alpha-0.avro") && before.contains_key("alpha-0.2.avro"), "{before:?}");
    assert_eq!(counts(&archive(&*from.bus, &place).await.unwrap()), (0, 400, 0));
    assert_eq!(files(&place), before);
    fill(&*from.bus, 200..250).await;
    assert_eq!(counts(&archive(&*from.bus, &place).await.unwrap()), (100, 400, 0));
    assert!(
        before.iter().all(|file| files(&place).get(file.0) == Some(file.1)),
        "old files stay as they are"
    );
    assert_eq!(counts(&restore(&place, &*to.bus).await.unwrap()), (100, 400, 0));
    assert_copied(&*from.bus, &*to.bus).await;

    // The archive stands for the log that it was made from: what came since may come from there.
    fill(&*from.bus, 250..260).await;
    assert_eq!(counts(&copied(&*from.bus, &*to.bus).await.unwrap()), (20, 500, 0));
    assert_copied(&*from.bus, &*to.bus).await;
    let error = restore(&place, &*to.bus).await.unwrap_err();
    assert!(matches!(error, CopyError::SourceBehind { .. }), "the archive is older now: {error}");
    let error = restore(&place, &*from.bus).await.unwrap_err();
    assert!(matches!(error, CopyError::SameLog { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_log_has_every_byte_at_its_place() {
    let (from, folder) = (log().await, tempfile::tempdir().unwrap());
    let keyed = (0..300).map(super::record).filter(|record| record.key.is_some());
    from.bus.append("alpha", keyed.collect()).await.unwrap();
    for limits in [SMALL, Limits::default()] {
        let (to, place) = (log().await, folder.path().join(limits.file_bytes.to_string()));
        let mut seen = Vec::new();
        copy::into_archive(&LogSource::new(&*from.bus), &place, &TOPICS, &limits, &mut |progress| {
            seen.push(progress);
        })
        .await
        .unwrap();
        let count = read_all(&*from.bus, "alpha").await.iter().map(Vec::len).sum::<usize>() as u64;
        assert_eq!(seen.last(), Some(&Progress::Copying { done: count, total: count }));
        assert!(restore(&place, &*to.bus).await.unwrap().topics[0].same_positions);
        assert_same(read_all(&*to.bus, "alpha").await, read_all(&*from.bus, "alpha").await);
        // From an archive into another one.
        let second = folder.path().join(format!("second-{}", limits.file_bytes));
        let source = ArchiveSource::open(&place, &mut |_| {}).await.unwrap();
        copy::into_archive(&source, &second, &TOPICS, &SMALL, &mut |_| {}).await.unwrap();
        let again = log().await;
        restore(&second, &*again.bus).await.unwrap();
        assert_same(read_all(&*again.bus, "alpha").await, read_all(&*from.bus, "alpha").await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_breaks_off_goes_on_also_into_other_partitions() {
    let (from, folder) = (log().await, tempfile::tempdir().unwrap());
    fill(&*from.bus, 0..100).await;
    archive(&*from.bus, folder.path()).await.unwrap();
    for nth in 0..12 {
        let to = log_with(&[("alpha", 2), ("beta", 3)]).await;
        let faulty = Faulty { appends: AtomicU64::new(nth), kept: vec![2, 0, 1], ..Faulty::new(&to.bus) };
        restore(folder.path(), &faulty).await.unwrap_err();
        restore(folder.path(), &*to.bus).await.unwrap();
        assert_copied(&*from.bus, &*to.bus).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_broke_off_keeps_its_finished_files_and_is_no_source() {
    let from = log().await;
    fill(&*from.bus, 0..200).await;
    let mut kept = 0;
    for nth in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let faulty = Faulty { reads: AtomicU64::new(nth), ..Faulty::new(&from.bus) };
        if archive(&faulty, folder.path()).await.is_ok() {
            break;
        }
        let error = ArchiveSource::open(folder.path(), &mut |_| {}).await.unwrap_err();
        assert!(matches!(error, CopyError::Unfinished(_)), "{error}");
        // As a kill leaves it.
        std::fs::write(folder.path().join("alpha-2.avro.partial"), b"cut").unwrap();
        let finished = files(folder.path());
        let (records, already_there, _) = counts(&archive(&*from.bus, folder.path()).await.unwrap());
        assert_eq!(records + already_there, 400);
        assert!(finished.iter().all(|file| files(folder.path()).get(file.0) == Some(file.1)));
        assert_eq!(finished.is_empty(), already_there == 0);
        kept += finished.len();
        let to = log().await;
        restore(folder.path(), &*to.bus).await.unwrap();
        assert_copied(&*from.bus, &*to.bus).await;
    }
    assert!(kept > 20, "{kept}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_archive_stays_a_source_while_a_later_copy_is_under_way() {
    let (from, to, folder) = (log().await, log().await, tempfile::tempdir().unwrap());
    fill(&*from.bus, 0..100).await;
    archive(&*from.bus, folder.path()).await.unwrap();
    fill(&*from.bus, 100..200).await;
    let faulty = Faulty { reads: AtomicU64::new(9), ..Faulty::new(&from.bus) };
    archive(&faulty, folder.path()).await.unwrap_err();
    assert_eq!(counts(&restore(folder.path(), &*to.bus).await.unwrap()), (200, 0, 0));
    // A finished file of the copy that broke off which is damaged since is written anew.
    let finished = manifest(folder.path())["files"].as_array().unwrap().len();
    let partial = std::fs::read(folder.path().join("manifest.partial.json")).unwrap();
    let partial: Value = serde_json::from_slice(&partial).unwrap();
    let name = partial["files"][finished]["file"].as_str().unwrap();
    std::fs::write(folder.path().join(name), b"cut").unwrap();
    archive(&*from.bus, folder.path()).await.unwrap();
    assert_eq!(counts(&restore(folder.path(), &*to.bus).await.unwrap()), (200, 200, 0));
    assert_copied(&*from.bus, &*to.bus).await;
}

/// A whole archive, and a log to restore it to.
async fn damaged(damage: impl FnOnce(&Path, PathBuf)) -> CopyError {
    let (from, to, folder) = (log().await, log().await, tempfile::tempdir().unwrap());
    fill(&*from.bus, 0..200).await;
    archive(&*from.bus, folder.path()).await.unwrap();
    damage(folder.path(), folder.path().join("alpha-1.2.avro"));
    let error = restore(folder.path(), &*to.bus).await.unwrap_err();
    assert!(read_all(&*to.bus, "alpha").await.iter().all(Vec::is_empty), "nothing is appended");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_archive_is_refused_by_name_before_anything_is_appended() {
    let flip = |_: &Path, path: PathBuf| {
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    };
    let cut = |_: &Path, path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    };
    let remove = |_: &Path, path: PathBuf| std::fs::remove_file(path).unwrap();
    for (error, reason) in [
        (damaged(flip).await, "its checksum is not the one in the manifest"),
        (damaged(cut).await, "bytes, not"),
        (damaged(remove).await, "it is missing"),
    ] {
        let text = error.to_string();
        assert!(text.contains("alpha-1.2.avro") && text.contains(reason), "{text}");
    }
    let edited = |folder: &Path, _| {
        let mut edited = manifest(folder);
        edited["files"][0]["records"] = json!(1_000_000);
        write_manifest(folder, &edited);
    };
    assert!(damaged(edited).await.to_string().contains("manifest.json"));
    let newer =
        |folder: &Path, _| write_manifest(folder, &json!({"format": "annals-log-archive", "version": 2}));
    assert!(matches!(damaged(newer).await, CopyError::NewerArchive(_)));
    let none = |folder: &Path, _| std::fs::remove_file(folder.join("manifest.json")).unwrap();
    assert!(matches!(damaged(none).await, CopyError::NoArchive(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_lies_about_the_records_is_noticed_while_reading() {
    let (from, to, folder) = (log().await, log().await, tempfile::tempdir().unwrap());
    fill(&*from.bus, 0..200).await;
    archive(&*from.bus, folder.path()).await.unwrap();
    let whole = manifest(folder.path());
    for (field, change) in [("records", -1), ("end_offset", -1), ("first_offset", 1)] {
        let mut edited = whole.clone();
        let file = &mut edited["files"][0];
        file[field] = json!(file[field].as_i64().unwrap() + change);
        if field == "end_offset" {
            file["last"]["offset"] = json!(file["last"]["offset"].as_i64().unwrap() - 1);
        }
        file["records"] = json!(file["records"].as_i64().unwrap() - i64::from(field != "records"));
        write_manifest(folder.path(), &edited);
        let error = restore(folder.path(), &*to.bus).await.unwrap_err();
        assert!(error.to_string().contains("alpha-0.avro"), "{field}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_empty_folder_or_an_archive_of_the_same_log_is_written_into() {
    let (from, other, folder) = (log().await, log().await, tempfile::tempdir().unwrap());
    fill(&*from.bus, 0..20).await;
    fill(&*other.bus, 0..20).await;
    let place = folder.path().join("archive");
    archive(&*from.bus, &place).await.unwrap();
    let before = (files(&place), manifest(&place));
    let error = archive(&*other.bus, &place).await.unwrap_err();
    assert!(matches!(error, CopyError::OtherSource { .. }), "{error}");
    assert_eq!((files(&place), manifest(&place)), before);

    std::fs::remove_file(place.join("alpha-0.avro")).unwrap();
    let error = archive(&*from.bus, &place).await.unwrap_err();
    assert!(matches!(&error, CopyError::Damaged { path, .. } if path.ends_with("alpha-0.avro")), "{error}");

    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("letter.txt"), b"x").unwrap();
    assert!(matches!(archive(&*from.bus, &home).await.unwrap_err(), CopyError::NotAnArchive(_)));
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 1, "nothing is made there");
    assert!(matches!(ArchiveSource::open(&home, &mut |_| {}).await.unwrap_err(), CopyError::NoArchive(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_writes_an_archive_and_nobody_else_may_look_into_it() {
    let (from, folder) = (log().await, tempfile::tempdir().unwrap());
    fill(&*from.bus, 0..20).await;
    let place = folder.path().join("archive");
    archive(&*from.bus, &place).await.unwrap();
    let lock = std::fs::File::open(place.join("archive.lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(archive(&*from.bus, &place).await.unwrap_err(), CopyError::ArchiveInUse(_)));
    lock.unlock().unwrap();
    archive(&*from.bus, &place).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place), 0o700);
    for entry in std::fs::read_dir(&place).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_of_an_empty_log_and_one_of_what_retention_left() {
    let (from, to, folder) = (log().await, log().await, tempfile::tempdir().unwrap());
    assert_eq!(counts(&archive(&*from.bus, folder.path()).await.unwrap()), (0, 0, 0));
    assert_eq!(counts(&restore(folder.path(), &*to.bus).await.unwrap()), (0, 0, 0));
    fill(&*from.bus, 0..100).await;
    let source = Faulty { first: AtomicU64::new(10), ..Faulty::new(&from.bus) };
    assert_eq!(counts(&archive(&source, folder.path()).await.unwrap()), (160, 0, 40));
    let opened = ArchiveSource::open(folder.path(), &mut |_| {}).await.unwrap();
    let alpha = opened.topic("alpha").await.unwrap().unwrap();
    assert!(alpha.partitions.iter().all(|extent| extent.first == 10), "{alpha:?}");
    assert_eq!(opened.topic("gamma").await.unwrap(), None);
    assert_eq!(counts(&restore(folder.path(), &*to.bus).await.unwrap()), (160, 0, 40));
}
