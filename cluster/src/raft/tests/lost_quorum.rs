//! Recovery by `peers.json`.

use std::path::Path;

use super::{
    cluster::{Cluster, Host, until_leader_did},
    *,
};
use futures_util::FutureExt;

fn write(directory: &Path, text: &str) {
    std::fs::write(directory.join("peers.json"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_five_go_on_with_everything_they_have() {
    let mut cluster = Cluster::found_with(5, true, |options| {
        (options.snapshot_threshold, options.trailing_logs) = (20, 5);
    })
    .await;
    cluster.register(0..50).await;
    cluster.all_show(0..50).await;
    let mut left = Vec::new();
    for host in cluster.hosts.drain(..) {
        left.push(host.stop().await);
    }
    left.truncate(2);
    let servers: Vec<_> = left
        .iter()
        .map(|(options, _)| format!(r#"{{"id": "{}", "address": "{}"}}"#, options.node_id, options.address))
        .collect();
    let text = format!("[{}]", servers.join(", "));
    for (options, directory) in left {
        let path = directory.as_ref().unwrap().path().to_owned();
        assert!(std::fs::read_to_string(path.join("peers.info")).unwrap().contains("peers.json"));
        write(&path, &text);
        cluster.hosts.push(Host::start_with(options, directory).await);
        assert!(!path.join("peers.json").exists());
        assert_eq!(std::fs::read_to_string(path.join("peers.json.applied")).unwrap(), text);
    }
    cluster.register(50..60).await;
    cluster.all_show(0..60).await;
    assert_eq!(cluster.hosts[0].consensus().status().peers.len(), 2);

    // It is a cluster like any other: one more joins, and all come back after a restart.
    let host = Host::start(9, true).await;
    let (founder, id) = (host.founder(), host.consensus().raft_id());
    cluster.hosts.push(host);
    until_leader_did(&cluster, |consensus| {
        let founder = founder.clone();
        async move {
            consensus.add_learner(&founder).await?;
            consensus.promote(id).await
        }
        .boxed()
    })
    .await;
    cluster.all_show(0..60).await;
    let mut stopped = Vec::new();
    for host in cluster.hosts.drain(..) {
        stopped.push(host.stop().await);
    }
    for (options, directory) in stopped {
        cluster.hosts.push(Host::start_with(options, directory).await);
    }
    cluster.register(60..61).await;
    cluster.all_show(0..61).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_stops_the_start_and_changes_nothing() {
    let cluster = Cluster::found(1, true).await;
    cluster.register(0..5).await;
    let host = cluster.hosts.into_iter().next().unwrap();
    let own_id = host.options.node_id.clone();
    let (options, directory) = host.stop().await;
    let path = directory.as_ref().unwrap().path().to_owned();
    let log = std::fs::read(path.join("log.redb")).unwrap();
    for (text, expected) in [
        ("nonsense".to_owned(), "is no JSON list of servers"),
        (r#"[{"id": "x", "address": "127.0.0.1"}]"#.to_owned(), "server 1: address: "),
    ] {
        write(&path, &text);
        let error = Server::start(options.clone()).await.err().unwrap().to_string();
        assert!(error.contains("peers.json: ") && error.contains(expected), "{error}");
        assert_eq!(std::fs::read(path.join("log.redb")).unwrap(), log);
    }
    for (text, expected) in [
        (r#"[{"id": "x", "address": "127.0.0.1:1"}]"#.to_owned(), "server 1: id: x is not known"),
        (r#"[{"id": "77", "address": "127.0.0.1:1"}]"#.to_owned(), "does not name this server"),
    ] {
        write(&path, &text);
        let error = Server::start(options.clone()).await.err().unwrap().to_string();
        assert!(error.contains("peers.json: ") && error.contains(expected), "{error}");
    }
    assert!(path.join("snapshots").read_dir().unwrap().next().is_none(), "a snapshot was made");
    write(&path, &format!(r#"[{{"id": "{}", "address": "127.0.0.1:1"}}]"#, own_id.to_uppercase()));
    let server = Server::start(options).await.unwrap();
    assert_eq!(server.registered(), [0, 1, 2, 3, 4]);
    server.register(5).await;
    server.consensus.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_must_be_something_to_recover() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options { bootstrap: false, ..Options::for_tests(Some(directory.path())) };
    Server::start(options()).await.unwrap().consensus.shutdown().await;
    write(directory.path(), &format!(r#"[{{"id": "{}", "address": "127.0.0.1:1"}}]"#, options().node_id));
    let error = Server::start(options()).await.err().unwrap().to_string();
    assert!(error.contains("there is nothing to recover"), "{error}");
}
