//! Golden answers: what the reference was seen to answer, asked of the pure core.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "for tests alone")]

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::{NOW, World, instance, pairs, service, tagged, weighted, with_meta};
use hickory_proto::op::Message;
use usher_cluster::{
    access::{Authorizer, Permission},
    catalog::{
        command::Registration,
        model::{Service, ServiceAddress},
    },
};
use usher_dns::policy::{Policy, Soa};

const SOA: &str = "au consul. 0 SOA ns.consul. hostmaster.consul. 1700000000 3600 600 86400 0";

fn nxdomain() -> String {
    format!("No Such Domain aa rd\n{SOA}").replace("No Such Domain", "NON-EXISTENT DOMAIN")
}

fn nodata() -> String {
    format!("NO ERROR aa rd\n{SOA}")
}

#[test]
fn service_addresses() {
    let mut world = World::new(Policy::of_consul());
    world.add("web1", "10.0.0.1", service("web", "", 8080));
    world.add("web1", "10.0.0.1", service("api", "10.9.9.1", 9090));
    world.add("web1", "10.0.0.1", service("sixaddr", "fd00::10", 7070));
    world.add("six1", "2001:db8::6", service("sixnode", "", 6060));
    world.add("web1", "10.0.0.1", service("extweb", "backend.example.com", 443));
    world.add("web1", "10.0.0.1", service("noport", "", 0));
    world.expect(&[
        ("web.service.consul A", "NO ERROR aa rd\n an web.service.consul. 0 A 10.0.0.1"),
        ("web.service.consul AAAA", &nodata()),
        (
            "web.service.consul SRV",
            "NO ERROR aa rd
             an web.service.consul. 0 SRV 1 1 8080 web1.node.dc1.consul.
             ad web1.node.dc1.consul. 0 A 10.0.0.1",
        ),
        ("web.service.consul ANY", "NO ERROR aa rd\n an web.service.consul. 0 A 10.0.0.1"),
        ("web.service.consul TXT", "NO ERROR aa rd\n an web.service.consul. 0 A 10.0.0.1"),
        ("web.service.consul CNAME", &nodata()),
        ("web.service.consul MX", &nodata()),
        (
            "api.service.consul SRV",
            "NO ERROR aa rd
             an api.service.consul. 0 SRV 1 1 9090 0a090901.addr.dc1.consul.
             ad 0a090901.addr.dc1.consul. 0 A 10.9.9.1",
        ),
        ("sixaddr.service.consul A", &nodata()),
        ("sixaddr.service.consul AAAA", "NO ERROR aa rd\n an sixaddr.service.consul. 0 AAAA fd00::10"),
        (
            "sixaddr.service.consul SRV",
            "NO ERROR aa rd
             an sixaddr.service.consul. 0 SRV 1 1 7070 fd000000000000000000000000000010.addr.dc1.consul.
             ad fd000000000000000000000000000010.addr.dc1.consul. 0 AAAA fd00::10",
        ),
        (
            "sixnode.service.consul SRV",
            "NO ERROR aa rd
             an sixnode.service.consul. 0 SRV 1 1 6060 six1.node.dc1.consul.
             ad six1.node.dc1.consul. 0 AAAA 2001:db8::6",
        ),
        ("extweb.service.consul A", "NO ERROR aa rd\n an extweb.service.consul. 0 CNAME backend.example.com."),
        ("extweb.service.consul SRV", "NO ERROR aa rd\n an extweb.service.consul. 0 SRV 1 1 443 backend.example.com."),
        (
            "noport.service.consul SRV",
            "NO ERROR aa rd
             an noport.service.consul. 0 SRV 1 1 0 web1.node.dc1.consul.
             ad web1.node.dc1.consul. 0 A 10.0.0.1",
        ),
        ("nosuch.service.consul A", &nxdomain()),
        ("web.service.dc2.consul A", &nxdomain()),
    ]);
}

#[test]
fn the_question_comes_back_as_it_was_sent() {
    let mut world = World::new(Policy::of_consul());
    world.add("web1", "10.0.0.1", service("Web", "", 8080));
    let (_, reply) = world.message("wEB.Service.CONSUL A edns=1232 nord");
    assert_eq!(reply.queries[0].name.to_ascii(), "wEB.Service.CONSUL.");
    assert_eq!(reply.answers[0].name.to_ascii(), "wEB.Service.CONSUL.");
    assert!(!reply.metadata.recursion_desired);
    assert_eq!(reply.edns.unwrap().max_payload(), 1232);
}

