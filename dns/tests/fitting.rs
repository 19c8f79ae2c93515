//! What goes into a message: the reference's numbers, and properties that hold for every answer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests alone")]

mod common;

use std::collections::HashSet;

use common::{World, instance, query, service, tagged, with_meta};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData},
};
use proptest::{collection::vec, prelude::*};
use usher_cluster::catalog::{command::Registration, model::Service};
use usher_dns::{
    client::Transport,
    policy::{Policy, Truncation},
    zone::Zone,
};

/// `count` instances of `name`, each on a node of its own.
fn many(world: &mut World, name: &str, count: usize) {
    for at in 1..=count {
        world.add(&format!("{name}-node{at:02}"), &format!("10.60.{}.{}", at / 250, at % 250), service(name, "", 80));
    }
}

fn with(world: &mut World, policy: Policy) {
    world.zone = Zone::new(policy).unwrap();
}

/// Answers, additional records and whether TC is set.
fn counts(world: &World, question: &str) -> (usize, usize, bool) {
    let (_, reply) = world.message(question);
    (reply.answers.len(), reply.additionals.len(), reply.metadata.truncation)
}

#[test]
fn as_many_as_the_reference_sends() {
    let mut world = World::new(Policy::of_consul());
    many(&mut world, "big", 50);
    many(&mut world, "four", 4);
    many(&mut world, "two", 2);
    let cases = [
        ("two.service.consul A", (2, 0, false)),
        ("four.service.consul A", (3, 0, false)),
        ("four.service.consul SRV", (3, 3, false)),
        ("four.service.consul A edns=4096", (4, 0, false)),
        ("four.service.consul SRV tcp", (4, 4, false)),
        ("big.service.consul A edns=512", (3, 0, false)),
        ("big.service.consul A edns=1232", (50, 0, false)),
        ("big.service.consul SRV edns=1232", (19, 19, false)),
        ("big.service.consul SRV edns=4096", (50, 50, false)),
        ("big.service.consul SRV edns=65535", (50, 50, false)),
        ("big.service.consul SRV tcp", (50, 50, false)),
        ("big.service.consul AAAA", (0, 0, false)),
    ];
    for (question, want) in cases {
        assert_eq!(counts(&world, question), want, "{question}");
    }
    with(&mut world, Policy { truncation: Truncation::Always, ..Policy::of_consul() });
    for (question, want) in [
        ("two.service.consul A", (2, 0, false)),
        ("four.service.consul A", (3, 0, true)),
        ("big.service.consul A edns=100", (3, 0, true)),
        ("big.service.consul SRV edns=1232", (19, 19, true)),
        ("big.service.consul SRV tcp", (50, 50, false)),
    ] {
        assert_eq!(counts(&world, question), want, "{question}");
    }
}

#[test]
fn answer_limits() {
    let mut world = World::new(Policy::of_consul());
    many(&mut world, "big", 30);
    for limit in [0, 1, 2, 3, 7, 8, 9, 30] {
        with(&mut world, Policy { udp_answer_limit: limit, ..Policy::of_consul() });
        assert_eq!(counts(&world, "big.service.consul A").0, limit.min(8), "udp_answer_limit {limit}");
        with(&mut world, Policy { a_record_limit: limit, ..Policy::of_consul() });
        let all = if limit == 0 { 30 } else { limit };
        for question in ["A edns=8192", "ANY edns=8192", "A tcp"] {
            assert_eq!(counts(&world, &format!("big.service.consul {question}")).0, all, "a_record_limit {limit}");
        }
        assert_eq!(counts(&world, "big.service.consul SRV edns=8192").0, 30, "never of SRV");
    }
    with(&mut world, Policy { udp_answer_limit: 0, ..Policy::of_consul() });
    assert_eq!(world.message("big.service.consul A").1.authorities.len(), 1, "nothing may be sent: SOA");
}

#[test]
fn every_byte_of_the_size_counts() {
    let mut world = World::new(Policy::of_consul());
    many(&mut world, "big", 40);
    let mut last = 0;
    for size in 513..900 {
        let (length, reply) = world.message(&format!("big.service.consul A edns={size}"));
        assert!(length <= size, "{length} of {size}, OPT included");
        assert!(size - length < 16 || reply.answers.len() == 40, "room for one more: {length} of {size}");
        assert!(reply.answers.len() >= last);
        last = reply.answers.len();
    }
}

