//! Records as an answer holds them: borrowed from the catalog's memo and the settings, small, and not yet bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    kind,
    name::{Bytes, Name},
};

/// The processor and the operating system that [`Data::Hinfo`] names: the RFC, and none.
pub const RFC8482: &[u8] = b"\x07RFC8482\x00";

/// One record, class IN.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Whose it is.
    pub owner: Name<'a>,
    /// Seconds it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Data<'a>,
}

/// What a record says.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// An alias of this name.
    Cname(Name<'a>),
    /// What stands in for everything where ANY is answered with little (RFC 8482 4.2).
    Hinfo,
    /// The zone's server.
    Ns(Name<'a>),
    /// The address's name.
    Ptr(Name<'a>),
    /// The zone's start.
    Soa(Soa<'a>),
    /// Where a service runs.
    Srv(Srv<'a>),
    /// Character strings, each behind its length byte.
    Txt(Bytes<'a>),
}

/// The data of an SOA record.
#[derive(Clone, Copy, Debug)]
pub struct Soa<'a> {
    /// The primary server.
    pub mname: Name<'a>,
    /// The mailbox of who is responsible.
    pub rname: Name<'a>,
    /// The zone's version.
    pub serial: u32,
    /// Refresh, retry, expire, minimum.
    pub timers: [u32; 4],
}

/// The data of an SRV record.
#[derive(Clone, Copy, Debug)]
pub struct Srv<'a> {
    /// Lower is tried first.
    pub priority: u16,
    /// The share among equals.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host.
    pub target: Name<'a>,
}

impl Data<'_> {
    /// The record of an address.
    pub fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::A(address),
            IpAddr::V6(address) => Self::Aaaa(address),
        }
    }

    /// Whether it is the record of that address.
    pub fn is_address(&self, address: IpAddr) -> bool {
        match self {
            Self::A(own) => address == *own,
            Self::Aaaa(own) => address == *own,
            _ => false,
        }
    }

    /// Its type.
    pub fn kind(&self) -> u16 {
        match self {
            Self::A(_) => kind::A,
            Self::Aaaa(_) => kind::AAAA,
            Self::Cname(_) => kind::CNAME,
            Self::Hinfo => kind::HINFO,
            Self::Ns(_) => kind::NS,
            Self::Ptr(_) => kind::PTR,
            Self::Soa(_) => kind::SOA,
            Self::Srv(_) => kind::SRV,
            Self::Txt(_) => kind::TXT,
        }
    }

    /// Its length with every name written in full.
    pub fn len(&self, question: &[u8], kept: &[u8]) -> usize {
        match self {
            Self::A(_) => 4,
            Self::Aaaa(_) => 16,
            Self::Cname(name) | Self::Ns(name) | Self::Ptr(name) => name.len(question, kept),
            Self::Soa(soa) => soa.mname.len(question, kept) + soa.rname.len(question, kept) + 20,
            Self::Srv(srv) => srv.target.len(question, kept) + 6,
            Self::Hinfo => RFC8482.len(),
            Self::Txt(text) => text.of(kept).len(),
        }
    }
}

impl Record<'_> {
    /// Bytes of type, class, TTL and the data's length.
    pub const FIXED: usize = 10;

    /// Its length with every name written in full.
    pub fn len(&self, question: &[u8], kept: &[u8]) -> usize {
        self.owner.len(question, kept) + Self::FIXED + self.data.len(question, kept)
    }
}
