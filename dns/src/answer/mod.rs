//! What is asked and what the catalog holds → records. Pure: no I/O, no clock, no randomness of its own.
//!
//! ```text
//!   Request ─► name::asked ─► service | node | addr | reverse | zone ─► Answer (records that borrow) ─► fit ─► wire
//!                                          │
//!                              names of others that are not in `Known`: noted in `wants`, asked by `recurse`,
//!                              and the question answered again with what came back
//! ```
//!
//! The catalog may be a partial one: what is looked up and not held is noted in `needs`, fetched, and the question
//! answered again (`errand`).
//!
//! Records point into the catalog's memo and the settings; nothing is copied until the message is written. In the
//! steady state no memory is taken: see [`Store`].
//!
//! | rule | where |
//! |---|---|
//! | a name with nothing behind it: NXDOMAIN, a service without such a record: NOERROR, both with SOA | here |
//! | a node without such a record: NOERROR without SOA | [`mod@node`] |
//! | critical instances are left out; warning ones with `only_passing`; order is random; duplicates go | [`mod@service`] |
//! | host-name addresses: CNAME and what it leads to | [`chase`] |
//! | TXT from metadata (RFC 1464) | [`text`] |
//! | SOA and NS for any name, up to three servers with their addresses | [`mod@apex`] |
//! | PTR: a node's address, else a service's; unknown ones go to the recursors, without any SERVFAIL | [`mod@reverse`] |
//! | not our name: to the recursors, without any REFUSED | here |
//!
//! Addresses for other datacenters (`translate_wan_addrs`) come when there are other datacenters.

mod apex;
pub mod chase;
mod form;
mod node;
mod reverse;
mod service;
pub mod text;

use std::net::IpAddr;

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use usher_cluster::{
    access::Authorizer,
    catalog::{Interest, State},
};

use self::chase::Known;
use crate::{
    name::{Asked, asked},
    wire::{
        kind,
        name::{Bytes, Name},
        qname::QName,
        rcode,
        record::{Data, Record},
        request::Request,
    },
    zone::Zone,
};

/// What answers are made from, at one moment.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The catalog.
    pub state: &'a State,
    /// The settings.
    pub zone: &'a Zone,
    /// Who may see what; DNS asks with the anonymous token.
    pub authorizer: &'a dyn Authorizer,
    /// What is known of names of others.
    pub known: &'a Known,
    /// Seconds since 1970: the serial of the zone.
    pub now: u32,
}

/// How an answer is cut if it is too large.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// As a service's: few answers over plain UDP, each with its address.
    Service,
    /// As anything else: additional records first.
    #[default]
    Whole,
}

/// Records, and how to send them.
#[derive(Debug, Default)]
pub struct Answer<'a> {
    /// The response code.
    pub rcode: u8,
    /// Whether we are the authority.
    pub authoritative: bool,
    /// Whether names of others would be found out.
    pub recursion: bool,
    /// Whether EDNS is answered with EDNS.
    pub edns: bool,
    /// What was asked for.
    pub answers: Vec<Record<'a>>,
    /// Who is responsible.
    pub authority: Vec<Record<'a>>,
    /// What may be asked next.
    pub additional: Vec<Record<'a>>,
    /// Bytes that names and texts of these records are ranges of.
    pub kept: Vec<u8>,
    /// How to cut it.
    pub cut: Cut,
    /// Whether there were more answers than were collected.
    pub more: bool,
    /// Whether this is not ours to answer: the question goes to the recursors.
    pub forward: bool,
    /// Names of others this answer needs and that are not known.
    pub wants: Vec<&'a [u8]>,
    /// How many names were followed for it.
    pub chased: usize,
    /// Parts of the catalog this answer needs and that are not held here: the answer is none until they are.
    pub needs: Vec<Interest>,
}

impl Answer<'_> {
    /// Notes a part of the catalog that is not held here.
    fn need(&mut self, interest: Interest) {
        if !self.needs.contains(&interest) {
            self.needs.push(interest);
        }
    }
}

/// An answer's memory, between answers.
#[derive(Debug, Default)]
pub struct Store(Answer<'static>);

impl Store {
    /// An empty answer with the memory of the last one.
    pub fn lend<'a>(&mut self) -> Answer<'a> {
        std::mem::take(&mut self.0)
    }

    /// Takes the memory back.
    pub fn keep(&mut self, answer: Answer<'_>) {
        let Answer { answers, authority, additional, mut kept, .. } = answer;
        kept.clear();
        self.0 = Answer {
            answers: emptied(answers),
            authority: emptied(authority),
            additional: emptied(additional),
            kept,
            ..Answer::default()
        };
    }
}

/// The vector without its records, so that it can hold records that live longer: collecting in place keeps its memory.
fn emptied<'b>(records: Vec<Record<'_>>) -> Vec<Record<'b>> {
    records.into_iter().map_while(|_| None).collect()
}

/// What making answers needs besides the view: randomness, and lists kept from one answer to the next.
pub struct Desk {
    rng: SmallRng,
    order: Vec<u32>,
    seen: Vec<u32>,
    stamp: u32,
}

