//! The instances of a service, as addresses or SRV records, in random order and without duplicates.

use std::fmt;

use usher_cluster::{
    access::Permission,
    catalog::{Instance, Interest, ServiceEntry},
};

use super::{
    Answer, Asking, Cut, Desk, View, answers_kind, chase,
    form::{Family, Form, Forms, Reach, SRV, TEXT, node_ip},
    no_data, no_such_name,
    reason::code,
};
use crate::{
    name::Tags,
    policy::Truncation,
    wire::{
        kind,
        name::{Bytes, Name},
        rcode,
        record::{Data, Record, Srv},
    },
};

/// Most names followed for one answer; SRV targets beyond them go without their addresses.
const CHASED_MAX: usize = 32;

/// The longest TTL, in seconds, of a service with an instance that will end soon.
const DRAINING_TTL: u32 = 1;

/// Which forms may be answered is in `desk.order`; what one answer needs of the service is here.
struct Lookup<'a, 'v> {
    entry: &'a ServiceEntry,
    forms: &'a Forms,
    ttl: u32,
    asking: &'v Asking<'a>,
    view: &'v View<'a>,
}

/// Answers with the instances of `name` that carry `tags`.
pub(super) fn service<'a>(
    name: &str,
    tags: Tags<'_>,
    asking: &Asking<'a>,
    view: &View<'a>,
    desk: &mut Desk,
    out: &mut Answer<'a>,
) {
    if !view.state.holds_service(name) {
        return out.need(Interest::Service(name.to_owned()));
    }
    let allowed = view.authorizer.allows("", &Permission::ServiceRead(name));
    let Some(entry) = view.state.service_entry(name).filter(|_| allowed) else {
        return no_service(name, tags, asking, view, out);
    };
    out.service = Some(entry.name());
    let Some(forms) = Forms::of(entry) else {
        // Somebody else uses the entry's memo: a mistake in this program.
        out.rcode = rcode::SERVFAIL;
        return;
    };
    select(entry, forms, tags, asking.kind, view, desk);
    if desk.order.is_empty() {
        return none_left(entry, tags, asking, view, out);
    }
    out.cut = Cut::Service;
    let ttl = view.zone.service_ttl(name);
    // All records of one name and type have one TTL (RFC 2181 5.2).
    let ttl = if forms.draining { ttl.min(DRAINING_TTL) } else { ttl };
    let lookup = Lookup { entry, forms, ttl, asking, view };
    match asking.kind {
        kind::SRV => lookup.targets(desk, out),
        kind::TXT if view.zone.policy.strict() => lookup.texts(desk, out),
        _ => lookup.addresses(desk, out),
    }
    let cut_and_said = out.more && view.zone.policy.truncation != Truncation::Never;
    if out.answers.is_empty() && !cut_and_said {
        if out.wants.is_empty() {
            out.explain(code::OTHER, format_args!("service {:?}: no instance has such a record", entry.name()));
        }
        no_data(asking, view, out);
    }
}

/// There is no such service. A label as `_tcp` stands between others, and is none itself.
fn no_service<'a>(name: &str, tags: Tags<'_>, asking: &Asking<'a>, view: &View<'a>, out: &mut Answer<'a>) {
    if view.zone.policy.strict() && tags == Tags::Any && name.starts_with('_') {
        out.explain(code::OTHER, format_args!("no service {name:?}, but names stand below this one"));
        return no_data(asking, view, out);
    }
    out.explain(code::OTHER, format_args!("no service {name:?}"));
    no_such_name(asking, view, out);
}

/// There are instances, but none that may be answered.
fn none_left<'a>(entry: &ServiceEntry, tags: Tags<'_>, asking: &Asking<'a>, view: &View<'a>, out: &mut Answer<'a>) {
    let own = |instance: &Instance, tags: &Tags<'_>| tags.let_through(instance.service.tags.iter().map(String::as_str));
    let tagged = entry.instances.iter().filter(|instance| own(instance, &tags)).count();
    let name = entry.name();
    if tagged > 0 {
        let bad = if view.zone.policy.only_passing { "none passing" } else { "all critical" };
        let noun = if tagged == 1 { "instance" } else { "instances" };
        out.explain(code::OTHER, format_args!("service {name:?}: {tagged} {noun} with this name, {bad}"));
        return no_such_name(asking, view, out);
    }
    let Tags::One(tag) = tags else {
        out.explain(code::OTHER, format_args!("service {name:?}: no instance has all of these tags"));
        return no_such_name(asking, view, out);
    };
    if view.zone.policy.strict() && entry.tags().any(|own| stands_below(own, tag)) {
        out.explain(code::OTHER, format_args!("service {name:?}: tags end in {tag:?}, but none is it"));
        return no_data(asking, view, out);
    }
    out.explain(code::OTHER, format_args!("service {name:?}: no tag {tag:?}; tags: {}", Listed(entry)));
    no_such_name(asking, view, out);
}

