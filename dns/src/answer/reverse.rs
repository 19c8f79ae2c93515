//! The name of an address: a node that has it, else a service that registered it. Any type is answered with PTR.

use std::net::IpAddr;

use usher_cluster::{access::Permission, catalog::Interest};

use super::{Answer, View, apex, form::NodeForm, kept};
use crate::wire::{
    kind,
    name::{Name, encode},
    rcode,
    record::{Data, Record},
};

/// Answers with the name of `address` (`None`: the question's name spells no address).
pub(super) fn reverse<'a>(address: Option<IpAddr>, kind: u16, view: &View<'a>, out: &mut Answer<'a>) {
    if let Some(address) = address.filter(|address| !view.state.holds_address(*address)) {
        return out.need(Interest::Address(address));
    }
    let Some(target) = address.and_then(|address| target(address, view, &mut out.kept)) else {
        return unknown(view, out);
    };
    out.answers.push(Record { owner: Name::Question, ttl: 0, data: Data::Ptr(target) });
    if kind == kind::SOA {
        out.authority.push(apex::soa(view));
    }
}

fn target<'a>(address: IpAddr, view: &View<'a>, bytes: &mut Vec<u8>) -> Option<Name<'a>> {
    let dc_domain = view.zone.dc_domain();
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
