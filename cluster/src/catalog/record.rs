//! The catalog as a sequence of records, and back: what a snapshot holds.
//!
//! A node comes before what is on it, its instances before its checks; the tables' own indexes come last, so that a
//! sequence that was cut short is noticed. What is only put together from these (instances with their health, address
//! and id tables) is not recorded but put together anew.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    autopilot::Autopilot,
    entry::{Instance, NodeEntry, ServiceEntry},
    gone::Gone,
    key::{Key, fold, key},
    model::{Check, Node, Service, Status},
    state::{Indexes, State},
};

/// One part of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// A node.
    Node {
        /// The node.
        node: Arc<Node>,
        /// Index of the last change to it and what is registered on it, its checks aside.
        index: u64,
        /// Index of the last change to its checks.
        checks_index: u64,
    },
    /// An instance on a node.
    Service {
        /// The node's name.
        node: String,
        /// The instance.
        service: Arc<Service>,
    },
    /// A check.
    Check(Arc<Check>),
    /// The indexes of a service name.
    ServiceIndexes {
        /// The name.
        name: Arc<str>,
        /// Index of the last change to any instance, its node or its health.
        index: u64,
        /// Index of the last change to the instances' own checks.
        checks_index: u64,
    },
    /// A node that was removed.
    GoneNode {
        /// Its name.
        name: Arc<str>,
        /// When.
        index: u64,
    },
    /// A service whose last instance was removed.
    GoneService {
        /// Its name.
        name: Arc<str>,
        /// When.
        index: u64,
    },
    /// How autopilot works.
    Autopilot(Autopilot),
    /// The indexes of the tables; always the last record.
    Indexes {
        /// Of lists.
        lists: Indexes,
        /// The least index of an unknown node.
        unknown_node: u64,
        /// The least index of an unknown service.
        unknown_service: u64,
    },
}

/// Why records do not make a catalog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Something hangs on a node that was not recorded before it.
    #[error("{what} is on node {node:?}, which is not recorded before it")]
    UnknownNode {
        /// The instance or check.
        what: String,
        /// The node.
        node: String,
    },
    /// A check hangs on an instance that was not recorded before it.
    #[error("check {check:?} on node {node:?} is of service {service:?}, which is not recorded before it")]
    UnknownService {
        /// The check.
        check: String,
        /// The node.
        node: String,
        /// The instance's id.
        service: String,
    },
    /// Something is recorded twice.
    #[error("recorded twice: {0}")]
    Twice(String),
    /// A service has instances and no indexes, or indexes and no instances.
    #[error("instances and indexes of service {0:?} do not go together")]
    ServiceIndexes(String),
    /// The record of the tables' indexes is missing: the sequence was cut short.
    #[error("the records end before their last one")]
    CutShort,
    /// Something follows the last record.
    #[error("there are records after the last one")]
    AfterLast,
}

impl State {
    /// The whole state, record by record.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let indexes = self.sorted_services().map(|(name, entry)| Record::ServiceIndexes {
            name: name.clone(),
            index: entry.index,
            checks_index: entry.checks_index,
        });
        let gone_nodes = self.gone_nodes.iter().map(|(name, index)| Record::GoneNode { name: name.clone(), index });
        let gone_services =
            self.gone_services.iter().map(|(name, index)| Record::GoneService { name: name.clone(), index });
        let autopilot =
            (self.autopilot.modify_index > 0).then(|| Record::Autopilot(self.autopilot.clone())).into_iter();
        let last = Record::Indexes {
            lists: self.indexes.clone(),
            unknown_node: self.gone_nodes.floor(),
            unknown_service: self.gone_services.floor(),
        };
        self.sorted_nodes()
            .flat_map(|entry| node_records(entry))
            .chain(indexes)
            .chain(gone_nodes)
            .chain(gone_services)
            .chain(autopilot)
            .chain([last])
    }

    /// The state that [`State::records`] recorded, indexes and all.
    pub fn restore(records: impl IntoIterator<Item = Record>) -> Result<Self, RestoreError> {
        let mut restore = Restore::default();
        for record in records {
            restore.add(record)?;
        }
        restore.finish()
    }
}

fn node_records(entry: &NodeEntry) -> impl Iterator<Item = Record> + '_ {
    let node = Record::Node { node: entry.node.clone(), index: entry.index, checks_index: entry.checks_index };
    let services = entry
        .services
        .iter()
        .map(|service| Record::Service { node: entry.node.name.clone(), service: service.clone() });
    let checks = entry.checks.iter().map(|check| Record::Check(check.clone()));
    [node].into_iter().chain(services).chain(checks)
}

/// A node being put together: what is on it by folded id.
struct RestoredNode {
    node: Arc<Node>,
    services: BTreeMap<Key, Arc<Service>>,
    checks: BTreeMap<Key, Arc<Check>>,
    index: u64,
    checks_index: u64,
}

/// A state being put together.
#[derive(Default)]
struct Restore {
    nodes: BTreeMap<Key, RestoredNode>,
    service_indexes: HashMap<Key, (u64, u64)>,
    gone_nodes: Gone,
    gone_services: Gone,
    autopilot: Option<Autopilot>,
    indexes: Option<Indexes>,
}

