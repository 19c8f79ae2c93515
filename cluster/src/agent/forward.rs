//! The way of writes and of linearizable reads to the leader, from wherever they begin.
//!
//! ```text
//!   server that leads:    its own consensus
//!   server that follows:  call to the leader it knows
//!   client:               call to a server, which takes one of the ways above
//! ```
//!
//! Whatever surely was not done is tried again until the hold time ends: the leader is being elected, has moved, or
//! cannot be reached. What may have been done is never tried again, since a second time could undo what others wrote in
//! between: the caller is told so.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::Instant;

use super::servers::KnownServers;
use crate::{
    catalog::{Catalog, command::Command},
    local::Proposer,
    raft::{Applied, Consensus, ProposeError, TryError},
    rpc::{
        CallError, Connections,
        message::{ApiRequest, ApiResponse, Failure, Request, Response},
    },
    view::{Views, servers::Servers},
};

/// How long a write that reached the leader may take to be committed (Consul's enqueue limit).
const COMMIT_TIME: Duration = Duration::from_secs(30);
/// How long the leader may take to say up to where a read must look.
const READ_INDEX_TIME: Duration = Duration::from_secs(5);
/// The longest a forwarded request of the API may take: a blocking query's longest wait, and a little more.
const API_TIME: Duration = Duration::from_secs(11 * 60);
/// The first and the longest pause before the leader is looked for again.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The way to the leader. Clones share it.
#[derive(Clone)]
pub(crate) struct Forward {
    way: Way,
    catalog: Arc<Catalog>,
    connections: Connections,
    hold: Duration,
}

#[derive(Clone)]
enum Way {
    Server(Consensus),
    Client { servers: KnownServers, views: Arc<Views> },
}

/// What one attempt came to.
enum Attempt {
    /// Nothing happened there: worth trying again.
    Again,
    /// No use trying again.
    Failed(ProposeError),
}

impl Forward {
    /// The way of a server.
    pub(crate) fn of_server(
        consensus: Consensus,
        catalog: Arc<Catalog>,
        connections: Connections,
        hold: Duration,
    ) -> Self {
        Self { way: Way::Server(consensus), catalog, connections, hold }
    }

    /// The way of a client.
    pub(crate) fn of_client(
        servers: KnownServers,
        views: Arc<Views>,
        catalog: Arc<Catalog>,
        connections: Connections,
        hold: Duration,
    ) -> Self {
        Self { way: Way::Client { servers, views }, catalog, connections, hold }
    }

    /// Commits and applies a command, waiting up to `hold` for a leader.
    pub(crate) async fn propose_within(&self, command: Command, hold: Duration) -> Result<Applied, ProposeError> {
        let mut patience = Patience::new(hold);
        loop {
            match self.propose_once(&command, patience.left()).await {
                Ok(applied) => return Ok(applied),
                Err(Attempt::Failed(error)) => return Err(error),
                Err(Attempt::Again) => patience.pause().await?,
            }
        }
    }

    /// Commits a command as the leader, or says that this server is not: for calls that were forwarded.
    pub(crate) async fn propose_here(&self, command: Command) -> Result<Applied, Failure> {
        let Way::Server(consensus) = &self.way else { return Err(Failure::NotLeader) };
        let tried = tokio::time::timeout(COMMIT_TIME, consensus.try_propose(command)).await;
        match tried.unwrap_or(Err(TryError::Unsure)) {
            Ok(applied) => Ok(applied),
            Err(TryError::NotLeader(_)) => Err(Failure::NotLeader),
            Err(TryError::Unsure) => Err(Failure::Unsure),
            Err(TryError::Stopped(reason)) => Err(Failure::Refused(reason)),
        }
    }

    /// The connections calls go over.
    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// Waits until a read of the local catalog is linearizable. Servers only; `NoLeader` on clients.
    pub(crate) async fn linearize(&self) -> Result<(), ProposeError> {
        let Way::Server(consensus) = &self.way else { return Err(ProposeError::NoLeader) };
        let mut patience = Patience::new(self.hold);
        loop {
            match self.read_index(consensus).await {
                Ok(index) => return self.applied(index).await,
                Err(Attempt::Failed(error)) => return Err(error),
                Err(Attempt::Again) => patience.pause().await?,
            }
        }
    }

    /// Has a server answer a request of the API: the leader if `leader`, else any.
    pub(crate) async fn api(&self, request: ApiRequest, leader: bool) -> Result<ApiResponse, ProposeError> {
        let only_reads = request.method == "GET";
        let request = Request::Api { request, leader };
        let mut patience = Patience::new(self.hold);
        loop {
            let server = match &self.way {
                Way::Server(consensus) => consensus.leader().map(|(_, address)| address),
                Way::Client { servers, .. } => servers.pick(),
            };
            if let Some(server) = server {
                let asked = Instant::now();
                let answer = self.connections.call(server, &request, API_TIME).await;
                if asked.elapsed() >= self.hold {
                    // It was waiting for a change: the time to find another server begins now.
                    patience = Patience::new(self.hold);
                }
                match answer {
                    Ok(Response::Api(response)) => return Ok(response),
                    Ok(_) => return Err(unexpected(server)),
                    Err(error) => match self.judge(server, error) {
                        Attempt::Again => {}
                        // What only reads may be asked again whatever became of it.
                        Attempt::Failed(ProposeError::Unsure) if only_reads => {}
                        Attempt::Failed(error) => return Err(error),
                    },
                }
            }
            patience.pause().await?;
        }
    }

