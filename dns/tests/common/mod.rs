//! A catalog to ask in tests, and replies as text.
//!
//! Questions go through the whole pure path as packets; replies are read by hickory-proto, an independent reader of
//! DNS, so that what it shows is what clients see.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "for tests alone"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::Mutex,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{
        Name, Record, RecordType,
        rdata::opt::{ClientSubnet, EdnsOption},
    },
    serialize::binary::{BinEncodable, BinEncoder},
};
use usher_cluster::{
    access::{AllowAll, Authorizer},
    catalog::{
        Changes, State,
        command::{Command, Deregistration, Registration},
        model::{Check, Service, Status, Weights},
    },
};
use usher_dns::{
    answer::{View, chase::Known},
    client::{Client, Transport},
    policy::Policy,
    responder::{Outcome, Responder},
    zone::Zone,
};

/// Seconds since 1970 in every test.
pub const NOW: u32 = 1_700_000_000;

/// A catalog with its settings.
pub struct World {
    pub state: State,
    pub zone: Zone,
    pub known: Known,
    pub authorizer: Box<dyn Authorizer>,
    pub index: u64,
    pub stale: Option<u32>,
}

impl World {
    pub fn new(policy: Policy) -> Self {
        let zone = Zone::new(policy).unwrap();
        let mut world = Self {
            state: State::default(),
            zone,
            known: Known::default(),
            authorizer: Box::new(AllowAll),
            index: 0,
            stale: None,
        };
        world.add("n1", "127.0.0.1", service("consul", "", 8300));
        world
    }

    /// Registers what `registration` says.
    pub fn register(&mut self, registration: Registration) {
        self.index += 1;
        let command = Command::Register(Registration { datacenter: "dc1".into(), ..registration });
        self.state.apply(self.index, command, &mut Changes::default()).unwrap();
        self.state.set_as_of(self.index);
    }

    /// Registers a node with an instance.
    pub fn add(&mut self, node: &str, address: &str, service: Service) {
        self.register(Registration { service: Some(service), ..on(node, address) });
    }

    /// Registers a node alone.
    pub fn node(&mut self, node: &str, address: &str) {
        self.register(on(node, address));
    }

    /// Registers a check of an instance, or of the node.
    pub fn check(&mut self, node: &str, address: &str, service_id: &str, status: &str) {
        let check = Check {
            id: format!("check-{service_id}"),
            service_id: service_id.into(),
            status: Status::from(status),
            ..Check::default()
        };
        self.register(Registration { checks: vec![check], ..on(node, address) });
    }

    /// Removes a node.
    pub fn remove(&mut self, node: &str) {
        self.index += 1;
        let command = Command::Deregister(Deregistration { node: node.into(), ..Deregistration::default() });
        self.state.apply(self.index, command, &mut Changes::default()).unwrap();
        self.state.set_as_of(self.index);
    }

    pub fn view(&self) -> View<'_> {
        View {
            state: &self.state,
            zone: &self.zone,
            authorizer: &*self.authorizer,
            known: &self.known,
            now: NOW,
            stale: self.stale,
        }
    }

    /// The reply's bytes.
    pub fn packet(&self, seed: u64, packet: &[u8], transport: Transport) -> (Outcome, Vec<u8>) {
        let mut out = Vec::new();
        let outcome = Responder::new(seed).respond(packet, &Client::by(transport), &self.view(), &mut out);
        (outcome, out)
    }

    /// Asks `name TYPE [edns=N] [ecs=address/bits] [tcp] [nord]`; the reply, read.
    pub fn message(&self, question: &str) -> (usize, Message) {
        let (packet, transport) = query(question);
        let (outcome, reply) = self.packet(1, &packet, transport);
        assert_eq!(outcome, Outcome::Replied, "{question}");
        (reply.len(), Message::from_vec(&reply).unwrap_or_else(|error| panic!("{question}: {error}: {reply:02x?}")))
    }

    /// Asks, and shows the reply: code and flags, then a line for each record, sections in order, records sorted.
    pub fn ask(&self, question: &str) -> String {
        show(&self.message(question).1)
    }

    /// Checks many questions against what they should be answered with.
    pub fn expect(&self, cases: &[(&str, &str)]) {
        for (question, want) in cases {
            let want: Vec<&str> = want.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect();
            let got = self.ask(question);
            let got: Vec<&str> = got.lines().collect();
            assert_eq!(got, want, "{question}");
        }
    }
}

