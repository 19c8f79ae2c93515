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
//! | `_name._tag`: `_tcp` means no tag, every other second label is a tag, `_udp` too | RFC 2782 form |
//! | for SRV a label that begins with `_` stands for the missing `service` | RFC 2782 form |
//! | SOA and NS are answered for every name of the domain, AXFR for none | [`Asked::Soa`], [`Asked::Ns`], [`Asked::Axfr`] |
//! | no kind, nothing before it, more than one label behind it | [`Asked::Nothing`], that is NXDOMAIN |
//! | `.addr.` takes anything behind it; hex of a wrong length is an empty answer, other bad hex NXDOMAIN | [`Asked::Addr`] |
//! | DS belongs to the parent zone: passed on if there are recursors | [`Asked::Other`] |

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str,
};

use crate::{
    wire::{kind, qname::QName},
    zone::Zone,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'q> {
    /// An address spelled in hex (`None` if the digits are not those of an address).
    Addr(Option<IpAddr>),
    /// The transfer of the zone.
    Axfr,
    /// A node's records. The name is `None` if no node can be called so.
    Node {
        /// Lower case.
        name: Option<&'q str>,
        /// Whether this datacenter is meant.
        here: bool,
    },
    /// Nothing that exists or could exist here.
    Nothing,
    /// The zone's servers.
    Ns,
    /// A name that is not ours.
    Other,
    /// A prepared query. (None can be created yet.)
    Query,
    /// An address's name (`None` if the name is no address).
    Reverse(Option<IpAddr>),
    /// Instances of a service. The name is `None` if no service can be called so.
    Service {
        /// Lower case.
        name: Option<&'q str>,
        /// Lower case; empty for all.
        tag: &'q str,
        /// Whether this datacenter is meant.
        here: bool,
    },
    /// The zone's start.
    Soa,
}

/// Reads what `name` and `kind` ask for.
pub fn asked<'q>(name: &'q QName, kind: u16, zone: &Zone) -> Asked<'q> {
    if name.label(name.labels().saturating_sub(1)) == b"arpa" {
        return Asked::Reverse(reverse(name));
    }
    let Some(labels) = zone.before(name) else { return Asked::Other };
    if kind == kind::DS && zone.recurses() {
        return Asked::Other;
    }
    within(name, labels, kind, zone)
}

/// Reads a name under one of the domains, of which the first `labels` labels count.
fn within<'q>(name: &'q QName, labels: usize, kind: u16, zone: &Zone) -> Asked<'q> {
    match kind {
        kind::SOA => return Asked::Soa,
        kind::NS => return Asked::Ns,
        kind::AXFR => return Asked::Axfr,
        _ => {}
    }
    for at in (0..labels).rev() {
        let label = name.label(at);
        match label {
            b"service" => return service(name, at, Place::of(name, at + 1, labels, zone)),
            b"node" => return node(name, at, Place::of(name, at + 1, labels, zone)),
            b"addr" => return addr(name, at),
            b"query" => return query(at, Place::of(name, at + 1, labels, zone)),
            // Parts of the service mesh: known words, nothing behind them.
            b"connect" | b"ingress" => return Asked::Nothing,
            _ if kind == kind::SRV && label.starts_with(b"_") => {
                return service(name, at + 1, Place::of(name, at + 1, labels, zone));
            }
            _ => {}
        }
    }
    Asked::Nothing
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

fn service(name: &QName, parts: usize, place: Place) -> Asked<'_> {
    if parts == 0 || place == Place::Invalid {
        return Asked::Nothing;
    }
    let here = place == Place::Here;
    if let (2, [b'_', service @ ..], [b'_', tag @ ..]) = (parts, name.label(0), name.label(1)) {
        let tag = if tag == b"tcp" { &[] } else { tag };
        return found(name, service, tag, here);
    }
    found(name, name.label(parts - 1), name.span(0, parts - 1), here)
}

fn found<'q>(name: &'q QName, service: &'q [u8], tag: &'q [u8], here: bool) -> Asked<'q> {
    match (text(name, service), text(name, tag)) {
        (service, Some(tag)) => Asked::Service { name: service, tag, here },
        (_, None) => Asked::Service { name: None, tag: "", here },
    }
}

