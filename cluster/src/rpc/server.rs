//! The server port: who is let in, and what becomes of the connection.
//!
//! A connection counts from the moment it is accepted, in all and for its address; beyond the limits it is told so and
//! closed. Whoever does not introduce itself in time is closed too. What follows depends on the protocol: calls are
//! answered in `answering`, the rest is the consensus's.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Handler,
    answering::{self, Capacity},
    greeting::{self, Greeting, Protocol},
};
use crate::{
    net::{TcpListener, TcpStream},
    raft::Consensus,
};

/// Connections at once.
const CONNECTIONS: usize = 4096;
/// Connections at once of one address.
const CONNECTIONS_OF_ADDRESS: usize = 1024;
/// How long a caller may take to introduce itself, and a refused one to read why.
const GREETING_DEADLINE: Duration = Duration::from_secs(5);
/// How long to wait when the system has no more connections to give.
const PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Clone)]
struct Port {
    handler: Arc<dyn Handler>,
    consensus: Consensus,
    capacity: Capacity,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// Serves the port until `stop`. `consensus` takes the raft and snapshot connections.
pub(crate) fn serve(
    listener: TcpListener,
    handler: Arc<dyn Handler>,
    consensus: Consensus,
    tasks: &TaskTracker,
    stop: CancellationToken,
) {
    let port = Port { handler, consensus, capacity: Capacity::default(), counts: Arc::default() };
    let tracker = tasks.clone();
    tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(target: "agent.rpc", "cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (port, stop) = (port.clone(), stop.clone());
            tracker.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = port.take_in(stream, address) => {}
                }
            });
        }
    });
}

impl Port {
    async fn take_in(self, mut stream: TcpStream, address: SocketAddr) {
        let counted = Counted::new(&self.counts, address.ip());
        let introduced = timeout(GREETING_DEADLINE, async {
            stream.set_nodelay(true)?;
            let greeting = greeting::receive(&mut stream).await?;
            match greeting.and_then(|greeting| self.admit(&counted, greeting)) {
                Ok(greeting) => greeting::welcome(&mut stream).await.map(|()| Some(greeting)),
                Err(reason) => {
                    tracing::debug!(target: "agent.rpc", "connection from {address} refused: {reason}");
                    greeting::refuse(&mut stream, &reason).await.map(|()| None)
                }
            }
        });
        let Ok(Ok(Some(greeting))) = introduced.await else {
            return;
        };
        let ended = match greeting.protocol {
            Protocol::Calls => answering::run(stream, self.handler.clone(), &self.capacity).await,
            Protocol::Raft => self.consensus.serve_peer(stream, greeting.sender).await,
            Protocol::Snapshot => self.consensus.receive_snapshot(stream).await,
        };
        if let Err(error) = ended {
            tracing::debug!(target: "agent.rpc", "connection from {address} ended: {error}");
        }
    }

    fn admit(&self, counted: &Counted, greeting: Greeting) -> Result<Greeting, String> {
        if counted.total > CONNECTIONS || counted.of_address > CONNECTIONS_OF_ADDRESS {
            return Err("too many connections".to_owned());
        }
        let own = self.consensus.raft_id();
        match greeting.protocol {
            Protocol::Raft | Protocol::Snapshot if greeting.target != own => {
                Err(format!("this is server {own}, not {}", greeting.target))
            }
            _ => Ok(greeting),
        }
    }
}

/// A connection as it is counted.
struct Counted {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
    /// How many there are, this one included.
    total: usize,
    /// How many of them are of the same address.
    of_address: usize,
}

impl Counted {
    fn new(counts: &Arc<Mutex<HashMap<IpAddr, usize>>>, address: IpAddr) -> Self {
        let mut by_address = counts.lock();
        let count = by_address.entry(address).or_default();
        *count += 1;
        let of_address = *count;
        let total = by_address.values().sum();
        drop(by_address);
        Self { counts: counts.clone(), address, total, of_address }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut by_address = self.counts.lock();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}