#[test]
fn tags_and_rfc_2782_names() {
    let mut world = World::new(Policy::of_consul());
    world.add("t1", "10.1.0.1", tagged(instance("web1", "web", 8001), &["v1", "Primary"]));
    world.add("t2", "10.1.0.2", tagged(instance("web2", "web", 8002), &["v2", "primary", "a.b"]));
    world.expect(&[
        ("v1.web.service.consul A", "NO ERROR aa rd\n an v1.web.service.consul. 0 A 10.1.0.1"),
        ("a.b.web.service.consul A", "NO ERROR aa rd\n an a.b.web.service.consul. 0 A 10.1.0.2"),
        (
            "PRIMARY.web.service.consul A",
            "NO ERROR aa rd
             an PRIMARY.web.service.consul. 0 A 10.1.0.1
             an PRIMARY.web.service.consul. 0 A 10.1.0.2",
        ),
        ("v3.web.service.consul A", &nxdomain()),
        (
            "_web._v1.dc1.consul SRV",
            "NO ERROR aa rd
             an _web._v1.dc1.consul. 0 SRV 1 1 8001 t1.node.dc1.consul.
             ad t1.node.dc1.consul. 0 A 10.1.0.1",
        ),
        ("_web._udp.service.consul SRV", &nxdomain()),
    ]);
}

#[test]
fn tagged_addresses_by_family() {
    let mut world = World::new(Policy::of_consul());
    let tagged = |address: &str| ServiceAddress { address: address.into(), port: 77 };
    world.register(Registration {
        node: "t1".into(),
        address: "10.1.1.1".into(),
        tagged_addresses: pairs(&[("lan_ipv4", "10.1.1.2"), ("lan_ipv6", "2001:db8::12"), ("wan", "1.2.3.4")]),
        service: Some(service("s", "", 5)),
        ..Registration::default()
    });
    let own = Service {
        tagged_addresses: [("lan_ipv4", "10.2.1.10"), ("lan_ipv6", "2001:db8::aa"), ("wan", "9.9.9.9")]
            .map(|(tag, address)| (tag.to_owned(), tagged(address)))
            .into(),
        ..service("sa", "10.2.1.9", 5)
    };
    world.add("t2", "10.2.1.1", own);
    world.expect(&[
        ("s.service.consul A", "NO ERROR aa rd\n an s.service.consul. 0 A 10.1.1.2"),
        ("s.service.consul AAAA", "NO ERROR aa rd\n an s.service.consul. 0 AAAA 2001:db8::12"),
        ("s.service.consul ANY", "NO ERROR aa rd\n an s.service.consul. 0 AAAA 2001:db8::12"),
        (
            "s.service.consul SRV",
            "NO ERROR aa rd
             an s.service.consul. 0 SRV 1 1 5 20010db8000000000000000000000012.addr.dc1.consul.
             ad 20010db8000000000000000000000012.addr.dc1.consul. 0 AAAA 2001:db8::12",
        ),
        ("sa.service.consul A", "NO ERROR aa rd\n an sa.service.consul. 0 A 10.2.1.10"),
        (
            "sa.service.consul SRV",
            "NO ERROR aa rd
             an sa.service.consul. 0 SRV 1 1 5 20010db80000000000000000000000aa.addr.dc1.consul.
             ad 20010db80000000000000000000000aa.addr.dc1.consul. 0 AAAA 2001:db8::aa",
        ),
        ("t1.node.consul A", "NO ERROR aa rd\n an t1.node.consul. 0 A 10.1.1.2"),
        ("t1.node.consul ANY", "NO ERROR aa rd\n an t1.node.consul. 0 AAAA 2001:db8::12"),
        ("t1.node.consul TXT", "NO ERROR aa rd"),
    ]);
}

