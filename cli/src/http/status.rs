//! `/v1/status/…` and `/v1/operator/raft/…`: who leads and who votes.

use serde::Serialize;
use usher_cluster::raft::Peer;

use super::{
    context::Cx,
    query::{self, QueryOptions},
    reply::{Failure, Reply},
};

/// Consul's number for the way its servers speak of each other; ours name each other by id as well.
const PROTOCOL_VERSION: &str = "3";

/// `GET /v1/status/leader`: its address, or an empty text.
pub(super) async fn leader(cx: Cx) -> Result<Reply, Failure> {
    cx.route()?;
    Reply::json(&cx.api.agent.status().leader.unwrap_or_default())
}

/// `GET /v1/status/peers`: the addresses of the servers.
pub(super) async fn peers(cx: Cx) -> Result<Reply, Failure> {
    cx.route()?;
    let status = cx.api.agent.status();
    let addresses: Vec<&str> = status.peers.iter().map(|peer| peer.address.as_str()).collect();
    Reply::json(&addresses)
}

/// `GET /v1/operator/raft/configuration`: the servers and their parts.
pub(super) async fn raft_configuration(cx: Cx) -> Result<Reply, Failure> {
    let options = QueryOptions::parse(&cx.params, &cx.cache_control, &cx.options)?;
    cx.route()?;
    query::confirm(&cx, options.consistency).await?;
    let status = cx.api.agent.status();
    Reply::json(&ConfigurationView {
        servers: status.peers.iter().map(ServerView::from).collect(),
        index: status.configuration_index,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigurationView<'a> {
    servers: Vec<ServerView<'a>>,
    index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServerView<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    node: &'a str,
    address: &'a str,
    leader: bool,
    protocol_version: &'static str,
    voter: bool,
}

impl<'a> From<&'a Peer> for ServerView<'a> {
    fn from(peer: &'a Peer) -> Self {
        Self {
            id: &peer.node_id,
            node: &peer.node_name,
            address: &peer.address,
            leader: peer.leader,
            protocol_version: PROTOCOL_VERSION,
            voter: peer.voter,
        }
    }
}
