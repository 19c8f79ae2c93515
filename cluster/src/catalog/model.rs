//! What the catalog holds: nodes, service instances and health checks.
//!
//! Plain values without behaviour of their own. They are what a command carries, what the log stores (named
//! MessagePack, so every field has a default and may be added to) and what readers are shown. Names follow Consul's
//! data model; every name that is a key (node, service, service id, check id) is compared without regard to ASCII case.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The check every living agent's node carries, written by the leader from membership.
pub const SERF_HEALTH: &str = "serfHealth";

/// A host: what services run on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// The agent's UUID, or empty for a node that was registered without one.
    pub id: String,
    /// The node's name, unique in its datacenter.
    pub name: String,
    /// An IP address, or a host name for an external node.
    pub address: String,
    /// The datacenter the node belongs to.
    pub datacenter: String,
    /// Further addresses by purpose (`lan`, `wan`, `lan_ipv4`, …).
    pub tagged_addresses: BTreeMap<String, String>,
    /// The user's own pairs.
    pub meta: BTreeMap<String, String>,
    /// The Raft index that created the node.
    pub create_index: u64,
    /// The Raft index that last changed the node.
    pub modify_index: u64,
}

/// One instance of a service on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Unique on its node; the service's name where the registration gave none.
    pub id: String,
    /// The name it is looked up by.
    pub name: String,
    /// Labels to select by.
    pub tags: Vec<String>,
    /// An IP address or host name; empty means the node's address.
    pub address: String,
    /// Further addresses by purpose (`lan`, `wan`, …).
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// The user's own pairs.
    pub meta: BTreeMap<String, String>,
    /// The port as it was registered (Consul takes any integer; DNS answers its low 16 bits).
    pub port: i64,
    /// How much traffic it should get, by health.
    pub weights: Weights,
    /// Its tier: who may choose takes the lowest that has somebody healthy (RFC 2782). `None` means 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// Whether it will end soon: it is answered still, but with the least weight, and nobody is to remember it for long.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// Whether tags may be changed in the catalog without the agent putting them back.
    pub enable_tag_override: bool,
    /// The Raft index that created the instance.
    pub create_index: u64,
    /// The Raft index that last changed the instance.
    pub modify_index: u64,
}

impl Service {
    /// Its tier.
    pub fn tier(&self) -> u16 {
        self.priority.unwrap_or(1)
    }
}

/// An address with a port, for one purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceAddress {
    /// An IP address or host name.
    pub address: String,
    /// The port, 0 when the registration gave none.
    pub port: i64,
}

/// SRV weights by aggregated health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Weights {
    /// Weight while every check passes.
    pub passing: i64,
    /// Weight while a check warns.
    pub warning: i64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { passing: 1, warning: 1 }
    }
}

/// The health of a node or of one service instance, as last reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Check {
    /// The node the check belongs to.
    pub node: String,
    /// Unique on its node.
    pub id: String,
    /// For people.
    pub name: String,
    /// The result.
    pub status: Status,
    /// For people.
    pub notes: String,
    /// What the last run printed.
    pub output: String,
    /// The instance checked; empty for a check of the whole node.
    pub service_id: String,
    /// The name of the service checked, filled in from the instance.
    pub service_name: String,
    /// The tags of the service checked, filled in from the instance.
    pub service_tags: Vec<String>,
    /// The kind of check (`ttl`, `http`, …); empty where a registration gave none.
    pub kind: String,
    /// How the check is run, as far as the registration said.
    pub definition: CheckDefinition,
    /// The Raft index that created the check.
    pub create_index: u64,
    /// The Raft index that last changed the check.
    pub modify_index: u64,
}

/// How a catalog check is run: the part of a definition the catalog stores and shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckDefinition {
    /// URL of an HTTP check.
    pub http: String,
    /// Server name for TLS.
    pub tls_server_name: String,
    /// Whether certificates go unverified.
    pub tls_skip_verify: bool,
    /// Request headers of an HTTP check.
    pub header: BTreeMap<String, Vec<String>>,
    /// Request method of an HTTP check.
    pub method: String,
    /// Request body of an HTTP check.
    pub body: String,
    /// Address of a TCP check.
    pub tcp: String,
    /// Nanoseconds between runs, 0 when not given.
    pub interval_ns: i64,
    /// Nanoseconds a run may take, 0 when not given.
    pub timeout_ns: i64,
    /// Nanoseconds after which a critical instance is removed, 0 for never.
    pub deregister_critical_service_after_ns: i64,
    /// The kinds that Consul 1.8's catalog does not keep; few checks have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub later: Option<Box<LaterDefinition>>,
}

/// The part of a definition that Consul 1.8's catalog does not keep.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LaterDefinition {
    /// Whether redirects of an HTTP check are results.
    pub disable_redirects: bool,
    /// Address of a UDP check.
    pub udp: String,
    /// Address of an HTTP/2 ping.
    pub h2ping: String,
    /// Whether that is over TLS, where it is said.
    pub h2ping_use_tls: Option<bool>,
    /// Target of a gRPC check.
    pub grpc: String,
    /// Whether that is over TLS.
    pub grpc_use_tls: bool,
    /// Name a resolver is asked for.
    pub dns: String,
    /// The resolver.
    pub dns_server: String,
    /// The type asked for.
    pub dns_type: String,
    /// What the answer must hold.
    pub dns_expect: Vec<String>,
}

/// The result of a check. Consul's catalog accepts any text, so unknown ones are kept as they came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// In order.
    Passing,
    /// Degraded, still answered unless only passing instances are.
    Warning,
    /// Out of order: not answered.
    Critical,
    /// A text of the registrant's own; counts as neither passing nor critical.
    Other(String),
}

impl Status {
    /// The text clients see.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Other(text) => text,
        }
    }
}

impl Default for Status {
    /// A check is critical until something says otherwise.
    fn default() -> Self {
        Self::Critical
    }
}

impl From<&str> for Status {
    fn from(text: &str) -> Self {
        match text {
            "passing" => Self::Passing,
            "warning" => Self::Warning,
            "critical" => Self::Critical,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self::from(text.as_str()))
    }
}
