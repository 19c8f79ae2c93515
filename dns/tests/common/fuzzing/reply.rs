//! Any bytes as a packet: what comes back, by each letter, over each transport, from responders that are kept.

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use hickory_proto::{op::Message, rr::RecordType, serialize::binary::DecodeError};
use usher_dns::{
    answer::{
        View,
        chase::{Known, Outside, OutsideData},
    },
    client::{Client, Transport},
    policy::Compat,
    responder::{Errand, Failure, Outcome, Responder},
    wire::request::{Request, Verdict},
};

use super::{catalog, memory};
use crate::common::World;

/// Bytes a responder, with the buffer it writes to, may come to hold whatever it is asked.
const HELD_MAX: isize = 4 << 20;
/// TC in a stream is for answers beyond this.
const STREAM_FULL: usize = 32 << 10;

/// Who asks: with the stream first, which shows all there is.
fn clients() -> [Client; 5] {
    let away = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let here = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    [
        Client { address: away, idle: Some(Duration::from_secs(10)), ..Client::by(Transport::Tcp) },
        Client::by(Transport::Https),
        Client::by(Transport::Udp),
        Client { address: away, ..Client::by(Transport::Udp) },
        Client { address: here, ..Client::by(Transport::Udp) },
    ]
}

/// A catalog, and the responder that has answered everything so far.
pub struct Server {
    pub world: World,
    responder: Responder,
    reply: Vec<u8>,
    held: isize,
}

thread_local! {
    static SERVERS: RefCell<[Server; catalog::WORLDS]> = RefCell::new(catalog::worlds().map(|world| Server {
        world,
        responder: Responder::new(7),
        reply: Vec::new(),
        held: 0,
    }));
}

/// What a reply says, as far as replies are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub code: u16,
    pub authoritative: bool,
    pub truncated: bool,
    /// Whether it leads from name to name.
    pub aliased: bool,
    pub counts: [usize; 3],
    pub bytes: usize,
}

/// The target.
pub fn run(packet: &[u8]) {
    each_server(|server| {
        server.ask_all(packet);
    });
}

/// Does this with each of the servers.
pub fn each_server(mut with: impl FnMut(&mut Server)) {
    SERVERS.with_borrow_mut(|servers| servers.iter_mut().for_each(&mut with));
}

impl Server {
    /// Asks over everything; what was said over TCP and over UDP, if there was a reply.
    pub fn ask_all(&mut self, packet: &[u8]) -> Option<[Said; 2]> {
        let mut stream: Option<Said> = None;
        let mut datagram = None;
        for client in clients() {
            let said = self.ask(packet, &client);
            if client.transport != Transport::Udp {
                stream = said;
                continue;
            }
            assert_eq!(stream.is_some(), said.is_some(), "a reply over one transport alone");
            let (Some(full), Some(cut)) = (&stream, said) else { continue };
            assert_eq!((full.code, full.authoritative), (cut.code, cut.authoritative));
            let more = full.counts[0] > cut.counts[0] || full.counts[2] > cut.counts[2];
            assert!(!cut.truncated || full.truncated || more || full.bytes > cut.bytes, "TC for no reason: {cut:?}");
            datagram = Some(cut);
        }
        stream.zip(datagram).map(<[Said; 2]>::from)
    }

    fn ask(&mut self, packet: &[u8], client: &Client) -> Option<Said> {
        let before = memory::held();
        let outcome = self.respond(packet, client);
        self.held += memory::held() - before;
        assert!(self.held <= HELD_MAX, "{} bytes are held", self.held);
        match outcome {
            Outcome::Dropped => {
                assert!(self.reply.is_empty(), "dropped, and written");
                None
            }
            Outcome::Replied => Some(check(&self.world, packet, client, &self.reply)),
            Outcome::Elsewhere(errand) => panic!("{errand:?} is left"),
        }
    }

    /// The same, asked of a responder that was asked nothing before, and draws differently.
    pub fn ask_another(&mut self, packet: &[u8], client: &Client) -> Option<Said> {
        let kept = std::mem::replace(&mut self.responder, Responder::new(99));
        let outcome = self.respond(packet, client);
        self.responder = kept;
        (outcome == Outcome::Replied).then(|| check(&self.world, packet, client, &self.reply))
    }

