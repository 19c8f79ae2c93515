//! Views: the parts of the catalog an agent that is no server keeps, because somebody asked for them.
//!
//! ```text
//!   server:  catalog ─► watch ─► Update, pushed to every agent that subscribed
//!   client:  first question ─► Views::want ─► subscription ─► Update ─► the client's own (partial) Catalog
//!            later questions ─────────────────────────────────────────► answered from there, no call
//! ```

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::catalog::model::{Check, Node, Service};

/// What an agent may want to know and be kept informed of. Names are folded (ASCII lower case).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Interest {
    /// The instances of a service with their nodes and health.
    Service(String),
    /// A node with everything registered on it.
    Node(String),
    /// The nodes and instances of an address (reverse lookups).
    Address(IpAddr),
}

/// The whole of one interest at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// Of what.
    pub interest: Interest,
    /// The last entry the server had applied when it looked.
    pub as_of: u64,
    /// What there was.
    pub content: Content,
}

/// What there is of an interest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// A service; without instances it is not there.
    Service {
        /// Its instances: the node, the instance, the node's checks and its own.
        instances: Vec<(Arc<Node>, Arc<Service>, Vec<Arc<Check>>)>,
        /// The index of the last change.
        index: u64,
        /// The index of the last change to the instances' own checks.
        checks_index: u64,
    },
    /// A node; `None` if it is not there.
    Node {
        /// The node, its instances, its checks and theirs.
        node: Option<(Arc<Node>, Vec<Arc<Service>>, Vec<Arc<Check>>)>,
        /// The index of the last change but those of checks.
        index: u64,
        /// The index of the last change to checks.
        checks_index: u64,
    },
    /// What has an address.
    Address {
        /// Names of nodes.
        nodes: Vec<String>,
        /// Names of services.
        services: Vec<String>,
    },
}
