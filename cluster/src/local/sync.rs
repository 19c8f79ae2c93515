//! Anti-entropy's judgement: this agent's registrations against what the catalog shows of its node. Pure.
//!
//! ```text
//!   Records + NodeEntry ─► targets that differ ─► for each: Plan (nothing, adopt the catalog's tags, or commands)
//! ```
//!
//! The agent is right about what runs on its node: what the catalog has and the agent does not know is removed. Two
//! things belong to the leader instead and are left alone: the `serfHealth` check, and on servers the `consul` service.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    build::fold,
    records::{Records, Target},
};
use crate::{
    agent::identity::OwnNode,
    catalog::{
        NodeEntry,
        command::{Command, Deregistration, Registration},
        model::{Check, SERF_HEALTH, Service},
    },
};

/// The id and name of the service by which servers find each other.
pub(crate) const CONSUL_SERVICE: &str = "consul";

/// How far the catalog's side counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Something was just registered here: it goes as it is.
    Registered,
    /// A comparison: tags that others may change are taken over from the catalog.
    Compare,
}

/// What is to be done for one target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Plan {
    InSync,
    /// The catalog's tags of the service become ours; then look again.
    AdoptTags(Vec<String>),
    Propose(Vec<Command>),
}

/// Both sides.
pub(crate) struct View<'a> {
    pub(crate) node: &'a OwnNode,
    pub(crate) records: &'a Records,
    /// The catalog's side; `None` before the node is in it.
    pub(crate) entry: Option<&'a NodeEntry>,
    /// Whether this agent is a server, whose `consul` service the leader registers.
    pub(crate) server: bool,
    /// Whether only words of the check of that folded id wait to be told: a comparison lets them wait.
    pub(crate) words_wait: &'a dyn Fn(&str) -> bool,
}

impl View<'_> {
    /// Every target that differs, in order.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let mut all = BTreeSet::from([Target::Node]);
        all.extend(self.records.service_keys().map(|key| Target::Service(key.clone())));
        all.extend(self.records.node_check_keys().map(|key| Target::Check(key.clone())));
        if let Some(entry) = self.entry {
            all.extend(entry.services.iter().map(|service| Target::Service(fold(&service.id))));
            all.extend(entry.checks_of("").map(|check| Target::Check(fold(&check.id))));
        }
        all.into_iter().filter(|target| self.plan(target, Mode::Compare) != Plan::InSync).collect()
    }

    /// What is to be done for one target.
    pub(crate) fn plan(&self, target: &Target, mode: Mode) -> Plan {
        match target {
            Target::Node if self.node_is_shown() => Plan::InSync,
            Target::Node => Plan::Propose(vec![Command::Register(self.node.registration())]),
            Target::Check(key) => self.plan_check(key, mode),
            Target::Service(key) => self.plan_service(key, mode),
        }
    }

    fn plan_check(&self, key: &str, mode: Mode) -> Plan {
        match (self.records.check(key), self.remote_check(key)) {
            (Some(local), Some(remote)) if self.is_shown(local, remote, mode) => Plan::InSync,
            (Some(local), _) => Plan::Propose(vec![self.register(None, vec![(**local).clone()])]),
            (None, Some(remote)) if !remote.id.eq_ignore_ascii_case(SERF_HEALTH) => {
                Plan::Propose(vec![self.deregister("", &remote.id)])
            }
            (None, _) => Plan::InSync,
        }
    }

    fn plan_service(&self, key: &str, mode: Mode) -> Plan {
        let remote = self.entry.and_then(|entry| entry.service(key));
        let Some(local) = self.records.service(key) else {
            return match remote {
                Some(remote) if !(self.server && key == CONSUL_SERVICE) => {
                    Plan::Propose(vec![self.deregister(&remote.id, "")])
                }
                _ => Plan::InSync,
            };
        };
        if let Some(remote) = remote
            && mode == Mode::Compare
            && local.enable_tag_override
            && local.tags != remote.tags
        {
            return Plan::AdoptTags(remote.tags.clone());
        }
        self.plan_known_service(key, local, remote, mode)
    }

    fn plan_known_service(&self, key: &str, local: &Service, remote: Option<&Arc<Service>>, mode: Mode) -> Plan {
        let shown = remote.is_some_and(|remote| service_is_shown(local, remote));
        let checks: Vec<Check> = self
            .records
            .checks_of(key)
            .filter(|check| !self.remote_check(&check.id).is_some_and(|remote| self.is_shown(check, remote, mode)))
            .map(|check| (**check).clone())
            .collect();
        let mut commands = Vec::new();
        if !shown || !checks.is_empty() {
            commands.push(self.register((!shown).then(|| local.clone()), checks));
        }
        let theirs = self.entry.into_iter().flat_map(|entry| entry.checks_of(key));
        let surplus = theirs.filter(|check| self.records.check(&fold(&check.id)).is_none());
        commands.extend(surplus.map(|check| self.deregister("", &check.id)));
        if commands.is_empty() { Plan::InSync } else { Plan::Propose(commands) }
    }

    fn remote_check(&self, id: &str) -> Option<&Arc<Check>> {
        self.entry.and_then(|entry| entry.check(id))
    }

    /// Whether the catalog's check is ours, words aside that are to be told later.
    fn is_shown(&self, local: &Check, remote: &Check, mode: Mode) -> bool {
        let words_wait = mode == Mode::Compare && local.output != remote.output && (self.words_wait)(&fold(&local.id));
        facts_are_shown(local, remote) && (words_wait || local.output == remote.output)
    }

    fn node_is_shown(&self) -> bool {
        self.entry.is_some_and(|entry| self.node.is_shown_by(&entry.node))
    }

    fn register(&self, service: Option<Service>, checks: Vec<Check>) -> Command {
        Command::Register(Registration {
            skip_node_update: self.node_is_shown(),
            service,
            checks,
            ..self.node.registration()
        })
    }

    fn deregister(&self, service_id: &str, check_id: &str) -> Command {
        Command::Deregister(Deregistration {
            node: self.node.name.clone(),
            service_id: service_id.to_owned(),
            check_id: check_id.to_owned(),
        })
    }
}

