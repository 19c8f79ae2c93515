//! Addresses in the configuration: IP addresses, lists of them, unix sockets and go-sockaddr templates.
//!
//! The host's interfaces are passed in, so that everything here can be tested; [`host_interfaces`] asks the system.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

/// One address of one of the host's interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// Such as `eth0`.
    pub(super) name: String,
    /// The address.
    pub(super) address: IpAddr,
}

/// An address a client listener may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClientAddress {
    /// An IP address.
    Ip(IpAddr),
    /// A unix socket (`unix:///path`).
    Unix(PathBuf),
}

/// A text is no usable address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither an IP address nor a template.
    #[error("invalid ip address: {0}")]
    Invalid(String),
    /// A template that is not understood.
    #[error(
        "template {{{{ {0} }}}} is not supported; use GetPrivateIP, GetPrivateIPs, GetPublicIP, GetPublicIPs, \
         GetInterfaceIP \"name\" or GetInterfaceIPs \"name\""
    )]
    Template(String),
    /// A template that matches no address of this host.
    #[error("template {{{{ {0} }}}} matches no address of this host")]
    NoMatch(String),
    /// Several candidates where one is needed.
    #[error("Multiple private IPv4 addresses found. Please configure one with 'bind' and/or 'advertise'.")]
    ManyPrivate,
    /// None where one is needed.
    #[error("No private IPv4 address found")]
    NoPrivate,
    /// Several candidates where one is needed.
    #[error("Multiple public IPv6 addresses found. Please configure one with 'bind' and/or 'advertise'.")]
    ManyPublicV6,
    /// None where one is needed.
    #[error("No public IPv6 address found")]
    NoPublicV6,
}

/// The host's addresses; none when the system does not tell.
pub(super) fn host_interfaces() -> Vec<Interface> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.into_iter().map(|each| Interface { address: each.ip(), name: each.name }).collect()
}

/// Reads a list of addresses divided by blanks, after templates are filled in.
pub(super) fn client_addresses(text: &str, host: &[Interface]) -> Result<Vec<ClientAddress>, AddressError> {
    let text = expand(text, host)?;
    let mut addresses = Vec::new();
    for word in text.split_whitespace() {
        let address = match word.strip_prefix("unix://") {
            Some(path) => ClientAddress::Unix(PathBuf::from(path)),
            None => ClientAddress::Ip(ip(word)?),
        };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// Reads one IP address; brackets around an IPv6 one are allowed.
pub(super) fn ip(text: &str) -> Result<IpAddr, AddressError> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| AddressError::Invalid(text.to_owned()))
}

/// Fills in every `{{ … }}` of a text.
pub(super) fn expand(text: &str, host: &[Interface]) -> Result<String, AddressError> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (template, after) = after.split_once("}}").ok_or_else(|| AddressError::Invalid(text.to_owned()))?;
        result.push_str(before);
        result.push_str(&evaluate(template.trim(), host)?);
        rest = after;
    }
    result.push_str(rest);
    Ok(result.trim().to_owned())
}

fn evaluate(template: &str, host: &[Interface]) -> Result<String, AddressError> {
    let mut words = template.split_whitespace();
    let function = words.next().unwrap_or("");
    let argument = words.next().map(|word| word.trim_matches(['"', '`']));
    let extra = words.next().is_some();
    let addresses = host.iter().map(|interface| interface.address);
    let named = |name: &str| -> Vec<IpAddr> {
        host.iter().filter(|interface| interface.name == name).map(|interface| interface.address).collect()
    };
    let (found, many): (Vec<IpAddr>, bool) = match (function, argument, extra) {
        ("GetPrivateIP", None, false) => (addresses.filter(is_private).collect(), false),
        ("GetPrivateIPs", None, false) => (addresses.filter(is_private).collect(), true),
        ("GetPublicIP", None, false) => (addresses.filter(is_public).collect(), false),
        ("GetPublicIPs", None, false) => (addresses.filter(is_public).collect(), true),
        ("GetInterfaceIP", Some(name), false) => (named(name), false),
        ("GetInterfaceIPs", Some(name), false) => (named(name), true),
        _ => return Err(AddressError::Template(template.to_owned())),
    };
    // IPv4 first, as go-sockaddr's order of types has it.
    let mut found: Vec<IpAddr> = found.into_iter().filter(|address| !is_link_local(address)).collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found.truncate(if many { found.len() } else { 1 });
    if found.is_empty() {
        return Err(AddressError::NoMatch(template.to_owned()));
    }
    let texts: Vec<String> = found.iter().map(IpAddr::to_string).collect();
    Ok(texts.join(" "))
}

