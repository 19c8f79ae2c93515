//! A question as recursors are asked it, and what makes two questions the same.
//!
//! | a client's request | what recursors are sent | kept |
//! |---|---|---|
//! | one question, with or without plain EDNS | the question, RD, AD, CD and DO as they are, a size of our own | yes |
//! | options between a client and its server (cookie, keepalive, padding) | the same, without them (RFC 7873, 7828, 7830) | yes |
//! | anything else: other options, a signature, another opcode, a type that is no data | the request as it came | no |
//!
//! What is kept is so whole and fits every client; it is cut to the one who asks when it is sent. Pure.

use super::records::{Frame, Section, frames};
use crate::wire::{HEADER, IN, flag, kind, qname::QName, word};

/// The size of UDP messages we tell recursors, if the client speaks EDNS: no fragments (RFC 9715).
const UDP_SIZE: u16 = 1232;
/// The size of UDP messages everybody takes (RFC 1035 section 2.3.4).
const UDP_MIN: usize = 512;
/// Flags of a query that change what is answered.
const ASKING: u16 = flag::RD | flag::AD | flag::CD;
/// In [`Key::flags`]: EDNS is spoken.
const EDNS: u16 = 0x4000;
/// In [`Key::flags`]: signatures are wanted; where an OPT record has that bit, too (RFC 3225).
const DO: u16 = 0x8000;
/// Options that are for the next server alone: cookie, keepalive, padding.
const HOP_BY_HOP: [u16; 3] = [10, 11, 12];
/// Types from here to [`kind::ANY`] are no data but ask for something to be done (RFC 6895 section 3.1).
const NO_DATA: u16 = 128;

/// What an answer is kept under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Labels, lower case.
    name: Box<[u8]>,
    kind: u16,
    class: u16,
    flags: u16,
}

impl Key {
    /// The memory it takes beside its own fields.
    pub(super) fn bytes(&self) -> usize {
        self.name.len()
    }

    /// The type asked for.
    pub(super) fn kind(&self) -> u16 {
        self.kind
    }
}

/// Who asks: what the reply has to bring back, and how large it may be.
pub(super) struct Asker {
    pub(super) id: u16,
    pub(super) flags: u16,
    /// In the letters it came in.
    pub(super) name: QName,
    /// Most bytes of a datagram.
    pub(super) size: usize,
}

impl Asker {
    /// Who sent this request.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let mut name = QName::default();
        name.read(packet, HEADER)?;
        let (id, flags) = (word(packet, 0)?, word(packet, 2)?);
        let frames = frames(packet).unwrap_or_default();
        let is_opt = |frame: &&Frame| frame.section == Section::Additional && frame.kind == kind::OPT;
        let size = frames.iter().rev().find(is_opt).map_or(0, |opt| usize::from(opt.class));
        Some(Self { id, flags, name, size: size.max(UDP_MIN) })
    }
}

/// A question to recursors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// What the answer is kept under; `None` if it is not to be kept.
    pub(super) key: Option<Key>,
    /// The message, without an id.
    pub(super) query: Vec<u8>,
}

impl Question {
    /// What a client's request has to be asked as. The request is one that was read before, and found good.
    pub(super) fn of_client(packet: &[u8]) -> Option<Self> {
        let mut name = QName::default();
        let behind = name.read(packet, HEADER)?;
        let flags = word(packet, 2)?;
        let asked = word(packet, behind).zip(word(packet, behind + 2));
        if let Some(((kind, class), edns)) = asked.zip(plain(packet, flags, asked)) {
            return Some(Self::new(name.wire(), kind, class, flags & ASKING | edns));
        }
        let mut query = packet.to_vec();
        query.get_mut(..2)?.fill(0);
        Some(Self { key: None, query })
    }

    /// The addresses of this type of a host name (labels), asked as the reference does, without EDNS.
    pub(super) fn of_host(name: &[u8], kind: u16) -> Self {
        Self::new(name, kind, IN, flag::RD)
    }

    /// A question of type TXT about a name (labels).
    pub(super) fn of_probe(name: &[u8]) -> Self {
        Self::new(name, kind::TXT, IN, flag::RD)
    }

    fn new(name: &[u8], kind: u16, class: u16, flags: u16) -> Self {
        let edns = flags & EDNS != 0;
        let mut query = vec![0, 0];
        query.extend_from_slice(&(flags & ASKING).to_be_bytes());
        query.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        query.extend_from_slice(name);
        query.push(0);
        query.extend_from_slice(&kind.to_be_bytes());
        query.extend_from_slice(&class.to_be_bytes());
        if edns {
            query.push(0);
            for word in [kind::OPT, UDP_SIZE, 0, flags & DO, 0] {
                query.extend_from_slice(&word.to_be_bytes());
            }
        }
        let name = name.to_ascii_lowercase().into_boxed_slice();
        Self { key: Some(Key { name, kind, class, flags }), query }
    }

    /// What makes two questions that are under way the same: all of the message but the name's case.
    pub(super) fn sameness(&self) -> Box<[u8]> {
        let mut bytes = self.query.clone();
        let mut at = HEADER;
        // Length bytes are no letters; behind a pointer nothing is looked at.
        while let Some(length) = bytes.get(at).copied().filter(|length| (1..64).contains(length)) {
            let end = at + 1 + usize::from(length);
            if let Some(label) = bytes.get_mut(at..end) {
                label.make_ascii_lowercase();
            }
            at = end;
        }
        bytes.into_boxed_slice()
    }
}

