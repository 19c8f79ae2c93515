//! Where the records of a message stand: their types and TTLs, so that TTLs are changed in place.
//!
//! A message is kept and passed on as the bytes it came in. Read into records and written again it would lose what the
//! reader does not know: types and options of tomorrow, the letters' case, the way names point at each other. So nothing
//! but the frame of each record is read here. Pure, and trusts nothing.

use std::ops::Range;

use crate::wire::{HEADER, kind, word};

/// Most records looked at in one message: more cannot be in 65,535 bytes at 11 bytes each.
const RECORDS_MAX: usize = 5958;
/// Largest TTL; larger ones count as 0 (RFC 2181 section 8).
const TTL_MAX: u32 = i32::MAX as u32;

/// Parts of a message that hold records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Answer,
    Authority,
    Additional,
}

/// One record's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) section: Section,
    pub(super) kind: u16,
    /// In an OPT record it is the size of UDP messages that is taken.
    pub(super) class: u16,
    /// Where its TTL is.
    ttl_at: usize,
    /// The field as it is: in an OPT record it is no TTL.
    pub(super) ttl_field: u32,
    /// Where its data is.
    pub(super) data: Range<usize>,
}

impl Frame {
    /// The seconds it may be kept; `None` for an OPT record, which is never kept for a time of its own.
    pub(super) fn ttl(&self) -> Option<u32> {
        let seconds = if self.ttl_field > TTL_MAX { 0 } else { self.ttl_field };
        (self.kind != kind::OPT).then_some(seconds)
    }

    /// Where its TTL is, if it has one.
    pub(super) fn ttl_at(&self) -> Option<u16> {
        u16::try_from(self.ttl_at).ok().filter(|_| self.kind != kind::OPT)
    }
}

/// The frames of every record; `None` if the message ends before its records do.
pub(super) fn frames(message: &[u8]) -> Option<Vec<Frame>> {
    let mut at = HEADER;
    for _ in 0..word(message, 4)? {
        at = skip_name(message, at)?.checked_add(4)?;
    }
    let mut frames = Vec::new();
    for (section, count_at) in [(Section::Answer, 6), (Section::Authority, 8), (Section::Additional, 10)] {
        for _ in 0..word(message, count_at)? {
            let fixed = skip_name(message, at)?;
            let start = fixed.checked_add(10)?;
            let end = start.checked_add(usize::from(word(message, fixed + 8)?))?;
            message.get(start..end)?;
            let (kind, class) = (word(message, fixed)?, word(message, fixed + 2)?);
            let ttl_field = long(message, fixed + 4)?;
            frames.push(Frame { section, kind, class, ttl_at: fixed + 4, ttl_field, data: start..end });
            if frames.len() > RECORDS_MAX {
                return None;
            }
            at = end;
        }
    }
    Some(frames)
}

/// The 32 bits at `at`.
pub(super) fn long(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(word(message, at)?) << 16 | u32::from(word(message, at.checked_add(2)?)?))
}

/// Where the message goes on behind the name at `at`.
fn skip_name(message: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    loop {
        let head = usize::from(*message.get(at)?);
        match head & 0xc0 {
            0x00 if head == 0 => return Some(at + 1),
            0x00 => at += 1 + head,
            0xc0 => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"\0\0\x81\x80\0\x01\0\x02\0\x01\0\x01\x03www\x03com\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\x01\x2c\0\x02\xc0\x10\
        \x03com\0\0\x01\0\x01\xff\0\0\0\0\x04\x01\x02\x03\x04\
        \xc0\x10\xff\x01\0\x01\0\0\0\x09\0\0\
        \0\0\x29\x04\xd0\0\0\x80\0\0\0";

    #[test]
    fn every_record_is_found_where_it_stands() {
        let found: Vec<_> = frames(MESSAGE)
            .unwrap()
            .into_iter()
            .map(|frame| (frame.section, frame.kind, frame.ttl(), frame.ttl_at(), frame.data.len()))
            .collect();
        let want = [
            (Section::Answer, 5, Some(300), Some(31), 2),
            (Section::Answer, 1, Some(0), Some(48), 4),
            (Section::Authority, 0xff01, Some(9), Some(64), 0),
            (Section::Additional, 41, None, None, 0),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn no_message_cut_short_is_read() {
        for length in 0..MESSAGE.len() {
            assert_eq!(frames(&MESSAGE[..length]), None, "{length}");
        }
    }
}
