//! Calls between agents, over one TCP port of the servers.
//!
//! ```text
//!   first byte: 1 raft (one connection a peer pair, nothing else on it)
//!               2 calls (multiplexed by request id: unary calls, and subscriptions with a window of credit)
//!               3 snapshot (one transfer, then closed)
//! ```
//!
//! Knows what is asked ([`message`]) and how it travels; nothing of who answers it ([`Handler`]).

pub mod message;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{future::BoxFuture, stream::BoxStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::message::{Failure, Request, Response};
use crate::{
    net::TcpListener,
    raft::Consensus,
    view::{Interest, Update},
};

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

/// Serves the port until `stop`. `consensus` takes the raft and snapshot connections.
pub(crate) fn serve(
    _listener: TcpListener,
    _handler: Arc<dyn Handler>,
    _consensus: Consensus,
    _tasks: &TaskTracker,
    _stop: CancellationToken,
) {
    todo!()
}

/// The connections to servers: one for calls each, made when first needed, given up when idle. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Connections {}

impl Connections {
    /// Asks `server` and waits for its answer at most `deadline`. Dropping the future cancels the call there.
    pub(crate) async fn call(
        &self,
        _server: SocketAddr,
        _request: &Request,
        _deadline: Duration,
    ) -> Result<Response, CallError> {
        todo!()
    }

    /// Subscribes to a view at `server`.
    pub(crate) async fn subscribe(&self, _server: SocketAddr, _interest: Interest) -> Result<Subscription, CallError> {
        todo!()
    }
}

/// A subscription; dropping it ends it at the server.
pub(crate) struct Subscription {}

impl Subscription {
    /// The next state of the view; an error ends the subscription.
    pub(crate) async fn next(&mut self) -> Result<Update, CallError> {
        todo!()
    }
}
