//! A message written, with its names compressed.
//!
//! Names are first written in full; then the longest ending the message already holds is replaced by a pointer to it,
//! and the new endings are noted. Endings are compared byte for byte, so no name loses the case it was given. Two short
//! cuts spare most of that: a name made of the very pieces (the same memory) of one written a moment ago is pointed to
//! without looking, and the question's endings are noted only once another name might share them.

use super::{
    HEADER, IN,
    edns::Opt,
    name::Name,
    record::{Data, RFC8482, Record},
    request::Request,
    suffixes::{Suffixes, hash},
};
use crate::wire::kind;

/// Most labels of a name whose endings are noted: those of longer names (reversed addresses) are of no use to others.
const LABELS_MAX: usize = 16;
/// Names remembered by their pieces; a power of two.
const RECENT: usize = 64;
/// Most pointers followed when comparing endings; our own never nest deeper than a name has labels.
const POINTERS_MAX: usize = 128;
/// A pointer to the question's name.
const TO_QUESTION: u16 = 0xc000 | HEADER as u16;

/// What is kept between messages.
pub struct Tools {
    suffixes: Suffixes,
    recent: [Recent; RECENT],
    message: u64,
}

impl Default for Tools {
    fn default() -> Self {
        Self { suffixes: Suffixes::default(), recent: [Recent::default(); RECENT], message: 0 }
    }
}

/// A name written, by its pieces' places in memory: within one message these stand for the same bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Recent {
    message: u64,
    head: (usize, usize),
    tail: (usize, usize),
    at: u16,
}

impl Recent {
    fn new(message: u64, head: &[u8], tail: &[u8], at: u16) -> Self {
        Self { message, head: (head.as_ptr().addr(), head.len()), tail: (tail.as_ptr().addr(), tail.len()), at }
    }

    fn place(&self) -> usize {
        // Heads lie one behind the other in a memo: the middle bits of their addresses tell them apart.
        (self.head.0 >> 3 ^ self.head.0 >> 9) % RECENT
    }
}

/// How names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether names are compressed at all.
    pub compress: bool,
    /// Whether later names may point into SRV targets.
    pub share_targets: bool,
}

/// Writes one message into a buffer.
pub struct Writer<'w> {
    out: &'w mut Vec<u8>,
    tools: &'w mut Tools,
    question: &'w [u8],
    question_noted: bool,
    kept: &'w [u8],
    style: Style,
    counts: [u16; 4],
}

/// The sections records go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer = 1,
    /// Who is responsible.
    Authority = 2,
    /// What may be asked next.
    Additional = 3,
}

impl<'w> Writer<'w> {
    /// Begins the reply to `request` with these flags (the response code among them); what `out` held is gone.
    pub fn begin(
        out: &'w mut Vec<u8>,
        tools: &'w mut Tools,
        request: &'w Request,
        kept: &'w [u8],
        flags: u16,
        style: Style,
    ) -> Self {
        out.clear();
        tools.suffixes.clear();
        tools.message += 1;
        let question = request.name.wire();
        out.extend_from_slice(&request.id.to_be_bytes());
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        Self { out, tools, question, question_noted: false, kept, style, counts: [0; 4] }
    }

    /// Writes the question.
    pub fn question(&mut self, request: &Request) {
        self.out.extend_from_slice(self.question);
        self.out.push(0);
        self.word(request.kind);
        self.word(request.class);
        self.counts[0] = 1;
    }

    /// Writes a record. Sections are to be written in their order.
    pub fn record(&mut self, section: Section, record: &Record<'_>) {
        self.owner(&record.owner);
        self.word(record.data.kind());
        self.word(IN);
        self.long(record.ttl);
        let at = self.out.len();
        self.word(0);
        self.data(&record.data);
        self.set_length(at);
        self.count(section);
    }

    /// Writes the reply's OPT record; it goes last. The message may come to `most` bytes.
    pub fn opt(&mut self, opt: &Opt<'_>, most: usize) {
        self.out.push(0);
        self.word(kind::OPT);
        self.word(opt.size);
        self.long(opt.ttl());
        let at = self.out.len();
        self.word(0);
        opt.write_options(most, self.out);
        self.set_length(at);
        self.count(Section::Additional);
    }

    /// Ends the message; returns its length.
    pub fn finish(self) -> usize {
        for (slot, count) in self.out.iter_mut().skip(4).zip(self.counts.iter().flat_map(|count| count.to_be_bytes())) {
            *slot = count;
        }
        self.out.len()
    }

    fn data(&mut self, data: &Data<'_>) {
        match data {
            Data::A(address) => self.out.extend_from_slice(&address.octets()),
            Data::Aaaa(address) => self.out.extend_from_slice(&address.octets()),
            Data::Cname(name) | Data::Ns(name) | Data::Ptr(name) => self.name(name, true),
            Data::Hinfo => self.out.extend_from_slice(RFC8482),
            Data::Soa(soa) => {
                self.name(&soa.mname, true);
                self.name(&soa.rname, true);
                self.long(soa.serial);
                soa.timers.into_iter().for_each(|seconds| self.long(seconds));
            }
            Data::Srv(srv) => {
                self.word(srv.priority);
                self.word(srv.weight);
                self.word(srv.port);
                self.name(&srv.target, false);
            }
            Data::Txt(text) => self.out.extend_from_slice(text.of(self.kept)),
        }
    }

    /// The owner is the question's name in most records: a pointer without looking.
    fn owner(&mut self, name: &Name<'_>) {
        match name {
            Name::Question if self.style.compress && !self.question.is_empty() => self.word(TO_QUESTION),
            _ => self.name(name, true),
        }
    }

