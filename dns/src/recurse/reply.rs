//! A recursor's reply: how long it may be kept, what it says when it is older, and in which form a client gets it.
//!
//! | rule | source |
//! |---|---|
//! | kept as long as its shortest TTL says, a day at most | RFC 2181 section 5.2, RFC 8767 section 4 |
//! | without an answer: as long as the SOA's TTL and minimum say, a quarter of an hour at most; not without a SOA | RFC 2308 section 5 |
//! | a cut reply, and one with another code than NOERROR and NXDOMAIN: not at all | RFC 2181 section 9 |
//! | TTLs are counted down; nobody is the authority for what was kept | RFC 1034 section 6.2.7 |
//! | an old answer goes out with a TTL of 30 s | RFC 8767 section 4 |
//!
//! Pure: ages are passed in.

use std::time::Duration;

use super::{
    question::Asker,
    records::{Frame, Section, frames, long},
};
use crate::{
    client::Transport,
    wire::{HEADER, flag, kind, rcode, word},
};

/// Longest an answer is kept, whatever its TTL.
pub(super) const LIFE_MAX: u32 = 86_400;
/// Longest it is kept that there is no answer: names that are new are asked for soon.
pub(super) const NEGATIVE_LIFE_MAX: u32 = 900;
/// TTL of an answer that is out of date.
const STALE_TTL: u32 = 30;

/// A reply that may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keepable {
    message: Box<[u8]>,
    /// Where its TTLs are.
    ttls: Box<[u16]>,
    life: u32,
    negative: bool,
}

impl Keepable {
    /// The reply to a question of this type, if it may be kept.
    pub(super) fn new(reply: &[u8], kind: u16) -> Option<Self> {
        let flags = word(reply, 2)?;
        if flags & flag::TC != 0 || !is_answer(reply) {
            return None;
        }
        let frames = frames(reply)?;
        let found = |frame: &Frame| frame.section == Section::Answer && (frame.kind == kind || kind == kind::ANY);
        let negative = code(reply) == u16::from(rcode::NXDOMAIN) || !frames.iter().any(found);
        let mut life = frames.iter().filter_map(Frame::ttl).min().unwrap_or(0).min(LIFE_MAX);
        if negative {
            life = life.min(minimum(reply, &frames)?).min(NEGATIVE_LIFE_MAX);
        }
        let ttls = frames.iter().filter_map(Frame::ttl_at).collect();
        (life > 0).then(|| Self { message: reply.into(), ttls, life, negative })
    }

    /// How long it may be kept.
    pub(super) fn life(&self) -> Duration {
        Duration::from_secs(self.life.into())
    }

    /// The memory it takes beside its own fields.
    pub(super) fn bytes(&self) -> usize {
        self.message.len() + self.ttls.len() * size_of::<u16>()
    }

    /// The reply at this age, which is less than its life.
    pub(super) fn aged(&self, age: Duration) -> Vec<u8> {
        let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let left = self.life.saturating_sub(age);
        // How long there is nothing is said by the SOA's minimum as well: its TTL alone would be too long.
        let most = if self.negative { left } else { u32::MAX };
        self.with_ttls(|ttl| ttl.saturating_sub(age).min(most))
    }

    /// The reply after its life.
    pub(super) fn stale(&self) -> Vec<u8> {
        self.with_ttls(|_| STALE_TTL)
    }

    fn with_ttls(&self, change: impl Fn(u32) -> u32) -> Vec<u8> {
        let mut message = self.message.to_vec();
        for at in self.ttls.iter().copied().map(usize::from) {
            let ttl = long(&message, at).map(&change);
            if let (Some(ttl), Some(slot)) = (ttl, message.get_mut(at..at + 4)) {
                slot.copy_from_slice(&ttl.to_be_bytes());
            }
        }
        if let Some(high) = message.get_mut(2) {
            *high &= !high_byte(flag::AA);
        }
        message
    }
}

/// Whether a recursor's reply is one: other codes send us to the next.
pub(super) fn is_answer(reply: &[u8]) -> bool {
    [rcode::NOERROR, rcode::NXDOMAIN].map(u16::from).contains(&code(reply))
}

/// Whether it was cut.
pub(super) fn is_cut(reply: &[u8]) -> bool {
    word(reply, 2).is_some_and(|flags| flags & flag::TC != 0)
}

