//! Names to be written: in two pieces, so that a part computed once serves every answer.
//!
//! A name is held as labels, each behind its length byte, without the root's zero. Most names end in the zone
//! (`node1.node` + `dc1.consul`): the head belongs to an instance, the tail to the settings, and neither is copied
//! until it is written.

use super::{LABEL_MAX, NAME_MAX};

/// Bytes lent by the catalog's memo or the settings, or kept with the answer.
#[derive(Clone, Copy, Debug)]
pub enum Bytes<'a> {
    /// Somebody else's.
    Lent(&'a [u8]),
    /// A range of the answer's own buffer.
    Kept(u32, u16),
}

impl<'a> Bytes<'a> {
    /// The bytes, with the answer's buffer at hand.
    pub fn of<'b>(&self, kept: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match *self {
            Self::Lent(bytes) => bytes,
            Self::Kept(at, len) => {
                let at = at as usize;
                kept.get(at..at + usize::from(len)).unwrap_or_default()
            }
        }
    }
}

/// A name of a record.
#[derive(Clone, Copy, Debug)]
pub enum Name<'a> {
    /// The name that was asked for, in the letters it was asked in.
    Question,
    /// Head and tail.
    Made(Bytes<'a>, &'a [u8]),
}

impl<'a> Name<'a> {
    /// A name of two lent pieces.
    pub fn lent(head: &'a [u8], tail: &'a [u8]) -> Self {
        Self::Made(Bytes::Lent(head), tail)
    }

    /// A name of two lent pieces, if they are short enough for one.
    pub fn joined(head: &'a [u8], tail: &'a [u8]) -> Option<Self> {
        (head.len() + tail.len() < NAME_MAX).then(|| Self::lent(head, tail))
    }

    /// Its pieces; `question` stands in for the asked name.
    pub fn pieces<'b>(&self, question: &'b [u8], kept: &'b [u8]) -> (&'b [u8], &'b [u8])
    where
        'a: 'b,
    {
        match *self {
            Self::Question => (question, &[]),
            Self::Made(head, tail) => (head.of(kept), tail),
        }
    }

    /// Its length written in full.
    pub fn len(&self, question: &[u8], kept: &[u8]) -> usize {
        let (head, tail) = self.pieces(question, kept);
        head.len() + tail.len() + 1
    }

    /// Whether both are the same name, whatever the letters' case (a length byte is never a letter).
    pub fn same(&self, other: &Self, question: &[u8], kept: &[u8]) -> bool {
        let (head, tail) = self.pieces(question, kept);
        let (other_head, other_tail) = other.pieces(question, kept);
        if head.len() == other_head.len() {
            return head.eq_ignore_ascii_case(other_head) && tail.eq_ignore_ascii_case(other_tail);
        }
        if head.len() + tail.len() != other_head.len() + other_tail.len() {
            return false;
        }
        let lower = |byte: &u8| byte.to_ascii_lowercase();
        head.iter().chain(tail).map(lower).eq(other_head.iter().chain(other_tail).map(lower))
    }
}

/// The text is not a name that fits a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a name of labels of 1 to 63 bytes, 255 in all")]
pub struct NotAName;

/// Appends the labels of `text` (dots between, one may end it) to `out`. Nothing is appended on an error.
pub fn encode(text: &str, out: &mut Vec<u8>) -> Result<(), NotAName> {
    let start = out.len();
    let text = text.strip_suffix('.').unwrap_or(text);
    for label in text.split('.') {
        let len = u8::try_from(label.len()).ok().filter(|len| (1..=LABEL_MAX).contains(&usize::from(*len)));
        let Some(len) = len else {
            out.truncate(start);
            return Err(NotAName);
        };
        out.push(len);
        out.extend_from_slice(label.as_bytes());
    }
    if out.len() - start + 1 > NAME_MAX {
        out.truncate(start);
        return Err(NotAName);
    }
    Ok(())
}

/// The labels of `text`.
pub fn encoded(text: &str) -> Result<Vec<u8>, NotAName> {
    let mut out = Vec::with_capacity(text.len() + 1);
    encode(text, &mut out)?;
    Ok(out)
}

/// The labels as text for people, with a dot at the end.
pub fn display(labels: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = labels;
    while let Some((len, after)) = rest.split_first() {
        let Some((label, after)) = after.split_at_checked(usize::from(*len)) else { break };
        for byte in label {
            match byte {
                b'.' | b'\\' => text.extend(['\\', char::from(*byte)]),
                b'!'..=b'~' => text.push(char::from(*byte)),
                _ => text.push_str(&format!("\\{byte:03}")),
            }
        }
        text.push('.');
        rest = after;
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_labels_or_are_refused() {
        let long = "l".repeat(63);
        let cases: &[(&str, Option<&[u8]>)] = &[
            ("consul", Some(b"\x06consul")),
            ("consul.", Some(b"\x06consul")),
            ("dc1.consul", Some(b"\x03dc1\x06consul")),
            ("weird name!", Some(b"\x0bweird name!")),
            ("", None),
            (".", None),
            ("a..b", None),
            (".a", None),
            ("a..", None),
        ];
        for (text, want) in cases {
            assert_eq!(encoded(text).ok().as_deref(), *want, "{text:?}");
        }
        assert!(encoded(&long).is_ok());
        assert_eq!(encoded(&format!("{long}l")), Err(NotAName));
        let all = format!("{long}.{long}.{long}.{}", "x".repeat(61));
        assert_eq!(encoded(&all).map(|labels| labels.len()), Ok(254));
        assert_eq!(encoded(&format!("{all}x")), Err(NotAName), "256 bytes with the root");
    }

    #[test]
    fn an_error_leaves_the_buffer_as_it_was() {
        let mut out = b"before".to_vec();
        assert!(encode("good..bad", &mut out).is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn names_compare_across_their_pieces_and_case() {
        let whole = Name::lent(b"\x02n1\x04node\x03dc1\x06consul", b"");
        let split = Name::lent(b"\x02N1\x04node", b"\x03dc1\x06consul");
        let other = Name::lent(b"\x02n2\x04node", b"\x03dc1\x06consul");
        assert!(whole.same(&split, b"", b""));
        assert!(!whole.same(&other, b"", b""));
        assert!(Name::Question.same(&split, b"\x02n1\x04node\x03dc1\x06CONSUL", b""));
        let kept = Name::Made(Bytes::Kept(1, 8), b"\x03dc1\x06consul");
        assert!(kept.same(&whole, b"", b"x\x02n1\x04node"));
        assert_eq!(kept.len(b"", b"x\x02n1\x04node"), 20);
    }

    #[test]
    fn odd_bytes_are_shown_escaped() {
        assert_eq!(display(b"\x03a.b\x02\x00\xff"), "a\\.b.\\000\\255.");
        assert_eq!(display(b""), ".");
    }
}
