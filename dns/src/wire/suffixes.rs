//! Where in the message each name's ending stands, for compression (RFC 1035 4.1.4).
//!
//! A fixed table of open addressing, kept from message to message: a stamp per message makes clearing it free. Full,
//! it takes no more names, and later ones are written out: longer, never wrong.

/// Slots; a power of two.
const SLOTS: usize = 2048;
/// Most entries, so that a probe always ends soon.
const FILL: usize = SLOTS * 3 / 4;
/// Offsets from here on cannot be pointed at (14 bits).
const REACH: usize = 0x4000;

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u32,
    stamp: u16,
    at: u16,
}

/// The endings of the names written so far.
pub(super) struct Suffixes {
    slots: Box<[Slot; SLOTS]>,
    stamp: u16,
    filled: usize,
}

impl Default for Suffixes {
    fn default() -> Self {
        Self { slots: Box::new([Slot::default(); SLOTS]), stamp: 1, filled: 0 }
    }
}

impl Suffixes {
    /// Starts a new message.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.slots.fill(Slot::default());
            self.stamp = 1;
        }
    }

    /// Where the ending of that hash stands, if `same` says that what stands there is it.
    pub(super) fn find(&self, hash: u32, same: impl Fn(usize) -> bool) -> Option<u16> {
        for slot in self.probe(hash) {
            if slot.stamp != self.stamp {
                return None;
            }
            if slot.hash == hash && same(usize::from(slot.at)) {
                return Some(slot.at);
            }
        }
        None
    }

    /// Notes that the ending of that hash stands at `at`.
    pub(super) fn insert(&mut self, hash: u32, at: usize) {
        let Some(at) = u16::try_from(at).ok().filter(|at| usize::from(*at) < REACH) else { return };
        if self.filled >= FILL {
            return;
        }
        let start = hash as usize;
        for step in 0..SLOTS {
            let Some(slot) = self.slots.get_mut((start + step) % SLOTS) else { return };
            if slot.stamp != self.stamp {
                *slot = Slot { hash, stamp: self.stamp, at };
                self.filled += 1;
                return;
            }
        }
    }

    fn probe(&self, hash: u32) -> impl Iterator<Item = &Slot> {
        let start = hash as usize % SLOTS;
        let (before, from) = self.slots.split_at_checked(start).unwrap_or((&[], &self.slots[..]));
        from.iter().chain(before)
    }
}

/// The hash of an ending: its first label and the hash of the rest (0 for the root).
pub(super) fn hash(label: &[u8], rest: u32) -> u32 {
    let mut hash = rest ^ 0x9e37_79b9;
    let mut chunks = label.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = [0; 4];
        word.copy_from_slice(chunk);
        hash = mix(hash ^ u32::from_le_bytes(word));
    }
    for byte in chunks.remainder() {
        hash = mix(hash ^ u32::from(*byte));
    }
    hash ^ hash >> 15
}

/// The hash of a whole name (labels), whatever the letters' case.
pub(crate) fn hash_folded(labels: &[u8]) -> u32 {
    let hash = labels.iter().fold(0x9e37_79b9, |hash, byte| mix(hash ^ u32::from(byte.to_ascii_lowercase())));
    hash ^ hash >> 15
}

fn mix(hash: u32) -> u32 {
    hash.wrapping_mul(0x85eb_ca6b).rotate_left(13)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_message_forgets_the_last_ones() {
        let mut table = Suffixes::default();
        table.insert(7, 100);
        table.insert(7, 200);
        assert_eq!(table.find(7, |at| at == 200), Some(200), "a collision is probed past");
        assert_eq!(table.find(7, |_| false), None);
        for _ in 0..=usize::from(u16::MAX) {
            table.clear();
            assert_eq!(table.find(7, |_| true), None);
        }
    }

    #[test]
    fn what_cannot_be_pointed_at_is_not_noted() {
        let mut table = Suffixes::default();
        table.insert(1, REACH);
        table.insert(2, REACH - 1);
        assert_eq!(table.find(1, |_| true), None);
        assert_eq!(table.find(2, |_| true), Some(0x3fff));
    }

    #[test]
    fn a_full_table_takes_no_more() {
        let mut table = Suffixes::default();
        for entry in 0..3000_u32 {
            table.insert(entry.wrapping_mul(0x9e37_79b9), 12);
        }
        assert_eq!(table.filled, FILL);
        assert_eq!(table.find(1, |_| false), None);
    }
}
