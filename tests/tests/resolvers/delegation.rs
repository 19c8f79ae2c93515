//! The zone delegated as any other: a parent on BIND, Usher below it on port 53 of an address of its own, and resolvers
//! that know the parent alone.

use std::{fs, net::Ipv4Addr, path::Path};

use usher_tests::{
    agent::{Agent, Builder},
    front::{Front, Place, address_with, program},
    ports::{Ports, free_port},
};

use crate::{bind, readme, unbound, zone};

/// What Usher answers for.
const DOMAIN: &str = "corp.example";
/// The parts of it that are delegated: names of services, and what their SRV records point to.
const CUTS: [&str; 2] = ["service.corp.example", "dc1.corp.example"];

/// Usher's address in the README.
const README_ADDRESS: &str = "192.0.2.53";
/// The zones above.
const ZONES: [&str; 3] = ["example", "in-addr.arpa", "ip6.arpa"];

/// The parent and what it delegates to.
pub(crate) struct Tree {
    /// Of [`ZONES`].
    pub(crate) parent: Front,
    agent: Agent,
}

impl Tree {
    /// Usher listens on an address of its own, on that port or the parent's: there the parent sends whoever asks.
    pub(crate) fn grow(named: &Path, port: Option<u16>) -> Option<Self> {
        let usher = address_with(port.unwrap_or_else(free_port))?;
        let parent = Front::start(named, |place| parent(place, usher));
        let ports = Ports { dns: port.unwrap_or(parent.address.port()), ..Ports::free() };
        let folder = tempfile::tempdir().expect("a folder can be made");
        let settings = readme::block("domain = ").replace(README_ADDRESS, &usher.to_string());
        let reverse = format!("{}\", \"10.in-addr.arpa\", \"8.b.d.0.1.0.0.2.ip6.arpa\"", CUTS[1]);
        let settings = settings.replace(&format!("{}\"", CUTS[1]), &reverse);
        let file = folder.path().join("delegated.hcl");
        fs::write(&file, settings).expect("a file can be written");
        let flag = format!("-config-file={}", file.display());
        let agent = zone::agent(DOMAIN, Builder::dev().flag(&flag).ports(ports));
        Some(Self { parent, agent })
    }

    /// All that is to hold for a resolver that knows the parent alone.
    fn holds(&self, resolver: &Front) {
        zone::every_name(resolver, DOMAIN, &CUTS);
        zone::every_address(resolver, DOMAIN);
        zone::news(&self.agent, resolver, DOMAIN);
        zone::much(resolver, DOMAIN);
        let beside = resolver.ask("n1.node.corp.example A");
        assert_eq!(zone::code(&beside), "NXDOMAIN", "what is not delegated is the parent's");
    }
}

/// A server of the zones above.
fn parent(place: &Place<'_>, usher: Ipv4Addr) -> Vec<String> {
    let own = place.address.ip();
    let start = "$TTL 3600\n@ SOA ns.example. hostmaster.example. 1 3600 600 86400 0\n@ NS ns.example.\n";
    let delegated = readme::block("service.corp.example.").replace(README_ADDRESS, &usher.to_string());
    let example = format!("{start}ns A {own}\n{delegated}");
    let v4 = format!("{start}10 NS ns1.corp.example.\n");
    let v6 = format!("{start}8.b.d.0.1.0.0.2 NS ns1.corp.example.\n");
    let zone = |name: &str, text: &str| {
        let file = place.write(&format!("{name}.zone"), text);
        format!("zone \"{name}\" {{ type primary; file \"{file}\"; }};\n")
    };
    let zones = zone("example", &example) + &zone("in-addr.arpa", &v4) + &zone("ip6.arpa", &v6);
    let text = format!("options {{ {} recursion no; }}; controls {{ }};\n{zones}", bind::options(place, 53));
    bind::arguments(place, &text)
}

#[test]
fn bind_finds_the_way() {
    let Some(named) = program("named") else { return };
    // It asks all servers at one port, which need not be 53.
    let Some(tree) = Tree::grow(&named, None) else { return };
    let stub = |name| format!("zone \"{name}\" {{ type static-stub; server-addresses {{ 127.0.0.1; }}; }};\n");
    let zones = ZONES.map(stub).concat();
    let resolver = Front::start(&named, |place| bind::resolver(place, tree.parent.address.port(), &zones));
    tree.holds(&resolver);
}

#[test]
fn unbound_finds_the_way() {
    let (Some(named), Some(unbound)) = (program("named"), program("unbound")) else { return };
    let Some(tree) = Tree::grow(&named, Some(53)) else { return };
    let parent = tree.parent.address.port();
    let stub = |name| format!("stub-zone:\n name: {name}\n stub-addr: 127.0.0.1@{parent}\n stub-prime: no\n");
    let zones = ZONES.map(stub).concat();
    let resolver = Front::start(&unbound, |place| unbound::arrange(place, "", &zones));
    tree.holds(&resolver);
}
