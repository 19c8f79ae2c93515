//! Consensus: the one log of commands that every server applies in the same order. The only place that names openraft.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use crate::catalog::{
    Catalog,
    command::{Command, Outcome},
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
    /// The configuration in force.
    pub peers: Vec<Peer>,
}

/// A running member of the consensus.
#[derive(Clone)]
pub struct Consensus {
    _private: Arc<()>,
}

impl Consensus {
    /// Opens the log, brings `catalog` to the state it held and joins in.
    pub async fn start(_options: Options, _catalog: Arc<Catalog>) -> Result<Self, StartError> {
        unimplemented!()
    }

    /// Commits and applies a command: when this returns `Ok` a quorum has it on disk and the catalog shows it.
    /// Waits up to `hold` for a leader.
    pub async fn propose(&self, _command: Command, _hold: Duration) -> Result<Applied, ProposeError> {
        unimplemented!()
    }

    /// Waits until a read of the catalog is linearizable: it then shows every write acknowledged before the call.
    pub async fn linearize(&self, _hold: Duration) -> Result<(), ProposeError> {
        unimplemented!()
    }

    /// Where consensus stands now.
    pub fn status(&self) -> Status {
        unimplemented!()
    }

    /// Waits until this server begins (`true`) or ceases (`false`) to lead, starting from `was`.
    pub async fn leadership_changed(&self, _was: bool) -> bool {
        unimplemented!()
    }

    /// Resolves with the reason when consensus has failed for good (a disk that no longer takes writes, a command this
    /// version does not know): the process must end.
    pub async fn failed(&self) -> String {
        unimplemented!()
    }

    /// Takes a snapshot now and drops the log before it.
    pub async fn snapshot(&self) -> Result<(), ProposeError> {
        unimplemented!()
    }

    /// Stops: everything acknowledged is on disk when this returns.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}
