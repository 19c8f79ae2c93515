//! Registrations from the call to the catalog, with consensus stood in for by a catalog that applies at once.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tokio_util::task::TaskTracker;

use super::*;
use crate::catalog::{Changes, command::Deregistration, model::Status};

/// Applies every command at once, or refuses for want of a leader.
#[derive(Default)]
pub(crate) struct FakeConsensus {
    catalog: Arc<Catalog>,
    index: AtomicU64,
    leaderless: AtomicBool,
    applying: parking_lot::Mutex<()>,
}

impl FakeConsensus {
    /// What was committed until now.
    pub(crate) fn writes(&self) -> u64 {
        self.index.load(Ordering::SeqCst)
    }

    pub(crate) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    pub(crate) fn set_leaderless(&self, leaderless: bool) {
        self.leaderless.store(leaderless, Ordering::SeqCst);
    }
}

impl Proposer for FakeConsensus {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if self.leaderless.load(Ordering::SeqCst) {
                return Err(ProposeError::NoLeader);
            }
            let _one_at_a_time = self.applying.lock();
            let index = self.index.fetch_add(1, Ordering::SeqCst) + 1;
            let (mut next, mut changes) = ((*self.catalog.state()).clone(), Changes::default());
            let outcome = next.apply(index, command, &mut changes);
            self.catalog.publish(next, changes);
            Ok(Applied { index, outcome })
        })
    }

    fn try_propose(&self, command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        self.propose(command)
    }

    fn refresh(&self, _: u64) -> BoxFuture<'_, Result<(), ProposeError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

