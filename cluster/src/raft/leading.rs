//! What the leader does for others, and what everybody knows of it: proposals that are tried once, indexes for
//! linearizable reads, progress of the followers, and who leads.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use openraft::{
    Instant as _, ReadPolicy,
    async_runtime::watch::WatchReceiver as _,
    errors::{ClientWriteError, LinearizableReadError, RaftError},
};
use tokio::time::{Instant, timeout_at};

use super::{
    Applied, Consensus, RaftMetrics, ServerState, current,
    types::{Proposal, Server},
};
use crate::catalog::command::Command;

/// Why something only a leader does was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TryError {
    /// This server does not lead; the address is the leader's, where one is known. Nothing was done.
    #[error("not the leader")]
    NotLeader(Option<SocketAddr>),
    /// Leadership was lost meanwhile: it may or may not have been done.
    #[error("leadership lost while committing log")]
    Unsure,
    /// Consensus has stopped.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// How far another server is, as the leader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerProgress {
    /// Its raft id.
    pub(crate) raft_id: u64,
    /// The last entry it is known to have.
    pub(crate) matched_index: u64,
    /// The term of that entry.
    pub(crate) matched_term: u64,
    /// How long ago it last answered; `None` for never.
    pub(crate) last_contact: Option<Duration>,
}

/// How long a transfer of leadership to one server may take before the next is tried.
const TRANSFER_ATTEMPT: Duration = Duration::from_secs(2);

impl Consensus {
    /// This server's raft id.
    pub(crate) fn raft_id(&self) -> u64 {
        self.raft_id
    }

    /// Commits and applies a command if this server leads, as [`Consensus::propose`] does, but tries it once. Dropped
    /// while it waits, its fate is unknown.
    pub(crate) async fn try_propose(&self, command: impl Into<Arc<Command>>) -> Result<Applied, TryError> {
        match self.raft.client_write(Proposal(command.into())).await {
            Ok(response) => Ok(Applied { index: response.log_id.index, outcome: response.data.0.unwrap_or(Ok(())) }),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(TryError::NotLeader(self.address_of_other(to.leader_id, to.leader_node.as_ref())))
            }
            Err(RaftError::APIError(_)) => Err(TryError::Unsure),
            Err(RaftError::Fatal(fatal)) => Err(TryError::Stopped(fatal.to_string())),
        }
    }

    /// The log index that a linearizable read that begins now must have seen; only the leader knows. A quorum is asked.
    pub(crate) async fn read_index(&self) -> Result<u64, TryError> {
        match self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Err(TryError::NotLeader(self.address_of_other(to.leader_id, to.leader_node.as_ref())))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(TryError::NotLeader(None)),
            Err(RaftError::Fatal(fatal)) => Err(TryError::Stopped(fatal.to_string())),
        }
    }

    /// The leader's raft id and address, if there is one this server has heard of lately, or if it leads itself and a
    /// quorum has.
    pub(crate) fn leader(&self) -> Option<(u64, SocketAddr)> {
        self.leader_in(&current(&mut self.raft.metrics()))
    }

    /// How far every other server is. Empty where this server does not lead.
    pub(crate) fn peer_progress(&self) -> Vec<PeerProgress> {
        let metrics = current(&mut self.raft.metrics());
        let heard = |id: &u64| metrics.heartbeat.as_ref().and_then(|heard| heard.get(id).copied().flatten());
        let progress = metrics.replication.iter().flatten().filter(|(id, _)| **id != self.raft_id);
        progress
            .map(|(id, matched)| PeerProgress {
                raft_id: *id,
                matched_index: matched.map_or(0, |matched| matched.index),
                matched_term: matched.as_ref().map_or(0, super::term_of),
                last_contact: heard(id).map(|moment| moment.elapsed()),
            })
            .collect()
    }

    /// Hands leadership to the voter that is most caught up of those that are alive; `false` if this server still leads
    /// after `deadline`, which then goes on leading but takes no more proposals until another election.
    pub(crate) async fn transfer_leadership(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        let mut tried = Vec::new();
        loop {
            let metrics = current(&mut self.raft.metrics());
            if metrics.state != ServerState::Leader {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            let Some(heir) = self.heir(&metrics, &tried) else {
                if tried.is_empty() {
                    return false;
                }
                tried.clear();
                continue;
            };
            tried.push(heir);
            if self.raft.trigger().transfer_leader(heir).await.is_err() {
                return true;
            }
            self.ceased_to_lead(until.min(Instant::now() + TRANSFER_ATTEMPT)).await;
        }
    }

    /// Who should lead next.
    fn heir(&self, metrics: &RaftMetrics, tried: &[u64]) -> Option<u64> {
        let voters = metrics.membership_config.membership().voter_ids();
        let able = voters.filter(|id| *id != self.raft_id && !tried.contains(id) && self.is_heard_of(metrics, *id));
        able.max_by_key(|id| metrics.replication.as_ref().and_then(|matched| matched.get(id).copied().flatten()))
    }

    async fn ceased_to_lead(&self, until: Instant) {
        let mut servers = self.raft.server_metrics();
        while servers.borrow_and_update().state == ServerState::Leader {
            if !matches!(timeout_at(until, servers.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    pub(super) fn leader_in(&self, metrics: &RaftMetrics) -> Option<(u64, SocketAddr)> {
        let id = metrics.current_leader?;
        let membership = metrics.membership_config.membership();
        let address = membership.get_node(&id)?.address.parse().ok()?;
        let is_fresh = match id == self.raft_id {
            true => {
                let is_alone = membership.voter_ids().all(|voter| voter == id);
                is_alone || metrics.last_quorum_acked.is_none_or(|moment| moment.elapsed() < self.lease)
            }
            false => self.contact.age().is_some_and(|age| age < self.lease),
        };
        is_fresh.then_some((id, address))
    }

    /// The leader's address for whoever is to ask there: not this server's own.
    fn address_of_other(&self, id: Option<u64>, server: Option<&Server>) -> Option<SocketAddr> {
        let id = id.filter(|id| *id != self.raft_id)?;
        let (_, address) = self.leader().filter(|(known, _)| *known == id)?;
        server.and_then(|server| server.address.parse().ok()).or(Some(address))
    }
}
