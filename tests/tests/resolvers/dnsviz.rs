//! DNSViz, which looks for what is wrong with a zone and its delegation. (Nothing is signed, so of DNSSEC it sees none.)

use std::{path::Path, process::Command};

use serde_json::{Value, json};
use usher_tests::{
    agent::Builder,
    command::{self, Plan},
    front::{address_with, program},
    poll::PATIENCE,
    ports::Ports,
};

use crate::{delegation::Tree, zone};

/// The port of DNS: the addresses of name servers lead there.
const DNS: u16 = 53;

/// What it says of servers on loopback, which nobody outside could ask.
const PRIVATE: &str = "NS_NAME_PRIVATE_IP";

/// What DNSViz finds wrong with these names, asking the server of a zone, as `zone+:name=address:port`, and those it
/// names.
fn faults(dnsviz: &Path, server: &str, names: &[&str]) -> Vec<String> {
    let probe = ["probe", "-4", "-A", "-E", "-x", server].into_iter().chain(names.iter().copied());
    let found = run(dnsviz, probe, String::new());
    let judged = run(dnsviz, ["grok", "-l", "warning"].into_iter(), found);
    let mut faults = Vec::new();
    if !judged.is_empty() {
        collect(&serde_json::from_str(&judged).expect("it judges in JSON"), &mut faults);
    }
    faults.retain(|fault| !fault.starts_with(PRIVATE));
    faults
}

/// Everything that has a code, wherever it stands.
fn collect(judged: &Value, faults: &mut Vec<String>) {
    match judged {
        Value::Array(items) => items.iter().for_each(|item| collect(item, faults)),
        Value::Object(fields) => {
            if let Some(code) = fields.get("code").and_then(Value::as_str) {
                faults.push(format!("{code}: {}", judged["description"]));
            }
            fields.values().for_each(|field| collect(field, faults));
        }
        _ => {}
    }
}

fn run<'w>(dnsviz: &Path, words: impl Iterator<Item = &'w str>, stdin: String) -> String {
    let plan = Plan { stdin: stdin.into_bytes(), timeout: Some(2 * PATIENCE), ..Plan::default() };
    let ended = command::run(Command::new(dnsviz).args(words), &plan);
    let ended = ended.unwrap_or_else(|error| panic!("dnsviz does not end: {error}"));
    assert_eq!(ended.code, 0, "{}", ended.err());
    assert!(!ended.err().contains("Error"), "{}", ended.err());
    ended.out()
}

#[test]
fn the_zone_is_without_fault() {
    let Some(dnsviz) = program("dnsviz") else { return };
    let Some(address) = address_with(DNS) else { return };
    let settings = json!({
        "bind_addr": address.to_string(),
        "addresses": {"dns": address.to_string()},
        "node_name": "s1",
        "dns_config": {"zone_cuts": ["service.consul"]},
    });
    let _agent = zone::agent("consul", Builder::dev().config(settings).ports(Ports { dns: DNS, ..Ports::free() }));
    let names = [
        "consul",
        "service.consul",
        "web.service.consul",
        "v1.web.service.consul",
        "x.service.consul",
        "_db._tcp.service.consul",
        "n1.node.consul",
        "with.dots.node.consul",
        "0a000001.addr.dc1.consul",
        "alias.service.consul",
    ];
    assert_eq!(faults(&dnsviz, &format!("consul+:s1.node.dc1.consul={address}"), &names), Vec::<String>::new());
}

#[test]
fn its_delegation_is_without_fault() {
    let (Some(dnsviz), Some(named)) = (program("dnsviz"), program("named")) else { return };
    let Some(tree) = Tree::grow(&named, Some(DNS)) else { return };
    let names = [
        "service.corp.example",
        "dc1.corp.example",
        "web.service.corp.example",
        "web.service.dc1.corp.example",
        "0a000001.addr.dc1.corp.example",
        "x.service.corp.example",
    ];
    assert_eq!(faults(&dnsviz, &format!("example+:ns.example={}", tree.parent.address), &names), Vec::<String>::new());
}
