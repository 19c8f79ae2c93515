//! The parts of the agent's answers that commands show. Unknown fields are passed over, missing ones and `null` count as
//! empty, so that agents of other versions can be asked. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// A member of a gossip pool (`/v1/agent/members`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Member {
    /// Its name.
    #[serde(deserialize_with = "or_empty")]
    pub name: String,
    /// Its address.
    #[serde(deserialize_with = "or_empty")]
    pub addr: String,
    /// Its gossip port.
    pub port: u16,
    /// What it tells of itself.
    #[serde(deserialize_with = "or_empty")]
    pub tags: BTreeMap<String, String>,
    /// Serf's number of its status.
    pub status: i64,
}

/// A node (`/v1/catalog/nodes`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Node {
    /// Its UUID.
    #[serde(rename = "ID", deserialize_with = "or_empty")]
    pub id: String,
    /// Its name.
    #[serde(deserialize_with = "or_empty")]
    pub node: String,
    /// Its address.
    #[serde(deserialize_with = "or_empty")]
    pub address: String,
    /// Where it is.
    #[serde(deserialize_with = "or_empty")]
    pub datacenter: String,
    /// Its further addresses.
    #[serde(deserialize_with = "or_empty")]
    pub tagged_addresses: BTreeMap<String, String>,
    /// Its pairs; lists of instances call them `NodeMeta`.
    #[serde(alias = "NodeMeta", deserialize_with = "or_empty")]
    pub meta: BTreeMap<String, String>,
}

/// The services of one node (`/v1/catalog/node/:name`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeServices {
    /// By id.
    #[serde(deserialize_with = "or_empty")]
    pub services: BTreeMap<String, NodeService>,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeService {
    /// Its name.
    #[serde(deserialize_with = "or_empty")]
    pub service: String,
    /// Its labels.
    #[serde(deserialize_with = "or_empty")]
    pub tags: Vec<String>,
}

/// A check (`/v1/agent/checks`, `/v1/health/…`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Check {
    /// Its node's name.
    #[serde(deserialize_with = "or_empty")]
    pub node: String,
    /// Its id.
    #[serde(rename = "CheckID", deserialize_with = "or_empty")]
    pub check_id: String,
    /// For people.
    #[serde(deserialize_with = "or_empty")]
    pub notes: String,
    /// The service checked; empty for the node.
    #[serde(rename = "ServiceID", deserialize_with = "or_empty")]
    pub service_id: String,
}

/// The agent of itself (`/v1/agent/self`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AgentSelf {
    /// Figures by group and name.
    #[serde(deserialize_with = "or_empty")]
    pub stats: BTreeMap<String, BTreeMap<String, String>>,
}

/// The servers that agree on the catalog (`/v1/operator/raft/configuration`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RaftConfiguration {
    /// The servers.
    #[serde(deserialize_with = "or_empty")]
    pub servers: Vec<RaftServer>,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RaftServer {
    /// Its id in the cluster.
    #[serde(rename = "ID", deserialize_with = "or_empty")]
    pub id: String,
    /// The node's name.
    #[serde(deserialize_with = "or_empty")]
    pub node: String,
    /// Where the others reach it.
    #[serde(deserialize_with = "or_empty")]
    pub address: String,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it has a vote.
    pub voter: bool,
    /// The protocol it speaks.
    #[serde(deserialize_with = "or_empty")]
    pub protocol_version: String,
}

/// The settings of autopilot (`/v1/operator/autopilot/configuration`); durations as Go writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AutopilotConfiguration {
    /// Whether failed servers are removed.
    pub cleanup_dead_servers: bool,
    /// How long a server may be silent.
    pub last_contact_threshold: String,
    /// How many entries a server may be behind.
    pub max_trailing_logs: u64,
    /// How many servers stay at least.
    pub min_quorum: u64,
    /// How long a new server must be healthy before it votes.
    pub server_stabilization_time: String,
    /// Of the enterprise edition.
    pub redundancy_zone_tag: String,
    /// Of the enterprise edition.
    pub disable_upgrade_migration: bool,
    /// Of the enterprise edition.
    pub upgrade_version_tag: String,
    /// The index that last changed them.
    pub modify_index: u64,
}

/// The keys of one pool (`/v1/operator/keyring`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PoolKeys {
    /// Whether it is the pool between datacenters.
    #[serde(rename = "WAN")]
    pub wan: bool,
    /// Which datacenter's.
    #[serde(deserialize_with = "or_empty")]
    pub datacenter: String,
    /// Which part of it.
    #[serde(deserialize_with = "or_empty")]
    pub segment: String,
    /// What members said.
    #[serde(deserialize_with = "or_empty")]
    pub messages: BTreeMap<String, String>,
    /// How many members have each key.
    #[serde(deserialize_with = "or_empty")]
    pub keys: BTreeMap<String, u64>,
    /// How many members encrypt with each key.
    #[serde(deserialize_with = "or_empty")]
    pub primary_keys: BTreeMap<String, u64>,
    /// How many members there are.
    pub num_nodes: u64,
}

/// Reads `null` as the empty value.
pub fn or_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_others_leave_out() {
        let node: Node = serde_json::from_str(r#"{"Node":"n","Meta":null,"New":{"x":1}}"#).unwrap();
        assert_eq!(node, Node { node: "n".into(), ..Node::default() });
        let node: Node = serde_json::from_str(r#"{"ID":"i","NodeMeta":{"a":"b"},"ServiceID":"s"}"#).unwrap();
        assert_eq!((node.id.as_str(), node.meta.len()), ("i", 1));
        let services: Option<NodeServices> = serde_json::from_str("null").unwrap();
        assert_eq!(services, None);
        let member: Member = serde_json::from_str(r#"{"Tags":null}"#).unwrap();
        assert_eq!(member, Member::default());
    }
}
