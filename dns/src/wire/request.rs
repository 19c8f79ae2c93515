//! A request read: the header, the one question, and EDNS if there is any.
//!
//! What is not worth an answer, and what is answered with an error before anybody looks at the question, is decided
//! here, as the reference decides it:
//!
//! | request | verdict |
//! |---|---|
//! | less than a header, or a response | dropped (an answer could be made to travel for ever) |
//! | opcode other than QUERY and NOTIFY | NOTIMP, opcode echoed, no question |
//! | not exactly one question said; more than 1, 1 or 2 records in the other sections | FORMERR, no question |
//! | one question said, nothing there | REFUSED |
//! | an unreadable question | FORMERR, no question |
//! | unreadable records behind it, a broken OPT | FORMERR with the question |
//! | a question that ends before its type, before or in its class | asked, with 0 for what is missing |
//! | sections that end early at a record's border, bytes after the last | asked |
//! | several OPT, an OPT with an owner, EDNS version 1 | asked; the last OPT counts |
//!
//! Rdata of other records than OPT is passed over unread, which is laxer than the reference.

use super::{HEADER, flag, kind, qname::QName, rcode, word};

/// Most records a request may have in its answer, authority and additional sections.
const SECTION_LIMITS: [u16; 3] = [1, 1, 2];
/// The opcode NOTIFY, which is answered like a query.
const NOTIFY: u16 = 4;
/// The EDNS option code of client subnets.
const CLIENT_SUBNET: u16 = 8;

/// A request. Reused from datagram to datagram.
#[derive(Clone, Default)]
pub struct Request {
    /// The client's number for it.
    pub id: u16,
    /// The header's flags as sent.
    pub flags: u16,
    /// The name asked for.
    pub name: QName,
    /// The type asked for.
    pub kind: u16,
    /// The class asked in; answered as IN whatever it is.
    pub class: u16,
    /// EDNS, if the request has it.
    pub edns: Option<Edns>,
}

/// What an OPT record said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The size of UDP messages the client takes.
    pub size: u16,
    /// The client's network, to be echoed.
    pub subnet: Option<Subnet>,
}

/// A client subnet (RFC 7871), valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// 1 for IPv4, 2 for IPv6, 0 for none.
    pub family: u16,
    /// Bits of the address that count.
    pub prefix: u8,
    /// The address, bits beyond the prefix cleared.
    pub address: [u8; 16],
}

impl Subnet {
    /// The bytes of the address that are sent.
    pub fn bytes(&self) -> &[u8] {
        self.address.get(..usize::from(self.prefix).div_ceil(8)).unwrap_or_default()
    }
}

/// What is to be done with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer the question.
    Answer,
    /// Nothing.
    Drop,
    /// Send this code, with the question if it was read.
    Reject {
        /// The response code.
        rcode: u8,
        /// Whether the question goes along.
        question: bool,
    },
}

impl Request {
    /// Reads a datagram or a TCP message.
    pub fn read(&mut self, packet: &[u8]) -> Verdict {
        let (Some(id), Some(flags), Some(_)) = (word(packet, 0), word(packet, 2), word(packet, HEADER - 2)) else {
            return Verdict::Drop;
        };
        self.id = id;
        self.flags = flags;
        self.edns = None;
        if flags & flag::QR != 0 {
            return Verdict::Drop;
        }
        let opcode = (flags & flag::OPCODE) >> 11;
        if opcode != 0 && opcode != NOTIFY {
            return Verdict::Reject { rcode: rcode::NOTIMP, question: false };
        }
        let counts = [6, 8, 10].map(|at| word(packet, at).unwrap_or(0));
        if word(packet, 4) != Some(1) || counts.iter().zip(SECTION_LIMITS).any(|(count, limit)| *count > limit) {
            return Verdict::Reject { rcode: rcode::FORMERR, question: false };
        }
        if packet.len() == HEADER {
            return Verdict::Reject { rcode: rcode::REFUSED, question: false };
        }
        let Some(records) = self.read_question(packet) else {
            return Verdict::Reject { rcode: rcode::FORMERR, question: false };
        };
        if self.read_records(packet, records, counts).is_none() {
            return Verdict::Reject { rcode: rcode::FORMERR, question: true };
        }
        Verdict::Answer
    }

