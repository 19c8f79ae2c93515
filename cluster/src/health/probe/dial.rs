//! From `host:port` to a connection, in time.
//!
//! Every address of a name is tried, as Go does: those of the first one's family in turn, and 300 ms later (or when they
//! failed) those of the other family beside them (RFC 8305); the first error is told.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    time::Duration,
};

use futures_util::future::{self, Either};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Limit,
    names::{self, NameError},
    text,
};
use crate::net::TcpStream;

/// How long the first family of addresses has to itself.
const HEAD_START: Duration = Duration::from_millis(300);
/// The least time an address gets while others wait behind it, where the timeout allows.
const LEAST_SHARE: Duration = Duration::from_secs(2);

/// A host (name or IP address) and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPort {
    host: Box<str>,
    port: u16,
}

/// Why `host:port` cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostPortError {
    #[error("missing port in address")]
    NoPort,
    #[error("too many colons in address; an IPv6 address is written in brackets")]
    TooManyColons,
    #[error("missing ']' in address")]
    NoBracket,
    #[error("the port must be a number from 1 to 65535")]
    BadPort,
    #[error("the host holds what no host name does")]
    BadHost,
}

/// Why there is no connection; worded as Go does.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("dial {network}: lookup {host}: {source}")]
    Lookup { network: &'static str, host: String, source: NameError },
    #[error("dial {network} {address}: connect: {}", text::io_error(source))]
    Connect { network: &'static str, address: SocketAddr, source: io::Error },
    #[error("dial {network} {address}: i/o timeout")]
    Timeout { network: &'static str, address: SocketAddr },
}

impl HostPort {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Reads `host:port`; an IPv6 address is in brackets. No host means this one.
    pub(super) fn parse(given: &str) -> Result<Self, HostPortError> {
        let (host, port) = match given.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or(HostPortError::NoBracket)?;
                (host, rest.strip_prefix(':').ok_or(HostPortError::NoPort)?)
            }
            None => given.rsplit_once(':').ok_or(HostPortError::NoPort)?,
        };
        if !given.starts_with('[') && host.contains(':') {
            return Err(HostPortError::TooManyColons);
        }
        if host.bytes().any(|byte| byte.is_ascii_control() || matches!(byte, b' ' | b'/' | b'[' | b']')) {
            return Err(HostPortError::BadHost);
        }
        // A sign is a number to Rust and to nobody else.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HostPortError::BadPort);
        }
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(HostPortError::BadPort)?;
        Ok(Self::new(host, port))
    }

    /// The name, or the address without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Connects to the first address that takes it.
    pub(super) async fn connect(&self, limit: Limit) -> Result<TcpStream, DialError> {
        let addresses = self.addresses("tcp", limit).await?;
        let nothing = || DialError::Lookup { network: "tcp", host: self.host.to_string(), source: NameError::Unknown };
        connect_any(&addresses, limit.deadline).await.map_err(|error| error.unwrap_or_else(nothing))
    }

    /// Every address it stands for; at least one.
    pub(super) async fn addresses(&self, network: &'static str, limit: Limit) -> Result<Vec<SocketAddr>, DialError> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        // RFC 6761 section 6.3: always this host, and no resolver needs to know.
        if self.host.is_empty() || self.host.eq_ignore_ascii_case("localhost") {
            let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
            return Ok(vec![SocketAddr::new(v4, self.port), SocketAddr::new(v6, self.port)]);
        }
        let found = timeout_at(limit.deadline, names::SYSTEM.addresses(&self.host)).await;
        match found.unwrap_or(Err(NameError::Timeout)) {
            Ok(found) => Ok(found.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect()),
            Err(source) => Err(DialError::Lookup { network, host: self.host.to_string(), source }),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(formatter, "[{}]:{}", self.host, self.port);
        }
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// The first connection that stands, or the first error; `None` without addresses.
async fn connect_any(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Option<DialError>> {
    let Some(first) = addresses.first() else { return Err(None) };
    let (family, other): (Vec<_>, Vec<_>) = addresses.iter().partition(|it| it.is_ipv4() == first.is_ipv4());
    if other.is_empty() {
        return connect_in_turn(&family, deadline).await;
    }
    let mut ahead = pin!(connect_in_turn(&family, deadline));
    match timeout(HEAD_START, &mut ahead).await {
        Ok(Ok(stream)) => return Ok(stream),
        Ok(Err(error)) => return connect_in_turn(&other, deadline).await.map_err(|_| error),
        Err(_) => {}
    }
    match future::select(ahead, pin!(connect_in_turn(&other, deadline))).await {
        Either::Left((Ok(stream), _)) | Either::Right((Ok(stream), _)) => Ok(stream),
        Either::Left((Err(error), behind)) => behind.await.map_err(|_| error),
        Either::Right((Err(_), ahead)) => ahead.await,
    }
}

/// One address after the other, each with its share of the time that is left.
async fn connect_in_turn(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Option<DialError>> {
    let mut first_error = None;
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let error = match timeout(share.max(LEAST_SHARE).min(left), TcpStream::connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => DialError::Connect { network: "tcp", address: *address, source },
            Err(_) => DialError::Timeout { network: "tcp", address: *address },
        };
        first_error.get_or_insert(error);
    }
    Err(first_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read_as_written() {
        let read = |given| HostPort::parse(given).map(|it| it.to_string());
        for given in ["127.0.0.1:80", "[::1]:8080", "db.example.com:5432", ":80", "[fe80::1%eth0]:1"] {
            assert_eq!(read(given).as_deref(), Ok(given));
        }
        let cases = [
            ("127.0.0.1", HostPortError::NoPort),
            ("[::1]", HostPortError::NoPort),
            ("[::1:80", HostPortError::NoBracket),
            ("::1:80", HostPortError::TooManyColons),
            ("a:+80", HostPortError::BadPort),
            ("a:0", HostPortError::BadPort),
            ("a:", HostPortError::BadPort),
            ("a:65536", HostPortError::BadPort),
            ("a b:80", HostPortError::BadHost),
        ];
        for (given, error) in cases {
            assert_eq!(read(given), Err(error), "{given}");
        }
    }
}
