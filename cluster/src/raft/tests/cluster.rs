//! Several servers in one process, over real sockets: founding, elections, changes of the configuration, transfers.

use std::{net::SocketAddr, ops::Range};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    net::TcpListener,
    rpc::{
        self,
        message::{Failure, Founder, Request, Response},
    },
    view::{Interest, Update},
};

/// Answers no calls: these tests are about what servers say to each other.
struct NoCalls;

impl rpc::Handler for NoCalls {
    fn call(&self, _request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        async { Err(Failure::Unknown) }.boxed()
    }

    fn subscribe(&self, _interest: Interest) -> BoxStream<'static, Update> {
        futures_util::stream::empty().boxed()
    }
}

/// How long a write may take before it is tried again.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server with its port.
pub(super) struct Host {
    pub(super) server: Server,
    pub(super) options: Options,
    directory: Option<TempDir>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Host {
    pub(super) async fn start(number: usize, on_disk: bool) -> Self {
        let directory = on_disk.then(|| tempfile::tempdir().unwrap());
        let options = Self::options(number, directory.as_ref());
        Self::start_with(options, directory).await
    }

    pub(super) fn options(number: usize, directory: Option<&TempDir>) -> Options {
        Options {
            directory: directory.map(|directory| directory.path().to_owned()),
            address: ([127, 0, 0, 1], 0).into(),
            node_id: format!("00000000-0000-0000-0000-{number:012}"),
            node_name: format!("n{number}"),
            bootstrap: false,
            ..Options::for_tests(None)
        }
    }

    pub(super) async fn start_with(mut options: Options, directory: Option<TempDir>) -> Self {
        // The port may still be held by a connection of the one before.
        let deadline = Instant::now() + HOLD;
        let listener = loop {
            match TcpListener::bind(options.address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        };
        options.address = listener.local_addr().unwrap();
        let server = Server::start(options.clone()).await.unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        rpc::serve(listener, Arc::new(NoCalls), server.consensus.clone(), &tasks, stop.clone());
        Self { server, options, directory, stop, tasks }
    }

    /// Stops and keeps what is on disk.
    pub(super) async fn stop(self) -> (Options, Option<TempDir>) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.server.consensus.shutdown().await;
        (self.options, self.directory)
    }

    pub(super) fn founder(&self) -> Founder {
        Founder {
            raft_id: self.consensus().raft_id(),
            node_id: self.options.node_id.clone(),
            name: self.options.node_name.clone(),
            address: self.options.address.to_string(),
        }
    }

    pub(super) fn consensus(&self) -> &Consensus {
        &self.server.consensus
    }
}

/// Polls until `condition` holds.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + HOLD;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A cluster of so many servers.
pub(super) struct Cluster {
    pub(super) hosts: Vec<Host>,
}

impl Cluster {
    pub(super) async fn found(size: usize, on_disk: bool) -> Self {
        Self::found_with(size, on_disk, |_| ()).await
    }

    /// The same with other options.
    pub(super) async fn found_with(size: usize, on_disk: bool, change: impl Fn(&mut Options)) -> Self {
        let mut hosts = Vec::new();
        for number in 0..size {
            let directory = on_disk.then(|| tempfile::tempdir().unwrap());
            let mut options = Host::options(number, directory.as_ref());
            change(&mut options);
            hosts.push(Host::start_with(options, directory).await);
        }
        let founders: Vec<_> = hosts.iter().map(Host::founder).collect();
        for host in &hosts {
            assert!(host.consensus().is_pristine());
            host.consensus().pledge(&founders).await.unwrap();
        }
        hosts[0].consensus().form(&founders).await.unwrap();
        let cluster = Self { hosts };
        cluster.leader().await;
        cluster
    }