#[test]
fn health_decides_who_is_answered_and_how_much() {
    let mut world = World::new(Policy::of_consul());
    for (node, passing, status) in
        [("g1", 10, "passing"), ("g2", 10, "warning"), ("g3", 9, "critical"), ("g4", 5, "odd")]
    {
        let address = format!("10.8.2.{}", &node[1..]);
        world.add(node, &address, weighted(instance("i", "w", 1), passing, 3));
        world.check(node, &address, "i", status);
    }
    let srv = "w.service.consul SRV";
    world.expect(&[(
        srv,
        "NO ERROR aa rd
         an w.service.consul. 0 SRV 1 1 1 g4.node.dc1.consul.
         an w.service.consul. 0 SRV 1 10 1 g1.node.dc1.consul.
         an w.service.consul. 0 SRV 1 3 1 g2.node.dc1.consul.
         ad g1.node.dc1.consul. 0 A 10.8.2.1
         ad g2.node.dc1.consul. 0 A 10.8.2.2
         ad g4.node.dc1.consul. 0 A 10.8.2.4",
    )]);
    let strict = Policy { only_passing: true, ..Policy::of_consul() };
    world.zone = usher_dns::zone::Zone::new(strict).unwrap();
    world.expect(&[("w.service.consul A", "NO ERROR aa rd\n an w.service.consul. 0 A 10.8.2.1")]);
    world.check("g1", "10.8.2.1", "", "critical");
    world.expect(&[
        ("w.service.consul A", &nxdomain()),
        ("g1.node.consul A", "NO ERROR aa rd\n an g1.node.consul. 0 A 10.8.2.1"),
    ]);
}

#[test]
fn duplicates_go_and_large_numbers_wrap() {
    let mut world = World::new(Policy { udp_answer_limit: 8, ..Policy::of_consul() });
    world.add("k4", "10.90.0.4", weighted(instance("c", "ports", 70_000), 65_537, 1));
    world.add("k4", "10.90.0.4", instance("d", "ports", 70_000));
    world.add("k4", "10.90.0.4", instance("e", "ports", -1));
    world.add("k5", "10.90.0.4", instance("f", "ports", 1));
    world.expect(&[
        ("ports.service.consul A", "NO ERROR aa rd\n an ports.service.consul. 0 A 10.90.0.4"),
        (
            "ports.service.consul SRV",
            "NO ERROR aa rd
             an ports.service.consul. 0 SRV 1 1 1 k5.node.dc1.consul.
             an ports.service.consul. 0 SRV 1 1 4464 k4.node.dc1.consul.
             an ports.service.consul. 0 SRV 1 1 65535 k4.node.dc1.consul.
             ad k4.node.dc1.consul. 0 A 10.90.0.4
             ad k4.node.dc1.consul. 0 A 10.90.0.4
             ad k5.node.dc1.consul. 0 A 10.90.0.4",
        ),
    ]);
}

#[test]
fn nodes() {
    let mut world = World::new(Policy { node_ttl: Duration::from_secs(7), ..Policy::of_consul() });
    world.register(with_meta("ext1", "10.3.0.1", &[("os", "linux"), ("rfc1035-spf", "v=spf1 -all")]));
    world.node("ext6", "2001:db8::31");
    world.register(with_meta("exthost", "db.example.org", &[("role", "db")]));
    world.node("Dot.Ted", "10.3.0.5");
    let meta = "an ext1.node.consul. 7 TXT os=linux\n an ext1.node.consul. 7 TXT v=spf1 -all";
    world.expect(&[
        (
            "ext1.node.consul A",
            "NO ERROR aa rd
             an ext1.node.consul. 7 A 10.3.0.1
             ad ext1.node.consul. 7 TXT os=linux
             ad ext1.node.consul. 7 TXT v=spf1 -all",
        ),
        ("ext1.node.consul TXT", &format!("NO ERROR aa rd\n {meta}")),
        ("ext1.node.consul ANY", &format!("NO ERROR aa rd\n an ext1.node.consul. 7 A 10.3.0.1\n {meta}")),
        ("ext1.node.consul MX", "NO ERROR aa rd"),
        ("missing.node.consul MX", "NO ERROR aa rd"),
        ("n1.node.dc2.consul MX", "NO ERROR aa rd"),
        ("n1.node.dc2.consul A", &nxdomain()),
        ("missing.node.consul A", &nxdomain()),
        ("ext6.node.consul A", "NO ERROR aa rd"),
        ("ext6.node.consul AAAA", "NO ERROR aa rd\n an ext6.node.consul. 7 AAAA 2001:db8::31"),
        (
            "exthost.node.consul A",
            "NO ERROR aa rd
             an exthost.node.consul. 7 CNAME db.example.org.
             ad exthost.node.consul. 7 TXT role=db",
        ),
        ("exthost.node.consul CNAME", "NO ERROR aa rd"),
        ("dot.ted.node.dc1.consul A", "NO ERROR aa rd\n an dot.ted.node.dc1.consul. 7 A 10.3.0.5"),
        ("node.consul A", &nxdomain()),
        ("0A0000FF.addr.dc9.consul SRV", "NO ERROR aa rd\n an 0a0000ff.addr.dc9.consul. 7 A 10.0.0.255"),
        ("0a0000.addr.consul A", "NO ERROR aa rd"),
        ("zz000001.addr.consul A", &nxdomain()),
    ]);
}

