//! What is registered, what every program in front of it must say to every kind of name, and what it must notice.

use std::collections::BTreeSet;

use hickory_proto::op::Message;
use serde_json::{Value, json};
use usher_tests::{
    agent::{Agent, Builder},
    dns::{self, Options},
    front::Front,
    poll::eventually,
};

/// The zones that programs are told to find at Usher.
pub(crate) const ZONES: [&str; 3] = ["consul", "10.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa"];

/// How many instances the large service has: their SRV records are more than any UDP message between resolvers holds.
const MANY: u16 = 60;

/// Questions and their answers, in any order.
const ANSWERS: &[(&str, &[&str])] = &[
    ("web.service.consul A", &["web.service.consul. 0 A 10.0.0.1", "web.service.consul. 0 A 10.0.0.2"]),
    ("web.service.consul AAAA", &["web.service.consul. 0 AAAA 2001:db8::3"]),
    (
        "web.service.consul SRV",
        &[
            "web.service.consul. 0 SRV 1 1 81 0a000001.addr.dc1.consul.",
            "web.service.consul. 0 SRV 1 5 82 0a000002.addr.dc1.consul.",
            "web.service.consul. 0 SRV 1 1 83 20010db8000000000000000000000003.addr.dc1.consul.",
        ],
    ),
    ("WEB.Service.Consul AAAA", &["web.service.consul. 0 AAAA 2001:db8::3"]),
    ("web.service.dc1.consul AAAA", &["web.service.dc1.consul. 0 AAAA 2001:db8::3"]),
    ("v1.web.service.consul A", &["v1.web.service.consul. 0 A 10.0.0.1"]),
    ("v1.web.service.dc1.consul A", &["v1.web.service.dc1.consul. 0 A 10.0.0.1"]),
    ("release.2.web.service.consul A", &["release.2.web.service.consul. 0 A 10.0.0.2"]),
    ("v2.primary._and.web.service.consul A", &["v2.primary._and.web.service.consul. 0 A 10.0.0.2"]),
    ("_web._v1.service.consul SRV", &["_web._v1.service.consul. 0 SRV 1 1 81 0a000001.addr.dc1.consul."]),
    ("_web._v1.service.dc1.consul SRV", &["_web._v1.service.dc1.consul. 0 SRV 1 1 81 0a000001.addr.dc1.consul."]),
    ("_db._tcp.service.consul SRV", &["_db._tcp.service.consul. 0 SRV 1 1 5432 n1.node.dc1.consul."]),
    ("_db._tcp.consul SRV", &["_db._tcp.consul. 0 SRV 1 1 5432 n1.node.dc1.consul."]),
    ("_db._tcp.service.consul A", &["_db._tcp.service.consul. 0 A 10.0.0.9"]),
    ("db.service.consul TXT", &["db.service.consul. 0 TXT \"engine=postgres\""]),
    ("n1.node.consul A", &["n1.node.consul. 0 A 10.0.0.9"]),
    ("n1.node.dc1.consul A", &["n1.node.dc1.consul. 0 A 10.0.0.9"]),
    ("n1.node.consul TXT", &["n1.node.consul. 0 TXT \"rack=r7\""]),
    ("with.dots.node.consul A", &["with.dots.node.consul. 0 A 10.0.0.10"]),
    ("0a000001.addr.dc1.consul A", &["0a000001.addr.dc1.consul. 0 A 10.0.0.1"]),
    ("0a00ffff.addr.consul A", &["0a00ffff.addr.consul. 0 A 10.0.255.255"]),
    (
        "20010db8000000000000000000000003.addr.dc1.consul AAAA",
        &["20010db8000000000000000000000003.addr.dc1.consul. 0 AAAA 2001:db8::3"],
    ),
    ("alias.service.consul A", &["alias.service.consul. 0 A 10.0.0.9"]),
    ("mixed.service.consul A", &["mixed.service.consul. 0 A 10.0.0.3"]),
];

