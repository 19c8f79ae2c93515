//! One agent: start, use, leave, stop. The handle the command line, the HTTP API and DNS hold.
//!
//! ```text
//!   server: gossip ─► leader's duties ─► consensus ─► catalog ◄── DNS, HTTP
//!   client: gossip ─► servers ◄─► forward, views ─► catalog (partial) ◄── DNS, HTTP
//!   both:   local registrations ─► forward ─► the leader
//! ```
//!
//! Only wires; what the parts do is said in their modules. `start` puts them together, `answer` is what a server answers
//! to other agents.

mod answer;
mod forward;
mod found;
pub(crate) mod identity;
mod join;
mod leave;
mod listen;
mod options;
mod servers;
mod start;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::options::Options;
use self::{answer::ApiSlot, forward::Forward};
use crate::{
    access::{Authorizer, Denied, NoPath, Permission, Router},
    catalog::{Catalog, command::Command},
    datadir::{DataDir, DataDirError},
    gossip::{Gossip, KeyOperation, KeyReport, KeyringError},
    leader::HealthReport,
    local::{
        self, Local,
        definition::{CheckSpec, ServiceDefinition},
        sync::Mode,
    },
    membership::{Member, MemberStatus},
    raft::{Applied, Consensus, ProposeError, Status},
    rpc::message::{ApiRequest, ApiResponse},
};

/// Everything an agent must know to start. Built by the configuration, already validated.
#[derive(Clone)]
pub struct Options {
    /// The node's name.
    pub node_name: String,
    /// The node's UUID; `None` takes the one kept in the data directory, or makes one.
    pub node_id: Option<String>,
    /// The datacenter, lower case.
    pub datacenter: String,
    /// Where everything is kept; `None` keeps nothing (`-dev`).
    pub data_dir: Option<PathBuf>,
    /// Whether this agent takes part in consensus.
    pub server: bool,
    /// How many servers found the cluster: 1 founds one alone, 0 waits to be taken into one.
    pub bootstrap_expect: u32,
    /// Agents of this datacenter to join at the start; the start fails if none is reached.
    pub start_join: Vec<String>,
    /// Agents of this datacenter to join, trying again until one is reached.
    pub retry_join: Vec<String>,
    /// How long between two such tries.
    pub retry_interval: Duration,
    /// How many such tries before the agent gives up and ends; 0 for no limit.
    pub retry_max: u32,
    /// The same for the pool between datacenters (servers).
    pub start_join_wan: Vec<String>,
    /// The same for the pool between datacenters (servers).
    pub retry_join_wan: Vec<String>,
    /// The same for the pool between datacenters (servers).
    pub retry_interval_wan: Duration,
    /// The same for the pool between datacenters (servers).
    pub retry_max_wan: u32,
    /// Whether an agent that left joins those it knew when it starts again.
    pub rejoin_after_leave: bool,
    /// The key of gossip (base64 of 16, 24 or 32 bytes), where no key ring is kept yet.
    pub encrypt: Option<String>,
    /// Whether the key ring is kept in memory alone.
    pub disable_keyring_file: bool,
    /// How long a failed member is tried before it is forgotten.
    pub reconnect_timeout: Duration,
    /// The same in the pool between datacenters.
    pub reconnect_timeout_wan: Duration,
    /// Autopilot's settings until an operator sets others.
    pub autopilot: AutopilotConfig,
    /// The address listened at.
    pub bind: IpAddr,
    /// The address told to others.
    pub advertise: IpAddr,
    /// The address told to other datacenters.
    pub advertise_wan: IpAddr,
    /// Consensus and forwarded calls (TCP).
    pub server_port: u16,
    /// Gossip of the datacenter (UDP, TCP).
    pub serf_lan_port: u16,
    /// Gossip between datacenters; `None` when switched off.
    pub serf_wan_port: Option<u16>,
    /// The user's own pairs of the node.
    pub node_meta: BTreeMap<String, String>,
    /// Further addresses from the configuration; `lan`, `wan` and their `_ipv4`/`_ipv6` forms are added.
    pub tagged_addresses: BTreeMap<String, String>,
    /// Scales consensus timeouts, 1 to 10.
    pub raft_multiplier: u32,
    /// How long a call waits for a leader.
    pub rpc_hold: Duration,
    /// Log entries between snapshots.
    pub snapshot_threshold: u64,
    /// Log entries kept behind a snapshot.
    pub trailing_logs: u64,
    /// Services from configuration files.
    pub services: Vec<ServiceDefinition>,
    /// Checks from configuration files.
    pub checks: Vec<CheckSpec>,
    /// Whether checks from configuration files may run commands.
    pub enable_local_script_checks: bool,
    /// Whether checks registered by the HTTP API may run commands.
    pub enable_remote_script_checks: bool,
    /// The version members are told, such as `0.1.0`.
    pub version: String,
}

