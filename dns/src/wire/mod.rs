//! DNS messages as bytes: what a question needs read, what an answer needs written, and nothing more.
//!
//! ```text
//!   datagram ─► request (header, question, OPT) ─► … ─► record ─► writer (compression) ─► datagram
//! ```
//!
//! Reading trusts nothing: every length is checked, compression pointers are counted, and what is wrong becomes a
//! verdict, not a panic. Writing appends to a buffer the caller keeps. Pure; knows nothing of the catalog or of sockets.
//!
//! | RFC | what | status |
//! |---|---|---|
//! | 1035 4.1.1 | header | read and written; Z is always sent as 0 |
//! | 1035 4.1.4 | name compression | followed when reading a question; written for owners and for names in CNAME, NS, PTR and SOA |
//! | 2782 | SRV targets are not compressed | kept; later names may point into a target |
//! | 6891 | EDNS | see [`edns`] |
//! | 8945, 4034 | TSIG, DNSSEC | passed over |

pub mod edns;
pub mod name;
pub mod qname;
pub mod record;
pub mod request;
pub(crate) mod suffixes;
pub mod writer;

/// Types of records and questions.
pub mod kind {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// A name server.
    pub const NS: u16 = 2;
    /// An alias.
    pub const CNAME: u16 = 5;
    /// The start of a zone.
    pub const SOA: u16 = 6;
    /// A pointer, here from an address to a name.
    pub const PTR: u16 = 12;
    /// A host's kind; stands in for everything (RFC 8482).
    pub const HINFO: u16 = 13;
    /// Text.
    pub const TXT: u16 = 16;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// A service's location.
    pub const SRV: u16 = 33;
    /// EDNS.
    pub const OPT: u16 = 41;
    /// A delegation's signer.
    pub const DS: u16 = 43;
    /// What changed in a zone (a question only).
    pub const IXFR: u16 = 251;
    /// A whole zone (a question only).
    pub const AXFR: u16 = 252;
    /// Everything (a question only).
    pub const ANY: u16 = 255;
}

/// Response codes.
pub mod rcode {
    /// In order.
    pub const NOERROR: u8 = 0;
    /// The question could not be read.
    pub const FORMERR: u8 = 1;
    /// Something failed on the way to the answer.
    pub const SERVFAIL: u8 = 2;
    /// No such name.
    pub const NXDOMAIN: u8 = 3;
    /// This kind of request is not served.
    pub const NOTIMP: u8 = 4;
    /// Not answered here.
    pub const REFUSED: u8 = 5;
    /// This version of EDNS is not spoken; its high bits travel in the OPT record.
    pub const BADVERS: u8 = 16;
    /// The cookie is not ours, or too old; its high bits travel in the OPT record.
    pub const BADCOOKIE: u8 = 23;
}

/// Bits of the header's second word.
pub mod flag {
    /// A response.
    pub const QR: u16 = 0x8000;
    /// The bits of the opcode.
    pub const OPCODE: u16 = 0x7800;
    /// Authoritative.
    pub const AA: u16 = 0x0400;
    /// Cut short.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Recursion available.
    pub const RA: u16 = 0x0080;
    /// Authenticated.
    pub const AD: u16 = 0x0020;
    /// Checking disabled.
    pub const CD: u16 = 0x0010;
}

/// Class IN.
pub const IN: u16 = 1;
/// Bytes of a header.
pub const HEADER: usize = 12;
/// Most bytes of a name, its root label included (RFC 1035 2.3.4).
pub const NAME_MAX: usize = 255;
/// Most bytes of a label (RFC 1035 2.3.4).
pub const LABEL_MAX: usize = 63;

/// The 16 bits at `at`.
pub(crate) fn word(packet: &[u8], at: usize) -> Option<u16> {
    match packet.get(at..at.checked_add(2)?)? {
        [high, low] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}