    fn name(&mut self, name: &Name<'_>, may_point: bool) {
        let start = self.out.len();
        let (head, tail) = name.pieces(self.question, self.kept);
        let shared = self.style.compress && (may_point || self.style.share_targets);
        let recent = Recent::new(self.tools.message, head, tail, 0);
        if shared && may_point && self.repeated(recent) {
            return;
        }
        self.out.extend_from_slice(head);
        self.out.extend_from_slice(tail);
        if !shared {
            self.out.push(0);
            return;
        }
        if !self.question_noted {
            self.question_noted = true;
            self.note_question();
        }
        if self.pointed(start, may_point) {
            return;
        }
        self.out.push(0);
        let at = u16::try_from(start).ok().filter(|at| *at < 0x4000);
        if let (Some(at), Some(slot)) = (at, self.tools.recent.get_mut(recent.place())) {
            *slot = Recent { at, ..recent };
        }
    }

    /// Points to the name if these very pieces were written before.
    fn repeated(&mut self, recent: Recent) -> bool {
        let known = self.tools.recent.get(recent.place()).copied().unwrap_or_default();
        if known != (Recent { at: known.at, ..recent }) {
            return false;
        }
        self.word(0xc000 | known.at);
        true
    }

    /// Notes the endings of the question's name, which stands behind the header.
    fn note_question(&mut self) {
        let end = HEADER + self.question.len();
        let Some(written) = self.out.get(HEADER..end) else { return };
        let (endings, count) = endings(written);
        for (at, sum) in endings.iter().take(count) {
            self.tools.suffixes.insert(*sum, HEADER + usize::from(*at));
        }
    }

    /// Notes the endings of the name at `start`, and points to what the message holds of it already: then it is done.
    fn pointed(&mut self, start: usize, may_point: bool) -> bool {
        let (endings, count) = endings(self.out.get(start..).unwrap_or_default());
        for (at, sum) in endings.iter().take(count) {
            let ending = start + usize::from(*at);
            let out = &*self.out;
            let same = |known| same_ending(out, known, out.get(ending..).unwrap_or_default());
            let Some(known) = self.tools.suffixes.find(*sum, same) else {
                self.tools.suffixes.insert(*sum, ending);
                continue;
            };
            // What is known has all its own endings noted, too.
            if !may_point {
                return false;
            }
            self.out.truncate(ending);
            self.word(0xc000 | known);
            return true;
        }
        false
    }

    fn set_length(&mut self, at: usize) {
        let length = u16::try_from(self.out.len().saturating_sub(at + 2)).unwrap_or(u16::MAX);
        if let Some(slot) = self.out.get_mut(at..at + 2) {
            slot.copy_from_slice(&length.to_be_bytes());
        }
    }

    fn count(&mut self, section: Section) {
        if let Some(count) = self.counts.get_mut(section as usize) {
            *count = count.saturating_add(1);
        }
    }

    fn word(&mut self, word: u16) {
        self.out.extend_from_slice(&word.to_be_bytes());
    }

    fn long(&mut self, long: u32) {
        self.out.extend_from_slice(&long.to_be_bytes());
    }
}

/// Where each ending of `name` starts, and its hash; the longest ones of a name with too many labels are left out.
fn endings(name: &[u8]) -> ([(u8, u32); LABELS_MAX], usize) {
    let mut endings = [(0, 0); LABELS_MAX];
    let mut at = 0;
    let mut count = 0;
    while let Some(len) = name.get(at) {
        let Ok(start) = u8::try_from(at) else { break };
        if count == LABELS_MAX {
            endings.rotate_left(1);
            count -= 1;
        }
        if let Some(slot) = endings.get_mut(count) {
            slot.0 = start;
        }
        count += 1;
        at += 1 + usize::from(*len);
    }
    let mut rest = 0;
    for (start, sum) in endings.iter_mut().take(count).rev() {
        rest = hash(label(name, usize::from(*start)), rest);
        *sum = rest;
    }
    (endings, count)
}

/// The label whose length byte is at `at`.
fn label(name: &[u8], at: usize) -> &[u8] {
    let len = name.get(at).copied().map_or(0, usize::from);
    name.get(at + 1..at + 1 + len).unwrap_or_default()
}

/// Whether the message holds at `known` the name `ending` (labels to the end of the slice, without the root).
fn same_ending(message: &[u8], known: usize, ending: &[u8]) -> bool {
    let mut at = known;
    let mut rest = ending;
    for _ in 0..POINTERS_MAX {
        let Some(head) = message.get(at) else { return false };
        match head {
            0 => return rest.is_empty(),
            0xc0.. => {
                let Some(low) = message.get(at + 1) else { return false };
                at = usize::from(head & 0x3f) << 8 | usize::from(*low);
            }
            _ => {
                let end = 1 + usize::from(*head);
                let Some((first, after)) = rest.split_at_checked(end) else { return false };
                if message.get(at..at + end) != Some(first) {
                    return false;
                }
                rest = after;
                at += end;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_the_same_only_byte_for_byte() {
        // "a.consul" at 0, "b" and a pointer to "consul" at 10, a pointer that leads to itself at 14.
        let message = b"\x01a\x06consul\0\x01b\xc0\x02\xc0\x0f";
        let cases: &[(usize, &[u8], bool)] = &[
            (0, b"\x01a\x06consul", true),
            (2, b"\x06consul", true),
            (10, b"\x01b\x06consul", true),
            (0, b"\x01A\x06consul", false),
            (0, b"\x01b\x06consul", false),
            (0, b"\x01a\x06consux", false),
            (0, b"\x01a", false),
            (2, b"\x06consul\x01a", false),
            (14, b"\x01a", false),
            (99, b"\x01a", false),
        ];
        for (known, ending, same) in cases {
            assert_eq!(same_ending(message, *known, ending), *same, "{known} {ending:?}");
        }
    }
}