/// The response code in the header.
pub(super) fn code(reply: &[u8]) -> u16 {
    word(reply, 2).map_or(u16::from(rcode::SERVFAIL), |flags| flags & 15)
}

/// The reply as the one to who asks: with the id, in the letters' case and of the size that are right for them.
pub(super) fn addressed(mut reply: Vec<u8>, asker: &Asker, transport: Transport) -> Option<Vec<u8>> {
    reply.get_mut(..2)?.copy_from_slice(&asker.id.to_be_bytes());
    let name = asker.name.wire();
    let asked = reply.get_mut(HEADER..HEADER + name.len()).filter(|asked| asked.eq_ignore_ascii_case(name));
    if let Some(asked) = asked {
        asked.copy_from_slice(name);
    }
    if transport == Transport::Udp && reply.len() > asker.size {
        cut(&mut reply, HEADER + name.len() + 5);
    }
    Some(reply)
}

/// Leaves the question, and TC.
fn cut(reply: &mut Vec<u8>, length: usize) {
    reply.truncate(length);
    if let Some(high) = reply.get_mut(2) {
        *high |= high_byte(flag::TC);
    }
    if let Some(counts) = reply.get_mut(6..HEADER) {
        counts.fill(0);
    }
}

/// That the name in `packet` does not exist, in reply to who asks that.
pub(super) fn no_such_name(packet: &[u8], asker: &Asker) -> Option<Vec<u8>> {
    let mut reply = packet.get(..HEADER + asker.name.wire().len() + 5)?.to_vec();
    let flags = asker.flags & (flag::OPCODE | flag::RD | flag::CD);
    let flags = flag::QR | flags | flag::RA | u16::from(rcode::NXDOMAIN);
    reply.get_mut(2..4)?.copy_from_slice(&flags.to_be_bytes());
    reply.get_mut(6..HEADER)?.fill(0);
    Some(reply)
}

/// The SOA's minimum, its last field.
fn minimum(reply: &[u8], frames: &[Frame]) -> Option<u32> {
    let soa = frames.iter().find(|frame| frame.section == Section::Authority && frame.kind == kind::SOA)?;
    long(reply, soa.data.end.checked_sub(4).filter(|at| *at >= soa.data.start)?)
}