struct Host {
    local: Arc<Local>,
    consensus: Arc<FakeConsensus>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Host {
    async fn start(data_dir: Option<&Path>, consensus: &Arc<FakeConsensus>) -> Self {
        Self::try_start(data_dir, consensus).await.unwrap()
    }

    async fn try_start(data_dir: Option<&Path>, consensus: &Arc<FakeConsensus>) -> Result<Self, DataDirError> {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let node = OwnNode { name: "n1".to_owned(), address: "10.0.0.1".to_owned(), ..OwnNode::default() };
        let scripts = ScriptPolicy::default();
        let options = Options {
            node,
            server: true,
            scripts,
            data_dir: data_dir.map(Path::to_owned),
            update_interval: Duration::ZERO,
        };
        let local = Local::start(options, consensus.catalog.clone(), consensus.clone(), &tasks, stop.clone()).await?;
        Ok(Self { local, consensus: consensus.clone(), tasks, stop })
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn register(&self, definition: ServiceDefinition) {
        self.local.keep_service(definition, Source::Api, false).await.unwrap().push().await;
    }

    fn writes(&self) -> u64 {
        self.consensus.index.load(Ordering::SeqCst)
    }

    /// What the catalog shows of the node, as `id:port` and `+check`.
    fn shown(&self) -> Vec<String> {
        let state = self.consensus.catalog.state();
        let Some(entry) = state.node_entry("n1") else { return Vec::new() };
        let services = entry.services.iter().map(|service| format!("{}:{}", service.id, service.port));
        services.chain(entry.checks.iter().map(|check| format!("+{}", check.id))).collect()
    }
}

fn service(id: &str, port: i64) -> ServiceDefinition {
    ServiceDefinition { id: id.to_owned(), name: "web".to_owned(), port, ..ServiceDefinition::default() }
}

fn ttl(id: &str, service_id: &str) -> CheckSpec {
    CheckSpec {
        id: id.to_owned(),
        name: id.to_owned(),
        service_id: service_id.to_owned(),
        ttl: Some(Duration::from_secs(1)),
        ..CheckSpec::default()
    }
}

fn with_check(id: &str, port: i64, check: &str) -> ServiceDefinition {
    ServiceDefinition { checks: vec![ttl(check, "")], ..service(id, port) }
}

#[tokio::test]
async fn a_registration_is_in_the_catalog_when_it_returns() {
    let host = Host::start(None, &Arc::default()).await;
    host.register(with_check("a", 1, "x")).await;
    assert_eq!(host.shown(), ["a:1", "+x"]);
    assert_eq!(host.writes(), 1, "a service and its checks are one command");
    host.register(with_check("a", 1, "x")).await;
    assert_eq!(host.writes(), 1, "the same again writes nothing");
    host.local.keep_check(ttl("y", "a"), Source::Api).await.unwrap().push().await;
    host.local.keep_check(ttl("n", ""), Source::Api).await.unwrap().push().await;
    assert_eq!(host.shown(), ["a:1", "+n", "+x", "+y"]);
    assert!(host.local.deregister_check("n").await.unwrap());
    assert!(host.local.deregister_service("a").await.unwrap());
    assert_eq!(host.shown(), Vec::<String>::new());
    assert!(!host.local.deregister_service("a").await.unwrap());
    assert!(!host.local.deregister_check("n").await.unwrap());
    host.stop().await;
}

#[tokio::test]
async fn without_a_leader_a_registration_is_kept_and_follows_later() {
    let host = Host::start(None, &Arc::default()).await;
    host.consensus.leaderless.store(true, Ordering::SeqCst);
    host.register(service("a", 1)).await;
    assert_eq!(host.local.state().services.len(), 1);
    assert!(matches!(host.local.compare_all().await, Err(ProposeError::NoLeader)));
    assert_eq!(host.shown(), Vec::<String>::new());
    host.consensus.leaderless.store(false, Ordering::SeqCst);
    host.local.compare_all().await.unwrap();
    assert_eq!(host.shown(), ["a:1"]);
    host.stop().await;
}

#[tokio::test]
async fn the_syncer_follows_up_by_itself() {
    let host = Host::start(None, &Arc::default()).await;
    host.tasks.spawn(run_syncer(host.local.clone(), || 1, || 0.0, host.stop.clone()));
    host.consensus.leaderless.store(true, Ordering::SeqCst);
    host.register(service("a", 1)).await;
    host.consensus.leaderless.store(false, Ordering::SeqCst);
    let followed = async {
        while host.shown().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), followed).await.unwrap();
    assert_eq!(host.shown(), ["a:1"]);
    host.stop().await;
}

#[tokio::test]
async fn a_comparison_heals_what_others_changed() {
    let host = Host::start(None, &Arc::default()).await;
    host.register(with_check("a", 1, "x")).await;
    host.register(service("b", 2)).await;
    let gone = Deregistration { node: "n1".to_owned(), service_id: "a".to_owned(), check_id: String::new() };
    host.consensus.propose(Command::Deregister(gone)).await.unwrap();
    let stray = Service { id: "stray".to_owned(), name: "stray".to_owned(), ..Service::default() };
    let node = host.local.node.load().registration();
    let stray = crate::catalog::command::Registration { service: Some(stray), ..node };
    host.consensus.propose(Command::Register(stray)).await.unwrap();
    assert_eq!(host.shown(), ["b:2", "stray:0"]);
    host.local.compare_all().await.unwrap();
    assert_eq!(host.shown(), ["a:1", "b:2", "+x"]);
    let writes = host.writes();
    host.local.compare_all().await.unwrap();
    assert_eq!(host.writes(), writes);
    host.stop().await;
}

#[tokio::test]
async fn tags_changed_by_others_are_taken_over_once_and_shown() {
    let host = Host::start(None, &Arc::default()).await;
    let open = ServiceDefinition { enable_tag_override: true, ..service("a", 1) };
    host.register(open.clone()).await;
    let theirs = Service { tags: vec!["theirs".to_owned()], ..(*host.local.state().services["a"]).clone() };
    let command =
        crate::catalog::command::Registration { service: Some(theirs), ..host.local.node.load().registration() };
    host.consensus.propose(Command::Register(command)).await.unwrap();
    let writes = host.writes();
    host.local.compare_all().await.unwrap();
    assert_eq!(host.local.state().services["a"].tags, ["theirs"]);
    assert_eq!(host.writes(), writes);
    host.register(open).await;
    assert_eq!(host.local.state().services["a"].tags, Vec::<String>::new());
    assert_eq!(host.writes(), writes + 1);
    host.stop().await;
}

#[tokio::test]
async fn refused_definitions_change_nothing() {
    let host = Host::start(None, &Arc::default()).await;
    let refused = host.local.keep_service(ServiceDefinition::default(), Source::Api, false).await.err();
    assert_eq!(refused.unwrap().to_string(), "Missing service name");
    let refused = host.local.keep_check(ttl("x", "nosuch"), Source::Api).await.err();
    assert_eq!(refused.unwrap().to_string(), "ServiceID \"nosuch\" does not exist");
    let refused = host.local.reload(vec![service("a", 1), ServiceDefinition::default()], vec![]).await;
    assert_eq!(refused.unwrap_err().to_string(), "Failed to register service \"\": Missing service name");
    assert!(host.local.state().services.is_empty() && host.local.state().checks.is_empty());
    assert_eq!(host.writes(), 0);
    host.stop().await;
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let consensus = Arc::default();
    let host = Host::start(Some(directory.path()), &consensus).await;
    host.register(with_check("a", 1, "x")).await;
    host.register(service("b", 2)).await;
    let passing = CheckSpec { status: Some(Status::Passing), ..ttl("n", "") };
    host.local.keep_check(passing, Source::Api).await.unwrap().push().await;
    host.local.keep_service(service("conf", 3), Source::Config, false).await.unwrap().push().await;
    host.local.deregister_service("b").await.unwrap();
    host.stop().await;

    let host = Host::start(Some(directory.path()), &consensus).await;
    let state = host.local.state();
    assert_eq!(state.services.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(state.checks.keys().collect::<Vec<_>>(), ["n", "x"]);
    assert_eq!(state.checks["n"].status, Status::Passing);
    host.local.compare_all().await.unwrap();
    assert_eq!(host.shown(), ["a:1", "+n", "+x"], "what files declared and no longer do is gone");
    host.stop().await;
}

#[tokio::test]
async fn a_damaged_registration_keeps_the_agent_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let consensus = Arc::default();
    let host = Host::start(Some(directory.path()), &consensus).await;
    host.register(service("a", 1)).await;
    host.stop().await;
    let path = std::fs::read_dir(directory.path().join("services")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&path, "damaged").unwrap();
    let error = Host::try_start(Some(directory.path()), &consensus).await.err().unwrap().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"damaged");
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_and_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(Some(directory.path()), &Arc::default()).await;
    std::fs::remove_dir_all(directory.path().join("services")).unwrap();
    let refused = host.local.keep_service(service("a", 1), Source::Api, false).await.err();
    assert!(matches!(refused, Some(LocalError::Io(_))), "{refused:?}");
    assert!(host.local.state().services.is_empty());
    assert_eq!(host.writes(), 0);
    host.stop().await;
}

