//! Files that are not what they were: refused with the file's name, left as they are, and never taken for new.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::*;

/// Every file below a directory but the lock, with what is in it.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().unwrap() != "lock" {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// A directory that a server wrote `nodes` registrations to, with a snapshot after each 20.
async fn written(nodes: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { snapshot_threshold: 20, trailing_logs: 5, ..Options::for_tests(Some(directory.path())) };
    let server = Server::start(options).await.unwrap();
    server.register_all(0..nodes).await;
    server.consensus.shutdown().await;
    directory
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    fs::create_dir(to.path().join("snapshots")).unwrap();
    for (path, bytes) in files(from) {
        fs::write(to.path().join(path.strip_prefix(from).unwrap()), bytes).unwrap();
    }
    to
}

/// Starts on a damaged directory: it must show everything, or refuse and leave every file as it was.
async fn everything_or_nothing(directory: &Path, nodes: u64, what: &str) -> Option<StartError> {
    let before = files(directory);
    match Server::start(Options::for_tests(Some(directory))).await {
        Ok(server) => {
            assert_eq!(server.registered(), (0..nodes).collect::<Vec<_>>(), "{what}");
            server.consensus.shutdown().await;
            None
        }
        Err(error) => {
            assert!(files(directory) == before, "{what}: files were changed");
            let text = error.to_string();
            assert!(text.contains(&directory.display().to_string()), "{what}: {text}");
            Some(error)
        }
    }
}

/// The same, of a server that was killed.
async fn written_and_killed(nodes: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { snapshot_threshold: 20, trailing_logs: 5, ..Options::for_tests(Some(directory.path())) };
    let server = Server::start(options).await.unwrap();
    server.register_all(0..nodes).await;
    server.consensus.snapshot().await.unwrap();
    // Nothing is under way now; what is there is what a crash would leave.
    server.consensus.log.settle().await;
    let left = copy(directory.path());
    server.consensus.shutdown().await;
    left
}

/// Where a damaged byte is put: all over what is written, and closer together in the file's head.
fn places(bytes: &[u8], count: usize) -> Vec<usize> {
    let used: Vec<usize> = (0..bytes.len()).filter(|place| bytes[*place] != 0).collect();
    let mut places: Vec<usize> = (0..count).map(|step| used[step * used.len() / count]).collect();
    places.extend((0..320).step_by(7));
    places
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_a_changed_byte_is_whole_or_refused() {
    changed_bytes(written(50).await).await;
}

/// Here the database has to repair first, and would take a damaged last commit for one that was never finished.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_a_killed_server_with_a_changed_byte_is_whole_or_refused() {
    let original = written_and_killed(50).await;
    assert!(everything_or_nothing(copy(original.path()).path(), 50, "no change").await.is_none());
    changed_bytes(original).await;
}

