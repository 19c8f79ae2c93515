//! A part of the catalog: what an agent that is no server keeps, because somebody asked for it.
//!
//! ```text
//!   server:  State ─► State::content(interest) ─► Content, sent
//!   client:  Content ─► State::show ─► the tables, as readers know them; State::holds tells what may be read
//! ```
//!
//! A partial state has the same tables as a whole one, filled interest by interest: what one shows does not touch what
//! another shows, so that each may come, change and go by itself. Lists of everything cannot be read from it. An entry
//! is of one moment (`as_of`, a log index); an older one never takes its place.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use imbl::HashMap;
use serde::{Deserialize, Serialize};

use super::{
    entry::{Instance, NodeEntry, ServiceEntry},
    key::{Key, fold, key},
    model::{Check, Node, Service},
    state::State,
    watch::{Changes, Topic},
};

/// Most names of an address that are told. The first of each kind is what reverse lookups answer.
const ADDRESS_NAMES_MAX: usize = 16;

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

impl Interest {
    /// Interest in the service of that name, however it is written.
    pub fn service(name: &str) -> Self {
        Self::Service(fold(name).into_owned())
    }

    /// Interest in the node of that name, however it is written.
    pub fn node(name: &str) -> Self {
        Self::Node(fold(name).into_owned())
    }

    /// The topic whose changes are this interest's.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Service(name) => Topic::Service(Arc::from(name.as_str())),
            Self::Node(name) => Topic::Node(Arc::from(name.as_str())),
            Self::Address(address) => Topic::Address(*address),
        }
    }
}

/// A node, an instance on it, and the checks of the node and then of the instance.
type InstanceParts = (Arc<Node>, Arc<Service>, Vec<Arc<Check>>);
/// A node, its instances, and its checks and theirs.
type NodeParts = (Arc<Node>, Vec<Arc<Service>>, Vec<Arc<Check>>);

/// What there is of an interest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Content {
    /// A service; without instances it is not there.
    Service {
        /// Its instances: the node, the instance, the node's checks and its own.
        instances: Vec<InstanceParts>,
        /// The index of the last change.
        index: u64,
        /// The index of the last change to the instances' own checks.
        checks_index: u64,
    },
    /// A node; `None` if it is not there.
    Node {
        /// The node, its instances, its checks and theirs.
        node: Option<NodeParts>,
        /// The index of the last change but those of checks.
        index: u64,
        /// The index of the last change to checks.
        checks_index: u64,
    },
    /// What has an address.
    Address {
        /// Names of nodes, in order.
        nodes: Vec<String>,
        /// Names of services, in order.
        services: Vec<String>,
    },
}

impl Content {
    /// Whether there is nothing of that name or address.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Service { instances, .. } => instances.is_empty(),
            Self::Node { node, .. } => node.is_none(),
            Self::Address { nodes, services } => nodes.is_empty() && services.is_empty(),
        }
    }

    /// How many things it carries: what sending it costs.
    pub fn size(&self) -> usize {
        match self {
            Self::Service { instances, .. } => instances.len(),
            Self::Node { node, .. } => node.as_ref().map_or(0, |(_, services, checks)| services.len() + checks.len()),
            Self::Address { .. } => 1,
        }
    }
}

/// Whether somebody reads an entry of a partial state. Readers set it, who keeps the state looks at it now and then.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    used: AtomicBool,
    leases: AtomicUsize,
}

impl Mark {
    /// Notes a reader. Only the first after a look writes, so that readers do not fight for the memory.
    fn touch(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody read since the last call, or is reading.
    pub(crate) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed) || self.leases.load(Ordering::Relaxed) > 0
    }
}

/// Holds an entry of a partial state where it is, however long its reader waits for changes.
#[derive(Debug)]
pub struct Lease(Arc<Mark>);

impl Lease {
    fn new(mark: &Arc<Mark>) -> Self {
        mark.leases.fetch_add(1, Ordering::Relaxed);
        mark.touch();
        Self(Arc::clone(mark))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.leases.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a partial state holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Partial {
    services: HashMap<Key, Held>,
    nodes: HashMap<Key, Held>,
    addresses: HashMap<IpAddr, (Held, Arc<Named>)>,
}

/// One held interest.
#[derive(Clone, Debug)]
struct Held {
    as_of: u64,
    mark: Arc<Mark>,
}

/// Who reads it does not count.
impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.as_of == other.as_of
    }
}

/// What an address leads to: entries with nothing but names.
#[derive(Clone, Debug, Default, PartialEq)]
struct Named {
    node: Option<Arc<NodeEntry>>,
    instance: Option<Arc<Instance>>,
}

