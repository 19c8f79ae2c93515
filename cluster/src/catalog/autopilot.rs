//! The settings of autopilot, agreed on like everything else: when servers count as healthy, when a new one gets a vote,
//! whether dead ones are removed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Consul's `/v1/operator/autopilot/configuration`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutopilotConfig {
    /// Whether servers that failed are removed once a new one has joined, as far as a quorum stays.
    pub cleanup_dead_servers: bool,
    /// How long a server may not have been heard of and still count as healthy.
    pub last_contact_threshold: Duration,
    /// How many entries a server may be behind and still count as healthy.
    pub max_trailing_logs: u64,
    /// How many servers at least must stay when dead ones are removed; 0 sets no limit of its own.
    pub min_quorum: u64,
    /// How long a new server must be healthy before it votes.
    pub server_stabilization_time: Duration,
}

impl Default for AutopilotConfig {
    fn default() -> Self {
        Self {
            cleanup_dead_servers: true,
            last_contact_threshold: Duration::from_millis(200),
            max_trailing_logs: 250,
            min_quorum: 0,
            server_stabilization_time: Duration::from_secs(10),
        }
    }
}

/// The settings as the catalog holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Autopilot {
    /// The settings.
    pub config: AutopilotConfig,
    /// The Raft index that first set them.
    pub create_index: u64,
    /// The Raft index that last changed them.
    pub modify_index: u64,
}
