//! The listeners and connections of the HTTP API.
//!
//! Each connection is a task of its own, with small buffers: ten thousand clients waiting for changes are normal. What
//! one client may hold is bounded by [`super::limits`]; a connection that says nothing, or does not take its answer,
//! is closed.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Api, dispatch,
    first_line::FirstLine,
    forward::Receiving,
    limits::{GRACE, HEAD_TIMEOUT, MAX_FIELDS, TCP_KEEPALIVE},
    metrics::UPKEEP,
    patient::Patient,
    reply::Peer,
};

/// A socket that clients connect to.
#[derive(Debug)]
pub enum Listener {
    /// Over the network.
    Tcp(TcpListener),
    /// On this host.
    Unix(UnixListener),
}

/// What is sent to a client with too many connections; Consul's clients know the text.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nConnection: close\r\n\
    Content-Length: 81\r\n\r\nYour IP is issuing too many concurrent connections, please rate limit your calls\n";

/// How long accepting pauses when the system has no room for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the listeners, and what other agents pass on, until `shutdown`; then ends waiting requests with what they have,
/// finishes the others, and returns.
pub async fn serve(listeners: Vec<Listener>, api: Arc<Api>, shutdown: CancellationToken) {
    api.agent.answer_with(Arc::new(Receiving::new(&api, &shutdown)));
    let server = Arc::new(Server { api, shutdown: shutdown.clone(), clients: Arc::default() });
    let accepting = TaskTracker::new();
    let connections = TaskTracker::new();
    for listener in listeners {
        accepting.spawn(accept(Arc::clone(&server), listener, connections.clone()));
    }
    accepting.spawn(keep_metrics(Arc::clone(&server)));
    shutdown.cancelled().await;
    accepting.close();
    accepting.wait().await;
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections did not end in time");
    }
}

/// What all connections share.
struct Server {
    api: Arc<Api>,
    shutdown: CancellationToken,
    clients: Arc<Clients>,
}

async fn keep_metrics(server: Arc<Server>) {
    let mut ticks = tokio::time::interval(UPKEEP);
    while server.shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        server.api.metrics.upkeep();
    }
}

async fn accept(server: Arc<Server>, listener: Listener, connections: TaskTracker) {
    let shutdown = server.shutdown.clone();
    loop {
        let accepted = match &listener {
            Listener::Tcp(listener) => shutdown.run_until_cancelled(next_tcp(listener)).await,
            Listener::Unix(listener) => shutdown.run_until_cancelled(next_unix(listener)).await,
        };
        match accepted {
            None => return,
            Some(Ok((stream, peer))) => admit(&server, stream, peer, &connections),
            Some(Err(error)) => {
                tracing::error!(error = %error, "cannot accept a connection");
                shutdown.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
            }
        }
    }
}

/// A connection of either kind.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn next_tcp(listener: &TcpListener) -> std::io::Result<(Stream, Peer)> {
    let (stream, address) = listener.accept().await?;
    // Both only make it better: a client is served without them too.
    let _nodelay = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(TCP_KEEPALIVE).with_interval(TCP_KEEPALIVE);
    let _keepalive = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    Ok((Stream::Tcp(stream), Peer::Tcp(address)))
}

async fn next_unix(listener: &UnixListener) -> std::io::Result<(Stream, Peer)> {
    let (stream, _) = listener.accept().await?;
    Ok((Stream::Unix(stream), Peer::Unix))
}

/// Serves a connection in a task of its own, unless its client has enough of them.
fn admit(server: &Arc<Server>, stream: Stream, peer: Peer, connections: &TaskTracker) {
    let key = match peer {
        Peer::Tcp(address) => Some(address.ip().to_canonical()),
        Peer::Unix | Peer::Agent => None,
    };
    let limit = server.api.options.load().http_max_conns_per_client;
    let Some(place) = server.clients.enter(key, limit) else {
        refuse(&stream);
        return;
    };
    let server = Arc::clone(server);
    match stream {
        Stream::Tcp(stream) => connections.spawn(converse(server, stream, peer, place)),
        Stream::Unix(stream) => connections.spawn(converse(server, stream, peer, place)),
    };
}

/// Says why in one attempt and hangs up; a client that floods is not waited for.
fn refuse(stream: &Stream) {
    let _told = match stream {
        Stream::Tcp(stream) => stream.try_write(TOO_MANY),
        Stream::Unix(stream) => stream.try_write(TOO_MANY),
    };
}

/// Answers the requests of one connection, one after the other, until either side ends it.
async fn converse<S>(server: Arc<Server>, stream: S, peer: Peer, _place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (api, shutdown) = (Arc::clone(&server.api), server.shutdown.clone());
    let service = service_fn(move |request| {
        let answer = dispatch::answer(Arc::clone(&api), peer, shutdown.clone(), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let max_head = server.api.options.load().max_header_bytes;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_FIELDS)
        .max_buf_size(max_head.max(MIN_BUFFER))
        .title_case_headers(true)
        .serve_connection(TokioIo::new(FirstLine::new(Patient::new(stream))), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = server.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::trace!(error = %error, "connection ended");
    }
}

/// The least hyper works with.
const MIN_BUFFER: usize = 8192;

/// How many connections each client has. Unix sockets count as one client.
#[derive(Default)]
struct Clients {
    connections: Mutex<HashMap<Option<IpAddr>, usize>>,
}

impl Clients {
    /// Takes a place, or none if the client has `limit` of them (0 sets no limit).
    fn enter(self: &Arc<Self>, client: Option<IpAddr>, limit: usize) -> Option<Place> {
        let mut connections = self.connections.lock();
        let count = connections.entry(client).or_default();
        if limit > 0 && *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place { clients: Arc::downgrade(self), client })
    }
}

/// One connection's place; given back when dropped.
struct Place {
    clients: Weak<Clients>,
    client: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(clients) = self.clients.upgrade() else { return };
        let mut connections = clients.connections.lock();
        if let Some(count) = connections.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Arc};

    use super::{Clients, TOO_MANY};

    #[test]
    fn a_client_has_so_many_places() {
        let clients = Arc::new(Clients::default());
        let one: Option<IpAddr> = Some("10.0.0.1".parse().unwrap());
        let first = clients.enter(one, 2).unwrap();
        let _second = clients.enter(one, 2).unwrap();
        assert!(clients.enter(one, 2).is_none());
        assert!(clients.enter(None, 2).is_some());
        drop(first);
        assert!(clients.enter(one, 2).is_some());
        let _many: Vec<_> = (0..100).map(|_| clients.enter(one, 0).unwrap()).collect();
    }

    #[test]
    fn nothing_is_kept_of_clients_that_are_gone() {
        let clients = Arc::new(Clients::default());
        drop(clients.enter(None, 1));
        assert!(clients.connections.lock().is_empty());
    }

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
