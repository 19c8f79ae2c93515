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
//! | a node without such a record: NOERROR, by Consul's letter without SOA | [`mod@node`] |
//! | negative and odd answers say why (RFC 8914), by Consul's letter they do not | [`mod@reason`] |
//! | critical instances are left out; warning ones with `only_passing`; order is random; duplicates go | [`mod@service`] |
//! | host-name addresses: CNAME and what it leads to; by the letter of the RFCs names of ours: addresses | [`chase`] |
//! | TXT from metadata (RFC 1464) | [`text`] |
//! | SOA and NS where a zone begins, the servers with their addresses | [`mod@apex`] |
//! | PTR: a node's address, else a service's; unknown ones go to the recursors | [`mod@reverse`] |
//! | not our name: to the recursors, without any REFUSED | here |
//!
//! Addresses for other datacenters (`translate_wan_addrs`) come when there are other datacenters.

mod apex;
pub mod chase;
mod form;
mod node;
mod reason;
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
    answer::reason::code,
    name::{Asked, Why, asked},
    wire::{
        kind,
        name::{Bytes, Name},
        qname::QName,
        rcode,
        record::{Data, Record},
        request::Request,
    },
    zone::{Domain, Zone},
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
    /// Seconds since 1970: the serial of the zone by Consul's letter, and the time of cookies.
    pub now: u32,
    /// For how many seconds the catalog may have been out of date: nobody leads, or no server is in reach.
    pub stale: Option<u32>,
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
    /// The service that was asked for, if there is one of the name.
    pub service: Option<&'a str>,
    /// Whether the client would read why.
    explains: bool,
    /// Why this is the answer: an info code of RFC 8914 and words.
    pub error: Option<(u16, Bytes<'a>)>,
    /// Whether this is not ours to answer: the question goes to the recursors.
    pub forward: bool,
    /// Names of others, with types, that this answer needs and that are not known.
    pub wants: Vec<(&'a [u8], u16)>,
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
    /// Whether `order` is to be taken as it is.
    arranged: bool,
    keys: Vec<(u16, f64, u32)>,
    seen: Vec<u32>,
    stamp: u32,
}

impl Desk {
    /// A desk with randomness from `seed`.
    pub fn new(seed: u64) -> Self {
        let (order, keys, seen) = (Vec::new(), Vec::new(), Vec::new());
        Self { rng: SmallRng::seed_from_u64(seed), order, arranged: false, keys, seen, stamp: 0 }
    }

    /// Puts `order` into a random order of its own, in which a place comes first with the probability of its weight
    /// among those left (the algorithm of RFC 2782, by the keys of Efraimidis and Spirakis, 2006), lower tiers first.
    /// What is drawn then comes in that order.
    fn arrange(&mut self, tier_and_weight: impl Fn(u32) -> (u16, u16)) {
        self.keys.clear();
        for place in &self.order {
            let (tier, weight) = tier_and_weight(*place);
            let weight = if weight == 0 { WEIGHT_OF_NONE } else { f64::from(weight) };
            let exponential = -(1.0 - self.rng.random::<f64>()).ln();
            self.keys.push((tier, exponential / weight, *place));
        }
        self.keys.sort_unstable_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
        self.order.clear();
        self.order.extend(self.keys.iter().map(|(_, _, place)| *place));
        self.arranged = true;
    }

    /// Takes a random one of `order[from..]` to `from` and returns it.
    fn draw(&mut self, from: usize) -> Option<u32> {
        let to = self.order.len();
        if from >= to {
            return None;
        }
        if self.arranged {
            return self.order.get(from).copied();
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
    /// The zone the owner is in, by its name: the owner of its SOA.
    pub(crate) origin: Name<'a>,
    /// The domain that names made for this answer end in.
    pub(crate) domain: &'a Domain,
    /// How many more names of our own may be followed.
    pub(crate) depth: u8,
    /// Whether the client speaks EDNS.
    pub(crate) edns: bool,
    /// More answers than these cannot be sent: no more are collected.
    pub(crate) most: usize,
}

/// What stands in for a weight of 0: a very small chance (RFC 2782).
const WEIGHT_OF_NONE: f64 = 1.0 / 1024.0;

/// How many names of our own are followed from one to the next.
const DEPTH: u8 = 3;

/// Answers `request` into `out`, which is empty. At most `most` answers are collected: more would not fit anyway.
pub fn answer<'a>(request: &'a Request, most: usize, view: &View<'a>, desk: &mut Desk, out: &mut Answer<'a>) {
    let zone = view.zone;
    let strict = zone.policy.strict();
    out.authoritative = true;
    out.recursion = zone.recurses();
    out.edns = true;
    out.explains = strict && request.edns.is_some();
    let asking = Asking {
        owner: Name::Question,
        labels: request.name.wire(),
        kind: request.kind,
        origin: origin(&request.name, request.kind, zone),
        domain: zone.made_under(zone.under(&request.name)),
        depth: DEPTH,
        edns: request.edns.is_some(),
        most,
    };
    match asked(&request.name, request.kind, zone) {
        Asked::NameServer => apex::name_server(&asking, view, desk, out),
        Asked::Ns => apex::servers(&asking, view, desk, out),
        Asked::Other => other(zone, out),
        Asked::Reverse(reversed) => reverse::reverse(reversed, &asking, &request.name, view, out),
        Asked::Soa => apex::start(&asking, view, desk, out),
        Asked::Transfer if strict => {
            out.rcode = rcode::REFUSED;
            out.authoritative = false;
            out.explain(code::NOT_SUPPORTED, format_args!("zone transfers are not served"));
        }
        Asked::Transfer => out.rcode = rcode::NOTIMP,
        asked => inside(asked, &asking, &request.name, view, desk, out),
    }
    if request.kind == kind::ANY && zone.policy.minimal_any {
        shrink(out);
    }
    if let Some(seconds) = view.stale.filter(|_| out.authoritative) {
        let code = if out.rcode == rcode::NXDOMAIN { code::STALE_NXDOMAIN } else { code::STALE };
        // More to the point than any other reason: what is missing may be there by now.
        out.error = None;
        out.explain(code, format_args!("as known {seconds} s ago: no leader, or no server in reach, since then"));
    }
}

/// One small record instead of everything (RFC 8482 4.2).
fn shrink(out: &mut Answer<'_>) {
    let Some(Record { ttl, .. }) = out.answers.first().copied() else { return };
    out.answers.clear();
    out.additional.clear();
    out.wants.clear();
    // It is all there is: that not everything was collected is no reason for TC.
    out.more = false;
    out.answers.push(Record { owner: Name::Question, ttl, data: Data::Hinfo });
}

/// The zone a name is in: a configured cut, else the domain it is under; by Consul's letter always the main domain. The
/// DS record of a cut is the zone's above, if that is ours as well (RFC 4035 3.1.4.1).
fn origin<'a>(name: &QName, kind: u16, zone: &'a Zone) -> Name<'a> {
    if !zone.policy.strict() {
        return zone.apex();
    }
    if kind == kind::DS
        && let Some(above) = zone.above_cut(name)
    {
        return Name::lent(above, &[]);
    }
    if let Some((cut, _)) = zone.cut(name) {
        return Name::lent(cut, &[]);
    }
    zone.under(name).map_or_else(|| reverse::origin(name), |under| Name::lent(under.domain.wire(), &[]))
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
        Asked::Above => {
            out.explain(code::OTHER, format_args!("names stand below this one, but nothing at it"));
            no_data(asking, view, out);
        }
        Asked::Addr(address, other) => addr([Some(address), other], asking, name, view, out),
        Asked::Empty => {}
        Asked::NameServer => apex::name_server(asking, view, desk, out),
        Asked::Node { name, here: true } => node::node(name, asking, view, desk, out),
        Asked::Service { name: Some(name), tags, here: true } => {
            service::service(name, tags, asking, view, desk, out);
        }
        Asked::Node { here: false, .. } if !view.zone.policy.strict() => node::node(None, asking, view, desk, out),
        Asked::Node { .. } | Asked::Service { here: false, .. } => {
            let here = &view.zone.policy.datacenter;
            out.explain(code::OTHER, format_args!("only datacenter {here:?} is known here"));
            no_such_name(asking, view, out);
        }
        Asked::Service { .. } => {
            out.explain(code::OTHER, format_args!("no service can have this name"));
            no_such_name(asking, view, out);
        }
        Asked::Query => {
            out.explain(code::OTHER, format_args!("there are no stored queries"));
            no_such_name(asking, view, out);
        }
        Asked::Nothing(why) => {
            out.explain(code::OTHER, format_args!("{}", words(why)));
            no_such_name(asking, view, out);
        }
        // Asked for by no name that another one leads to.
        Asked::Ns | Asked::Other | Asked::Reverse(_) | Asked::Soa | Asked::Transfer => {
            no_such_name(asking, view, out);
        }
    }
}

