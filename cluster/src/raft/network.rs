//! The way to other servers.
//!
//! Two connections to each: entries go over one, and over the other what must never wait behind them: heartbeats and
//! votes. A snapshot takes a connection of its own (`transfer`). Entries are sent ahead: several batches may be under
//! way before the first is acknowledged; answers come in the order of the requests because they are waited for in that
//! order. A server that cannot be reached is told to openraft, which tries again after a growing pause.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use openraft::{
    RaftNetworkFactory, RaftNetworkV2,
    alias::{SnapshotOf, VoteOf},
    entry::RaftEntry as _,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption, RPCTypes},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{
    codec::CodecError,
    snapshot::SnapshotData,
    transfer,
    types::{LogId, Membership, Server, TypeConfig},
    wire,
};
use crate::rpc::{
    frame::Frame,
    greeting::{Greeting, Protocol},
    link::{Gone, Link, Terms, Ticket},
    pool::Pool,
};

/// How the connections behave. A peer that gives no sign of life is dialled again soon, so that a network that is whole
/// again is used at once and not when TCP next tries.
const TERMS: Terms = Terms {
    dial: Duration::from_secs(1),
    ping: Duration::from_millis(500),
    patience: Duration::from_secs(2),
    idle: Duration::from_secs(60),
    answer_limit: wire::ANSWER_LIMIT,
};
/// Batches of entries under way to one server.
const AHEAD: usize = 16;
/// The first and the longest pause before a server that could not be reached is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Where servers are reached by the configuration in force. Openraft tells a client the address once, when it is made;
/// a server may move while it is in use. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Addresses(Arc<Mutex<HashMap<u64, String>>>);

impl Addresses {
    /// Takes over what a configuration says.
    pub(super) fn learn(&self, membership: &Membership) {
        *self.0.lock() = membership.nodes().map(|(id, server)| (*id, server.address.clone())).collect();
    }
}

/// The servers that did not answer when they were last spoken to, so that the log says it once and not ten times a
/// second. Clones share it.
#[derive(Clone, Default)]
struct OutOfReach(Arc<Mutex<BTreeSet<u64>>>);

impl OutOfReach {
    fn answered(&self, server: u64) {
        if self.0.lock().remove(&server) {
            tracing::info!(target: "agent.server.raft", "server is reached again: server={server}");
        }
    }

    fn failed(&self, server: u64, reason: &str) {
        if self.0.lock().insert(server) {
            tracing::warn!(target: "agent.server.raft", error = %reason, "failed to contact server: server={server}");
        }
    }
}

/// Makes the clients of other servers, which share the connections.
pub(super) struct Network {
    own: u64,
    bulk: Pool,
    urgent: Pool,
    addresses: Addresses,
    out_of_reach: OutOfReach,
}

impl Network {
    /// The network of the server with that id.
    pub(super) fn new(own: u64, addresses: Addresses) -> Self {
        let (bulk, urgent) = (Pool::default(), Pool::default());
        Self { own, bulk, urgent, addresses, out_of_reach: OutOfReach::default() }
    }

    fn peer(&self, target: u64, server: &Server, bulk: &Pool) -> Peer {
        Peer {
            own: self.own,
            target,
            first_address: server.address.clone(),
            addresses: self.addresses.clone(),
            bulk: bulk.clone(),
            urgent: self.urgent.clone(),
            out_of_reach: self.out_of_reach.clone(),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, server: &Server) -> Peer {
        self.peer(target, server, &self.bulk)
    }

    async fn new_heartbeat_client(&mut self, target: u64, server: &Server) -> Peer {
        self.peer(target, server, &self.urgent)
    }
}

/// The client of one other server.
pub(super) struct Peer {
    own: u64,
    target: u64,
    first_address: String,
    addresses: Addresses,
    /// Where entries go.
    bulk: Pool,
    /// Where votes go.
    urgent: Pool,
    out_of_reach: OutOfReach,
}

type RpcResult<T> = Result<T, RPCError<TypeConfig>>;
type Appended = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

impl Peer {
    fn address(&self) -> Result<SocketAddr, Unreachable<TypeConfig>> {
        let known = self.addresses.0.lock().get(&self.target).cloned();
        let address = known.unwrap_or_else(|| self.first_address.clone());
        address.parse().map_err(|_| Unreachable::from_string(format!("{address:?} is no address")))
    }

    fn link(&self, pool: &Pool) -> Result<Link, Unreachable<TypeConfig>> {
        let greeting = Greeting { protocol: Protocol::Raft, sender: self.own, target: self.target };
        Ok(pool.link(self.address()?, greeting, TERMS))
    }

    /// Asks once and waits as long as openraft says.
    async fn ask(
        &self,
        kind: u8,
        body: Result<Bytes, CodecError>,
        option: RPCOption,
        action: RPCTypes,
    ) -> RpcResult<Bytes> {
        let body = body.map_err(|error| NetworkError::new(&error))?;
        let mut ticket = self.link(&self.urgent)?.request(kind, body);
        match timeout(option.soft_ttl(), ticket.answer()).await {
            Ok(answer) => self.read(answer).map(|frame| frame.body),
            Err(_) => Err(Timeout { action, id: self.own, target: self.target, timeout: option.soft_ttl() }.into()),
        }
    }

