//! The grammar: what a question's name and type ask for.
//!
//! ```text
//!   [tag.]<service>.service[.<datacenter>].<domain>      <node>.node[.<datacenter>].<domain>
//!   _<service>._<tag>[.service][.<datacenter>].<domain>  <hex>.addr[.…].<domain>
//!   <query>.query[.<datacenter>].<domain>                <reversed address>.in-addr.arpa | ip6.arpa
//! ```
//!
//! The kind is the rightmost label that names one; what stands before it is looked up, what stands behind it is the
//! datacenter. Letters' case does not matter. Pure: knows the settings, not the catalog.
//!
//! | rule | here |
//! |---|---|
//! | a tag may hold dots, a service's name may not; all labels before the last are one tag | [`Asked::Service`] |
//! | `a.b._and.<service>`: all of these tags, each of one label (ours, by the letter of the RFCs) | [`Tags::All`] |
//! | `_name._tag`: `_tcp` means no tag, every other second label is a tag, `_udp` too | RFC 2782 form |
//! | a label that begins with `_` stands for the missing `service`; by Consul's letter for SRV alone | RFC 2782 form |
//! | SOA and NS are answered where a zone begins, by Consul's letter for every name; transfers for none | [`Asked::Soa`], [`Asked::Ns`], [`Asked::Transfer`] |
//! | a kind or the domain alone: names stand below (RFC 8020); by Consul's letter nothing | [`Asked::Above`] |
//! | more than one label behind the kind, words that are none | [`Asked::Nothing`], that is NXDOMAIN |
//! | `.addr.` by Consul's letter takes anything behind it, and hex of a wrong length is an empty answer | [`Asked::Addr`] |
//! | DS belongs to the parent zone: passed on if there are recursors | [`Asked::Other`] |

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str,
};

use crate::{
    wire::{kind, qname::QName},
    zone::Zone,
};

/// The label that divides several tags from their service.
const AND: &[u8] = b"_and";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'q> {
    /// Names stand below this one, but nothing at it.
    Above,
    /// Addresses spelled in hex: one, or one of each family.
    Addr(IpAddr, Option<IpAddr>),
    /// Nothing, and no error: what Consul says to hex that is no address.
    Empty,
    /// A node's records. The name is `None` if no node can be called so.
    Node {
        /// Lower case.
        name: Option<&'q str>,
        /// Whether this datacenter is meant.
        here: bool,
    },
    /// The name server by name: `ns.<domain>`.
    NameServer,
    /// Nothing that exists or could exist here.
    Nothing(Why),
    /// The zone's servers.
    Ns,
    /// A name that is not ours.
    Other,
    /// A prepared query. (None can be created yet.)
    Query,
    /// An address's name.
    Reverse(Reversed),
    /// Instances of a service. The name is `None` if no service can be called so.
    Service {
        /// Lower case.
        name: Option<&'q str>,
        /// Which of its instances.
        tags: Tags<'q>,
        /// Whether this datacenter is meant.
        here: bool,
    },
    /// The zone's start.
    Soa,
    /// The transfer of the zone.
    Transfer,
}

/// Why a name is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Too much stands behind its kind.
    Behind,
    /// The digits spell no address.
    NoAddress,
    /// None of its labels says what it is.
    NoKind,
    /// It asks for the service mesh.
    Mesh,
}

/// What a name of the reverse tree spells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reversed {
    /// An address.
    Address(IpAddr),
    /// The first part of addresses.
    Part,
    /// Neither.
    Nothing,
    /// A name of `arpa.` that is no address's.
    Other,
}

/// The tags instances are to have, lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tags<'q> {
    /// All of these, with dots between them.
    All(&'q str),
    /// None in particular.
    Any,
    /// This one; it may hold dots.
    One(&'q str),
}

impl Tags<'_> {
    /// Whether an instance with these tags is meant.
    pub fn let_through<'t>(&self, own: impl Iterator<Item = &'t str> + Clone) -> bool {
        let has = |tag: &str| own.clone().any(|own| own.eq_ignore_ascii_case(tag));
        match self {
            Self::All(tags) => tags.split('.').all(has),
            Self::Any => true,
            Self::One(tag) => has(tag),
        }
    }
}

