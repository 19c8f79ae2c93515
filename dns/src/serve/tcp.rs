//! TCP, through hickory-server: it frames and times connections, the pure core answers, and the records are handed back
//! as hickory's to be written.
//!
//! hickory reads each request before we see it and refuses what it cannot read with FORMERR; responses are dropped.
//! It always compresses names (`disable_compression` is for UDP), never into SRV targets, so an answer that does not
//! fit is cut by the length hickory itself writes.

use std::{cell::RefCell, io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use hickory_proto::{
    op::{Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode, ResponseCode},
    rr::Record as HickoryRecord,
};
use hickory_server::{
    Server,
    net::runtime::Time,
    server::{Request as HickoryRequest, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::shared::Shared;
use crate::{
    client::{Client, Transport},
    errand,
    responder::{Errand, Failure, Outcome, Responder},
    wire::{flag, rcode},
};

/// Who asks over TCP.
const CLIENT: Client = Client { transport: Transport::Tcp, address: None, idle: Some(IDLE) };

/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(10);
/// Replies that may wait for a slow reader.
const REPLIES_MAX: usize = 64;
/// Connections the system holds before we take them.
const BACKLOG: i32 = 512;

thread_local! {
    /// Each runtime thread's own memory; used between awaits only.
    static RESPONDER: RefCell<Responder> = RefCell::new(Responder::new(rand::random()));
}

/// TCP being served.
pub(super) struct Running(Server<Handler>);

/// A listener at `address`.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
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

/// Serves the listeners.
pub(super) fn serve(listeners: Vec<TcpListener>, shared: Arc<Shared>) -> Running {
    let mut server = Server::new(Handler { shared });
    for listener in listeners {
        server.register_listener(listener, IDLE, REPLIES_MAX);
    }
    Running(server)
}

impl Running {
    /// Stops taking connections and ends those there are.
    pub(super) async fn shutdown(&mut self) {
        if let Err(error) = self.0.shutdown_gracefully().await {
            tracing::debug!(%error, "DNS over TCP ended");
        }
    }
}

struct Handler {
    shared: Arc<Shared>,
}

/// A reply in hickory's records.
struct Reply {
    flags: u16,
    sections: [Vec<HickoryRecord>; 3],
    edns: Option<Edns>,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &HickoryRequest, response: R) -> ResponseInfo {
        let packet = request.as_slice();
        let mut raw = Vec::new();
        if let Some(errand) = self.answer(packet, &mut raw) {
            raw = self.elsewhere(packet, errand).await;
        }
        match Message::from_vec(&raw) {
            Ok(message) => send(request, passed_on(&raw, message), response).await,
            Err(_) => info(request.metadata.id, 0),
        }
    }
}

impl Handler {
    fn answer(&self, packet: &[u8], reply: &mut Vec<u8>) -> Option<Errand> {
        let moment = self.shared.moment();
        let view = self.shared.view(&moment, None);
        RESPONDER.with_borrow_mut(|responder| {
            let before = responder.counts();
            let outcome = responder.respond(packet, &CLIENT, &view, reply);
            self.shared.tcp_tally.add(responder.counts() - before);
            if let Outcome::Elsewhere(errand) = outcome { Some(errand) } else { None }
        })
    }

    async fn elsewhere(&self, packet: &[u8], errand: Errand) -> Vec<u8> {
        let Ok(_permit) = self.shared.errands.clone().try_acquire_owned() else {
            return errand::failed(&self.shared, packet, Failure::BUSY, &CLIENT);
        };
        errand::reply(&self.shared, packet, errand, &CLIENT).await
    }
}

async fn send<R: ResponseHandler>(request: &HickoryRequest, reply: Reply, mut response: R) -> ResponseInfo {
    let mut builder = MessageResponseBuilder::from_message_request(request);
    if let Some(edns) = &reply.edns {
        builder.edns(edns);
    }
    let metadata = metadata(request.metadata.id, reply.flags);
    let [answers, authority, additional] = &reply.sections;
    let message = builder.build(metadata, answers, authority, [], additional);
    match response.send_response(message).await {
        Ok(sent) => sent,
        Err(error) => {
            tracing::debug!(%error, "cannot send a DNS reply");
            info(request.metadata.id, reply.flags)
        }
    }
}

fn info(id: u16, flags: u16) -> ResponseInfo {
    ResponseInfo::from(Header { metadata: metadata(id, flags), counts: HeaderCounts::default() })
}

fn metadata(id: u16, flags: u16) -> Metadata {
    let [opcode, code] = [flags >> 11 & 15, flags & 15].map(|bits| u8::try_from(bits).unwrap_or(0));
    let mut metadata = Metadata::new(id, MessageType::Response, OpCode::from_u8(opcode));
    let has = |bit| flags & bit != 0;
    metadata.authoritative = has(flag::AA);
    metadata.truncation = has(flag::TC);
    metadata.recursion_desired = has(flag::RD);
    metadata.recursion_available = has(flag::RA);
    metadata.authentic_data = has(flag::AD);
    metadata.checking_disabled = has(flag::CD);
    metadata.response_code = ResponseCode::from(0, code);
    metadata
}

/// A recursor's reply, with the flags it sent.
fn passed_on(raw: &[u8], message: Message) -> Reply {
    let flags = crate::wire::word(raw, 2).unwrap_or(u16::from(rcode::SERVFAIL));
    let Message { answers, authorities, additionals, edns, .. } = message;
    Reply { flags, sections: [answers, authorities, additionals], edns }
}
