//! The agent's configuration: flags and files in, one validated value out.
//!
//! ```text
//!   flags ─┐
//!   files ─┴─► sources: parse, check against keys, merge ─► raw ─► build: check as a whole ─► Config
//! ```
//!
//! A [`Config`] is complete: every default is filled in, every address is resolved, nothing that reads it has to check
//! again. It knows what the layers below want to be told ([`Config::agent_options`], [`Config::dns_policy`]), they know
//! nothing of it.

mod address;
mod build;
pub mod cluster;
mod debug;
pub mod duration;
mod encrypted_dns;
pub mod flags;
pub mod hcl;
mod health;
mod identity;
mod keys;
mod raw;
pub mod schema;
mod sources;
#[cfg(test)]
mod tests;
mod watches;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use usher_cluster::local::definition::{CheckSpec, ServiceDefinition};
use usher_dns::policy::Policy;

pub use self::encrypted_dns::{CertificateFiles, EncryptedDns};

pub use self::address::AddressError;
pub use self::flags::AgentFlags;
pub use self::sources::services;
use crate::{http, logging, watch::agent::Watching};

/// The version agents tell each other and people.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Something accepted that the user should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why there is no valid configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file is larger than anything sensible.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// Which one.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// A folder holds more files than anything sensible.
    #[error("{path} holds more than {limit} files")]
    TooManyFiles {
        /// Which one.
        path: PathBuf,
        /// The most that are read.
        limit: usize,
    },
    /// A file is no text.
    #[error("failed to parse {source_name}: it is not UTF-8")]
    NotUtf8 {
        /// Which one.
        source_name: String,
    },
    /// A source is not in its language, or holds an unknown key or a wrong type.
    #[error("failed to parse {place}: {problem}")]
    Parse {
        /// The source, with line and column where they are known.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// `-config-format` is neither language.
    #[error("-config-format must be either 'hcl' or 'json'")]
    Format,
    /// An address cannot be used.
    #[error("{key}: {source}")]
    Address {
        /// The key it stands under.
        key: &'static str,
        /// What is wrong.
        source: AddressError,
    },
    /// Services or checks cannot be registered: for each, where it stands and why.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    /// Values do not fit each other or their limits; the text names the key.
    #[error("{0}")]
    Invalid(String),
}

/// Where the HTTP API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpListen {
    /// An address and port.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for HttpListen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// Owner and mode of unix sockets; what is `None` is left as the system makes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketFile {
    /// Permission bits.
    pub mode: Option<u32>,
    /// User id.
    pub user: Option<u32>,
    /// Group id.
    pub group: Option<u32>,
}

/// The validated configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Run for development: nothing is kept.
    pub dev: bool,
    /// The node's name.
    pub node_name: String,
    /// The node's UUID, if it is given.
    pub node_id: Option<String>,
    /// The datacenter, lower case.
    pub datacenter: String,
    /// Where everything is kept; `None` with `-dev`.
    pub data_dir: Option<PathBuf>,
    /// Whether the agent takes part in consensus.
    pub server: bool,
    /// Whether this server forms a cluster of its own (`bootstrap`, or `bootstrap_expect` of 1).
    pub bootstrap: bool,
    /// Servers waited for before a cluster is formed; 0 when it is not asked for, or is 1.
    pub bootstrap_expect: u32,
    /// How the agent finds others and keeps with them.
    pub cluster: cluster::Cluster,
    /// The address of talk between agents.
    pub bind: IpAddr,
    /// The address told to others.
    pub advertise: IpAddr,
    /// The address told to other datacenters.
    pub advertise_wan: IpAddr,
    /// The addresses clients are served at (`client_addr`).
    pub client_addrs: Vec<IpAddr>,
    /// Where DNS listens.
    pub dns_addrs: Vec<SocketAddr>,
    /// Where DNS listens for those who encrypt, and with which certificate.
    pub encrypted_dns: EncryptedDns,
    /// Where the HTTP API listens.
    pub http_addrs: Vec<HttpListen>,
    /// The DNS port, if it is on.
    pub dns_port: Option<u16>,
    /// The HTTP port, if it is on.
    pub http_port: Option<u16>,
    /// Consensus and forwarded calls.
    pub server_port: u16,
    /// Gossip within the datacenter.
    pub serf_lan_port: u16,
    /// Gossip between datacenters, if it is on.
    pub serf_wan_port: Option<u16>,
    /// The user's own pairs of the node.
    pub node_meta: BTreeMap<String, String>,
    /// Further addresses of the node.
    pub tagged_addresses: BTreeMap<String, String>,
    /// Scales consensus timeouts, 1 to 10.
    pub raft_multiplier: u32,
    /// How long a call waits for a leader.
    pub rpc_hold: Duration,
    /// How long an agent that leaves goes on answering.
    pub leave_drain: Duration,
    /// Log entries between snapshots.
    pub snapshot_threshold: u64,
    /// Log entries kept behind a snapshot.
    pub trailing_logs: u64,
    /// How DNS answers.
    pub dns: Policy,
    /// The HTTP API.
    pub http: http::Options,
    /// The log.
    pub log: logging::Options,
    /// File the process id is written to.
    pub pid_file: Option<PathBuf>,
    /// Owner and mode of unix sockets.
    pub unix_sockets: SocketFile,
    /// Leave the cluster on SIGTERM.
    pub leave_on_terminate: bool,
    /// Do not leave the cluster on SIGINT.
    pub skip_leave_on_interrupt: bool,
    /// Serve profiles and runtime details.
    pub enable_debug: bool,
    /// How checks are run.
    pub health: usher_cluster::health::Options,
    /// The agent's certificates count for checks.
    pub enable_agent_tls_for_checks: bool,
    /// Checks that run commands may stand in files.
    pub enable_local_script_checks: bool,
    /// Checks that run commands may be registered over HTTP.
    pub enable_remote_script_checks: bool,
    /// Services of the files.
    pub services: Vec<ServiceDefinition>,
    /// Checks of the files.
    pub checks: Vec<CheckSpec>,
    /// Watches the agent runs.
    pub watches: Vec<Watching>,
    /// What the user should know of.
    pub warnings: Vec<Warning>,
    /// Services and checks that an agent would refuse: for each, where it stands and why. Empty after [`load`].
    pub refused: Vec<String>,
}

