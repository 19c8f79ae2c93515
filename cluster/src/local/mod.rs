//! What this agent itself has registered: kept on disk, and kept true in the catalog (anti-entropy).
//!
//! ```text
//!   definition ─► validate ─► records (a change tried on a clone) ─► store (on disk) ─► published
//!                                                                                          │
//!                     catalog ◄── commands ◄── sync (what differs) ◄───────────────────────┘
//! ```
//!
//! Results of checks come in by another door (`inbox`) and touch no disk; `outbox` decides when the catalog is told, and a
//! task (`tell`) tells it of many at once:
//!
//! ```text
//!   health ─► inbox (the newest of each check) ─► records ─► published
//!                                                    └─► outbox (what is due) ─► tell ─► one command ─► catalog
//! ```
//!
//! [`validate`], [`build`], [`records`], `outbox` and [`sync`] are pure. One task (`writer`) makes the changes in batches, so
//! that many registrations share the syncs of the disk; the caller then pushes its own change to the catalog, and a task
//! (`syncer`) compares everything from time to time.
//!
//! Changes of one service follow one another: the catalog never sees an older state of it after a newer one.

pub mod definition;

mod build;
mod checks;
mod inbox;
mod outbox;
mod push;
pub(crate) mod records;
mod store;
pub(crate) mod sync;
mod syncer;
mod tell;
pub(crate) mod validate;
mod writer;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use imbl::OrdMap;
use tokio::sync::{Mutex, MutexGuard, Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    build::{fold, lease_check_id},
    inbox::Ticket,
    records::{Records, Specs},
};
use self::{
    definition::{CheckSpec, ServiceDefinition},
    inbox::Inbox,
    records::{Effect, Operation, Target},
    store::Store,
    sync::{Mode, View},
    tell::Telling,
    validate::ScriptPolicy,
    writer::{Request, Writer},
};
use crate::{
    agent::identity::OwnNode,
    catalog::{
        Catalog, Topic, Watch,
        command::Command,
        model::{Check, Service},
    },
    datadir::{DataDirError, refused},
    raft::{Applied, ProposeError},
};

pub use self::validate::{declared_check, declared_service};
pub(crate) use self::{syncer::run as run_syncer, tell::run as run_telling};

/// A registration that is kept and shown here, and not in the catalog yet. While it lives, no other change of the same
/// service goes on.
#[must_use]
pub(crate) struct Kept<'a> {
    local: &'a Local,
    effect: Effect,
    /// The checks that were registered, by their folded ids.
    checks: Vec<String>,
    _turn: MutexGuard<'a, ()>,
}

impl Kept<'_> {
    pub(crate) fn checks(&self) -> &[String] {
        &self.checks
    }

    /// Returns once the catalog has it, or (no leader within the hold time) once its synchronisation is under way.
    pub(crate) async fn push(self) {
        self.local.push_all(&self.effect, Mode::Registered).await;
    }
}

/// Locks by which changes of one service follow one another; different services rarely share one.
const LOCKS: usize = 64;
/// Requests that may wait for the writer; more wait with their caller.
const REQUESTS_MAX: usize = 1024;

/// Where a definition came from: decides what a reload replaces and what is kept on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A configuration file: read anew at every start and reload.
    Config,
    /// The HTTP API: kept on disk until deregistered.
    Api,
}

/// This agent's registrations at one moment. Cloning shares everything.
#[derive(Clone, Debug, Default)]
pub struct LocalState {
    /// By service id.
    pub services: OrdMap<String, Arc<Service>>,
    /// By check id.
    pub checks: OrdMap<String, Arc<Check>>,
}

/// Why a registration was refused. Nothing was changed. Clients match the texts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The definition is not valid; the text says where.
    #[error("{0}")]
    Invalid(String),
    /// It could not be kept on disk.
    #[error("cannot keep the registration: {0}")]
    Io(#[from] std::io::Error),
    /// A check names a service that is not registered here.
    #[error("ServiceID \"{0}\" does not exist")]
    UnknownService(String),
    /// No service of that id is registered here.
    #[error("No service registered with ID \"{0}\"")]
    NoSuchService(String),
    /// A check runs a command, and checks from there may not.
    #[error("{}", scripts_disabled(*.0))]
    ScriptsDisabled(Source),
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopped,
}

fn scripts_disabled(source: Source) -> &'static str {
    match source {
        Source::Api => {
            "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true"
        }
        Source::Config => {
            "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or \
             'enable_local_script_checks' to true"
        }
    }
}

/// The way of a command into the catalog: consensus, with the time to wait for a leader.
pub(crate) trait Proposer: Send + Sync + 'static {
    /// Commits and applies: when it returns `Ok` the servers' catalog shows it.
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>>;

    /// The same, but does not wait for a leader where there is none.
    fn try_propose(&self, command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>>;

    /// Waits until this agent's own copy of the catalog shows its own node as of log entry `at_least`. With 0 an agent
    /// that keeps only parts of the catalog asks a server; one that keeps all of it has nothing to do.
    fn refresh(&self, at_least: u64) -> BoxFuture<'_, Result<(), ProposeError>>;
}