fn high_byte(flag: u16) -> u8 {
    let [high, _] = flag.to_be_bytes();
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x03wWw\x03com\0\0\x01\0\x01";

    fn reply(flags: u16, counts: [u16; 3], records: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![0x12, 0x34];
        for word in [flags, 1].into_iter().chain(counts) {
            out.extend(word.to_be_bytes());
        }
        [out, QUESTION.to_vec(), records.concat()].concat()
    }

    fn a(ttl: u32) -> Vec<u8> {
        [b"\xc0\x0c\0\x01\0\x01", &ttl.to_be_bytes()[..], b"\0\x04\x0a\0\0\x01"].concat()
    }

    fn cname(ttl: u32) -> Vec<u8> {
        [b"\xc0\x0c\0\x05\0\x01", &ttl.to_be_bytes()[..], b"\0\x02\xc0\x10"].concat()
    }

    fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
        let data = [b"\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04", &minimum.to_be_bytes()[..]].concat();
        [b"\xc0\x10\0\x06\0\x01", &ttl.to_be_bytes()[..], b"\0\x16", &data].concat()
    }

    const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";

    #[test]
    fn a_reply_is_kept_as_long_as_it_says() {
        let soon = soa(5, 60);
        let cases: &[(&str, Vec<u8>, Option<u32>)] = &[
            ("an address", reply(0x8180, [1, 0, 0], &[&a(300)]), Some(300)),
            ("the shortest TTL counts", reply(0x8180, [2, 1, 0], &[&a(300), &a(20), &soon]), Some(5)),
            ("OPT has none", reply(0x8180, [1, 0, 1], &[&a(300), OPT]), Some(300)),
            ("a week", reply(0x8180, [1, 0, 0], &[&a(604_800)]), Some(LIFE_MAX)),
            ("0", reply(0x8180, [1, 0, 0], &[&a(0)]), None),
            ("beyond 31 bits", reply(0x8180, [1, 0, 0], &[&a(1 << 31)]), None),
            ("cut", reply(0x8380, [1, 0, 0], &[&a(300)]), None),
            ("NXDOMAIN", reply(0x8183, [0, 1, 0], &[&soa(100, 60)]), Some(60)),
            ("NXDOMAIN, shorter TTL", reply(0x8183, [0, 1, 0], &[&soa(40, 60)]), Some(40)),
            ("NXDOMAIN for a day", reply(0x8183, [0, 1, 0], &[&soa(86_400, 86_400)]), Some(NEGATIVE_LIFE_MAX)),
            ("NXDOMAIN without SOA", reply(0x8183, [0, 0, 0], &[]), None),
            ("no such record", reply(0x8180, [0, 1, 0], &[&soa(100, 60)]), Some(60)),
            ("an alias of nothing", reply(0x8180, [1, 1, 0], &[&cname(30), &soa(100, 60)]), Some(30)),
            ("an alias alone", reply(0x8180, [1, 0, 0], &[&cname(30)]), None),
            ("an alias and its address", reply(0x8180, [2, 0, 0], &[&cname(30), &a(40)]), Some(30)),
            ("SERVFAIL", reply(0x8182, [0, 1, 0], &[&soa(100, 60)]), None),
            ("less than it says", reply(0x8180, [2, 0, 0], &[&a(300)]), None),
        ];
        for (what, reply, want) in cases {
            assert_eq!(Keepable::new(reply, kind::A).map(|kept| kept.life), *want, "{what}");
        }
        let any = reply(0x8180, [1, 0, 0], &[&cname(30)]);
        assert_eq!(Keepable::new(&any, kind::ANY).map(|kept| kept.life), Some(30));
        for length in 0..any.len() {
            assert_eq!(Keepable::new(&any[..length], kind::ANY), None);
        }
    }

    #[test]
    fn ttls_are_counted_down() {
        let kept = Keepable::new(&reply(0x8580, [2, 0, 1], &[&a(300), &a(20), OPT]), kind::A).unwrap();
        let aged = |millis| kept.aged(Duration::from_millis(millis));
        assert_eq!(aged(0), reply(0x8180, [2, 0, 1], &[&a(300), &a(20), OPT]), "and not from the authority");
        assert_eq!(aged(999), aged(0));
        assert_eq!(aged(7_001), reply(0x8180, [2, 0, 1], &[&a(293), &a(13), OPT]));
        assert_eq!(kept.stale(), reply(0x8180, [2, 0, 1], &[&a(30), &a(30), OPT]));
        let negative = Keepable::new(&reply(0x8183, [0, 1, 0], &[&soa(100, 60)]), kind::A).unwrap();
        assert_eq!(negative.aged(Duration::from_secs(10)), reply(0x8183, [0, 1, 0], &[&soa(50, 60)]));
    }

    #[test]
    fn a_reply_is_made_out_to_its_client() {
        let whole = reply(0x8180, [1, 0, 0], &[&a(300)]);
        let client = |edns: &[u8], name: &[u8]| {
            [&b"\xaa\xbb\x01\0\0\x01\0\0\0\0\0"[..], &[u8::from(!edns.is_empty())], name, b"\0\x01\0\x01", edns]
                .concat()
        };
        let plain = client(b"", b"\x03WwW\x03COM\0");
        let addressed = |reply: &[u8], packet: &[u8], transport| {
            addressed(reply.to_vec(), &Asker::of(packet).unwrap(), transport).unwrap()
        };
        let got = addressed(&whole, &plain, Transport::Udp);
        assert_eq!(got[..2], *b"\xaa\xbb");
        assert_eq!(got[12..21], *b"\x03WwW\x03COM\0");
        assert_eq!(got[21..], whole[21..]);
        let long = reply(0x8180, [32, 0, 0], &[&a(300).repeat(32)]);
        let cut = addressed(&long, &plain, Transport::Udp);
        assert_eq!(cut, b"\xaa\xbb\x83\x80\0\x01\0\0\0\0\0\0\x03WwW\x03COM\0\0\x01\0\x01");
        assert_eq!(addressed(&long, &plain, Transport::Tcp).len(), long.len());
        let wide = client(b"\0\0\x29\x04\xd0\0\0\0\0\0\0", b"\x03www\x03com\0");
        assert_eq!(addressed(&long, &wide, Transport::Udp).len(), long.len());
    }
}
