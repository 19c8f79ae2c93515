//! The name of an address: a node that has it, else a service that registered it. By Consul's letter any type is
//! answered with PTR.

use std::net::IpAddr;

use usher_cluster::{access::Permission, catalog::Interest};

use super::{Answer, Asking, View, apex, form::NodeForm, kept, no_data, no_such_name, other, reason::code};
use crate::{
    name::Reversed,
    wire::{
        kind,
        name::{Name, encode},
        qname::QName,
        rcode,
        record::{Data, Record},
    },
};

/// Answers with the name of the address that was asked for.
pub(super) fn reverse<'a>(
    reversed: Reversed,
    asking: &Asking<'a>,
    name: &QName,
    view: &View<'a>,
    out: &mut Answer<'a>,
) {
    let address = if let Reversed::Address(address) = reversed { Some(address) } else { None };
    if let Some(address) = address.filter(|address| !view.state.holds_address(*address)) {
        return out.need(Interest::Address(address));
    }
    let strict = view.zone.policy.strict();
    match address.and_then(|address| target(address, view, &mut out.kept)) {
        None if strict => unknown_strictly(reversed, asking, name, view, out),
        None => unknown(view, out),
        Some(_) if strict && !matches!(asking.kind, kind::PTR | kind::ANY) => {
            out.explain(code::OTHER, format_args!("an address has a PTR record only"));
            no_data(asking, view, out);
        }
        Some(target) => {
            out.answers.push(Record { owner: Name::Question, ttl: 0, data: Data::Ptr(target) });
            if asking.kind == kind::SOA {
                out.authority.push(apex::soa(asking.origin, view));
            }
        }
    }
}

/// The zone a reverse name is in, if no other is configured: that of its private network (RFC 6303), else the tree's.
pub(super) fn origin<'a>(name: &QName) -> Name<'a> {
    let at = |from_end: usize| name.labels().checked_sub(from_end).map_or(&b""[..], |at| name.label(at));
    let zone: &[u8] = match (at(2), at(3), at(4)) {
        (b"in-addr", b"10", _) => b"\x0210\x07in-addr\x04arpa",
        (b"in-addr", b"127", _) => b"\x03127\x07in-addr\x04arpa",
        (b"in-addr", b"192", b"168") => b"\x03168\x03192\x07in-addr\x04arpa",
        (b"in-addr", ..) => b"\x07in-addr\x04arpa",
        (b"ip6", b"f", b"d") => b"\x01d\x01f\x03ip6\x04arpa",
        (b"ip6", ..) => b"\x03ip6\x04arpa",
        _ => b"\x04arpa",
    };
    Name::lent(zone, &[])
}

/// Nobody here has that name: others may, unless the zone is ours by configuration.
fn unknown_strictly<'a>(reversed: Reversed, asking: &Asking<'a>, name: &QName, view: &View<'a>, out: &mut Answer<'a>) {
    if reversed == Reversed::Other || (view.zone.recurses() && view.zone.cut(name).is_none()) {
        return other(view.zone, out);
    }
    match reversed {
        Reversed::Part => {
            out.explain(code::OTHER, format_args!("the first part of addresses"));
            no_data(asking, view, out);
        }
        Reversed::Address(address) => {
            out.explain(code::OTHER, format_args!("no node and no service has the address {address}"));
            no_such_name(asking, view, out);
        }
        Reversed::Nothing | Reversed::Other => {
            out.explain(code::OTHER, format_args!("the name spells no address"));
            no_such_name(asking, view, out);
        }
    }
}

fn target<'a>(address: IpAddr, view: &View<'a>, bytes: &mut Vec<u8>) -> Option<Name<'a>> {
    let dc_domain = view.zone.domain().dc();
    let allows = |permission: Permission<'_>| view.authorizer.allows("", &permission);
    let node = view.state.node_by_address(address).filter(|entry| allows(Permission::NodeRead(&entry.node.name)));
    if let Some(head) = node.and_then(|entry| NodeForm::of(entry)?.node()) {
        return Name::joined(head, dc_domain);
    }
    let instance = view.state.instance_by_address(address)?;
    let service = &instance.service.name;
    if !allows(Permission::ServiceRead(service)) {
        return None;
    }
    let start = bytes.len();
    encode(&format!("{service}.service"), bytes).ok()?;
    let fits = bytes.len() - start + dc_domain.len() < crate::wire::NAME_MAX;
    fits.then(|| Name::Made(kept(start, bytes.len()), dc_domain))
}

/// Somebody else may know. Without recursors the reference fails as if all had been asked in vain.
fn unknown(view: &View<'_>, out: &mut Answer<'_>) {
    out.authoritative = false;
    out.recursion = true;
    if view.zone.recurses() {
        out.forward = true;
    } else {
        out.rcode = rcode::SERVFAIL;
    }
}
