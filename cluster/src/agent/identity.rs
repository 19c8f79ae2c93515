//! Who this agent is: the facts of its own node, as the catalog shows them.

use std::{collections::BTreeMap, net::IpAddr};

use super::Options;
use crate::catalog::{command::Registration, model::Node};

/// The facts of this agent's node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnNode {
    /// The node's name.
    pub(crate) name: String,
    /// The node's UUID.
    pub(crate) id: String,
    /// The advertised address.
    pub(crate) address: String,
    /// The datacenter.
    pub(crate) datacenter: String,
    /// Further addresses by purpose.
    pub(crate) tagged_addresses: BTreeMap<String, String>,
    /// The node's pairs.
    pub(crate) meta: BTreeMap<String, String>,
}

impl OwnNode {
    /// The node `options` describe, with the id it has.
    pub(crate) fn new(options: &Options, id: &str) -> Self {
        let mut tagged_addresses = options.tagged_addresses.clone();
        tag(&mut tagged_addresses, "lan", options.advertise);
        tag(&mut tagged_addresses, "wan", options.advertise_wan);
        Self {
            name: options.node_name.clone(),
            id: id.to_owned(),
            address: options.advertise.to_string(),
            datacenter: options.datacenter.clone(),
            tagged_addresses,
            meta: with_segment(options.node_meta.clone()),
        }
    }

    /// Takes other pairs from the user.
    pub(crate) fn set_meta(&mut self, meta: BTreeMap<String, String>) {
        self.meta = with_segment(meta);
    }

    /// A registration of this node with nothing on it.
    pub(crate) fn registration(&self) -> Registration {
        Registration {
            node_id: self.id.clone(),
            node: self.name.clone(),
            address: self.address.clone(),
            datacenter: self.datacenter.clone(),
            tagged_addresses: self.tagged_addresses.clone(),
            node_meta: self.meta.clone(),
            ..Registration::default()
        }
    }

    /// Whether the catalog shows this node as it is.
    pub(crate) fn is_shown_by(&self, node: &Node) -> bool {
        self.id == node.id
            && self.name == node.name
            && self.address == node.address
            && self.tagged_addresses == node.tagged_addresses
            && self.meta == node.meta
    }
}

/// The user's pairs and the one Consul's agents always tell.
fn with_segment(mut meta: BTreeMap<String, String>) -> BTreeMap<String, String> {
    meta.insert("consul-network-segment".to_owned(), String::new());
    meta
}

/// Adds an address under its purpose, and under its purpose with its family.
fn tag(addresses: &mut BTreeMap<String, String>, purpose: &str, address: IpAddr) {
    let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
    addresses.insert(purpose.to_owned(), address.to_string());
    addresses.insert(format!("{purpose}_{family}"), address.to_string());
}
