//! One agent: start, use, leave, stop. The handle the command line, the HTTP API and DNS hold.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crate::{
    access::{Authorizer, Denied, NoPath, Permission, Router},
    catalog::{Catalog, command::Command},
    local::{
        Local,
        definition::{CheckSpec, ServiceDefinition},
    },
    membership::Member,
    raft::{Applied, Consensus, ProposeError},
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
    /// Whether this server may form a cluster of its own.
    pub bootstrap: bool,
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
    /// The version members are told, such as `0.1.0`.
    pub version: String,
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
    #[error("data directory {path}: {reason}")]
    DataDir {
        /// Which directory or file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
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

/// A running agent. Clones share it.
#[derive(Clone)]
pub struct Agent {
    _private: Arc<()>,
}

impl Agent {
    /// Starts: opens the data directory, listens, joins consensus, registers itself and what `options` declares.
    /// Returns once local reads are served; a leader may still be elected.
    pub async fn start(_options: Options, _authorizer: Arc<dyn Authorizer>) -> Result<Self, StartError> {
        unimplemented!()
    }
    /// What it was started with.
    pub fn options(&self) -> &Options {
        unimplemented!()
    }
    /// The node's UUID.
    pub fn node_id(&self) -> &str {
        unimplemented!()
    }
    /// The local copy of the catalog.
    pub fn catalog(&self) -> &Arc<Catalog> {
        unimplemented!()
    }
    /// What this agent itself has registered.
    pub fn local(&self) -> &Arc<Local> {
        unimplemented!()
    }
    /// Consensus, on servers (every agent is one until clients are built).
    pub fn consensus(&self) -> &Consensus {
        unimplemented!()
    }
    /// The way to datacenters.
    pub fn router(&self) -> &Router {
        unimplemented!()
    }
    /// Passes if the holder of `token` has the permission.
    pub fn authorize(&self, _token: &str, _permission: &Permission<'_>) -> Result<(), Denied> {
        unimplemented!()
    }
    /// Commits a command in `datacenter` (empty means this one), waiting up to `rpc_hold` for a leader.
    pub async fn write(&self, _datacenter: &str, _command: Command) -> Result<Applied, WriteError> {
        unimplemented!()
    }
    /// The members of this datacenter's pool.
    pub fn members_lan(&self) -> Vec<Member> {
        unimplemented!()
    }
    /// The members of the pool between datacenters (servers only).
    pub fn members_wan(&self) -> Vec<Member> {
        unimplemented!()
    }
    /// Joins the agents at `addresses` (`host` or `host:port`); says how many were reached, or why none was.
    pub async fn join(&self, _addresses: &[String], _wan: bool) -> Result<usize, String> {
        unimplemented!()
    }
    /// Forgets a failed member; the text of the error is Consul's (`agent: No node found with name 'x'`).
    pub async fn force_leave(&self, _name: &str) -> Result<(), String> {
        unimplemented!()
    }
    /// Replaces what configuration files declared.
    pub async fn reload(&self, _services: Vec<ServiceDefinition>, _checks: Vec<CheckSpec>) -> Result<(), String> {
        unimplemented!()
    }
    /// Leaves the cluster gracefully; [`Agent::shutdown`] follows.
    pub async fn leave(&self) {
        unimplemented!()
    }
    /// Stops everything; what was acknowledged is on disk.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
    /// Resolves with the reason when the agent can no longer do its work and the process must end.
    pub async fn failed(&self) -> String {
        unimplemented!()
    }
}
