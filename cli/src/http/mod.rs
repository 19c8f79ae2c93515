//! The HTTP API, version 1: Consul's paths, JSON, headers, codes and texts.
//!
//! ```text
//!   serve ─► dispatch ─► routes ─► a handler (agent, catalog, health, …)     ─► reply ─► encode
//!    sockets   order,      which      looks at one version of the catalog,         value    bytes
//!    limits    permission             or writes through the agent
//! ```
//!
//! Handlers are one file an area; what they share has files of its own: [`query`] (consistency and waiting for
//! changes), [`context`] (permissions and datacenters), [`params`], [`body`], [`views`] (JSON), [`reply`] (errors).
//! Knows the agent's handle and the log; nothing of Raft, gossip, DNS or the command line.

mod agent;
mod body;
mod catalog;
mod catalog_write;
mod check_definition;
#[cfg(test)]
mod client_tests;
mod context;
mod dispatch;
mod encode;
mod first_line;
mod forward;
mod health;
mod keys;
mod limits;
mod maintenance;
mod metrics;
mod network;
mod operator;
mod params;
mod patient;
mod query;
mod reply;
mod routes;
mod selectors;
#[cfg(test)]
mod selectors_tests;
mod serve;
mod status;
#[cfg(test)]
mod tests;
mod views;

use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

pub use self::{
    metrics::Metrics,
    network::{Network, NetworkError},
    serve::{Listener, serve},
};
use crate::logging::LogHub;

/// The settings of the API; a reload may replace them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Put on every response.
    pub response_headers: Vec<(String, String)>,
    /// Paths that are refused, with everything that begins like them.
    pub block_endpoints: Vec<String>,
    /// Where changes are taken from; empty for anywhere.
    pub allow_write_http_from: Vec<Network>,
    /// Bytes of a request's head, at least 8192.
    pub max_header_bytes: usize,
    /// Whether the agent may be looked into while it runs. No endpoint for that is built yet.
    pub enable_debug: bool,
    /// Above zero, reads that do not say how consistent they must be take what this agent holds.
    pub discovery_max_stale: Duration,
    /// Connections one client address may have; 0 sets no limit.
    pub http_max_conns_per_client: usize,
    /// How long a read waits for a change when it does not say.
    pub default_query_time: Duration,
    /// The longest a read may wait.
    pub max_query_time: Duration,
    /// Whether addresses of other datacenters are their public ones.
    pub translate_wan_addrs: bool,
    /// Whether JSON is readable without being asked for, as in `-dev`.
    pub pretty: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            response_headers: Vec::new(),
            block_endpoints: Vec::new(),
            allow_write_http_from: Vec::new(),
            max_header_bytes: limits::MAX_HEAD,
            enable_debug: false,
            discovery_max_stale: Duration::ZERO,
            http_max_conns_per_client: limits::MAX_CONNECTIONS_PER_CLIENT,
            default_query_time: Duration::from_secs(300),
            max_query_time: Duration::from_secs(600),
            translate_wan_addrs: false,
            pretty: false,
        }
    }
}

/// Everything the API speaks for.
pub struct Api {
    /// The agent.
    pub agent: usher_cluster::agent::Agent,
    /// Who explains DNS answers, if this agent gives any.
    pub dns: Option<usher_dns::serve::Explainer>,
    /// The log, for those who follow it.
    pub log: LogHub,
    /// The settings now.
    pub options: ArcSwap<Options>,
    /// What is counted.
    pub metrics: Metrics,
    /// Where orders to the whole process go.
    pub control: mpsc::Sender<Control>,
    /// The configuration in force, for `/v1/agent/self`; secrets left out.
    pub debug_config: serde_json::Value,
}

/// An order to the whole process. Who gave it waits for the answer.
#[derive(Debug)]
pub enum Control {
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Leave the cluster and end.
    Leave(oneshot::Sender<()>),
}
