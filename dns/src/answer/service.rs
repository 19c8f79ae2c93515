//! The instances of a service, as addresses or SRV records, in random order and without duplicates.

use usher_cluster::{
    access::Permission,
    catalog::{Instance, Interest, ServiceEntry},
};

use super::{
    Answer, Asking, Cut, Desk, View, answers_kind, apex, chase,
    form::{Family, Form, Forms, Reach, node_ip},
    no_such_name,
};
use crate::wire::{
    kind,
    name::{Bytes, Name},
    rcode,
    record::{Data, Record, Srv},
};

/// Most names followed for one answer; SRV targets beyond them go without their addresses.
const CHASED_MAX: usize = 32;

/// Which forms may be answered is in `desk.order`; what one answer needs of the service is here.
struct Lookup<'a, 'v> {
    entry: &'a ServiceEntry,
    forms: &'a Forms,
    ttl: u32,
    asking: &'v Asking<'a>,
    view: &'v View<'a>,
}

/// Answers with the instances of `name` that carry `tag` (empty for all).
pub(super) fn service<'a>(
    name: &str,
    tag: &str,
    asking: &Asking<'a>,
    view: &View<'a>,
    desk: &mut Desk,
    out: &mut Answer<'a>,
) {
    if !view.state.holds_service(name) {
        return out.need(Interest::Service(name.to_owned()));
    }
    let Some(entry) = view.state.service_entry(name) else { return no_such_name(view, out) };
    if !view.authorizer.allows("", &Permission::ServiceRead(name)) {
        return no_such_name(view, out);
    }
    let Some(forms) = Forms::of(entry) else {
        // Somebody else uses the entry's memo: a mistake in this program.
        out.rcode = rcode::SERVFAIL;
        return;
    };
    select(entry, forms, tag, view, desk);
    if desk.order.is_empty() {
        return no_such_name(view, out);
    }
    out.cut = Cut::Service;
    let lookup = Lookup { entry, forms, ttl: view.zone.service_ttl(name), asking, view };
    match asking.kind {
        kind::SRV => lookup.targets(desk, out),
        _ => lookup.addresses(desk, out),
    }
    if out.answers.is_empty() && !(out.more && view.zone.policy.enable_truncate) {
        out.authority.push(apex::soa(view));
    }
}

/// Lists in `desk.order` the forms that health and tag let through.
fn select(entry: &ServiceEntry, forms: &Forms, tag: &str, view: &View<'_>, desk: &mut Desk) {
    let only_passing = view.zone.policy.only_passing;
    let tagged = |form: &Form| {
        let instance = entry.answerable().get(form.place as usize);
        instance.is_some_and(|instance| instance.service.tags.iter().any(|own| own.eq_ignore_ascii_case(tag)))
    };
    let wanted = |form: &&Form| (form.passing || !only_passing) && (tag.is_empty() || tagged(form));
    desk.order.clear();
    desk.order.extend(forms.list.iter().filter(wanted).map(|form| form.place));
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
            if !answers_kind(address, self.asking.kind) {
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
            Some(_) if self.asking.most == 0 => out.more = true,
            Some(host) if out.answers.is_empty() && !out.more => self.alias(host, desk, out),
            _ => {}
        }
    }

    /// A CNAME and what it leads to: only where there is no address, and only one.
    fn alias(&self, host: &'a [u8], desk: &mut Desk, out: &mut Answer<'a>) {
        let data = Data::Cname(Name::lent(host, &[]));
        out.answers.push(Record { owner: self.asking.owner, ttl: self.ttl, data });
        for found in self.chased(host, desk, out) {
            out.answers.push(found);
        }
    }

    fn targets(&self, desk: &mut Desk, out: &mut Answer<'a>) {
        let [.., repeats] = self.forms.repeats;
        if repeats {
            desk.unsee(self.forms.list.len());
        }
        for at in 0.. {
            let Some(form) = self.draw(at, desk) else { break };
            let [.., group] = form.groups;
            if repeats && !desk.first(group) {
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
        let dc_domain = self.view.zone.dc_domain();
        match form.reach(Family::Any) {
            Reach::Node(address) | Reach::Own(address) => {
                let Some(target) = self.forms.target(form).and_then(|head| Name::joined(head, dc_domain)) else {
                    return;
                };
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
    }

    fn srv(&self, form: &Form, target: Name<'a>) -> Record<'a> {
        let srv = Srv { priority: 1, weight: form.weight, port: form.port, target };
        Record { owner: self.asking.owner, ttl: self.ttl, data: Data::Srv(srv) }
    }

    fn meta(&self, form: &'a Form, out: &mut Answer<'a>) {
        if !self.view.zone.policy.node_meta_txt {
            return;
        }
        let owner = self.forms.node(form).and_then(|head| Name::joined(head, self.view.zone.dc_domain()));
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
        found.iter_mut().for_each(|record| record.ttl = self.ttl);
        found
    }
}
