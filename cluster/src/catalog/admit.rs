//! Whether a registration may be applied, and what it does to its node. Reads only.
//!
//! The texts of refusals are those Consul's clients know.

use super::{
    command::{Refusal, Registration},
    entry::NodeEntry,
    key::{Key, fold},
    model::{Node, SERF_HEALTH, Service, Status},
    state::State,
};

/// Most metadata pairs of an instance.
const MOST_META_PAIRS: usize = 64;
/// Longest metadata key, in bytes.
const LONGEST_META_KEY: usize = 128;
/// Longest metadata value, in bytes.
const LONGEST_META_VALUE: usize = 512;
/// Keys that begin so are kept for the system.
const RESERVED_META_PREFIX: &str = "consul-";

/// What a registration does to its node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NodeStep {
    /// Nothing.
    Keep,
    /// Adds or replaces it.
    Put,
    /// The node had another name: removes that one with all it has, then adds or replaces this one.
    Rename {
        /// The name so far.
        from: Key,
    },
}

pub(super) fn admit(state: &State, registration: &Registration) -> Result<NodeStep, Refusal> {
    let name = fold(&registration.node);
    let known = state.nodes.get(&*name).map(|entry| &**entry);
    let step = admit_node(state, registration, known)?;
    if let Some(service) = &registration.service {
        admit_meta(service).map_err(|reason| {
            Refusal::Invalid(format!(
                "failed inserting service: Invalid Service Meta for node {} and serviceID {}: {reason}",
                registration.node, service.id
            ))
        })?;
    }
    for check in &registration.checks {
        let id = check.service_id.as_str();
        let comes = registration.service.as_ref().is_some_and(|service| service.id.eq_ignore_ascii_case(id));
        let there = known.is_some_and(|entry| entry.service(id).is_some());
        if !id.is_empty() && !comes && !there {
            return Err(Refusal::MissingService { node: registration.node.clone() });
        }
    }
    Ok(step)
}

fn admit_node(state: &State, registration: &Registration, known: Option<&NodeEntry>) -> Result<NodeStep, Refusal> {
    if known.is_some_and(|entry| registration.skip_node_update || same_node(registration, &entry.node)) {
        return Ok(NodeStep::Keep);
    }
    let id = registration.node_id.as_str();
    if id.is_empty() {
        return Ok(NodeStep::Put);
    }
    let Some(from) = state.node_ids.get(&*fold(id)) else {
        // A living node without an id may be given one.
        if let Some(holder) = known.filter(|entry| !entry.node.id.is_empty() && holds_its_name(entry, id)) {
            return Err(taken(registration, &format!("{id:?}"), &holder.node));
        }
        return Ok(NodeStep::Put);
    };
    if **from == *fold(&registration.node) {
        return Ok(NodeStep::Put);
    }
    if let Some(holder) = known.filter(|entry| holds_its_name(entry, id)) {
        return Err(taken(registration, &format!("{id:?} ({})", registration.address), &holder.node));
    }
    Ok(NodeStep::Rename { from: from.clone() })
}

/// Whether the node of that name is another one than `id`, and alive. One that no agent vouches for may be replaced.
fn holds_its_name(entry: &NodeEntry, id: &str) -> bool {
    let alive = entry.check(SERF_HEALTH).is_some_and(|check| check.status != Status::Critical);
    alive && !entry.node.id.eq_ignore_ascii_case(id)
}

fn taken(registration: &Registration, who: &str, holder: &Node) -> Refusal {
    Refusal::Conflict(format!(
        "failed inserting node: Error while renaming Node ID: {who}: Node name {} is reserved by node {} with name {} ({})",
        registration.node, holder.id, holder.name, holder.address
    ))
}

fn same_node(registration: &Registration, node: &Node) -> bool {
    (registration.node_id.is_empty() || registration.node_id == node.id)
        && registration.node == node.name
        && registration.address == node.address
        && registration.datacenter == node.datacenter
        && registration.tagged_addresses == node.tagged_addresses
        && registration.node_meta == node.meta
}

fn admit_meta(service: &Service) -> Result<(), String> {
    if service.meta.len() > MOST_META_PAIRS {
        return Err(format!("Node metadata cannot contain more than {MOST_META_PAIRS} key/value pairs"));
    }
    for (key, value) in &service.meta {
        admit_pair(key, value)
            .map_err(|reason| format!("Couldn't load metadata pair ('{key}', '{value}'): {reason}"))?;
    }
    Ok(())
}

fn admit_pair(key: &str, value: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("Key cannot be blank".into());
    }
    if !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        return Err("Key contains invalid characters".into());
    }
    if key.len() > LONGEST_META_KEY {
        return Err(format!("Key is too long (limit: {LONGEST_META_KEY} characters)"));
    }
    if key.starts_with(RESERVED_META_PREFIX) {
        return Err(format!("Key prefix '{RESERVED_META_PREFIX}' is reserved for internal use"));
    }
    if value.len() > LONGEST_META_VALUE {
        return Err(format!("Value is too long (limit: {LONGEST_META_VALUE} characters)"));
    }
    Ok(())
}
