//! Joining: finds who is at an address. This version knows nobody but itself, and says so of everybody else.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::net::TcpStream;

/// How long one address may take to answer (Consul's).
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses asked in one call; a longer list is refused.
const ADDRESSES_MAX: usize = 1024;

/// Where this agent's pool listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here {
    pub(super) bind: IpAddr,
    pub(super) port: u16,
}

/// Asks everyone in `addresses` (`host` or `host:port`); says how many were reached, or why none was.
pub(super) async fn join(here: Here, addresses: &[String]) -> Result<usize, String> {
    if addresses.len() > ADDRESSES_MAX {
        return Err(format!("too many addresses to join: {} (limit: {ADDRESSES_MAX})", addresses.len()));
    }
    let mut joined = 0;
    let mut errors = Vec::new();
    for address in addresses {
        match reach(here, address).await {
            Ok(()) => joined += 1,
            Err(error) => errors.push(error),
        }
    }
    if joined > 0 || errors.is_empty() { Ok(joined) } else { Err(all(&errors)) }
}

/// Reaches ourselves at one address, or says why not.
async fn reach(here: Here, address: &str) -> Result<(), String> {
    let (host, port) = split(address, here.port).map_err(|reason| format!("Failed to resolve {address}: {reason}"))?;
    let found = tokio::net::lookup_host((host, port)).await;
    let found: Vec<SocketAddr> = found.map_err(|error| format!("Failed to resolve {address}: {error}"))?.collect();
    let mut failure = format!("Failed to resolve {address}: no such host");
    for candidate in found {
        let ip = candidate.ip();
        match dial(candidate).await {
            Ok(stream) if is_here(here, &stream) => return Ok(()),
            Ok(_) => {
                failure = format!("Failed to join {ip}: {candidate} is another agent, and clusters are not built yet");
            }
            Err(error) => failure = format!("Failed to join {ip}: dial tcp {candidate}: {}", reason(&error)),
        }
    }
    Err(failure)
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(address))
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
}

/// Whether the other end is this agent: at its port, and at its address. Listening everywhere it is at every address of
/// this host, which are those a connection reaches from themselves.
fn is_here(here: Here, stream: &TcpStream) -> bool {
    let (Ok(peer), Ok(own)) = (stream.peer_addr(), stream.local_addr()) else {
        return false;
    };
    let at_address = if here.bind.is_unspecified() { peer.ip() == own.ip() } else { peer.ip() == here.bind };
    peer.port() == here.port && at_address
}

/// The host and the port of `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.
fn split(address: &str, default_port: u16) -> Result<(&str, u16), String> {
    if address.parse::<IpAddr>().is_ok() {
        return Ok((address, default_port));
    }
    if let Some(bare) = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Ok((bare, default_port));
    }
    let Some((host, port)) = address.rsplit_once(':') else {
        return Ok((address, default_port));
    };
    let port = port.parse().map_err(|_| format!("invalid port \"{port}\""))?;
    Ok((host.trim_start_matches('[').trim_end_matches(']'), port))
}

/// The system's words as Consul's clients know them.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

/// Several errors in the form Consul's clients know.
fn all(errors: &[String]) -> String {
    let head =
        if let [_] = errors { "1 error occurred:".to_owned() } else { format!("{} errors occurred:", errors.len()) };
    let list: String = errors.iter().map(|error| format!("\t* {error}\n")).collect();
    format!("{head}\n{list}\n")
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const EVERYWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    async fn ask(bind: IpAddr, port: u16, addresses: &[String]) -> Result<usize, String> {
        join(Here { bind, port }, addresses).await
    }

    #[tokio::test]
    async fn joining_oneself_succeeds() {
        let (_listener, port) = listener().await;
        let named = format!("localhost:{port}");
        assert_eq!(ask(LOOPBACK, port, &[format!("127.0.0.1:{port}")]).await, Ok(1));
        assert_eq!(ask(LOOPBACK, port, &["127.0.0.1".to_owned()]).await, Ok(1));
        assert_eq!(ask(EVERYWHERE, port, &[named]).await, Ok(1));
    }

    #[tokio::test]
    async fn a_refused_address_is_told_as_consul_does() {
        let (listener, closed) = listener().await;
        drop(listener);
        let refused =
            |port| format!("\t* Failed to join 127.0.0.1: dial tcp 127.0.0.1:{port}: connect: connection refused\n");
        let address = format!("127.0.0.1:{closed}");
        let one = ask(LOOPBACK, 1, std::slice::from_ref(&address)).await.unwrap_err();
        assert_eq!(one, format!("1 error occurred:\n{}\n", refused(closed)));
        let two = ask(LOOPBACK, 1, &[address.clone(), address.clone()]).await.unwrap_err();
        assert_eq!(two, format!("2 errors occurred:\n{0}{0}\n", refused(closed)));
    }

    #[tokio::test]
    async fn one_reached_of_several_is_enough() {
        let (_listener, port) = listener().await;
        let addresses = ["nosuch.invalid".to_owned(), format!("127.0.0.1:{port}")];
        assert_eq!(ask(LOOPBACK, port, &addresses).await, Ok(1));
    }

    #[tokio::test]
    async fn another_agent_is_not_taken_for_ourselves() {
        let (_listener, port) = listener().await;
        for bind in [LOOPBACK, EVERYWHERE] {
            let error = ask(bind, port.wrapping_sub(1), &[format!("127.0.0.1:{port}")]).await.unwrap_err();
            assert!(error.contains("clusters are not built yet"), "{error}");
        }
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        let cases = [
            ("host", Ok(("host", 7))),
            ("host:1", Ok(("host", 1))),
            ("10.0.0.1", Ok(("10.0.0.1", 7))),
            ("::1", Ok(("::1", 7))),
            ("[::1]", Ok(("::1", 7))),
            ("[::1]:1", Ok(("::1", 1))),
            ("host:99999", Err("invalid port \"99999\"".to_owned())),
            ("host:", Err("invalid port \"\"".to_owned())),
        ];
        for (address, expected) in cases {
            assert_eq!(split(address, 7), expected, "{address}");
        }
    }
}
