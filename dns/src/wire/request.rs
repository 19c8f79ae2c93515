//! A request read: the header, the one question, and EDNS if there is any.
//!
//! What is not worth an answer, and what is answered with an error before anybody looks at the question, is decided
//! here. By the letter of the RFCs:
//!
//! | request | verdict |
//! |---|---|
//! | less than a header, or a response | dropped (an answer could be made to travel for ever) |
//! | opcode other than QUERY | NOTIMP, opcode echoed (RFC 1035 4.1.1) |
//! | no question, but a cookie | NOERROR with the server's cookie (RFC 7873 5.4) |
//! | not exactly one question (RFC 9619) | FORMERR |
//! | anything that cannot be read, sections that end early, bytes behind the last | FORMERR |
//! | several OPT, one outside the additional section or with an owner (RFC 6891 6.1.1), a broken option or cookie | FORMERR |
//! | EDNS version other than 0 (RFC 6891 6.1.3) | BADVERS |
//! | class other than IN and ANY | REFUSED |
//!
//! or by that of the reference:
//!
//! | request | verdict |
//! |---|---|
//! | opcode other than QUERY and NOTIFY | NOTIMP, opcode echoed, no question |
//! | not exactly one question said; more than 1, 1 or 2 records in the other sections | FORMERR, no question |
//! | one question said, nothing there | REFUSED |
//! | an unreadable question | FORMERR, no question |
//! | unreadable records behind it, a broken OPT | FORMERR with the question |
//! | a question that ends before its type, before or in its class | asked, with 0 for what is missing |
//! | sections that end early at a record's border, bytes after the last | asked |
//! | several OPT, an OPT with an owner, EDNS version 1, any class | asked; the last OPT counts |
//!
//! Rdata of other records than OPT is passed over unread, which is laxer than the reference.

use super::{
    HEADER, IN,
    edns::{CookieOption, Edns},
    flag, kind,
    qname::QName,
    rcode, word,
};
use crate::policy::Compat;

/// Most records the reference takes in a request's answer, authority and additional sections.
const SECTION_LIMITS: [u16; 3] = [1, 1, 2];
/// The opcode NOTIFY, which the reference answers like a query.
const NOTIFY: u16 = 4;
/// Class ANY, which is asked of every class; IN is the only one here.
const ANY_CLASS: u16 = 255;
/// The section of additional records, among those behind the question.
const ADDITIONAL: usize = 2;

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
    /// The class asked in.
    pub class: u16,
    /// EDNS, if the request has it.
    pub edns: Option<Edns>,
    compat: Compat,
}

/// What is to be done with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer the question.
    Answer,
    /// Nothing.
    Drop,
    /// Send this code, with the question if it was read, and with EDNS if the request has it and the letter asks for it.
    Reject {
        /// The response code.
        rcode: u8,
        /// Whether the question goes along.
        question: bool,
    },
}

impl Request {
    /// Reads a datagram or a TCP message by the letter of `compat`.
    pub fn read(&mut self, packet: &[u8], compat: Compat) -> Verdict {
        let (Some(id), Some(flags), Some(_)) = (word(packet, 0), word(packet, 2), word(packet, HEADER - 2)) else {
            return Verdict::Drop;
        };
        self.id = id;
        self.flags = flags;
        self.compat = compat;
        self.edns = None;
        // What is rejected before its question is read is not to be told of as the question before.
        self.name.clear();
        (self.kind, self.class) = (0, 0);
        if flags & flag::QR != 0 {
            return Verdict::Drop;
        }
        match compat {
            Compat::Rfc => self.read_strictly(packet),
            Compat::Consul => self.read_laxly(packet),
        }
    }

    fn read_strictly(&mut self, packet: &[u8]) -> Verdict {
        let reject = |rcode, question| Verdict::Reject { rcode, question };
        let opcode = (self.flags & flag::OPCODE) >> 11;
        let [questions, answers, authorities, additional] = counts(packet);
        if questions > 1 {
            return reject(if opcode == 0 { rcode::FORMERR } else { rcode::NOTIMP }, false);
        }
        let mut at = HEADER;
        if questions == 1 {
            match self.read_question(packet) {
                Some((behind, true)) => at = behind,
                _ => return reject(if opcode == 0 { rcode::FORMERR } else { rcode::NOTIMP }, false),
            }
        }
        let rest = self.read_records_strictly(packet, at, [answers, authorities, additional]);
        if opcode != 0 {
            return reject(rcode::NOTIMP, questions == 1);
        }
        let cookie = self.edns.map_or(CookieOption::None, |edns| edns.cookie);
        if rest.is_none() || cookie == CookieOption::Broken {
            return reject(rcode::FORMERR, questions == 1);
        }
        if self.edns.is_some_and(|edns| edns.version != 0) {
            return reject(rcode::BADVERS, questions == 1);
        }
        if questions == 0 {
            let code = if cookie == CookieOption::None { rcode::FORMERR } else { rcode::NOERROR };
            return reject(code, false);
        }
        if !matches!(self.class, IN | ANY_CLASS) {
            return reject(rcode::REFUSED, true);
        }
        Verdict::Answer
    }