/// Reads what `name` and `kind` ask for.
pub fn asked<'q>(name: &'q QName, kind: u16, zone: &Zone) -> Asked<'q> {
    let strict = zone.policy.strict();
    if strict && matches!(kind, kind::AXFR | kind::IXFR) {
        let ours = zone.under(name).is_some() || zone.cut(name).is_some();
        return if ours { Asked::Transfer } else { Asked::Other };
    }
    if let Some((_, 0)) = zone.cut(name).filter(|_| strict) {
        match kind {
            kind::SOA => return Asked::Soa,
            kind::NS => return Asked::Ns,
            _ => {}
        }
    }
    if name.label(name.labels().saturating_sub(1)) == b"arpa" {
        return Asked::Reverse(reverse(name));
    }
    let Some(under) = zone.under(name) else { return Asked::Other };
    if kind == kind::DS && zone.recurses() {
        return Asked::Other;
    }
    match kind {
        kind::SOA if !strict || under.labels == 0 => Asked::Soa,
        kind::NS if !strict || under.labels == 0 => Asked::Ns,
        kind::AXFR => Asked::Transfer,
        _ => within(name, under.labels, kind, zone),
    }
}

/// Reads a name under one of the domains, of which the first `labels` labels count.
fn within<'q>(name: &'q QName, labels: usize, kind: u16, zone: &Zone) -> Asked<'q> {
    let strict = zone.policy.strict();
    for at in (0..labels).rev() {
        let label = name.label(at);
        match label {
            b"service" => return service(name, at, Place::of(name, at + 1, labels, zone), zone),
            b"node" => return node(name, at, Place::of(name, at + 1, labels, zone), strict),
            b"addr" => return addr(name, at, Place::of(name, at + 1, labels, zone), strict),
            b"query" => return query(at, Place::of(name, at + 1, labels, zone), strict),
            // Parts of the service mesh: known words, nothing behind them.
            b"connect" | b"ingress" => return Asked::Nothing(Why::Mesh),
            _ if label.starts_with(b"_") && (strict || kind == kind::SRV) => {
                return service(name, at + 1, Place::of(name, at + 1, labels, zone), zone);
            }
            _ => {}
        }
    }
    if !strict {
        return Asked::Nothing(Why::NoKind);
    }
    match labels {
        0 => Asked::Above,
        1 if name.label(0) == b"ns" => Asked::NameServer,
        1 if Place::of(name, 0, 1, zone) == Place::Here => Asked::Above,
        _ => Asked::Nothing(Why::NoKind),
    }
}

/// What stands behind the kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    Elsewhere,
    Invalid,
}

impl Place {
    fn of(name: &QName, from: usize, to: usize, zone: &Zone) -> Self {
        match to.saturating_sub(from) {
            0 => Self::Here,
            1 if name.label(from).eq_ignore_ascii_case(zone.policy.datacenter.as_bytes()) => Self::Here,
            1 => Self::Elsewhere,
            _ => Self::Invalid,
        }
    }
}

/// What a kind alone asks for.
fn alone<'q>(place: Place, strict: bool) -> Asked<'q> {
    match place {
        Place::Here if strict => Asked::Above,
        Place::Invalid => Asked::Nothing(Why::Behind),
        _ => Asked::Nothing(Why::NoKind),
    }
}

fn service<'q>(name: &'q QName, parts: usize, place: Place, zone: &Zone) -> Asked<'q> {
    if parts == 0 || place == Place::Invalid {
        return alone(place, zone.policy.strict());
    }
    let here = place == Place::Here;
    if let (2, [b'_', service @ ..], [b'_', tag @ ..]) = (parts, name.label(0), name.label(1)) {
        return found(name, service, if tag == b"tcp" { b"" } else { tag }, here);
    }
    let service = name.label(parts - 1);
    if parts >= 2 && name.label(parts - 2) == AND && zone.policy.strict() {
        return match (text(name, service), text(name, name.span(0, parts - 2))) {
            (_, Some("")) => Asked::Above,
            (service, Some(tags)) => Asked::Service { name: service, tags: Tags::All(tags), here },
            (_, None) => Asked::Service { name: None, tags: Tags::Any, here },
        };
    }
    found(name, service, name.span(0, parts - 1), here)
}

fn found<'q>(name: &'q QName, service: &'q [u8], tag: &'q [u8], here: bool) -> Asked<'q> {
    match (text(name, service), text(name, tag)) {
        (service, Some("")) => Asked::Service { name: service, tags: Tags::Any, here },
        (service, Some(tag)) => Asked::Service { name: service, tags: Tags::One(tag), here },
        (_, None) => Asked::Service { name: None, tags: Tags::Any, here },
    }
}

fn node(name: &QName, parts: usize, place: Place, strict: bool) -> Asked<'_> {
    if parts == 0 || place == Place::Invalid {
        return alone(place, strict);
    }
    Asked::Node { name: text(name, name.span(0, parts)), here: place == Place::Here }
}