/// The side of whole states.
impl State {
    /// What there is of an interest.
    pub fn content(&self, interest: &Interest) -> Content {
        match interest {
            Interest::Service(name) => {
                let found = self.service(name);
                let entry = found.value.as_deref();
                let instances = entry.map_or(&[][..], |entry| &entry.instances);
                let told = |it: &Arc<Instance>| (it.node.clone(), it.service.clone(), it.checks.to_vec());
                Content::Service {
                    instances: instances.iter().map(told).collect(),
                    index: found.index,
                    checks_index: entry.map_or(found.index, |entry| entry.checks_index),
                }
            }
            Interest::Node(name) => {
                let found = self.node_services(name);
                let entry = found.value.as_deref();
                let told = |it: &NodeEntry| {
                    (it.node.clone(), it.services.iter().cloned().collect(), it.checks.iter().cloned().collect())
                };
                Content::Node {
                    node: entry.map(told),
                    index: found.index,
                    checks_index: entry.map_or(found.index, |entry| entry.checks_index),
                }
            }
            Interest::Address(address) => Content::Address {
                nodes: self.nodes_of(*address).take(ADDRESS_NAMES_MAX).map(|it| it.node.name.clone()).collect(),
                services: self
                    .instances_of(*address)
                    .take(ADDRESS_NAMES_MAX)
                    .map(|it| it.service.name.clone())
                    .collect(),
            },
        }
    }
}

/// What may be read of a state. A whole one holds everything.
impl State {
    /// Whether the service of that name (lower case) may be read; it need not be there. Counts as reading it.
    pub fn holds_service(&self, name: &str) -> bool {
        let Some(partial) = &self.partial else { return true };
        held(partial.services.get(name))
    }

    /// Whether the node of that name (lower case) may be read; it need not be there. Counts as reading it.
    pub fn holds_node(&self, name: &str) -> bool {
        let Some(partial) = &self.partial else { return true };
        held(partial.nodes.get(name))
    }

    /// Whether the names of that address may be read; there need not be any. Counts as reading them.
    pub fn holds_address(&self, address: IpAddr) -> bool {
        let Some(partial) = &self.partial else { return true };
        held(partial.addresses.get(&address).map(|(held, _)| held))
    }

    pub(super) fn node_named_by(&self, address: IpAddr) -> Option<&Arc<NodeEntry>> {
        self.partial.as_ref()?.addresses.get(&address)?.1.node.as_ref()
    }

    pub(super) fn instance_named_by(&self, address: IpAddr) -> Option<&Arc<Instance>> {
        self.partial.as_ref()?.addresses.get(&address)?.1.instance.as_ref()
    }
}

fn held(found: Option<&Held>) -> bool {
    let Some(held) = found else { return false };
    held.mark.touch();
    true
}

/// The side of partial states.
impl State {
    /// A state that holds nothing.
    pub fn partial() -> Self {
        Self { partial: Some(Arc::default()), ..Self::default() }
    }

    /// The moment an interest is held of, if it is.
    pub fn held_as_of(&self, interest: &Interest) -> Option<u64> {
        self.held(interest).map(|held| held.as_of)
    }

    /// The mark of an interest that is held.
    pub(crate) fn mark(&self, interest: &Interest) -> Option<Arc<Mark>> {
        self.held(interest).map(|held| Arc::clone(&held.mark))
    }

    /// A lease of an interest that is held.
    pub fn lease(&self, interest: &Interest) -> Option<Lease> {
        self.held(interest).map(|held| Lease::new(&held.mark))
    }

    fn held(&self, interest: &Interest) -> Option<&Held> {
        let partial = self.partial.as_ref()?;
        match interest {
            Interest::Service(name) => partial.services.get(name.as_str()),
            Interest::Node(name) => partial.nodes.get(name.as_str()),
            Interest::Address(address) => partial.addresses.get(address).map(|(held, _)| held),
        }
    }