    fn read_laxly(&mut self, packet: &[u8]) -> Verdict {
        let opcode = (self.flags & flag::OPCODE) >> 11;
        if opcode != 0 && opcode != NOTIFY {
            return Verdict::Reject { rcode: rcode::NOTIMP, question: false };
        }
        let [questions, counts @ ..] = counts(packet);
        if questions != 1 || counts.iter().zip(SECTION_LIMITS).any(|(count, limit)| *count > limit) {
            return Verdict::Reject { rcode: rcode::FORMERR, question: false };
        }
        if packet.len() == HEADER {
            return Verdict::Reject { rcode: rcode::REFUSED, question: false };
        }
        let Some((records, _)) = self.read_question(packet) else {
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
        match (self.compat, code) {
            (Compat::Consul, rcode::FORMERR) => flag::QR | self.flags & (flag::RD | flag::AD | flag::CD),
            (Compat::Consul, rcode::NOTIMP) => flag::QR | self.flags & (flag::OPCODE | flag::RD | flag::AD | flag::CD),
            _ => self.reply_flags(),
        }
    }

    /// Reads the question; where the rest goes on, and whether the question is whole.
    fn read_question(&mut self, packet: &[u8]) -> Option<(usize, bool)> {
        let at = self.name.read(packet, HEADER)?;
        self.kind = 0;
        self.class = 0;
        if at == packet.len() {
            return Some((at, false));
        }
        self.kind = word(packet, at)?;
        if at + 2 == packet.len() {
            return Some((at + 2, false));
        }
        // Half a class is none, as the reference has it.
        let class = word(packet, at + 2);
        self.class = class.unwrap_or(0);
        Some((if class.is_some() { at + 4 } else { packet.len() }, class.is_some()))
    }

    /// Reads the records behind the question; each must be there, and nothing else.
    fn read_records_strictly(&mut self, packet: &[u8], start: usize, counts: [u16; 3]) -> Option<()> {
        let mut at = start;
        for (section, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                let record = Head::read(packet, at)?;
                if record.kind == kind::OPT {
                    let misplaced = section != ADDITIONAL || packet.get(at) != Some(&0) || self.edns.is_some();
                    // Noted before its options are looked at: the error is answered with EDNS, too.
                    let edns = self.edns.insert(Edns::fixed(record.class, record.ttl));
                    if misplaced {
                        return None;
                    }
                    edns.read_options(record.data)?;
                }
                at = record.end;
            }
        }
        (at == packet.len()).then_some(())
    }

    fn read_records(&mut self, packet: &[u8], start: usize, counts: [u16; 3]) -> Option<()> {
        let mut at = start;
        for (section, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                if at == packet.len() {
                    return Some(());
                }
                let record = Head::read(packet, at)?;
                if section == ADDITIONAL && record.kind == kind::OPT {
                    let mut edns = Edns::fixed(record.class, record.ttl);
                    edns.read_options(record.data)?;
                    self.edns = Some(edns);
                }
                at = record.end;
            }
        }
        Some(())
    }
}

/// The numbers of records a header says: questions, answers, authorities, additional ones.
fn counts(packet: &[u8]) -> [u16; 4] {
    [4, 6, 8, 10].map(|at| word(packet, at).unwrap_or(0))
}

/// A record without its owner.
struct Head<'p> {
    kind: u16,
    class: u16,
    ttl: u32,
    data: &'p [u8],
    end: usize,
}

impl<'p> Head<'p> {
    fn read(packet: &'p [u8], at: usize) -> Option<Self> {
        let fixed = skip_name(packet, at)?;
        let data = fixed + 10;
        let end = data + usize::from(word(packet, fixed + 8)?);
        let ttl = u32::from(word(packet, fixed + 4)?) << 16 | u32::from(word(packet, fixed + 6)?);
        let (kind, class) = (word(packet, fixed)?, word(packet, fixed + 2)?);
        Some(Self { kind, class, ttl, data: packet.get(data..end)?, end })
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
        read_by(Compat::Consul, packet)
    }