fn words(why: Why) -> &'static str {
    match why {
        Why::Behind => "what stands behind its kind is no datacenter",
        Why::NoAddress => "its digits spell no address",
        Why::NoKind => "none of its labels is \"service\", \"node\" or \"addr\" with a name before it",
        Why::Mesh => "there is no service mesh",
    }
}

/// NXDOMAIN, with the SOA of the zone.
fn no_such_name<'a>(asking: &Asking<'a>, view: &View<'a>, out: &mut Answer<'a>) {
    out.rcode = rcode::NXDOMAIN;
    out.authority.push(apex::soa(asking.origin, view));
}

/// No such record, with the SOA of the zone (RFC 2308 2.2).
fn no_data<'a>(asking: &Asking<'a>, view: &View<'a>, out: &mut Answer<'a>) {
    out.authority.push(apex::soa(asking.origin, view));
}

fn other(zone: &Zone, out: &mut Answer<'_>) {
    out.authoritative = false;
    if zone.recurses() {
        out.forward = true;
        return;
    }
    out.rcode = rcode::REFUSED;
    out.edns = zone.policy.strict();
    let domain = &zone.policy.domain;
    out.explain(code::NOT_AUTHORITATIVE, format_args!("not a name under {domain:?}, and there are no recursors"));
}