    /// The position of the one that leads and is known to all to do so.
    pub(super) async fn leader(&self) -> usize {
        let mut found = None;
        until("all know one leader", || {
            let leaders: Vec<_> = self.hosts.iter().map(|host| host.consensus().leader()).collect();
            let position = self.hosts.iter().position(|host| host.consensus().status().is_leader);
            found = position.filter(|position| {
                let id = self.hosts[*position].consensus().raft_id();
                leaders.iter().all(|leader| leader.is_some_and(|(leader, _)| leader == id))
            });
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Registers at whoever leads, trying again until it is done.
    pub(super) async fn register(&self, numbers: Range<u64>) {
        for number in numbers {
            let deadline = Instant::now() + HOLD;
            'tries: loop {
                for host in &self.hosts {
                    let tried =
                        tokio::time::timeout(PATIENCE, host.consensus().try_propose(registration(number))).await;
                    match tried.unwrap_or(Err(TryError::Unsure)) {
                        Ok(applied) => {
                            assert_eq!(applied.outcome, Ok(()));
                            break 'tries;
                        }
                        Err(TryError::NotLeader(_) | TryError::Unsure) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                assert!(
                    Instant::now() < deadline,
                    "nobody takes a write: {:#?}",
                    self.hosts.iter().map(|host| host.consensus().status()).collect::<Vec<_>>()
                );
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    /// Waits until everybody shows these registrations and no others.
    pub(super) async fn all_show(&self, numbers: Range<u64>) {
        let expected: Vec<_> = numbers.collect();
        for host in &self.hosts {
            until("a registration arrives", || host.server.registered() == expected).await;
        }
    }

    pub(super) async fn stop(self) {
        for host in self.hosts {
            host.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_agree() {
    for on_disk in [false, true] {
        let cluster = Cluster::found(3, on_disk).await;
        cluster.register(0..50).await;
        cluster.all_show(0..50).await;
        let status = cluster.hosts[1].consensus().status();
        assert_eq!(status.peers.len(), 3);
        assert!(status.peers.iter().all(|peer| peer.voter));
        cluster.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_says_who_leads() {
    let cluster = Cluster::found(3, false).await;
    let leader = cluster.leader().await;
    let address: SocketAddr = cluster.hosts[leader].options.address;
    for (position, host) in cluster.hosts.iter().enumerate().filter(|(position, _)| *position != leader) {
        let refusal = host.consensus().try_propose(registration(1)).await.unwrap_err();
        assert_eq!(refusal, TryError::NotLeader(Some(address)), "server {position}");
        assert_eq!(host.consensus().read_index().await, Err(TryError::NotLeader(Some(address))));
        assert!(host.consensus().status().last_contact.unwrap() < HOLD);
        assert!(host.consensus().peer_progress().is_empty());
    }
    let consensus = cluster.hosts[leader].consensus();
    assert_eq!(consensus.status().last_contact, Some(Duration::ZERO));
    let applied = consensus.try_propose(registration(1)).await.unwrap();
    let index = consensus.read_index().await.unwrap();
    assert!(index >= applied.index);
    for host in &cluster.hosts {
        until("it is applied", || host.consensus().status().applied_index >= index).await;
        assert_eq!(host.server.registered(), [1]);
    }
    until("progress is known", || {
        let progress = consensus.peer_progress();
        progress.len() == 2 && progress.iter().all(|peer| peer.matched_index >= index && peer.last_contact.is_some())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leads_when_the_leader_stops() {
    let mut cluster = Cluster::found(3, true).await;
    cluster.register(0..20).await;
    let leader = cluster.leader().await;
    let gone = cluster.hosts.remove(leader).stop().await;
    cluster.register(20..40).await;
    cluster.hosts.push(Host::start_with(gone.0, gone.1).await);
    cluster.all_show(0..40).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_come_back_after_all_were_stopped() {
    let mut cluster = Cluster::found(3, true).await;
    cluster.register(0..20).await;
    let mut stopped = Vec::new();
    for host in cluster.hosts.drain(..) {
        stopped.push(host.stop().await);
    }
    for (options, directory) in stopped {
        cluster.hosts.push(Host::start_with(options, directory).await);
    }
    cluster.register(20..30).await;
    cluster.all_show(0..30).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_may_come_back_elsewhere() {
    let mut cluster = Cluster::found(3, true).await;
    let leader = cluster.leader().await;
    let moving = (leader + 1) % 3;
    let (mut options, directory) = cluster.hosts.remove(moving).stop().await;
    options.address.set_port(0);
    options.node_name = "moved".to_owned();
    let host = Host::start_with(options, directory).await;
    let founder = host.founder();
    cluster.hosts.push(host);
    until_leader_did(&cluster, |consensus| {
        let founder = founder.clone();
        async move { consensus.update_server(&founder).await }.boxed()
    })
    .await;
    cluster.register(0..10).await;
    cluster.all_show(0..10).await;
    for host in &cluster.hosts {
        let peers = host.consensus().status().peers;
        assert!(peers.iter().any(|peer| peer.node_name == "moved" && peer.address == founder.address));
    }
    cluster.stop().await;
}

/// Has the leader do something, whoever it is.
pub(super) async fn until_leader_did(
    cluster: &Cluster,
    what: impl Fn(Consensus) -> BoxFuture<'static, Result<(), ChangeError>>,
) {
    let deadline = Instant::now() + HOLD;
    loop {
        let leader = cluster.hosts.iter().find(|host| host.consensus().status().is_leader);
        if let Some(leader) = leader {
            match what(leader.consensus().clone()).await {
                Ok(()) => return,
                Err(ChangeError::NotLeader | ChangeError::Unanswered | ChangeError::Unsure) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(Instant::now() < deadline, "nobody does it");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_join_and_leave() {
    let mut cluster = Cluster::found(1, true).await;
    cluster.register(0..20).await;
    for number in 1..5 {
        let host = Host::start(number, number % 2 == 0).await;
        let (founder, id) = (host.founder(), host.consensus().raft_id());
        cluster.hosts.push(host);
        until_leader_did(&cluster, |consensus| {
            let founder = founder.clone();
            async move { consensus.add_learner(&founder).await }.boxed()
        })
        .await;
        cluster.all_show(0..20).await;
        until_leader_did(&cluster, |consensus| async move { consensus.promote(id).await }.boxed()).await;
    }
    let first = cluster.hosts[0].consensus();
    assert_eq!(first.status().peers.iter().filter(|peer| peer.voter).count(), 5);
    assert!(!cluster.hosts[4].consensus().is_pristine());

    // The first, which leads, goes with its leadership; the others one by one.
    while cluster.hosts.len() > 1 {
        let leaving = cluster.hosts.remove(0);
        let id = leaving.consensus().raft_id();
        if leaving.consensus().status().is_leader {
            assert!(leaving.consensus().transfer_leadership(HOLD).await);
        }
        until_leader_did(&cluster, |consensus| {
            async move {
                match consensus.remove(id).await {
                    Err(ChangeError::NotFound(_)) => Ok(()),
                    done => done,
                }
            }
            .boxed()
        })
        .await;
        leaving.stop().await;
        let left = cluster.hosts.len() as u64;
        cluster.register(20..25 - left).await;
    }
    let peers = cluster.hosts[0].consensus().status().peers;
    assert_eq!(peers.len(), 1);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_lose_the_quorum_is_refused() {
    let mut cluster = Cluster::found(3, false).await;
    let leader = cluster.leader().await;
    let consensus = cluster.hosts[leader].consensus().clone();
    assert_eq!(consensus.remove(77).await, Err(ChangeError::NotFound(77)));
    assert_eq!(consensus.promote(77).await, Err(ChangeError::NotFound(77)));
    // A leader of a moment has heard of nobody yet; what it hears next would be of a server that is stopped by then.
    all_are_heard_of(&consensus).await;
    let dead = cluster.hosts.remove((leader + 1) % 3);
    let dead_id = dead.consensus().raft_id();
    dead.stop().await;
    let alive = cluster.hosts.iter().map(|host| host.consensus().raft_id()).find(|id| *id != consensus.raft_id());
    until("it counts as dead", || !consensus.is_heard_of(&current(&mut consensus.raft.metrics()), dead_id)).await;
    let refusal = consensus.remove(alive.unwrap()).await.unwrap_err();
    assert_eq!(refusal, ChangeError::Quorum { server: alive.unwrap(), alive: 1, voters: 2 });
    consensus.remove(dead_id).await.unwrap();
    cluster.register(0..3).await;
    cluster.stop().await;
}

/// Waits until a leader has heard of every other server.
async fn all_are_heard_of(consensus: &Consensus) {
    until("everybody is heard of", || consensus.peer_progress().iter().all(|peer| peer.last_contact.is_some())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_nobody_agrees_to_is_given_up_and_may_be_tried_again() {
    let mut cluster = Cluster::found(3, true).await;
    let leader = cluster.leader().await;
    let leading = cluster.hosts.swap_remove(leader);
    let mut stopped = Vec::new();
    for host in cluster.hosts.drain(..) {
        stopped.push(host.stop().await);
    }
    let joining = Host::start(3, false).await;
    let (founder, id) = (joining.founder(), joining.consensus().raft_id());
    assert_eq!(leading.consensus().add_learner(&founder).await, Err(ChangeError::Unanswered));
    cluster.hosts.push(leading);
    for (options, directory) in stopped {
        cluster.hosts.push(Host::start_with(options, directory).await);
    }
    cluster.hosts.push(joining);
    // Those who are back may have agreed on another leader, whose log does not have it: it is asked until all know.
    let knows = |host: &Host| host.consensus().status().peers.iter().any(|peer| peer.id == id);
    let deadline = Instant::now() + HOLD;
    while !cluster.hosts.iter().all(knows) {
        assert!(Instant::now() < deadline, "not all get to know of it");
        until_leader_did(&cluster, |consensus| {
            let founder = founder.clone();
            async move { consensus.add_learner(&founder).await }.boxed()
        })
        .await;
    }
    cluster.stop().await;
}