    /// The outcome, with nothing left that had to be found out elsewhere.
    fn respond(&mut self, packet: &[u8], client: &Client) -> Outcome {
        let Self { world, responder, reply, .. } = self;
        let view = world.view();
        let errand = match responder.respond(packet, client, &view, reply) {
            Outcome::Elsewhere(errand) => errand,
            outcome => return outcome,
        };
        assert!(!view.zone.policy.recursors.is_empty(), "{errand:?} without recursors");
        let mut known = Known::default();
        if let Errand::Names(names) = errand {
            names.iter().for_each(|(name, kind)| known.learn(name, *kind, found(name)));
            known.close();
            let view = View { known: &known, ..view };
            match responder.respond(packet, client, &view, reply) {
                Outcome::Elsewhere(_) => {}
                outcome => return outcome,
            }
        }
        responder.fail(packet, Failure::NO_RECURSOR, client, &view, reply)
    }
}

/// What a recursor finds for a name: an alias, and what that leads to.
fn found(name: &[u8]) -> Vec<Outside> {
    assert!(name.len() < 255 && !name.is_empty(), "{name:02x?} is asked for");
    let target = b"\x05alias\x07example\x03net".to_vec();
    vec![
        Outside { owner: name.to_vec(), ttl: 60, data: OutsideData::Cname(target.clone()) },
        Outside { owner: target.clone(), ttl: u32::MAX, data: OutsideData::A([192, 0, 2, 80].into()) },
        Outside { owner: target, ttl: 0, data: OutsideData::Aaaa("2001:db8::80".parse().unwrap()) },
    ]
}

/// What holds for every reply.
fn check(world: &World, packet: &[u8], client: &Client, reply: &[u8]) -> Said {
    let policy = &world.zone.policy;
    let mut request = Request::default();
    let verdict = request.read(packet, policy.compat);
    assert_ne!(verdict, Verdict::Drop, "replied to what is dropped");
    let message = read(reply).unwrap_or_else(|error| panic!("{error}: {reply:02x?} to {packet:02x?}"));
    assert!(reply[..2] == packet[..2] && reply[2] & 0x80 != 0, "id and QR: {reply:02x?}");
    let limit = match client.transport {
        Transport::Udp => {
            let most = policy.udp_payload_to(client.address).max(512);
            usize::from(request.edns.map_or(512, |edns| edns.size.clamp(512, most)))
        }
        _ => 65_535,
    };
    assert!(reply.len() <= limit, "{} bytes of {limit}", reply.len());
    let code = message.metadata.response_code;
    if policy.compat == Compat::Rfc {
        assert_eq!(message.edns.is_some(), request.edns.is_some(), "EDNS: {reply:02x?} to {packet:02x?}");
        if let Ok(asked) = Message::from_vec(packet)
            && asked.edns.is_some()
        {
            assert!(message.edns.is_some(), "hickory reads an OPT in {packet:02x?}");
        }
    }
    if verdict == Verdict::Answer {
        assert_eq!(message.queries.len(), 1, "the question");
    }
    let truncated = message.metadata.truncation;
    if client.transport != Transport::Udp {
        assert!(!truncated || reply.len() > STREAM_FULL, "TC in a stream after {} bytes", reply.len());
    }
    Said {
        code: code.into(),
        authoritative: message.metadata.authoritative,
        truncated,
        aliased: message.answers.iter().any(|record| record.record_type() == RecordType::CNAME),
        counts: [message.answers.len(), message.authorities.len(), message.additionals.len()],
        bytes: reply.len(),
    }
}

/// The reply, read. hickory knows no client subnet of family 0, which is what `dig +subnet=0` sends and is sent back.
fn read(reply: &[u8]) -> Result<Message, DecodeError> {
    Message::from_vec(reply).or_else(|error| {
        let mut reply = reply.to_vec();
        let subnet = reply.windows(8).rposition(|bytes| bytes == [0, 8, 0, 4, 0, 0, 0, 0]).ok_or(error)?;
        reply[subnet + 5] = 1;
        Message::from_vec(&reply)
    })
}
