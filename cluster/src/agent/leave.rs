//! Going away in order: leadership is handed on, the server leaves the consensus, the members are told.

use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, Role};
use crate::{
    raft::Consensus,
    rpc::{Connections, message::Request},
};

/// How long handing on leadership may take.
const HAND_ON_TIME: Duration = Duration::from_secs(2);
/// How long leaving the consensus may take: afterwards the others are told all the same, and remove this server.
const LEAVE_CONSENSUS_TIME: Duration = Duration::from_secs(5);
/// Pause between attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Leaves consensus and both pools.
pub(super) async fn leave(inner: &Inner) {
    // The leader removes this node from the catalog: a comparison would put it back.
    inner.leaving.cancel();
    if let Role::Server(consensus) = &inner.role {
        tracing::info!(target: "agent.server", "server starting leave");
        leave_consensus(consensus, inner.forward.connections()).await;
    } else {
        tracing::info!(target: "agent.client", "client starting leave");
    }
    if let Some(wan) = &inner.wan {
        wan.leave().await;
    }
    inner.lan.leave().await;
}

/// Makes another server the leader, if this one leads and there is another.
pub(super) async fn hand_on(consensus: &Consensus) {
    let status = consensus.status();
    let others = status.peers.iter().filter(|peer| peer.voter && !peer.leader).count();
    if status.is_leader && others > 0 && !consensus.transfer_leadership(HAND_ON_TIME).await {
        tracing::warn!(target: "agent.server.raft", "could not hand leadership on");
    }
}

/// Has the leader take this server out of the configuration, as long as others stay in it.
async fn leave_consensus(consensus: &Consensus, connections: &Connections) {
    let raft_id = consensus.raft_id();
    let until = Instant::now() + LEAVE_CONSENSUS_TIME;
    loop {
        let peers = consensus.status().peers;
        let is_in = peers.iter().any(|peer| peer.id == raft_id);
        let others = peers.iter().any(|peer| peer.id != raft_id && peer.voter);
        if !is_in || !others {
            return;
        }
        hand_on(consensus).await;
        match consensus.leader() {
            Some((leader, address)) if leader != raft_id => {
                let left = until.saturating_duration_since(Instant::now());
                match connections.call(address, &Request::RemoveServer { raft_id }, left).await {
                    Ok(_) => return,
                    Err(error) => {
                        tracing::debug!(target: "agent.server.raft", %error, "cannot leave the consensus yet")
                    }
                }
            }
            _ => {}
        }
        if Instant::now() >= until {
            tracing::warn!(target: "agent.server.raft", "leaving without having been taken out of the consensus");
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