/// Whether a tag ends in a dot and `other`.
fn stands_below(tag: &str, other: &str) -> bool {
    let before = tag.len().checked_sub(other.len()).and_then(|start| tag.as_bytes().split_at_checked(start));
    before.is_some_and(|(head, tail)| head.ends_with(b".") && tail.eq_ignore_ascii_case(other.as_bytes()))
}

/// The tags of a service, with commas.
struct Listed<'e>(&'e ServiceEntry);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.tags().len() == 0 {
            return out.write_str("none");
        }
        for (at, tag) in self.0.tags().enumerate() {
            write!(out, "{}{tag}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Lists in `desk.order` the forms that health and tags let through. By the letter of the RFCs, addresses come of the
/// lowest priority that is left, and everything in an order by weight.
fn select(entry: &ServiceEntry, forms: &Forms, tags: Tags<'_>, kind: u16, view: &View<'_>, desk: &mut Desk) {
    let only_passing = view.zone.policy.only_passing;
    let tagged = |form: &Form| {
        let instance = entry.answerable().get(form.place as usize);
        instance.is_some_and(|instance| tags.let_through(instance.service.tags.iter().map(String::as_str)))
    };
    let wanted = |form: &&Form| (form.passing || !only_passing) && (tags == Tags::Any || tagged(form));
    desk.order.clear();
    desk.order.extend(forms.list.iter().filter(wanted).map(|form| form.place));
    desk.arranged = false;
    if forms.even || !view.zone.policy.strict() {
        return;
    }
    let form = |place: u32| forms.list.get(place as usize);
    if kind != kind::SRV {
        let best = desk.order.iter().filter_map(|place| form(*place)).map(|form| form.priority).min();
        desk.order.retain(|place| form(*place).map(|form| form.priority) == best);
    }
    desk.arrange(|place| form(place).map_or((u16::MAX, 0), |form| (form.priority, form.weight)));
}

impl<'a> Lookup<'a, '_> {
    /// The forms of `desk.order` in random order.
    fn draw(&self, at: usize, desk: &mut Desk) -> Option<&'a Form> {
        let place = desk.draw(at)?;
        self.forms.list.get(place as usize)
    }

    fn instance(&self, form: &Form) -> Option<&'a Instance> {
        self.entry.answerable().get(form.place as usize).map(|instance| &**instance)
    }

    fn addresses(&self, desk: &mut Desk, out: &mut Answer<'a>) {
        let family = Family::of(self.asking.kind);
        let repeats = self.forms.repeats.get(family as usize).copied().unwrap_or(true);
        let limit = self.view.zone.policy.a_record_limit;
        let mut alias = None;
        let mut addressed = false;
        if repeats {
            desk.unsee(self.forms.list.len());
        }
        for at in 0.. {
            let Some(form) = self.draw(at, desk) else { break };
            let address = match form.reach(family) {
                Reach::Node(address) | Reach::Own(address) => address,
                Reach::Nowhere => continue,
                Reach::Host(host) => match self.own_name(self.forms.bytes(host), form, family) {
                    Some(address) => address,
                    None => {
                        alias = alias.or(Some(self.forms.bytes(host)));
                        continue;
                    }
                },
            };
            addressed = true;
            if !answers_kind(address, self.asking.kind, self.view.zone) {
                continue;
            }
            let group = form.groups.get(family as usize).copied().unwrap_or(0);
            if repeats && !desk.first(group) {
                continue;
            }
            if out.answers.len() >= self.asking.most {
                out.more = true;
                break;
            }
            out.answers.push(Record { owner: self.asking.owner, ttl: self.ttl, data: Data::address(address) });
            if limit > 0 && out.answers.len() >= limit {
                break;
            }
        }
        match alias {
            // A name that has an address of whatever family has no alias for the others (RFC 2181 10.1).
            Some(_) if addressed && self.view.zone.policy.strict() => {}
            Some(_) if self.asking.most == 0 => out.more = true,
            Some(host) if out.answers.is_empty() && !out.more => self.alias(host, desk, out),
            _ => {}
        }
    }

    /// A CNAME and what it leads to: only where there is no address, and only one.
    fn alias(&self, host: &'a [u8], desk: &mut Desk, out: &mut Answer<'a>) {
        if self.view.zone.policy.strict() && self.borrow(host, desk, out) {
            return;
        }
        let data = Data::Cname(Name::lent(host, &[]));
        let ttl = chase::alias_ttl(self.ttl, self.view);
        out.answers.push(Record { owner: self.asking.owner, ttl, data });
        for found in self.chased(host, desk, out) {
            out.answers.push(found);
        }
    }

    /// Answers with the addresses that `host` leads to as the service's own, if it is a name of ours and leads to any: SRV
    /// and TXT records stand at the service's name, and beside these no alias may (RFC 1034 3.6.2).
    fn borrow(&self, host: &'a [u8], desk: &mut Desk, out: &mut Answer<'a>) -> bool {
        let everything = Asking { kind: kind::ANY, ..*self.asking };
        let found = chase::own(host, &everything, self.view, desk, out);
        let addresses = || found.iter().filter(|record| matches!(record.data, Data::A(_) | Data::Aaaa(_)));
        let own = |record: &Record<'a>| Record { owner: self.asking.owner, ttl: self.ttl, ..*record };
        let asked = addresses().filter(|record| chase::leads_to(&record.data, self.asking.kind));
        out.answers.extend(asked.map(own));
        addresses().next().is_some()
    }

    /// The metadata of each instance, one record an instance (RFC 6763 section 6).
    fn texts(&self, desk: &mut Desk, out: &mut Answer<'a>) {
        desk.unsee(self.forms.list.len());
        for at in 0.. {
            let Some(form) = self.draw(at, desk) else { break };
            let text = self.forms.text(form);
            if text.is_empty() || !desk.first(form.groups[TEXT]) {
                continue;
            }
            if out.answers.len() >= self.asking.most {
                out.more = true;
                break;
            }
            let data = Data::Txt(Bytes::Lent(text));
            out.answers.push(Record { owner: self.asking.owner, ttl: self.ttl, data });
        }
    }

    fn targets(&self, desk: &mut Desk, out: &mut Answer<'a>) {
        let repeats = self.forms.repeats[SRV];
        if repeats {
            desk.unsee(self.forms.list.len());
        }
        for at in 0.. {
            let Some(form) = self.draw(at, desk) else { break };
            if repeats && !desk.first(form.groups[SRV]) {
                continue;
            }
            if out.answers.len() >= self.asking.most {
                out.more = true;
                break;
            }
            self.target(form, desk, out);
        }
    }

    /// An SRV record and the addresses of its target. An instance whose target is no name goes unanswered.
    fn target(&self, form: &'a Form, desk: &mut Desk, out: &mut Answer<'a>) {
        let dc_domain = self.asking.domain.dc();
        match form.reach(Family::Any) {
            Reach::Node(address) | Reach::Own(address) => {
                let strict = self.view.zone.policy.strict();
                let dual = self.forms.dual(form).filter(|_| strict).and_then(|head| Name::joined(head, dc_domain));
                let single = || self.forms.target(form).and_then(|head| Name::joined(head, dc_domain));
                let Some(target) = dual.or_else(single) else { return };
                self.located(form, target, address, out);
            }
            Reach::Host(host) => {
                let host = self.forms.bytes(host);
                if let Some(address) = self.own_name(host, form, Family::Any) {
                    let node = self.forms.node(form).and_then(|head| Name::joined(head, dc_domain));
                    return node.into_iter().for_each(|node| self.located(form, node, address, out));
                }
                out.answers.push(self.srv(form, Name::lent(host, &[])));
                for found in self.chased(host, desk, out) {
                    out.additional.push(found);
                }
            }
            Reach::Nowhere => return,
        }
        self.meta(form, out);
    }

    fn located(&self, form: &Form, target: Name<'a>, address: std::net::IpAddr, out: &mut Answer<'a>) {
        out.answers.push(self.srv(form, target));
        out.additional.push(Record { owner: target, ttl: self.ttl, data: Data::address(address) });
        if self.view.zone.policy.strict() {
            let other = form.both().filter(|other| other.is_ipv4() != address.is_ipv4());
            let record = |address| Record { owner: target, ttl: self.ttl, data: Data::address(address) };
            out.additional.extend(other.map(record));
        }
    }

    fn srv(&self, form: &Form, target: Name<'a>) -> Record<'a> {
        let srv = Srv { priority: form.priority, weight: form.weight, port: form.port, target };
        Record { owner: self.asking.owner, ttl: self.ttl, data: Data::Srv(srv) }
    }

    fn meta(&self, form: &'a Form, out: &mut Answer<'a>) {
        if !self.view.zone.policy.node_meta_txt {
            return;
        }
        let owner = self.forms.node(form).and_then(|head| Name::joined(head, self.asking.domain.dc()));
        let Some(owner) = owner else { return };
        for data in self.forms.meta(form) {
            out.additional.push(Record { owner, ttl: self.ttl, data: Data::Txt(Bytes::Lent(data)) });
        }
    }

    /// The node's address, where the instance's is the very name that was asked for.
    fn own_name(&self, host: &[u8], form: &Form, family: Family) -> Option<std::net::IpAddr> {
        if host != self.asking.labels {
            return None;
        }
        node_ip(&self.instance(form)?.node, family)
    }

    /// What `host` leads to, with this service's TTL.
    fn chased(&self, host: &'a [u8], desk: &mut Desk, out: &mut Answer<'a>) -> Vec<Record<'a>> {
        if out.chased >= CHASED_MAX {
            return Vec::new();
        }
        out.chased += 1;
        let mut found = chase::chase(host, self.asking, self.view, desk, out);
        found.retain(|record| matches!(record.data, Data::A(_) | Data::Aaaa(_) | Data::Cname(_)));
        if !self.asking.edns {
            found.truncate(chase::FOUND_MAX);
        }
        for record in &mut found {
            let is_alias = matches!(record.data, Data::Cname(_));
            record.ttl = if is_alias { chase::alias_ttl(self.ttl, self.view) } else { self.ttl };
        }
        found
    }
}
