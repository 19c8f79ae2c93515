//! Calls between agents, over one TCP port of the servers.
//!
//! ```text
//!   first byte: 1 raft (two connections a peer pair: one for entries, one for heartbeats and votes)
//!               2 calls (multiplexed by request id: unary calls, and subscriptions with a window of credit)
//!               3 snapshot (one transfer, then closed)
//!
//!   client ─► pool ─► link ═══ greeting, frames ═══ server ─► answering ─► Handler
//!   raft::network ──────┘                              └────► raft::inbound
//! ```
//!
//! - `greeting`: the first bytes. `frame`: everything after them. `wire`: what is in the frames of calls.
//! - `link`, `pool`: connections as their maker sees them. `client`: calls and subscriptions over them.
//! - `server`, `answering`: the other side.
//!
//! Knows what is asked ([`message`]) and how it travels; nothing of who answers it ([`Handler`]).

mod answering;
mod client;
pub(crate) mod frame;
pub(crate) mod greeting;
pub(crate) mod link;
pub mod message;
pub(crate) mod pool;
mod server;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;

use futures_util::{future::BoxFuture, stream::BoxStream};

use self::message::{Failure, Request, Response};
pub(crate) use self::{client::Connections, server::serve};
use crate::view::{Interest, Update};

/// Who answers calls: a server.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one call. Dropped when its caller gave up.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>>;

    /// The view of `interest` now, and again whenever it changes.
    fn subscribe(&self, interest: Interest) -> BoxStream<'static, Update>;
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CallError {
    /// The request never left: nothing can have happened there.
    #[error("rpc error: cannot reach server {server}: {reason}")]
    Unreachable {
        /// Which server.
        server: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The request left and nothing came back: whether it was done is not known.
    #[error("rpc error: lost server {server}: {reason}")]
    Lost {
        /// Which server.
        server: SocketAddr,
        /// Why.
        reason: String,
    },
    /// No answer in time: whether it was done is not known.
    #[error("rpc error: no answer from server {server} in time")]
    Deadline {
        /// Which server.
        server: SocketAddr,
    },
    /// The server says no.
    #[error("{0}")]
    Failed(Failure),
}
