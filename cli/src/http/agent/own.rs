//! `GET /v1/agent/self`: the agent about itself, and the figures `usher info` prints.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use usher_cluster::{
    agent::{Agent, Options},
    local::LocalState,
    membership::{Member, MemberStatus},
    raft::Status,
};

use super::views::MemberView;
use crate::http::{
    context::Cx,
    reply::{Failure, Reply},
};

/// `GET /v1/agent/self`.
pub(in crate::http) async fn own(cx: Cx) -> Result<Reply, Failure> {
    let agent = &cx.api.agent;
    let options = agent.options();
    let members = agent.members_lan();
    let own = members.iter().find(|member| member.name.eq_ignore_ascii_case(&options.node_name));
    Reply::json(&SelfView {
        config: ConfigView {
            datacenter: &options.datacenter,
            node_name: &options.node_name,
            node_id: agent.node_id(),
            revision: "",
            server: options.server,
            version: &options.version,
        },
        debug_config: &cx.api.debug_config,
        coord: None,
        member: own.map(MemberView::from),
        stats: stats(agent, &members),
        meta: &options.node_meta,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SelfView<'a> {
    config: ConfigView<'a>,
    debug_config: &'a Value,
    /// `null`, as Consul says where coordinates are off: none are kept yet.
    coord: Option<()>,
    member: Option<MemberView<'a>>,
    stats: Stats,
    meta: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigView<'a> {
    datacenter: &'a str,
    node_name: &'a str,
    #[serde(rename = "NodeID")]
    node_id: &'a str,
    revision: &'a str,
    server: bool,
    version: &'a str,
}

/// Figures by section; all are texts.
type Stats = BTreeMap<&'static str, BTreeMap<&'static str, String>>;

fn stats(agent: &Agent, members: &[Member]) -> Stats {
    let local = agent.local().state();
    let status = agent.status();
    let options = agent.options();
    let mut stats = BTreeMap::from([
        (
            "agent",
            BTreeMap::from([
                ("check_monitors", of_kind(&local, &["script", "docker"])),
                ("check_ttls", of_kind(&local, &["ttl"])),
                ("checks", local.checks.len().to_string()),
                ("services", local.services.len().to_string()),
            ]),
        ),
        (
            "build",
            BTreeMap::from([
                ("prerelease", String::new()),
                ("revision", String::new()),
                ("version", options.version.clone()),
            ]),
        ),
        ("runtime", runtime_stats()),
        ("serf_lan", pool_stats(members)),
    ]);
    if options.server {
        stats.insert("consul", server_stats(options, &status, agent.router().datacenters().len()));
        stats.insert("raft", raft_stats(&status));
        stats.insert("serf_wan", pool_stats(&agent.members_wan()));
    } else {
        stats.insert("consul", client_stats(members));
    }
    stats
}

/// How many checks there are of these kinds.
fn of_kind(local: &LocalState, kinds: &[&str]) -> String {
    local.checks.values().filter(|check| kinds.contains(&check.kind.as_str())).count().to_string()
}

/// A client knows its servers by gossip.
fn client_stats(members: &[Member]) -> BTreeMap<&'static str, String> {
    let is_server = |member: &&Member| {
        member.status == MemberStatus::Alive && member.tags.get("role").is_some_and(|role| role == "consul")
    };
    BTreeMap::from([
        ("known_servers", members.iter().filter(is_server).count().to_string()),
        ("server", "false".to_owned()),
    ])
}

fn server_stats(options: &Options, status: &Status, datacenters: usize) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("bootstrap", (options.bootstrap_expect == 1).to_string()),
        ("known_datacenters", datacenters.to_string()),
        ("leader", status.is_leader.to_string()),
        ("leader_addr", status.leader.clone().unwrap_or_default()),
        ("server", options.server.to_string()),
    ])
}

fn raft_stats(status: &Status) -> BTreeMap<&'static str, String> {
    let servers: Vec<String> = status
        .peers
        .iter()
        .map(|peer| {
            let suffrage = if peer.voter { "Voter" } else { "Nonvoter" };
            format!("{{Suffrage:{suffrage} ID:{} Address:{}}}", peer.node_id, peer.address)
        })
        .collect();
    let others = status.peers.iter().filter(|peer| peer.voter).count().saturating_sub(1);
    BTreeMap::from([
        ("applied_index", status.applied_index.to_string()),
        ("commit_index", status.commit_index.to_string()),
        ("last_log_index", status.last_log_index.to_string()),
        ("last_log_term", status.last_log_term.to_string()),
        ("last_snapshot_index", status.last_snapshot_index.to_string()),
        ("latest_configuration", format!("[{}]", servers.join(" "))),
        ("num_peers", others.to_string()),
        ("state", status.role.to_owned()),
        ("term", status.term.to_string()),
    ])
}

fn runtime_stats() -> BTreeMap<&'static str, String> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).to_string();
    BTreeMap::from([
        ("arch", std::env::consts::ARCH.to_owned()),
        ("cpu_count", threads.clone()),
        ("max_procs", threads),
        ("os", std::env::consts::OS.to_owned()),
    ])
}

fn pool_stats(members: &[Member]) -> BTreeMap<&'static str, String> {
    let count = |status| members.iter().filter(|member| member.status == status).count().to_string();
    BTreeMap::from([
        ("failed", count(MemberStatus::Failed)),
        ("left", count(MemberStatus::Left)),
        ("members", members.len().to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use usher_cluster::raft::{Peer, Status};

    use super::raft_stats;

    #[test]
    fn consensus_in_texts() {
        let peer = |id: u64, voter| Peer {
            id,
            node_id: format!("n{id}"),
            node_name: String::new(),
            address: format!("10.0.0.{id}:8300"),
            leader: id == 1,
            voter,
        };
        let status = Status { peers: vec![peer(1, true), peer(2, true), peer(3, false)], term: 7, ..Status::default() };
        let stats = raft_stats(&status);
        assert_eq!(stats["term"], "7");
        assert_eq!(stats["num_peers"], "1");
        assert_eq!(
            stats["latest_configuration"],
            "[{Suffrage:Voter ID:n1 Address:10.0.0.1:8300} {Suffrage:Voter ID:n2 Address:10.0.0.2:8300} {Suffrage:Nonvoter ID:n3 Address:10.0.0.3:8300}]"
        );
    }
}