fn query<'q>(parts: usize, place: Place, strict: bool) -> Asked<'q> {
    if parts == 0 || place == Place::Invalid { alone(place, strict) } else { Asked::Query }
}

fn addr<'q>(name: &QName, parts: usize, place: Place, strict: bool) -> Asked<'q> {
    let digits = name.label(0);
    if strict && (parts == 0 || place == Place::Invalid) {
        return alone(place, strict);
    }
    if parts != 1 {
        return Asked::Nothing(Why::NoAddress);
    }
    let one = |address: Option<IpAddr>| address.map_or(Asked::Nothing(Why::NoAddress), |one| Asked::Addr(one, None));
    // Halved lengths are compared, so that an odd digit too many is noticed by the decoding: as the reference does.
    match digits.len() / 2 {
        4 => one(hex::<4>(digits).map(|bytes| Ipv4Addr::from(bytes).into())),
        16 => one(hex::<16>(digits).map(|bytes| Ipv6Addr::from(bytes).into())),
        _ if !strict => Asked::Empty,
        _ => both(digits).unwrap_or(Asked::Nothing(Why::NoAddress)),
    }
}

/// `<hex of IPv4>-<hex of IPv6>`: an instance that has both.
fn both<'q>(digits: &[u8]) -> Option<Asked<'q>> {
    let (v4, v6) = digits.split_at_checked(8)?;
    let v4 = Ipv4Addr::from(hex::<4>(v4)?);
    let v6 = Ipv6Addr::from(hex::<16>(v6.strip_prefix(b"-")?)?);
    Some(Asked::Addr(v4.into(), Some(v6.into())))
}

/// A name the catalog could hold: see [`QName::odd`].
fn text<'q>(name: &QName, part: &'q [u8]) -> Option<&'q str> {
    if name.odd() {
        return None;
    }
    str::from_utf8(part).ok()
}

/// The address whose name under `in-addr.arpa` or `ip6.arpa` this is; only the one spelling of each address counts.
fn reverse(name: &QName) -> Reversed {
    let Some(before) = name.labels().checked_sub(2) else { return Reversed::Other };
    let found = match name.label(before) {
        b"in-addr" if before < 4 => (0..before).all(|at| decimal(name.label(at)).is_some()).then_some(Reversed::Part),
        b"in-addr" if before == 4 => v4(name).map(|address| Reversed::Address(address.into())),
        b"ip6" if before < 32 => (0..before).all(|at| nibble(name.label(at)).is_some()).then_some(Reversed::Part),
        b"ip6" if before == 32 => v6(name).map(|address| Reversed::Address(address.into())),
        b"in-addr" | b"ip6" => None,
        _ => Some(Reversed::Other),
    };
    found.unwrap_or(Reversed::Nothing)
}

fn v4(name: &QName) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    for (at, octet) in octets.iter_mut().rev().enumerate() {
        *octet = decimal(name.label(at))?;
    }
    Some(octets.into())
}

fn v6(name: &QName) -> Option<Ipv6Addr> {
    let mut octets = [0_u8; 16];
    for (at, octet) in octets.iter_mut().rev().enumerate() {
        *octet = nibble(name.label(at * 2 + 1))? << 4 | nibble(name.label(at * 2))?;
    }
    Some(octets.into())
}

fn decimal(label: &[u8]) -> Option<u8> {
    let leading_zero = label.len() > 1 && label.first() == Some(&b'0');
    if leading_zero || !label.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(label).ok()?.parse().ok()
}

fn nibble(label: &[u8]) -> Option<u8> {
    match label {
        [digit] => digit_value(*digit),
        _ => None,
    }
}

fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit_value(*high)? << 4 | digit_value(*low)?;
    }
    Some(bytes)
}

