//! Autopilot: how healthy the servers are, and what that means for who is asked and who votes. Pure.
//!
//! ```text
//!   members × configuration × progress × time ─► Health ─► ClusterHealth (for operators)
//!                                                  └─────► Steps: add, promote, remove, one at a time
//! ```
//!
//! | a server | becomes |
//! |---|---|
//! | alive, not in the configuration | a learner, once it has said who it is |
//! | a learner, healthy for the stabilisation time | a voter |
//! | left | removed |
//! | failed, with `cleanup_dead_servers` | removed, if fewer than half of the voters are so and `min_quorum` stay |
//! | wiped: the same node or address under another raft id | the old one is removed |
//!
//! Every step leaves a quorum of living voters, or is not taken.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::server::ServerMember;
use crate::{
    agent::{ClusterHealth, ServerHealth},
    catalog::autopilot::AutopilotConfig,
    membership::MemberStatus,
    raft::Peer,
};

/// A server gossip does not know counts as dead after that time.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// A living server consensus has not heard of for that long is asked who it is.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// What the leader knows of one server of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The raft id.
    pub(crate) raft_id: u64,
    /// The last entry it is known to have.
    pub(crate) matched_index: u64,
    /// How long ago it was last heard of; zero for the leader itself.
    pub(crate) last_contact: Option<Duration>,
}

/// One look at the cluster.
pub(crate) struct Scene<'a> {
    pub(crate) config: &'a AutopilotConfig,
    /// The servers of this datacenter gossip knows, in any status.
    pub(crate) members: &'a [ServerMember],
    /// The configuration of consensus.
    pub(crate) peers: &'a [Peer],
    /// Of every peer, as far as the leader knows.
    pub(crate) progress: &'a [Progress],
    /// The leader's last entry.
    pub(crate) last_index: u64,
    /// The leader's term.
    pub(crate) term: u64,
    pub(crate) now: Instant,
    pub(crate) wall: SystemTime,
}

/// What is to be done next with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask this server who it is, then add it (or learn that it moved).
    Meet(ServerMember),
    /// Give it a vote.
    Promote(u64),
    /// Take it out.
    Remove {
        /// Its raft id.
        raft_id: u64,
        /// Why, for the log.
        reason: &'static str,
    },
}

/// Since when which server is how healthy.
#[derive(Debug, Default)]
pub(crate) struct Health {
    servers: HashMap<u64, Since>,
}

#[derive(Clone, Copy, Debug)]
struct Since {
    healthy: bool,
    at: Instant,
    wall: SystemTime,
}

impl Health {
    /// Takes in one look; says what operators are told.
    pub(crate) fn observe(&mut self, scene: &Scene<'_>) -> ClusterHealth {
        self.servers.retain(|id, _| scene.peers.iter().any(|peer| peer.id == *id));
        let servers: Vec<ServerHealth> = scene.peers.iter().map(|peer| self.observe_one(scene, peer)).collect();
        let voters: Vec<_> = servers.iter().filter(|server| server.voter).collect();
        let healthy_voters = voters.iter().filter(|server| server.healthy).count();
        let quorum = voters.len() / 2 + 1;
        ClusterHealth {
            healthy: servers.iter().all(|server| server.healthy),
            failure_tolerance: healthy_voters.saturating_sub(quorum),
            servers,
        }
    }

    fn observe_one(&mut self, scene: &Scene<'_>, peer: &Peer) -> ServerHealth {
        let member = scene.member_of(peer);
        let progress = scene.progress.iter().find(|progress| progress.raft_id == peer.id);
        let healthy = scene.is_healthy(peer, member, progress);
        let fresh = Since { healthy, at: scene.now, wall: scene.wall };
        let since = self.servers.entry(peer.id).or_insert(fresh);
        if since.healthy != healthy {
            *since = fresh;
        }
        ServerHealth {
            id: peer.node_id.clone(),
            name: peer.node_name.clone(),
            address: peer.address.clone(),
            status: member.map_or(MemberStatus::None, |member| member.status),
            version: member.map_or_else(String::new, |member| member.version.clone()),
            leader: peer.leader,
            last_contact: if peer.leader { Some(Duration::ZERO) } else { progress.and_then(|it| it.last_contact) },
            last_term: scene.term,
            last_index: if peer.leader { scene.last_index } else { progress.map_or(0, |it| it.matched_index) },
            healthy,
            voter: peer.voter,
            stable_since: since.wall,
        }
    }

    /// The next step, if one is due. One at a time: each is seen through before the next look. `may_meet` says whom it
    /// makes sense to ask again.
    pub(crate) fn step(&self, scene: &Scene<'_>, may_meet: impl Fn(&ServerMember) -> bool) -> Option<Step> {
        self.removal(scene).or_else(|| self.promotion(scene)).or_else(|| scene.stranger(may_meet))
    }

