//! The state machine's value: tables, indexes and the queries on them.

use std::{any::Any, net::IpAddr, sync::Arc, sync::OnceLock};

use super::{
    command::{Command, Outcome},
    model::{Check, Node, Service, Status},
    watch::Changes,
};

/// What a query found, and the Raft index a blocking query continues from (at least 1).
#[derive(Clone, Debug)]
pub struct Indexed<T> {
    /// The index of the last change to what was asked for.
    pub index: u64,
    /// The result.
    pub value: T,
}

/// A node with everything registered on it.
#[derive(Clone, Debug)]
pub struct NodeEntry {
    /// The node itself.
    pub node: Arc<Node>,
    /// Its instances, ordered by id.
    pub services: Vec<Arc<Service>>,
    /// Its checks and those of its instances, ordered by id.
    pub checks: Vec<Arc<Check>>,
}

/// One instance as readers see it: the service, its node and its health, put together when any of them changes.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The node it runs on.
    pub node: Arc<Node>,
    /// The instance itself.
    pub service: Arc<Service>,
    /// The node's checks and its own.
    pub checks: Arc<[Arc<Check>]>,
    /// The worst of the checks.
    pub status: Status,
}

/// Everything known of one service name.
#[derive(Debug, Default)]
pub struct ServiceEntry {
    /// All instances, ordered by node and id.
    pub instances: Vec<Arc<Instance>>,
    /// The index of the last change to any of them.
    pub index: u64,
    /// A place for one reader to keep what it computed from this entry; gone when the entry changes.
    pub memo: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// One version of the catalog. Cloning shares everything.
#[derive(Clone, Debug, Default)]
pub struct State {}

impl State {
    /// Applies one command as of Raft index `index`, and notes in `changes` which watchers to wake.
    pub fn apply(&mut self, _index: u64, _command: Command, _changes: &mut Changes) -> Outcome {
        unimplemented!()
    }

    // --- blocking-query reads: each says the index to continue from, and pairs with one Topic ---

    /// All nodes, ordered by name (`Topic::Nodes`).
    pub fn nodes(&self) -> Indexed<Vec<Arc<Node>>> {
        unimplemented!()
    }
    /// One node with its services and checks (`Topic::Node`).
    pub fn node(&self, _name: &str) -> Indexed<Option<Arc<NodeEntry>>> {
        unimplemented!()
    }
    /// All service names with the union of their instances' tags (`Topic::Services`). Optionally only of nodes that carry all `node_meta` pairs.
    pub fn services(&self, _node_meta: &[(String, String)]) -> Indexed<Vec<(Arc<str>, Vec<String>)>> {
        unimplemented!()
    }
    /// One service (`Topic::Service`).
    pub fn service(&self, _name: &str) -> Indexed<Option<Arc<ServiceEntry>>> {
        unimplemented!()
    }
    /// All checks in a status, or all (`None`) (`Topic::Checks`), ordered by node and id.
    pub fn checks_in_state(&self, _status: Option<&Status>) -> Indexed<Vec<Arc<Check>>> {
        unimplemented!()
    }

    // --- lookups for DNS: no index, no allocation ---

    /// The service of that name; `name` must be lower case.
    pub fn service_entry(&self, _name: &str) -> Option<&Arc<ServiceEntry>> {
        unimplemented!()
    }
    /// The node of that name; `name` must be lower case.
    pub fn node_entry(&self, _name: &str) -> Option<&Arc<NodeEntry>> {
        unimplemented!()
    }
    /// The first node (by name) with that address.
    pub fn node_by_address(&self, _address: IpAddr) -> Option<&Arc<NodeEntry>> {
        unimplemented!()
    }
    /// The first instance (by service name, node, id) registered with that address of its own.
    pub fn instance_by_address(&self, _address: IpAddr) -> Option<&Arc<Instance>> {
        unimplemented!()
    }
}