/// A client agent on loopback with Consul's timing, which keeps nothing and joins nobody.
impl Default for Options {
    fn default() -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            node_name: String::new(),
            node_id: None,
            datacenter: "dc1".to_owned(),
            data_dir: None,
            server: false,
            bootstrap_expect: 0,
            start_join: Vec::new(),
            retry_join: Vec::new(),
            retry_interval: Duration::from_secs(30),
            retry_max: 0,
            start_join_wan: Vec::new(),
            retry_join_wan: Vec::new(),
            retry_interval_wan: Duration::from_secs(30),
            retry_max_wan: 0,
            rejoin_after_leave: false,
            encrypt: None,
            disable_keyring_file: false,
            reconnect_timeout: Duration::from_secs(72 * 3600),
            reconnect_timeout_wan: Duration::from_secs(72 * 3600),
            autopilot: AutopilotConfig::default(),
            bind: loopback,
            advertise: loopback,
            advertise_wan: loopback,
            server_port: 8300,
            serf_lan_port: 8301,
            serf_wan_port: Some(8302),
            node_meta: BTreeMap::new(),
            tagged_addresses: BTreeMap::new(),
            raft_multiplier: 5,
            rpc_hold: Duration::from_secs(7),
            snapshot_threshold: 16_384,
            trailing_logs: 10_240,
            services: Vec::new(),
            checks: Vec::new(),
            enable_local_script_checks: false,
            enable_remote_script_checks: false,
            version: "0.0.0".to_owned(),
        }
    }
}

/// Why an agent could not start. Nothing was overwritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Consensus could not start.
    #[error(transparent)]
    Consensus(#[from] crate::raft::StartError),
    /// A port could not be opened.
    #[error("cannot listen on {protocol} {address}: {source}")]
    Listen {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// Where.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The data directory cannot be used; the text says which file and why.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A service or check of the configuration is refused.
    #[error(transparent)]
    Definition(#[from] local::LocalError),
    /// The keys of gossip cannot be used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// Nobody was met at the addresses to join.
    #[error("{0}")]
    Join(String),
}

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Not permitted.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Unknown datacenter.
    #[error(transparent)]
    NoPath(#[from] NoPath),
    /// Not committed.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

/// What configuration files declare and a reload may change.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// Services of this host.
    pub services: Vec<ServiceDefinition>,
    /// Checks of this host.
    pub checks: Vec<CheckSpec>,
    /// The user's own pairs of the node.
    pub node_meta: BTreeMap<String, String>,
}

/// Which server is to answer a forwarded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Any that can be reached.
    Any,
    /// The leader: only it knows.
    Leader,
}

/// Answers requests of the HTTP API that other agents forwarded.
pub trait AnswerApi: Send + Sync + 'static {
    /// Answers as if the request had come here, but never forwards it again.
    fn answer(&self, request: ApiRequest) -> BoxFuture<'_, ApiResponse>;
}

/// How a key operation went in one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolKeys {
    /// Whether it is the pool between datacenters.
    pub wan: bool,
    /// How it went.
    pub report: KeyReport,
}

/// How an operator names a server of the consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerName<'a> {
    /// By `host:port` of its server port.
    Address(&'a str),
    /// By its node's UUID.
    Id(&'a str),
}

/// What autopilot thinks of the servers (Consul's `/v1/operator/autopilot/health`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterHealth {
    /// Whether all are healthy.
    pub healthy: bool,
    /// How many voters may fail before there is no quorum.
    pub failure_tolerance: usize,
    /// Each of them.
    pub servers: Vec<ServerHealth>,
}

/// What autopilot thinks of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHealth {
    /// The node's UUID.
    pub id: String,
    /// The node's name.
    pub name: String,
    /// Where its server port is.
    pub address: String,
    /// What gossip says.
    pub status: MemberStatus,
    /// Its version.
    pub version: String,
    /// Whether it leads.
    pub leader: bool,
    /// How long ago it was last heard of; `None` for never.
    pub last_contact: Option<Duration>,
    /// The term of its last entry.
    pub last_term: u64,
    /// The index of its last entry.
    pub last_index: u64,
    /// Whether it counts as healthy.
    pub healthy: bool,
    /// Whether it votes.
    pub voter: bool,
    /// Since when that has not changed.
    pub stable_since: std::time::SystemTime,
}

