//! Consensus: the one log of commands that every server applies in the same order. The only place that names openraft.
//!
//! ```text
//!   propose ──► openraft ──► log_store ──► writer ──► disk (redb), mark
//!                  │  ▲           │ committed entries
//!   other servers ◄┤  └ network   ▼
//!                  │        state_machine ──► catalog (published once a batch) ──► the proposer is answered
//!                  └──────► snapshot (state at one entry; the log before it goes)
//! ```
//!
//! - `types`: what openraft is instantiated with. `codec`: the bytes on disk. `timing`: its configuration.
//! - `directory`, `held_file`, `mark`, `disk`, `writer`, `log_store`: the log.
//! - `state_machine`, `snapshot`, `compaction`: the catalog's side.
//! - `network`, `transfer`, `inbound`, `wire`: the way to other servers, theirs to this one, and the bytes on it.
//! - `founding`, `members`, `leading`, `contact`: what a cluster of several needs.
//! - `recovery`: from a lost quorum. `failure`: the reason to stop. `start`: putting it together.
//!
//! Knows the catalog's commands and its state, and how the server port carries bytes (`rpc`); nothing of agents, DNS or
//! HTTP.

mod codec;
mod compaction;
mod contact;
mod directory;
mod disk;
mod failure;
mod founding;
mod held_file;
mod inbound;
mod leading;
mod log_store;
mod mark;
mod members;
mod network;
mod recovery;
#[cfg(test)]
pub(crate) mod simulated;
mod snapshot;
mod start;
mod state_machine;
mod timing;
mod transfer;
mod types;
mod wire;
mod writer;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use openraft::{
    ReadPolicy, ServerState,
    async_runtime::watch::WatchReceiver as _,
    errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError},
};
use tokio::time::Instant;

pub(crate) use self::leading::TryError;
use self::{
    contact::Contact,
    failure::Failure,
    founding::Pledges,
    log_store::LogStore,
    snapshot::Snapshots,
    state_machine::StateMachine,
    transfer::Receiver,
    types::{Proposal, TypeConfig, term_of},
};
use crate::{
    catalog::{
        Catalog,
        command::{Command, Outcome},
    },
    rpc::frame::Budget,
};

/// How this server takes part in consensus.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the log, the vote and the snapshots live (`<data_dir>/raft`); `None` keeps them in memory (`-dev`).
    pub directory: Option<PathBuf>,
    /// The address other servers reach this one at.
    pub address: SocketAddr,
    /// The node's UUID.
    pub node_id: String,
    /// The node's name.
    pub node_name: String,
    /// Forms a cluster of this one server when the log is empty.
    pub bootstrap: bool,
    /// Scales election and heartbeat timeouts (Consul's `performance.raft_multiplier`, 1 to 10).
    pub multiplier: u32,
    /// Log entries between snapshots.
    pub snapshot_threshold: u64,
    /// Log entries kept behind a snapshot.
    pub trailing_logs: u64,
}

/// A command that was committed and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its Raft index.
    pub index: u64,
    /// What the catalog said.
    pub outcome: Outcome,
}

/// Why a command was not committed (or is not known to be).
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// No server leads within the hold time. Clients match the text.
    #[error("No cluster leader")]
    NoLeader,
    /// The leader changed meanwhile: the command may yet be applied, or not. Clients match the text.
    #[error("leadership lost while committing log")]
    Unsure,
    /// A server refused it. Nothing was done.
    #[error("{0}")]
    Refused(String),
    /// This server's consensus has stopped; the process must end.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// Why consensus could not start. Nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A file could not be read or made.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another process works in the directory.
    #[error("{path} is in use by another process")]
    InUse {
        /// Which one.
        path: PathBuf,
    },
    /// A file is not what it was when this program last wrote it, or is not this program's.
    #[error("{path}: {reason}")]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Consensus stopped while it was starting.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

impl StartError {
    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.into() }
    }
}

/// One voter or learner of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The Raft id, never reused.
    pub id: u64,
    /// The node's UUID.
    pub node_id: String,
    /// The node's name.
    pub node_name: String,
    /// Where its consensus is reached.
    pub address: String,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it votes.
    pub voter: bool,
}

