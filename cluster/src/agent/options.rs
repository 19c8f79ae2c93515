//! Everything an agent must know to start.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use crate::{
    catalog::autopilot::AutopilotConfig,
    local::definition::{CheckSpec, ServiceDefinition},
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
    /// How checks are run.
    pub health: crate::health::Options,
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
            health: crate::health::Options::default(),
            enable_local_script_checks: false,
            enable_remote_script_checks: false,
            version: "0.0.0".to_owned(),
        }
    }
}