async fn changed_bytes(original: tempfile::TempDir) {
    let log = fs::read(original.path().join("log.redb")).unwrap();
    let mut refused = 0;
    for place in places(&log, 60) {
        let directory = copy(original.path());
        let mut changed = log.clone();
        changed[place] ^= 1 << (place % 8);
        fs::write(directory.path().join("log.redb"), changed).unwrap();
        if everything_or_nothing(directory.path(), 50, &format!("byte {place}")).await.is_some() {
            refused += 1;
        }
    }
    assert!(refused > 20, "{refused} refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_off_is_refused() {
    let original = written(50).await;
    let log = fs::read(original.path().join("log.redb")).unwrap();
    for length in [0, 1, 100, 4096, 5000, log.len() / 2, log.len() - 4096, log.len() - 1] {
        let directory = copy(original.path());
        fs::write(directory.path().join("log.redb"), &log[..length]).unwrap();
        let error = everything_or_nothing(directory.path(), 50, &format!("{length} bytes")).await;
        assert!(error.is_some(), "{length} of {} bytes were enough", log.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_in_the_logs_place_is_refused() {
    let original = written(5).await;
    for bytes in [&b"some text, by no means a log"[..], &[0; 65536], &[0xff; 65536], b"redb\x1A\x0A\xA9\x0D\x0A"] {
        let directory = copy(original.path());
        fs::write(directory.path().join("log.redb"), bytes).unwrap();
        let error = everything_or_nothing(directory.path(), 5, "another file").await;
        assert!(matches!(error, Some(StartError::Damaged { .. })), "{error:?}");
    }
    // A database of the right kind, but another program's.
    let directory = copy(original.path());
    fs::remove_file(directory.path().join("log.redb")).unwrap();
    drop(redb::Database::create(directory.path().join("log.redb")).unwrap());
    let error = everything_or_nothing(directory.path(), 5, "another database").await;
    assert!(matches!(error, Some(StartError::Damaged { .. })), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_log_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(Options::for_tests(Some(directory.path()))).await.unwrap();
    server.register_all(0..5).await;
    server.consensus.shutdown().await;
    let older = fs::read(directory.path().join("log.redb")).unwrap();
    let server = Server::start(Options::for_tests(Some(directory.path()))).await.unwrap();
    server.register(5).await;
    server.consensus.shutdown().await;
    fs::write(directory.path().join("log.redb"), older).unwrap();
    let error = everything_or_nothing(directory.path(), 6, "an older copy").await.unwrap();
    assert!(error.to_string().contains("was acknowledged"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_files_are_told() {
    let original = written(50).await;
    for (name, expected) in [
        ("log.redb", "log.redb: is missing"),
        ("log.mark", "log.mark: is missing"),
        ("snapshots", "a snapshot of what was before is needed"),
    ] {
        let directory = copy(original.path());
        let path = directory.path().join(name);
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
        let error = everything_or_nothing(directory.path(), 50, name).await.unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_refused() {
    let original = written(50).await;
    let newest = files(&original.path().join("snapshots")).into_keys().next_back().unwrap();
    let bytes = fs::read(&newest).unwrap();
    for place in [0, 9, 20, bytes.len() / 2, bytes.len() - 1] {
        let directory = copy(original.path());
        let mut changed = bytes.clone();
        changed[place] ^= 0x20;
        let path = directory.path().join("snapshots").join(newest.file_name().unwrap());
        fs::write(&path, changed).unwrap();
        let error = everything_or_nothing(directory.path(), 50, &format!("byte {place}")).await.unwrap();
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = Server::start(Options::for_tests(Some(directory.path()))).await.unwrap();
    first.register(1).await;
    let error = Server::start(Options::for_tests(Some(directory.path()))).await.err().unwrap();
    assert_eq!(error.to_string(), format!("{} is in use by another process", directory.path().display()));
    first.register(2).await;
    first.consensus.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_cut_short_is_done_again() {
    let original = written(0).await;
    for keep in [&["log.mark"][..], &["log.mark", "log.redb.new"], &["log.redb.new"], &[]] {
        let directory = tempfile::tempdir().unwrap();
        for name in keep {
            match *name {
                "log.mark" => drop(mark::MarkFile::create(&directory.path().join(name), 3).unwrap()),
                _ => {
                    fs::write(directory.path().join(name), &fs::read(original.path().join("log.redb")).unwrap()[..5000])
                        .unwrap()
                }
            }
        }
        let server = Server::start(Options::for_tests(Some(directory.path()))).await.unwrap();
        server.register(1).await;
        server.consensus.shutdown().await;
    }
}

/// A command of a later version in the log: not skipped, not taken for damage.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_not_understood_stops_the_start() {
    let original = written(5).await;
    let path = original.path().join("log.redb");
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut log = transaction.open_table(redb::TableDefinition::<u64, &[u8]>::new("log")).unwrap();
        let mut record = redb::ReadableTable::get(&log, 3).unwrap().unwrap().value().to_vec();
        record[1] = 2;
        let body = record.len() - 4;
        let checksum = crc32fast::hash(&record[..body]);
        record[body..].copy_from_slice(&checksum.to_le_bytes());
        log.insert(3, &*record).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let error = everything_or_nothing(original.path(), 5, "a later version").await.unwrap().to_string();
    assert!(error.contains("entry 3: record version 2"), "{error}");
}
