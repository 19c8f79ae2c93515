//! Reading the catalog.
//!
//! A blocking query goes: begin a [`super::Watch`] on the topic a query pairs with, read, and wait while the index is
//! not beyond the client's. Each index moves with what its query answers and with nothing else:
//!
//! | endpoint | query | topic |
//! |---|---|---|
//! | `/v1/catalog/nodes` | [`State::nodes`] | [`Topic::Nodes`] |
//! | `/v1/catalog/node/:node` | [`State::node_services`] | [`Topic::NodeServices`] |
//! | `/v1/health/node/:node` | [`State::node_checks`] | [`Topic::NodeChecks`] |
//! | both of these | [`State::node`] | [`Topic::Node`] |
//! | `/v1/catalog/services` | [`State::services`] without pairs | [`Topic::Services`] |
//! | `/v1/catalog/services?node-meta=` | [`State::services`] with pairs | [`Topic::ServicesByNodeMeta`] |
//! | `/v1/catalog/service/:service`, `/v1/health/service/:service` | [`State::service`] | [`Topic::Service`] |
//! | `/v1/health/checks/:service` | [`State::service_checks`] | [`Topic::ServiceChecks`] |
//! | `/v1/health/state/any` | [`State::checks_in_state`]`(None)` | [`Topic::Checks`] |
//! | `/v1/health/state/:state` | [`State::checks_in_state`]`(Some(_))` | [`Topic::ChecksInState`] |
//!
//! [`Topic`]: super::Topic
//! [`Topic::Nodes`]: super::Topic::Nodes
//! [`Topic::NodeServices`]: super::Topic::NodeServices
//! [`Topic::NodeChecks`]: super::Topic::NodeChecks
//! [`Topic::Node`]: super::Topic::Node
//! [`Topic::Services`]: super::Topic::Services
//! [`Topic::ServicesByNodeMeta`]: super::Topic::ServicesByNodeMeta
//! [`Topic::Service`]: super::Topic::Service
//! [`Topic::ServiceChecks`]: super::Topic::ServiceChecks
//! [`Topic::Checks`]: super::Topic::Checks
//! [`Topic::ChecksInState`]: super::Topic::ChecksInState

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Bound,
    sync::Arc,
};

use super::{
    entry::{Instance, NodeEntry, ServiceEntry},
    key::{Key, fold},
    model::{Check, Node, SERF_HEALTH, Status},
    state::State,
};

/// The service the servers themselves are instances of.
const SERVERS: &str = "consul";

/// Fewest characters a node id may be shortened to.
const SHORTEST_ID_PREFIX: usize = 2;

/// What a query found, and the Raft index a blocking query continues from (at least 1).
#[derive(Clone, Debug)]
pub struct Indexed<T> {
    /// The index of the last change to what was asked for.
    pub index: u64,
    /// The result.
    pub value: T,
}

impl<T> Indexed<T> {
    fn new(index: u64, value: T) -> Self {
        Self { index: index.max(1), value }
    }
}

/// Blocking-query reads: each says the index to continue from, and pairs with one topic.
impl State {
    /// All nodes, ordered by name (`Topic::Nodes`).
    pub fn nodes(&self) -> Indexed<Vec<Arc<Node>>> {
        Indexed::new(self.indexes.nodes, self.sorted_nodes().map(|entry| entry.node.clone()).collect())
    }

    /// One node with its services and checks (`Topic::Node`).
    pub fn node(&self, name: &str) -> Indexed<Option<Arc<NodeEntry>>> {
        self.node_as_of(name, |entry| entry.index.max(entry.checks_index))
    }

    /// One node for its own data and its services; the index does not follow its checks (`Topic::NodeServices`).
    pub fn node_services(&self, name: &str) -> Indexed<Option<Arc<NodeEntry>>> {
        self.node_as_of(name, |entry| entry.index)
    }

    /// The checks of a node and of its instances, ordered by id; none for an unknown node (`Topic::NodeChecks`).
    pub fn node_checks(&self, name: &str) -> Indexed<Vec<Arc<Check>>> {
        let found = self.node_as_of(name, |entry| entry.checks_index);
        Indexed::new(found.index, found.value.map_or_else(Vec::new, |entry| entry.checks.iter().cloned().collect()))
    }

    /// All service names with the union of their instances' tags, both ordered (`Topic::Services`). With `node_meta`
    /// only of instances on nodes that carry all those pairs (`Topic::ServicesByNodeMeta`).
    pub fn services(&self, node_meta: &[(String, String)]) -> Indexed<Vec<(Arc<str>, Vec<String>)>> {
        if !node_meta.is_empty() {
            return Indexed::new(self.indexes.placements, self.services_by_node_meta(node_meta));
        }
        let listed = self
            .sorted_services()
            .map(|(key, entry)| (display(key, entry.name()), entry.tags().map(str::to_owned).collect()))
            .collect();
        Indexed::new(self.indexes.services, listed)
    }

    /// One service: its instances with their nodes and health (`Topic::Service`).
    pub fn service(&self, name: &str) -> Indexed<Option<Arc<ServiceEntry>>> {
        let name = fold(name);
        match self.services.get(&*name) {
            Some(entry) => Indexed::new(entry.index, Some(entry.clone())),
            None => Indexed::new(self.gone_services.index(&name), None),
        }
    }

    /// The checks of a service's instances, without those of their nodes, ordered by node and id
    /// (`Topic::ServiceChecks`).
    pub fn service_checks(&self, name: &str) -> Indexed<Vec<Arc<Check>>> {
        let name = fold(name);
        let Some(entry) = self.services.get(&*name) else {
            return Indexed::new(self.gone_services.index(&name), Vec::new());
        };
        let mut checks: Vec<_> = entry.instances.iter().flat_map(|instance| instance.own_checks()).cloned().collect();
        checks.sort_by(|left, right| check_key(left).cmp(&check_key(right)));
        Indexed::new(entry.checks_index, checks)
    }