#[test]
fn an_alias_and_what_it_leads_to_are_cut_alike() {
    let mut world = World::new(Policy::of_consul());
    many(&mut world, "big", 9);
    world.add("k1", "10.90.0.1", service("alias", "big.service.consul", 1));
    assert_eq!(counts(&world, "alias.service.consul A"), (3, 0, false), "three at most over plain UDP");
    assert_eq!(counts(&world, "alias.service.consul A tcp"), (4, 0, false), "of the inner question, too");
    with(&mut world, Policy { udp_answer_limit: 0, ..Policy::of_consul() });
    assert_eq!(counts(&world, "alias.service.consul A"), (0, 0, false));
    world.add("k2", "10.90.0.2", instance("other", "alias", 1));
    assert_eq!(counts(&world, "alias.service.consul A"), (0, 0, false), "no alias where there are addresses");
}

#[test]
fn names_in_full() {
    let policy = Policy {
        disable_compression: true,
        truncation: Truncation::Always,
        udp_answer_limit: 100,
        ..Policy::of_consul()
    };
    let mut world = World::new(policy);
    many(&mut world, "big", 50);
    many(&mut world, "four", 4);
    for (question, want) in [
        ("big.service.consul SRV", (4, 4, true)),
        ("big.service.consul SRV edns=1232", (11, 11, true)),
        ("big.service.consul A edns=512", (8, 0, true)),
        ("four.service.consul SRV edns=512", (4, 4, false)),
        ("big.service.consul SRV tcp", (50, 50, false)),
    ] {
        assert_eq!(counts(&world, question), want, "{question}");
    }
}

#[test]
fn a_cut_answer_keeps_the_address_of_each_target_and_nothing_else() {
    let policy = Policy { udp_answer_limit: 8, truncation: Truncation::Always, ..Policy::of_consul() };
    let mut world = World::new(policy);
    for at in 0..8 {
        let web = Some(service("web", "", at));
        world
            .register(Registration { service: web, ..with_meta(&format!("an{at:02}"), &format!("10.62.0.{at}"), &[]) });
    }
    assert_eq!(counts(&world, "web.service.consul SRV"), (8, 8, false));
    let long = "v".repeat(40);
    let web = Some(service("web", "", 7));
    world.register(Registration { service: web, ..with_meta("an07", "10.62.0.7", &[("kk", &long)]) });
    assert_eq!(counts(&world, "web.service.consul SRV"), (7, 7, true), "a little over: one by one");
    assert_eq!(counts(&world, "web.service.consul SRV edns=1232"), (8, 9, false));
}

#[test]
fn long_names() {
    let mut world = World::new(Policy { truncation: Truncation::Always, ..Policy::of_consul() });
    let name = "n".repeat(58);
    for at in 0..4 {
        let web = tagged(instance(&format!("i{at}"), &name, at), &["primary"]);
        world.add(&format!("node{at}"), &format!("10.0.0.{at}"), Service { address: format!("10.1.0.{at}"), ..web });
    }
    let (length, reply) = world.message(&format!("_{name}._primary.service.consul SRV"));
    assert_eq!((reply.answers.len(), reply.additionals.len(), reply.metadata.truncation), (2, 2, true));
    assert!(length <= 512);
    for (answer, additional) in reply.answers.iter().zip(&reply.additionals) {
        let RData::SRV(srv) = &answer.data else { panic!("{answer}") };
        assert_eq!(srv.target, additional.name);
    }
}

#[test]
fn what_never_fits_is_said_to_be_cut() {
    let mut world = World::new(Policy::of_consul());
    let label = "l".repeat(60);
    let host = format!("{label}.{label}.{label}.{label}.example");
    let tag = format!("{label}.{label}.{}", "t".repeat(45));
    world.add("h1", "10.0.0.1", tagged(service(&label, &host, 1), &[&tag]));
    let question = format!("{tag}.{label}.service.consul SRV");
    let (length, reply) = world.message(&question);
    assert!(length <= 512 && reply.metadata.truncation, "whatever the settings: it must be asked again");
    assert_eq!((reply.answers.len(), reply.metadata.response_code), (0, ResponseCode::NoError));
    assert_eq!(world.message(&format!("{question} tcp")).1.answers.len(), 1);
}

#[test]
fn metadata_of_a_node_goes_first() {
    let mut world = World::new(Policy::of_consul());
    let pairs: Vec<(String, String)> = (0..20).map(|at| (format!("key{at}"), "v".repeat(60))).collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    world.register(with_meta("meta", "10.0.0.1", &pairs));
    let (length, reply) = world.message("meta.node.consul A");
    assert!(length <= 512 && !reply.metadata.truncation && reply.answers.len() == 1);
    assert!(length > 512 - 80, "as much as there is room for: {length}");
    let (length, reply) = world.message("meta.node.consul TXT");
    assert!(length <= 512 && reply.metadata.truncation && length > 512 - 80);
    assert_eq!(world.message("meta.node.consul TXT tcp").1.answers.len(), 20);
}