    /// The flags of an answer: the opcode, and for a query RD and CD, go back as they came.
    pub fn reply_flags(&self) -> u16 {
        let opcode = self.flags & flag::OPCODE;
        let copied = if opcode == 0 { self.flags & (flag::RD | flag::CD) } else { 0 };
        flag::QR | opcode | copied
    }

    /// The flags of a rejection.
    pub fn reject_flags(&self, code: u8) -> u16 {
        match code {
            rcode::FORMERR => flag::QR | self.flags & (flag::RD | flag::AD | flag::CD),
            rcode::NOTIMP => flag::QR | self.flags & (flag::OPCODE | flag::RD | flag::AD | flag::CD),
            _ => self.reply_flags(),
        }
    }

    fn read_question(&mut self, packet: &[u8]) -> Option<usize> {
        let at = self.name.read(packet, HEADER)?;
        self.kind = 0;
        self.class = 0;
        if at == packet.len() {
            return Some(at);
        }
        self.kind = word(packet, at)?;
        if at + 2 == packet.len() {
            return Some(at + 2);
        }
        // Half a class is none, as the reference has it.
        let class = word(packet, at + 2);
        self.class = class.unwrap_or(0);
        Some(if class.is_some() { at + 4 } else { packet.len() })
    }

    fn read_records(&mut self, packet: &[u8], start: usize, counts: [u16; 3]) -> Option<()> {
        let mut at = start;
        for (section, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                if at == packet.len() {
                    return Some(());
                }
                let fixed = skip_name(packet, at)?;
                let data = fixed + 10;
                let end = data + usize::from(word(packet, fixed + 8)?);
                let rdata = packet.get(data..end)?;
                if section == 2 && word(packet, fixed)? == kind::OPT {
                    self.edns = Some(Edns { size: word(packet, fixed + 2)?, subnet: read_options(rdata)? });
                }
                at = end;
            }
        }
        Some(())
    }
}