/// The flags that stand for the request's EDNS, if it says nothing but what an ordinary question does.
fn plain(packet: &[u8], flags: u16, asked: Option<(u16, u16)>) -> Option<u16> {
    let (kind, class) = asked?;
    let data = (1..NO_DATA).contains(&kind) && kind != kind::OPT || kind >= kind::ANY;
    let counts = [6, 8].map(|at| word(packet, at));
    if flags & flag::OPCODE != 0 || !data || class == 0 || counts != [Some(0); 2] {
        return None;
    }
    match frames(packet)?.as_slice() {
        [] => Some(0),
        [opt] if opt.section == Section::Additional && opt.kind == kind::OPT => {
            let [_, version, flags @ ..] = opt.ttl_field.to_be_bytes();
            let hop_by_hop = version == 0 && options(packet.get(opt.data.clone())?)?;
            hop_by_hop.then_some(EDNS | u16::from_be_bytes(flags) & DO)
        }
        _ => None,
    }
}

/// Whether all options are for the next server alone; `None` if they are broken.
fn options(data: &[u8]) -> Option<bool> {
    let mut at = 0;
    while at < data.len() {
        if !HOP_BY_HOP.contains(&word(data, at)?) {
            return Some(false);
        }
        at = at + 4 + usize::from(word(data, at + 2)?);
    }
    Some(at == data.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(flags: u16, additional: u16, name: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xab, 0xcd];
        for word in [flags, 1, 0, 0, additional] {
            packet.extend(word.to_be_bytes());
        }
        [packet, name.to_vec(), rest.to_vec()].concat()
    }

    const NAME: &[u8] = b"\x03wWw\x03cOm\0";
    const A: &[u8] = b"\0\x01\0\x01";

    fn opt(ttl: [u8; 4], options: &[u8]) -> Vec<u8> {
        let length = u16::try_from(options.len()).unwrap().to_be_bytes();
        [&[0, 0, 41, 16, 0][..], &ttl, &length, options].concat()
    }

    fn of(packet: &[u8]) -> Question {
        Question::of_client(packet).unwrap()
    }

    #[test]
    fn ordinary_questions_are_asked_in_one_form() {
        let bare = of(&packet(0x0100, 0, NAME, A));
        assert_eq!(bare.query, b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x03wWw\x03cOm\0\0\x01\0\x01");
        assert_eq!(bare.key, of(&packet(0x0100, 0, b"\x03www\x03com\0", A)).key, "whatever the letters' case");
        let with = |ttl, options: &[u8]| of(&packet(0x0120, 1, NAME, &[A, &opt(ttl, options)].concat()));
        let edns = with([0; 4], b"");
        assert!(edns.query.ends_with(b"\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0"), "{edns:02x?}");
        assert_eq!(edns, with([0; 4], b"\0\x0a\0\x02\xaa\xbb\0\x0c\0\0"), "a cookie is the client's and ours");
        let signed = with([0, 0, 0x80, 0], b"");
        assert!(signed.query.ends_with(b"\0\0\x80\0\0\0"));
        let keys =
            [bare.key, edns.key, signed.key, of(&packet(0x0110, 0, NAME, A)).key, of(&packet(0, 0, NAME, A)).key];
        for (at, key) in keys.iter().enumerate() {
            assert!(key.is_some() && !keys[..at].contains(key), "{at}: a question of its own");
        }
    }

    #[test]
    fn anything_else_is_asked_as_it_came() {
        let subnet = opt([0; 4], b"\0\x08\0\x07\0\x01\x18\0\x0a\x01\x02");
        let cases: &[(&str, Vec<u8>)] = &[
            ("a client's subnet", packet(0x0100, 1, NAME, &[A, &subnet].concat())),
            ("an identity asked for", packet(0x0100, 1, NAME, &[A, &opt([0; 4], b"\0\x03\0\0")].concat())),
            ("EDNS version 1", packet(0x0100, 1, NAME, &[A, &opt([0, 1, 0, 0], b"")].concat())),
            ("a signature", packet(0x0100, 1, NAME, &[A, b"\0\0\xfa\0\xff\0\0\0\0\0\0"].concat())),
            ("NOTIFY", packet(0x2000, 0, NAME, A)),
            ("IXFR", packet(0x0100, 0, NAME, b"\0\xfb\0\x01")),
            ("no class", packet(0x0100, 0, NAME, b"\0\x01")),
            ("an OPT announced, not there", packet(0x0100, 1, NAME, A)),
        ];
        for (what, packet) in cases {
            let question = of(packet);
            assert_eq!((question.key, &question.query[2..]), (None, &packet[2..]), "{what}");
        }
        assert!(of(&packet(0x0100, 0, NAME, b"\0\xff\0\x01")).key.is_some(), "ANY is data");
        assert!(of(&packet(0x0100, 0, NAME, b"\x01\x01\0\x01")).key.is_some(), "CAA is data");
    }

    #[test]
    fn questions_under_way_are_the_same_whatever_their_letters_case() {
        let one = of(&packet(0x0100, 0, NAME, A)).sameness();
        assert_eq!(one, of(&packet(0x0100, 0, b"\x03WWW\x03com\0", A)).sameness());
        assert_ne!(one, of(&packet(0x0100, 0, b"\x03WWW\x03net\0", A)).sameness());
        let rest = [A, &opt([0; 4], b"\0\x08\0\x04\0\0\0\0")].concat();
        assert_eq!(
            of(&packet(0x0100, 1, NAME, &rest)).sameness(),
            of(&packet(0x0100, 1, b"\x03www\x03COM\0", &rest)).sameness(),
        );
    }
}
