//! Views of a client agent, with servers stood in for by catalogs in this process.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Feed, Interest, Update, Views, look, pushed::follow, servers::Servers, upstream::Upstream, views::Options,
};
use crate::{
    catalog::{
        Catalog, Changes, Source, State, Topic, Unavailable,
        command::{Command, Registration},
        model::Service,
    },
    raft::ProposeError,
    rpc::CallError,
};

/// A server: its catalog, whether it answers, and how often it was asked.
#[derive(Default)]
struct Server {
    catalog: Arc<Catalog>,
    state: Mutex<(State, u64)>,
    /// Ends the subscriptions there are.
    cut: Notify,
    subscriptions: AtomicUsize,
    fetches: AtomicUsize,
}

impl Server {
    fn register(&self, node: &str, service: &str) -> u64 {
        let mut guard = self.state.lock();
        let (state, index) = &mut *guard;
        *index += 1;
        let service = Service { name: service.to_owned(), ..Service::default() };
        let registration = Registration {
            node: node.to_owned(),
            address: "10.0.0.1".to_owned(),
            service: Some(service),
            ..Registration::default()
        };
        let mut changes = Changes::default();
        state.apply(*index, Command::Register(registration), &mut changes).unwrap();
        state.set_as_of(*index);
        self.catalog.publish(state.clone(), changes);
        *index
    }

    /// Entries that change nothing come and are applied.
    fn come_to(&self, index: u64) {
        let mut guard = self.state.lock();
        guard.1 = index;
        guard.0.set_as_of(index);
        self.catalog.publish(guard.0.clone(), Changes::default());
    }
}

/// The servers of a cluster, asked in turn unless they are down.
#[derive(Default)]
struct Cluster {
    servers: Mutex<HashMap<SocketAddr, Arc<Server>>>,
    order: Mutex<VecDeque<SocketAddr>>,
    down: Mutex<HashSet<SocketAddr>>,
    /// Take a subscription and say nothing.
    mute: Mutex<HashSet<SocketAddr>>,
    /// Whom gossip has for alive.
    alive: watch::Sender<Vec<SocketAddr>>,
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number], 8300))
}

impl Cluster {
    fn add(&self, number: u8) -> Arc<Server> {
        let server = Arc::new(Server::default());
        self.servers.lock().insert(address(number), server.clone());
        self.order.lock().push_back(address(number));
        server
    }

    /// The server, if it answers.
    fn reach(&self, server: SocketAddr) -> Result<Arc<Server>, CallError> {
        let unreachable = || CallError::Unreachable { server, reason: "down".to_owned() };
        if self.down.lock().contains(&server) {
            return Err(unreachable());
        }
        self.servers.lock().get(&server).cloned().ok_or_else(unreachable)
    }

    fn kill(&self, number: u8) {
        self.down.lock().insert(address(number));
        self.servers.lock()[&address(number)].cut.notify_waiters();
    }

    fn revive(&self, number: u8) {
        self.down.lock().remove(&address(number));
    }
}

impl Servers for Cluster {
    fn pick(&self) -> Option<SocketAddr> {
        self.order.lock().front().copied()
    }

    fn failed(&self, server: SocketAddr) {
        let mut order = self.order.lock();
        order.retain(|known| *known != server);
        order.push_back(server);
    }

    fn alive(&self) -> BoxStream<'static, Vec<SocketAddr>> {
        let alive = self.alive.subscribe();
        stream::unfold((alive, true), async |(mut alive, first)| {
            if !first {
                alive.changed().await.ok()?;
            }
            let now = alive.borrow_and_update().clone();
            Some((now, (alive, false)))
        })
        .boxed()
    }
}

