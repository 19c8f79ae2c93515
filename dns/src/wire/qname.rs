//! The name that was asked for, in the two forms an answer needs: as it came, and lower case with dots.
//!
//! The second form is the first with every length byte turned into a dot, so a run of labels is one slice of it: a tag
//! of several labels or a node name with dots in it is found without putting anything together.

use super::{LABEL_MAX, NAME_MAX};

/// Most labels a name of 255 bytes can have.
const LABELS_MAX: usize = 127;
/// Most compression pointers followed in one name.
const POINTERS_MAX: usize = 126;

/// A name from a message. Reused from question to question.
#[derive(Clone)]
pub struct QName {
    wire: [u8; NAME_MAX],
    text: [u8; NAME_MAX],
    starts: [u8; LABELS_MAX],
    len: u8,
    labels: u8,
    odd: bool,
}

impl Default for QName {
    fn default() -> Self {
        Self { wire: [0; NAME_MAX], text: [0; NAME_MAX], starts: [0; LABELS_MAX], len: 0, labels: 0, odd: false }
    }
}

impl QName {
    /// Reads the name at `at` of `packet`; returns where the rest of the message goes on.
    pub fn read(&mut self, packet: &[u8], at: usize) -> Option<usize> {
        self.clear();
        let mut at = at;
        let mut after = None;
        let mut pointers = 0;
        loop {
            let head = usize::from(*packet.get(at)?);
            match head & 0xc0 {
                0x00 if head == 0 => return Some(after.unwrap_or(at + 1)),
                0x00 => {
                    self.push(packet.get(at + 1..at + 1 + head)?)?;
                    at += 1 + head;
                }
                0xc0 => {
                    let low = usize::from(*packet.get(at + 1)?);
                    pointers += 1;
                    if pointers > POINTERS_MAX {
                        return None;
                    }
                    after.get_or_insert(at + 2);
                    at = (head & 0x3f) << 8 | low;
                }
                _ => return None,
            }
        }
    }

    /// Takes over the labels of a name of our own.
    pub fn set(&mut self, labels: &[u8]) -> Option<()> {
        self.clear();
        let mut rest = labels;
        while let Some((len, after)) = rest.split_first() {
            let (label, after) = after.split_at_checked(usize::from(*len))?;
            self.push(label)?;
            rest = after;
        }
        Some(())
    }

    /// The labels as they came, without the root's zero.
    pub fn wire(&self) -> &[u8] {
        self.wire.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// How many labels there are.
    pub fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// The labels `from..to`, lower case, dots between them.
    pub fn span(&self, from: usize, to: usize) -> &[u8] {
        if from >= to {
            return &[];
        }
        let end = self.starts().get(to).copied().unwrap_or(self.len);
        let Some(start) = self.starts().get(from) else { return &[] };
        self.text.get(usize::from(*start) + 1..usize::from(end)).unwrap_or_default()
    }

    /// One label, lower case.
    pub fn label(&self, at: usize) -> &[u8] {
        self.span(at, at + 1)
    }

    /// Whether a label holds a byte that has to be escaped in text. The reference compares names as text, so no name
    /// in the catalog is ever equal to such a one.
    pub fn odd(&self) -> bool {
        self.odd
    }

    /// The number of labels before `domain` (text, lower case, of so many labels), if the name is it or ends in it.
    pub fn before(&self, domain: &str, labels: usize) -> Option<usize> {
        let from = self.labels().checked_sub(labels).filter(|_| labels > 0)?;
        (self.span(from, self.labels()) == domain.as_bytes()).then_some(from)
    }

    /// Makes it the root.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.labels = 0;
        self.odd = false;
    }

    fn starts(&self) -> &[u8] {
        self.starts.get(..self.labels()).unwrap_or_default()
    }

    fn push(&mut self, label: &[u8]) -> Option<()> {
        let start = usize::from(self.len);
        let end = start + 1 + label.len();
        if label.is_empty() || label.len() > LABEL_MAX || end >= NAME_MAX {
            return None;
        }
        let (length, wire) = self.wire.get_mut(start..end)?.split_first_mut()?;
        *length = u8::try_from(label.len()).ok()?;
        wire.copy_from_slice(label);
        let (dot, text) = self.text.get_mut(start..end)?.split_first_mut()?;
        *dot = b'.';
        for (lower, byte) in text.iter_mut().zip(label) {
            *lower = byte.to_ascii_lowercase();
            self.odd |= escaped(*byte);
        }
        *self.starts.get_mut(usize::from(self.labels))? = self.len;
        self.labels += 1;
        self.len = u8::try_from(end).ok()?;
        Some(())
    }
}