/// Whether the catalog's instance is the one declared, whatever its indexes.
pub(crate) fn service_is_shown(local: &Service, remote: &Service) -> bool {
    local.id == remote.id
        && local.name == remote.name
        && local.tags == remote.tags
        && local.address == remote.address
        && local.tagged_addresses == remote.tagged_addresses
        && local.meta == remote.meta
        && local.port == remote.port
        && local.weights == remote.weights
        && local.priority == remote.priority
        && local.draining == remote.draining
        && local.enable_tag_override == remote.enable_tag_override
}

/// Whether the catalog's check is the one declared, whatever it fills in itself.
pub(crate) fn check_is_shown(local: &Check, remote: &Check) -> bool {
    facts_are_shown(local, remote) && local.output == remote.output
}

/// The same without what is only said to people.
fn facts_are_shown(local: &Check, remote: &Check) -> bool {
    local.id == remote.id
        && local.name == remote.name
        && local.status == remote.status
        && local.notes == remote.notes
        && local.service_id.eq_ignore_ascii_case(&remote.service_id)
        && local.kind == remote.kind
        && local.definition == remote.definition
}

/// When the next full comparison is due.
///
/// Up to 128 members everybody compares once a minute; for every doubling beyond, a minute more, so that large clusters
/// do not drown their leader (Consul's scale). `random` in 0..1 spreads the agents over one more such period.
/// After `failures` in a row it is tried again sooner.
pub(crate) fn next_comparison(members: usize, failures: u32, random: f64) -> Duration {
    const INTERVAL: Duration = Duration::from_secs(60);
    const SCALE_THRESHOLD: usize = 128;
    const RETRY_FIRST: Duration = Duration::from_millis(250);
    const RETRY_LAST: Duration = Duration::from_secs(15);
    if failures > 0 {
        let doublings = (failures - 1).min(16);
        return RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_LAST).mul_f64(1.0 + random.clamp(0.0, 1.0));
    }
    let doublings = members.max(1).div_ceil(SCALE_THRESHOLD).next_power_of_two().ilog2();
    INTERVAL.saturating_mul(doublings + 1).mul_f64(1.0 + random.clamp(0.0, 1.0))
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