fn node(name: &QName, parts: usize, place: Place) -> Asked<'_> {
    if parts == 0 || place == Place::Invalid {
        return Asked::Nothing;
    }
    Asked::Node { name: text(name, name.span(0, parts)), here: place == Place::Here }
}

fn query<'q>(parts: usize, place: Place) -> Asked<'q> {
    if parts == 0 || place == Place::Invalid { Asked::Nothing } else { Asked::Query }
}

fn addr<'q>(name: &QName, parts: usize) -> Asked<'q> {
    let digits = name.label(0);
    if parts != 1 {
        return Asked::Nothing;
    }
    // Halved lengths are compared, so that an odd digit too many is noticed by the decoding: as the reference does.
    match digits.len() / 2 {
        4 => hex::<4>(digits).map_or(Asked::Nothing, |bytes| Asked::Addr(Some(Ipv4Addr::from(bytes).into()))),
        16 => hex::<16>(digits).map_or(Asked::Nothing, |bytes| Asked::Addr(Some(Ipv6Addr::from(bytes).into()))),
        _ => Asked::Addr(None),
    }
}

/// A name the catalog could hold: see [`QName::odd`].
fn text<'q>(name: &QName, part: &'q [u8]) -> Option<&'q str> {
    if name.odd() {
        return None;
    }
    str::from_utf8(part).ok()
}

/// The address whose name under `in-addr.arpa` or `ip6.arpa` this is; only the one spelling of each address counts.
fn reverse(name: &QName) -> Option<IpAddr> {
    let labels = name.labels();
    let zone = name.label(labels.checked_sub(2)?);
    match zone {
        b"in-addr" if labels == 6 => {
            let mut octets = [0; 4];
            for (at, octet) in octets.iter_mut().rev().enumerate() {
                *octet = decimal(name.label(at))?;
            }
            Some(Ipv4Addr::from(octets).into())
        }
        b"ip6" if labels == 34 => {
            let mut octets = [0_u8; 16];
            for (at, octet) in octets.iter_mut().rev().enumerate() {
                *octet = nibble(name.label(at * 2 + 1))? << 4 | nibble(name.label(at * 2))?;
            }
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
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
            Asked::Addr(Some(address)) | Asked::Reverse(Some(address)) => address.to_string(),
            Asked::Node { name, here } => format!("node {}{}", name.unwrap_or("?"), place(here)),
            Asked::Service { name, tag, here } => {
                let tag = if tag.is_empty() { String::new() } else { format!(" tag {tag}") };
                format!("service {}{tag}{}", name.unwrap_or("?"), place(here))
            }
            other => format!("{other:?}").to_ascii_lowercase(),
        }
    }

    fn policy() -> Policy {
        Policy { alt_domain: "alt.test".into(), ..Policy::default() }
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
            ("0a0000.addr.consul", a, "addr(none)"),
            ("0a00000101.addr.consul", a, "addr(none)"),
            ("0a000001a.addr.consul", a, "nothing"),
            ("zz000001.addr.consul", a, "nothing"),
            ("x.0a000001.addr.consul", a, "nothing"),
            ("addr.consul", a, "nothing"),
            ("anything.consul", kind::SOA, "soa"),
            ("consul", kind::NS, "ns"),
            ("web.service.consul", kind::AXFR, "axfr"),
            ("example.com", a, "other"),
            ("notconsul", a, "other"),
            (".", kind::NS, "other"),
            ("web.service.consul", kind::DS, "service web"),
            ("1.0.68.10.in-addr.arpa", kind::PTR, "10.68.0.1"),
            ("1.0.68.10.IN-ADDR.ARPA", a, "10.68.0.1"),
            ("01.0.68.10.in-addr.arpa", kind::PTR, "reverse(none)"),
            ("256.0.68.10.in-addr.arpa", kind::PTR, "reverse(none)"),
            ("68.10.in-addr.arpa", kind::PTR, "reverse(none)"),
            ("x.y.z.w.in-addr.arpa", kind::PTR, "reverse(none)"),
            ("arpa", kind::SOA, "reverse(none)"),
            ("8.6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", kind::PTR, "2001:db8::68"),
            ("88.6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", kind::PTR, "reverse(none)"),
        ];
        for (text, kind, want) in cases {
            assert_eq!(read(text, *kind, policy()), *want, "{text} {kind}");
        }
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