    /// All checks in a status (`Topic::ChecksInState`), or all (`None`, `Topic::Checks`), ordered by node and id.
    pub fn checks_in_state(&self, status: Option<&Status>) -> Indexed<Vec<Arc<Check>>> {
        let all = || self.sorted_nodes().flat_map(|entry| entry.checks.iter());
        match status {
            None => Indexed::new(self.indexes.checks, all().cloned().collect()),
            Some(status @ Status::Passing) => {
                Indexed::new(self.indexes.passing, all().filter(|check| check.status == *status).cloned().collect())
            }
            Some(status) => Indexed::new(
                self.indexes.in_state(status),
                self.failing.values().filter(|check| check.status == *status).cloned().collect(),
            ),
        }
    }

    fn node_as_of(&self, name: &str, index: impl Fn(&NodeEntry) -> u64) -> Indexed<Option<Arc<NodeEntry>>> {
        let name = fold(name);
        match self.nodes.get(&*name) {
            Some(entry) => Indexed::new(index(entry), Some(entry.clone())),
            None => Indexed::new(self.gone_nodes.index(&name), None),
        }
    }

    fn services_by_node_meta(&self, wanted: &[(String, String)]) -> Vec<(Arc<str>, Vec<String>)> {
        let mut found: BTreeMap<String, (&str, BTreeSet<&str>)> = BTreeMap::new();
        for entry in self.sorted_nodes() {
            if !wanted.iter().all(|(key, value)| entry.node.meta.get(key) == Some(value)) {
                continue;
            }
            for service in &entry.services {
                let (_, tags) = found
                    .entry(fold(&service.name).into_owned())
                    .or_insert_with(|| (service.name.as_str(), BTreeSet::new()));
                tags.extend(service.tags.iter().map(String::as_str));
            }
        }
        found
            .into_values()
            .map(|(name, tags)| (Arc::from(name), tags.into_iter().map(str::to_owned).collect()))
            .collect()
    }
}

/// Lookups for DNS: no index, no allocation.
impl State {
    /// The service of that name; `name` must be lower case.
    pub fn service_entry(&self, name: &str) -> Option<&Arc<ServiceEntry>> {
        self.services.get(name)
    }

    /// The nodes an agent stands for (they have the check gossip decides), in no order.
    pub fn vouched_for(&self) -> impl Iterator<Item = &Arc<NodeEntry>> {
        self.nodes.values().filter(|entry| entry.check(SERF_HEALTH).is_some())
    }

    /// The node of that name; `name` must be lower case.
    pub fn node_entry(&self, name: &str) -> Option<&Arc<NodeEntry>> {
        self.nodes.get(name)
    }

    /// Whether names of nodes end in a dot and `name` (lower case), as `b` in `a.b`. A partial catalog knows of none.
    pub fn has_nodes_below(&self, name: &str) -> bool {
        if self.above_nodes.is_empty() {
            return false;
        }
        let mut found = self.above_nodes.range((Key::from(name), Key::default())..);
        found.next().is_some_and(|(above, _)| **above == *name)
    }

    /// The first node (by name) with that address.
    pub fn node_by_address(&self, address: IpAddr) -> Option<&Arc<NodeEntry>> {
        self.nodes_of(address).next().or_else(|| self.node_named_by(address))
    }

    /// The first instance (by service name, node, id) registered with that address of its own.
    pub fn instance_by_address(&self, address: IpAddr) -> Option<&Arc<Instance>> {
        self.instances_of(address).next().or_else(|| self.instance_named_by(address))
    }

    /// The nodes with that address, by name.
    pub(super) fn nodes_of(&self, address: IpAddr) -> impl Iterator<Item = &Arc<NodeEntry>> {
        let from = (address, Key::default());
        let found = self.node_addresses.range(from..).take_while(move |(found, _)| *found == address);
        found.filter_map(|(_, name)| self.nodes.get(name))
    }

    /// The instances registered with that address of their own, by service name, node and id.
    pub(super) fn instances_of(&self, address: IpAddr) -> impl Iterator<Item = &Arc<Instance>> {
        let from = (address, Key::default(), Key::default(), Key::default());
        let found = self.instance_addresses.range(from..).take_while(move |(found, ..)| *found == address);
        found.filter_map(|(_, service, node, id)| self.services.get(service)?.instance(node, id))
    }

    /// The node of that id, or of the only id that begins so (two characters at least). Ids know no case.
    pub fn node_by_id(&self, id: &str) -> Option<&Arc<NodeEntry>> {
        let id = fold(id);
        if let Some(name) = self.node_ids.get(&*id) {
            return self.nodes.get(name);
        }
        if id.len() < SHORTEST_ID_PREFIX {
            return None;
        }
        let mut found = self
            .node_ids
            .range::<_, str>((Bound::Included(&*id), Bound::Unbounded))
            .take_while(|(known, _)| known.starts_with(&*id));
        let (_, name) = found.next()?;
        if found.next().is_some() {
            return None;
        }
        self.nodes.get(name)
    }

    /// The servers that can be answered: instances of the service `consul` that are not critical.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.services.get(SERVERS).into_iter().flat_map(|entry| entry.answerable().iter())
    }
}

fn display(key: &Key, name: &str) -> Arc<str> {
    if **key == *name {
        return key.clone();
    }
    Arc::from(name)
}

fn check_key(check: &Check) -> (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>) {
    (fold(&check.node), fold(&check.id))
}
