//! The catalog a second time, as plainly as can be: lists that are searched from end to end, and nothing put together
//! before it is asked for. It says what the answers should be.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    Topic,
    command::{Command, Deregistration, Refusal, Registration},
    model::{Check, Node, Service, Status},
};

#[derive(Clone, Default)]
pub(super) struct Dumb {
    pub(super) nodes: Vec<Node>,
    pub(super) services: Vec<(String, Service)>,
    pub(super) checks: Vec<Check>,
}

fn eq(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
}

fn low(text: &str) -> String {
    text.to_ascii_lowercase()
}

impl Dumb {
    /// Applies a command. Says what was there after each of its steps, the last being the outcome.
    pub(super) fn apply(&mut self, index: u64, command: &Command) -> Result<Vec<Dumb>, Refusal> {
        let mut steps = Vec::new();
        match command {
            Command::Register(registration) => {
                let mut next = self.clone();
                next.register(index, registration, &mut steps)?;
                *self = next;
            }
            Command::Deregister(deregistration) => self.deregister(deregistration, &mut steps),
            Command::Autopilot(_) => {}
        }
        steps.push(self.clone());
        Ok(steps)
    }

    fn register(&mut self, index: u64, registration: &Registration, steps: &mut Vec<Dumb>) -> Result<(), Refusal> {
        self.register_node(index, registration, steps)?;
        steps.push(self.clone());
        if let Some(service) = &registration.service {
            if service.meta.contains_key("") {
                return Err(Refusal::Invalid(format!(
                    "failed inserting service: Invalid Service Meta for node {} and serviceID {}: \
                     Couldn't load metadata pair ('', ''): Key cannot be blank",
                    registration.node, service.id
                )));
            }
            self.register_service(index, &registration.node, service);
            steps.push(self.clone());
        }
        for check in &registration.checks {
            self.register_check(index, &registration.node, check)?;
            steps.push(self.clone());
        }
        Ok(())
    }

    fn register_node(&mut self, index: u64, registration: &Registration, steps: &mut Vec<Dumb>) -> Result<(), Refusal> {
        let by_name = self.nodes.iter().find(|node| eq(&node.name, &registration.node)).cloned();
        if by_name.is_some() && registration.skip_node_update {
            return Ok(());
        }
        let mut new = Node {
            id: registration.node_id.clone(),
            name: registration.node.clone(),
            address: registration.address.clone(),
            datacenter: registration.datacenter.clone(),
            tagged_addresses: registration.tagged_addresses.clone(),
            meta: registration.node_meta.clone(),
            create_index: by_name.as_ref().map_or(index, |node| node.create_index),
            modify_index: index,
        };
        if let (Some(known), "") = (&by_name, new.id.as_str()) {
            new.id = known.id.clone();
        }
        if let Some(known) = &by_name {
            new.modify_index = known.modify_index;
            if *known == new {
                return Ok(());
            }
            new.modify_index = index;
        }
        let by_id = self.nodes.iter().find(|node| !new.id.is_empty() && eq(&node.id, &new.id)).cloned();
        if let Some(holder) = by_name.as_ref().filter(|node| !registration.node_id.is_empty() && !eq(&node.id, &new.id))
        {
            let alive = self.checks.iter().any(|check| {
                eq(&check.node, &holder.name) && check.id == "serfHealth" && check.status != Status::Critical
            });
            if alive && (by_id.is_some() || !holder.id.is_empty()) {
                let address = if by_id.is_some() { format!(" ({})", new.address) } else { String::new() };
                return Err(Refusal::Conflict(format!(
                    "failed inserting node: Error while renaming Node ID: \"{}\"{address}: Node name {} is reserved by \
                     node {} with name {} ({})",
                    new.id, new.name, holder.id, holder.name, holder.address
                )));
            }
        }
        if let Some(old) = by_id.filter(|node| !eq(&node.name, &new.name)) {
            new.create_index = old.create_index;
            self.remove_node(&old.name, steps);
            steps.push(self.clone());
        }
        self.nodes.retain(|node| !eq(&node.name, &new.name));
        self.nodes.push(new);
        Ok(())
    }