/// What [`Local`] must know to start.
pub(crate) struct Options {
    pub(crate) node: OwnNode,
    pub(crate) server: bool,
    pub(crate) scripts: ScriptPolicy,
    /// Where registrations are kept; `None` keeps nothing.
    pub(crate) data_dir: Option<std::path::PathBuf>,
    /// How long words that change without the status wait before the catalog is told, about.
    pub(crate) update_interval: Duration,
}

/// The store of local registrations.
pub struct Local {
    /// The name never changes; the pairs may, with a reload.
    node: ArcSwap<OwnNode>,
    server: bool,
    scripts: ScriptPolicy,
    /// Whether registrations by the API outlast a reload: they do where they are on disk.
    keep_api: bool,
    catalog: Arc<Catalog>,
    proposer: Arc<dyn Proposer>,
    records: Arc<ArcSwap<Records>>,
    shown: watch::Sender<Arc<LocalState>>,
    /// Which checks there are.
    specs: watch::Sender<Specs>,
    requests: mpsc::Sender<Request>,
    inbox: Arc<Inbox>,
    /// How far the writer has come with results; closed when it has ended.
    done: watch::Receiver<u64>,
    outbox: Arc<Telling>,
    locks: [Mutex<()>; LOCKS],
    /// The highest index of what was written here: what the catalog showed before does not count.
    written: AtomicU64,
    /// Asks the syncer to compare everything now.
    compare: Notify,
}

impl Local {
    /// Loads what was kept and starts the writer on `tasks`. It ends once `Local` is closed and what waits is done.
    pub(crate) async fn start(
        options: Options,
        catalog: Arc<Catalog>,
        proposer: Arc<dyn Proposer>,
        tasks: &tokio_util::task::TaskTracker,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, DataDirError> {
        let node_name = options.node.name.clone();
        let keep_api = options.data_dir.is_some();
        let (store, records) = match options.data_dir {
            None => (None, Records::new(&node_name)),
            Some(path) => {
                let directory = path.clone();
                let loaded = crate::blocking::run(move || load(&path, &node_name, options.scripts)).await;
                let (store, records) = loaded.map_err(|error| refused(&directory, error.to_string()))??;
                (Some(store), records)
            }
        };
        let shown = watch::Sender::new(records.shown().clone());
        let specs = watch::Sender::new(records.specs().clone());
        let records = Arc::new(ArcSwap::from_pointee(records));
        let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
        let inbox = Arc::new(Inbox::new(records.clone()));
        let outbox = Arc::new(Telling::new(options.update_interval));
        let (done_now, done) = watch::channel(0);
        let writer = Writer {
            records: records.clone(),
            shown: shown.clone(),
            specs: specs.clone(),
            inbox: inbox.clone(),
            done: done_now,
            outbox: outbox.clone(),
            store,
        };
        tasks.spawn(writer.run(waiting, stop));
        Ok(Arc::new(Self {
            node: ArcSwap::from_pointee(options.node),
            server: options.server,
            scripts: options.scripts,
            keep_api,
            catalog,
            proposer,
            records,
            shown,
            specs,
            requests,
            inbox,
            done,
            outbox,
            locks: [const { Mutex::const_new(()) }; LOCKS],
            written: AtomicU64::new(0),
            compare: Notify::new(),
        }))
    }

    /// What is registered now.
    pub fn state(&self) -> Arc<LocalState> {
        self.records.load().shown().clone()
    }

    /// Validates and keeps a service; the catalog is to follow ([`Kept::push`]).
    pub(crate) async fn keep_service(
        &self,
        definition: ServiceDefinition,
        source: Source,
        replace_existing_checks: bool,
    ) -> Result<Kept<'_>, LocalError> {
        let warnings = validate::service(&definition, source, self.scripts)?;
        warn_of(warnings);
        let target = Target::Service(fold(build::service_id(&definition)));
        let checks = build::checks(&definition).iter().map(|spec| fold(&spec.id)).collect();
        let definition = Box::new(definition);
        let turn = self.lock(&target).await;
        let effect = self.change(Operation::RegisterService { definition, source, replace_existing_checks }).await?;
        Ok(Kept { local: self, effect, checks, _turn: turn })
    }

    /// Removes a service and its checks; an unknown id is no error (`false`).
    pub async fn deregister_service(&self, id: &str) -> Result<bool, LocalError> {
        let _lock = self.lock(&Target::Service(fold(id))).await;
        let effect = self.change(Operation::DeregisterService { id: id.to_owned() }).await?;
        self.push_all(&effect, Mode::Registered).await;
        Ok(effect.known)
    }

