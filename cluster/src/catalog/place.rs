//! Instances in their service's entry, and the indexes and topics that move with them.

use std::{net::IpAddr, sync::Arc};

use super::{
    edit::Edit,
    entry::{Instance, NodeEntry, ServiceEntry},
    key::{Key, key},
    model::{Service, Status},
    watch::Topic,
};

impl Edit<'_> {
    /// Puts an instance together and into its service's entry.
    pub(super) fn put_instance(&mut self, node: &NodeEntry, service: &Arc<Service>) {
        let instance = Arc::new(Instance::new(node, service));
        let name = key(&service.name);
        let mut new = Arc::default();
        let slot = self.state.services.get_mut(&name);
        let known = slot.is_some();
        let entry = ServiceEntry::edit(slot.unwrap_or(&mut new));
        let placed = entry.put(instance.clone());
        entry.index = self.index;
        if !known {
            entry.checks_index = self.index;
            self.state.services.insert(name.clone(), new);
            self.state.gone_services.remove(&name);
            self.changes.add(Topic::ServiceChecks(name.clone()));
        }
        if !known || placed.listing {
            self.service_list_changed();
        }
        let old = placed.old.as_deref();
        if old.is_none_or(|old| old.service.name != service.name || old.service.tags != service.tags) {
            self.placements_changed();
        }
        let renamed = old.is_some_and(|old| old.service.name != service.name);
        if let Some(ip) = instance.own_ip().filter(|_| renamed) {
            self.changes.add(Topic::Address(ip));
        }
        self.move_address(&name, service, old.and_then(Instance::own_ip), instance.own_ip());
        self.changes.add(Topic::Service(name));
    }

    /// Takes an instance out of its service's entry; the entry goes with its last one.
    pub(super) fn remove_instance(&mut self, node: &Key, service: &Service) {
        let name = key(&service.name);
        let Some(slot) = self.state.services.get_mut(&name) else { return };
        let entry = ServiceEntry::edit(slot);
        let placed = entry.remove(node, &service.id);
        let Some(old) = placed.old else { return };
        entry.index = self.index;
        let own_checks = old.own_checks().next().is_some();
        if own_checks {
            entry.checks_index = self.index;
        }
        let extinct = entry.instances.is_empty();
        if extinct {
            self.state.services.remove(&name);
            self.state.gone_services.insert(name.clone(), self.index);
        }
        if extinct || placed.listing {
            self.service_list_changed();
        }
        if extinct || own_checks {
            self.changes.add(Topic::ServiceChecks(name.clone()));
        }
        if let Some(ip) = old.own_ip() {
            self.state.instance_addresses.remove(&(ip, name.clone(), node.clone(), key(&service.id)));
            self.changes.add(Topic::Address(ip));
        }
        self.changes.add(Topic::Service(name));
    }

    fn move_address(&mut self, name: &Key, service: &Service, old: Option<IpAddr>, new: Option<IpAddr>) {
        if old == new {
            return;
        }
        let id = key(&service.id);
        if let Some(ip) = old {
            self.state.instance_addresses.remove(&(ip, name.clone(), self.node.clone(), id.clone()));
            self.changes.add(Topic::Address(ip));
        }
        if let Some(ip) = new {
            self.state.instance_addresses.insert((ip, name.clone(), self.node.clone(), id));
            self.changes.add(Topic::Address(ip));
        }
    }

    pub(super) fn own_checks_changed(&mut self, name: Key) {
        let Some(slot) = self.state.services.get_mut(&name) else { return };
        ServiceEntry::edit(slot).checks_index = self.index;
        self.changes.add(Topic::ServiceChecks(name));
    }

    pub(super) fn node_changed(&mut self) {
        self.changes.add(Topic::Node(self.node.clone()));
        self.changes.add(Topic::NodeServices(self.node.clone()));
    }

    pub(super) fn node_list_changed(&mut self) {
        self.state.indexes.nodes = self.index;
        self.changes.add(Topic::Nodes);
    }

    pub(super) fn service_list_changed(&mut self) {
        self.state.indexes.services = self.index;
        self.changes.add(Topic::Services);
    }

    pub(super) fn placements_changed(&mut self) {
        self.state.indexes.placements = self.index;
        self.changes.add(Topic::ServicesByNodeMeta);
    }

    /// A check in that status came, changed or went.
    pub(super) fn checks_changed(&mut self, status: &Status) {
        self.state.indexes.checks = self.index;
        self.state.indexes.set_in_state(status, self.index);
        self.changes.add(Topic::Checks);
        self.changes.add_state(status);
    }
}