    fn register_service(&mut self, index: u64, node: &str, service: &Service) {
        let known = self.services.iter().find(|(on, known)| eq(on, node) && eq(&known.id, &service.id));
        let mut new = Service { create_index: index, modify_index: index, ..service.clone() };
        if let Some((_, known)) = known {
            new.create_index = known.create_index;
            new.modify_index = known.modify_index;
            if *known == new {
                return;
            }
            new.modify_index = index;
        }
        for check in &mut self.checks {
            let told = check.service_name == new.name && check.service_tags == new.tags;
            if eq(&check.node, node) && eq(&check.service_id, &new.id) && !told {
                check.service_id = new.id.clone();
                check.service_name = new.name.clone();
                check.service_tags = new.tags.clone();
                check.modify_index = index;
            }
        }
        self.services.retain(|(on, known)| !(eq(on, node) && eq(&known.id, &new.id)));
        self.services.push((low(node), new));
    }

    fn register_check(&mut self, index: u64, node: &str, check: &Check) -> Result<(), Refusal> {
        let known = self.nodes.iter().find(|known| eq(&known.name, node)).expect("registered before");
        let mut new = Check {
            node: known.name.clone(),
            service_name: String::new(),
            service_tags: Vec::new(),
            create_index: index,
            modify_index: index,
            ..check.clone()
        };
        if !new.service_id.is_empty() {
            let service = self.services.iter().find(|(on, known)| eq(on, node) && eq(&known.id, &new.service_id));
            let Some((_, service)) = service else {
                return Err(Refusal::MissingService { node: node.to_owned() });
            };
            new.service_id = service.id.clone();
            new.service_name = service.name.clone();
            new.service_tags = service.tags.clone();
        }
        if let Some(known) = self.checks.iter().find(|known| eq(&known.node, node) && eq(&known.id, &new.id)) {
            new.create_index = known.create_index;
            new.modify_index = known.modify_index;
            if *known == new {
                return Ok(());
            }
            new.modify_index = index;
        }
        self.checks.retain(|known| !(eq(&known.node, &new.node) && eq(&known.id, &new.id)));
        self.checks.push(new);
        Ok(())
    }

    fn deregister(&mut self, what: &Deregistration, steps: &mut Vec<Dumb>) {
        let node = &what.node;
        if !what.service_id.is_empty() {
            self.services.retain(|(on, service)| !(eq(on, node) && eq(&service.id, &what.service_id)));
            self.checks.retain(|check| !(eq(&check.node, node) && eq(&check.service_id, &what.service_id)));
        } else if !what.check_id.is_empty() {
            self.checks.retain(|check| !(eq(&check.node, node) && eq(&check.id, &what.check_id)));
        } else {
            self.remove_node(node, steps);
        }
    }

    fn remove_node(&mut self, name: &str, steps: &mut Vec<Dumb>) {
        for id in self.services_on(name).into_iter().map(|service| service.id.clone()).collect::<Vec<_>>() {
            self.services.retain(|(on, service)| !(eq(on, name) && service.id == id));
            steps.push(self.clone());
        }
        self.nodes.retain(|node| !eq(&node.name, name));
        self.checks.retain(|check| !eq(&check.node, name));
    }

