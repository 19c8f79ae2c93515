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
    catalog::{Catalog, command::Command, model::Status as CheckStatus},
    datadir::{DataDir, DataDirError},
    gossip::{Gossip, KeyOperation, KeyReport, KeyringError},
    health::{Health, ReportError},
    leader::HealthReport,
    local::{
        self, Local, LocalError, Source,
        definition::{CheckSpec, ServiceDefinition},
        lease_check_id,
        sync::Mode,
    },
    membership::{Member, MemberStatus},
    raft::{Applied, Consensus, ProposeError, Status},
    rpc::message::{ApiRequest, ApiResponse},
};

/// How long a reload waits for the catalog to have what it changed.
const RELOAD_TIME: Duration = Duration::from_secs(2);

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
    /// Whether checks' output is thrown away from now on.
    pub discard_check_output: bool,
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
    health: Health,
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
    /// Starts: opens the data directory, listens, joins the pool and consensus, registers itself and what `options`
    /// declares. Returns once local reads are served; a leader may still be elected. The options it then shows have the
    /// ports the system chose where they said 0.
    pub async fn start(options: Options, authorizer: Arc<dyn Authorizer>) -> Result<Self, StartError> {
        start::start(options, authorizer).await
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

    /// Validates, keeps and registers a service by the API; returns once the catalog has it, or (no leader within the hold
    /// time) once it is kept and its synchronisation is under way. Checks that wait for reports have their whole time from
    /// now on, and a lease is renewed.
    pub async fn register_service(
        &self,
        definition: ServiceDefinition,
        replace_existing_checks: bool,
    ) -> Result<(), LocalError> {
        let kept = self.inner.local.keep_service(definition, Source::Api, replace_existing_checks).await?;
        self.inner.health.begin_anew(kept.checks()).await;
        kept.push().await;
        Ok(())
    }

    /// The same for a check alone.
    pub async fn register_check(&self, check: CheckSpec) -> Result<(), LocalError> {
        let kept = self.inner.local.keep_check(check, Source::Api).await?;
        self.inner.health.begin_anew(kept.checks()).await;
        kept.push().await;
        Ok(())
    }

    /// Takes a program's report of a check with a TTL, by its id: the status counts until the TTL has passed.
    pub async fn report_check(&self, id: &str, status: CheckStatus, output: String) -> Result<(), ReportError> {
        self.inner.health.report(id, status, output).await
    }

    /// Renews the lease of the service of that id.
    pub async fn renew_lease(&self, service_id: &str) -> Result<(), ReportError> {
        self.report_check(&lease_check_id(service_id), CheckStatus::Passing, String::new()).await
    }

    /// Replaces what configuration files declared, keeping what is the same, and the node's pairs. Without a data
    /// directory registrations by the API are forgotten, as nothing keeps them (as in Consul). On an error nothing has
    /// changed.
    pub async fn reload(&self, declared: Declared) -> Result<(), String> {
        let local = &self.inner.local;
        let targets = local.reload(declared.services, declared.checks).await.map_err(|error| error.to_string())?;
        self.inner.health.reload(declared.discard_check_output);
        local.set_node_meta(|node| node.set_meta(declared.node_meta));
        let pushed = tokio::time::timeout(RELOAD_TIME, local.push(targets, Mode::Registered)).await;
        let later = match pushed {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the catalog does not have it after {RELOAD_TIME:?}"),
        };
        tracing::warn!(target: "agent", error = later, "What was reloaded will be synchronised later");
        local.request_comparison();
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

fn no_such_node(name: &str) -> String {
    format!("agent: No node found with name '{name}'")
}

#[cfg(test)]
pub(crate) mod tests;
