//! A node's address and metadata.

use usher_cluster::{access::Permission, catalog::Interest};

use super::{
    Answer, Asking, Desk, View, answers_kind, chase,
    form::{Family, NodeForm, Reach},
    no_such_name,
};
use crate::wire::{
    kind,
    name::{Bytes, Name},
    rcode,
    record::{Data, Record},
};

/// Answers for the node of that name (`None`: there is none). Types a node never has are answered with nothing, whether
/// it exists or not.
pub(super) fn node<'a>(
    name: Option<&str>,
    asking: &Asking<'a>,
    view: &View<'a>,
    desk: &mut Desk,
    out: &mut Answer<'a>,
) {
    if !matches!(asking.kind, kind::A | kind::AAAA | kind::ANY | kind::TXT) {
        return;
    }
    let allowed = |name: &&str| view.authorizer.allows("", &Permission::NodeRead(name));
    if let Some(name) = name.filter(|name| !view.state.holds_node(name)) {
        return out.need(Interest::Node(name.to_owned()));
    }
    let Some(entry) = name.filter(allowed).and_then(|name| view.state.node_entry(name)) else {
        return no_such_name(view, out);
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
    if !in_answer && !view.zone.policy.node_meta_txt {
        return;
    }
    let section = if in_answer { &mut out.answers } else { &mut out.additional };
    for data in form.meta() {
        let data = Data::Txt(Bytes::Lent(data));
        section.push(Record { owner: asking.owner, ttl: view.zone.node_ttl(), data });
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
            let fits = answers_kind(address, asking.kind);
            (fits.then(|| record(Data::address(address))), Vec::new())
        }
        Reach::Host(host) => {
            let host = form.bytes(host);
            let alias = record(Data::Cname(Name::lent(host, &[])));
            (Some(alias), chase::chase(host, asking, view, desk, out))
        }
        Reach::Nowhere => (None, Vec::new()),
    };
    first.into_iter().chain(rest)
}
