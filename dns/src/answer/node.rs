//! A node's address and metadata.

use usher_cluster::{access::Permission, catalog::Interest};

use super::{
    Answer, Asking, Desk, View, answers_kind, chase,
    form::{Family, NodeForm, Reach},
    no_data, no_such_name,
    reason::code,
};
use crate::wire::{
    kind,
    name::{Bytes, Name},
    rcode,
    record::{Data, Record},
};

/// Answers for the node of that name (`None`: there is none). By Consul's letter types a node never has are answered with
/// nothing, whether it exists or not.
pub(super) fn node<'a>(
    name: Option<&str>,
    asking: &Asking<'a>,
    view: &View<'a>,
    desk: &mut Desk,
    out: &mut Answer<'a>,
) {
    let strict = view.zone.policy.strict();
    if !strict && !matches!(asking.kind, kind::A | kind::AAAA | kind::ANY | kind::TXT) {
        return;
    }
    let allowed = |name: &&str| view.authorizer.allows("", &Permission::NodeRead(name));
    if let Some(name) = name.filter(|name| !view.state.holds_node(name)) {
        return out.need(Interest::Node(name.to_owned()));
    }
    let Some(entry) = name.filter(allowed).and_then(|name| view.state.node_entry(name)) else {
        let name = name.unwrap_or_default();
        if strict && view.state.has_nodes_below(name) {
            out.explain(code::OTHER, format_args!("names of nodes end in {name:?}, but none is it"));
            return no_data(asking, view, out);
        }
        out.explain(code::OTHER, format_args!("no node {name:?}"));
        return no_such_name(asking, view, out);
    };
    let Some(form) = NodeForm::of(entry) else {
        // Somebody else uses the entry's memo: a mistake in this program.
        out.rcode = rcode::SERVFAIL;
        return;
    };
    if asking.kind != kind::TXT {
        for record in addresses(form, asking, view, desk, out) {
            out.answers.push(record);
        }
    }
    let in_answer = matches!(asking.kind, kind::ANY | kind::TXT);
    if in_answer || (view.zone.policy.node_meta_txt && !(strict && out.answers.is_empty())) {
        let section = if in_answer { &mut out.answers } else { &mut out.additional };
        for data in form.meta() {
            let data = Data::Txt(Bytes::Lent(data));
            section.push(Record { owner: asking.owner, ttl: view.zone.node_ttl(), data });
        }
    }
    if strict && out.answers.is_empty() {
        out.explain(code::OTHER, format_args!("node {:?} has no such record", entry.node.name));
        no_data(asking, view, out);
    }
}

/// The node's address as a record of `asking.owner`: an address of the right family, or an alias with what it leads to.
pub(super) fn addresses<'a>(
    form: &'a NodeForm,
    asking: &Asking<'a>,
    view: &View<'a>,
    desk: &mut Desk,
    out: &mut Answer<'a>,
) -> impl Iterator<Item = Record<'a>> + use<'a> {
    let record = |data| Record { owner: asking.owner, ttl: view.zone.node_ttl(), data };
    let (first, rest) = match form.reach(Family::of(asking.kind)) {
        Reach::Node(address) | Reach::Own(address) => {
            let fits = answers_kind(address, asking.kind, view.zone);
            (fits.then(|| record(Data::address(address))), Vec::new())
        }
        Reach::Host(host) => {
            let host = form.bytes(host);
            let ttl = chase::alias_ttl(view.zone.node_ttl(), view);
            let alias = Record { ttl, ..record(Data::Cname(Name::lent(host, &[]))) };
            (Some(alias), chase::chase(host, asking, view, desk, out))
        }
        Reach::Nowhere => (None, Vec::new()),
    };
    first.into_iter().chain(rest)
}
