//! What an instance or a node gives in answers, worked out once and kept in its catalog entry's memo: addresses by
//! family, SRV targets and metadata as bytes. Nothing here depends on the settings, so a reload outdates none of it.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use usher_cluster::catalog::{
    Instance, Memo, NodeEntry, ServiceEntry,
    model::{Node, Service, Status},
};

use super::text;
use crate::wire::{kind, name::encode};

/// The place of SRV records in lists of duplicates.
pub(super) const SRV: usize = 3;
/// The place of the instances' texts there.
pub(super) const TEXT: usize = 4;
/// The tag of a node's or an instance's own IPv4 address.
const LAN_IPV4: &str = "lan_ipv4";
/// The tag of its IPv6 address.
const LAN_IPV6: &str = "lan_ipv6";

/// Which of a node's or instance's addresses a question may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// A: the tagged IPv4 address, if there is one.
    V4 = 0,
    /// AAAA: the tagged IPv6 address, if there is one.
    V6 = 1,
    /// Anything else: either, IPv6 first.
    Any = 2,
}

impl Family {
    pub(super) fn of(kind: u16) -> Self {
        match kind {
            kind::A => Self::V4,
            kind::AAAA => Self::V6,
            _ => Self::Any,
        }
    }

    const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Any];
}

/// A range of the memo's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    at: u32,
    len: u32,
}

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// To the node itself.
    Node(IpAddr),
    /// To an address that is not the node's own.
    Own(IpAddr),
    /// To a host name.
    Host(Span),
    /// Nowhere: it cannot be written as a name.
    Nowhere,
}

/// What one instance gives.
#[derive(Clone, Debug)]
pub(super) struct Form {
    /// Its place among the entry's answerable instances.
    pub(super) place: u32,
    /// Its place in the lists of duplicates, by [`Family`], then [`SRV`] and [`TEXT`].
    pub(super) groups: [u32; 5],
    /// Where its addresses lead.
    reaches: [Reach; 3],
    /// The head of its SRV target; the rest is `<datacenter>.<domain>`. `None` if it cannot be a name.
    target: Option<Span>,
    /// The head of a target that has an address of each family of the instance's own.
    dual: Option<Span>,
    /// `<node>.node`, if that can be a name.
    node: Option<Span>,
    /// Its node's metadata.
    meta: Span,
    /// Its own metadata, as one record's strings.
    text: Span,
    /// Its SRV priority.
    pub(super) priority: u16,
    /// Its SRV weight by its health.
    pub(super) weight: u16,
    /// Its port.
    pub(super) port: u16,
    /// Whether all its checks pass.
    pub(super) passing: bool,
}

/// What the instances of a service give.
#[derive(Debug)]
pub(super) struct Forms {
    /// One for each answerable instance.
    pub(super) list: Vec<Form>,
    /// Whether an address (by [`Family`]), an SRV record or a text appears more than once.
    pub(super) repeats: [bool; 5],
    /// Whether all have the same priority and weight.
    pub(super) even: bool,
    /// Whether one of them will end soon.
    pub(super) draining: bool,
    bytes: Vec<u8>,
}

impl Forms {
    /// The entry's forms, made if nobody asked before. Two readers may make them at once; one's are kept.
    pub(super) fn of(entry: &ServiceEntry) -> Option<&Self> {
        memo(&entry.memo, || Self::new(entry))
    }

    fn new(entry: &ServiceEntry) -> Self {
        let mut bytes = Vec::new();
        let mut list = Vec::with_capacity(entry.answerable().len());
        for (place, instance) in (0_u32..).zip(entry.answerable().iter()) {
            list.push(Form::new(place, instance, &mut bytes));
        }
        bytes.shrink_to_fit();
        let rank = |form: &Form| (form.priority, form.weight);
        let even = list.windows(2).all(|pair| matches!(pair, [one, other] if rank(one) == rank(other)));
        let draining = entry.answerable().iter().any(|instance| instance.service.draining);
        let mut forms = Self { list, repeats: [false; 5], even, draining, bytes };
        forms.group(entry);
        forms
    }