    async fn propose_once(&self, command: &Command, left: Duration) -> Result<Applied, Attempt> {
        let (server, hold_ms, forwarded) = match &self.way {
            Way::Client { servers, .. } => (servers.pick().ok_or(Attempt::Again)?, milliseconds(left), false),
            Way::Server(consensus) => {
                let tried = tokio::time::timeout(COMMIT_TIME, consensus.try_propose(command.clone())).await;
                match tried.unwrap_or(Err(TryError::Unsure)) {
                    Ok(applied) => return Ok(applied),
                    Err(TryError::NotLeader(Some(leader))) => (leader, 0, true),
                    Err(TryError::NotLeader(None)) => return Err(Attempt::Again),
                    Err(TryError::Unsure) => return Err(Attempt::Failed(ProposeError::Unsure)),
                    Err(TryError::Stopped(reason)) => return Err(Attempt::Failed(ProposeError::Stopped(reason))),
                }
            }
        };
        let request = Request::Propose { command: Box::new(command.clone()), hold_ms, forwarded };
        match self.connections.call(server, &request, left + COMMIT_TIME).await {
            Ok(Response::Applied { index, outcome }) => Ok(Applied { index, outcome }),
            Ok(_) => Err(Attempt::Failed(unexpected(server))),
            Err(error) => Err(self.judge(server, error)),
        }
    }

    async fn read_index(&self, consensus: &Consensus) -> Result<u64, Attempt> {
        match consensus.read_index().await {
            Ok(index) => Ok(index),
            Err(TryError::Stopped(reason)) => Err(Attempt::Failed(ProposeError::Stopped(reason))),
            Err(TryError::Unsure | TryError::NotLeader(None)) => Err(Attempt::Again),
            Err(TryError::NotLeader(Some(leader))) => {
                match self.connections.call(leader, &Request::ReadIndex, READ_INDEX_TIME).await {
                    Ok(Response::Index(index)) => Ok(index),
                    // A read that failed has changed nothing: it may always be tried again.
                    _ => Err(Attempt::Again),
                }
            }
        }
    }

    /// Waits until the local catalog shows an entry.
    async fn applied(&self, index: u64) -> Result<(), ProposeError> {
        tokio::time::timeout(self.hold, self.catalog.reached(index)).await.map_err(|_| ProposeError::NoLeader)
    }

    fn judge(&self, server: SocketAddr, error: CallError) -> Attempt {
        if let Way::Client { servers, .. } = &self.way
            && !matches!(error, CallError::Failed(_))
        {
            servers.failed(server);
        }
        match error {
            CallError::Unreachable { .. } | CallError::Failed(Failure::NotLeader | Failure::Busy) => Attempt::Again,
            CallError::Failed(Failure::NoLeader) => match self.way {
                // The server has waited in our stead.
                Way::Client { .. } => Attempt::Failed(ProposeError::NoLeader),
                Way::Server(_) => Attempt::Again,
            },
            CallError::Lost { .. } | CallError::Deadline { .. } | CallError::Failed(Failure::Unsure) => {
                Attempt::Failed(ProposeError::Unsure)
            }
            CallError::Failed(failure) => Attempt::Failed(ProposeError::Refused(failure.to_string())),
        }
    }
}

impl Proposer for Forward {
    fn propose(&self, command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        self.propose_within(command, self.hold).boxed()
    }

    fn try_propose(&self, command: Command) -> BoxFuture<'_, Result<Applied, ProposeError>> {
        self.propose_within(command, Duration::ZERO).boxed()
    }

    fn refresh(&self, at_least: u64) -> BoxFuture<'_, Result<(), ProposeError>> {
        match &self.way {
            Way::Server(_) => self.applied(at_least).boxed(),
            Way::Client { views, .. } => views.refresh_own(at_least).boxed(),
        }
    }
}

fn unexpected(server: SocketAddr) -> ProposeError {
    ProposeError::Refused(format!("rpc error: server {server} answers another question; is it another version?"))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How long a leader is still waited for.
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new(hold: Duration) -> Self {
        Self { until: Instant::now() + hold, pause: FIRST_PAUSE }
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Waits a little, each time twice as long; an error when the time is over.
    async fn pause(&mut self) -> Result<(), ProposeError> {
        let left = self.left();
        if left.is_zero() {
            return Err(ProposeError::NoLeader);
        }
        tokio::time::sleep(self.pause.min(left)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
