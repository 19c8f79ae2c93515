//! One command being carried out on one node: changes the tables, moves the indexes of what changed, notes the topics.
//!
//! Changes to services and checks are collected, and [`Edit::finish`] puts together anew the instances they concern,
//! once each. Nothing here can fail: what could was looked at before.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    command::Registration,
    entry::{Host, NodeEntry},
    key::{Key, fold, key},
    model::{Check, Node, Service, Status},
    state::State,
    watch::{Changes, Topic},
};

pub(super) struct Edit<'a> {
    pub(super) state: &'a mut State,
    pub(super) index: u64,
    pub(super) changes: &'a mut Changes,
    /// The node the command is about.
    pub(super) node: Key,
    refold: Refold,
    /// Services whose instances' own checks changed.
    checked: BTreeSet<Key>,
}

/// Which of the node's instances are to be put together anew.
enum Refold {
    /// These, by folded id.
    Some(BTreeSet<String>),
    /// All.
    All,
}

impl Refold {
    fn add(&mut self, id: &str) {
        if let Self::Some(ids) = self {
            ids.insert(fold(id).into_owned());
        }
    }
}

impl<'a> Edit<'a> {
    pub(super) fn new(state: &'a mut State, index: u64, changes: &'a mut Changes, node: Key) -> Self {
        Self { state, index, changes, node, refold: Refold::Some(BTreeSet::new()), checked: BTreeSet::new() }
    }

    /// Adds or replaces the node, with what is registered on it left in place.
    pub(super) fn put_node(&mut self, registration: Registration, create_index: Option<u64>) {
        let old = self.state.nodes.get(&self.node).map(|entry| entry.node.clone());
        let mut node = Node {
            id: registration.node_id,
            name: registration.node,
            address: registration.address,
            datacenter: registration.datacenter,
            tagged_addresses: registration.tagged_addresses,
            meta: registration.node_meta,
            create_index: create_index.or(old.as_ref().map(|old| old.create_index)).unwrap_or(self.index),
            modify_index: self.index,
        };
        if let (true, Some(old)) = (node.id.is_empty(), &old) {
            node.id.clone_from(&old.id);
        }
        if let Some(old) = &old {
            self.forget_node_keys(old);
        }
        if !node.id.is_empty() {
            self.state.node_ids.insert(key(&node.id), self.node.clone());
        }
        let address = Host::parse(&node.address);
        if let Some(ip) = address.ip() {
            self.state.node_addresses.insert((ip, self.node.clone()));
            self.changes.add(Topic::Address(ip));
        }
        let mut new = Arc::default();
        let slot = self.state.nodes.get_mut(&self.node);
        let known = slot.is_some();
        let entry = NodeEntry::edit(slot.unwrap_or(&mut new));
        let places = !entry.services.is_empty() && old.is_some_and(|old| old.meta != node.meta);
        entry.node = Arc::new(node);
        entry.address = address;
        entry.index = self.index;
        if !known {
            Arc::make_mut(&mut new).checks_index = self.index;
            self.state.nodes.insert(self.node.clone(), new);
            self.state.note_above(&self.node);
            self.state.gone_nodes.remove(&self.node);
            self.changes.add(Topic::NodeChecks(self.node.clone()));
        }
        if places {
            self.placements_changed();
        }
        self.node_list_changed();
        self.node_changed();
        self.refold = Refold::All;
    }

    /// Removes a node with everything on it; says when it had been created.
    pub(super) fn remove_node(&mut self, name: &Key) -> Option<u64> {
        let entry = self.state.nodes.remove(name)?;
        for service in &entry.services {
            self.remove_instance(name, service);
        }
        if !entry.services.is_empty() {
            self.placements_changed();
        }
        for check in &entry.checks {
            self.state.failing.remove(&(name.clone(), key(&check.id)));
            self.checks_changed(&check.status);
        }
        self.forget_node_keys_of(name, &entry.node);
        self.state.forget_above(name);
        self.state.gone_nodes.insert(name.clone(), self.index);
        self.node_list_changed();
        self.changes.add(Topic::Node(name.clone()));
        self.changes.add(Topic::NodeServices(name.clone()));
        self.changes.add(Topic::NodeChecks(name.clone()));
        Some(entry.node.create_index)
    }

    /// Adds or replaces an instance.
    pub(super) fn put_service(&mut self, mut service: Service) {
        let Some(entry) = self.state.nodes.get(&self.node) else { return };
        if service.id.is_empty() {
            service.id.clone_from(&service.name);
        }
        let old = entry.service(&service.id).cloned();
        service.create_index = old.as_ref().map_or(self.index, |old| old.create_index);
        service.modify_index = old.as_ref().map_or(self.index, |old| old.modify_index);
        if old.as_ref().is_some_and(|old| **old == service) {
            return;
        }
        service.modify_index = self.index;
        let service = Arc::new(service);
        let Some(entry) = self.state.nodes.get_mut(&self.node) else { return };
        let entry = NodeEntry::edit(entry);
        entry.put_service(service.clone());
        entry.index = self.index;
        self.node_changed();
        self.refold.add(&service.id);
        let Some(old) = old else { return };
        if !old.name.eq_ignore_ascii_case(&service.name) {
            let node = self.node.clone();
            self.remove_instance(&node, &old);
        }
        if old.name != service.name || old.tags != service.tags {
            self.copy_into_checks(&service);
        }
    }