/// A running agent. Clones share it.
#[derive(Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    node_id: String,
    catalog: Arc<Catalog>,
    local: Arc<Local>,
    role: Role,
    forward: Forward,
    lan: Gossip,
    wan: Option<Gossip>,
    report: HealthReport,
    api: Arc<ApiSlot>,
    router: Router,
    authorizer: Arc<dyn Authorizer>,
    /// The first reason why the agent cannot go on, besides those of consensus.
    failure: watch::Sender<Option<String>>,
    /// Held until the agent has stopped: its lock keeps others out.
    data_dir: Mutex<Option<DataDir>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Ends the comparisons with the catalog; a child of `stop`.
    leaving: CancellationToken,
}

/// What an agent is in its cluster.
enum Role {
    Server(Consensus),
    Client,
}

impl Agent {
    /// Starts: opens the data directory, listens, joins consensus, registers itself and what `options` declares.
    /// Returns once local reads are served; a leader may still be elected. The options it then shows have the ports the
    /// system chose where they said 0.
    pub async fn start(mut options: Options, authorizer: Arc<dyn Authorizer>) -> Result<Self, StartError> {
        if !options.server {
            return Err(StartError::NotBuilt("client agents are not built yet: start with -server or -dev"));
        }
        let (data_dir, node_id) = identify(&options)?;
        let ports = Ports::bind(&mut options).await?;
        warn_of_names(&options);
        let node = OwnNode::new(&options, &node_id);
        let catalog = Arc::new(Catalog::default());
        let consensus = Consensus::start(consensus_options(&options, &node_id), catalog.clone()).await?;
        let proposer =
            Arc::new(Held { consensus: consensus.clone(), catalog: catalog.clone(), hold: options.rpc_hold });
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let local = load_local(&options, &node, &catalog, proposer.clone(), &tasks, &stop).await;
        let local = match local {
            Ok(local) => local,
            Err(error) => {
                consensus.shutdown().await;
                return Err(error);
            }
        };
        ports.serve(&tasks, &stop);
        let inner = Inner {
            membership: Arc::new(Membership::alone(&options, &node_id)),
            router: Router::new(&options.datacenter),
            data_dir: Mutex::new(data_dir),
            options,
            node_id,
            catalog,
            local,
            consensus,
            authorizer,
            tasks,
            stop,
        };
        inner.keep_catalog_true(node, proposer);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What it was started with.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// The node's UUID.
    pub fn node_id(&self) -> &str {
        &self.inner.node_id
    }

    /// The local copy of the catalog: the whole of it on a server, what was asked for on a client.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.inner.catalog
    }

    /// What this agent itself has registered.
    pub fn local(&self) -> &Arc<Local> {
        &self.inner.local
    }

    /// Whether this agent is a server.
    pub fn is_server(&self) -> bool {
        self.inner.options.server
    }

    /// Where consensus stands, as this server knows it; nothing on a client.
    pub fn status(&self) -> Status {
        match &self.inner.role {
            Role::Server(consensus) => consensus.status(),
            Role::Client => Status::default(),
        }
    }

    /// Waits until a read of the local catalog is linearizable: it then shows every write acknowledged before the call.
    /// Servers only; a follower asks the leader. Waits up to `rpc_hold` for one.
    pub async fn linearize(&self) -> Result<(), ProposeError> {
        self.inner.forward.linearize().await
    }

    /// Has a server answer a request of the HTTP API that only reads. Waits up to `rpc_hold` for one (for a leader).
    pub async fn forward(&self, request: ApiRequest, to: Destination) -> Result<ApiResponse, ProposeError> {
        self.inner.forward.api(request, to == Destination::Leader).await
    }

    /// Has `api` answer the requests other agents forward to this server.
    pub fn answer_with(&self, api: Arc<dyn AnswerApi>) {
        self.inner.api.set(api);
    }

    /// The way to datacenters.
    pub fn router(&self) -> &Router {
        &self.inner.router
    }

    /// Passes if the holder of `token` has the permission.
    pub fn authorize(&self, token: &str, permission: &Permission<'_>) -> Result<(), Denied> {
        if self.inner.authorizer.allows(token, permission) { Ok(()) } else { Err(Denied) }
    }

