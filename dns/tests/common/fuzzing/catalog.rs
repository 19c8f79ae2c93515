//! A catalog with something of everything that answers are made of, and settings that differ in what they make of it.

use usher_cluster::catalog::command::Registration;
use usher_dns::policy::Policy;

use crate::common::{World, instance, service, tagged, weighted, with_meta};

/// Instances of the largest service: more than any datagram takes.
const MANY: usize = 300;

/// How many there are.
pub const WORLDS: usize = 4;

/// The RFCs' letter, Consul's, the RFCs' with recursors to ask, and Consul's where everything is long.
pub fn worlds() -> [World; WORLDS] {
    // The longest host name: as NSID it fills a datagram.
    let node_name = vec!["n".repeat(60); 4].join(".");
    let rfc = Policy {
        node_name,
        cookie_secret: Some([7; 16]),
        zone_cuts: vec!["service.consul".into(), "10.in-addr.arpa".into()],
        ..Policy::default()
    };
    let recursors = Policy {
        recursors: vec!["192.0.2.53:53".parse().unwrap()],
        minimal_any: true,
        udp_payload_size: Some(600),
        ..Policy::default()
    };
    let long = Policy {
        domain: vec!["d".repeat(60); 3].join("."),
        alt_domain: "consul".into(),
        disable_compression: true,
        ..Policy::of_consul()
    };
    [rfc, Policy::of_consul(), recursors, long].map(world)
}

fn world(policy: Policy) -> World {
    let alt_domain = if policy.alt_domain.is_empty() { "alt.test".into() } else { policy.alt_domain.clone() };
    let mut world = World::new(Policy { alt_domain, ..policy });
    for at in 0..12_u8 {
        let node = with_meta(&format!("n{at:02}"), &format!("10.0.0.{at}"), &[("k", "v"), ("rfc1035-t", "text")]);
        let web = tagged(weighted(service("web", "", at.into()), i64::from(at % 3) + 1, 1), &["a.b", "v1"]);
        world.register(Registration { service: Some(web), ..node });
    }
    for at in 0..3_u8 {
        let (node, address) = (format!("d{at}"), format!("2001:db8::{at}"));
        world.add(&node, &address, service("six", "", 80));
        world.add(&node, &address, instance("both-4", "both", 80));
        world.add(&node, &address, service("both", &format!("10.1.0.{at}"), 80));
        world.add(&node, &address, service("sick", "", 80));
        world.check(&node, &address, "sick", if at == 0 { "passing" } else { "critical" });
        world.add(&node, &address, service("dead", "", 80));
        world.check(&node, &address, "dead", "critical");
    }
    // Aliases: of our own names, of each other, of themselves, of others, of nothing.
    let aliases = [
        ("ext", "web.service.consul"),
        ("toward", "n01.node.consul"),
        ("ring", "ring.service.consul"),
        ("one", "other.service.consul"),
        ("other", "one.service.consul"),
        ("far", "host.example.com"),
        ("far", "web.example.com."),
        ("none", "nosuch.service.consul"),
        ("odd", "not a host name"),
        ("odd", "..."),
    ];
    for (at, (name, target)) in aliases.into_iter().enumerate() {
        world.add(&format!("h{at}"), "10.2.0.1", service(name, target, 443));
    }
    world.add("h", "host.example.com", service("hosted", "", 1));
    world.add("node.with.dots", "10.3.0.1", service("svc.with.dots", "", 65_535));
    let label = "l".repeat(63);
    world.add(&label, "10.3.0.2", tagged(service(&label, "", 80), &[&label]));
    let text = "t".repeat(700);
    let wordy = with_meta("wordy", "::ffff:10.3.0.3", &[("long", &text), ("empty", ""), ("dots", "a.b\\c\"d\u{e9}")]);
    world.register(Registration { service: Some(service("wordy", "", 0)), ..wordy });
    for at in 0..MANY {
        let node = format!("a-node-of-the-largest-service-{at:03}");
        world.add(&node, &format!("10.4.{}.{}", at / 250, at % 250), service("big", "", 80));
    }
    world
}