#[test]
fn metadata_follows_service_targets_unless_turned_off() {
    let ttl = vec![("web".to_owned(), Duration::from_secs(11))];
    let mut world = World::new(Policy { service_ttl: ttl.clone(), ..Policy::of_consul() });
    let web =
        Registration { service: Some(service("web", "10.65.9.9", 4)), ..with_meta("l1", "10.65.0.1", &[("k", "v")]) };
    world.register(web);
    let bare = "NO ERROR aa rd
                an web.service.consul. 11 SRV 1 1 4 0a410909.addr.dc1.consul.
                ad 0a410909.addr.dc1.consul. 11 A 10.65.9.9";
    world.expect(&[
        ("web.service.consul A", "NO ERROR aa rd\n an web.service.consul. 11 A 10.65.9.9"),
        ("web.service.consul SRV", &format!("{bare}\n ad l1.node.dc1.consul. 11 TXT k=v")),
    ]);
    let off = Policy { service_ttl: ttl, node_meta_txt: false, ..Policy::of_consul() };
    world.zone = usher_dns::zone::Zone::new(off).unwrap();
    world.expect(&[("web.service.consul SRV", bare)]);
}

#[test]
fn the_zone_itself() {
    let soa = Soa { refresh: 1800, retry: 300, expire: 43_200, min_ttl: 30 };
    let mut world = World::new(Policy { soa, ..Policy::of_consul() });
    world.add("Server-2", "10.0.0.2", service("consul", "", 8300));
    world.add("bad_name", "10.0.0.3", service("consul", "", 8300));
    let servers = "consul. 0 NS n1.node.dc1.consul.\n consul. 0 NS server-2.node.dc1.consul.";
    let glue = "ad n1.node.dc1.consul. 0 A 127.0.0.1\n ad server-2.node.dc1.consul. 0 A 10.0.0.2";
    let an = |lines: &str| lines.lines().map(|line| format!("an {}", line.trim())).collect::<Vec<_>>().join("\n");
    let soa = format!("consul. 30 SOA ns.consul. hostmaster.consul. {NOW} 1800 300 43200 30");
    let start = format!("NO ERROR aa rd\n an {soa}\n {}\n {glue}", an(servers).replace("an ", "au "));
    world.expect(&[
        ("consul NS", &format!("NO ERROR aa rd\n {}\n {glue}", an(servers))),
        ("web.service.consul NS", &format!("NO ERROR aa rd\n {}\n {glue}", an(servers))),
        ("consul SOA", &start),
        ("nosuch.service.consul SOA", &start),
        ("consul A", &format!("NON-EXISTENT DOMAIN aa rd\n au {soa}")),
        ("consul AXFR", "NOT IMPLEMENTED aa rd"),
        ("example.com A edns=1232", "QUERY REFUSED rd"),
    ]);
    for node in 3..9 {
        world.add(&format!("s{node}"), &format!("10.0.1.{node}"), service("consul", "", 8300));
    }
    assert_eq!(world.message("consul NS").1.answers.len(), 3, "at most three");
}

#[test]
fn reverse_names() {
    let mut world = World::new(Policy::of_consul());
    world.add("P1", "10.68.0.1", service("Web", "10.68.5.5", 1));
    world.add("p6", "2001:db8::68", service("six", "2001:db8::6868", 2));
    world.expect(&[
        ("1.0.68.10.in-addr.arpa PTR", "NO ERROR aa rd\n an 1.0.68.10.in-addr.arpa. 0 PTR P1.node.dc1.consul."),
        ("1.0.68.10.in-addr.arpa A", "NO ERROR aa rd\n an 1.0.68.10.in-addr.arpa. 0 PTR P1.node.dc1.consul."),
        (
            "1.0.68.10.in-addr.arpa SOA",
            &format!("NO ERROR aa rd\n an 1.0.68.10.in-addr.arpa. 0 PTR P1.node.dc1.consul.\n {SOA}"),
        ),
        ("5.5.68.10.in-addr.arpa PTR", "NO ERROR aa rd\n an 5.5.68.10.in-addr.arpa. 0 PTR Web.service.dc1.consul."),
        ("9.9.68.10.in-addr.arpa PTR edns=1232", "SERVER FAILURE rd ra opt"),
        ("68.10.in-addr.arpa PTR", "SERVER FAILURE rd ra"),
        ("x.arpa A", "SERVER FAILURE rd ra"),
    ]);
}