fn digit_value(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{policy::Policy, wire::name::encoded};

    /// What is asked, as one readable word.
    fn read(text: &str, kind: u16, policy: Policy) -> String {
        let zone = Zone::new(policy).unwrap();
        let mut name = QName::default();
        let labels = if text == "." { Vec::new() } else { encoded(text).unwrap() };
        name.set(&labels).unwrap();
        let place = |here: bool| if here { "" } else { " elsewhere" };
        match asked(&name, kind, &zone) {
            Asked::Addr(address, None) | Asked::Reverse(Reversed::Address(address)) => address.to_string(),
            Asked::Addr(v4, Some(v6)) => format!("{v4} {v6}"),
            Asked::Reverse(other) => format!("reverse {other:?}").to_ascii_lowercase(),
            Asked::Nothing(_) => "nothing".into(),
            Asked::Node { name, here } => format!("node {}{}", name.unwrap_or("?"), place(here)),
            Asked::Service { name, tags, here } => {
                let tags = match tags {
                    Tags::All(tags) => format!(" tags {tags}"),
                    Tags::Any => String::new(),
                    Tags::One(tag) => format!(" tag {tag}"),
                };
                format!("service {}{tags}{}", name.unwrap_or("?"), place(here))
            }
            other => format!("{other:?}").to_ascii_lowercase(),
        }
    }

    fn policy() -> Policy {
        Policy { alt_domain: "alt.test".into(), ..Policy::of_consul() }
    }

    #[test]
    fn names_ask_for_what_they_spell() {
        let a = kind::A;
        let srv = kind::SRV;
        let cases: &[(&str, u16, &str)] = &[
            ("web.service.consul", a, "service web"),
            ("WEB.Service.CONSUL", a, "service web"),
            ("web.service.alt.test", a, "service web"),
            ("web.service.dc1.consul", a, "service web"),
            ("web.service.DC1.consul", a, "service web"),
            ("web.service.dc2.consul", a, "service web elsewhere"),
            ("web.service.dc1.extra.consul", a, "nothing"),
            ("v1.web.service.consul", a, "service web tag v1"),
            ("a.b.web.service.consul", a, "service web tag a.b"),
            ("_web._tcp.service.consul", a, "service web"),
            ("_web._TCP.service.consul", srv, "service web"),
            ("_web._udp.service.consul", srv, "service web tag udp"),
            ("_web._v1.service.dc1.consul", srv, "service web tag v1"),
            ("web._tcp.service.consul", srv, "service _tcp tag web"),
            ("_web.service.consul", srv, "service _web"),
            ("_web._tcp.v1.service.consul", srv, "service v1 tag _web._tcp"),
            ("_web._tcp.consul", srv, "service web"),
            ("_web._tcp.dc1.consul", srv, "service web"),
            ("_web._tcp.consul", a, "nothing"),
            ("_web.consul", srv, "service _web"),
            ("service.service.consul", a, "service service"),
            ("service.consul", a, "nothing"),
            ("service.dc1.consul", srv, "nothing"),
            ("web.bogus.consul", a, "nothing"),
            ("consul", a, "nothing"),
            ("ns.consul", a, "nothing"),
            ("n1.node.consul", a, "node n1"),
            ("dot.ted.node.dc1.consul", a, "node dot.ted"),
            ("n1.node.dc2.consul", a, "node n1 elsewhere"),
            ("node.consul", a, "nothing"),
            ("n1.node.a.b.consul", a, "nothing"),
            ("node.service.consul", a, "service node"),
            ("x.query.consul", a, "query"),
            ("a.b.query.dc1.consul", a, "query"),
            ("query.consul", a, "nothing"),
            ("x.query.a.b.consul", a, "nothing"),
            ("s.connect.consul", a, "nothing"),
            ("s.ingress.consul", a, "nothing"),
            ("s.virtual.consul", a, "nothing"),
            ("0a000001.addr.consul", a, "10.0.0.1"),
            ("0A0000FF.addr.dc9.consul", srv, "10.0.0.255"),
            ("0a000001.addr.a.b.c.consul", a, "10.0.0.1"),
            ("20010db8000000000000000000000001.addr.consul", a, "2001:db8::1"),
            ("0a0000.addr.consul", a, "empty"),
            ("0a00000101.addr.consul", a, "empty"),
            ("0a000001a.addr.consul", a, "nothing"),
            ("zz000001.addr.consul", a, "nothing"),
            ("x.0a000001.addr.consul", a, "nothing"),
            ("addr.consul", a, "nothing"),
            ("anything.consul", kind::SOA, "soa"),
            ("consul", kind::NS, "ns"),
            ("web.service.consul", kind::AXFR, "transfer"),
            ("example.com", a, "other"),
            ("notconsul", a, "other"),
            (".", kind::NS, "other"),
            ("web.service.consul", kind::DS, "service web"),
            ("1.0.68.10.in-addr.arpa", kind::PTR, "10.68.0.1"),
            ("1.0.68.10.IN-ADDR.ARPA", a, "10.68.0.1"),
            ("01.0.68.10.in-addr.arpa", kind::PTR, "reverse nothing"),
            ("256.0.68.10.in-addr.arpa", kind::PTR, "reverse nothing"),
            ("68.10.in-addr.arpa", kind::PTR, "reverse part"),
            ("x.y.z.w.in-addr.arpa", kind::PTR, "reverse nothing"),
            ("arpa", kind::SOA, "reverse other"),
            ("8.6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", kind::PTR, "2001:db8::68"),
            ("88.6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", kind::PTR, "reverse nothing"),
        ];
        for (text, kind, want) in cases {
            assert_eq!(read(text, *kind, policy()), *want, "{text} {kind}");
        }
    }

    #[test]
    fn by_the_rfcs_names_stand_below_others() {
        let a = kind::A;
        let srv = kind::SRV;
        let cases: &[(&str, u16, &str)] = &[
            ("web.service.consul", a, "service web"),
            ("consul", a, "above"),
            ("consul", kind::SOA, "soa"),
            ("consul", kind::NS, "ns"),
            ("alt.test", kind::SOA, "soa"),
            ("service.consul", a, "above"),
            ("service.consul", kind::SOA, "above"),
            ("service.consul", kind::NS, "above"),
            ("web.service.consul", kind::NS, "service web"),
            ("node.consul", a, "above"),
            ("addr.consul", a, "above"),
            ("query.consul", a, "above"),
            ("dc1.consul", a, "above"),
            ("DC1.consul", a, "above"),
            ("service.dc1.consul", a, "above"),
            ("dc2.consul", a, "nothing"),
            ("service.dc2.consul", a, "nothing"),
            ("web.bogus.consul", a, "nothing"),
            ("ns.consul", a, "nameserver"),
            ("_web._tcp.consul", a, "service web"),
            ("_tcp.consul", srv, "service _tcp"),
            ("_tcp.service.consul", a, "service _tcp"),
            ("a.b.web.service.consul", a, "service web tag a.b"),
            ("a.b._and.web.service.consul", a, "service web tags a.b"),
            ("a._and.web.service.dc1.consul", srv, "service web tags a"),
            ("_and.web.service.consul", a, "above"),
            ("0a000001.addr.consul", a, "10.0.0.1"),
            ("0a000001.addr.dc9.consul", a, "10.0.0.1"),
            ("0a000001.addr.a.b.consul", a, "nothing"),
            ("0a0000.addr.consul", a, "nothing"),
            ("0a000001-20010db8000000000000000000000001.addr.consul", a, "10.0.0.1 2001:db8::1"),
            ("0a000001-.addr.consul", a, "nothing"),
            ("web.service.consul", kind::AXFR, "transfer"),
            ("consul", kind::IXFR, "transfer"),
            ("example.com", kind::AXFR, "other"),
            ("in-addr.arpa", kind::PTR, "reverse part"),
            ("0.ip6.arpa", kind::PTR, "reverse part"),
            ("x.ip6.arpa", kind::PTR, "reverse nothing"),
            ("5.1.0.68.10.in-addr.arpa", kind::PTR, "reverse nothing"),
            ("e164.arpa", kind::PTR, "reverse other"),
        ];
        for (text, kind, want) in cases {
            let policy = Policy { alt_domain: "alt.test".into(), ..Policy::default() };
            assert_eq!(read(text, *kind, policy), *want, "{text} {kind}");
        }
    }

    #[test]
    fn a_zone_begins_at_its_cut() {
        let zone_cuts = ["service.consul", "10.in-addr.arpa"].map(str::to_owned).to_vec();
        let read = |text, kind| read(text, kind, Policy { zone_cuts: zone_cuts.clone(), ..Policy::default() });
        assert_eq!(read("service.consul", kind::SOA), "soa");
        assert_eq!(read("service.consul", kind::NS), "ns");
        assert_eq!(read("service.consul", kind::A), "above");
        assert_eq!(read("web.service.consul", kind::SOA), "service web");
        assert_eq!(read("10.in-addr.arpa", kind::NS), "ns");
        assert_eq!(read("10.in-addr.arpa", kind::A), "reverse part");
    }

    #[test]
    fn labels_with_odd_bytes_name_nothing_in_the_catalog() {
        for text in ["sp ace.service.consul", "sp ace.node.consul", "t@g.web.service.consul"] {
            assert!(read(text, kind::A, policy()).contains('?'), "{text}");
        }
        assert_eq!(read("sp ace.consul", kind::SOA, policy()), "soa");
    }

    #[test]
    fn ds_goes_to_the_parent_if_somebody_can_be_asked() {
        let policy = Policy { recursors: vec!["127.0.0.1:53".parse().unwrap()], ..policy() };
        assert_eq!(read("web.service.consul", kind::DS, policy.clone()), "other");
        assert_eq!(read("web.service.consul", kind::A, policy), "service web");
    }
}