/// Where consensus stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The leader's address, if one is known.
    pub leader: Option<String>,
    /// Whether this server leads.
    pub is_leader: bool,
    /// `Leader`, `Follower`, `Candidate`, `Learner` or `Shutdown`.
    pub role: &'static str,
    /// How long ago the leader was last heard of, nothing where this server leads; `None` if it never heard of one.
    pub last_contact: Option<Duration>,
    /// The current term.
    pub term: u64,
    /// The last entry in the log.
    pub last_log_index: u64,
    /// The term of that entry.
    pub last_log_term: u64,
    /// The last entry known to be committed.
    pub commit_index: u64,
    /// The last entry applied to the catalog.
    pub applied_index: u64,
    /// The last entry covered by a snapshot.
    pub last_snapshot_index: u64,
    /// The index of the configuration in force.
    pub configuration_index: u64,
    /// The configuration in force.
    pub peers: Vec<Peer>,
}

type Raft = openraft::Raft<TypeConfig, StateMachine>;
type RaftMetrics = openraft::RaftMetrics<TypeConfig>;
type Metrics = openraft::alias::WatchReceiverOf<TypeConfig, RaftMetrics>;

/// The first and the longest pause before a call that found no leader is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A running member of the consensus. Clones share it.
#[derive(Clone)]
pub struct Consensus {
    raft: Raft,
    raft_id: u64,
    log: LogStore,
    snapshots: Snapshots,
    failure: Failure,
    pledges: Pledges,
    /// Held by the one who changes the configuration.
    changes: Arc<tokio::sync::Mutex<()>>,
    contact: Contact,
    /// How old news of a leader may be for it still to count as one.
    lease: Duration,
    /// Memory for large messages of other servers.
    inbound: Budget,
    receiver: Receiver,
}

impl Consensus {
    /// Opens the log, brings `catalog` to the state it held and joins in.
    ///
    /// A server that is the only voter leads, and its catalog shows everything that was ever acknowledged, when this
    /// returns.
    pub async fn start(options: Options, catalog: Arc<Catalog>) -> Result<Self, StartError> {
        start::start(options, catalog).await
    }

    /// Commits and applies a command: when this returns `Ok` a quorum has it on disk and the catalog shows it.
    /// Waits up to `hold` for a leader.
    pub async fn propose(&self, command: Command, hold: Duration) -> Result<Applied, ProposeError> {
        let proposal = Proposal(Arc::new(command));
        let mut patience = Patience::new(hold);
        loop {
            let error = match self.raft.client_write(proposal.clone()).await {
                Ok(response) => {
                    // Only entries that are none of the catalog's are answered without an outcome.
                    let outcome = response.data.0.unwrap_or(Ok(()));
                    return Ok(Applied { index: response.log_id.index, outcome });
                }
                Err(error) => error,
            };
            match error {
                RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {}
                // The entry may yet be committed by the next leader: trying again could apply the command twice.
                RaftError::APIError(_) => return Err(ProposeError::Unsure),
                RaftError::Fatal(fatal) => return Err(self.stopped(&fatal)),
            }
            self.wait_for_leader(&mut patience).await?;
        }
    }

