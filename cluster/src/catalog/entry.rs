//! What readers hold: a node, a service name and an instance with everything a question needs, put together when
//! something changes so that asking costs nothing.
//!
//! Entries are values behind an `Arc`. The writer takes one through `edit`, which copies it if any published version
//! still holds it and drops what a reader had computed from it.

use std::{
    any::Any,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use super::{
    key::cmp_folded,
    model::{Check, Node, Service, Status},
    tags::TagCounts,
};

/// A place for one reader to keep what it computed from an entry; empty again whenever the entry changes.
pub type Memo = OnceLock<Arc<dyn Any + Send + Sync>>;

/// An address, parsed once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// Anything else, as it was registered: a host name, or nothing at all.
    Name(Arc<str>),
}

impl Host {
    pub(super) fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(Arc::from(text)), Self::Ip)
    }

    /// The IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Name(_) => None,
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::Name(Arc::default())
    }
}

/// A node with everything registered on it.
#[derive(Debug, Default)]
pub struct NodeEntry {
    /// The node itself.
    pub node: Arc<Node>,
    /// Its address.
    pub address: Host,
    /// Its instances, ordered by id.
    pub services: Vec<Arc<Service>>,
    /// Its checks and those of its instances, ordered by id.
    pub checks: Vec<Arc<Check>>,
    /// The index of the last change to the node itself or to what is registered on it, its checks aside.
    pub index: u64,
    /// The index of the last change to `checks`.
    pub checks_index: u64,
    /// A place for one reader to keep what it computed from this entry; gone when the entry changes.
    pub memo: Memo,
    /// The checks of the node as a whole, shared with every instance that has none of its own.
    pub(super) node_checks: Arc<[Arc<Check>]>,
}

impl NodeEntry {
    pub(super) fn edit(this: &mut Arc<Self>) -> &mut Self {
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

    /// Where the instance is, or belongs.
    pub(super) fn service_position(&self, id: &str) -> Result<usize, usize> {
        self.services.binary_search_by(|service| cmp_folded(&service.id, id))
    }

    /// Where the check is, or belongs.
    pub(super) fn check_position(&self, id: &str) -> Result<usize, usize> {
        self.checks.binary_search_by(|check| cmp_folded(&check.id, id))
    }

    /// Brings `node_checks` up to `checks`.
    pub(super) fn collect_node_checks(&mut self) {
        self.node_checks = self.checks.iter().filter(|check| check.service_id.is_empty()).cloned().collect();
    }
}

/// A copy is about to be changed: it starts without what was computed from the original.
impl Clone for NodeEntry {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
            address: self.address.clone(),
            services: self.services.clone(),
            checks: self.checks.clone(),
            index: self.index,
            checks_index: self.checks_index,
            memo: Memo::new(),
            node_checks: self.node_checks.clone(),
        }
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
            && self.node_checks == other.node_checks
    }
}

/// One instance as readers see it: the service, its node and its health, put together when any of them changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The node it runs on.
    pub node: Arc<Node>,
    /// The instance itself.
    pub service: Arc<Service>,
    /// The node's checks, then its own, each ordered by id.
    pub checks: Arc<[Arc<Check>]>,
    /// The worst of the checks: critical, then a text of the registrant's own, then warning. Passing without checks.
    pub status: Status,
    /// Where it is reached: its own address, or its node's if it has none.
    pub address: Host,
    /// Its node's address.
    pub node_address: Host,
}

impl Instance {
    pub(super) fn new(entry: &NodeEntry, service: &Arc<Service>, own: Vec<Arc<Check>>) -> Self {
        let checks: Arc<[Arc<Check>]> = if own.is_empty() {
            entry.node_checks.clone()
        } else {
            entry.node_checks.iter().cloned().chain(own).collect()
        };
        let address = match service.address.as_str() {
            "" => entry.address.clone(),
            own => Host::parse(own),
        };
        Self {
            node: entry.node.clone(),
            service: service.clone(),
            status: worst(&checks),
            checks,
            address,
            node_address: entry.address.clone(),
        }
    }

    /// Its own checks, without those of its node.
    pub fn own_checks(&self) -> impl Iterator<Item = &Arc<Check>> {
        self.checks.iter().filter(|check| !check.service_id.is_empty())
    }

    /// The address it registered for itself, if that is an IP address.
    pub(super) fn own_ip(&self) -> Option<IpAddr> {
        if self.service.address.is_empty() {
            return None;
        }
        self.address.ip()
    }
}

fn worst(checks: &[Arc<Check>]) -> Status {
    let rank = |status: &Status| match status {
        Status::Passing => 0,
        Status::Warning => 1,
        Status::Other(_) => 2,
        Status::Critical => 3,
    };
    let mut worst = &Status::Passing;
    for check in checks {
        if rank(&check.status) > rank(worst) {
            worst = &check.status;
        }
    }
    worst.clone()
}

/// Everything known of one service name. It has at least one instance.
#[derive(Debug, Default)]
pub struct ServiceEntry {
    /// All instances, ordered by node and id.
    pub instances: Vec<Arc<Instance>>,
    /// The index of the last change to any of them, their nodes and their health.
    pub index: u64,
    /// The index of the last change to the instances' own checks.
    pub checks_index: u64,
    /// A place for one reader to keep what it computed from this entry; gone when the entry changes.
    pub memo: Memo,
    tags: Arc<TagCounts>,
    /// Positions in `instances`, ascending, of those without a critical check.
    answerable: Vec<u32>,
    /// Positions in `instances`, ascending, of those whose checks all pass.
    passing: Vec<u32>,
}