#[test]
fn the_second_domain_is_asked_and_the_first_answers() {
    let mut world = World::new(Policy { alt_domain: "alt.test".into(), ..Policy::of_consul() });
    world.add("d1", "10.67.0.1", service("web", "", 1));
    world.expect(&[
        (
            "web.service.alt.test SRV",
            "NO ERROR aa rd
             an web.service.alt.test. 0 SRV 1 1 1 d1.node.dc1.consul.
             ad d1.node.dc1.consul. 0 A 10.67.0.1",
        ),
        ("nosuch.service.alt.test A", &nxdomain()),
        ("alt.test NS", "NO ERROR aa rd\n an consul. 0 NS n1.node.dc1.consul.\n ad n1.node.dc1.consul. 0 A 127.0.0.1"),
        ("0a000001.addr.alt.test A", "NO ERROR aa rd\n an 0a000001.addr.consul. 0 A 10.0.0.1"),
        ("web.service.other.test A", "QUERY REFUSED rd"),
    ]);
}

#[test]
fn names_of_our_own_are_followed_three_steps() {
    let mut world = World::new(Policy { udp_answer_limit: 8, alt_domain: "alt.test".into(), ..Policy::of_consul() });
    for host in 0..9 {
        world.add(&format!("b{host}"), &format!("10.60.0.{host}"), service("big", "", 1));
    }
    for (name, address) in [
        ("in1", "big.service.consul"),
        ("in2", "in1.service.consul."),
        ("in3", "in2.service.consul"),
        ("in4", "in3.service.consul"),
        ("la", "lb.service.consul"),
        ("lb", "la.service.consul"),
        ("self", "self.service.consul"),
        ("toalt", "K1.node.alt.test"),
        ("toaddr", "0A000001.addr.consul"),
        ("tonx", "nx.service.consul"),
    ] {
        world.add("k1", "10.90.0.1", service(name, address, 1));
    }
    let counts = |question: &str| {
        let (_, reply) = world.message(question);
        (reply.answers.len(), reply.additionals.len())
    };
    assert_eq!(counts("in1.service.consul A"), (6, 0), "five without EDNS");
    assert_eq!(counts("in1.service.consul A edns=4096"), (9, 0), "as many as the inner question may have");
    assert_eq!(counts("in2.service.consul SRV"), (1, 5));
    assert_eq!(counts("in3.service.consul A"), (6, 0));
    world.expect(&[
        (
            "in4.service.consul A",
            "NO ERROR aa rd
             an in1.service.consul. 0 CNAME big.service.consul.
             an in2.service.consul. 0 CNAME in1.service.consul.
             an in3.service.consul. 0 CNAME in2.service.consul.
             an in4.service.consul. 0 CNAME in3.service.consul.",
        ),
        (
            "la.service.consul A",
            "NO ERROR aa rd
             an la.service.consul. 0 CNAME lb.service.consul.
             an la.service.consul. 0 CNAME lb.service.consul.
             an lb.service.consul. 0 CNAME la.service.consul.
             an lb.service.consul. 0 CNAME la.service.consul.",
        ),
        ("self.service.consul A", "NO ERROR aa rd\n an self.service.consul. 0 A 10.90.0.1"),
        (
            "self.service.consul SRV",
            "NO ERROR aa rd
             an self.service.consul. 0 SRV 1 1 1 k1.node.dc1.consul.
             ad k1.node.dc1.consul. 0 A 10.90.0.1",
        ),
        (
            "self.service.dc1.consul A",
            "NO ERROR aa rd
             an self.service.consul. 0 A 10.90.0.1
             an self.service.dc1.consul. 0 CNAME self.service.consul.",
        ),
        (
            "toalt.service.consul SRV",
            "NO ERROR aa rd
             an toalt.service.consul. 0 SRV 1 1 1 K1.node.alt.test.
             ad K1.node.alt.test. 0 A 10.90.0.1",
        ),
        (
            "toaddr.service.consul A",
            "NO ERROR aa rd
             an 0a000001.addr.consul. 0 A 10.0.0.1
             an toaddr.service.consul. 0 CNAME 0A000001.addr.consul.",
        ),
        ("tonx.service.consul A", "NO ERROR aa rd\n an tonx.service.consul. 0 CNAME nx.service.consul."),
    ]);
}

