//! Changes of the configuration: who is told the log, and who votes. On the leader only, one change at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use openraft::{
    ChangeMembers, Instant as _,
    errors::{ChangeMembershipError, ClientWriteError, ForwardToLeader, RaftError},
};
use tokio::time::{Instant, timeout};

use super::{
    Consensus, RaftMetrics, current,
    types::{Membership, Server, TypeConfig},
};
use crate::rpc::message::Founder;

/// How long a change waits for one before it, or for a new leader to be sure that it leads.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the voters may take to agree on a change. One of them may have died so shortly before that it was not known.
const AGREEMENT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// Why the configuration was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    /// Only the leader may. Nothing was done.
    #[error("not the leader")]
    NotLeader,
    /// It is not known.
    #[error("server {0} is not part of the configuration")]
    NotFound(u64),
    /// What would be left could not agree on anything. Nothing was done.
    #[error("without server {server} only {alive} of {voters} voters would be alive: that is no quorum")]
    Quorum {
        /// Which one was to go.
        server: u64,
        /// How many would be alive.
        alive: usize,
        /// How many would vote.
        voters: usize,
    },
    /// Leadership was lost meanwhile: it may or may not be done.
    #[error("leadership lost while committing log")]
    Unsure,
    /// Too few voters answered in time: it may yet be done, or not, when they are back.
    #[error("too few voters agreed to the change within {AGREEMENT:?}: it may yet be done when they answer again")]
    Unanswered,
    /// Not possible, for this reason.
    #[error("{0}")]
    Refused(String),
    /// Consensus has stopped.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

type Change = ChangeMembers<u64, Server>;

impl Consensus {
    /// Has a server told the log, without a vote. Nothing changes if it is known with that name and address.
    pub(crate) async fn add_learner(&self, server: &Founder) -> Result<(), ChangeError> {
        let _turn = self.changes.lock().await;
        let nodes = BTreeMap::from([(server.raft_id, Server::from(server))]);
        match self.membership().get_node(&server.raft_id) {
            None => self.change(Change::AddNodes(nodes), true).await,
            Some(known) if *known != Server::from(server) => self.change(Change::SetNodes(nodes), true).await,
            Some(_) => Ok(()),
        }
    }

    /// Tells a known server's new name or address to all.
    pub(crate) async fn update_server(&self, server: &Founder) -> Result<(), ChangeError> {
        let _turn = self.changes.lock().await;
        let new = Server::from(server);
        match self.membership().get_node(&server.raft_id) {
            None => Err(ChangeError::NotFound(server.raft_id)),
            Some(known) if *known == new => Ok(()),
            Some(_) => self.change(Change::SetNodes(BTreeMap::from([(server.raft_id, new)])), true).await,
        }
    }

    /// Gives a server that is told the log a vote.
    pub(crate) async fn promote(&self, raft_id: u64) -> Result<(), ChangeError> {
        let _turn = self.changes.lock().await;
        let membership = self.membership();
        if membership.get_node(&raft_id).is_none() {
            return Err(ChangeError::NotFound(raft_id));
        }
        if membership.voter_ids().any(|id| id == raft_id) {
            return self.settle().await;
        }
        self.settle().await?;
        self.change(Change::AddVoterIds(BTreeSet::from([raft_id])), true).await
    }

    /// Takes a server out, unless what is left could not agree on anything.
    pub(crate) async fn remove(&self, raft_id: u64) -> Result<(), ChangeError> {
        let _turn = self.changes.lock().await;
        self.settle().await?;
        let metrics = current(&mut self.raft.metrics());
        let membership = metrics.membership_config.membership();
        if membership.get_node(&raft_id).is_none() {
            return Err(ChangeError::NotFound(raft_id));
        }
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        if !voters.contains(&raft_id) {
            return self.change(Change::RemoveNodes(BTreeSet::from([raft_id])), true).await;
        }
        self.would_keep_quorum(&voters, raft_id).await?;
        self.change(Change::RemoveVoters(BTreeSet::from([raft_id])), false).await
    }

    /// Ends a change that a leader before this one left half done.
    async fn settle(&self) -> Result<(), ChangeError> {
        match self.membership().get_joint_config().len() {
            0 | 1 => Ok(()),
            _ => self.change(Change::AddVoterIds(BTreeSet::new()), true).await,
        }
    }

    /// Refuses what would leave no quorum alive. A leader of a moment has not heard of everybody yet and waits for that.
    async fn would_keep_quorum(&self, voters: &BTreeSet<u64>, gone: u64) -> Result<(), ChangeError> {
        let left: Vec<u64> = voters.iter().copied().filter(|id| *id != gone).collect();
        let until = Instant::now() + self.lease;
        loop {
            let metrics = current(&mut self.raft.metrics());
            let is_alive = |id: &&u64| **id == self.raft_id || self.is_heard_of(&metrics, **id);
            let alive = left.iter().filter(is_alive).count();
            if alive > left.len() / 2 {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(ChangeError::Quorum { server: gone, alive, voters: left.len() });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether another server has answered the leader lately.
    pub(super) fn is_heard_of(&self, metrics: &RaftMetrics, id: u64) -> bool {
        let heard = metrics.heartbeat.as_ref().and_then(|heard| heard.get(&id).copied().flatten());
        heard.is_some_and(|moment| moment.elapsed() < self.lease)
    }

    fn membership(&self) -> Membership {
        current(&mut self.raft.metrics()).membership_config.membership().clone()
    }

    async fn change(&self, change: Change, retain: bool) -> Result<(), ChangeError> {
        let until = Instant::now() + PATIENCE;
        loop {
            // Given up between its two steps it is ended by `settle`.
            let error = match timeout(AGREEMENT, self.raft.change_membership(change.clone(), retain)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => return Err(ChangeError::Unanswered),
            };
            let error = match error {
                RaftError::APIError(error) => error,
                RaftError::Fatal(fatal) => return Err(ChangeError::Stopped(fatal.to_string())),
            };
            if !self.is_passing(&error) || Instant::now() >= until {
                return Err(refusal(error));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether it is only a matter of time: another change under way, or a leader of a moment.
    fn is_passing(&self, error: &ClientWriteError<TypeConfig>) -> bool {
        match error {
            ClientWriteError::ChangeMembershipError(
                ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
            ) => true,
            ClientWriteError::ForwardToLeader(ForwardToLeader { leader_id: None, .. }) => self.status().is_leader,
            _ => false,
        }
    }
}

fn refusal(error: ClientWriteError<TypeConfig>) -> ChangeError {
    match error {
        ClientWriteError::ForwardToLeader(_) => ChangeError::NotLeader,
        ClientWriteError::LogEntryDiscarded(_) => ChangeError::Unsure,
        other => ChangeError::Refused(other.to_string()),
    }
}
