//! A node with everything registered on it.
//!
//! A node may carry thousands of instances: its lists are persistent too, so that a change of one copies few.

use std::sync::Arc;

use super::{
    super::model::{Check, Node, Service},
    Host, List, Memo,
    list::{ByInstance, Order, Place},
};

/// A node with everything registered on it.
#[derive(Clone, Debug, Default)]
pub struct NodeEntry {
    /// The node itself.
    pub node: Arc<Node>,
    /// Its address.
    pub address: Host,
    /// Its instances, ordered by id.
    pub services: List<Service>,
    /// Its checks and those of its instances, ordered by id.
    pub checks: List<Check>,
    /// The index of the last change to the node itself or to what is registered on it, its checks aside.
    pub index: u64,
    /// The index of the last change to `checks`.
    pub checks_index: u64,
    /// A place for one reader to keep what it computed from this entry; gone when the entry changes.
    pub memo: Memo,
    /// All checks again, ordered by the instance they belong to and id: those of the node as a whole come first.
    by_service: List<Check, ByInstance>,
    /// The checks of the node as a whole, shared with every instance that has none of its own.
    pub(super) node_checks: Arc<[Arc<Check>]>,
}

impl NodeEntry {
    /// A node with what is registered on it.
    pub fn new(
        node: Arc<Node>,
        services: impl IntoIterator<Item = Arc<Service>>,
        checks: impl IntoIterator<Item = Arc<Check>>,
    ) -> Self {
        let checks: Vec<_> = checks.into_iter().collect();
        let mut entry = Self {
            address: Host::parse(&node.address),
            node,
            services: services.into_iter().collect(),
            by_service: checks.iter().cloned().collect(),
            checks: checks.into_iter().collect(),
            ..Self::default()
        };
        entry.collect_node_checks();
        entry
    }

    pub(in crate::catalog) fn edit(this: &mut Arc<Self>) -> &mut Self {
        let entry = Arc::make_mut(this);
        entry.memo = Memo::new();
        entry
    }

    /// The instance of that id.
    pub fn service(&self, id: &str) -> Option<&Arc<Service>> {
        self.services.get(Place::of(id))
    }

    /// The check of that id.
    pub fn check(&self, id: &str) -> Option<&Arc<Check>> {
        self.checks.get(Place::of(id))
    }

    /// The checks of the instance of that id, ordered by id; with an empty id those of the node as a whole.
    pub fn checks_of(&self, service_id: &str) -> impl Iterator<Item = &Arc<Check>> {
        self.by_service
            .from(Place::of(service_id))
            .take_while(move |check| check.service_id.eq_ignore_ascii_case(service_id))
    }

    /// Adds the instance or replaces the one of the same id.
    pub(in crate::catalog) fn put_service(&mut self, service: Arc<Service>) {
        self.services.put(service);
    }

    /// Removes the instance of that id.
    pub(in crate::catalog) fn remove_service(&mut self, id: &str) {
        self.services.remove(Place::of(id));
    }

    /// Takes out the check `old`, if any, and puts in `new`, if any.
    pub(in crate::catalog) fn swap_check(&mut self, old: Option<&Check>, new: Option<&Arc<Check>>) {
        let stays = |old: &&Check| new.is_some_and(|new| old.service_id.eq_ignore_ascii_case(&new.service_id));
        if let Some(old) = old.filter(|old| !stays(old)) {
            self.by_service.remove(ByInstance::place(old));
            self.checks.remove(Place::of(&old.id));
        }
        if let Some(new) = new {
            self.checks.put(new.clone());
            self.by_service.put(new.clone());
        }
        if [old, new.map(|new| &**new)].into_iter().flatten().any(|check| check.service_id.is_empty()) {
            self.collect_node_checks();
        }
    }

    fn collect_node_checks(&mut self) {
        self.node_checks = self.checks_of("").cloned().collect();
    }
}

/// What a reader computed does not count.
impl PartialEq for NodeEntry {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
            && self.address == other.address
            && self.services == other.services
            && self.checks == other.checks
            && self.index == other.index
            && self.checks_index == other.checks_index
            && self.by_service == other.by_service
            && self.node_checks == other.node_checks
    }
}
