//! The pure path, request bytes in, reply bytes out: 1,000 services of 3 instances (and one of 100), questions at
//! random. Counts the memory taken, too: none in the steady state.
//!
//! `cargo bench -p usher-dns --bench pure`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a measurement, not a product"
)]

use divan::{AllocProfiler, Bencher};
use usher_cluster::{
    access::AllowAll,
    catalog::{
        Changes, State,
        command::{Command, Registration},
        model::Service,
    },
};
use usher_dns::{
    answer::{View, chase::Known},
    client::{Client, Transport},
    policy::Policy,
    responder::Responder,
    zone::Zone,
};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const SERVICES: u32 = 1000;
const A: u16 = 1;
const SRV: u16 = 33;

fn main() {
    divan::main();
}

fn catalog() -> State {
    let mut state = State::default();
    let mut index = 0;
    let mut add = |name: String, id: String, number: u32| {
        index += 1;
        let service = Service {
            id,
            name,
            address: std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string(),
            port: 8000,
            ..Service::default()
        };
        let registration = Registration {
            node: format!("host{}", number % 50),
            address: "127.0.0.1".into(),
            datacenter: "dc1".into(),
            service: Some(service),
            ..Registration::default()
        };
        state.apply(index, Command::Register(registration), &mut Changes::default()).expect("nothing to refuse");
    };
    for number in 0..SERVICES * 3 {
        add(format!("svc{}", number / 3), format!("svc{number}"), number);
    }
    for number in 0..100 {
        add("big".into(), format!("big{number}"), 1_000_000 + number);
    }
    state
}

fn question(name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns.is_some())];
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    if let Some(size) = edns {
        packet.extend_from_slice(&[0, 0, 41]);
        packet.extend_from_slice(&size.to_be_bytes());
        packet.extend_from_slice(&[0; 6]);
    }
    packet
}

fn ask(bencher: Bencher<'_, '_>, packets: &[Vec<u8>]) {
    let (state, zone, known) = (catalog(), Zone::new(Policy::of_consul()).unwrap(), Known::default());
    let view = View { state: &state, zone: &zone, authorizer: &AllowAll, known: &known, now: 1, stale: None };
    let mut responder = Responder::new(1);
    let mut reply = Vec::with_capacity(4096);
    let mut at = 0;
    let mut next = || {
        at = (at + 7919) % packets.len();
        &packets[at]
    };
    (0..packets.len() * 2).for_each(|_| {
        responder.respond(next(), &Client::by(Transport::Udp), &view, &mut reply);
    });
    bencher.bench_local(|| responder.respond(next(), &Client::by(Transport::Udp), &view, &mut reply));
}

fn all(kind: u16) -> Vec<Vec<u8>> {
    (0..SERVICES).map(|service| question(&format!("svc{service}.service.consul"), kind, None)).collect()
}

#[divan::bench]
fn a_of_three(bencher: Bencher<'_, '_>) {
    ask(bencher, &all(A));
}

#[divan::bench]
fn srv_of_three(bencher: Bencher<'_, '_>) {
    ask(bencher, &all(SRV));
}

#[divan::bench]
fn a_of_a_hundred(bencher: Bencher<'_, '_>) {
    ask(bencher, &[question("big.service.consul", A, None)]);
}

#[divan::bench]
fn srv_of_a_hundred_with_edns_1232(bencher: Bencher<'_, '_>) {
    ask(bencher, &[question("big.service.consul", SRV, Some(1232))]);
}

#[divan::bench]
fn no_such_name(bencher: Bencher<'_, '_>) {
    ask(bencher, &[question("nosuch.service.consul", A, None)]);
}