/// The addresses a name spells. By Consul's letter whatever type was asked for, owned by the name under the main domain
/// in lower case.
fn addr<'a>(addresses: [Option<IpAddr>; 2], asking: &Asking<'a>, name: &QName, view: &View<'a>, out: &mut Answer<'a>) {
    let ttl = view.zone.node_ttl();
    if view.zone.policy.strict() {
        let fits = |address: &IpAddr| answers_kind(*address, asking.kind, view.zone);
        let records = addresses.into_iter().flatten().filter(fits);
        out.answers.extend(records.map(|address| Record { owner: asking.owner, ttl, data: Data::address(address) }));
        if out.answers.is_empty() {
            out.explain(code::OTHER, format_args!("the name spells no such address"));
            no_data(asking, view, out);
        }
        return;
    }
    let ([Some(address), _], Some(under)) = (addresses, view.zone.under(name)) else { return };
    let start = out.kept.len();
    for at in 0..under.labels {
        let label = name.label(at);
        out.kept.push(u8::try_from(label.len()).unwrap_or(0));
        out.kept.extend_from_slice(label);
    }
    let owner = Name::Made(kept(start, out.kept.len()), view.zone.domain().wire());
    out.answers.push(Record { owner, ttl, data: Data::address(address) });
}

/// The bytes from `start` to `end` of what the answer keeps.
fn kept<'a>(start: usize, end: usize) -> Bytes<'a> {
    match (u32::try_from(start), u16::try_from(end.saturating_sub(start))) {
        (Ok(start), Ok(len)) => Bytes::Kept(start, len),
        _ => Bytes::Lent(&[]),
    }
}

/// Whether an address is an answer to a question of this type; TXT and SRV are habits of the reference.
fn answers_kind(address: IpAddr, kind: u16, zone: &Zone) -> bool {
    let own = if address.is_ipv4() { kind::A } else { kind::AAAA };
    kind == own || kind == kind::ANY || (!zone.policy.strict() && matches!(kind, kind::SRV | kind::TXT))
}
