//! The servers' part of the leader's duties: looks at them again and again, tells operators, and takes autopilot's steps.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use super::{
    Duties,
    autopilot::{Health, Progress, Scene, Step},
    server::ServerMember,
};
use crate::{
    agent::ClusterHealth,
    raft::Peer,
    rpc::message::{Founder, Identity, Request, Response},
};

/// How often the servers are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long a server may take to say who it is.
const IDENTIFY_DEADLINE: Duration = Duration::from_secs(2);
/// How long after a fruitless meeting the next one is tried.
const MEET_AGAIN: Duration = Duration::from_secs(10);

/// What autopilot thinks of the servers, while this one leads. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct HealthReport(Arc<ArcSwapOption<ClusterHealth>>);

impl HealthReport {
    /// The newest report.
    pub(crate) fn get(&self) -> Option<ClusterHealth> {
        self.0.load().as_deref().cloned()
    }

    pub(super) fn clear(&self) {
        self.0.store(None);
    }
}

/// Keeps the configuration of consensus in line with the servers there are, for as long as it is awaited.
pub(super) async fn keep_servers(duties: &Duties) {
    let mut health = Health::default();
    let mut met = Meetings::default();
    let mut members = duties.members.clone();
    loop {
        let step = look(duties, &mut health, &met);
        let taken = match step {
            None => false,
            Some(step) => take(duties, step, &mut met).await,
        };
        if taken {
            continue;
        }
        tokio::select! {
            changed = members.changed() => if changed.is_err() { return std::future::pending().await },
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// Looks at everything once: tells operators, and says what is to be done.
fn look(duties: &Duties, health: &mut Health, met: &Meetings) -> Option<Step> {
    let status = duties.consensus.status();
    if !status.is_leader {
        return None;
    }
    let servers = servers_of(duties);
    let progress: Vec<Progress> = duties
        .consensus
        .peer_progress()
        .into_iter()
        .map(|peer| Progress {
            raft_id: peer.raft_id,
            matched_index: peer.matched_index,
            last_contact: peer.last_contact,
        })
        .collect();
    let state = duties.catalog.state();
    let scene = Scene {
        config: &state.autopilot().config,
        members: &servers,
        peers: &status.peers,
        progress: &progress,
        last_index: status.last_log_index,
        term: status.term,
        now: Instant::now(),
        wall: crate::clock::now(),
    };
    let report = health.observe(&scene);
    tell_changes(duties.report.0.load().as_deref(), &report);
    duties.report.0.store(Some(Arc::new(report)));
    health.step(&scene, |member| met.may(member.address, scene.now))
}

/// Logs which servers are healthy or unhealthy now and were not before.
fn tell_changes(before: Option<&ClusterHealth>, now: &ClusterHealth) {
    for server in &now.servers {
        let known = before.and_then(|before| before.servers.iter().find(|it| it.id == server.id));
        match (known.map(|it| it.healthy), server.healthy) {
            (Some(true), false) => tracing::warn!(
                target: "agent.server.autopilot",
                "server is unhealthy: name={} address={} gossip={} last_contact={:?}",
                server.name, server.address, server.status.as_str(), server.last_contact
            ),
            (Some(false), true) => tracing::info!(
                target: "agent.server.autopilot",
                "server is healthy again: name={} address={}",
                server.name, server.address
            ),
            _ => {}
        }
    }
}

/// The servers of this datacenter.
fn servers_of(duties: &Duties) -> Vec<ServerMember> {
    let members = duties.members.borrow();
    let servers = members.iter().filter_map(ServerMember::of);
    servers.filter(|server| server.datacenter == duties.own.datacenter).collect()
}

/// Takes a step; says whether something changed, so that it is worth looking again at once.
async fn take(duties: &Duties, step: Step, met: &mut Meetings) -> bool {
    let result = match &step {
        Step::Meet(server) => {
            met.note(server.address, Instant::now());
            meet(duties, server).await
        }
        Step::Promote(raft_id) => duties.consensus.promote(*raft_id).await.map_err(|error| error.to_string()),
        Step::Remove { raft_id, reason } => {
            tracing::info!(target: "agent.server.autopilot", raft_id, "removing a server: {reason}");
            duties.consensus.remove(*raft_id).await.map_err(|error| error.to_string())
        }
    };
    match result {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(target: "agent.server.autopilot", %error, "cannot change the servers yet: {step:?}");
            false
        }
    }
}

/// Asks a server who it is, and takes it in, or brings what is known of it up to date.
async fn meet(duties: &Duties, server: &ServerMember) -> Result<(), String> {
    let answer = duties.connections.call(server.address, &Request::Identify, IDENTIFY_DEADLINE).await;
    let Response::Identity(identity) = answer.map_err(|error| error.to_string())? else {
        return Err(format!("server {} at {} does not say who it is", server.name, server.address));
    };
    let peers = duties.consensus.status().peers;
    judge(server, &identity, &peers)?;
    let Identity { server: found, .. } = identity;
    if let Some(known) = peers.iter().find(|peer| peer.id == found.raft_id) {
        return match is_shown(known, &found) {
            true => Ok(()),
            false => duties.consensus.update_server(&found).await.map_err(|error| error.to_string()),
        };
    }
    // A wiped server comes as a new one; its old self cannot come back and would only count against the quorum.
    for old in peers.iter().filter(|peer| peer.node_id.eq_ignore_ascii_case(&found.node_id)) {
        duties.consensus.remove(old.id).await.map_err(|error| error.to_string())?;
    }
    tracing::info!(
        target: "agent.server",
        "adding server: name={} address={} raft_id={}",
        found.name, found.address, found.raft_id
    );
    duties.consensus.add_learner(&found).await.map_err(|error| error.to_string())
}

/// Whether a server may be taken in.
fn judge(server: &ServerMember, identity: &Identity, peers: &[Peer]) -> Result<(), String> {
    let found = &identity.server;
    if !found.node_id.eq_ignore_ascii_case(&server.node_id) {
        return Err(format!(
            "at {} answers node {} ({}), but {} ({}) is expected there",
            server.address, found.name, found.node_id, server.name, server.node_id
        ));
    }
    let related = identity.peers.iter().any(|id| peers.iter().any(|peer| peer.id == *id));
    if !identity.pristine && !identity.peers.is_empty() && !related {
        return Err(format!(
            "server {} at {} belongs to another cluster; to take it into this one, stop it and remove its raft folder",
            found.name, server.address
        ));
    }
    Ok(())
}

fn is_shown(known: &Peer, found: &Founder) -> bool {
    known.node_id == found.node_id && known.node_name == found.name && known.address == found.address
}

/// When which server was met last: one that cannot be taken in is not asked all the time.
#[derive(Debug, Default)]
struct Meetings(HashMap<SocketAddr, Instant>);

impl Meetings {
    fn may(&self, address: SocketAddr, now: Instant) -> bool {
        self.0.get(&address).is_none_or(|last| now.duration_since(*last) >= MEET_AGAIN)
    }

    /// Forgets meetings that no longer matter, so that there are never more than servers met lately.
    fn note(&mut self, address: SocketAddr, now: Instant) {
        self.0.retain(|_, last| now.duration_since(*last) < MEET_AGAIN);
        self.0.insert(address, now);
    }
}
