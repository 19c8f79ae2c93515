//! What a user declares: a service with its checks, or a check alone. Files, flags and HTTP bodies all become one of
//! these, are validated once, and are kept as they were given.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::catalog::model::{ServiceAddress, Status, Weights};

/// The most output a check may have kept, in bytes: it goes through the log to every server.
pub const OUTPUT_MAX_BYTES: u32 = 1 << 20;

/// A service as declared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceDefinition {
    /// Unique on this agent; empty takes the name.
    pub id: String,
    /// The name it is looked up by.
    pub name: String,
    /// Labels to select by.
    pub tags: Vec<String>,
    /// An IP address or host name; empty means the node's.
    pub address: String,
    /// Further addresses by purpose.
    pub tagged_addresses: BTreeMap<String, ServiceAddress>,
    /// The user's own pairs.
    pub meta: BTreeMap<String, String>,
    /// The port.
    pub port: i64,
    /// SRV weights; `None` means 1 and 1.
    pub weights: Option<Weights>,
    /// Its tier, 0 to 65,535: answered while no lower one has somebody healthy; `None` means 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Whether it will end soon: answered still, with the least weight and a TTL of a second.
    pub draining: bool,
    /// Whether others may change the tags in the catalog.
    pub enable_tag_override: bool,
    /// The checks that decide its health.
    pub checks: Vec<CheckSpec>,
    /// The token to register with.
    pub token: String,
    /// How long it is answered without a sign of life of its program, which renews by one call; `None` needs none.
    /// A lease is a TTL check of the id `lease:<id>` that begins as passing.
    pub lease: Option<Duration>,
    /// How long after its lease ended the service is removed; `None` takes three leases.
    pub lease_deregister_after: Option<Duration>,
}

/// A check as declared. Exactly one kind is set (see [`CheckSpec::kind`]).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckSpec {
    /// Unique on this agent; empty is filled in (`service:<id>`, `service:<id>:<n>`, or the name).
    pub id: String,
    /// For people; empty is filled in.
    pub name: String,
    /// For people.
    pub notes: String,
    /// The instance it belongs to; empty for the node.
    pub service_id: String,
    /// The status before the first result; `None` means critical.
    pub status: Option<Status>,
    /// The token to register with.
    pub token: String,
    /// Passes while reported within this time.
    pub ttl: Option<Duration>,
    /// URL to request.
    pub http: String,
    /// Request headers.
    pub header: BTreeMap<String, Vec<String>>,
    /// Request method, `GET` when empty.
    pub method: String,
    /// Request body.
    pub body: String,
    /// Whether redirects are results instead of being followed.
    pub disable_redirects: bool,
    /// Address to connect to.
    pub tcp: String,
    /// Address a datagram is sent to; anything but a refusal passes.
    pub udp: String,
    /// Address of an HTTP/2 server that must answer a ping (RFC 9113 section 6.7).
    pub h2ping: String,
    /// Whether that is over TLS; `None` means yes.
    pub h2ping_use_tls: Option<bool>,
    /// Name a resolver is asked for.
    pub dns: String,
    /// The resolver, `address:port`.
    pub dns_server: String,
    /// The type asked for, `A` when empty.
    pub dns_type: String,
    /// What the answer must hold, each as a zone file writes it; empty takes any answer that is not.
    pub dns_expect: Vec<String>,
    /// Target of the gRPC health protocol.
    pub grpc: String,
    /// Whether gRPC uses TLS.
    pub grpc_use_tls: bool,
    /// Command to run.
    pub args: Vec<String>,
    /// Container to run `args` in.
    pub docker_container_id: String,
    /// Shell for the container.
    pub shell: String,
    /// Node to follow.
    pub alias_node: String,
    /// Service to follow.
    pub alias_service: String,
    /// Server name for TLS.
    pub tls_server_name: String,
    /// Whether certificates go unverified.
    pub tls_skip_verify: bool,
    /// Time between runs.
    pub interval: Option<Duration>,
    /// Time a run may take.
    pub timeout: Option<Duration>,
    /// Passing results in a row before the status turns passing.
    pub success_before_passing: u32,
    /// Failing results in a row before the status turns warning.
    pub failures_before_warning: u32,
    /// Failing results in a row before the status turns critical.
    pub failures_before_critical: u32,
    /// Time critical after which the instance is removed.
    pub deregister_critical_service_after: Option<Duration>,
    /// Bytes of output kept.
    pub output_max_size: Option<u32>,
}

impl CheckSpec {
    /// The kind as the catalog shows it (`ttl`, `http`, `tcp`, `udp`, `grpc`, `h2ping`, `dns`, `script`, `docker`, `alias`),
    /// empty if none is set.
    pub fn kind(&self) -> &'static str {
        if !self.alias_node.is_empty() || !self.alias_service.is_empty() {
            "alias"
        } else if self.ttl.is_some() {
            "ttl"
        } else if !self.http.is_empty() {
            "http"
        } else if !self.tcp.is_empty() {
            "tcp"
        } else if !self.udp.is_empty() {
            "udp"
        } else if !self.h2ping.is_empty() {
            "h2ping"
        } else if !self.dns.is_empty() {
            "dns"
        } else if !self.grpc.is_empty() {
            "grpc"
        } else if !self.docker_container_id.is_empty() {
            "docker"
        } else if !self.args.is_empty() {
            "script"
        } else {
            ""
        }
    }
}
