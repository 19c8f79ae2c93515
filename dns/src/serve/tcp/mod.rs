//! DNS over TCP (RFC 7766): a task a connection, which holds next to nothing while it waits. And DNS over HTTPS
//! ([`mod@https`]), whose connections have places among the same.
//!
//! ```text
//!   accept ─► places ─► connection: bytes ─► frames ─► responder, request by request ─► one write for all replies
//!                                                          └─► errand: a task; its reply goes when it is there
//! ```
//!
//! | what | limit | at it |
//! |---|---|---|
//! | connections in all, of one address (of IPv6, one /64) | 8,192, 1,024 | the one idle for longest is closed |
//! | the same, and none of them is idle | | the new one is closed |
//! | silence; half a request; replies not taken | 10 s each | closed |
//! | errands of one connection | 128 | no more is read until one is back |
//! | bytes held for slow clients, all connections together | 64 MiB | the connection that needs more is closed |
//! | replies gathered for one write | 32 KiB, and the reply that goes beyond | the rest is answered after the write |
//! | an ending server's wait for replies under way | 1 s | closed |
//!
//! A client has to reckon with the end of an idle connection at any time (RFC 7766 6.2.4) and opens another; one that is
//! refused got no answer. So those who only hold connections make room for those who ask. How many questions a connection
//! carries is not limited.

mod connection;
mod frames;
mod https;
mod places;

#[cfg(any(test, fuzzing))]
pub use self::frames::fuzzed;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::server::ResolvesServerCert;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    connection::Connection,
    places::{LIMITS, Places},
};
use super::shared::Shared;

/// Connections the system holds before we take them.
const BACKLOG: i32 = 512;
/// After an error of accepting (no open files left, most likely), before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// TCP being served.
pub(super) struct Running {
    shared: Arc<Shared>,
    ending: CancellationToken,
    places: Arc<Places>,
    tasks: TaskTracker,
}

/// What is spoken on connections.
#[derive(Clone)]
pub(super) enum Protocol {
    /// DNS itself.
    Dns,
    /// DNS over HTTPS.
    Https(TlsAcceptor),
}

impl Protocol {
    /// DNS over HTTPS with this certificate.
    pub(super) fn https(certificate: Arc<dyn ResolvesServerCert>) -> Result<Self, rustls::Error> {
        https::acceptor(certificate).map(Self::Https)
    }
}

/// A listener at `address`.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(socket2::Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an agent that has just ended must not keep the next one from starting.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Running {
    /// Ready to serve; nothing is yet.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (ending, tasks) = (CancellationToken::new(), TaskTracker::new());
        Self { shared, ending, places: Arc::new(Places::new(LIMITS)), tasks }
    }

    /// Serves a listener.
    pub(super) fn serve(&self, listener: TcpListener, protocol: Protocol) {
        let door =
            Door { shared: self.shared.clone(), places: self.places.clone(), tasks: self.tasks.clone(), protocol };
        self.tasks.spawn(door.stand(listener, self.ending.clone()));
    }

    /// Stops taking connections, without waiting. Those there are answer what they have received, and end.
    pub(super) fn halt(&self) {
        self.ending.cancel();
        self.places.close();
    }

    /// The same, and waits until every connection has ended.
    pub(super) async fn shutdown(&self) {
        self.halt();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Where connections come in.
struct Door {
    shared: Arc<Shared>,
    places: Arc<Places>,
    tasks: TaskTracker,
    protocol: Protocol,
}

impl Door {
    async fn stand(self, listener: TcpListener, ending: CancellationToken) {
        while let Some(accepted) = ending.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, address)) => self.admit(stream, address),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a DNS connection");
                    ending.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, address: SocketAddr) {
        let Some(place) = self.places.enter(address.ip()) else {
            tracing::debug!(%address, "too many DNS connections, and none is idle");
            return;
        };
        // Replies are written together: waiting for more of them gains nothing. One works without, only slower.
        let _nodelay = stream.set_nodelay(true);
        let (shared, protocol) = (self.shared.clone(), self.protocol.clone());
        self.tasks.spawn(async move {
            let ended = match protocol {
                Protocol::Dns => Connection::new(stream, address.ip(), shared, place).run().await,
                // Boxed, so that plain connections, which are many, do not have the size of these.
                Protocol::Https(acceptor) => {
                    Box::pin(https::serve(stream, address.ip(), &acceptor, &shared, place)).await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%address, %error, "DNS connection ended");
            }
        });
    }
}