    /// Numbers the distinct addresses and SRV records, and notes whether there are duplicates at all.
    fn group(&mut self, entry: &ServiceEntry) {
        for family in Family::ALL {
            let mut known = HashMap::new();
            for form in &mut self.list {
                let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
                let address = match form.reach(family) {
                    Reach::Node(address) | Reach::Own(address) => address,
                    // Only one of the names is ever answered.
                    Reach::Host(_) | Reach::Nowhere => Ipv6Addr::UNSPECIFIED.into(),
                };
                let is_name = matches!(form.reach(family), Reach::Host(_) | Reach::Nowhere);
                let group = *known.entry((is_name, address)).or_insert(next);
                let places = (self.repeats.get_mut(family as usize), form.groups.get_mut(family as usize));
                if let (Some(repeats), Some(slot)) = places {
                    *repeats |= group != next;
                    *slot = group;
                }
            }
        }
        let mut known = HashMap::new();
        for (form, instance) in self.list.iter_mut().zip(entry.answerable().iter()) {
            let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
            let key = (&instance.node.name, service_address(&instance.service, Family::Any), instance.service.port);
            let group = *known.entry(key).or_insert(next);
            self.repeats[SRV] |= group != next;
            form.groups[SRV] = group;
        }
        let mut known = HashMap::new();
        for form in &mut self.list {
            let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
            let group = *known.entry(slice(&self.bytes, form.text)).or_insert(next);
            self.repeats[TEXT] |= group != next;
            form.groups[TEXT] = group;
        }
    }

    /// The bytes of a span.
    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        slice(&self.bytes, span)
    }

    /// The head of the form's SRV target.
    pub(super) fn target(&self, form: &Form) -> Option<&[u8]> {
        Some(self.bytes(form.target?))
    }

    /// The head of a target with both of the form's addresses, if it has one of each family of its own.
    pub(super) fn dual(&self, form: &Form) -> Option<&[u8]> {
        Some(self.bytes(form.dual?))
    }

    /// The form's node as the head of a name.
    pub(super) fn node(&self, form: &Form) -> Option<&[u8]> {
        Some(self.bytes(form.node?))
    }

    /// The strings of the form's own metadata.
    pub(super) fn text(&self, form: &Form) -> &[u8] {
        self.bytes(form.text)
    }

    /// The TXT data of the form's node.
    pub(super) fn meta(&self, form: &Form) -> impl Iterator<Item = &[u8]> {
        text::each(self.bytes(form.meta))
    }
}

impl Form {
    fn new(place: u32, instance: &Instance, bytes: &mut Vec<u8>) -> Self {
        let reaches = Family::ALL.map(|family| reach(&instance.node, Some(&instance.service), family, bytes));
        let node = head(bytes, &instance.node.name, "node");
        let [.., any] = reaches;
        let target = match any {
            Reach::Node(_) => node,
            Reach::Own(address) => head(bytes, &hex(address), "addr"),
            Reach::Host(host) => Some(host),
            Reach::Nowhere => None,
        };
        let dual = match reaches {
            [Reach::Own(IpAddr::V4(v4)), Reach::Own(IpAddr::V6(v6)), _] => {
                head(bytes, &format!("{}-{}", hex(v4.into()), hex(v6.into())), "addr")
            }
            _ => None,
        };
        Self {
            place,
            groups: [0; 5],
            reaches,
            target,
            dual,
            node,
            meta: meta(&instance.node.meta, bytes),
            text: strings(&instance.service.meta, bytes),
            priority: instance.service.tier(),
            weight: weight(instance),
            port: low_word(instance.service.port),
            passing: instance.status == Status::Passing,
        }
    }

    /// Where the address for questions of that family leads.
    pub(super) fn reach(&self, family: Family) -> Reach {
        let [v4, v6, any] = self.reaches;
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
            Family::Any => any,
        }
    }

    /// Its address of each family it has one of.
    pub(super) fn both(&self) -> impl Iterator<Item = IpAddr> {
        let [v4, v6, _] = self.reaches;
        let of = |reach: Reach, wanted: fn(&IpAddr) -> bool| match reach {
            Reach::Node(address) | Reach::Own(address) => Some(address).filter(wanted),
            Reach::Host(_) | Reach::Nowhere => None,
        };
        [of(v4, IpAddr::is_ipv4), of(v6, IpAddr::is_ipv6)].into_iter().flatten()
    }
}

/// What a node gives.
#[derive(Debug)]
pub(super) struct NodeForm {
    reaches: [Reach; 3],
    node: Option<Span>,
    meta: Span,
    bytes: Vec<u8>,
}

impl NodeForm {
    /// The entry's form, made if nobody asked before.
    pub(super) fn of(entry: &NodeEntry) -> Option<&Self> {
        memo(&entry.memo, || Self::new(&entry.node))
    }

    fn new(node: &Node) -> Self {
        let mut bytes = Vec::new();
        let reaches = Family::ALL.map(|family| reach(node, None, family, &mut bytes));
        let head = head(&mut bytes, &node.name, "node");
        let meta = meta(&node.meta, &mut bytes);
        Self { reaches, node: head, meta, bytes }
    }