#[test]
fn a_stream_takes_64_kib() {
    let mut world = World::new(Policy { truncation: Truncation::Always, ..Policy::of_consul() });
    many(&mut world, "huge", 1500);
    let (length, reply) = world.message("huge.service.consul SRV tcp edns=1232");
    assert!(reply.metadata.truncation && length <= 65_535);
    assert!(reply.answers.len() > 900 && reply.answers.len() == reply.additionals.len(), "{}", reply.answers.len());
    let (_, reply) = world.message("huge.service.consul A tcp");
    assert_eq!((reply.answers.len(), reply.metadata.truncation), (1500, false));
    let (length, reply) = world.message("huge.service.consul SRV edns=65535");
    assert!(length <= 65_467 && reply.answers.len() > 900 && reply.edns.is_some());
}

/// An instance of any kind.
#[derive(Clone, Debug)]
struct Any {
    node: usize,
    address: Option<String>,
    port: u8,
    meta: usize,
}

fn any_instance() -> impl Strategy<Value = Any> {
    let address = prop_oneof![
        3 => Just(None),
        3 => (0..40_u8).prop_map(|last| Some(format!("10.9.0.{last}"))),
        1 => (0..40_u8).prop_map(|last| Some(format!("2001:db8::{last:x}"))),
        1 => (0..4_u8).prop_map(|at| Some(format!("host{at}.example.com"))),
        1 => Just(Some("other.service.consul".to_owned())),
    ];
    (0..30_usize, address, 0..3_u8, 0..60_usize).prop_map(|(node, address, port, meta)| Any {
        node,
        address,
        port,
        meta,
    })
}

fn world_of(instances: &[Any], policy: Policy) -> World {
    let mut world = World::new(policy);
    many(&mut world, "other", 6);
    for (at, any) in instances.iter().enumerate() {
        let meta = "m".repeat(any.meta);
        let web = Service {
            address: any.address.clone().unwrap_or_default(),
            port: any.port.into(),
            ..instance(&format!("i{at}"), "web", 0)
        };
        let node = with_meta(&format!("node{}", any.node), &format!("10.8.0.{}", any.node), &[("m", &meta)]);
        world.register(Registration { service: Some(web), ..node });
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_reply_is_whole_and_within_its_size(
        instances in vec(any_instance(), 1..60),
        kind in prop_oneof![Just("A"), Just("AAAA"), Just("SRV"), Just("ANY"), Just("TXT")],
        size in prop_oneof![Just(0_u16), 100..2000_u16, Just(4096), Just(65_535)],
        (truncate, full, limit) in (any::<bool>(), any::<bool>(), 0..12_usize),
        seed in any::<u64>(),
    ) {
        let policy = Policy {
            truncation: if truncate { Truncation::Always } else { Truncation::Never },
            disable_compression: full,
            udp_answer_limit: limit,
            ..Policy::of_consul()
        };
        let world = world_of(&instances, policy);
        let edns = if size == 0 { String::new() } else { format!(" edns={size}") };
        let (packet, _) = query(&format!("web.service.consul {kind}{edns}"));
        let (_, reply) = world.packet(seed, &packet, Transport::Udp);
        let room = usize::from(size).max(512);
        prop_assert!(reply.len() <= room, "{} of {room}", reply.len());
        let message = Message::from_vec(&reply).unwrap();
        let everything = Message::from_vec(&world.packet(seed, &packet, Transport::Tcp).1).unwrap();
        prop_assert_eq!(message.edns.is_some(), size != 0);
        let cut = message.answers.len() < everything.answers.len();
        // A name that leads on is drawn anew each time, so only answers without one are comparable.
        let leads_on = everything.answers.iter().any(|record| matches!(record.data, RData::CNAME(_)));
        if !leads_on {
            prop_assert_eq!(message.metadata.truncation, cut && truncate);
            let known: HashSet<String> = everything.answers.iter().map(ToString::to_string).collect();
            for answer in &message.answers {
                prop_assert!(known.contains(&answer.to_string()), "{answer}");
            }
        }
        let distinct: HashSet<String> = message.answers.iter().map(ToString::to_string).collect();
        // Two nodes may name one host with one port: both records stay, as the reference has it.
        prop_assert!(kind == "SRV" || distinct.len() == message.answers.len(), "no duplicates");
        if cut && kind == "SRV" {
            let targets: HashSet<&Name> = message.answers.iter().filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(&srv.target),
                _ => None,
            }).collect();
            for additional in &message.additionals {
                prop_assert!(targets.contains(&additional.name), "{additional} of no target");
            }
        }
    }
}
