//! The whole way of a question in words: how it was read, what was found, who was left out and why, and what was replied.
//!
//! ```text
//!   name, type ─► packet ─► the same path as anybody's question ─► reply, as text
//!                    └────► name::asked ─► the catalog's instances, each judged once more in words
//! ```
//!
//! For people at a terminal: nothing here is on the way of other questions. Pure but for asking the question itself.

use std::{fmt::Write as _, str::FromStr};

use hickory_proto::{
    op::Message,
    rr::{Record as HickoryRecord, RecordType, rdata::opt::EdnsOption},
};
use usher_cluster::catalog::{
    Instance,
    model::{Check, Status},
};

use crate::{
    answer::View,
    name::{Asked, Reversed, Tags, Why, asked},
    wire::{
        HEADER, IN, flag, kind,
        name::{NotAName, display, encoded},
        qname::QName,
    },
};

/// Most instances that are told of one by one.
const INSTANCES_MAX: usize = 1000;
/// Most characters of a check's output that are told.
const OUTPUT_MAX: usize = 80;
/// The size of messages the question says its asker takes.
const PAYLOAD: u16 = 65_467;
/// The option that says why, in a reply.
const EXTENDED_ERROR: u16 = 15;

/// A question that cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// The name is none.
    #[error("{0:?} is not a DNS name: {1}")]
    Name(String, NotAName),
    /// The type is not known.
    #[error("{0:?} is not a type of DNS records")]
    Kind(String),
}

/// What became of a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The question as it was asked.
    pub question: String,
    /// What it was taken to ask for.
    pub read_as: String,
    /// What was looked at, and what came of it.
    pub steps: Vec<String>,
    /// The instances of the service, if one is asked for.
    pub instances: Vec<Considered>,
    /// The reply: its code and flags, then its records, a line each.
    pub reply: Vec<String>,
    /// The reply's own reason (RFC 8914), if it has one.
    pub reason: Option<String>,
}

/// An instance, and whether it may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// Its node.
    pub node: String,
    /// Its id.
    pub id: String,
    /// Where it is reached.
    pub address: String,
    /// Its port.
    pub port: i64,
    /// What its checks add up to.
    pub status: String,
    /// Whether it may be answered.
    pub answerable: bool,
    /// Why, or why not.
    pub why: String,
}

/// A question that can be asked.
pub(crate) struct Question {
    name: QName,
    kind: u16,
    /// Its packet.
    pub(crate) packet: Vec<u8>,
    shown: String,
}

impl Question {
    /// The question for `name` and the type called `kind`.
    pub(crate) fn new(name: &str, kind: &str) -> Result<Self, ExplainError> {
        let bad = |error| ExplainError::Name(name.to_owned(), error);
        let labels = if name == "." { Vec::new() } else { encoded(name).map_err(bad)? };
        let kind = RecordType::from_str(&kind.to_ascii_uppercase()).map_err(|_| ExplainError::Kind(kind.to_owned()))?;
        let mut read = QName::default();
        read.set(&labels).ok_or_else(|| bad(NotAName))?;
        let shown = format!("{} {kind}", display(&labels));
        let kind = u16::from(kind);
        Ok(Self { packet: packet(&labels, kind), name: read, kind, shown })
    }

    /// What `view` has to say to it, and the `reply` it got.
    pub(crate) fn explain(&self, view: &View<'_>, reply: &[u8]) -> Explanation {
        let asked = asked(&self.name, self.kind, view.zone);
        let mut explanation =
            Explanation { question: self.shown.clone(), read_as: read_as(&asked, view), ..Explanation::default() };
        if let Asked::Service { name: Some(name), tags, here: true } = asked {
            self.service(name, tags, view, &mut explanation);
        }
        match Message::from_vec(reply) {
            Ok(message) => tell(&message, &mut explanation),
            Err(_) => explanation.reply.push("no reply".into()),
        }
        explanation
    }

