//! The commands that change the catalog, as the Raft log carries them, and what applying one says.
//!
//! A command is complete: applying it needs no clock, no randomness and no look at anything but the catalog, so that
//! every server comes to the same state. Bytes are made and read in [`crate::raft`]'s codec.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    autopilot::AutopilotConfig,
    model::{Check, Service},
};

/// One change of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "almost every command is a registration")]
pub enum Command {
    /// Adds or replaces a node, and with it at most one service instance and any number of checks.
    Register(Registration),
    /// Removes a node, an instance or a check.
    Deregister(Deregistration),
    /// Sets how autopilot works.
    Autopilot(AutopilotChange),
}

/// A node with what is registered on it, in one step (Consul's `/v1/catalog/register`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registration {
    /// The agent's UUID; empty leaves a known node's id as it is.
    pub node_id: String,
    /// The node's name.
    pub node: String,
    /// The node's address.
    pub address: String,
    /// The datacenter the node belongs to.
    pub datacenter: String,
    /// Further addresses by purpose.
    pub tagged_addresses: BTreeMap<String, String>,
    /// The node's own pairs.
    pub node_meta: BTreeMap<String, String>,
    /// Leaves a node that exists as it is, and only adds the service and checks.
    pub skip_node_update: bool,
    /// The instance; its indexes are set when applied.
    pub service: Option<Service>,
    /// The checks; their node, service name, tags and indexes are set when applied.
    pub checks: Vec<Check>,
}

/// What to remove (Consul's `/v1/catalog/deregister`): an instance (with its checks) if one is named, else a check if one
/// is, else the whole node. Removing what is not there is no error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deregistration {
    /// The node.
    pub node: String,
    /// The instance, or empty.
    pub service_id: String,
    /// The check, or empty.
    pub check_id: String,
}

/// New settings of autopilot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutopilotChange {
    /// The settings.
    pub config: AutopilotConfig,
    /// Only if the settings there are were last changed by this Raft index.
    pub cas: Option<u64>,
    /// Only if none were ever set (a leader's first settings, from its configuration).
    pub initial: bool,
}

/// Why the catalog refused a command. The state is unchanged. Clients match the texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// A check names an instance that is not registered on its node.
    #[error("failed inserting check: Missing service registration on node {node:?}")]
    MissingService {
        /// The node.
        node: String,
    },
    /// The node's name is held by another, living node.
    #[error("{0}")]
    Conflict(String),
    /// It was to be done only as of another index (`cas`).
    #[error("the settings were changed meanwhile")]
    Stale,
    /// Something in it is not valid.
    #[error("{0}")]
    Invalid(String),
}

/// What applying a command did.
pub type Outcome = Result<(), Refusal>;
