//! Bytes from anybody: whatever comes, there is no panic, and a reply is a reply and no larger than it may be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests alone")]

mod common;

use std::sync::LazyLock;

use common::{World, query, service, tagged, with_meta};
use hickory_proto::{op::Message, serialize::binary::DecodeError};
use proptest::{collection::vec, prelude::*, sample::Index};
use usher_cluster::catalog::command::Registration;
use usher_dns::{
    client::{Client, Transport},
    policy::Policy,
    responder::{Outcome, Responder},
};

/// By the letter of the RFCs, and by Consul's.
static WORLDS: LazyLock<[World; 2]> = LazyLock::new(|| {
    let rfc = Policy { cookie_secret: Some([7; 16]), zone_cuts: vec!["service.consul".into()], ..Policy::default() };
    [rfc, Policy::of_consul()].map(world)
});

fn world(policy: Policy) -> World {
    let mut world = World::new(Policy { alt_domain: "alt.test".into(), ..policy });
    for at in 0..12_u8 {
        let node = with_meta(&format!("n{at:02}"), &format!("10.0.0.{at}"), &[("k", "v")]);
        let web = tagged(service("web", "", at.into()), &["a.b"]);
        world.register(Registration { service: Some(web), ..node });
    }
    world.add("h", "host.example.com", service("ext", "web.service.consul", 1));
    world
}

const QUESTIONS: &[&str] = &[
    "web.service.consul A",
    "a.b.web.service.dc1.consul SRV edns=1232",
    "_web._tcp.service.alt.test SRV ecs=10.0.0.0/24",
    "ext.service.consul ANY",
    "n01.node.consul TXT edns=4096",
    "1.0.0.10.in-addr.arpa PTR",
    "0a000001.addr.consul A",
    "consul SOA edns=512",
    "example.com MX",
    "v9.web.service.consul A edns=1232",
    "a.b._and.web.service.consul SRV edns=1232",
    "9.0.0.10.in-addr.arpa PTR edns=512",
];

fn check(packet: &[u8], transport: Transport) {
    WORLDS.iter().for_each(|world| check_in(world, packet, transport));
}

fn check_in(world: &World, packet: &[u8], transport: Transport) {
    let (outcome, reply) = world.packet(7, packet, transport);
    match outcome {
        Outcome::Dropped => assert!(reply.is_empty()),
        Outcome::Elsewhere(errand) => panic!("{errand:?} without recursors"),
        Outcome::Replied => {
            assert!(reply.len() >= 12 && reply[..2] == packet[..2] && reply[2] & 0x80 != 0, "{reply:02x?}");
            let asked = advertised(packet);
            let room = if transport == Transport::Tcp { 65_535 } else { asked };
            assert!(reply.len() <= room, "{} of {room}", reply.len());
            // hickory refuses nothing we send: counts, names, pointers and lengths are right.
            read(&reply).unwrap_or_else(|error| panic!("{error}: {reply:02x?} to {packet:02x?}"));
        }
    }
}

/// The reply, read. hickory knows no client subnet of family 0, which is what `dig +subnet=0` sends and is sent back.
fn read(reply: &[u8]) -> Result<Message, DecodeError> {
    let mut reply = reply.to_vec();
    if reply.ends_with(&[0, 8, 0, 4, 0, 0, 0, 0]) {
        let family = reply.len() - 3;
        reply[family] = 1;
    }
    Message::from_vec(&reply)
}

/// The most any OPT of the packet could be taken to ask for.
fn advertised(packet: &[u8]) -> usize {
    let sizes = packet
        .windows(4)
        .filter(|bytes| bytes[..2] == [0, 41])
        .map(|bytes| usize::from(bytes[2]) << 8 | usize::from(bytes[3]));
    sizes.max().unwrap_or(0).clamp(512, 65_535)
}

#[test]
fn a_client_subnet_of_no_family_is_read() {
    let (mut packet, transport) = query("web.service.consul A edns=1232 ecs=0.0.0.0/0");
    let family = packet.len() - 3;
    packet[family] = 0;
    check(&packet, transport);
}

fn transports() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Udp), Just(Transport::Tcp)]
}

/// What is done to a good packet.
#[derive(Clone, Debug)]
enum Harm {
    Set(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index),
    Swap(Index, Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    let byte = prop_oneof![any::<u8>(), Just(0), Just(0xc0), Just(0x3f), Just(41), Just(0xff)];
    prop_oneof![
        4 => (any::<Index>(), byte).prop_map(|(at, byte)| Harm::Set(at, byte)),
        1 => any::<Index>().prop_map(Harm::Cut),
        1 => (any::<Index>(), vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Harm::Insert(at, bytes)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Harm::Repeat(from, to)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Harm::Swap(one, other)),
    ]
}

fn harmed(mut packet: Vec<u8>, harms: &[Harm]) -> Vec<u8> {
    for harm in harms {
        if packet.is_empty() {
            return packet;
        }
        let length = packet.len();
        match harm {
            Harm::Set(at, byte) => packet[at.index(length)] = *byte,
            Harm::Cut(at) => packet.truncate(at.index(length)),
            Harm::Insert(at, bytes) => {
                let at = at.index(length);
                packet.splice(at..at, bytes.iter().copied());
            }
            Harm::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                let part = packet[from.min(to)..from.max(to)].to_vec();
                packet.extend(part);
            }
            Harm::Swap(one, other) => packet.swap(one.index(length), other.index(length)),
        }
    }
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes(packet in vec(any::<u8>(), 0..300), transport in transports()) {
        check(&packet, transport);
    }

    #[test]
    fn any_bytes_behind_a_good_header(
        flags in prop_oneof![Just([1, 0]), Just([0x20, 0]), any::<[u8; 2]>()],
        counts in prop_oneof![Just([0, 1, 0, 0, 0, 0, 0, 1]), Just([0, 1, 0, 0, 0, 0, 0, 0]), any::<[u8; 8]>()],
        rest in vec(prop_oneof![any::<u8>(), 0..5_u8, Just(0xc0)], 0..300),
        transport in transports(),
    ) {
        check(&[&[0xab, 0xcd][..], &flags, &counts, &rest].concat(), transport);
    }

    #[test]
    fn good_questions_harmed(
        question in any::<Index>(),
        harms in vec(harm(), 1..6),
        transport in transports(),
    ) {
        let (packet, _) = query(QUESTIONS[question.index(QUESTIONS.len())]);
        check(&harmed(packet, &harms), transport);
    }

    #[test]
    fn one_responder_for_all_of_it(packets in vec((any::<Index>(), vec(harm(), 0..4)), 1..10)) {
        // What is kept from one request to the next must not show in the next reply.
        let [world, _] = &*WORLDS;
        let mut kept = Responder::new(7);
        let mut reply = Vec::new();
        for (question, harms) in packets {
            let (packet, transport) = query(QUESTIONS[question.index(QUESTIONS.len())]);
            let packet = harmed(packet, &harms);
            let outcome = kept.respond(&packet, &Client::by(transport), &world.view(), &mut reply);
            let (fresh, fresh_reply) = world.packet(7, &packet, transport);
            prop_assert_eq!(&outcome, &fresh);
            prop_assert!(outcome == Outcome::Replied || reply.is_empty(), "the reply before");
            if outcome == Outcome::Replied {
                let (kept, fresh) = (read(&reply).unwrap(), read(&fresh_reply).unwrap());
                prop_assert_eq!(kept.metadata, fresh.metadata);
                prop_assert_eq!(kept.answers.len(), fresh.answers.len());
                prop_assert_eq!(kept.additionals.len(), fresh.additionals.len());
            }
        }
    }
}
