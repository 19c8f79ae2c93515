//! A node with everything registered on it.
//!
//! A node may carry thousands of instances: its lists are persistent too, so that a change of one copies few.

use std::{cmp::Ordering, sync::Arc};

use super::{
    super::{
        key::cmp_folded,
        model::{Check, Node, Service},
    },
    Host, List, Memo,
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
    by_service: List<Check>,
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
        let mut services: Vec<_> = services.into_iter().collect();
        services.sort_by(|left, right| cmp_folded(&left.id, &right.id));
        let mut checks: Vec<_> = checks.into_iter().collect();
        checks.sort_by(|left, right| cmp_folded(&left.id, &right.id));
        let mut by_service = checks.clone();
        by_service.sort_by(|left, right| cmp_folded(&left.service_id, &right.service_id));
        let mut entry = Self {
            address: Host::parse(&node.address),
            node,
            services: services.into(),
            checks: checks.into(),
            by_service: by_service.into(),
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
        self.services.get(self.service_position(id).ok()?)
    }

    /// The check of that id.
    pub fn check(&self, id: &str) -> Option<&Arc<Check>> {
        self.checks.get(self.check_position(id).ok()?)
    }

    /// The checks of the instance of that id, ordered by id; with an empty id those of the node as a whole.
    pub fn checks_of(&self, service_id: &str) -> impl Iterator<Item = &Arc<Check>> {
        let (Ok(from) | Err(from)) =
            self.by_service.binary_search_by(|check| cmp_folded(&check.service_id, service_id).then(Ordering::Greater));
        (from..self.by_service.len())
            .map_while(|place| self.by_service.get(place))
            .take_while(move |check| check.service_id.eq_ignore_ascii_case(service_id))
    }

    fn service_position(&self, id: &str) -> Result<usize, usize> {
        self.services.binary_search_by(|service| cmp_folded(&service.id, id))
    }

    fn check_position(&self, id: &str) -> Result<usize, usize> {
        self.checks.binary_search_by(|check| cmp_folded(&check.id, id))
    }

    fn by_service_position(&self, check: &Check) -> Result<usize, usize> {
        self.by_service.binary_search_by(|known| {
            cmp_folded(&known.service_id, &check.service_id).then_with(|| cmp_folded(&known.id, &check.id))
        })
    }

    /// Adds the instance or replaces the one of the same id.
    pub(in crate::catalog) fn put_service(&mut self, service: Arc<Service>) {
        match self.service_position(&service.id) {
            Ok(place) => drop(self.services.set(place, service)),
            Err(place) => self.services.insert(place, service),
        }
    }

    /// Removes the instance of that id, which must be there.
    pub(in crate::catalog) fn remove_service(&mut self, id: &str) {
        if let Ok(place) = self.service_position(id) {
            self.services.remove(place);
        }
    }

    /// Takes out the check `old`, if any, and puts in `new`, if any.
    pub(in crate::catalog) fn swap_check(&mut self, old: Option<&Check>, new: Option<&Arc<Check>>) {
        match (old, new) {
            (Some(old), Some(new)) if old.service_id.eq_ignore_ascii_case(&new.service_id) => self.replace_check(new),
            _ => {
                old.into_iter().for_each(|old| self.remove_check(old));
                new.into_iter().for_each(|new| self.insert_check(new));
            }
        }
        if [old, new.map(|new| &**new)].into_iter().flatten().any(|check| check.service_id.is_empty()) {
            self.collect_node_checks();
        }
    }

    /// Puts `new` in the place of the check of the same id and instance.
    fn replace_check(&mut self, new: &Arc<Check>) {
        if let Ok(place) = self.check_position(&new.id) {
            self.checks.set(place, new.clone());
        }
        if let Ok(place) = self.by_service_position(new) {
            self.by_service.set(place, new.clone());
        }
    }

    fn insert_check(&mut self, new: &Arc<Check>) {
        if let Err(place) = self.check_position(&new.id) {
            self.checks.insert(place, new.clone());
        }
        if let Err(place) = self.by_service_position(new) {
            self.by_service.insert(place, new.clone());
        }
    }

    fn remove_check(&mut self, old: &Check) {
        if let Ok(place) = self.check_position(&old.id) {
            self.checks.remove(place);
        }
        if let Ok(place) = self.by_service_position(old) {
            self.by_service.remove(place);
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