/// Where the record goes on behind its owner's name.
fn skip_name(packet: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    loop {
        let head = usize::from(*packet.get(at)?);
        match head & 0xc0 {
            0x00 if head == 0 => return Some(at + 1),
            0x00 => at += 1 + head,
            0xc0 => return packet.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

/// The client subnet among the options, `None` inside if there is none, `None` outside if the options are broken.
fn read_options(rdata: &[u8]) -> Option<Option<Subnet>> {
    let mut subnet = None;
    let mut at = 0;
    while at < rdata.len() {
        let code = word(rdata, at)?;
        let end = at + 4 + usize::from(word(rdata, at + 2)?);
        let data = rdata.get(at + 4..end)?;
        if code == CLIENT_SUBNET {
            subnet = Some(read_subnet(data)?);
        }
        at = end;
    }
    Some(subnet)
}

/// RFC 7871 6. A family of 0 is what `dig +subnet=0` sends.
fn read_subnet(data: &[u8]) -> Option<Subnet> {
    let (&[high, low, prefix, scope], sent) = data.split_first_chunk::<4>()?;
    let family = u16::from_be_bytes([high, low]);
    let bits = match family {
        0 => 0,
        1 => 32,
        2 => 128,
        _ => return None,
    };
    if prefix > bits || (family != 0 && scope > bits) {
        return None;
    }
    let mut address = [0; 16];
    for (at, (kept, byte)) in address.iter_mut().zip(sent).enumerate() {
        let left = usize::from(prefix).saturating_sub(at * 8);
        *kept = match left {
            0 => 0,
            1..8 => byte & (0xff_u8 << (8 - left)),
            _ => *byte,
        };
    }
    Some(Subnet { family, prefix, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x02r1\x04node\x06consul\x00\x00\x01\x00\x01";

    fn packet(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
        let mut out = vec![0xab, 0xcd];
        out.extend(flags.to_be_bytes());
        for count in counts {
            out.extend(count.to_be_bytes());
        }
        out.extend_from_slice(rest);
        out
    }

    fn read(packet: &[u8]) -> (Verdict, Request) {
        let mut request = Request::default();
        (request.read(packet), request)
    }

    fn reject(rcode: u8, question: bool) -> Verdict {
        Verdict::Reject { rcode, question }
    }

    #[test]
    fn each_shape_of_request_has_its_verdict() {
        let two = [QUESTION, QUESTION].concat();
        let cases: &[(&str, Vec<u8>, Verdict)] = &[
            ("good", packet(0x0100, [1, 0, 0, 0], QUESTION), Verdict::Answer),
            ("nothing", vec![], Verdict::Drop),
            ("short header", packet(0x0100, [1, 0, 0, 0], b"")[..11].to_vec(), Verdict::Drop),
            ("a response", packet(0x8100, [1, 0, 0, 0], QUESTION), Verdict::Drop),
            ("STATUS", packet(0x1100, [1, 0, 0, 0], QUESTION), reject(rcode::NOTIMP, false)),
            ("UPDATE", packet(0x2800, [1, 0, 0, 0], QUESTION), reject(rcode::NOTIMP, false)),
            ("NOTIFY", packet(0x2000, [1, 0, 0, 0], QUESTION), Verdict::Answer),
            ("no question", packet(0x0100, [0, 0, 0, 0], b""), reject(rcode::FORMERR, false)),
            ("two questions", packet(0x0100, [2, 0, 0, 0], &two), reject(rcode::FORMERR, false)),
            ("one said, none there", packet(0x0100, [1, 0, 0, 0], b""), reject(rcode::REFUSED, false)),
            ("no type", packet(0x0100, [1, 0, 0, 0], &QUESTION[..16]), Verdict::Answer),
            ("half a type", packet(0x0100, [1, 0, 0, 0], &QUESTION[..17]), reject(rcode::FORMERR, false)),
            ("no class", packet(0x0100, [1, 0, 0, 0], &QUESTION[..18]), Verdict::Answer),
            ("half a class", packet(0x0100, [1, 0, 0, 0], &QUESTION[..19]), Verdict::Answer),
            ("a label cut short", packet(0x0100, [1, 0, 0, 0], b"\x3faaaa"), reject(rcode::FORMERR, false)),
            (
                "a name that is itself",
                packet(0x0100, [1, 0, 0, 0], b"\xc0\x0c\0\x01\0\x01"),
                reject(rcode::FORMERR, false),
            ),
            (
                "reserved label type",
                packet(0x0100, [1, 0, 0, 0], b"\x80abc\0\0\x01\0\x01"),
                reject(rcode::FORMERR, false),
            ),
            ("bytes behind", packet(0x0100, [1, 0, 0, 0], &[QUESTION, b"trailing"].concat()), Verdict::Answer),
            ("two answers said", packet(0x0100, [1, 2, 0, 0], QUESTION), reject(rcode::FORMERR, false)),
            ("three additional said", packet(0x0100, [1, 0, 0, 3], QUESTION), reject(rcode::FORMERR, false)),
            ("one said, not there", packet(0x0100, [1, 0, 1, 0], QUESTION), Verdict::Answer),
            (
                "half a record",
                packet(0x0100, [1, 0, 0, 1], &[QUESTION, b"\xff"].concat()),
                reject(rcode::FORMERR, true),
            ),
        ];
        for (what, packet, want) in cases {
            assert_eq!(read(packet).0, *want, "{what}");
        }
    }

    #[test]
    fn what_is_missing_of_a_question_is_zero() {
        let (_, request) = read(&packet(0, [1, 0, 0, 0], &QUESTION[..18]));
        assert_eq!((request.kind, request.class), (1, 0));
        let (_, request) = read(&packet(0, [1, 0, 0, 0], &QUESTION[..16]));
        assert_eq!((request.kind, request.class), (0, 0));
    }

    fn with_opt(options: &[u8]) -> (Verdict, Option<Edns>) {
        let mut rest = QUESTION.to_vec();
        rest.extend(b"\0\0\x29\x04\xd0\0\0\0\0");
        rest.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
        rest.extend_from_slice(options);
        let (verdict, request) = read(&packet(0, [1, 0, 0, 1], &rest));
        (verdict, request.edns)
    }

    #[test]
    fn client_subnets_are_checked_and_cut_to_their_prefix() {
        let subnet = |bytes: &[u8]| {
            let (verdict, edns) = with_opt(bytes);
            (verdict, edns.and_then(|edns| edns.subnet).map(|subnet| subnet.bytes().to_vec()))
        };
        assert_eq!(subnet(b""), (Verdict::Answer, None));
        assert_eq!(subnet(b"\0\x0a\0\0"), (Verdict::Answer, None), "an empty cookie");
        assert_eq!(subnet(b"\0\x08\0\x07\0\x01\x18\0\x0a\x01\x02"), (Verdict::Answer, Some(vec![10, 1, 2])));
        assert_eq!(subnet(b"\0\x08\0\x07\0\x01\x14\0\x0a\x01\xff"), (Verdict::Answer, Some(vec![10, 1, 0xf0])));
        assert_eq!(
            subnet(b"\0\x08\0\x06\0\x01\x18\0\x0a\x01"),
            (Verdict::Answer, Some(vec![10, 1, 0])),
            "one byte short"
        );
        assert_eq!(subnet(b"\0\x08\0\x04\0\0\0\0"), (Verdict::Answer, Some(vec![])));
        let bad: &[&[u8]] = &[
            b"\0\x08\0\x02\0\x01",
            b"\0\x08\0\x04\0\x01\xff\0",
            b"\0\x08\0\x04\0\x03\0\0",
            b"\0\x08\0\x04\0\0\x08\0",
            b"\0\x0a\0\x04",
            b"\0",
        ];
        for options in bad {
            assert_eq!(with_opt(options).0, reject(rcode::FORMERR, true), "{options:02x?}");
        }
    }

    #[test]
    fn the_last_opt_of_the_additional_section_counts() {
        let opt = |size: u8| [0, 0, 41, size, 0, 0, 0, 0, 0, 0, 0];
        let rest = [QUESTION, &opt(2), &opt(4)].concat();
        let (_, request) = read(&packet(0, [1, 0, 0, 2], &rest));
        assert_eq!(request.edns, Some(Edns { size: 0x400, subnet: None }));
        let (_, request) = read(&packet(0, [1, 1, 0, 0], &[QUESTION, &opt(2)].concat()));
        assert_eq!(request.edns, None, "an OPT among the answers is none");
    }

    #[test]
    fn flags_go_back_as_the_reference_sends_them() {
        let (_, all) = read(&packet(0x05f0, [1, 0, 0, 0], QUESTION));
        assert_eq!(all.reply_flags(), 0x8110);
        let (_, notify) = read(&packet(0x2100, [1, 0, 0, 0], QUESTION));
        assert_eq!(notify.reply_flags(), 0xa000);
        let (_, unknown) = read(&packet(0x7930, [1, 0, 0, 0], QUESTION));
        assert_eq!(unknown.reject_flags(rcode::NOTIMP), 0xf930);
        let (_, broken) = read(&packet(0x0530, [0, 0, 0, 0], b""));
        assert_eq!(broken.reject_flags(rcode::FORMERR), 0x8130);
    }
}
