//! Which recursors are this agent itself: a question to one would come back at once.

use std::net::{IpAddr, SocketAddr};

/// The addresses of this host's interfaces; none if the system does not tell.
pub(crate) fn interfaces() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.iter().map(if_addrs::Interface::ip).collect(),
        Err(error) => {
            tracing::debug!(%error, "the addresses of this host are not known");
            Vec::new()
        }
    }
}

/// Whether the agent that listens at `listening`, on a host with these interfaces, is reached at `address`.
pub(crate) fn is_own(address: SocketAddr, listening: &[SocketAddr], interfaces: &[IpAddr]) -> bool {
    let ip = address.ip().to_canonical();
    let here = ip.is_loopback() || ip.is_unspecified() || interfaces.iter().any(|own| own.to_canonical() == ip);
    listening.iter().any(|own| {
        let same_family = own.ip().to_canonical().is_ipv4() == ip.is_ipv4();
        let anywhere = own.ip().is_unspecified() && same_family && here;
        // Who asks the unspecified address asks this host.
        let this_host = ip.is_unspecified() && own.ip().is_loopback() && same_family;
        own.port() == address.port() && (own.ip().to_canonical() == ip || anywhere || this_host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_agent_are_known() {
        let interfaces: Vec<IpAddr> = ["127.0.0.1", "192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).to_vec();
        let cases: &[(&str, &[&str])] = &[
            ("127.0.0.1:8600", &["127.0.0.1:8600", "0.0.0.0:8600", "[::ffff:127.0.0.1]:8600"]),
            (
                "0.0.0.0:8600",
                &[
                    "127.0.0.1:8600",
                    "127.9.9.9:8600",
                    "192.0.2.1:8600",
                    "0.0.0.0:8600",
                    "[::ffff:127.0.0.1]:8600",
                    "[::ffff:192.0.2.1]:8600",
                ],
            ),
            ("192.0.2.1:8600", &["192.0.2.1:8600", "[::ffff:192.0.2.1]:8600"]),
            ("[::]:8600", &["[::1]:8600", "[2001:db8::1]:8600", "[::]:8600"]),
        ];
        let all = [
            "127.0.0.1:8600",
            "127.0.0.1:53",
            "127.9.9.9:8600",
            "192.0.2.1:8600",
            "192.0.2.2:8600",
            "0.0.0.0:8600",
            "[::1]:8600",
            "[2001:db8::1]:8600",
            "[2001:db8::2]:8600",
            "[::]:8600",
            "[::ffff:127.0.0.1]:8600",
            "[::ffff:192.0.2.1]:8600",
        ];
        for (listening, own) in cases {
            let listening = [listening.parse().unwrap()];
            let found = all.iter().filter(|address| is_own(address.parse().unwrap(), &listening, &interfaces));
            let (mut found, mut want) = (found.copied().collect::<Vec<_>>(), own.to_vec());
            found.sort_unstable();
            want.sort_unstable();
            assert_eq!(found, want, "{listening:?}");
        }
    }
}