#[tokio::test]
async fn changes_of_one_service_reach_the_catalog_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::start(Some(directory.path()), &Arc::default()).await;
    let all = (0..64).map(|n| host.register(service(&format!("s{}", n % 4), n)));
    futures_util::future::join_all(all).await;
    let state = host.local.state();
    let local: Vec<_> = state.services.iter().map(|(id, service)| format!("{id}:{}", service.port)).collect();
    assert_eq!(host.shown(), local);
    host.stop().await;
}

#[tokio::test]
async fn a_change_wakes_who_waits_for_it() {
    let host = Host::start(None, &Arc::default()).await;
    let seen = host.local.state();
    let woken = async { tokio::join!(host.local.changed(&seen), host.register(service("a", 1))) };
    let (newer, ()) = tokio::time::timeout(Duration::from_secs(10), woken).await.unwrap();
    assert_eq!(newer.services.len(), 1);
    assert!(Arc::ptr_eq(&newer, &host.local.changed(&seen).await));
    host.stop().await;
}

#[tokio::test]
async fn a_stopped_agent_refuses() {
    let host = Host::start(None, &Arc::default()).await;
    let local = host.local.clone();
    host.stop().await;
    let refused = local.keep_service(service("a", 1), Source::Api, false).await.err();
    assert!(matches!(refused, Some(LocalError::Stopped)), "{refused:?}");
}