    fn promotion(&self, scene: &Scene<'_>) -> Option<Step> {
        let founding = scene.config.server_stabilization_time;
        let ready = |peer: &&Peer| {
            !peer.voter
                && self
                    .servers
                    .get(&peer.id)
                    .is_some_and(|since| since.healthy && scene.now.duration_since(since.at) >= founding)
        };
        scene.peers.iter().find(ready).map(|peer| Step::Promote(peer.id))
    }

    fn removal(&self, scene: &Scene<'_>) -> Option<Step> {
        let others = || scene.peers.iter().filter(|peer| !peer.leader);
        let removable = |peer: &&Peer| !peer.voter || scene.keeps_quorum_without(peer);
        let left = others().filter(|peer| scene.status_of(peer) == Some(MemberStatus::Left)).find(removable);
        if let Some(peer) = left {
            return Some(Step::Remove { raft_id: peer.id, reason: "it left" });
        }
        if let Some(peer) = others().filter(|peer| scene.is_replaced(peer)).find(removable) {
            return Some(Step::Remove { raft_id: peer.id, reason: "another server has taken its place" });
        }
        if !scene.config.cleanup_dead_servers {
            return None;
        }
        let failed: Vec<&Peer> = others().filter(|peer| peer.voter && self.is_dead(scene, peer)).collect();
        let voters = scene.peers.iter().filter(|peer| peer.voter).count();
        let stay = voters.saturating_sub(failed.len());
        let few = failed.len() < voters / 2;
        let enough = scene.config.min_quorum == 0 || stay as u64 >= scene.config.min_quorum;
        if !few || !enough {
            return None;
        }
        let dead = failed.into_iter().find(removable)?;
        Some(Step::Remove { raft_id: dead.id, reason: "it failed" })
    }
}

impl Health {
    /// Whether gossip declared it dead, or has long forgotten it.
    fn is_dead(&self, scene: &Scene<'_>, peer: &Peer) -> bool {
        match scene.status_of(peer) {
            Some(status) => status == MemberStatus::Failed,
            None => self
                .servers
                .get(&peer.id)
                .is_some_and(|since| !since.healthy && scene.now.duration_since(since.at) >= FORGOTTEN_AFTER),
        }
    }
}

impl Scene<'_> {
    fn member_of(&self, peer: &Peer) -> Option<&ServerMember> {
        self.members.iter().find(|member| member.node_id.eq_ignore_ascii_case(&peer.node_id))
    }

    fn status_of(&self, peer: &Peer) -> Option<MemberStatus> {
        self.member_of(peer).map(|member| member.status)
    }

    fn is_healthy(&self, peer: &Peer, member: Option<&ServerMember>, progress: Option<&Progress>) -> bool {
        if peer.leader {
            return true;
        }
        let alive = member.is_some_and(ServerMember::is_alive);
        let close = progress.is_some_and(|progress| {
            let heard = progress.last_contact.is_some_and(|ago| ago <= self.config.last_contact_threshold);
            heard && self.last_index.saturating_sub(progress.matched_index) <= self.config.max_trailing_logs
        });
        alive && close
    }

    /// Whether the voters that stay without `peer` have a quorum among those heard of.
    fn keeps_quorum_without(&self, peer: &Peer) -> bool {
        let stay: Vec<&Peer> = self.peers.iter().filter(|other| other.voter && other.id != peer.id).collect();
        let alive = stay.iter().filter(|other| other.leader || self.status_of(other) == Some(MemberStatus::Alive));
        !stay.is_empty() && alive.count() > stay.len() / 2
    }

    /// Whether another living node stands where this server was: its host was wiped.
    fn is_replaced(&self, peer: &Peer) -> bool {
        let at = peer.address.parse::<SocketAddr>().ok();
        self.member_of(peer).is_none()
            && self.members.iter().any(|member| {
                member.is_alive() && (member.name.eq_ignore_ascii_case(&peer.node_name) || Some(member.address) == at)
            })
    }

    /// A living server the configuration does not show as it is, or that consensus does not hear of although it lives:
    /// it may have lost its log.
    fn stranger(&self, may_meet: impl Fn(&ServerMember) -> bool) -> Option<Step> {
        let silent = |peer: &Peer| {
            let progress = self.progress.iter().find(|progress| progress.raft_id == peer.id);
            !peer.leader && progress.and_then(|it| it.last_contact).is_none_or(|ago| ago >= SILENT_AFTER)
        };
        let shown = |member: &ServerMember| {
            self.peers.iter().any(|peer| {
                peer.node_id.eq_ignore_ascii_case(&member.node_id)
                    && peer.node_name == member.name
                    && peer.address.parse() == Ok::<SocketAddr, _>(member.address)
                    && !silent(peer)
            })
        };
        let unknown = |member: &&ServerMember| member.is_alive() && !shown(member) && may_meet(member);
        self.members.iter().find(unknown).cloned().map(Step::Meet)
    }
}

#[cfg(test)]
#[path = "autopilot_tests.rs"]
mod tests;