    /// Removes an instance and its checks.
    pub(super) fn remove_service(&mut self, id: &str) {
        let Some(entry) = self.state.nodes.get(&self.node) else { return };
        let Some(service) = entry.service(id).cloned() else { return };
        let checks: Vec<_> = entry.checks_of(id).cloned().collect();
        for check in checks {
            self.swap_check(&check.id, None);
        }
        let Some(entry) = self.state.nodes.get_mut(&self.node) else { return };
        let entry = NodeEntry::edit(entry);
        entry.remove_service(id);
        entry.index = self.index;
        self.node_changed();
        self.placements_changed();
        let node = self.node.clone();
        self.remove_instance(&node, &service);
    }

    /// Adds or replaces a check. Its instance is there: that was looked at before.
    pub(super) fn put_check(&mut self, mut check: Check) {
        let Some(entry) = self.state.nodes.get(&self.node) else { return };
        check.node.clone_from(&entry.node.name);
        if check.status == Status::Other(String::new()) {
            check.status = Status::default();
        }
        match entry.service(&check.service_id) {
            Some(service) if !check.service_id.is_empty() => copy_from_service(&mut check, service),
            _ => {
                check.service_id.clear();
                check.service_name.clear();
                check.service_tags.clear();
            }
        }
        let old = entry.check(&check.id);
        check.create_index = old.map_or(self.index, |old| old.create_index);
        check.modify_index = old.map_or(self.index, |old| old.modify_index);
        if old.is_some_and(|old| **old == check) {
            return;
        }
        check.modify_index = self.index;
        let id = check.id.clone();
        self.swap_check(&id, Some(check));
    }

    /// Removes a check.
    pub(super) fn remove_check(&mut self, id: &str) {
        self.swap_check(id, None);
    }

    /// Puts together anew what was concerned.
    pub(super) fn finish(mut self) {
        self.refold_instances();
        for name in std::mem::take(&mut self.checked) {
            self.own_checks_changed(name);
        }
    }

    fn refold_instances(&mut self) {
        let Some(entry) = self.state.nodes.get(&self.node).cloned() else { return };
        match std::mem::replace(&mut self.refold, Refold::Some(BTreeSet::new())) {
            Refold::Some(ids) => {
                ids.iter().filter_map(|id| entry.service(id)).for_each(|service| self.put_instance(&entry, service));
            }
            Refold::All => entry.services.iter().for_each(|service| self.put_instance(&entry, service)),
        }
    }

    /// The instance's name and tags are another now: its checks carry them too.
    fn copy_into_checks(&mut self, service: &Service) {
        let Some(entry) = self.state.nodes.get(&self.node) else { return };
        let checks: Vec<_> = entry.checks_of(&service.id).cloned().collect();
        for check in checks {
            let mut check = Check { modify_index: self.index, ..Check::clone(&check) };
            copy_from_service(&mut check, service);
            let id = check.id.clone();
            self.swap_check(&id, Some(check));
        }
    }

    /// Puts `new` in the place of the check `id`, or takes that one away.
    fn swap_check(&mut self, id: &str, new: Option<Check>) {
        let Some(entry) = self.state.nodes.get(&self.node) else { return };
        let old = entry.check(id).cloned();
        let new = new.map(Arc::new);
        if old.is_none() && new.is_none() {
            return;
        }
        let Some(entry) = self.state.nodes.get_mut(&self.node) else { return };
        let entry = NodeEntry::edit(entry);
        entry.swap_check(old.as_deref(), new.as_ref());
        entry.checks_index = self.index;
        self.changes.add(Topic::Node(self.node.clone()));
        self.changes.add(Topic::NodeChecks(self.node.clone()));
        if let Some(check) = new.as_ref().filter(|check| check.status != Status::Passing) {
            self.state.failing.insert((self.node.clone(), key(id)), check.clone());
        } else if old.as_ref().is_some_and(|check| check.status != Status::Passing) {
            self.state.failing.remove(&(self.node.clone(), key(id)));
        }
        for check in [&old, &new].into_iter().flatten() {
            self.checks_changed(&check.status);
            if check.service_id.is_empty() {
                self.refold = Refold::All;
            } else {
                self.refold.add(&check.service_id);
                self.checked.insert(key(&check.service_name));
            }
        }
    }

    fn forget_node_keys(&mut self, node: &Node) {
        let name = self.node.clone();
        self.forget_node_keys_of(&name, node);
    }

    fn forget_node_keys_of(&mut self, name: &Key, node: &Node) {
        let id = fold(&node.id);
        if self.state.node_ids.get(&*id) == Some(name) {
            self.state.node_ids.remove(&*id);
        }
        if let Some(ip) = Host::parse(&node.address).ip() {
            self.state.node_addresses.remove(&(ip, name.clone()));
            self.changes.add(Topic::Address(ip));
        }
    }
}

fn copy_from_service(check: &mut Check, service: &Service) {
    check.service_id.clone_from(&service.id);
    check.service_name.clone_from(&service.name);
    check.service_tags.clone_from(&service.tags);
}