    fn service(&self, name: &str, tags: Tags<'_>, view: &View<'_>, explanation: &mut Explanation) {
        let steps = &mut explanation.steps;
        let Some(entry) = view.state.service_entry(name) else {
            return steps.push(format!("the catalog has no service {name:?}"));
        };
        steps.push(format!("the catalog has {} of it", count(entry.instances.len(), "instance")));
        let best = entry.answerable().iter().filter(|instance| judge(instance, tags, self.kind, view).is_ok());
        let best = best.map(|instance| instance.service.tier()).min();
        let mut able = 0;
        for instance in &entry.instances {
            let mut verdict = judge(instance, tags, self.kind, view);
            let later = view.zone.policy.strict() && self.kind != kind::SRV;
            if verdict.is_ok() && later && Some(instance.service.tier()) != best {
                verdict = Err(format!("priority {} waits for lower ones", instance.service.tier()));
            }
            able += usize::from(verdict.is_ok());
            if explanation.instances.len() < INSTANCES_MAX {
                explanation.instances.push(considered(instance, verdict));
            }
        }
        steps.push(format!("{able} of {} may be answered", count(entry.instances.len(), "instance")));
        if entry.instances.len() > INSTANCES_MAX {
            steps.push(format!("the first {INSTANCES_MAX} are shown"));
        }
        let limit = view.zone.policy.a_record_limit;
        if limit > 0 && limit < able && self.kind != kind::SRV {
            steps.push(format!("a_record_limit leaves {limit} of them"));
        }
    }
}

/// The question with EDNS, recursion desired.
fn packet(labels: &[u8], kind: u16) -> Vec<u8> {
    let mut packet = Vec::with_capacity(HEADER + labels.len() + 16);
    for word in [0, flag::RD, 1, 0, 0, 1] {
        packet.extend_from_slice(&u16::to_be_bytes(word));
    }
    packet.extend_from_slice(labels);
    packet.push(0);
    for word in [kind, IN] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.push(0);
    for word in [kind::OPT, PAYLOAD, 0, 0, 0] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet
}

fn read_as(asked: &Asked<'_>, view: &View<'_>) -> String {
    let place = |here: bool| if here { "" } else { ", in another datacenter" };
    match asked {
        Asked::Above => "a name that only has names below it".into(),
        Asked::Addr(one, None) => format!("the address {one}, spelled in hex"),
        Asked::Addr(one, Some(other)) => format!("the addresses {one} and {other}, spelled in hex"),
        Asked::Empty => "hex that spells no address".into(),
        Asked::NameServer => "the addresses of the zone's servers".into(),
        Asked::Node { name: Some(name), here } => format!("node {name:?}{}", place(*here)),
        Asked::Node { name: None, .. } => "a node, by a name that none can have".into(),
        Asked::Nothing(why) => format!("nothing: {}", why_nothing(*why)),
        Asked::Ns => "the servers of the zone".into(),
        Asked::Other if view.zone.recurses() => "a name of others: for the recursors".into(),
        Asked::Other => "a name of others, and there are no recursors".into(),
        Asked::Query => "a stored query".into(),
        Asked::Reverse(Reversed::Address(address)) => format!("the name of {address}"),
        Asked::Reverse(Reversed::Part) => "the first part of addresses".into(),
        Asked::Reverse(_) => "a reverse name that spells no address".into(),
        Asked::Service { name: Some(name), tags, here } => {
            let tags = match tags {
                Tags::All(tags) => format!(" with all of the tags {:?}", tags.split('.').collect::<Vec<_>>()),
                Tags::Any => String::new(),
                Tags::One(tag) => format!(" with the tag {tag:?}"),
            };
            format!("instances of service {name:?}{tags}{}", place(*here))
        }
        Asked::Service { name: None, .. } => "a service, by a name that none can have".into(),
        Asked::Soa => "the start of the zone".into(),
        Asked::Transfer => "the whole zone".into(),
    }
}

fn why_nothing(why: Why) -> &'static str {
    match why {
        Why::Behind => "more than a datacenter stands behind its kind",
        Why::NoAddress => "the digits before 'addr' spell no address",
        Why::NoKind => "no label is 'service', 'node', 'addr' or 'query' with a name before it",
        Why::Mesh => "it asks for the service mesh",
    }
}

