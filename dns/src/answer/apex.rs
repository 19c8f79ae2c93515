//! The zone itself: its SOA and its servers. Asked for by any name under the domain.

use usher_cluster::{
    access::Permission,
    catalog::{Interest, model::Node},
};

use super::{Answer, Asking, DEPTH, Desk, View, form::NodeForm, kept, node};
use crate::wire::{
    kind,
    name::Name,
    record::{Data, Record, Soa},
};

/// The service the servers are instances of.
const SERVERS: &str = "consul";
/// Most servers named in one answer.
const SERVERS_MAX: usize = 3;

/// The SOA record: its serial is the time, its TTL that of negative answers.
pub(super) fn soa<'a>(view: &View<'a>) -> Record<'a> {
    let timers = view.zone.policy.soa;
    let data = Data::Soa(Soa {
        mname: Name::lent(b"\x02ns", view.zone.domain()),
        rname: Name::lent(b"\x0ahostmaster", view.zone.domain()),
        serial: view.now,
        timers: [timers.refresh, timers.retry, timers.expire, timers.min_ttl],
    });
    Record { owner: view.zone.apex(), ttl: timers.min_ttl, data }
}

/// Answers with the zone's start, its servers and their addresses.
pub(super) fn start<'a>(view: &View<'a>, desk: &mut Desk, out: &mut Answer<'a>) {
    servers(view, desk, out);
    std::mem::swap(&mut out.answers, &mut out.authority);
    out.answers.push(soa(view));
}

/// Answers with up to three random living servers and their addresses.
pub(super) fn servers<'a>(view: &View<'a>, desk: &mut Desk, out: &mut Answer<'a>) {
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
    for at in 0.. {
        if out.answers.len() >= SERVERS_MAX {
            return;
        }
        let Some(place) = desk.draw(at) else { return };
        let node = alive.get(place as usize).map(|instance| &instance.node);
        if let Some(node) = node.filter(|node| is_host_name(&node.name)) {
            server(node, view, desk, out);
        }
    }
}

fn server<'a>(node: &Node, view: &View<'a>, desk: &mut Desk, out: &mut Answer<'a>) {
    let start = out.kept.len();
    let Ok(length) = u8::try_from(node.name.len()) else { return };
    out.kept.push(length);
    out.kept.extend(node.name.bytes().map(|byte| byte.to_ascii_lowercase()));
    out.kept.extend_from_slice(b"\x04node");
    let owner = Name::Made(kept(start, out.kept.len()), view.zone.dc_domain());
    out.answers.push(Record { owner: view.zone.apex(), ttl: view.zone.node_ttl(), data: Data::Ns(owner) });
    let name = node.name.to_ascii_lowercase();
    if !view.state.holds_node(&name) {
        return out.need(Interest::Node(name));
    }
    let entry = view.state.node_entry(&name);
    let Some(form) = entry.and_then(|entry| NodeForm::of(entry)) else { return };
    let asking = Asking { owner, labels: &[], kind: kind::ANY, depth: DEPTH, edns: false, most: usize::MAX };
    // A name of our own that leads on draws its own order; the outer one is set aside there.
    for record in node::addresses(form, &asking, view, desk, out) {
        out.additional.push(record);
    }
}

/// Whether the name can stand in an NS record as one label.
fn is_host_name(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