    /// Waits until a read of the catalog is linearizable: it then shows every write acknowledged before the call.
    pub async fn linearize(&self, hold: Duration) -> Result<(), ProposeError> {
        let mut patience = Patience::new(hold);
        loop {
            match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
                Ok(_) => return Ok(()),
                Err(RaftError::APIError(
                    LinearizableReadError::ForwardToLeader(_) | LinearizableReadError::QuorumNotEnough(_),
                )) => {}
                Err(RaftError::Fatal(fatal)) => return Err(self.stopped(&fatal)),
            }
            self.wait_for_leader(&mut patience).await?;
        }
    }

    /// Where consensus stands now.
    pub fn status(&self) -> Status {
        let metrics = current(&mut self.raft.metrics());
        let index = |id: Option<types::LogId>| id.map_or(0, |id| id.index);
        let membership = metrics.membership_config.membership();
        // While a change is under way there are two sets: who is in one of them alone does not vote for good yet.
        let votes = |id: &u64| membership.get_joint_config().iter().all(|voters| voters.contains(id));
        let peer = |(id, server): (&u64, &types::Server)| Peer {
            id: *id,
            node_id: server.node_id.clone(),
            node_name: server.name.clone(),
            address: server.address.clone(),
            leader: metrics.current_leader == Some(*id),
            voter: votes(id),
        };
        let peers: Vec<Peer> = membership.nodes().map(peer).collect();
        Status {
            leader: self.leader_in(&metrics).map(|(_, address)| address.to_string()),
            is_leader: metrics.state == ServerState::Leader,
            role: role(metrics.state),
            last_contact: match metrics.state {
                ServerState::Leader => Some(Duration::ZERO),
                _ => self.contact.age(),
            },
            term: metrics.current_term,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            last_log_term: self.log.tail().last().map_or(0, |last| term_of(&last)),
            commit_index: index(metrics.local_committed),
            applied_index: index(metrics.last_applied),
            last_snapshot_index: index(metrics.snapshot),
            configuration_index: index(*metrics.membership_config.log_id()),
            peers,
        }
    }

    /// Waits until this server begins (`true`) or ceases (`false`) to lead, starting from `was`.
    pub async fn leadership_changed(&self, was: bool) -> bool {
        let mut metrics = self.raft.metrics();
        loop {
            // Once consensus is gone it says for ever what it said last: that it leads, perhaps.
            let gone = metrics.changed().now_or_never().is_some_and(|changed| changed.is_err());
            let leads = !gone && current(&mut metrics).state == ServerState::Leader;
            if leads != was {
                return leads;
            }
            if gone || metrics.changed().await.is_err() {
                // With consensus goes leadership; there is nothing more to come.
                return match was {
                    true => false,
                    false => std::future::pending().await,
                };
            }
        }
    }

    /// Resolves with the reason when consensus has failed for good (a disk that no longer takes writes, a command this
    /// version does not know): the process must end.
    pub async fn failed(&self) -> String {
        self.failure.wait().await
    }

    /// Takes a snapshot now. Of the log before it as much is kept as [`Options::trailing_logs`] says.
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        match take_snapshot(&self.raft).await {
            Some(()) => Ok(()),
            None => Err(ProposeError::Stopped(self.failure.reason().unwrap_or_default())),
        }
    }

    /// Stops: everything acknowledged is on disk when this returns.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(target: "agent.server.raft", "consensus did not stop in order: {error}");
        }
        let snapshots = self.snapshots.clone();
        if let Err(error) = crate::blocking::run(move || snapshots.close()).await {
            tracing::warn!(target: "agent.server.raft", "the snapshots were not closed in order: {error}");
        }
        if let Err(error) = self.log.close().await {
            tracing::warn!(target: "agent.server.raft", "the log was not closed in order: {error}");
        }
    }

    /// Waits until a leader may have been found, or the patience ends.
    async fn wait_for_leader(&self, patience: &mut Patience) -> Result<(), ProposeError> {
        let pause = patience.pause().ok_or(ProposeError::NoLeader)?;
        let mut servers = self.raft.server_metrics();
        servers.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = servers.changed() => {}
        }
        Ok(())
    }

    fn stopped(&self, fatal: &Fatal<TypeConfig>) -> ProposeError {
        ProposeError::Stopped(self.failure.reason().unwrap_or_else(|| fatal.to_string()))
    }
}

/// How long a call still waits for a leader.
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new(hold: Duration) -> Self {
        Self { until: Instant::now() + hold, pause: FIRST_PAUSE }
    }

    /// The next pause, each twice the last; `None` when the time is over.
    fn pause(&mut self) -> Option<Duration> {
        let left = self.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

fn role(state: ServerState) -> &'static str {
    match state {
        ServerState::Leader => "Leader",
        ServerState::Follower => "Follower",
        ServerState::Candidate => "Candidate",
        ServerState::Learner => "Learner",
        ServerState::Shutdown => "Shutdown",
    }
}

/// A copy of the newest metrics: the guard the channel gives locks out who writes them.
fn current(metrics: &mut Metrics) -> RaftMetrics {
    metrics.borrow_and_update().clone()
}

/// Takes a snapshot of everything applied so far and waits for it; `None` when consensus has stopped.
async fn take_snapshot(raft: &Raft) -> Option<()> {
    let mut metrics = raft.metrics();
    let wanted = current(&mut metrics).last_applied;
    loop {
        let now = current(&mut metrics);
        if now.running_state.is_err() {
            return None;
        }
        if now.snapshot >= wanted {
            return Some(());
        }
        // Asked again after each change: one under way when first asked may have begun too early.
        raft.trigger().snapshot().await.ok()?;
        metrics.changed().await.ok()?;
    }
}

#[cfg(test)]
mod tests;