    /// Puts what there is of an interest in the place of what was shown of it, and notes which watchers to wake.
    ///
    /// The content must be the interest's, and not older than what is shown; unless `whatever` is held is wrong (the
    /// history of indexes is another). Says whether it is shown now.
    pub fn show(
        &mut self,
        interest: &Interest,
        as_of: u64,
        content: Content,
        whatever: bool,
        changes: &mut Changes,
    ) -> bool {
        let known = self.held(interest);
        if !whatever && known.is_some_and(|held| held.as_of > as_of) {
            return false;
        }
        let held = Held { as_of, mark: known.map(|held| Arc::clone(&held.mark)).unwrap_or_default() };
        match (interest, content) {
            (Interest::Service(name), Content::Service { instances, index, checks_index }) => {
                let name = key(name);
                self.held_tables().services.insert(name.clone(), held);
                let entry = (!instances.is_empty()).then(|| {
                    let instances = instances
                        .into_iter()
                        .map(|(node, service, checks)| Arc::new(Instance::shown(node, service, checks)));
                    ServiceEntry::of(instances, index, checks_index)
                });
                self.show_service(name, entry, index, changes);
            }
            (Interest::Node(name), Content::Node { node, index, checks_index }) => {
                let name = key(name);
                self.held_tables().nodes.insert(name.clone(), held);
                let entry = node.map(|(node, services, checks)| {
                    let mut entry = NodeEntry::new(node, services, checks);
                    (entry.index, entry.checks_index) = (index, checks_index);
                    entry
                });
                self.show_node(name, entry, index, changes);
            }
            (Interest::Address(address), Content::Address { nodes, services }) => {
                let named = Arc::new(Named::new(nodes, services));
                let old = self.held_tables().addresses.insert(*address, (held, Arc::clone(&named)));
                if old.is_none_or(|(_, old)| old != named) {
                    changes.add(Topic::Address(*address));
                }
            }
            _ => return false,
        }
        true
    }

    /// Takes an interest out: it is no longer known here. Wakes nobody, as nothing happened to it.
    pub fn forget(&mut self, interest: &Interest) {
        match interest {
            Interest::Service(name) => {
                let name = key(name);
                self.held_tables().services.remove(&name);
                self.services.remove(&name);
                self.gone_services.remove(&name);
            }
            Interest::Node(name) => {
                let name = key(name);
                self.held_tables().nodes.remove(&name);
                self.nodes.remove(&name);
                self.gone_nodes.remove(&name);
            }
            Interest::Address(address) => {
                self.held_tables().addresses.remove(address);
            }
        }
    }

    fn held_tables(&mut self) -> &mut Partial {
        Arc::make_mut(self.partial.get_or_insert_default())
    }

    fn show_service(&mut self, name: Key, entry: Option<ServiceEntry>, index: u64, changes: &mut Changes) {
        let old = self.services.get(&name);
        let same_checks = match (old, &entry) {
            (None, None) => true,
            (Some(old), Some(entry)) => old.checks_index == entry.checks_index,
            _ => false,
        };
        if old.map(AsRef::as_ref) == entry.as_ref() && (old.is_some() || self.gone_services.index(&name) == index) {
            // What readers computed from the entry stays.
            return;
        }
        match entry {
            Some(entry) => {
                self.gone_services.remove(&name);
                self.services.insert(name.clone(), Arc::new(entry));
            }
            None => {
                self.services.remove(&name);
                self.gone_services.insert(name.clone(), index);
            }
        }
        if !same_checks {
            changes.add(Topic::ServiceChecks(name.clone()));
        }
        changes.add(Topic::Service(name));
    }

    fn show_node(&mut self, name: Key, entry: Option<NodeEntry>, index: u64, changes: &mut Changes) {
        let old = self.nodes.get(&name);
        if old.map(AsRef::as_ref) == entry.as_ref() && (old.is_some() || self.gone_nodes.index(&name) == index) {
            return;
        }
        let (same_services, same_checks) = match (old, &entry) {
            (Some(old), Some(new)) => (old.index == new.index, old.checks_index == new.checks_index),
            _ => (false, false),
        };
        match entry {
            Some(entry) => {
                self.gone_nodes.remove(&name);
                self.nodes.insert(name.clone(), Arc::new(entry));
            }
            None => {
                self.nodes.remove(&name);
                self.gone_nodes.insert(name.clone(), index);
            }
        }
        if !same_services {
            changes.add(Topic::NodeServices(name.clone()));
        }
        if !same_checks {
            changes.add(Topic::NodeChecks(name.clone()));
        }
        changes.add(Topic::Node(name));
    }
}

impl Named {
    fn new(nodes: Vec<String>, services: Vec<String>) -> Self {
        let node = nodes.into_iter().next().map(|name| {
            let node = Node { name, ..Node::default() };
            Arc::new(NodeEntry::new(Arc::new(node), [], []))
        });
        let instance = services.into_iter().next().map(|name| {
            let service = Service { name, ..Service::default() };
            Arc::new(Instance::shown(Arc::default(), Arc::new(service), Vec::new()))
        });
        Self { node, instance }
    }
}