impl Desk {
    /// A desk with randomness from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), order: Vec::new(), seen: Vec::new(), stamp: 0 }
    }

    /// Takes a random one of `order[from..]` to `from` and returns it.
    fn draw(&mut self, from: usize) -> Option<u32> {
        let to = self.order.len();
        if from >= to {
            return None;
        }
        self.order.swap(from, self.rng.random_range(from..to));
        self.order.get(from).copied()
    }

    /// Forgets which groups were seen; there are `groups` of them.
    fn unsee(&mut self, groups: usize) {
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.seen.fill(0);
            self.stamp = 1;
        }
        if self.seen.len() < groups {
            self.seen.resize(groups, 0);
        }
    }

    /// Whether the group is seen for the first time.
    fn first(&mut self, group: u32) -> bool {
        let Some(seen) = self.seen.get_mut(group as usize) else { return true };
        let first = *seen != self.stamp;
        *seen = self.stamp;
        first
    }
}

/// The records a question about `owner` may get, and how far names may lead on.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// The owner of the records.
    pub(crate) owner: Name<'a>,
    /// The owner's labels, as sent.
    pub(crate) labels: &'a [u8],
    /// The type.
    pub(crate) kind: u16,
    /// How many more names of our own may be followed.
    pub(crate) depth: u8,
    /// Whether the client speaks EDNS.
    pub(crate) edns: bool,
    /// More answers than these cannot be sent: no more are collected.
    pub(crate) most: usize,
}

/// How many names of our own are followed from one to the next.
const DEPTH: u8 = 3;

/// Answers `request` into `out`, which is empty. At most `most` answers are collected: more would not fit anyway.
pub fn answer<'a>(request: &'a Request, most: usize, view: &View<'a>, desk: &mut Desk, out: &mut Answer<'a>) {
    let zone = view.zone;
    out.authoritative = true;
    out.recursion = zone.recurses();
    out.edns = true;
    let asking = Asking {
        owner: Name::Question,
        labels: request.name.wire(),
        kind: request.kind,
        depth: DEPTH,
        edns: request.edns.is_some(),
        most,
    };
    match asked(&request.name, request.kind, zone) {
        Asked::Axfr => out.rcode = rcode::NOTIMP,
        Asked::Ns => apex::servers(view, desk, out),
        Asked::Other => other(zone, out),
        Asked::Reverse(address) => reverse::reverse(address, request.kind, view, out),
        Asked::Soa => apex::start(view, desk, out),
        asked => inside(asked, &asking, &request.name, view, desk, out),
    }
}

/// Answers what is found under our domains; also asked for names of our own that addresses lead to.
pub(crate) fn inside<'a>(
    asked: Asked<'_>,
    asking: &Asking<'a>,
    name: &QName,
    view: &View<'a>,
    desk: &mut Desk,
    out: &mut Answer<'a>,
) {
    match asked {
        Asked::Addr(address) => addr(address, name, view, out),
        Asked::Node { name, here } => node::node(name.filter(|_| here), asking, view, desk, out),
        Asked::Service { name: Some(name), tag, here: true } => {
            service::service(name, tag, asking, view, desk, out);
        }
        _ => no_such_name(view, out),
    }
}

/// NXDOMAIN, with the SOA of the zone (never of a part of it, whatever was delegated to us).
fn no_such_name<'a>(view: &View<'a>, out: &mut Answer<'a>) {
    out.rcode = rcode::NXDOMAIN;
    out.authority.push(apex::soa(view));
}

fn other(zone: &Zone, out: &mut Answer<'_>) {
    out.authoritative = false;
    if zone.recurses() {
        out.forward = true;
        return;
    }
    out.rcode = rcode::REFUSED;
    out.edns = false;
}

/// The address a name spells, whatever type was asked for. Its owner is under the main domain, lower case.
fn addr<'a>(address: Option<IpAddr>, name: &QName, view: &View<'a>, out: &mut Answer<'a>) {
    let (Some(address), Some(labels)) = (address, view.zone.before(name)) else { return };
    let start = out.kept.len();
    for at in 0..labels {
        let label = name.label(at);
        out.kept.push(u8::try_from(label.len()).unwrap_or(0));
        out.kept.extend_from_slice(label);
    }
    let owner = Name::Made(kept(start, out.kept.len()), view.zone.domain());
    out.answers.push(Record { owner, ttl: view.zone.node_ttl(), data: Data::address(address) });
}

/// The bytes from `start` to `end` of what the answer keeps.
fn kept<'a>(start: usize, end: usize) -> Bytes<'a> {
    match (u32::try_from(start), u16::try_from(end.saturating_sub(start))) {
        (Ok(start), Ok(len)) => Bytes::Kept(start, len),
        _ => Bytes::Lent(&[]),
    }
}

/// Whether an address is an answer to a question of this type; TXT is a habit of the reference.
fn answers_kind(address: IpAddr, kind: u16) -> bool {
    let own = if address.is_ipv4() { kind::A } else { kind::AAAA };
    kind == own || matches!(kind, kind::ANY | kind::SRV | kind::TXT)
}