    /// Commits a command in `datacenter` (empty means this one), waiting up to `rpc_hold` for a leader.
    pub async fn write(&self, datacenter: &str, command: Command) -> Result<Applied, WriteError> {
        self.inner.router.route(datacenter)?;
        Ok(self.inner.forward.propose_within(command, self.inner.options.rpc_hold).await?)
    }

    /// The members of this datacenter's pool, ordered by name.
    pub fn members_lan(&self) -> Vec<Member> {
        self.inner.lan.members().to_vec()
    }

    /// The members of the pool between datacenters (servers only).
    pub fn members_wan(&self) -> Vec<Member> {
        self.inner.wan.as_ref().map_or_else(Vec::new, |wan| wan.members().to_vec())
    }

    /// Joins the agents at `addresses` (`host` or `host:port`); says how many were reached, or why none was.
    pub async fn join(&self, addresses: &[String], wan: bool) -> Result<usize, String> {
        let Inner { options, lan, wan: between, .. } = &*self.inner;
        match (wan, between, options.serf_wan_port) {
            (false, ..) => join::join(lan, options.serf_lan_port, addresses).await,
            (true, Some(between), Some(port)) => join::join(between, port, addresses).await,
            (true, ..) => Err("WAN federation is disabled".to_owned()),
        }
    }

    /// Makes a failed member a left one, in both pools; with `prune` it is forgotten at once. The text of the error is
    /// Consul's (`agent: No node found with name 'x'`).
    pub async fn force_leave(&self, name: &str, prune: bool) -> Result<(), String> {
        let done = self.inner.lan.force_leave(name, prune).await;
        if let Some(wan) = &self.inner.wan {
            // Servers of this datacenter are known by their longer names there; of others only that name is known.
            let long = format!("{name}.{}", self.inner.options.datacenter);
            let other = wan.force_leave(&long, prune).await;
            let named = wan.force_leave(name, prune).await;
            return done.or(other).or(named).map_err(|_| no_such_node(name));
        }
        done
    }

    /// Does a key operation in every pool this agent is in, and says how it went: for the LAN pool, and the WAN pool.
    pub async fn keyring(&self, operation: KeyOperation) -> Vec<PoolKeys> {
        let mut pools = vec![PoolKeys { wan: false, report: self.inner.lan.keys(operation.clone()).await }];
        if let Some(wan) = &self.inner.wan {
            pools.push(PoolKeys { wan: true, report: wan.keys(operation).await });
        }
        pools
    }

    /// Takes a server out of the consensus that can no longer leave by itself. Only the leader can.
    pub async fn remove_peer(&self, peer: PeerName<'_>) -> Result<(), String> {
        let Role::Server(consensus) = &self.inner.role else { return Err(ProposeError::NoLeader.to_string()) };
        let peers = consensus.status().peers;
        let (found, what) = match peer {
            PeerName::Address(address) => {
                (peers.iter().find(|it| it.address == address), format!("address {address:?}"))
            }
            PeerName::Id(id) => (peers.iter().find(|it| it.node_id == id), format!("id {id:?}")),
        };
        let found = found.ok_or_else(|| format!("{what} was not found in the Raft configuration"))?;
        consensus.remove(found.id).await.map_err(|error| error.to_string())
    }

    /// What autopilot thinks of the servers. Only the leader knows; `None` elsewhere.
    pub fn server_health(&self) -> Option<ClusterHealth> {
        self.inner.report.get()
    }

    /// Replaces what configuration files declared, keeping what is the same, and the node's pairs. Without a data
    /// directory registrations by the API are forgotten, as nothing keeps them (as in Consul). On an error nothing has
    /// changed.
    pub async fn reload(&self, declared: Declared) -> Result<(), String> {
        let local = &self.inner.local;
        let targets = local.reload(declared.services, declared.checks).await.map_err(|error| error.to_string())?;
        local.set_node_meta(|node| node.set_meta(declared.node_meta));
        if let Err(error) = local.push(targets, Mode::Registered).await {
            tracing::warn!(target: "agent", error = %error, "What was reloaded will be synchronised later");
            local.request_comparison();
        }
        Ok(())
    }

    /// Leaves the cluster gracefully; [`Agent::shutdown`] follows.
    ///
    /// A server hands leadership on and is taken out of the consensus; the last one takes its cluster with it: nothing
    /// is removed then from the log or the catalog, so that it is there again after a start.
    pub async fn leave(&self) {
        leave::leave(&self.inner).await;
    }