    fn read_by(compat: Compat, packet: &[u8]) -> (Verdict, Request) {
        let mut request = Request::default();
        (request.read(packet, compat), request)
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

    #[test]
    fn the_last_opt_of_the_additional_section_counts() {
        let opt = |size: u8| [0, 0, 41, size, 0, 0, 0, 0, 0, 0, 0];
        let rest = [QUESTION, &opt(2), &opt(4)].concat();
        let (_, request) = read(&packet(0, [1, 0, 0, 2], &rest));
        assert_eq!(request.edns, Some(Edns { size: 0x400, ..Edns::default() }));
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

    const OPT: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    const COOKIE: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn the_rfcs_have_stricter_verdicts() {
        let with = |records: &[&[u8]]| [&[QUESTION], records].concat().concat();
        let class = |class: u8| [&QUESTION[..18], &[0, class]].concat();
        let query = 0x0100;
        let cases: &[(&str, Vec<u8>, Verdict)] = &[
            ("good", packet(query, [1, 0, 0, 0], QUESTION), Verdict::Answer),
            ("a response", packet(0x8100, [1, 0, 0, 0], QUESTION), Verdict::Drop),
            ("NOTIFY", packet(0x2000, [1, 0, 0, 0], QUESTION), reject(rcode::NOTIMP, true)),
            ("STATUS, nothing else", packet(0x1000, [0, 0, 0, 0], b""), reject(rcode::NOTIMP, false)),
            ("UPDATE of two", packet(0x2800, [2, 0, 0, 0], QUESTION), reject(rcode::NOTIMP, false)),
            ("no question", packet(query, [0, 0, 0, 0], b""), reject(rcode::FORMERR, false)),
            ("no question, EDNS", packet(query, [0, 0, 0, 1], OPT), reject(rcode::FORMERR, false)),
            ("a cookie alone", packet(query, [0, 0, 0, 1], COOKIE), reject(rcode::NOERROR, false)),
            ("one said, none there", packet(query, [1, 0, 0, 0], b""), reject(rcode::FORMERR, false)),
            ("no class", packet(query, [1, 0, 0, 0], &QUESTION[..18]), reject(rcode::FORMERR, false)),
            ("bytes behind", packet(query, [1, 0, 0, 0], &with(&[b"x"])), reject(rcode::FORMERR, true)),
            ("one said, not there", packet(query, [1, 0, 1, 0], QUESTION), reject(rcode::FORMERR, true)),
            ("EDNS", packet(query, [1, 0, 0, 1], &with(&[OPT])), Verdict::Answer),
            ("EDNS twice", packet(query, [1, 0, 0, 2], &with(&[OPT, OPT])), reject(rcode::FORMERR, true)),
            ("EDNS as an answer", packet(query, [1, 1, 0, 0], &with(&[OPT])), reject(rcode::FORMERR, true)),
            ("EDNS of somebody", packet(query, [1, 0, 0, 1], &with(&[b"\x01x", OPT])), reject(rcode::FORMERR, true)),
            (
                "EDNS version 1",
                packet(query, [1, 0, 0, 1], &with(&[&[0, 0, 41, 4, 208, 0, 1, 0, 0, 0, 0]])),
                reject(rcode::BADVERS, true),
            ),
            (
                "a short cookie",
                packet(query, [1, 0, 0, 1], &with(&[&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 5, 0, 10, 0, 1, 1]])),
                reject(rcode::FORMERR, true),
            ),
            ("class ANY", packet(query, [1, 0, 0, 0], &class(255)), Verdict::Answer),
            ("class CH", packet(query, [1, 0, 0, 0], &class(3)), reject(rcode::REFUSED, true)),
            ("class 0", packet(query, [1, 0, 0, 0], &class(0)), reject(rcode::REFUSED, true)),
        ];
        for (what, packet, want) in cases {
            assert_eq!(read_by(Compat::Rfc, packet).0, *want, "{what}");
        }
    }

    #[test]
    fn what_has_no_question_has_not_that_of_the_request_before() {
        for compat in [Compat::Rfc, Compat::Consul] {
            let mut request = Request::default();
            assert_eq!(request.read(&packet(0x0100, [1, 0, 0, 0], QUESTION), compat), Verdict::Answer);
            assert_eq!((request.name.labels(), request.kind), (3, 1));
            request.read(&packet(0x0100, [0, 0, 0, 0], b""), compat);
            assert_eq!((request.name.labels(), request.kind, request.class), (0, 0, 0), "{compat:?}");
        }
    }

    #[test]
    fn errors_know_of_edns() {
        let broken = [QUESTION, &[0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 1, 9]].concat();
        let (_, request) = read_by(Compat::Rfc, &packet(0x0100, [1, 0, 0, 1], &broken));
        assert!(request.edns.is_some_and(|edns| edns.dnssec_ok && edns.size == 1232));
    }

    #[test]
    fn by_the_rfcs_only_rd_and_cd_of_a_query_go_back() {
        let (_, broken) = read_by(Compat::Rfc, &packet(0x0530, [0, 0, 0, 0], b""));
        assert_eq!(broken.reject_flags(rcode::FORMERR), 0x8110);
        let (_, notify) = read_by(Compat::Rfc, &packet(0x2130, [1, 0, 0, 0], QUESTION));
        assert_eq!(notify.reject_flags(rcode::NOTIMP), 0xa000);
    }
}