/// Names that exist, but without such a record.
const NO_DATA: &[&str] = &[
    "web.service.consul MX",
    "mixed.service.consul AAAA",
    "alias.service.consul AAAA",
    "v1.web.service.consul AAAA",
    "n1.node.consul AAAA",
    "0a000001.addr.dc1.consul AAAA",
    "consul A",
    "service.consul A",
    "_tcp.service.consul A",
    "_v1.service.consul A",
    "dc1.consul A",
    "service.dc1.consul A",
    "node.consul A",
    "addr.consul A",
    "addr.dc1.consul TXT",
    "2.web.service.consul A",
    "dots.node.consul A",
    "_and.web.service.consul A",
];

/// Names that do not exist.
const NO_NAME: &[&str] = &[
    "x.service.consul A",
    "x.service.consul SRV",
    "v9.web.service.consul A",
    "_x._tcp.service.consul SRV",
    "_web._v9.service.consul SRV",
    "x.node.consul A",
    "no.dots.node.consul A",
    "zz.addr.consul A",
    "web.service.dc2.consul A",
    "x.consul A",
    "x.y.consul A",
    "down.service.consul A",
];

/// Reverse names and their answers.
const REVERSE: &[(&str, &[&str])] = &[
    ("9.0.0.10.in-addr.arpa PTR", &["9.0.0.10.in-addr.arpa. 0 PTR n1.node.dc1.consul."]),
    ("1.0.0.10.in-addr.arpa PTR", &["1.0.0.10.in-addr.arpa. 0 PTR web.service.dc1.consul."]),
    (
        "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR",
        &["3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 0 PTR web.service.dc1.consul."],
    ),
];

/// Reverse names nobody has, and what they are said to be by which zone.
const NO_REVERSE: &[(&str, &str, &str)] = &[
    ("9.9.9.10.in-addr.arpa PTR", "NXDOMAIN", "10.in-addr.arpa."),
    ("0.10.in-addr.arpa PTR", "NOERROR", "10.in-addr.arpa."),
    ("9.0.0.10.in-addr.arpa MX", "NOERROR", "10.in-addr.arpa."),
    (
        "4.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR",
        "NXDOMAIN",
        "8.b.d.0.1.0.0.2.ip6.arpa.",
    ),
    ("0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR", "NOERROR", "8.b.d.0.1.0.0.2.ip6.arpa."),
];

/// The setting by which the reverse zones of the services are this agent's own.
pub(crate) fn reverse() -> Value {
    json!({"dns_config": {"zone_cuts": &ZONES[1..]}})
}

/// An agent that answers for `domain`, with services of every kind.
pub(crate) fn agent(domain: &str, builder: Builder) -> Agent {
    let agent = builder.config(json!({"domain": domain})).start();
    let register = |service: Value| agent.put_ok("/v1/agent/service/register", &service);
    let both = json!({"Passing": 5, "Warning": 1});
    register(json!({"Name": "web", "ID": "w1", "Address": "10.0.0.1", "Port": 81, "Tags": ["v1"]}));
    register(json!({"Name": "web", "ID": "w2", "Address": "10.0.0.2", "Port": 82, "Weights": both,
        "Tags": ["v2", "primary", "release.2"]}));
    register(json!({"Name": "web", "ID": "w3", "Address": "2001:db8::3", "Port": 83}));
    register(json!({"Name": "down", "Address": "10.0.0.4", "Check": {"TTL": "1h", "Status": "critical"}}));
    let host = format!("n1.node.dc1.{domain}");
    register(json!({"Name": "alias", "Address": host, "Port": 80, "Meta": {"side": "b"}}));
    register(json!({"Name": "mixed", "ID": "mixed1", "Address": "10.0.0.3", "Port": 80}));
    register(json!({"Name": "mixed", "ID": "mixed2", "Address": host, "Port": 80}));
    for number in 0..MANY {
        register(json!({"Name": "many", "ID": format!("m{number}"), "Address": "10.0.0.5", "Port": 1000 + number}));
    }
    let catalog = |registration: Value| agent.put_ok("/v1/catalog/register", &registration);
    catalog(json!({"Node": "n1", "Address": "10.0.0.9", "NodeMeta": {"rack": "r7"},
        "Service": {"Service": "db", "Port": 5432, "Meta": {"engine": "postgres"}}}));
    catalog(json!({"Node": "with.dots", "Address": "10.0.0.10"}));
    agent
}

