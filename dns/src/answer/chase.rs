//! What a host name leads to: names of our own are looked up here, others in what the recursors said.
//!
//! A name that leads to itself ends after three steps. The only part of answering that takes memory, and rare.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{Answer, Asking, Cut, Desk, View, inside};
use crate::{
    fit,
    name::asked,
    wire::{
        kind,
        name::{Bytes, Name},
        qname::QName,
        record::{Data, Record},
    },
};

/// Most records a name leads to, for a client without EDNS.
pub const FOUND_MAX: usize = 5;

/// What is known of names of others: what recursors answered while this answer is being made.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// By name and type.
    names: HashMap<(Vec<u8>, u16), Vec<Outside>>,
    closed: bool,
}

/// A record of somebody else's zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Its owner's labels.
    pub owner: Vec<u8>,
    /// Its TTL.
    pub ttl: u32,
    /// What it says.
    pub data: OutsideData,
}

/// What such a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutsideData {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// An alias of these labels.
    Cname(Vec<u8>),
}

impl Known {
    /// Notes what was found for `name` (labels) and a type, nothing perhaps.
    pub fn learn(&mut self, name: &[u8], kind: u16, found: Vec<Outside>) {
        self.names.insert((name.to_ascii_lowercase(), kind), found);
    }

    /// Takes every other name for one that leads nowhere, so that nothing is wanted any more.
    pub fn close(&mut self) {
        self.closed = true;
    }

    fn of(&self, name: &[u8], kind: u16) -> Option<&[Outside]> {
        let nothing = self.closed.then_some(&[][..]);
        if self.names.is_empty() {
            return nothing;
        }
        self.names.get(&(name.to_ascii_lowercase(), kind)).map(Vec::as_slice).or(nothing)
    }
}

/// The TTL of an alias whose addresses would have `ttl`. By the letter of the RFCs nobody may keep it: beside it stand SRV
/// or TXT records, and who had kept the alias would take those of the name it leads to for them.
pub(super) fn alias_ttl(ttl: u32, view: &View<'_>) -> u32 {
    if view.zone.policy.strict() { 0 } else { ttl }
}

/// The records `host` (labels) leads to; by the letter of the RFCs those of the type that is asked for, and the aliases on
/// the way there. What is not known yet is noted in `out.wants`.
pub(super) fn chase<'a>(
    host: &'a [u8],
    asking: &Asking<'a>,
    view: &View<'a>,
    desk: &mut Desk,
    out: &mut Answer<'a>,
) -> Vec<Record<'a>> {
    let mut found = everything(host, asking, view, desk, out);
    if view.zone.policy.strict() {
        found.retain(|record| leads_to(&record.data, asking.kind));
    }
    found
}

/// Whether an answer to a question of this type, begun by an alias, goes on with such a record (RFC 1034 4.3.2, 3a).
pub(super) fn leads_to(data: &Data<'_>, kind: u16) -> bool {
    match data {
        Data::A(_) => matches!(kind, kind::A | kind::SRV | kind::ANY),
        Data::Aaaa(_) => matches!(kind, kind::AAAA | kind::SRV | kind::ANY),
        Data::Cname(_) => kind != kind::CNAME,
        _ => true,
    }
}

fn everything<'a>(
    host: &'a [u8],
    asking: &Asking<'a>,
    view: &View<'a>,
    desk: &mut Desk,
    out: &mut Answer<'a>,
) -> Vec<Record<'a>> {
    let mut name = QName::default();
    if name.set(host).is_none() {
        return Vec::new();
    }
    if view.zone.under(&name).is_some_and(|under| under.labels > 0) {
        return ours(host, &name, asking, view, desk, out);
    }
    if !view.zone.recurses() {
        return Vec::new();
    }
    let kinds = kinds_of_host(asking.kind, view);
    let unknown = kinds.iter().map(|kind| (host, *kind)).filter(|(host, kind)| view.known.of(host, *kind).is_none());
    let unknown: Vec<_> = unknown.filter(|wanted| !out.wants.contains(wanted)).collect();
    out.wants.extend(unknown);
    let mut found: Vec<Record<'a>> = Vec::new();
    for records in kinds.iter().filter_map(|kind| view.known.of(host, *kind)) {
        // The way there is the same for both families.
        let known_way = found.iter().any(|record| matches!(record.data, Data::Cname(_)));
        let new = records.iter().filter(|record| !(known_way && matches!(record.data, OutsideData::Cname(_))));
        found.extend(new.map(Outside::record));
    }
    found
}