    /// The same for a check alone.
    pub(crate) async fn keep_check(&self, check: CheckSpec, source: Source) -> Result<Kept<'_>, LocalError> {
        validate::check(&check, source, self.scripts)?;
        let key = fold(if check.id.is_empty() { &check.name } else { &check.id });
        let target = match check.service_id.as_str() {
            "" => Target::Check(key.clone()),
            service => Target::Service(fold(service)),
        };
        let turn = self.lock(&target).await;
        let effect = self.change(Operation::RegisterCheck { spec: Box::new(check), source }).await?;
        Ok(Kept { local: self, effect, checks: vec![key], _turn: turn })
    }

    /// Removes a check; an unknown id is no error (`false`).
    pub async fn deregister_check(&self, id: &str) -> Result<bool, LocalError> {
        let Some(target) = self.records.load().target_of_check(&fold(id)) else {
            return Ok(false);
        };
        let _lock = self.lock(&target).await;
        let effect = self.change(Operation::DeregisterCheck { id: id.to_owned() }).await?;
        self.push_all(&effect, Mode::Registered).await;
        Ok(effect.known)
    }

    /// Waits for the next change of what is registered, from the version `seen`. Never returns the same version.
    pub async fn changed(&self, seen: &Arc<LocalState>) -> Arc<LocalState> {
        let mut versions = self.shown.subscribe();
        // The sender lives in `self`: the wait cannot fail, and if it did the newest version would be the answer.
        let _ = versions.wait_for(|version| !Arc::ptr_eq(version, seen)).await;
        versions.borrow().clone()
    }

    /// Replaces what configuration files declared; on an error nothing has changed. The catalog follows.
    pub(crate) async fn reload(
        &self,
        services: Vec<ServiceDefinition>,
        checks: Vec<CheckSpec>,
    ) -> Result<Vec<Target>, LocalError> {
        let mut warnings = Vec::new();
        for definition in &services {
            let named = |error| named("service", build::service_id(definition), error);
            warnings.extend(validate::service(definition, Source::Config, self.scripts).map_err(named)?);
        }
        for spec in &checks {
            validate::check(spec, Source::Config, self.scripts).map_err(|error| named("check", &spec.name, error))?;
        }
        warn_of(warnings);
        let keep_api = self.keep_api;
        let effect = self.change(Operation::Reload { services, checks, keep_api }).await?;
        Ok(effect.targets)
    }

    /// Compares everything with the catalog and brings it up to what is registered here.
    pub(crate) async fn compare_all(&self) -> Result<(), ProposeError> {
        self.proposer.refresh(0).await?;
        let targets = {
            let state = self.catalog.state();
            let records = self.records.load_full();
            let node = self.node.load();
            let entry = state.node_entry(&fold(&node.name)).map(AsRef::as_ref);
            let words_wait = |key: &str| self.outbox.words_wait(key);
            View { node: &node, records: &records, entry, server: self.server, words_wait: &words_wait }.targets()
        };
        self.push(targets, Mode::Compare).await
    }

    /// Gives the node other pairs; the catalog follows with the next comparison, which is asked for.
    pub(crate) fn set_node_meta(&self, change: impl FnOnce(&mut OwnNode)) {
        let mut node = OwnNode::clone(&self.node.load());
        change(&mut node);
        if node != **self.node.load() {
            self.node.store(Arc::new(node));
            self.request_comparison();
        }
    }

    /// Follows what the catalog has of this agent's node.
    pub(crate) fn watch_own_services(&self) -> Watch {
        self.catalog.watch(Topic::NodeServices(fold(&self.node.load().name).into()))
    }

    /// The index of the log that made this agent's node in the catalog, if it is there.
    pub(crate) fn own_node_made(&self) -> Option<u64> {
        let state = self.catalog.load();
        state.node_entry(&fold(&self.node.load().name)).map(|entry| entry.node.create_index)
    }

    /// Asks for a comparison of everything soon.
    pub(crate) fn request_comparison(&self) {
        self.compare.notify_one();
    }

    /// Whether the service of that id is registered here.
    pub(crate) fn has_service(&self, id: &str) -> bool {
        self.records.load().service(&fold(id)).is_some()
    }

    pub(crate) fn is_server(&self) -> bool {
        self.server
    }

    /// Has the writer make a change: it is on disk and published when this returns.
    async fn change(&self, operation: Operation) -> Result<Effect, LocalError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { operation, reply }).await.map_err(|_| LocalError::Stopped)?;
        answer.await.map_err(|_| LocalError::Stopped)?
    }
}

fn load(data_dir: &std::path::Path, node: &str, scripts: ScriptPolicy) -> Result<(Store, Records), DataDirError> {
    let store = Store::open(data_dir)?;
    let restored = store.load()?;
    Ok((store, Records::restore(node, restored.services, restored.checks, scripts)))
}

fn warn_of(warnings: Vec<String>) {
    for warning in warnings {
        tracing::warn!(target: "agent", "{warning}");
    }
}

fn named(what: &str, id: &str, error: LocalError) -> LocalError {
    LocalError::Invalid(format!("Failed to register {what} \"{id}\": {error}"))
}

#[cfg(test)]
pub(crate) mod tests;
