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
    rr::{
        Name as HickoryName, RData, Record as HickoryRecord,
        rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT, opt::EdnsOption},
    },
    serialize::binary::BinEncoder,
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
    answer::{Answer, chase::Known},
    errand::{self, Done},
    fit::{Plan, Scratch, Transport},
    responder::{Errand, Planned, Responder, flags},
    wire::{
        flag,
        name::Name,
        rcode,
        record::{Data, Record},
        request::Request,
    },
};

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
        let reply = match self.answer(request.as_slice()) {
            Planned::Dropped => return info(request.metadata.id, 0),
            Planned::Rejected(code) => rejected(request.as_slice(), code),
            Planned::Made(reply) => reply,
            Planned::Elsewhere(errand) => self.elsewhere(request.as_slice(), errand).await,
        };
        send(request, reply, response).await
    }
}

impl Handler {
    fn answer(&self, packet: &[u8]) -> Planned<Reply> {
        let moment = self.shared.moment();
        let view = self.shared.view(&moment, None);
        RESPONDER.with_borrow_mut(|responder| {
            let before = responder.counts();
            let planned = responder.plan(packet, Transport::Tcp, &view, measure, convert);
            self.shared.tcp_tally.add(responder.counts() - before);
            planned
        })
    }

    async fn elsewhere(&self, packet: &[u8], errand: Errand) -> Reply {
        let Ok(_permit) = self.shared.errands.clone().try_acquire_owned() else { return failed(packet) };
        let seed = rand::random();
        let plan = |known: &Known| {
            let moment = self.shared.moment();
            // The same seed each time: the same instances are drawn, and need the same names.
            let mut responder = Responder::new(seed);
            responder.plan(packet, Transport::Tcp, &self.shared.view(&moment, Some(known)), measure, convert)
        };
        match errand::carry_out(&self.shared, packet, Transport::Tcp, errand, plan).await {
            Done::Made(reply) => reply,
            Done::PassedOn(raw) => match Message::from_vec(&raw) {
                Ok(message) => passed_on(&raw, message),
                Err(_) => failed(packet),
            },
            Done::Failed => failed(packet),
        }
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

/// A reply without records: the request's own words decide its flags, as over UDP.
fn rejected(packet: &[u8], code: u8) -> Reply {
    let mut request = Request::default();
    let _verdict_is_known = request.read(packet);
    Reply { flags: request.reject_flags(code) | u16::from(code), sections: Default::default(), edns: None }
}

fn failed(packet: &[u8]) -> Reply {
    let mut request = Request::default();
    let _verdict_is_known = request.read(packet);
    let flags = crate::responder::failed_flags(&request);
    Reply { flags, sections: Default::default(), edns: edns(&request) }
}

/// A recursor's reply, with the flags it sent.
fn passed_on(raw: &[u8], message: Message) -> Reply {
    let flags = crate::wire::word(raw, 2).unwrap_or(u16::from(rcode::SERVFAIL));
    let Message { answers, authorities, additionals, edns, .. } = message;
    Reply { flags, sections: [answers, authorities, additionals], edns }
}

fn convert(request: &Request, answer: &Answer<'_>, plan: &Plan, scratch: &Scratch) -> Reply {
    let one = |record: &Record<'_>| record_of(record, request.name.wire(), &answer.kept);
    Reply {
        flags: flags(request, answer, plan),
        sections: [
            plan.answers(answer).iter().filter_map(one).collect(),
            answer.authority.iter().filter_map(one).collect(),
            plan.additional(answer, scratch).filter_map(one).collect(),
        ],
        edns: edns(request).filter(|_| answer.edns),
    }
}

/// The length of the plan as hickory writes it; the largest number if it does not fit a message at all.
fn measure(request: &Request, answer: &Answer<'_>, plan: &Plan, scratch: &Scratch) -> usize {
    let Reply { sections: [answers, authority, additional], edns, .. } = convert(request, answer, plan, scratch);
    let wanted = [answers.len(), authority.len(), additional.len() + usize::from(edns.is_some())];
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.answers = answers;
    message.authorities = authority;
    message.additionals = additional;
    message.edns = edns;
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    if hickory_proto::serialize::binary::BinEncodable::emit(&message, &mut encoder).is_err() {
        return usize::MAX;
    }
    let written = [6, 8, 10].map(|at| usize::from(crate::wire::word(&bytes, at).unwrap_or(0)));
    if written != wanted {
        return usize::MAX;
    }
    // Without the question no owner is pointed to it: write out what each pointer would have been.
    bytes.len() + request.name.wire().len() + 5
}

fn edns(request: &Request) -> Option<Edns> {
    let asked = request.edns?;
    let mut edns = Edns::new();
    edns.set_max_payload(asked.size);
    edns.set_version(0);
    if let Some(subnet) = asked.subnet {
        let [high, low] = subnet.family.to_be_bytes();
        let mut data = vec![high, low, subnet.prefix, 0];
        data.extend_from_slice(subnet.bytes());
        edns.options_mut().insert(EdnsOption::Unknown(8, data));
    }
    Some(edns)
}

fn record_of(record: &Record<'_>, question: &[u8], kept: &[u8]) -> Option<HickoryRecord> {
    let name = |name: &Name<'_>| name_of(name, question, kept);
    let seconds = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let data = match &record.data {
        Data::A(address) => RData::A(A(*address)),
        Data::Aaaa(address) => RData::AAAA(AAAA(*address)),
        Data::Cname(target) => RData::CNAME(CNAME(name(target)?)),
        Data::Ns(target) => RData::NS(NS(name(target)?)),
        Data::Ptr(target) => RData::PTR(PTR(name(target)?)),
        Data::Soa(soa) => {
            let [refresh, retry, expire, minimum] = soa.timers;
            let (mname, rname) = (name(&soa.mname)?, name(&soa.rname)?);
            RData::SOA(SOA::new(mname, rname, soa.serial, seconds(refresh), seconds(retry), seconds(expire), minimum))
        }
        Data::Srv(srv) => RData::SRV(SRV::new(srv.priority, srv.weight, srv.port, name(&srv.target)?)),
        Data::Txt(text) => RData::TXT(TXT::from_bytes(strings(text.of(kept)))),
    };
    Some(HickoryRecord::from_rdata(name(&record.owner)?, record.ttl, data))
}

fn name_of(name: &Name<'_>, question: &[u8], kept: &[u8]) -> Option<HickoryName> {
    let (head, tail) = name.pieces(question, kept);
    HickoryName::from_labels(strings(head).into_iter().chain(strings(tail))).ok()
}

/// What stands behind each length byte: labels, or character strings.
fn strings(bytes: &[u8]) -> Vec<&[u8]> {
    let mut strings = Vec::new();
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first() {
        let Some((string, after)) = after.split_at_checked(usize::from(*length)) else { break };
        strings.push(string);
        rest = after;
    }
    strings
}
