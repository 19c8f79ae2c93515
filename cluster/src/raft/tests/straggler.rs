//! Servers that are far behind, wiped, removed, or promised to others.

use futures_util::FutureExt;

use super::{
    cluster::{Cluster, Host, until, until_leader_did},
    *,
};
use crate::rpc::message::Founder;

/// The log the others keep begins behind what it has: a snapshot brings it up.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_far_behind_gets_a_snapshot() {
    for on_disk in [true, false] {
        let mut cluster = Cluster::found_with(3, on_disk, |options| {
            (options.snapshot_threshold, options.trailing_logs) = (50, 10);
        })
        .await;
        cluster.register(0..10).await;
        let behind = (cluster.leader().await + 1) % 3;
        let stopped = match on_disk {
            true => Some(cluster.hosts.remove(behind).stop().await),
            false => None,
        };
        cluster.register(10..300).await;
        for host in &cluster.hosts {
            host.consensus().snapshot().await.unwrap();
        }
        let newcomer = match stopped {
            // It makes no snapshot itself: the one it has then came from another.
            Some((mut options, directory)) => {
                options.snapshot_threshold = 1_000_000;
                Host::start_with(options, directory).await
            }
            None => Host::start(7, false).await,
        };
        let founder = newcomer.founder();
        cluster.hosts.push(newcomer);
        if !on_disk {
            until_leader_did(&cluster, |consensus| {
                let founder = founder.clone();
                async move { consensus.add_learner(&founder).await }.boxed()
            })
            .await;
        }
        cluster.all_show(0..300).await;
        // What is in the catalog is told of in the status a moment later.
        let newcomer = cluster.hosts.last().unwrap();
        until("it came by a snapshot", || newcomer.consensus().status().last_snapshot_index > 200).await;
        cluster.register(300..310).await;
        cluster.all_show(0..310).await;
        cluster.stop().await;
    }
}

/// It died when the snapshot had its name and the log was not cut yet: the snapshot is ahead of the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_ahead_of_the_log_is_begun_from() {
    let mut cluster = Cluster::found(3, true).await;
    cluster.register(0..10).await;
    let behind = (cluster.leader().await + 1) % 3;
    let (options, directory) = cluster.hosts.remove(behind).stop().await;
    cluster.register(10..100).await;
    let leader = cluster.leader().await;
    cluster.hosts[leader].consensus().snapshot().await.unwrap();
    let from = cluster.hosts[leader].options.directory.as_ref().unwrap().join("snapshots");
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = directory.as_ref().unwrap().path().join("snapshots").join(file.file_name());
        std::fs::copy(file.path(), to).unwrap();
    }
    let host = Host::start_with(options, directory).await;
    assert!(host.server.registered().len() >= 100, "{:?}", host.server.registered().len());
    cluster.hosts.push(host);
    cluster.register(100..110).await;
    cluster.all_show(0..110).await;
    cluster.stop().await;
}

/// A server that lost its disk is another server, although it has the address and the name of the old one: it gets no
/// entries meant for that, gives no votes, and can be taken in anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_server_is_not_taken_for_its_old_self() {
    let mut cluster = Cluster::found(3, true).await;
    cluster.register(0..10).await;
    let leader = cluster.leader().await;
    let wiped = cluster.hosts.remove((leader + 1) % 3);
    let old_id = wiped.consensus().raft_id();
    let (options, _gone) = wiped.stop().await;
    let directory = tempfile::tempdir().unwrap();
    let options = Options { directory: Some(directory.path().to_owned()), ..options };
    let fresh = Host::start_with(options, Some(directory)).await;
    assert_ne!(fresh.consensus().raft_id(), old_id);
    cluster.register(10..30).await;
    assert!(fresh.consensus().is_pristine());
    assert!(fresh.server.registered().is_empty());

    let (founder, new_id) = (fresh.founder(), fresh.consensus().raft_id());
    cluster.hosts.push(fresh);
    until_leader_did(&cluster, |consensus| {
        let founder = founder.clone();
        async move {
            match consensus.remove(old_id).await {
                Ok(()) | Err(ChangeError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
            consensus.add_learner(&founder).await?;
            consensus.promote(new_id).await
        }
        .boxed()
    })
    .await;
    cluster.all_show(0..30).await;
    cluster.stop().await;
}

/// It still believes to be a voter and stands for election again and again; nobody's term moves.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_server_does_not_disturb() {
    let mut cluster = Cluster::found(3, false).await;
    let leader = cluster.leader().await;
    let removed = cluster.hosts.remove((leader + 1) % 3);
    let removed_id = removed.consensus().raft_id();
    until_leader_did(&cluster, |consensus| {
        async move {
            match consensus.remove(removed_id).await {
                Err(ChangeError::NotFound(_)) => Ok(()),
                done => done,
            }
        }
        .boxed()
    })
    .await;
    let term = cluster.hosts[cluster.leader().await].consensus().status().term;
    for round in 0..20u64 {
        // Asked to, it does not wait for its timeout.
        removed.consensus().raft.trigger().elect(true).await.unwrap();
        cluster.register(round..round + 1).await;
    }
    assert_eq!(cluster.hosts[cluster.leader().await].consensus().status().term, term);
    removed.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promise_is_given_once_and_kept() {
    let others =
        |ids: &[u64]| -> Vec<Founder> { ids.iter().map(|id| Founder { raft_id: *id, ..Founder::default() }).collect() };
    for on_disk in [true, false] {
        let host = Host::start(1, on_disk).await;
        let own = host.consensus().raft_id();
        assert_eq!(host.consensus().pledge(&others(&[1, 2])).await, Err(FoundingError::NotAmong(own)));
        host.consensus().pledge(&others(&[own, 1, 2])).await.unwrap();
        host.consensus().pledge(&others(&[2, own, 1])).await.unwrap();
        let promised = host.consensus().pledge(&others(&[own, 1, 3])).await;
        let Err(FoundingError::Promised { founders, file }) = &promised else { panic!("{promised:?}") };
        assert_eq!(*founders, [own, 1, 2].into());
        assert_eq!(on_disk, std::path::Path::new(file).is_file(), "{file}");
        assert_eq!(host.consensus().form(&others(&[own, 3])).await, promised);
        assert!(host.consensus().is_pristine());
        let (options, directory) = host.stop().await;
        let host = Host::start_with(options, directory).await;
        if on_disk {
            assert_eq!(host.consensus().pledge(&others(&[own, 3])).await, promised);
        }
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_founded_once() {
    let cluster = Cluster::found(3, false).await;
    let founders: Vec<_> = cluster.hosts.iter().map(Host::founder).collect();
    for host in &cluster.hosts {
        until("it knows", || host.consensus().status().peers.len() == 3).await;
        host.consensus().form(&founders).await.unwrap();
        assert!(host.consensus().form(&founders[..1]).await.is_err());
        assert_eq!(host.consensus().pledge(&founders).await, Err(FoundingError::NotPristine));
    }
    cluster.register(0..3).await;
    cluster.all_show(0..3).await;
    cluster.stop().await;
}