impl Restore {
    fn add(&mut self, record: Record) -> Result<(), RestoreError> {
        if self.indexes.is_some() {
            return Err(RestoreError::AfterLast);
        }
        match record {
            Record::Node { node, index, checks_index } => self.add_node(node, index, checks_index),
            Record::Service { node, service } => self.add_service(&node, service),
            Record::Check(check) => self.add_check(check),
            Record::ServiceIndexes { name, index, checks_index } => {
                match self.service_indexes.insert(name.clone(), (index, checks_index)) {
                    None => Ok(()),
                    Some(_) => Err(RestoreError::Twice(format!("indexes of service {name:?}"))),
                }
            }
            Record::GoneNode { name, index } => {
                self.gone_nodes.insert(name, index);
                Ok(())
            }
            Record::GoneService { name, index } => {
                self.gone_services.insert(name, index);
                Ok(())
            }
            Record::Autopilot(autopilot) => match self.autopilot.replace(autopilot) {
                None => Ok(()),
                Some(_) => Err(RestoreError::Twice("the settings of autopilot".to_owned())),
            },
            Record::Indexes { lists, unknown_node, unknown_service } => {
                self.gone_nodes.set_floor(unknown_node);
                self.gone_services.set_floor(unknown_service);
                self.indexes = Some(lists);
                Ok(())
            }
        }
    }

    fn add_node(&mut self, node: Arc<Node>, index: u64, checks_index: u64) -> Result<(), RestoreError> {
        let name = key(&node.name);
        let twice = format!("node {:?}", node.name);
        let entry = RestoredNode { node, services: BTreeMap::new(), checks: BTreeMap::new(), index, checks_index };
        match self.nodes.insert(name, entry) {
            None => Ok(()),
            Some(_) => Err(RestoreError::Twice(twice)),
        }
    }

    fn add_service(&mut self, node: &str, service: Arc<Service>) -> Result<(), RestoreError> {
        let Some(entry) = self.nodes.get_mut(&*fold(node)) else {
            let what = format!("service {:?}", service.id);
            return Err(RestoreError::UnknownNode { what, node: node.to_owned() });
        };
        match entry.services.insert(key(&service.id), service) {
            None => Ok(()),
            Some(old) => Err(RestoreError::Twice(format!("service {:?} on node {node:?}", old.id))),
        }
    }

    fn add_check(&mut self, check: Arc<Check>) -> Result<(), RestoreError> {
        let Some(entry) = self.nodes.get_mut(&*fold(&check.node)) else {
            let what = format!("check {:?}", check.id);
            return Err(RestoreError::UnknownNode { what, node: check.node.clone() });
        };
        if !check.service_id.is_empty() && !entry.services.contains_key(&*fold(&check.service_id)) {
            let (check, node, service) = (check.id.clone(), check.node.clone(), check.service_id.clone());
            return Err(RestoreError::UnknownService { check, node, service });
        }
        match entry.checks.insert(key(&check.id), check) {
            None => Ok(()),
            Some(old) => Err(RestoreError::Twice(format!("check {:?} on node {:?}", old.id, old.node))),
        }
    }

    fn finish(self) -> Result<State, RestoreError> {
        let indexes = self.indexes.ok_or(RestoreError::CutShort)?;
        let mut state = State {
            indexes,
            gone_nodes: self.gone_nodes,
            gone_services: self.gone_services,
            autopilot: self.autopilot.unwrap_or_default(),
            ..State::default()
        };
        let mut services: HashMap<Key, ServiceEntry> = HashMap::new();
        for (name, restored) in self.nodes {
            let mut entry =
                NodeEntry::new(restored.node, restored.services.into_values(), restored.checks.into_values());
            (entry.index, entry.checks_index) = (restored.index, restored.checks_index);
            restore_instances(&mut state, &mut services, &name, &entry);
            if !entry.node.id.is_empty() {
                state.node_ids.insert(key(&entry.node.id), name.clone());
            }
            if let Some(ip) = entry.address.ip() {
                state.node_addresses.insert((ip, name.clone()));
            }
            for check in entry.checks.iter().filter(|check| check.status != Status::Passing) {
                state.failing.insert((name.clone(), key(&check.id)), check.clone());
            }
            state.note_above(&name);
            state.nodes.insert(name, Arc::new(entry));
        }
        let mut service_indexes = self.service_indexes;
        for (name, mut entry) in services {
            let Some(indexes) = service_indexes.remove(&name) else {
                return Err(RestoreError::ServiceIndexes(name.to_string()));
            };
            (entry.index, entry.checks_index) = indexes;
            state.services.insert(name, Arc::new(entry));
        }
        match service_indexes.into_keys().next() {
            None => Ok(state),
            Some(name) => Err(RestoreError::ServiceIndexes(name.to_string())),
        }
    }
}

fn restore_instances(state: &mut State, services: &mut HashMap<Key, ServiceEntry>, node: &Key, entry: &NodeEntry) {
    for service in &entry.services {
        let instance = Arc::new(Instance::new(entry, service));
        let name = key(&service.name);
        if let Some(ip) = instance.own_ip() {
            state.instance_addresses.insert((ip, name.clone(), node.clone(), key(&service.id)));
        }
        services.entry(name).or_default().put(instance);
    }
}
