//! Anti-entropy's judgement: this agent's registrations against what the catalog shows of its node. Pure.
//!
//! ```text
//!   Records + NodeEntry ─► targets that differ ─► for each: Plan (nothing, adopt the catalog's tags, or commands)
//! ```
//!
//! The agent is right about what runs on its node: what the catalog has and the agent does not know is removed. Two
//! things belong to the leader instead and are left alone: the `serfHealth` check, and on servers the `consul` service.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

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

/// The catalog's side, by folded ids.
#[derive(Default)]
pub(crate) struct Remote<'a> {
    entry: Option<&'a NodeEntry>,
    services: HashMap<String, &'a Arc<Service>>,
    checks: HashMap<String, &'a Arc<Check>>,
}

impl<'a> Remote<'a> {
    /// Everything the catalog shows of the node.
    pub(crate) fn all(entry: Option<&'a NodeEntry>) -> Self {
        let (services, checks) = entry.map(|entry| (&entry.services[..], &entry.checks[..])).unwrap_or_default();
        Self {
            entry,
            services: services.iter().map(|service| (fold(&service.id), service)).collect(),
            checks: checks.iter().map(|check| (fold(&check.id), check)).collect(),
        }
    }

    /// Only what one target is about.
    pub(crate) fn of(entry: Option<&'a NodeEntry>, target: &Target, records: &Records) -> Self {
        let Some(node) = entry else {
            return Self::default();
        };
        let mut remote = Self { entry, ..Self::default() };
        match target {
            Target::Node => {}
            Target::Check(key) => {
                let found = node.checks.iter().find(|check| check.id.eq_ignore_ascii_case(key));
                remote.checks.extend(found.map(|check| (key.clone(), check)));
            }
            Target::Service(key) => {
                let found = node.services.iter().find(|service| service.id.eq_ignore_ascii_case(key));
                remote.services.extend(found.map(|service| (key.clone(), service)));
                let theirs = node.checks.iter().filter(|check| check.service_id.eq_ignore_ascii_case(key));
                remote.checks.extend(theirs.map(|check| (fold(&check.id), check)));
                for own in records.checks_of(key) {
                    let found = node.checks.iter().find(|check| check.id.eq_ignore_ascii_case(&own.id));
                    remote.checks.extend(found.map(|check| (fold(&own.id), check)));
                }
            }
        }
        remote
    }
}

/// Both sides.
pub(crate) struct View<'a> {
    pub(crate) node: &'a OwnNode,
    pub(crate) records: &'a Records,
    pub(crate) remote: Remote<'a>,
    /// Whether this agent is a server, whose `consul` service the leader registers.
    pub(crate) server: bool,
}

impl View<'_> {
    /// Every target that differs.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let mut services: HashSet<String> = self.records.service_keys().cloned().collect();
        services.extend(self.remote.services.keys().cloned());
        let mut checks: HashSet<String> = self.records.node_check_keys().cloned().collect();
        let node_checks = self.remote.checks.iter().filter(|(_, check)| check.service_id.is_empty());
        checks.extend(node_checks.map(|(key, _)| key.clone()));
        let remote_by_service = self.remote_checks_by_service();
        let all = std::iter::once(Target::Node)
            .chain(services.into_iter().map(Target::Service))
            .chain(checks.into_iter().map(Target::Check));
        let mut differing: Vec<Target> =
            all.filter(|target| self.plan_with(target, Mode::Compare, &remote_by_service) != Plan::InSync).collect();
        differing.sort_unstable();
        differing
    }

    /// What is to be done for one target.
    pub(crate) fn plan(&self, target: &Target, mode: Mode) -> Plan {
        self.plan_with(target, mode, &self.remote_checks_by_service())
    }

    fn remote_checks_by_service(&self) -> HashMap<String, Vec<&Arc<Check>>> {
        let mut by_service: HashMap<String, Vec<&Arc<Check>>> = HashMap::new();
        for check in self.remote.checks.values().filter(|check| !check.service_id.is_empty()) {
            by_service.entry(fold(&check.service_id)).or_default().push(check);
        }
        by_service
    }

    fn plan_with(&self, target: &Target, mode: Mode, by_service: &HashMap<String, Vec<&Arc<Check>>>) -> Plan {
        match target {
            Target::Node if self.node_is_shown() => Plan::InSync,
            Target::Node => Plan::Propose(vec![Command::Register(self.node.registration())]),
            Target::Check(key) => self.plan_check(key),
            Target::Service(key) => {
                self.plan_service(key, mode, by_service.get(key).map(Vec::as_slice).unwrap_or_default())
            }
        }
    }

    fn plan_check(&self, key: &str) -> Plan {
        let remote = self.remote.checks.get(key).copied();
        match (self.records.check(key), remote) {
            (Some(local), Some(remote)) if check_is_shown(local, remote) => Plan::InSync,
            (Some(local), _) => Plan::Propose(vec![self.register(None, vec![(**local).clone()])]),
            (None, Some(remote)) if !remote.id.eq_ignore_ascii_case(SERF_HEALTH) => {
                Plan::Propose(vec![self.deregister("", &remote.id)])
            }
            (None, _) => Plan::InSync,
        }
    }

    fn plan_service(&self, key: &str, mode: Mode, remote_checks: &[&Arc<Check>]) -> Plan {
        let remote = self.remote.services.get(key).copied();
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
        self.plan_known_service(local, self.records.checks_of(key), remote, remote_checks)
    }

    fn plan_known_service<'c>(
        &self,
        local: &Arc<Service>,
        local_checks: impl Iterator<Item = &'c Arc<Check>>,
        remote: Option<&Arc<Service>>,
        remote_checks: &[&Arc<Check>],
    ) -> Plan {
        let shown = remote.is_some_and(|remote| service_is_shown(local, remote));
        // The catalog fills a check's service name and tags in when the check is registered: send them all along when
        // the service changes.
        let checks: Vec<Check> = local_checks
            .filter(|check| {
                let remote = self.remote.checks.get(&fold(&check.id));
                !shown || !remote.is_some_and(|remote| check_is_shown(check, remote))
            })
            .map(|check| (**check).clone())
            .collect();
        let mut commands = Vec::new();
        if !shown || !checks.is_empty() {
            commands.push(self.register((!shown).then(|| (**local).clone()), checks));
        }
        let surplus = remote_checks.iter().filter(|check| self.records.check(&fold(&check.id)).is_none());
        commands.extend(surplus.map(|check| self.deregister("", &check.id)));
        if commands.is_empty() { Plan::InSync } else { Plan::Propose(commands) }
    }

    fn node_is_shown(&self) -> bool {
        self.remote.entry.is_some_and(|entry| self.node.is_shown_by(&entry.node))
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
        && local.enable_tag_override == remote.enable_tag_override
}

/// Whether the catalog's check is the one declared, whatever it fills in itself.
pub(crate) fn check_is_shown(local: &Check, remote: &Check) -> bool {
    local.id == remote.id
        && local.name == remote.name
        && local.status == remote.status
        && local.notes == remote.notes
        && local.output == remote.output
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