    /// Where the address for questions of that family leads.
    pub(super) fn reach(&self, family: Family) -> Reach {
        let [v4, v6, any] = self.reaches;
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
            Family::Any => any,
        }
    }

    /// `<node>.node`.
    pub(super) fn node(&self) -> Option<&[u8]> {
        Some(slice(&self.bytes, self.node?))
    }

    /// The labels of a host name.
    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        slice(&self.bytes, span)
    }

    /// The TXT data.
    pub(super) fn meta(&self) -> impl Iterator<Item = &[u8]> {
        text::each(slice(&self.bytes, self.meta))
    }
}

/// The node's own IP address for that family, where a service's address turns out to be the name asked for.
pub(super) fn node_ip(node: &Node, family: Family) -> Option<IpAddr> {
    parse(node_address(node, family))
}

fn memo<T: Any + Send + Sync>(memo: &Memo, make: impl FnOnce() -> T) -> Option<&T> {
    if memo.get().is_none() {
        // Not `get_or_init`: a second reader is to make its own rather than to wait.
        let made: Arc<dyn Any + Send + Sync> = Arc::new(make());
        let _lost_to_another_reader = memo.set(made);
    }
    memo.get().and_then(|made| (**made).downcast_ref())
}

fn reach(node: &Node, service: Option<&Service>, family: Family, bytes: &mut Vec<u8>) -> Reach {
    let own = service.map_or("", |service| service_address(service, family));
    if !own.is_empty() {
        return parse(own).map_or_else(|| host(own, bytes), Reach::Own);
    }
    let address = node_address(node, family);
    match parse(address) {
        Some(ip) if address == node.address || service.is_none() => Reach::Node(ip),
        Some(ip) => Reach::Own(ip),
        None => host(address, bytes),
    }
}

fn service_address(service: &Service, family: Family) -> &str {
    let tagged = |tag| service.tagged_addresses.get(tag).map_or("", |address| address.address.as_str());
    by_family(family, &service.address, tagged(LAN_IPV4), tagged(LAN_IPV6))
}

fn node_address(node: &Node, family: Family) -> &str {
    let tagged = |tag| node.tagged_addresses.get(tag).map_or("", String::as_str);
    by_family(family, &node.address, tagged(LAN_IPV4), tagged(LAN_IPV6))
}

/// A tagged address of a family that will do goes before the address itself.
fn by_family<'t>(family: Family, address: &'t str, v4: &'t str, v6: &'t str) -> &'t str {
    let choices: [&str; 2] = match family {
        Family::V4 => [v4, ""],
        Family::V6 => [v6, ""],
        Family::Any => [v6, v4],
    };
    choices.into_iter().find(|choice| !choice.is_empty()).unwrap_or(address)
}

/// An IPv4 address in IPv6 clothes is an IPv4 address.
fn parse(address: &str) -> Option<IpAddr> {
    address.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn host(name: &str, bytes: &mut Vec<u8>) -> Reach {
    let start = bytes.len();
    match encode(name, bytes) {
        Ok(()) => Reach::Host(span(start, bytes.len())),
        Err(_) => Reach::Nowhere,
    }
}

/// The labels of `<name>.<word>`. Whether the rest fits behind them is checked when the name is put together.
fn head(bytes: &mut Vec<u8>, name: &str, word: &str) -> Option<Span> {
    let start = bytes.len();
    encode(&format!("{name}.{word}"), bytes).ok()?;
    Some(span(start, bytes.len()))
}

fn hex(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{:08x}", u32::from(address)),
        IpAddr::V6(address) => format!("{:032x}", u128::from(address)),
    }
}

fn meta(pairs: &BTreeMap<String, String>, bytes: &mut Vec<u8>) -> Span {
    let start = bytes.len();
    text::encode_all(pairs, bytes);
    span(start, bytes.len())
}

/// All pairs as the strings of one record.
fn strings(pairs: &BTreeMap<String, String>, bytes: &mut Vec<u8>) -> Span {
    let start = bytes.len();
    text::encode_together(pairs, bytes);
    span(start, bytes.len())
}

/// The weight for the health the checks add up to; a status of a registrant's own counts 1.
fn weight(instance: &Instance) -> u16 {
    let weights = &instance.service.weights;
    if instance.service.draining {
        return 0;
    }
    match instance.status {
        Status::Passing => low_word(weights.passing),
        Status::Warning => low_word(weights.warning),
        Status::Critical => 0,
        Status::Other(_) => 1,
    }
}

/// The low 16 bits, which is what the reference sends of a number that is too large.
fn low_word(number: i64) -> u16 {
    u16::try_from(number & 0xffff).unwrap_or(0)
}

fn span(start: usize, end: usize) -> Span {
    match (u32::try_from(start), u32::try_from(end.saturating_sub(start))) {
        (Ok(at), Ok(len)) => Span { at, len },
        _ => Span::default(),
    }
}

fn slice(bytes: &[u8], span: Span) -> &[u8] {
    let at = span.at as usize;
    bytes.get(at..at + span.len as usize).unwrap_or_default()
}