impl Upstream for Cluster {
    fn subscribe(
        &self,
        address: SocketAddr,
        interest: Interest,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Update, CallError>>, CallError>> {
        async move {
            let server = self.reach(address)?;
            server.subscriptions.fetch_add(1, Ordering::SeqCst);
            if self.mute.lock().contains(&address) {
                return Ok(stream::pending().boxed());
            }
            let updates = follow(server.catalog.clone(), interest).map(Ok);
            let cut = stream::once(async move {
                server.cut.notified().await;
                Err(CallError::Lost { server: address, reason: "cut".to_owned() })
            });
            Ok(stream::select(updates, cut).boxed())
        }
        .boxed()
    }

    fn fetch(
        &self,
        address: SocketAddr,
        interest: Interest,
        at_least: u64,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Update, CallError>> {
        async move {
            let server = self.reach(address)?;
            server.fetches.fetch_add(1, Ordering::SeqCst);
            let reached = tokio::time::timeout(deadline, server.catalog.reached(at_least)).await;
            reached.map_err(|_| CallError::Deadline { server: address })?;
            Ok(look(&server.catalog, interest))
        }
        .boxed()
    }
}

/// A client agent.
struct Client {
    cluster: Arc<Cluster>,
    catalog: Arc<Catalog>,
    views: Arc<Views>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Client {
    fn of(cluster: Cluster) -> Self {
        let (tasks, stop, catalog) = (TaskTracker::new(), CancellationToken::new(), Arc::new(Catalog::default()));
        let cluster = Arc::new(cluster);
        let options = Options {
            catalog: catalog.clone(),
            servers: cluster.clone(),
            upstream: cluster.clone(),
            own_node: "Own".to_owned(),
            seed: 1,
        };
        let views = Views::start(options, &tasks, &stop);
        Self { cluster, catalog, views, tasks, stop }
    }

    async fn want(&self, service: &str) -> Result<(), Unavailable> {
        self.views.want(Interest::service(service)).await.map(drop)
    }

    fn instances(&self, service: &str) -> Option<usize> {
        let state = self.catalog.state();
        state.holds_service(service).then(|| state.service_entry(service).map_or(0, |entry| entry.instances.len()))
    }

    /// Waits until the client shows so many instances; time passes by itself.
    async fn shows(&self, service: &str, instances: Option<usize>) {
        let mut watch = self.catalog.watch(Topic::Service(service.into()));
        let waiting = async {
            while self.instances(service) != instances {
                watch.changed().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("shown in time");
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_question_subscribes_and_changes_follow() {
    let cluster = Cluster::default();
    let server = cluster.add(1);
    server.register("n1", "web");
    let client = Client::of(cluster);
    assert_eq!(client.instances("web"), None);
    client.want("WEB").await.unwrap();
    assert_eq!(client.instances("web"), Some(1));
    client.want("web").await.unwrap();
    server.register("n2", "web");
    client.shows("web", Some(2)).await;
    assert_eq!(server.subscriptions.load(Ordering::SeqCst), 1, "one for all");
    assert_eq!(client.views.age(&Interest::service("web")), Some(Duration::ZERO));
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_leads_to_nothing_is_followed_too() {
    let cluster = Cluster::default();
    let server = cluster.add(1);
    let client = Client::of(cluster);
    client.want("later").await.unwrap();
    assert_eq!(client.instances("later"), Some(0));
    server.register("n1", "later");
    client.shows("later", Some(1)).await;
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_at_once_share_a_subscription() {
    let cluster = Cluster::default();
    let server = cluster.add(1);
    let client = Client::of(cluster);
    let all = futures_util::future::join_all((0..100).map(|_| client.want("web"))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(server.subscriptions.load(Ordering::SeqCst), 1);
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn when_its_server_is_lost_what_is_known_stays_and_another_tells_on() {
    let cluster = Cluster::default();
    let (first, second) = (cluster.add(1), cluster.add(2));
    first.register("n1", "web");
    let client = Client::of(cluster);
    client.want("web").await.unwrap();
    // The second lags: it does not know what the client knows.
    client.cluster.kill(1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.instances("web"), Some(1), "what is newer stays");
    assert_eq!(second.subscriptions.load(Ordering::SeqCst), 1);
    second.register("n1", "web");
    second.register("n2", "web");
    client.shows("web", Some(2)).await;
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_any_server_old_answers_are_kept_and_their_age_is_known() {
    let cluster = Cluster::default();
    let server = cluster.add(1);
    server.register("n1", "web");
    let client = Client::of(cluster);
    let interest = Interest::service("web");
    assert_eq!(client.views.age(&interest), None);
    client.want("web").await.unwrap();
    client.cluster.kill(1);
    tokio::time::sleep(Duration::from_secs(100)).await;
    client.want("web").await.unwrap();
    assert_eq!(client.instances("web"), Some(1));
    let age = client.views.age(&interest).unwrap();
    assert!(age >= Duration::from_secs(99) && age <= Duration::from_secs(101), "{age:?}");
    assert_eq!(client.want("other").await, Err(Unavailable), "what is not known cannot be answered");
    client.cluster.revive(1);
    server.register("n2", "web");
    client.shows("web", Some(2)).await;
    assert_eq!(client.views.age(&interest), Some(Duration::ZERO));
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_for_another() {
    let cluster = Cluster::default();
    let (_mute, second) = (cluster.add(1), cluster.add(2));
    cluster.mute.lock().insert(address(1));
    second.register("n1", "web");
    let client = Client::of(cluster);
    client.want("web").await.unwrap();
    assert_eq!(client.instances("web"), Some(1));
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_dead_by_gossip_is_left_though_its_connection_says_nothing() {
    let cluster = Cluster::default();
    let (first, second) = (cluster.add(1), cluster.add(2));
    first.register("n1", "web");
    second.register("n1", "web");
    cluster.alive.send_replace(vec![address(2), address(1)]);
    let client = Client::of(cluster);
    client.want("web").await.unwrap();
    second.register("n2", "web");
    client.cluster.alive.send_replace(vec![address(1)]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(client.instances("web"), Some(1), "the first is asked, and lives");
    client.cluster.alive.send_replace(vec![address(2)]);
    client.shows("web", Some(2)).await;
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn servers_with_another_history_are_believed_in_the_end() {
    let cluster = Cluster::default();
    let (first, second) = (cluster.add(1), cluster.add(2));
    (0..50).for_each(|_| _ = first.register("n1", "web"));
    let client = Client::of(cluster);
    first.come_to(100);
    client.want("web").await.unwrap();
    client.cluster.kill(1);
    second.register("m1", "web");
    second.register("m2", "web");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(client.instances("web"), Some(1), "it may be only late");
    client.shows("web", Some(2)).await;
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_ends_and_what_is_read_or_waited_for_stays() {
    let cluster = Cluster::default();
    let server = cluster.add(1);
    for service in ["idle", "read", "waited"] {
        server.register("n1", service);
    }
    let client = Client::of(cluster);
    for service in ["idle", "read", "absent"] {
        client.want(service).await.unwrap();
    }
    let lease = client.views.want(Interest::service("waited")).await.unwrap();
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(client.instances("read"), Some(1));
    }
    let holds = |client: &Client, service: &str| client.catalog.state().service_entry(service).is_some();
    assert!(!holds(&client, "idle") && holds(&client, "read") && holds(&client, "waited"));
    assert_eq!(client.views.followed(), 2);
    drop(lease);
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(client.views.followed(), 0);
    client.want("idle").await.unwrap();
    assert_eq!(client.instances("idle"), Some(1), "and it comes again when asked for");
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn invented_names_do_not_drive_out_what_is_there() {
    let cluster = Cluster::default();
    let server = cluster.add(1);
    server.register("n1", "web");
    let client = Client::of(cluster);
    client.want("web").await.unwrap();
    for number in 0..5000 {
        client.want(&format!("invented-{number}")).await.unwrap();
    }
    assert!(client.views.followed() <= 4096);
    assert_eq!(client.instances("web"), Some(1));
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_own_node_shows_what_was_written() {
    let cluster = Cluster::default();
    let server = cluster.add(1);
    let client = Client::of(cluster);
    let index = server.register("own", "web");
    client.views.refresh_own(index).await.unwrap();
    let node = || client.catalog.state().node_entry("own").map(|entry| entry.services.len());
    assert_eq!(node(), Some(1));
    let fetches = server.fetches.load(Ordering::SeqCst);
    client.views.refresh_own(index).await.unwrap();
    assert_eq!(server.fetches.load(Ordering::SeqCst), fetches, "it is known to be shown");
    client.views.refresh_own(0).await.unwrap();
    assert_eq!(server.fetches.load(Ordering::SeqCst), fetches + 1, "asked for in any case");
    tokio::time::sleep(Duration::from_secs(5000)).await;
    assert_eq!(node(), Some(1), "it stays though nobody reads it");
    client.cluster.kill(1);
    for at_least in [0, index + 1] {
        assert!(matches!(client.views.refresh_own(at_least).await, Err(ProposeError::NoLeader)));
    }
    client.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hears_of_no_leader_sends_its_subscribers_away_after_a_while() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let server = Server::default();
    server.register("n1", "web");
    let contact = Arc::new(Mutex::new(Some(Duration::ZERO)));
    let known = contact.clone();
    let feed = Feed::start(server.catalog.clone(), move || *known.lock(), &tasks, &stop);
    let mut updates = feed.follow(Interest::service("web"));
    assert!(updates.next().await.is_some());
    *contact.lock() = Some(Duration::from_secs(3600));
    tokio::time::sleep(Duration::from_secs(5)).await;
    *contact.lock() = Some(Duration::ZERO);
    assert!(tokio::time::timeout(Duration::from_secs(60), updates.next()).await.is_err(), "it was an election");
    *contact.lock() = None;
    let begun = tokio::time::Instant::now();
    assert!(updates.next().await.is_none(), "others may know better");
    assert!(begun.elapsed() >= Duration::from_secs(10) && begun.elapsed() <= Duration::from_secs(12));
    let mut again = feed.follow(Interest::service("web"));
    assert!(again.next().await.is_some(), "but who comes is told what there is");
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_tells_of_many_changes_at_once() {
    let server = Server::default();
    for number in 0..1000 {
        server.register(&format!("n{number}"), "web");
    }
    let mut updates = follow(server.catalog.clone(), Interest::service("web"));
    let first = updates.next().await.unwrap();
    assert_eq!((first.as_of, first.content.size()), (1000, 1000));
    for number in 1000..1010 {
        server.register(&format!("n{number}"), "web");
        server.register("other", "other");
    }
    let begun = tokio::time::Instant::now();
    let second = updates.next().await.unwrap();
    assert_eq!((second.as_of, second.content.size()), (1020, 1010));
    assert_eq!(begun.elapsed().as_millis(), 20, "a large one rests before it is told again");
    let third = tokio::time::timeout(Duration::from_secs(60), updates.next()).await;
    assert!(third.is_err(), "nothing more happened");
}
