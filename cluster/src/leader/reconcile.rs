//! Members against the catalog: which commands make it show who is there. Pure.
//!
//! ```text
//!   members (gossip) × State ─► for each member: nothing, or a command
//! ```
//!
//! | member | its node in the catalog |
//! |---|---|
//! | alive | is there, `serfHealth` passes; a server also has the `consul` service |
//! | failed | `serfHealth` is critical: none of its instances is answered |
//! | left, reaped | is removed with everything on it |
//! | leaving | stays as it is until it has left |
//!
//! The node's own facts (further addresses, metadata) are its agent's to register; here only what gossip knows. Nodes
//! without `serfHealth` were registered by hand, and are left alone.

use std::{collections::BTreeMap, sync::Arc};

use super::server::ServerMember;
use crate::{
    catalog::{
        NodeEntry, State,
        command::{Command, Deregistration, Registration},
        model::{Check, SERF_HEALTH, Service, Status},
    },
    local::sync::{CONSUL_SERVICE, check_is_shown, service_is_shown},
    membership::{Member, MemberStatus, protocol},
};

/// What this server knows of itself that others do not.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// Its node's name.
    pub(crate) name: String,
    /// Its datacenter.
    pub(crate) datacenter: String,
    /// Further addresses of its node.
    pub(crate) tagged_addresses: BTreeMap<String, String>,
    /// Its node's pairs at the start.
    pub(crate) meta: BTreeMap<String, String>,
}

/// The command that makes the catalog show `member` as it is, if it does not.
///
/// `consul_is_taken`: a user has registered a service of that id on the member's node, and is right.
pub(crate) fn correction(own: &Own, member: &Member, state: &State, consul_is_taken: bool) -> Option<Command> {
    let entry = state.node_entry(&member.name.to_ascii_lowercase()).map(AsRef::as_ref);
    match member.status {
        MemberStatus::Alive => alive(own, member, entry, consul_is_taken),
        MemberStatus::Failed => failed(own, member, entry?),
        MemberStatus::Left => gone(own, &member.name, entry?, Some(member)),
        MemberStatus::Leaving | MemberStatus::None => None,
    }
}

/// The command that removes the node of a member that was reaped: gossip no longer knows it.
pub(crate) fn reaped(own: &Own, name: &str, state: &State) -> Option<Command> {
    gone(own, name, state.node_entry(&name.to_ascii_lowercase())?, None)
}

/// The command that makes a node nobody has heard of lately critical, if an agent stood for it.
pub(crate) fn absent(own: &Own, entry: &NodeEntry) -> Option<Command> {
    let node = &entry.node;
    set_critical(own, &node.name, &node.id, &node.address, entry)
}

fn alive(own: &Own, member: &Member, entry: Option<&NodeEntry>, consul_is_taken: bool) -> Option<Command> {
    let id = member.id();
    // The agent itself tells the rest of its node; of a known node only what says who and where it is counts here.
    let node_shown =
        entry.is_some_and(|it| it.node.id.eq_ignore_ascii_case(id) && it.node.address == member.address.to_string());
    let health = health(&member.name, Status::Passing, "Agent alive and reachable");
    let health_shown = entry.and_then(|it| it.check(SERF_HEALTH)).is_some_and(|check| check_is_shown(&health, check));
    let service = ServerMember::of(member).map(|server| service(&server)).filter(|_| !consul_is_taken);
    let service = service.filter(|service| {
        !entry.and_then(|it| it.service(CONSUL_SERVICE)).is_some_and(|shown| service_is_shown(service, shown))
    });
    if node_shown && health_shown && service.is_none() {
        return None;
    }
    let checks = if health_shown { Vec::new() } else { vec![health] };
    let mut registration = registration(own, &member.name, id, &member.address.to_string());
    registration.skip_node_update = node_shown;
    if let Some(known) = entry.filter(|it| it.node.id.eq_ignore_ascii_case(id)) {
        registration.tagged_addresses.clone_from(&known.node.tagged_addresses);
        registration.node_meta.clone_from(&known.node.meta);
    } else if member.name.eq_ignore_ascii_case(&own.name) {
        // Of this server's own node everything is known: it need not be written a second time.
        registration.tagged_addresses.clone_from(&own.tagged_addresses);
        registration.node_meta.clone_from(&own.meta);
    }
    Some(Command::Register(Registration { service, checks, ..registration }))
}