/// Whether the byte is written with a backslash in a name's text form.
fn escaped(byte: u8) -> bool {
    !(b'!'..=b'~').contains(&byte) || matches!(byte, b'.' | b'\'' | b'@' | b';' | b'(' | b')' | b'"' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::name::encoded;

    fn named(text: &str) -> QName {
        let mut name = QName::default();
        name.set(&encoded(text).unwrap()).unwrap();
        name
    }

    #[test]
    fn spans_are_lower_case_with_dots() {
        let name = named("A.b.Web.SERVICE.consul");
        assert_eq!(name.labels(), 5);
        assert_eq!(name.span(0, 2), b"a.b");
        assert_eq!(name.span(2, 3), b"web");
        assert_eq!(name.label(4), b"consul");
        assert_eq!(name.span(3, 3), b"");
        assert_eq!(name.span(4, 9), b"consul");
        assert_eq!(name.span(9, 12), b"");
        assert_eq!(name.wire(), b"\x01A\x01b\x03Web\x07SERVICE\x06consul");
    }

    #[test]
    fn a_domain_matches_whole_labels() {
        assert_eq!(named("web.service.consul").before("consul", 1), Some(2));
        assert_eq!(named("consul").before("consul", 1), Some(0));
        assert_eq!(named("notconsul").before("consul", 1), None);
        assert_eq!(named("a.alt.test").before("alt.test", 2), Some(1));
        assert_eq!(named("a.test").before("alt.test", 2), None);
        assert_eq!(named("a.test").before("", 0), None, "no domain");
        let mut dotted = QName::default();
        dotted.set(b"\x08alt.test").unwrap();
        assert_eq!(dotted.before("alt.test", 2), None, "a dot inside a label divides nothing");
        dotted.set(b"\x01a\x04b.co\x04test").unwrap();
        assert_eq!(dotted.before("co.test", 2), None);
    }

    #[test]
    fn bad_encodings_are_refused() {
        let mut name = QName::default();
        let cases: &[(&[u8], usize, Option<usize>)] = &[
            (b"\x01a\x00", 0, Some(3)),
            (b"\x00", 0, Some(1)),
            (b"", 0, None),
            (b"\x01", 0, None),
            (b"\x01a", 0, None),
            (b"\x3faaa", 0, None),
            (b"\x80abc\x00", 0, None),
            (b"\x40abc\x00", 0, None),
            (b"\xc0\x00", 0, None),
            (b"\xc0", 0, None),
            (b"\xc0\xff", 0, None),
            (b"\x01x\x00\x01a\xc0\x00rest", 3, Some(7)),
        ];
        for (packet, at, want) in cases {
            assert_eq!(name.read(packet, *at), *want, "{packet:02x?}");
        }
    }

    #[test]
    fn a_name_has_at_most_255_bytes() {
        let mut packet = Vec::new();
        for _ in 0..3 {
            packet.push(63);
            packet.extend([b'a'; 63]);
        }
        packet.push(61);
        packet.extend([b'a'; 61]);
        packet.push(0);
        let mut name = QName::default();
        assert_eq!(packet.len(), 255);
        assert_eq!(name.read(&packet, 0), Some(255));
        let mut longer = packet.clone();
        longer.splice(192..193, [62, b'a']);
        assert_eq!(name.read(&longer, 0), None);
        // One label a step and a pointer back to it: the total length ends the loop.
        assert_eq!(name.read(b"\x01a\xc0\x00", 0), None);
    }

    #[test]
    fn bytes_that_need_escaping_are_noticed() {
        let mut name = QName::default();
        for (label, odd) in
            [(&b"web"[..], false), (b"w b", true), (b"w.b", true), (b"\xc3\xbc", true), (b"_a-1", false)]
        {
            let mut packet = vec![u8::try_from(label.len()).unwrap()];
            packet.extend_from_slice(label);
            packet.push(0);
            name.read(&packet, 0).unwrap();
            assert_eq!(name.odd(), odd, "{label:?}");
        }
    }
}
