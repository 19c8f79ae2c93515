//! The zone itself: its SOA and its servers.
//!
//! By the letter of the RFCs the serial is the catalog's last index, so that it grows with the catalog and never
//! otherwise, and the servers are always the same ones in the same order. By Consul's letter the serial is the time,
//! and three random servers are named for any name under the domain.

use usher_cluster::{
    access::Permission,
    catalog::{Interest, model::Node},
};

use super::{Answer, Asking, DEPTH, Desk, View, answers_kind, chase, form::NodeForm, kept, no_data, node};
use crate::wire::{
    kind,
    name::Name,
    record::{Data, Record, Soa},
};

/// The service the servers are instances of.
const SERVERS: &str = "consul";
/// Most servers named in one answer by Consul's letter.
const CONSUL_SERVERS_MAX: usize = 3;
/// Most servers named in one answer: what resolvers expect of the root, and more than a cluster has.
const SERVERS_MAX: usize = 13;

/// The SOA record of the zone `origin`: its TTL is that of negative answers.
pub(super) fn soa<'a>(origin: Name<'a>, view: &View<'a>) -> Record<'a> {
    let zone = view.zone;
    let timers = zone.policy.soa;
    let mname = zone.name_servers().first().map(|name| Name::lent(name, &[]));
    let data = Data::Soa(Soa {
        mname: mname.unwrap_or_else(|| Name::lent(b"\x02ns", zone.domain().wire())),
        rname: Name::lent(b"\x0ahostmaster", zone.domain().wire()),
        serial: if zone.policy.strict() { serial(view.state.as_of()) } else { view.now },
        timers: [timers.refresh, timers.retry, timers.expire, timers.min_ttl],
    });
    Record { owner: origin, ttl: timers.min_ttl, data }
}

/// The low half of an index: serials are compared modulo 2^32 (RFC 1982).
fn serial(index: u64) -> u32 {
    u32::try_from(index & u64::from(u32::MAX)).unwrap_or_default()
}

/// Answers with the zone's start, its servers and their addresses.
pub(super) fn start<'a>(asking: &Asking<'a>, view: &View<'a>, desk: &mut Desk, out: &mut Answer<'a>) {
    servers(asking, view, desk, out);
    std::mem::swap(&mut out.answers, &mut out.authority);
    out.answers.push(soa(asking.origin, view));
}

/// Answers with the zone's servers and their addresses.
pub(super) fn servers<'a>(asking: &Asking<'a>, view: &View<'a>, desk: &mut Desk, out: &mut Answer<'a>) {
    let ttl = view.zone.node_ttl();
    let configured = view.zone.name_servers();
    if !configured.is_empty() {
        let record = |name| Record { owner: asking.origin, ttl, data: Data::Ns(Name::lent(name, &[])) };
        out.answers.extend(configured.iter().take(SERVERS_MAX).map(|name| record(name)));
        for name in configured.iter().take(SERVERS_MAX) {
            let any = Asking { kind: kind::ANY, ..*asking };
            let found = chase::own(name, &any, view, desk, out);
            out.additional.extend(found);
        }
        return;
    }
    each(view, desk, out, |node, view, desk, out| server(node, asking, view, desk, out));
    if out.answers.is_empty() && view.zone.policy.strict() {
        no_data(asking, view, out);
    }
}

/// Answers for `ns.<domain>`, the name the SOA has for the servers: their addresses.
pub(super) fn name_server<'a>(asking: &Asking<'a>, view: &View<'a>, desk: &mut Desk, out: &mut Answer<'a>) {
    each(view, desk, out, |node, view, _, out| {
        let Some(address) = node.address.parse().ok().filter(|own| answers_kind(*own, asking.kind, view.zone)) else {
            return;
        };
        let repeated = out.answers.iter().any(|record| record.data.is_address(address));
        if !repeated {
            let data = Data::address(address);
            out.answers.push(Record { owner: asking.owner, ttl: view.zone.node_ttl(), data });
        }
    });
    if out.answers.is_empty() && out.needs.is_empty() {
        no_data(asking, view, out);
    }
}

/// Calls `take` for each living server in order; by Consul's letter for random ones, until three are answered.
fn each<'a>(
    view: &View<'a>,
    desk: &mut Desk,
    out: &mut Answer<'a>,
    take: impl Fn(&'a Node, &View<'a>, &mut Desk, &mut Answer<'a>),
) {
    if !view.state.holds_service(SERVERS) {
        return out.need(Interest::Service(SERVERS.to_owned()));
    }
    let Some(entry) = view.state.service_entry(SERVERS) else { return };
    if !view.authorizer.allows("", &Permission::ServiceRead(SERVERS)) {
        return;
    }
    let alive = if view.zone.policy.only_passing { entry.passing() } else { entry.answerable() };
    desk.order.clear();
    desk.order.extend((0_u32..).zip(alive.iter()).map(|(place, _)| place));
    desk.arranged = view.zone.policy.strict();
    let most = if view.zone.policy.strict() { SERVERS_MAX } else { CONSUL_SERVERS_MAX };
    for at in 0.. {
        if out.answers.len() >= most {
            return;
        }
        let Some(place) = desk.draw(at) else { return };
        let node = alive.get(place as usize).map(|instance| &instance.node);
        if let Some(node) = node.filter(|node| is_host_name(&node.name)) {
            take(node, view, desk, out);
        }
    }
}

fn server<'a>(node: &Node, asking: &Asking<'a>, view: &View<'a>, desk: &mut Desk, out: &mut Answer<'a>) {
    let start = out.kept.len();
    let Ok(length) = u8::try_from(node.name.len()) else { return };
    out.kept.push(length);
    out.kept.extend(node.name.bytes().map(|byte| byte.to_ascii_lowercase()));
    out.kept.extend_from_slice(b"\x04node");
    let owner = Name::Made(kept(start, out.kept.len()), asking.domain.dc());
    out.answers.push(Record { owner: asking.origin, ttl: view.zone.node_ttl(), data: Data::Ns(owner) });
    let name = node.name.to_ascii_lowercase();
    if !view.state.holds_node(&name) {
        return out.need(Interest::Node(name));
    }
    let entry = view.state.node_entry(&name);
    let Some(form) = entry.and_then(|entry| NodeForm::of(entry)) else { return };
    let inner = Asking { owner, labels: &[], kind: kind::ANY, depth: DEPTH, edns: false, most: usize::MAX, ..*asking };
    // A name of our own that leads on draws its own order; the outer one is set aside there.
    for record in node::addresses(form, &inner, view, desk, out) {
        out.additional.push(record);
    }
}

/// Whether the name can stand in an NS record as one label.
fn is_host_name(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
