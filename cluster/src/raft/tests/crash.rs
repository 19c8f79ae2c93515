//! A process that ends without notice: whatever it acknowledged is there when it starts again.
//!
//! A child process writes and says which numbers were acknowledged, until it is killed at a moment of chance or aborts
//! right behind an acknowledgement; what it left is opened here. Besides, what is on disk while a server writes is
//! copied again and again: each copy is what a crash at that moment would have left.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command as Process, Stdio},
};

use super::*;

const CHILD_DIRECTORY: &str = "USHER_TEST_CRASH_DIRECTORY";
/// The child aborts behind so many acknowledgements.
const CHILD_ABORTS: &str = "USHER_TEST_CRASH_AFTER";

/// The child's part: registers numbers from the first free one on and prints each that is acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_writes_until_it_is_killed() {
    let Ok(directory) = std::env::var(CHILD_DIRECTORY) else {
        return;
    };
    let options =
        Options { snapshot_threshold: 40, trailing_logs: 10, ..Options::for_tests(Some(Path::new(&directory))) };
    let server = Arc::new(Server::start(options).await.unwrap());
    let abort_after = std::env::var(CHILD_ABORTS).unwrap().parse::<u64>().unwrap();
    let count = Arc::new(std::sync::atomic::AtomicU64::new(1));
    let first = server.registered().len() as u64;
    // Several at once, so that commits carry several entries.
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (server, count) = (server.clone(), count.clone());
            tokio::spawn(async move {
                for step in 0.. {
                    let number = first + step * 4 + writer;
                    server.register(number).await;
                    println!("acknowledged {number}");
                    std::io::stdout().flush().unwrap();
                    if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == abort_after {
                        std::process::abort();
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

fn spawn_child(directory: &Path, abort_after: u64) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "raft::tests::crash::child_that_writes_until_it_is_killed", "--nocapture"])
        .env(CHILD_DIRECTORY, directory)
        .env(CHILD_ABORTS, abort_after.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_acknowledged_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..10 {
        let wanted = 1 + rand::random::<u64>() % 60;
        let aborts = round % 2 == 0;
        let mut child = spawn_child(directory.path(), if aborts { wanted } else { u64::MAX });
        let mut seen = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            // What it still said before its end counts as well.
            let Some(number) = line.unwrap().split("acknowledged ").nth(1).map(|number| number.parse::<u64>().unwrap())
            else {
                continue;
            };
            acknowledged.push(number);
            seen += 1;
            if seen == wanted && !aborts {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= wanted, "the child ended by itself");

        let server = Server::start(Options::for_tests(Some(directory.path()))).await.unwrap();
        let found = server.registered();
        let missing: Vec<_> = acknowledged.iter().filter(|number| !found.contains(number)).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?} are missing of {}", acknowledged.len());
        // The child begins behind the last number: fill the gaps that unacknowledged ones left.
        let end = found.last().map_or(0, |last| last + 1);
        for number in (0..end).filter(|number| !found.contains(number)) {
            server.register(number).await;
        }
        server.consensus.shutdown().await;
    }
}

/// Copies the files as they are at this moment, or says that they changed names meanwhile.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    // The mark first: it must not be ahead of the log. The log before the snapshots: one it relies on stays long enough.
    fs::create_dir_all(to.join("snapshots"))?;
    for name in ["log.mark", "log.redb"] {
        fs::copy(from.join(name), to.join(name))?;
    }
    for entry in fs::read_dir(from.join("snapshots"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "snap") {
            fs::copy(&path, to.join("snapshots").join(path.file_name().unwrap()))?;
        }
    }
    Ok(())
}

/// A copy that is made while pages are written mixes moments, as a power failure does with what was not synced: such a
/// copy may be refused, but never opened with less than was acknowledged before it was begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_any_moment_has_everything_or_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { snapshot_threshold: 50, trailing_logs: 10, ..Options::for_tests(Some(directory.path())) };
    let server = Arc::new(Server::start(options).await.unwrap());
    let writer = {
        let server = server.clone();
        tokio::spawn(async move {
            for number in 0.. {
                server.register(number).await;
            }
        })
    };
    let mut copies = Vec::new();
    while copies.len() < 20 {
        let copy_directory = tempfile::tempdir().unwrap();
        let acknowledged = server.registered().len();
        let (from, to) = (directory.path().to_owned(), copy_directory.path().to_owned());
        if tokio::task::spawn_blocking(move || copy(&from, &to)).await.unwrap().is_ok() {
            copies.push((copy_directory, acknowledged));
        }
    }
    writer.abort();
    server.consensus.shutdown().await;

    let mut opened = 0;
    for (copy_directory, acknowledged) in copies {
        match Server::start(Options::for_tests(Some(copy_directory.path()))).await {
            Ok(server) => {
                opened += 1;
                let found = server.registered().len();
                assert!(found >= acknowledged, "{found} of {acknowledged}");
                server.consensus.shutdown().await;
            }
            Err(StartError::Damaged { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(opened > 0, "not one copy could be opened");
}