    /// What is to be answered on a topic, as text. Where a query cannot tell something that may wake it (that a
    /// service without checks appeared), that is part of the text.
    pub(super) fn answer(&self, topic: &Topic) -> String {
        match topic {
            Topic::Nodes => text(&self.sorted_nodes()),
            Topic::Node(name) => {
                text(&self.node(name).map(|node| (node, self.services_on(name), self.checks_on(name))))
            }
            Topic::NodeServices(name) => text(&self.node(name).map(|node| (node, self.services_on(name)))),
            Topic::NodeChecks(name) => text(&self.node(name).map(|_| self.checks_on(name))),
            Topic::Services => text(&self.list(&[])),
            Topic::ServicesByNodeMeta => {
                let with = |node: &&Node| !self.services_on(&node.name).is_empty();
                let places = self.sorted_nodes().into_iter().filter(with).map(|node| {
                    let services = self.services_on(&node.name).into_iter();
                    let services: Vec<_> =
                        services.map(|service| (low(&service.id), &service.name, &service.tags)).collect();
                    (low(&node.name), &node.meta, services)
                });
                text(&places.collect::<Vec<_>>())
            }
            Topic::Service(name) => text(&Some(self.instances(name)).filter(|found| !found.is_empty())),
            Topic::ServiceChecks(name) => {
                let exists = !self.instances(name).is_empty();
                let of = |check: &&Check| eq(&check.service_name, name);
                text(&(exists, self.sorted_checks().into_iter().filter(of).collect::<Vec<_>>()))
            }
            Topic::Checks => text(&self.sorted_checks()),
            Topic::ChecksInState(status) => text(&self.checks_in_state(status)),
            Topic::Address(_) => unreachable!("no query is paired with it"),
        }
    }

    pub(super) fn list(&self, meta: &[(String, String)]) -> Vec<(String, Vec<String>)> {
        let mut listed: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
        for node in self.sorted_nodes() {
            if !meta.iter().all(|(key, value)| node.meta.get(key) == Some(value)) {
                continue;
            }
            for service in self.services_on(&node.name) {
                let (_, tags) = listed.entry(low(&service.name)).or_insert((service.name.clone(), BTreeSet::new()));
                tags.extend(service.tags.iter().cloned());
            }
        }
        listed.into_values().map(|(name, tags)| (name, tags.into_iter().collect())).collect()
    }

    fn sorted_nodes(&self) -> Vec<&Node> {
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        nodes.sort_by_key(|node| low(&node.name));
        nodes
    }

    fn sorted_checks(&self) -> Vec<&Check> {
        let mut checks: Vec<_> = self.checks.iter().collect();
        checks.sort_by_key(|check| (low(&check.node), low(&check.id)));
        checks
    }

    fn checks_in_state(&self, wanted: &Status) -> Vec<&Check> {
        let is = |check: &&Check| match (wanted, &check.status) {
            (Status::Other(_), Status::Other(_)) => true,
            (wanted, status) => wanted == status,
        };
        self.sorted_checks().into_iter().filter(is).collect()
    }

    fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| eq(&node.name, name))
    }

    fn services_on(&self, node: &str) -> Vec<&Service> {
        let mut services: Vec<_> =
            self.services.iter().filter(|(on, _)| eq(on, node)).map(|(_, service)| service).collect();
        services.sort_by_key(|service| low(&service.id));
        services
    }

    fn checks_on(&self, node: &str) -> Vec<&Check> {
        self.sorted_checks().into_iter().filter(|check| eq(&check.node, node)).collect()
    }

    /// Node, instance, checks, in the order of nodes and ids.
    pub(super) fn instances(&self, name: &str) -> Vec<(&Node, &Service, Vec<&Check>)> {
        let mut found = Vec::new();
        for node in self.sorted_nodes() {
            for service in self.services_on(&node.name).into_iter().filter(|service| eq(&service.name, name)) {
                let checks = self.checks_on(&node.name).into_iter();
                let (of_node, others): (Vec<_>, Vec<_>) = checks.partition(|check| check.service_id.is_empty());
                let own = others.into_iter().filter(|check| eq(&check.service_id, &service.id));
                found.push((node, service, of_node.into_iter().chain(own).collect()));
            }
        }
        found
    }
}

pub(super) fn text(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}")
}
