//! The state machine's value: the tables, and how they share what they hold.
//!
//! Every table is a persistent map: a clone of the whole shares all of it, and a change copies only the path to what it
//! changes. The tables hold folded keys (see [`super::key`]); `apply` writes them, `query` reads them.

use std::{net::IpAddr, sync::Arc};

use imbl::{HashMap, OrdMap, OrdSet};

use super::{
    autopilot::Autopilot,
    entry::{NodeEntry, ServiceEntry},
    gone::Gone,
    key::Key,
    model::{Check, Status},
    partial::Partial,
};

/// One version of the catalog. Cloning shares everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub(super) nodes: HashMap<Key, Arc<NodeEntry>>,
    pub(super) services: HashMap<Key, Arc<ServiceEntry>>,
    /// Node ids to node names.
    pub(super) node_ids: OrdMap<Key, Key>,
    /// The names below which nodes with dots in theirs stand (`b` and `c.b` of `d.c.b`), with these nodes: few.
    pub(super) above_nodes: OrdSet<(Key, Key)>,
    pub(super) node_addresses: OrdSet<(IpAddr, Key)>,
    /// Addresses instances registered of their own: address, service, node, id.
    pub(super) instance_addresses: OrdSet<(IpAddr, Key, Key, Key)>,
    /// The checks that do not pass, by node and id: few, and what is asked for.
    pub(super) failing: OrdMap<(Key, Key), Arc<Check>>,
    pub(super) gone_nodes: Gone,
    pub(super) gone_services: Gone,
    pub(super) indexes: Indexes,
    pub(super) autopilot: Autopilot,
    /// What is held of the catalog; `None` for all of it. A server's state never has it.
    pub(super) partial: Option<Arc<Partial>>,
    pub(super) as_of: AsOf,
}

/// The last log entry a state follows from. It says when a state is of, nothing about what it holds: two that hold the
/// same are equal.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AsOf(u64);

impl PartialEq for AsOf {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl State {
    /// The last log entry that was applied to it; 0 for none.
    pub fn as_of(&self) -> u64 {
        self.as_of.0
    }

    /// Notes the last log entry that was applied to it, whether it changed anything or not.
    pub fn set_as_of(&mut self, index: u64) {
        self.as_of = AsOf(index);
    }

    /// How autopilot works.
    pub fn autopilot(&self) -> &Autopilot {
        &self.autopilot
    }

    /// Notes what the name of a new node stands below.
    pub(super) fn note_above(&mut self, node: &Key) {
        for above in above(node) {
            self.above_nodes.insert((above, node.clone()));
        }
    }

    /// Forgets it again.
    pub(super) fn forget_above(&mut self, node: &Key) {
        for above in above(node) {
            self.above_nodes.remove(&(above, node.clone()));
        }
    }

    /// All nodes by name.
    pub(super) fn sorted_nodes(&self) -> impl Iterator<Item = &Arc<NodeEntry>> {
        sorted(&self.nodes).into_iter().map(|(_, entry)| entry)
    }

    /// All services with their folded names, by these.
    pub(super) fn sorted_services(&self) -> impl Iterator<Item = (&Key, &Arc<ServiceEntry>)> {
        sorted(&self.services).into_iter()
    }
}

/// Names are looked up far more often than listed: the tables are hashed, and lists are put in order when asked for.
fn sorted<T>(table: &HashMap<Key, T>) -> Vec<(&Key, &T)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}

/// The Raft index of the last change to what whole-table queries answer; 0 for never.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Indexes {
    /// The list of nodes.
    pub nodes: u64,
    /// The list of service names and their tags.
    pub services: u64,
    /// Which node has instances of which services with which tags, and those nodes' metadata.
    pub placements: u64,
    /// All checks.
    pub checks: u64,
    /// Checks that pass.
    pub passing: u64,
    /// Checks that warn.
    pub warning: u64,
    /// Checks that are critical.
    pub critical: u64,
    /// Checks in any other status.
    pub other: u64,
}

impl Indexes {
    pub(super) fn in_state(&self, status: &Status) -> u64 {
        match status {
            Status::Passing => self.passing,
            Status::Warning => self.warning,
            Status::Critical => self.critical,
            Status::Other(_) => self.other,
        }
    }

    pub(super) fn set_in_state(&mut self, status: &Status, index: u64) {
        match status {
            Status::Passing => self.passing = index,
            Status::Warning => self.warning = index,
            Status::Critical => self.critical = index,
            Status::Other(_) => self.other = index,
        }
    }
}

/// The names behind each dot of a name.
fn above(name: &Key) -> impl Iterator<Item = Key> {
    name.match_indices('.').filter_map(|(at, _)| name.get(at + 1..)).map(Key::from)
}
