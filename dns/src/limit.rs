//! Response-rate limiting: who gets more replies of one kind than a second allows gets fewer, so that forged questions
//! cannot turn this server against the address they name (as BIND, NSD and Knot do it).
//!
//! A reply is counted by the network it goes to and what it says: for an answer its name and type, for everything else
//! whether the name exists. Every second limited reply is sent cut down to its header with TC, so that a client whose
//! address somebody forges can still ask over TCP; the others are not sent. Clients with a good cookie, on this host or
//! on a stream are who they say and are not limited. Pure: the time is given. Of each thread; nothing is shared.

use std::net::IpAddr;

use crate::wire::suffixes;

/// Networks and answers that are told apart; a newer one takes the place of an older one, which starts anew. A power of
/// two.
const SLOTS: usize = 8192;
/// Of limited replies, one in so many is sent cut down.
const SLIP: u8 = 2;
/// Bits of an IPv4 address that count.
const V4_BITS: u32 = 24;
/// Bits of an IPv6 address that count.
const V6_BITS: u32 = 56;

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is sent.
    Send,
    /// It is sent without its records, and with TC.
    CutDown,
    /// It is not sent.
    Drop,
}

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'k> {
    /// An answer to this name (labels) and type.
    Answer(&'k [u8], u16),
    /// There is no such name, or no such record.
    Negative,
    /// An error.
    Error,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    key: u64,
    second: u32,
    sent: u32,
    limited: u8,
}

/// Counts replies.
#[derive(Default)]
pub(crate) struct Limiter {
    /// Empty until the first reply is counted.
    slots: Vec<Slot>,
}

impl Limiter {
    /// Counts a reply at `second`, and says what becomes of it if `most` of its kind are sent a second.
    pub(crate) fn judge(&mut self, to: IpAddr, kind: Kind<'_>, most: u32, second: u32) -> Verdict {
        if to.is_loopback() {
            return Verdict::Send;
        }
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, Slot::default());
        }
        let key = key(to, kind);
        let place = usize::try_from(key % SLOTS as u64).unwrap_or(0);
        let Some(slot) = self.slots.get_mut(place) else { return Verdict::Send };
        if slot.key != key || slot.second != second {
            *slot = Slot { key, second, ..Slot::default() };
        }
        if slot.sent < most {
            slot.sent += 1;
            return Verdict::Send;
        }
        slot.limited = (slot.limited + 1) % SLIP;
        if slot.limited == 0 { Verdict::CutDown } else { Verdict::Drop }
    }
}

fn key(to: IpAddr, kind: Kind<'_>) -> u64 {
    let network = match to {
        IpAddr::V4(address) => u64::from(u32::from(address) >> (32 - V4_BITS)),
        IpAddr::V6(address) => u64::try_from(u128::from(address) >> (128 - V6_BITS)).unwrap_or(0) | 1 << 63,
    };
    let said = match kind {
        Kind::Answer(name, kind) => u64::from(suffixes::hash_folded(name)) << 16 | u64::from(kind),
        Kind::Negative => 1 << 60,
        Kind::Error => 1 << 61,
    };
    (network ^ said.rotate_left(7)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ said
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: Kind<'_> = Kind::Answer(b"\x03web\x07service\x06consul", 1);

    fn judged(limiter: &mut Limiter, to: &str, kind: Kind<'_>, second: u32) -> Verdict {
        limiter.judge(to.parse().unwrap(), kind, 2, second)
    }

    #[test]
    fn a_network_gets_so_many_replies_of_a_kind_a_second() {
        use Verdict::{CutDown, Drop, Send};
        let mut limiter = Limiter::default();
        let got: Vec<_> = (0..6).map(|at| judged(&mut limiter, &format!("192.0.2.{at}"), WEB, 1)).collect();
        assert_eq!(got, [Send, Send, Drop, CutDown, Drop, CutDown]);
        assert_eq!(judged(&mut limiter, "192.0.3.1", WEB, 1), Send, "another network");
        assert_eq!(judged(&mut limiter, "192.0.2.1", Kind::Answer(b"\x03api", 1), 1), Send, "another name");
        assert_eq!(judged(&mut limiter, "192.0.2.1", Kind::Answer(b"\x03WEB\x07service\x06consul", 1), 1), Drop);
        assert_eq!(judged(&mut limiter, "192.0.2.1", Kind::Negative, 1), Send, "another kind");
        assert_eq!(judged(&mut limiter, "192.0.2.1", WEB, 2), Send, "another second");
    }

    #[test]
    fn ipv6_networks_have_56_bits() {
        let mut limiter = Limiter::default();
        let mut judged = |to| judged(&mut limiter, to, WEB, 1);
        assert_eq!([judged("2001:db8::1"), judged("2001:db8:0:ff::1")], [Verdict::Send; 2]);
        assert_eq!(judged("2001:db8:0:1::1"), Verdict::Drop);
        assert_eq!(judged("2001:db8:0:100::1"), Verdict::Send);
    }

    #[test]
    fn nobody_forges_loopback() {
        let mut limiter = Limiter::default();
        assert!((0..100).all(|_| judged(&mut limiter, "127.0.0.1", WEB, 1) == Verdict::Send));
    }
}