    fn read(&self, answer: Result<Frame, Gone>) -> RpcResult<Frame> {
        let target = self.target;
        match answer {
            Ok(frame) if frame.kind == wire::ANSWER => {
                self.out_of_reach.answered(target);
                Ok(frame)
            }
            Ok(frame) => {
                let reason = String::from_utf8_lossy(&frame.body);
                self.out_of_reach.failed(target, &reason);
                Err(Unreachable::from_string(format!("server {target}: {reason}")).into())
            }
            Err(Gone { sent, reason }) => {
                self.out_of_reach.failed(target, &reason);
                let reason = format!("server {target}: {reason}");
                match sent {
                    false => Err(Unreachable::from_string(reason).into()),
                    true => Err(NetworkError::from_string(reason).into()),
                }
            }
        }
    }
}

fn damaged(error: &CodecError) -> RPCError<TypeConfig> {
    NetworkError::new(error).into()
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<AppendEntriesResponse<TypeConfig>> {
        let answer = self.ask(wire::APPEND, wire::encode_append(&request), option, RPCTypes::AppendEntries).await?;
        wire::decode_append_answer(&answer).map_err(|error| damaged(&error))
    }

    /// The requests go as they come; no answer has a deadline of its own, since a follower may be writing: a connection
    /// without a sign of life ends, and with it the stream.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, RpcResult<BoxStream<'s, Appended>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            let link = self.link(&self.bulk)?;
            let pipeline = Pipeline { peer: self, link, input, ahead: VecDeque::new(), has_more: true };
            let answers = stream::unfold(Some(pipeline), |pipeline| async { pipeline?.next().await });
            Ok(answers.boxed())
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        let answer = self.ask(wire::VOTE, wire::encode_vote(&request), option, RPCTypes::Vote).await?;
        wire::decode_vote_answer(&answer).map_err(|error| damaged(&error))
    }

    /// Openraft's own default grants the pre-vote of a server that was never asked.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<VoteResponse<TypeConfig>> {
        let answer = self.ask(wire::PRE_VOTE, wire::encode_vote(&request), option, RPCTypes::Vote).await?;
        wire::decode_vote_answer(&answer).map_err(|error| damaged(&error))
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let address = self.address()?;
        let greeting = Greeting { protocol: Protocol::Snapshot, sender: self.own, target: self.target };
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = transfer::send(address, greeting, &vote, snapshot, option.soft_ttl()) => sent.map_err(|error| {
                Unreachable::from_string(format!("server {} at {address}: {error}", self.target)).into()
            }),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> RpcResult<TransferLeaderResponse<TypeConfig>> {
        let body = wire::encode_transfer(&request);
        let answer = self.ask(wire::TRANSFER, body, option, RPCTypes::TransferLeader).await?;
        wire::decode_transfer_answer(&answer).map_err(|error| damaged(&error))
    }

    fn backoff(&self) -> Option<Backoff> {
        let pauses = std::iter::successors(Some(FIRST_PAUSE), |pause| Some((*pause * 2).min(LONGEST_PAUSE)));
        Some(Backoff::new(pauses))
    }
}

/// Batches on their way to one server.
struct Pipeline<'s, S> {
    peer: &'s Peer,
    link: Link,
    input: S,
    ahead: VecDeque<Batch>,
    has_more: bool,
}

/// One of them.
struct Batch {
    ticket: Ticket,
    prev: Option<LogId>,
    last: Option<LogId>,
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Pipeline<'_, S> {
    /// The next answer, and the rest unless it ends the stream.
    async fn next(mut self) -> Option<(Appended, Option<Self>)> {
        loop {
            let may_send = self.has_more && self.ahead.len() < AHEAD;
            let is_waiting = !self.ahead.is_empty();
            tokio::select! {
                biased;
                request = self.input.next(), if may_send => match request {
                    Some(request) => match self.send(&request) {
                        Ok(()) => {}
                        Err(error) => return Some((Err(error), None)),
                    },
                    None => self.has_more = false,
                },
                answer = first_answer(&mut self.ahead), if is_waiting => {
                    let Batch { prev, last, .. } = self.ahead.pop_front()?;
                    let read = self.peer.read(answer).and_then(|frame| {
                        wire::decode_append_answer(&frame.body).map_err(|error| damaged(&error))
                    });
                    let answer = match read {
                        // Without a predecessor nothing conflicts: whoever says so is not to be believed.
                        Ok(AppendEntriesResponse::Conflict) if prev.is_none() => {
                            return Some((Err(NetworkError::from_string("a conflict with nothing").into()), None));
                        }
                        Ok(answer) => answer,
                        Err(error) => return Some((Err(error), None)),
                    };
                    let is_whole = matches!(answer, AppendEntriesResponse::Success);
                    return Some((Ok(answer.into_stream_result(prev, last)), is_whole.then_some(self)));
                },
                // Everything was sent and answered: openraft begins another stream when there is more.
                else => return None,
            }
        }
    }

    fn send(&mut self, request: &AppendEntriesRequest<TypeConfig>) -> RpcResult<()> {
        let body = wire::encode_append(request).map_err(|error| damaged(&error))?;
        let last = request.entries.last().map(|entry| entry.log_id()).or(request.prev_log_id);
        let ticket = self.link.request(wire::APPEND, body);
        self.ahead.push_back(Batch { ticket, prev: request.prev_log_id, last });
        Ok(())
    }
}

/// The answer to the first batch under way; never, if there is none.
async fn first_answer(ahead: &mut VecDeque<Batch>) -> Result<Frame, Gone> {
    match ahead.front_mut() {
        Some(batch) => batch.ticket.answer().await,
        None => std::future::pending().await,
    }
}
