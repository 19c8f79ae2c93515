//! A service name with its instances and their health.

use std::{net::IpAddr, sync::Arc};

use super::{
    super::{
        key::cmp_folded,
        model::{Check, Node, Service, Status},
        tags::TagCounts,
    },
    Host, Memo, NodeEntry, Selection,
    selection::Positions,
};

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
    pub(in crate::catalog) fn new(entry: &NodeEntry, service: &Arc<Service>) -> Self {
        let mut own = entry.checks_of(&service.id).peekable();
        let checks: Arc<[Arc<Check>]> = match own.peek() {
            None => entry.node_checks.clone(),
            Some(_) => entry.node_checks.iter().chain(own).cloned().collect(),
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

    /// An instance as another agent told of it: with the checks of its node and its own, in order.
    pub(in crate::catalog) fn shown(node: Arc<Node>, service: Arc<Service>, checks: Vec<Arc<Check>>) -> Self {
        let node_address = Host::parse(&node.address);
        let address = match service.address.as_str() {
            "" => node_address.clone(),
            own => Host::parse(own),
        };
        Self { status: worst(&checks), checks: checks.into(), node, service, address, node_address }
    }

    /// Its own checks, without those of its node.
    pub fn own_checks(&self) -> impl Iterator<Item = &Arc<Check>> {
        self.checks.iter().filter(|check| !check.service_id.is_empty())
    }

    /// The address it registered for itself, if that is an IP address.
    pub(in crate::catalog) fn own_ip(&self) -> Option<IpAddr> {
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
#[derive(Clone, Debug, Default)]
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
    answerable: Positions,
    /// Positions in `instances`, ascending, of those whose checks all pass.
    passing: Positions,
}

impl ServiceEntry {
    pub(in crate::catalog) fn edit(this: &mut Arc<Self>) -> &mut Self {
        let entry = Arc::make_mut(this);
        entry.memo = Memo::new();
        entry
    }

    /// A service of these instances.
    pub(in crate::catalog) fn of(
        instances: impl IntoIterator<Item = Arc<Instance>>,
        index: u64,
        checks_index: u64,
    ) -> Self {
        let mut entry = Self { index, checks_index, ..Self::default() };
        for instance in instances {
            entry.put(instance);
        }
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
        Selection::new(&self.instances, &self.answerable)
    }

    /// The instances whose checks all pass.
    pub fn passing(&self) -> Selection<'_> {
        Selection::new(&self.instances, &self.passing)
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
    pub(in crate::catalog) fn put(&mut self, instance: Arc<Instance>) -> Placed {
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
            self.answerable.make_room(at);
            self.passing.make_room(at);
        }
        self.answerable.mark(at, status != Status::Critical);
        self.passing.mark(at, status == Status::Passing);
        let renamed = name_before.is_some_and(|before| before != self.name());
        Placed { old, listing: listing || renamed }
    }

    /// Removes the instance of that node and id.
    pub(in crate::catalog) fn remove(&mut self, node: &str, id: &str) -> Placed {
        let Ok(at) = self.position(node, id) else { return Placed { old: None, listing: false } };
        let name_before = (at == 0).then(|| self.name().to_owned());
        let old = self.instances.remove(at);
        self.answerable.close_gap(at);
        self.passing.close_gap(at);
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
pub(in crate::catalog) struct Placed {
    /// The instance that was there before.
    pub(in crate::catalog) old: Option<Arc<Instance>>,
    /// Whether the service's name or the union of its tags is another now.
    pub(in crate::catalog) listing: bool,
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