/// Whether the instance may be answered, and why.
fn judge(instance: &Instance, tags: Tags<'_>, asked: u16, view: &View<'_>) -> Result<String, String> {
    let own = instance.service.tags.iter().map(String::as_str);
    if !tags.let_through(own) {
        return Err(format!("its tags are {:?}", instance.service.tags));
    }
    if instance.status == Status::Critical {
        return Err(format!("critical: {}", culprits(instance, &Status::Critical)));
    }
    if view.zone.policy.only_passing && instance.status != Status::Passing {
        return Err(format!("only_passing is set, and not passing: {}", culprits(instance, &instance.status)));
    }
    let address = reached(instance);
    match address.parse::<std::net::IpAddr>() {
        Ok(ip) if asked == kind::A && !ip.is_ipv4() && !has(instance, "lan_ipv4") => {
            return Err("it has no IPv4 address".into());
        }
        Ok(ip) if asked == kind::AAAA && !ip.is_ipv6() && !has(instance, "lan_ipv6") => {
            return Err("it has no IPv6 address".into());
        }
        _ => {}
    }
    let weights = &instance.service.weights;
    match &instance.status {
        _ if instance.service.draining => Ok("draining: weight 0, TTL of a second at most".into()),
        Status::Warning => Ok(format!("warning, weight {}: {}", weights.warning, culprits(instance, &Status::Warning))),
        _ => Ok(format!("weight {}", weights.passing)),
    }
}

fn has(instance: &Instance, tag: &str) -> bool {
    let node = instance.service.address.is_empty() && instance.node.tagged_addresses.contains_key(tag);
    node || instance.service.tagged_addresses.contains_key(tag)
}

/// The checks in that status, with what they said.
fn culprits(instance: &Instance, status: &Status) -> String {
    let told = |check: &Check| {
        let line = check.output.lines().next().unwrap_or_default();
        let output: String = line.chars().take(OUTPUT_MAX).collect();
        let whose = if check.service_id.is_empty() { "node check" } else { "check" };
        if output.is_empty() { format!("{whose} {:?}", check.id) } else { format!("{whose} {:?}: {output}", check.id) }
    };
    let bad = instance.checks.iter().filter(|check| check.status == *status);
    bad.map(|check| told(check)).collect::<Vec<_>>().join("; ")
}

fn reached(instance: &Instance) -> &str {
    if instance.service.address.is_empty() { &instance.node.address } else { &instance.service.address }
}

fn considered(instance: &Instance, verdict: Result<String, String>) -> Considered {
    let answerable = verdict.is_ok();
    Considered {
        node: instance.node.name.clone(),
        id: instance.service.id.clone(),
        address: reached(instance).to_owned(),
        port: instance.service.port,
        status: instance.status.as_str().to_owned(),
        answerable,
        why: verdict.unwrap_or_else(|why| why),
    }
}

fn tell(message: &Message, explanation: &mut Explanation) {
    let header = &message.metadata;
    let mut first = header.response_code.to_str().to_owned();
    for (flag, set) in [("aa", header.authoritative), ("tc", header.truncation), ("ra", header.recursion_available)] {
        if set {
            let _a_string_takes_it = write!(first, " {flag}");
        }
    }
    explanation.reply.push(first);
    let line = |section: &str, record: &HickoryRecord| {
        format!("{section} {} {} {} {}", record.name, record.ttl, record.record_type(), record.data)
    };
    for (section, records) in
        [("answer", &message.answers), ("authority", &message.authorities), ("additional", &message.additionals)]
    {
        explanation.reply.extend(records.iter().map(|record| line(section, record)));
    }
    let options = message.edns.iter().flat_map(|edns| edns.options().as_ref());
    explanation.reason = options.into_iter().find_map(|(_, option)| match option {
        EdnsOption::Unknown(EXTENDED_ERROR, data) => {
            let (code, words) = data.split_first_chunk::<2>()?;
            Some(format!("{} (code {})", String::from_utf8_lossy(words), u16::from_be_bytes(*code)))
        }
        _ => None,
    });
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_asked_is_told() {
        let error = |name, kind| Question::new(name, kind).err().map(|error| error.to_string());
        assert_eq!(
            error("a..b", "A").as_deref(),
            Some("\"a..b\" is not a DNS name: not a name of labels of 1 to 63 bytes, 255 in all")
        );
        assert_eq!(error("a.b", "BOGUS").as_deref(), Some("\"BOGUS\" is not a type of DNS records"));
        assert_eq!(error(".", "ns"), None);
    }
}