/// The address to tell others when listening everywhere: the one private IPv4 address, or with IPv6 the one public.
pub(super) fn advertised_for_any(bind: IpAddr, host: &[Interface]) -> Result<IpAddr, AddressError> {
    let mut candidates: Vec<IpAddr> = host.iter().map(|interface| interface.address).collect();
    if bind.is_ipv4() {
        candidates.retain(|address| address.is_ipv4() && is_private(address));
        return match candidates.as_slice() {
            [one] => Ok(*one),
            [] => first_other_v4(host).ok_or(AddressError::NoPrivate),
            _ => Err(AddressError::ManyPrivate),
        };
    }
    candidates.retain(|address| address.is_ipv6() && is_public(address));
    match candidates.as_slice() {
        [one] => Ok(*one),
        [] => Err(AddressError::NoPublicV6),
        _ => Err(AddressError::ManyPublicV6),
    }
}

/// A host without a private address advertises its only other IPv4 address, if there is exactly one.
fn first_other_v4(host: &[Interface]) -> Option<IpAddr> {
    let mut others =
        host.iter().map(|interface| interface.address).filter(|address| address.is_ipv4() && is_public(address));
    let first = others.next()?;
    others.next().is_none().then_some(first)
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Addresses of RFC 1918 and RFC 6598, and IPv6's unique local ones.
fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

fn is_public(address: &IpAddr) -> bool {
    !is_private(address)
        && !is_link_local(address)
        && !address.is_loopback()
        && !address.is_multicast()
        && *address != IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        && *address != IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(addresses: &[(&str, &str)]) -> Vec<Interface> {
        addresses
            .iter()
            .map(|(name, address)| Interface { name: (*name).into(), address: address.parse().unwrap() })
            .collect()
    }

    #[test]
    fn templates() {
        let host = host(&[
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("eth0", "fe80::1"),
            ("eth0", "2001:db8::5"),
            ("eth0", "10.0.0.5"),
            ("eth1", "192.168.1.9"),
            ("eth2", "8.8.4.4"),
        ]);
        for (text, expected) in [
            ("1.2.3.4", Ok("1.2.3.4")),
            ("{{ GetPrivateIP }}", Ok("10.0.0.5")),
            ("{{GetPrivateIPs}}", Ok("10.0.0.5 192.168.1.9")),
            ("{{ GetPublicIP }}", Ok("8.8.4.4")),
            ("{{ GetInterfaceIPs \"eth0\" }}", Ok("10.0.0.5 2001:db8::5")),
            ("{{ GetInterfaceIP \"eth1\" }}", Ok("192.168.1.9")),
            ("{{ GetInterfaceIP `eth0` }} 127.0.0.1", Ok("10.0.0.5 127.0.0.1")),
            ("{{ GetInterfaceIP \"eth9\" }}", Err(AddressError::NoMatch("GetInterfaceIP \"eth9\"".into()))),
            ("{{ GetDefaultInterfaces | attr }}", Err(AddressError::Template("GetDefaultInterfaces | attr".into()))),
            ("{{ x", Err(AddressError::Invalid("{{ x".into()))),
        ] {
            assert_eq!(expand(text, &host), expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn lists_of_client_addresses() {
        use ClientAddress::{Ip, Unix};
        let v4 = |text: &str| Ip(text.parse().unwrap());
        assert_eq!(
            client_addresses("127.0.0.1 unix:///run/u.sock [::1] 127.0.0.1", &[]),
            Ok(vec![v4("127.0.0.1"), Unix("/run/u.sock".into()), v4("::1")])
        );
        assert_eq!(client_addresses("foo", &[]), Err(AddressError::Invalid("foo".into())));
        assert_eq!(client_addresses(" ", &[]), Ok(vec![]));
    }

    #[test]
    fn what_is_told_to_others_when_listening_everywhere() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let any_v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let one = host(&[("lo", "127.0.0.1"), ("eth0", "10.1.2.3")]);
        let two = host(&[("eth0", "10.1.2.3"), ("eth1", "172.16.0.1")]);
        let public = host(&[("eth0", "8.8.4.4"), ("eth0", "2001:db8::1")]);
        assert_eq!(advertised_for_any(any, &one), Ok("10.1.2.3".parse().unwrap()));
        assert_eq!(advertised_for_any(any, &two), Err(AddressError::ManyPrivate));
        assert_eq!(advertised_for_any(any, &host(&[("lo", "127.0.0.1")])), Err(AddressError::NoPrivate));
        assert_eq!(advertised_for_any(any, &public), Ok("8.8.4.4".parse().unwrap()));
        assert_eq!(advertised_for_any(any_v6, &public), Ok("2001:db8::1".parse().unwrap()));
        assert_eq!(advertised_for_any(any_v6, &one), Err(AddressError::NoPublicV6));
    }
}