/// The types recursors are asked for about a host name; by Consul's letter A alone.
fn kinds_of_host(asked: u16, view: &View<'_>) -> &'static [u16] {
    match asked {
        _ if !view.zone.policy.strict() => &[kind::A],
        kind::A => &[kind::A],
        kind::AAAA => &[kind::AAAA],
        _ => &[kind::A, kind::AAAA],
    }
}

/// The records `host` (labels) leads to, if it is a name of our own.
pub(super) fn own<'a>(
    host: &'a [u8],
    asking: &Asking<'a>,
    view: &View<'a>,
    desk: &mut Desk,
    out: &mut Answer<'a>,
) -> Vec<Record<'a>> {
    let mut name = QName::default();
    if name.set(host).is_none() || view.zone.under(&name).is_none() {
        return Vec::new();
    }
    ours(host, &name, asking, view, desk, out)
}

impl Outside {
    fn record(&self) -> Record<'_> {
        let data = match &self.data {
            OutsideData::A(address) => Data::A(*address),
            OutsideData::Aaaa(address) => Data::Aaaa(*address),
            OutsideData::Cname(target) => Data::Cname(Name::lent(target, &[])),
        };
        Record { owner: Name::lent(&self.owner, &[]), ttl: self.ttl, data }
    }
}

/// A name of our own: asked as a client without EDNS would ask for everything of it.
fn ours<'a>(
    host: &'a [u8],
    name: &QName,
    asking: &Asking<'a>,
    view: &View<'a>,
    desk: &mut Desk,
    out: &mut Answer<'a>,
) -> Vec<Record<'a>> {
    let Some(depth) = asking.depth.checked_sub(1) else { return Vec::new() };
    let inner = Asking {
        owner: Name::lent(host, &[]),
        labels: host,
        kind: kind::ANY,
        origin: asking.origin,
        domain: asking.domain,
        depth,
        edns: false,
        most: fit::plain_answers(kind::ANY, view.zone),
    };
    // The desk's order is being drawn from: the inner question gets its own.
    let order = std::mem::take(&mut desk.order);
    let (seen, stamp, arranged) = (std::mem::take(&mut desk.seen), desk.stamp, desk.arranged);
    let mut found = Answer { wants: std::mem::take(&mut out.wants), ..Answer::default() };
    inside(asked(name, kind::ANY, view.zone), &inner, name, view, desk, &mut found);
    desk.order = order;
    (desk.seen, desk.stamp, desk.arranged) = (seen, stamp, arranged);
    out.wants = std::mem::take(&mut found.wants);
    std::mem::take(&mut found.needs).into_iter().for_each(|interest| out.need(interest));
    if found.cut == Cut::Service {
        fit::shorten_inner(&mut found, host, view.zone);
    }
    let Answer { answers, kept, .. } = found;
    answers.into_iter().map(|record| adopt(record, &kept, &mut out.kept)).collect()
}

/// Moves what a record kept with its own answer into the outer answer's bytes. Owners alone keep anything.
fn adopt<'a>(record: Record<'a>, kept: &[u8], into: &mut Vec<u8>) -> Record<'a> {
    let Name::Made(head @ Bytes::Kept(..), tail) = record.owner else { return record };
    let start = into.len();
    into.extend_from_slice(head.of(kept));
    Record { owner: Name::Made(super::kept(start, into.len()), tail), ..record }
}
