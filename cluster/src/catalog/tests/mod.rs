//! Tests of the catalog as a whole.

mod dumb;
mod partial;
mod properties;
mod restoring;
mod rules;
mod watching;

use std::collections::BTreeMap;

use super::{
    Changes, State,
    command::{Command, Deregistration, Outcome, Registration},
    model::{Check, Service, Status},
};

/// A state with the index of its last command.
#[derive(Clone, Default)]
struct Log {
    state: State,
    index: u64,
}

impl Log {
    fn apply(&mut self, command: Command) -> (Outcome, Changes) {
        self.index += 1;
        let mut changes = Changes::default();
        let outcome = self.state.apply(self.index, command, &mut changes);
        (outcome, changes)
    }

    fn register(&mut self, registration: Registration) -> Changes {
        let (outcome, changes) = self.apply(Command::Register(registration));
        assert_eq!(outcome, Ok(()));
        changes
    }

    fn refuse(&mut self, registration: Registration) -> String {
        let before = self.state.clone();
        let (outcome, changes) = self.apply(Command::Register(registration));
        assert!(self.state == before, "a refused command changes nothing");
        assert!(changes.is_empty(), "a refused command wakes nobody");
        outcome.expect_err("refused").to_string()
    }

    fn deregister(&mut self, node: &str, service_id: &str, check_id: &str) -> Changes {
        let deregistration =
            Deregistration { node: node.into(), service_id: service_id.into(), check_id: check_id.into() };
        let (outcome, changes) = self.apply(Command::Deregister(deregistration));
        assert_eq!(outcome, Ok(()));
        changes
    }
}

fn node(name: &str, address: &str) -> Registration {
    Registration { node: name.into(), address: address.into(), datacenter: "dc1".into(), ..Registration::default() }
}

impl Registration {
    fn id(mut self, id: &str) -> Self {
        self.node_id = id.into();
        self
    }
    fn meta(mut self, pairs: &[(&str, &str)]) -> Self {
        self.node_meta = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        self
    }
    fn service(mut self, id: &str, name: &str, tags: &[&str]) -> Self {
        let tags = tags.iter().map(|&tag| tag.into()).collect();
        self.service = Some(Service { id: id.into(), name: name.into(), tags, port: 80, ..Service::default() });
        self
    }
    fn at(mut self, address: &str) -> Self {
        self.service.as_mut().expect("a service").address = address.into();
        self
    }
    fn check(mut self, id: &str, service_id: &str, status: &str) -> Self {
        self.checks.push(Check {
            id: id.into(),
            service_id: service_id.into(),
            status: Status::from(status),
            ..Check::default()
        });
        self
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    BTreeMap::from_iter(pairs.iter().copied()).into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}