#[test]
fn addresses_go_before_names() {
    let mut world = World::new(Policy::of_consul());
    world.add("k2", "10.90.0.2", instance("a", "mix", 1));
    world.add("k2", "10.90.0.2", Service { address: "x.example.com".into(), ..instance("b", "mix", 1) });
    world.add("k3", "10.90.0.3", Service { address: "y.example.com".into(), ..instance("c", "mix", 1) });
    world.expect(&[("mix.service.consul A", "NO ERROR aa rd\n an mix.service.consul. 0 A 10.90.0.2")]);
    assert_eq!(world.message("mix.service.consul AAAA").1.answers.len(), 1, "one name only");
    assert_eq!(world.message("mix.service.consul SRV").1.answers.len(), 3);
}

#[test]
fn duplicates_are_known_across_names_that_lead_on() {
    let mut world = World::new(Policy { udp_answer_limit: 8, ..Policy::of_consul() });
    for id in ["a", "b", "c"] {
        world.add("k1", "10.0.0.1", instance(id, "dup", 1));
        world.add("k1", "10.0.0.1", instance(&format!("inner-{id}"), "inner", 1));
    }
    world.add("k2", "10.0.0.2", Service { address: "inner.service.consul".into(), ..instance("d", "dup", 1) });
    let (packet, transport) = common::query("dup.service.consul SRV");
    for seed in 0..50 {
        let reply = Message::from_vec(&world.packet(seed, &packet, transport).1).unwrap();
        assert_eq!(reply.answers.len(), 2, "seed {seed}: {}", common::show(&reply));
    }
}

#[test]
fn what_cannot_be_a_name_is_left_out() {
    let mut world = World::new(Policy::of_consul());
    world.add(&"x".repeat(70), "10.90.0.8", service("lw", "", 1));
    world.expect(&[
        ("lw.service.consul A", "NO ERROR aa rd\n an lw.service.consul. 0 A 10.90.0.8"),
        ("lw.service.consul SRV", &nodata()),
    ]);
    world.add("ok", "10.90.0.9", service("lw", "", 1));
    assert_eq!(world.message("lw.service.consul SRV").1.answers.len(), 1);
    world.node("bad", "not..a..name");
    world.expect(&[("bad.node.consul A", "NO ERROR aa rd")]);
}

#[test]
fn client_subnets_are_for_everybody() {
    let world = World::new(Policy::of_consul());
    let (_, reply) = world.message("nosuch.service.consul A ecs=192.0.2.0/24");
    let subnet = format!("{:?}", reply.edns.unwrap().options());
    assert!(
        subnet.contains("192.0.2.0") && subnet.contains("source_prefix: 24") && subnet.contains("scope_prefix: 0"),
        "{subnet}"
    );
}

#[test]
fn every_order_comes_up() {
    let mut world = World::new(Policy::of_consul());
    for host in 1..=3 {
        world.add(&format!("h{host}"), &format!("10.0.0.{host}"), service("web", "", 1));
    }
    let (packet, transport) = common::query("web.service.consul A");
    let orders: BTreeSet<Vec<u8>> = (0..200).map(|seed| world.packet(seed, &packet, transport).1).collect();
    assert_eq!(orders.len(), 6);
}

struct Deny(&'static str);

impl Authorizer for Deny {
    fn allows(&self, token: &str, permission: &Permission<'_>) -> bool {
        assert_eq!(token, "");
        !matches!(permission, Permission::ServiceRead(name) | Permission::NodeRead(name) if *name == self.0)
    }
}

#[test]
fn what_may_not_be_seen_does_not_exist() {
    let mut world = World::new(Policy::of_consul());
    world.add("h1", "10.0.0.1", service("web", "10.0.9.9", 1));
    world.authorizer = Box::new(Deny("web"));
    world.expect(&[
        ("web.service.consul A", &nxdomain()),
        ("9.9.0.10.in-addr.arpa PTR", "SERVER FAILURE rd ra"),
        ("h1.node.consul A", "NO ERROR aa rd\n an h1.node.consul. 0 A 10.0.0.1"),
    ]);
    world.authorizer = Box::new(Deny("h1"));
    world.expect(&[("h1.node.consul A", &nxdomain()), ("1.0.0.10.in-addr.arpa PTR", "SERVER FAILURE rd ra")]);
}