    /// Stops everything; what was acknowledged is on disk. Another agent may use the data directory then. A leader hands
    /// leadership on first, so that the others need not notice its end by waiting.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        if let Role::Server(consensus) = &inner.role {
            leave::hand_on(consensus).await;
        }
        inner.stop.cancel();
        inner.tasks.close();
        inner.tasks.wait().await;
        if let Role::Server(consensus) = &inner.role {
            consensus.shutdown().await;
        }
        drop(inner.data_dir.lock().take());
    }

    /// Resolves with the reason when the agent can no longer do its work and the process must end.
    pub async fn failed(&self) -> String {
        let mut failure = self.inner.failure.subscribe();
        let own = async {
            match failure.wait_for(Option::is_some).await {
                Ok(reason) => reason.clone().unwrap_or_default(),
                // The sender is in `self`.
                Err(_) => std::future::pending().await,
            }
        };
        match &self.inner.role {
            Role::Client => own.await,
            Role::Server(consensus) => tokio::select! {
                reason = own => reason,
                reason = consensus.failed() => reason,
            },
        }
    }
}

impl Inner {
    /// Starts the tasks that keep this agent's part of the catalog true.
    fn keep_catalog_true(&self, node: OwnNode, proposer: Arc<dyn Proposer>) {
        let own = OwnServer { node, server_port: self.options.server_port, version: self.options.version.clone() };
        self.tasks.spawn(leader::run(
            own,
            self.consensus.clone(),
            self.catalog.clone(),
            proposer,
            self.local.clone(),
            self.stop.clone(),
        ));
        let membership = self.membership.clone();
        let (members, random) = (move || membership.size(), || rand::random::<f64>());
        self.tasks.spawn(local::run_syncer(self.local.clone(), members, random, self.stop.clone()));
    }
}

/// Consensus with the time a call waits for a leader.
struct Held {
    consensus: Consensus,
    catalog: Arc<Catalog>,
    hold: Duration,
}

impl Proposer for Held {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        self.consensus.propose(command, self.hold).boxed()
    }

    fn refresh(&self, at_least: u64) -> BoxFuture<'_, Result<(), ProposeError>> {
        let reached = tokio::time::timeout(self.hold, self.catalog.reached(at_least));
        reached.map(|reached| reached.map_err(|_| ProposeError::NoLeader)).boxed()
    }
}

impl Leadership for Consensus {
    async fn changed(&self, was: bool) -> bool {
        self.leadership_changed(was).await
    }
}

/// Opens the data directory, if there is one, and says who the node is.
fn identify(options: &Options) -> Result<(Option<DataDir>, String), StartError> {
    let fresh = Uuid::new_v4();
    let configured = options.node_id.as_deref();
    let Some(path) = &options.data_dir else {
        return Ok((None, configured.map_or_else(|| fresh.to_string(), str::to_ascii_lowercase)));
    };
    let data_dir = DataDir::open(path)?;
    let node_id = data_dir.node_id(configured, fresh)?;
    Ok((Some(data_dir), node_id))
}

fn consensus_options(options: &Options, node_id: &str) -> raft::Options {
    raft::Options {
        directory: options.data_dir.as_ref().map(|path| path.join("raft")),
        address: SocketAddr::new(options.advertise, options.server_port),
        node_id: node_id.to_owned(),
        node_name: options.node_name.clone(),
        bootstrap: options.bootstrap_expect == 1,
        multiplier: options.raft_multiplier,
        snapshot_threshold: options.snapshot_threshold,
        trailing_logs: options.trailing_logs,
    }
}

/// Loads what was registered and adds what the configuration declares. The catalog follows once there is a leader.
async fn load_local(
    options: &Options,
    node: &OwnNode,
    catalog: &Arc<Catalog>,
    proposer: Arc<dyn Proposer>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Arc<Local>, StartError> {
    let scripts =
        ScriptPolicy { from_config: options.enable_local_script_checks, from_api: options.enable_remote_script_checks };
    let local_options =
        local::Options { node: node.clone(), server: options.server, scripts, data_dir: options.data_dir.clone() };
    let local = Local::start(local_options, catalog.clone(), proposer, tasks, stop.clone()).await?;
    local.reload(options.services.clone(), options.checks.clone()).await?;
    Ok(local)
}

fn warn_of_names(options: &Options) {
    if !is_dns_label(&options.node_name) {
        tracing::warn!(
            target: "agent",
            node_name = %options.node_name,
            "Node name will not be discoverable via DNS due to invalid characters. Valid characters include all \
             alpha-numerics and dashes."
        );
    }
}

#[cfg(test)]
pub(crate) mod tests;
