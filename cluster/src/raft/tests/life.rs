//! Starting, writing, stopping, starting again.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_in_the_catalog_when_it_is_acknowledged() {
    for directory in [None, Some(tempfile::tempdir().unwrap())] {
        let server =
            Server::start(Options::for_tests(directory.as_ref().map(|directory| directory.path()))).await.unwrap();
        let first = server.register(1).await;
        assert_eq!(server.registered(), [1]);
        let second = server.register(2).await;
        assert!(second.index > first.index);
        assert_eq!(server.registered(), [1, 2]);
        server.consensus.linearize(HOLD).await.unwrap();
        server.consensus.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut peer = None;
    for round in 0..3 {
        let server = Server::start(Options::for_tests(Some(directory.path()))).await.unwrap();
        assert_eq!(server.registered(), (0..round * 10).collect::<Vec<_>>());
        server.register_all(round * 10..round * 10 + 10).await;
        let status = server.consensus.status();
        let id = *peer.get_or_insert(status.peers[0].id);
        assert_eq!(status.peers[0].id, id, "the Raft id is kept");
        assert!(status.is_leader);
        assert_eq!(status.role, "Leader");
        server.consensus.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_follows_the_address() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(Options::for_tests(Some(directory.path()))).await.unwrap();
    let before = server.consensus.status();
    assert_eq!(before.leader.as_deref(), Some("127.0.0.1:8300"));
    server.consensus.shutdown().await;

    let options = Options { address: ([127, 0, 0, 2], 9300).into(), ..Options::for_tests(Some(directory.path())) };
    let server = Server::start(options).await.unwrap();
    let after = server.consensus.status();
    assert_eq!(after.leader.as_deref(), Some("127.0.0.2:9300"));
    assert_eq!(after.peers.len(), 1);
    assert_eq!(after.peers[0], Peer { address: "127.0.0.2:9300".to_owned(), ..before.peers[0].clone() });
    server.register(1).await;
    server.consensus.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_keeps_the_state_and_what_it_was_told_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let options =
        || Options { snapshot_threshold: 50, trailing_logs: 20, ..Options::for_tests(Some(directory.path())) };
    let server = Server::start(options()).await.unwrap();
    server.register_all(0..500).await;
    server.consensus.snapshot().await.unwrap();
    let status = server.consensus.status();
    assert_eq!(status.last_snapshot_index, status.applied_index);
    server.register_all(500..510).await;
    server.consensus.shutdown().await;
    let snapshots = std::fs::read_dir(directory.path().join("snapshots")).unwrap().count();
    assert_eq!(snapshots, 2, "the newest two are kept");

    let server = Server::start(options()).await.unwrap();
    assert_eq!(server.registered(), (0..510).collect::<Vec<_>>());
    assert!(server.consensus.log.tail().len() <= 40, "{} entries are kept", server.consensus.log.tail().len());
    server.consensus.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cluster_there_is_no_leader_and_the_call_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { bootstrap: false, ..Options::for_tests(Some(directory.path())) };
    let server = Server::start(options).await.unwrap();
    let error = server.consensus.propose(registration(1), Duration::ZERO).await.unwrap_err();
    assert_eq!(error.to_string(), "No cluster leader");
    let error = server.consensus.linearize(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(error.to_string(), "No cluster leader");
    let status = server.consensus.status();
    assert_eq!((status.leader, status.is_leader, status.peers.len()), (None, false, 0));
    server.consensus.shutdown().await;

    // The same directory may be told to form a cluster later.
    let server = Server::start(Options::for_tests(Some(directory.path()))).await.unwrap();
    server.register(1).await;
    server.consensus.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_and_its_end_are_told() {
    let server = Server::start(Options::for_tests(None)).await.unwrap();
    assert!(server.consensus.leadership_changed(false).await);
    let consensus = server.consensus.clone();
    let waiting = tokio::spawn(async move { consensus.leadership_changed(true).await });
    server.consensus.shutdown().await;
    assert!(!waiting.await.unwrap());
    assert_eq!(server.consensus.status().role, "Shutdown");
    assert!(matches!(server.consensus.propose(registration(1), HOLD).await, Err(ProposeError::Stopped(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_are_all_answered_with_indexes_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let server = Arc::new(Server::start(Options::for_tests(Some(directory.path()))).await.unwrap());
    let writers: Vec<_> = (0..32)
        .map(|writer| {
            let server = server.clone();
            tokio::spawn(async move {
                let mut indexes = Vec::new();
                for number in 0..20 {
                    indexes.push(server.register(writer * 20 + number).await.index);
                }
                indexes
            })
        })
        .collect();
    let mut indexes = Vec::new();
    for writer in writers {
        let own = writer.await.unwrap();
        assert!(own.is_sorted());
        indexes.extend(own);
    }
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(indexes.len(), 640);
    assert_eq!(server.registered(), (0..640).collect::<Vec<_>>());
    server.consensus.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_large_entries_is_compacted_by_its_size() {
    let server = Server::start(Options::for_tests(None)).await.unwrap();
    let large = |number: u64| {
        let Command::Register(mut registration) = registration(number) else { unreachable!() };
        registration.node_meta.insert("large".to_owned(), "x".repeat(300_000));
        Command::Register(registration)
    };
    for number in 0..64 {
        // The same few nodes again and again: the log grows, the catalog does not.
        server.consensus.propose(large(number % 4), HOLD).await.unwrap();
    }
    let deadline = Instant::now() + HOLD;
    while server.consensus.log.tail().bytes() > compaction::MEMORY_BYTES {
        assert!(Instant::now() < deadline, "{} bytes are kept", server.consensus.log.tail().bytes());
        tokio::task::yield_now().await;
    }
    assert_eq!(server.registered(), (0..4).collect::<Vec<_>>());
    server.consensus.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_stops_when_the_disk_no_longer_takes_writes() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(Options::for_tests(Some(directory.path()))).await.unwrap();
    server.register(1).await;
    server.consensus.log.break_disk();
    let error = server.consensus.propose(registration(2), HOLD).await.unwrap_err();
    assert!(matches!(error, ProposeError::Stopped(_)), "{error}");
    let reason = server.consensus.failed().await;
    assert!(reason.contains("log.redb"), "{reason}");
    server.consensus.shutdown().await;
}