/// Reads everything `flags` name and makes one configuration of it, which an agent can start with.
pub fn load(flags: &AgentFlags) -> Result<Config, ConfigError> {
    let config = examine(flags)?;
    if config.refused.is_empty() { Ok(config) } else { Err(ConfigError::Refused(config.refused)) }
}

/// The same, with services and checks that an agent would refuse: Consul calls such files valid.
pub fn examine(flags: &AgentFlags) -> Result<Config, ConfigError> {
    load_on(flags, &address::host_interfaces())
}

/// The same on a host with the interfaces `host`.
fn load_on(flags: &AgentFlags, host: &[address::Interface]) -> Result<Config, ConfigError> {
    build::build(sources::merge(flags)?, flags.dev, host)
}

impl Config {
    /// What the agent below is started with.
    pub fn agent_options(&self) -> usher_cluster::agent::Options {
        usher_cluster::agent::Options {
            node_name: self.node_name.clone(),
            node_id: self.node_id.clone(),
            datacenter: self.datacenter.clone(),
            data_dir: self.data_dir.clone(),
            server: self.server,
            bootstrap_expect: if self.bootstrap || (self.dev && self.server) { 1 } else { self.bootstrap_expect },
            start_join: self.cluster.lan.start.clone(),
            retry_join: self.cluster.lan.retry.clone(),
            retry_interval: self.cluster.lan.interval,
            retry_max: self.cluster.lan.max_attempts,
            start_join_wan: self.cluster.wan.start.clone(),
            retry_join_wan: self.cluster.wan.retry.clone(),
            retry_interval_wan: self.cluster.wan.interval,
            retry_max_wan: self.cluster.wan.max_attempts,
            rejoin_after_leave: self.cluster.rejoin_after_leave,
            encrypt: self.cluster.encrypt.clone(),
            disable_keyring_file: self.cluster.disable_keyring_file,
            reconnect_timeout: self.cluster.lan.reconnect_timeout,
            reconnect_timeout_wan: self.cluster.wan.reconnect_timeout,
            autopilot: self.cluster.autopilot.clone(),
            bind: self.bind,
            advertise: self.advertise,
            advertise_wan: self.advertise_wan,
            server_port: self.server_port,
            serf_lan_port: self.serf_lan_port,
            serf_wan_port: self.serf_wan_port,
            node_meta: self.node_meta.clone(),
            tagged_addresses: self.tagged_addresses.clone(),
            raft_multiplier: self.raft_multiplier,
            rpc_hold: self.rpc_hold,
            snapshot_threshold: self.snapshot_threshold,
            trailing_logs: self.trailing_logs,
            health: self.health.clone(),
            enable_local_script_checks: self.enable_local_script_checks,
            enable_remote_script_checks: self.enable_remote_script_checks,
            services: self.services.clone(),
            checks: self.checks.clone(),
            version: VERSION.to_owned(),
        }
    }

    /// How DNS answers.
    pub fn dns_policy(&self) -> Policy {
        self.dns.clone()
    }

    /// How the HTTP API answers.
    pub fn http_options(&self) -> http::Options {
        self.http.clone()
    }
}