/// An agent set up as the README has it for those who read no further.
pub(crate) fn of_the_readme() -> Agent {
    agent("consul", Builder::dev().config(json!({"dns_config": {"zone_cuts": ["10.in-addr.arpa"]}})))
}

/// The zone, and the reverse one, are found.
pub(crate) fn is_found(front: &Front) {
    every_name(front, "consul", &["consul"]);
    for (question, answers) in REVERSE.iter().filter(|(question, _)| question.contains("in-addr")) {
        assert_eq!(dns::lines(&front.ask(question).answers), *answers, "{question}");
    }
}

/// Every kind of name below `zones`, which are parts of `domain`, is answered as it should be, twice: what was asked
/// before must not stand in the way.
pub(crate) fn every_name(front: &Front, domain: &str, zones: &[&str]) {
    every_name_but(front, domain, zones, &[]);
}

/// The same from a program that may leave the SOA out of its negative answers to these questions.
pub(crate) fn every_name_but(front: &Front, domain: &str, zones: &[&str], bare: &[&str]) {
    let cases = questions(domain, zones);
    assert!(cases.len() > 20, "few questions are left to ask");
    let mut wrong = Vec::new();
    for (question, want) in cases.iter().chain(cases.iter().rev()) {
        let got = said(&front.ask(question));
        let but_for_its_zone = bare.contains(&question.as_str()) && want.starts_with(&format!("{got};"));
        if got != *want && !but_for_its_zone {
            wrong.push(format!("{question}\n  said {got}\n  want {want}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn questions(domain: &str, zones: &[&str]) -> Vec<(String, String)> {
    let under = |text: &str| text.replace("consul", domain).replace("Consul", domain);
    let zone_of = |question: &str| {
        let name = question.split(' ').next().unwrap_or_default().to_lowercase();
        let is_in = |zone: &&&str| name == **zone || name.ends_with(&format!(".{zone}"));
        zones.iter().filter(is_in).max_by_key(|zone| zone.len()).map(|zone| format!("{zone}."))
    };
    let case = |question: &str, code: &str, answers: &[&str]| {
        let question = under(question);
        let zone = zone_of(&question)?;
        let answers: BTreeSet<String> = answers.iter().map(|line| under(line)).collect();
        let want = as_lines(code, &answers, answers.is_empty().then_some(zone));
        Some((question, want))
    };
    let positive = ANSWERS.iter().filter_map(|(question, answers)| case(question, "NOERROR", answers));
    let no_data = NO_DATA.iter().filter_map(|question| case(question, "NOERROR", &[]));
    let no_name = NO_NAME.iter().filter_map(|question| case(question, "NXDOMAIN", &[]));
    positive.chain(no_data).chain(no_name).collect()
}

/// Addresses are named, and those nobody has are not.
pub(crate) fn every_address(front: &Front, domain: &str) {
    for (question, answers) in REVERSE {
        let answers = answers.iter().map(|line| line.replace("consul", domain)).collect();
        assert_eq!(said(&front.ask(question)), as_lines("NOERROR", &answers, None), "{question}");
    }
    for (question, code, zone) in NO_REVERSE {
        let want = as_lines(code, &BTreeSet::new(), Some((*zone).to_owned()));
        assert_eq!(said(&front.ask(question)), want, "{question}");
    }
}

/// An agent whose answers may be kept, the same in all else.
pub(crate) fn kept() -> Agent {
    let ttls = json!({"dns_config": {"node_ttl": "1h", "service_ttl": {"*": "1h"}}});
    agent("consul", Builder::dev().config(reverse()).config(ttls))
}

/// What is kept of one type must not stand in the way of another: an address by name of other records, one family of
/// addresses of the other.
pub(crate) fn side_by_side(front: &Front) {
    let says = |question: &str, want: &[&str]| {
        let said = dns::lines(&front.ask(question).answers);
        let got: BTreeSet<String> = said.iter().map(|line| without_ttl(line)).collect();
        assert_eq!(got, want.iter().map(|line| (*line).to_owned()).collect(), "{question}");
    };
    for _ in 0..2 {
        says("alias.service.consul A", &["alias.service.consul. A 10.0.0.9"]);
        says("alias.service.consul AAAA", &[]);
        says("alias.service.consul SRV", &["alias.service.consul. SRV 1 1 80 n1.node.dc1.consul."]);
        says("alias.service.consul TXT", &["alias.service.consul. TXT \"side=b\""]);
        says("mixed.service.consul AAAA", &[]);
        says("mixed.service.consul A", &["mixed.service.consul. A 10.0.0.3"]);
    }
}

/// A record's line without the second of its words.
fn without_ttl(line: &str) -> String {
    let (owner, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (_, rest) = rest.split_once(' ').unwrap_or(("", rest));
    format!("{owner} {rest}")
}

/// A service that was asked for in vain is found once it is there, and gone with its last instance.
pub(crate) fn news(agent: &Agent, front: &Front, domain: &str) {
    let questions = [
        format!("late.service.{domain} A"),
        format!("new.late.service.{domain} A"),
        format!("_late._tcp.service.{domain} A"),
    ];
    for question in &questions {
        assert_eq!(code(&front.ask(question)), "NXDOMAIN", "{question}");
    }
    agent.put_ok("/v1/agent/service/register", &json!({"Name": "late", "Address": "10.1.0.1", "Tags": ["new"]}));
    for question in &questions {
        let name = question.split(' ').next().unwrap_or_default();
        let want = vec![format!("{name}. 0 A 10.1.0.1")];
        eventually(question, || match dns::lines(&front.ask(question).answers) {
            got if got == want => Ok(()),
            got => Err(got),
        });
    }
    agent.put_ok("/v1/agent/service/deregister/late", &json!(null));
    for question in &questions {
        eventually(question, || match code(&front.ask(question)) {
            code if code == "NXDOMAIN" => Ok(()),
            code => Err(code),
        });
    }
}

/// An answer too large for UDP comes whole over TCP.
pub(crate) fn much(front: &Front, domain: &str) {
    let question = format!("many.service.{domain} SRV");
    let over = |tcp: bool| front.ask_with(&question, &Options { edns: Some(1232), tcp, ..Options::default() });
    assert!(over(false).metadata.truncation, "cut over UDP, and said so");
    let whole = over(true);
    assert_eq!(code(&whole), "NOERROR");
    let got: BTreeSet<String> = dns::lines(&whole.answers).into_iter().collect();
    let line = |number: u16| format!("many.service.{domain}. 0 SRV 1 1 {} 0a000005.addr.dc1.{domain}.", 1000 + number);
    assert_eq!(got, (0..MANY).map(line).collect());
}

/// A reply's response code.
pub(crate) fn code(message: &Message) -> String {
    dns::code_text(message.metadata.response_code)
}

/// What a reply says: its code, its answers in order of the alphabet, and for a negative one the zone it is of.
fn said(message: &Message) -> String {
    let answers: BTreeSet<String> = dns::lines(&message.answers).into_iter().collect();
    let zone = dns::lines(&message.authorities)
        .iter()
        .find_map(|line| line.split_once(" 0 SOA ").map(|(owner, _)| owner.to_owned()));
    as_lines(&code(message), &answers, zone.filter(|_| answers.is_empty()))
}

fn as_lines(code: &str, answers: &BTreeSet<String>, zone: Option<String>) -> String {
    let answers = answers.iter().map(|line| format!("; {line}"));
    let zone = zone.map(|zone| format!("; nothing, says {zone}"));
    std::iter::once(code.to_owned()).chain(answers).chain(zone).collect()
}