fn on(node: &str, address: &str) -> Registration {
    Registration { node: node.into(), address: address.into(), skip_node_update: false, ..Registration::default() }
}

/// An address of loopback whose port is free for UDP and TCP, on every address. It lies below the ports the system gives
/// to outgoing connections, so that none of them takes it meanwhile; within this process none is given twice.
pub fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    loop {
        let port = rand::random_range(20_100..31_900);
        let is_free = |port| {
            let any = (Ipv4Addr::UNSPECIFIED, port);
            UdpSocket::bind(any).is_ok() && TcpListener::bind(any).is_ok()
        };
        if !given.contains(&port) && is_free(port) {
            given.insert(port);
            return (Ipv4Addr::LOCALHOST, port).into();
        }
    }
}

/// A node with metadata.
pub fn with_meta(node: &str, address: &str, meta: &[(&str, &str)]) -> Registration {
    Registration { node_meta: pairs(meta), ..on(node, address) }
}

/// Owned pairs.
pub fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// An instance called as its service; no address means the node's.
pub fn service(name: &str, address: &str, port: i64) -> Service {
    Service { id: name.into(), name: name.into(), address: address.into(), port, ..Service::default() }
}

/// An instance with an id of its own.
pub fn instance(id: &str, name: &str, port: i64) -> Service {
    Service { id: id.into(), ..service(name, "", port) }
}

/// With tags.
pub fn tagged(service: Service, tags: &[&str]) -> Service {
    Service { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..service }
}

/// With weights.
pub fn weighted(service: Service, passing: i64, warning: i64) -> Service {
    Service { weights: Weights { passing, warning }, ..service }
}

/// The packet of a question as [`World::message`] takes it.
pub fn query(question: &str) -> (Vec<u8>, Transport) {
    let mut words = question.split_whitespace();
    let name = words.next().unwrap();
    let kind: RecordType = words.next().unwrap_or("A").parse().unwrap();
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut query = Query::query(Name::from_ascii(name).unwrap(), kind);
    query.name.set_fqdn(true);
    message.add_query(query);
    let mut transport = Transport::Udp;
    for word in words {
        match word.split_once('=') {
            Some(("edns", size)) => {
                message.edns.get_or_insert_with(Edns::new).set_max_payload(size.parse().unwrap());
            }
            Some(("ecs", subnet)) => {
                let (address, bits) = subnet.split_once('/').unwrap();
                let subnet = ClientSubnet::new(address.parse().unwrap(), bits.parse().unwrap(), 0);
                message.edns.get_or_insert_with(Edns::new).options_mut().insert(EdnsOption::Subnet(subnet));
            }
            None if word == "tcp" => transport = Transport::Tcp,
            None if word == "nord" => message.metadata.recursion_desired = false,
            _ => panic!("{word}?"),
        }
    }
    let mut bytes = Vec::new();
    message.emit(&mut BinEncoder::new(&mut bytes)).unwrap();
    (bytes, transport)
}

/// A reply as text.
pub fn show(message: &Message) -> String {
    let header = &message.metadata;
    let mut lines = vec![header.response_code.to_str().to_ascii_uppercase()];
    for (flag, set) in [
        ("aa", header.authoritative),
        ("tc", header.truncation),
        ("rd", header.recursion_desired),
        ("ra", header.recursion_available),
        ("opt", message.edns.is_some()),
    ] {
        if set {
            lines[0] = format!("{} {flag}", lines[0]);
        }
    }
    for (section, records) in [("an", &message.answers), ("au", &message.authorities), ("ad", &message.additionals)] {
        let mut shown: Vec<String> = records.iter().map(|record| format!("{section} {}", line(record))).collect();
        shown.sort();
        lines.extend(shown);
    }
    lines.join("\n")
}

fn line(record: &Record) -> String {
    format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data).trim_end().to_owned()
}
