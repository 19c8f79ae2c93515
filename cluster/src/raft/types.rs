//! The types openraft is instantiated with. Plain values; knows the catalog's commands and nothing else of this module.

use std::{fmt, sync::Arc};

use openraft::vote::leader_id_std;
use serde::{Deserialize, Serialize};

use crate::catalog::command::{Command, Outcome};

openraft::declare_raft_types!(
    /// How this program uses Raft. Leaders are compared as in the paper: at most one a term, so that an entry is named by
    /// its term and index alone.
    pub(super) TypeConfig:
        D = Proposal,
        R = Answer,
        NodeId = u64,
        Node = Server,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
);

pub(super) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(super) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(super) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(super) type Membership = openraft::Membership<u64, Server>;
pub(super) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(super) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// A command on its way through the log. Shared, so that a proposal that has to be tried again costs no copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proposal(pub(super) Arc<Command>);

impl Proposal {
    /// The command itself, without a copy where nobody else holds it.
    pub(super) fn into_command(self) -> Command {
        Arc::unwrap_or_clone(self.0)
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self.0 {
            Command::Register(ref registration) => write!(f, "register {}", registration.node),
            Command::Deregister(ref deregistration) => write!(f, "deregister {}", deregistration.node),
            Command::Autopilot(_) => f.write_str("autopilot"),
        }
    }
}

/// What the state machine says to an entry: the catalog's outcome, or nothing where the entry was none of the catalog's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer(pub(super) Option<Outcome>);

/// A member as the log's configuration entries carry it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    /// The node's UUID.
    pub(super) node_id: String,
    /// The node's name.
    pub(super) name: String,
    /// Where its consensus is reached.
    pub(super) address: String,
}

/// An entry's name from its two parts.
pub(super) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new_term_index(term, index)
}

/// The term of an entry.
pub(super) fn term_of(id: &LogId) -> u64 {
    id.committed_leader_id().term
}