impl ServiceEntry {
    pub(super) fn edit(this: &mut Arc<Self>) -> &mut Self {
        let entry = Arc::make_mut(this);
        entry.memo = Memo::new();
        entry
    }

    /// The name as its first instance wrote it.
    pub fn name(&self) -> &str {
        self.instances.first().map_or("", |instance| &instance.service.name)
    }

    /// The tags any instance carries, in order.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tags.iter()
    }

    /// The instances without a critical check, neither of their own nor of their node.
    pub fn answerable(&self) -> Selection<'_> {
        Selection { instances: &self.instances, positions: &self.answerable }
    }

    /// The instances whose checks all pass.
    pub fn passing(&self) -> Selection<'_> {
        Selection { instances: &self.instances, positions: &self.passing }
    }

    /// The instance of that node and id.
    pub fn instance(&self, node: &str, id: &str) -> Option<&Arc<Instance>> {
        self.instances.get(self.position(node, id).ok()?)
    }

    fn position(&self, node: &str, id: &str) -> Result<usize, usize> {
        self.instances.binary_search_by(|instance| {
            cmp_folded(&instance.node.name, node).then_with(|| cmp_folded(&instance.service.id, id))
        })
    }

    /// Adds the instance or replaces the one of the same node and id.
    pub(super) fn put(&mut self, instance: Arc<Instance>) -> Placed {
        let status = instance.status.clone();
        let position = self.position(&instance.node.name, &instance.service.id);
        let (at, old) = match position {
            Ok(at) => (at, self.instances.get(at).cloned()),
            Err(at) => (at, None),
        };
        let name_before = (at == 0).then(|| self.name().to_owned());
        let listing = self.recount(old.as_ref().map(|old| &*old.service), Some(&instance.service));
        if old.is_some() {
            if let Some(slot) = self.instances.get_mut(at) {
                *slot = instance;
            }
        } else {
            self.instances.insert(at, instance);
            shift_up(&mut self.answerable, at);
            shift_up(&mut self.passing, at);
        }
        mark(&mut self.answerable, at, status != Status::Critical);
        mark(&mut self.passing, at, status == Status::Passing);
        let renamed = name_before.is_some_and(|before| before != self.name());
        Placed { old, listing: listing || renamed }
    }

    /// Removes the instance of that node and id.
    pub(super) fn remove(&mut self, node: &str, id: &str) -> Placed {
        let Ok(at) = self.position(node, id) else { return Placed { old: None, listing: false } };
        let name_before = (at == 0).then(|| self.name().to_owned());
        let old = self.instances.remove(at);
        take_out(&mut self.answerable, at);
        take_out(&mut self.passing, at);
        let listing = self.recount(Some(&old.service), None);
        let renamed = name_before.is_some_and(|before| before != self.name());
        Placed { old: Some(old), listing: listing || renamed }
    }

    /// Counts the tags of `old` out and those of `new` in; says whether the union changed.
    fn recount(&mut self, old: Option<&Service>, new: Option<&Service>) -> bool {
        let (old, new) = (old.map_or(&[][..], |old| &old.tags), new.map_or(&[][..], |new| &new.tags));
        if old == new {
            return false;
        }
        let tags = Arc::make_mut(&mut self.tags);
        let added = tags.add(new);
        tags.remove(old) || added
    }
}

/// What adding or removing an instance did.
pub(super) struct Placed {
    /// The instance that was there before.
    pub(super) old: Option<Arc<Instance>>,
    /// Whether the service's name or the union of its tags is another now.
    pub(super) listing: bool,
}

/// A copy is about to be changed: it starts without what was computed from the original.
impl Clone for ServiceEntry {
    fn clone(&self) -> Self {
        Self {
            instances: self.instances.clone(),
            index: self.index,
            checks_index: self.checks_index,
            memo: Memo::new(),
            tags: self.tags.clone(),
            answerable: self.answerable.clone(),
            passing: self.passing.clone(),
        }
    }
}

/// What a reader computed does not count.
impl PartialEq for ServiceEntry {
    fn eq(&self, other: &Self) -> bool {
        self.instances == other.instances
            && self.index == other.index
            && self.checks_index == other.checks_index
            && self.tags == other.tags
            && self.answerable == other.answerable
            && self.passing == other.passing
    }
}

/// Some of a service's instances, in their order.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    instances: &'a [Arc<Instance>],
    positions: &'a [u32],
}

impl<'a> Selection<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The one at that place among the selected.
    pub fn get(&self, place: usize) -> Option<&'a Arc<Instance>> {
        let position = *self.positions.get(place)?;
        self.instances.get(usize::try_from(position).ok()?)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &'a Arc<Instance>> + use<'a> {
        let instances = self.instances;
        self.positions.iter().filter_map(move |position| instances.get(usize::try_from(*position).ok()?))
    }
}

/// Positions are 32 bits to keep the copy an update makes small; a service has far fewer instances than that.
fn small(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

fn mark(positions: &mut Vec<u32>, position: usize, wanted: bool) {
    let position = small(position);
    match (positions.binary_search(&position), wanted) {
        (Err(place), true) => positions.insert(place, position),
        (Ok(place), false) => {
            positions.remove(place);
        }
        _ => {}
    }
}

fn shift_up(positions: &mut [u32], from: usize) {
    let from = small(from);
    for position in positions.iter_mut().rev().take_while(|position| **position >= from) {
        *position += 1;
    }
}

fn take_out(positions: &mut Vec<u32>, position: usize) {
    mark(positions, position, false);
    let from = small(position);
    for position in positions.iter_mut().rev().take_while(|position| **position > from) {
        *position -= 1;
    }
}
