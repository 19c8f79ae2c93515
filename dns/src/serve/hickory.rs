//! DNS over TLS (RFC 7858) and QUIC (RFC 9250) through hickory-server: it shakes hands, frames and times; the pure core
//! answers. The one place that knows hickory-server.
//!
//! ```text
//!   request's bytes ─► one::answer ─► reply's bytes ─► hickory's Message ─► written anew by hickory
//! ```
//!
//! hickory-server reads each request before we see it and refuses what it cannot read with FORMERR. It writes names
//! compressed whatever the settings, and in messages of more than 16 KiB not all that could be, so `responder` reckons with
//! names in full. It answers the questions of one connection one after the other. What it does not bound: the number of
//! connections. What it bounds: 10 s for a handshake and between questions; over QUIC 5 s for a handshake, during which no
//! other one is begun, and 100 questions on a connection.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use hickory_proto::op::{Header, HeaderCounts, Message, Metadata, ResponseCode};
use hickory_server::{
    Server,
    net::{NetError, runtime::Time, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use rustls::server::ResolvesServerCert;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use super::{ListenError, failed, one, shared::Shared};
use crate::client::{Client, Transport};

/// How long a handshake may take, and a connection be silent.
const IDLE: Duration = Duration::from_secs(10);

/// What is served through hickory-server, if anything is.
pub(super) struct Running(Option<Server<Handler>>);

/// A socket for QUIC at `address`.
pub(super) fn bind_quic(address: SocketAddr) -> io::Result<tokio::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    tokio::net::UdpSocket::from_std(UdpSocket::from(socket))
}

/// Serves the listeners with this certificate.
pub(super) fn serve(
    tls: Vec<(SocketAddr, TcpListener)>,
    quic: Vec<(SocketAddr, tokio::net::UdpSocket)>,
    certificate: &Arc<dyn ResolvesServerCert>,
    shared: &Arc<Shared>,
) -> Result<Running, ListenError> {
    if tls.is_empty() && quic.is_empty() {
        return Ok(Running(None));
    }
    let mut server = Server::new(Handler { shared: shared.clone() });
    for (address, listener) in tls {
        let served = server.register_tls_listener(listener, IDLE, certificate.clone());
        served.map_err(failed("tls", address))?;
    }
    for (address, socket) in quic {
        let served = server.register_quic_listener(socket, IDLE, certificate.clone());
        served.map_err(failed("quic", address))?;
    }
    Ok(Running(Some(server)))
}

impl Running {
    /// Nothing.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Stops, without waiting.
    pub(super) fn halt(&self) {
        if let Some(server) = &self.0 {
            server.shutdown_token().cancel();
        }
    }

    /// Stops taking connections and ends those there are.
    pub(super) async fn shutdown(&mut self) {
        let Some(server) = &mut self.0 else { return };
        if let Err(error) = server.shutdown_gracefully().await {
            tracing::debug!(%error, "encrypted DNS ended");
        }
    }
}

struct Handler {
    shared: Arc<Shared>,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, response: R) -> ResponseInfo {
        // Over QUIC a client asks for nothing to be kept (RFC 9250 5.5.2).
        let (transport, idle) = match request.protocol() {
            Protocol::Quic => (Transport::Quic, None),
            _ => (Transport::Tls, Some(IDLE)),
        };
        let client = Client { transport, address: Some(request.src().ip()), idle };
        let Some(reply) = one::answer(&self.shared, request.as_slice(), &client).await else {
            return not_sent(request.metadata);
        };
        let sent = match Message::from_vec(&reply) {
            Ok(reply) => send(request, &reply, response).await,
            // A recursor's, with records hickory cannot read.
            Err(_) => send_failure(request, response).await,
        };
        sent.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot send a DNS reply");
            not_sent(request.metadata)
        })
    }
}

async fn send<R: ResponseHandler>(
    request: &Request,
    reply: &Message,
    mut response: R,
) -> Result<ResponseInfo, NetError> {
    let builder = MessageResponseBuilder::new(&request.queries, reply.edns.as_ref());
    let message = builder.build(reply.metadata, &reply.answers, &reply.authorities, [], &reply.additionals);
    response.send_response(message).await
}

async fn send_failure<R: ResponseHandler>(request: &Request, mut response: R) -> Result<ResponseInfo, NetError> {
    let builder = MessageResponseBuilder::from_message_request(request);
    response.send_response(builder.error_msg(&request.metadata, ResponseCode::ServFail)).await
}

/// What hickory-server wants to hear of it; only its log and metrics look at it.
fn not_sent(metadata: Metadata) -> ResponseInfo {
    ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
}
