//! Membership: who is in the pool, and who of them is alive (SWIM). The only place that names foca.

mod keyring;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::keyring::{KeyOperation, KeyReport, Keyring, KeyringError};
use crate::{
    membership::Member,
    net::{TcpListener, UdpSocket},
};

/// Which pool: decides timing and what the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    /// The agents of a datacenter.
    Lan,
    /// The servers of all datacenters.
    Wan,
}

/// How an agent takes part in a pool.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Which one.
    pub(crate) pool: Pool,
    /// Who speaks together: agents of another cluster (datacenter) are refused. Empty in the WAN pool.
    pub(crate) cluster: String,
    /// The member's name, unique in the pool.
    pub(crate) name: String,
    /// The node's UUID, unique in the pool.
    pub(crate) id: String,
    /// Where others reach it (UDP and TCP).
    pub(crate) advertise: SocketAddr,
    /// What it tells of itself.
    pub(crate) tags: BTreeMap<String, String>,
    /// How long a failed member is tried before it is forgotten (Consul: 72 h).
    pub(crate) reconnect_timeout: Duration,
    /// Keys; without any, gossip is in the clear.
    pub(crate) keyring: Arc<Keyring>,
    /// Where the known members are kept over a restart; `None` keeps nothing.
    pub(crate) snapshot: Option<PathBuf>,
    /// Whether a member that left joins those it knew when it starts again.
    pub(crate) rejoin_after_leave: bool,
}

/// Why nobody was joined at an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JoinError {
    /// Nobody answers there.
    #[error("Failed to join {address}: {reason}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// Somebody answers who is not to be joined: another cluster, another key, another version, or this member's own
    /// name or id at another address (the text names both addresses).
    #[error("Failed to join {address}: {reason}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
}

/// A running member of a pool. Clones share it.
#[derive(Clone)]
pub(crate) struct Gossip {
    members: watch::Receiver<Arc<Vec<Member>>>,
}

impl Gossip {
    /// Takes part in the pool through these sockets until `stop`.
    pub(crate) fn start(
        _options: Options,
        _udp: UdpSocket,
        _tcp: TcpListener,
        _tasks: &TaskTracker,
        _stop: CancellationToken,
    ) -> Self {
        todo!()
    }

    /// Everybody known, itself included, ordered by name. Left and failed ones stay until they are reaped.
    pub(crate) fn members(&self) -> Arc<Vec<Member>> {
        self.members.borrow().clone()
    }

    /// Follows the changes of [`Gossip::members`].
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Vec<Member>>> {
        self.members.clone()
    }

    /// Meets whoever is at `address` (push/pull over TCP); when this returns, its members are known here.
    pub(crate) async fn join(&self, _address: SocketAddr) -> Result<(), JoinError> {
        todo!()
    }

    /// Tells everybody that this member leaves (status `leaving`, then `left`), and waits until some know.
    pub(crate) async fn leave(&self) {
        todo!()
    }

    /// Makes a failed member a left one; with `prune` it is forgotten at once everywhere. A living one refutes it.
    /// The error's text is Consul's (`agent: No node found with name 'x'`).
    pub(crate) async fn force_leave(&self, _name: &str, _prune: bool) -> Result<(), String> {
        todo!()
    }

    /// Tells others from now on these tags.
    pub(crate) fn set_tags(&self, _tags: BTreeMap<String, String>) {
        todo!()
    }

    /// Does a key operation at every living member and here, and says how it went.
    pub(crate) async fn keys(&self, _operation: KeyOperation) -> KeyReport {
        todo!()
    }
}