fn failed(own: &Own, member: &Member, entry: &NodeEntry) -> Option<Command> {
    if !entry.node.id.eq_ignore_ascii_case(member.id()) {
        return None;
    }
    set_critical(own, &member.name, member.id(), &member.address.to_string(), entry)
}

fn set_critical(own: &Own, name: &str, id: &str, address: &str, entry: &NodeEntry) -> Option<Command> {
    let critical = health(name, Status::Critical, "Agent not live or unreachable");
    let shown = entry.check(SERF_HEALTH)?;
    if check_is_shown(&critical, shown) {
        return None;
    }
    let mut registration = registration(own, name, id, address);
    registration.skip_node_update = true;
    Some(Command::Register(Registration { checks: vec![critical], ..registration }))
}

fn gone(own: &Own, name: &str, entry: &NodeEntry, member: Option<&Member>) -> Option<Command> {
    let vouched_for = entry.check(SERF_HEALTH).is_some();
    let same = member.is_none_or(|member| entry.node.id.eq_ignore_ascii_case(member.id()));
    if !vouched_for || !same || name.eq_ignore_ascii_case(&own.name) {
        return None;
    }
    Some(Command::Deregister(Deregistration { node: name.to_owned(), ..Deregistration::default() }))
}

fn registration(own: &Own, name: &str, id: &str, address: &str) -> Registration {
    Registration {
        node_id: id.to_owned(),
        node: name.to_owned(),
        address: address.to_owned(),
        datacenter: own.datacenter.clone(),
        ..Registration::default()
    }
}

fn health(node: &str, status: Status, output: &str) -> Check {
    Check {
        node: node.to_owned(),
        id: SERF_HEALTH.to_owned(),
        name: "Serf Health Status".to_owned(),
        status,
        output: output.to_owned(),
        ..Check::default()
    }
}

/// The service by which servers find each other.
fn service(server: &ServerMember) -> Service {
    let meta = [
        ("non_voter", "false"),
        ("raft_version", protocol::RAFT),
        ("serf_protocol_current", protocol::SERF_CURRENT),
        ("serf_protocol_max", protocol::SERF_MAX),
        ("serf_protocol_min", protocol::SERF_MIN),
        ("version", &server.version),
    ];
    Service {
        id: CONSUL_SERVICE.to_owned(),
        name: CONSUL_SERVICE.to_owned(),
        port: i64::from(server.address.port()),
        meta: meta.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>(),
        ..Service::default()
    }
}

/// Everything a leader has to write now, in order: members first, then who is missing.
///
/// `taken` says whether the user registered a `consul` service of his own here. `missing` are the nodes an agent once
/// vouched for and gossip does not know: what is to become of them is the caller's to decide.
pub(crate) fn plan(own: &Own, members: &[Member], state: &State, taken: bool) -> Plan {
    let mut commands = Vec::new();
    for member in members {
        let mine = member.name.eq_ignore_ascii_case(&own.name);
        commands.extend(correction(own, member, state, mine && taken).map(|command| (member.name.clone(), command)));
    }
    let known = |entry: &NodeEntry| members.iter().any(|member| member.name.eq_ignore_ascii_case(&entry.node.name));
    let missing = state.vouched_for().filter(|entry| !known(entry)).cloned().collect();
    Plan { commands, missing }
}

/// What [`plan`] found.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Commands by the member's name.
    pub(crate) commands: Vec<(String, Command)>,
    /// Nodes with `serfHealth` that are no members.
    pub(crate) missing: Vec<Arc<NodeEntry>>,
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
