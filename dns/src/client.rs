//! Who asks, as far as an answer depends on it.

use std::{net::IpAddr, time::Duration};

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream within TLS (RFC 7858).
    Tls,
    /// A request of HTTP within TLS (RFC 8484).
    Https,
    /// A stream of QUIC (RFC 9250).
    Quic,
}

impl Transport {
    /// Whether nobody on the way can read it.
    pub fn encrypted(self) -> bool {
        match self {
            Self::Udp | Self::Tcp => false,
            Self::Tls | Self::Https | Self::Quic => true,
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// By what.
    pub transport: Transport,
    /// From where, if that is known: cookies are bound to it, and the size of a UDP message depends on it.
    pub address: Option<IpAddr>,
    /// How long its connection may be idle, if there is one.
    pub idle: Option<Duration>,
}

impl Client {
    /// A client of which nothing is known but its transport.
    pub fn by(transport: Transport) -> Self {
        Self { transport, address: None, idle: None }
    }
}
