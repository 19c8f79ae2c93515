//! The last bytes of what a program prints, in bounded memory and read at a bounded pace. Pure.

use std::time::Duration;

/// Read as fast as it comes; from then on [`PACED_BYTES`] each [`PACE`]: 16 MB/s at most.
const UNPACED_BYTES: u64 = 1024 * 1024;
const PACED_BYTES: u64 = 64 * 1024;
/// How long to wait when [`Pace::is_due`].
pub(super) const PACE: Duration = Duration::from_millis(4);

/// When the reader of a flood has to wait.
#[derive(Default)]
pub(super) struct Pace {
    waited_at: u64,
}

impl Pace {
    /// Whether to wait now that so many bytes were read in all.
    pub(super) fn is_due(&mut self, total: u64) -> bool {
        let due = total > UNPACED_BYTES && total - self.waited_at >= PACED_BYTES;
        if due {
            self.waited_at = total;
        }
        due
    }
}

/// Keeps the last `limit` bytes of what is pushed; its memory grows with what came, up to that.
pub(super) struct Tail {
    /// A ring once it is full: `start` is where the oldest byte is.
    kept: Vec<u8>,
    start: usize,
    limit: usize,
    total: u64,
}

impl Tail {
    /// Keeps `limit` bytes; at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), start: 0, limit: limit.max(1), total: 0 }
    }

    /// Bytes pushed in all.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.total = self.total.saturating_add(bytes.len() as u64);
        let skipped = bytes.len().saturating_sub(self.limit);
        let newest = bytes.get(skipped..).unwrap_or_default();
        if newest.len() == self.limit {
            self.kept.clear();
            self.start = 0;
        }
        let room = self.limit - self.kept.len();
        let (appended, wrapped) = newest.split_at(room.min(newest.len()));
        self.kept.extend_from_slice(appended);
        for byte in wrapped {
            if let Some(oldest) = self.kept.get_mut(self.start) {
                *oldest = *byte;
            }
            self.start = (self.start + 1) % self.limit;
        }
    }

    /// What is kept as text, and how much that is of how much where something is missing.
    pub(super) fn into_text(mut self) -> String {
        self.kept.rotate_left(self.start);
        let text = String::from_utf8_lossy(&self.kept);
        if self.total > self.kept.len() as u64 {
            return format!("Captured {} of {} bytes\n...\n{text}", self.kept.len(), self.total);
        }
        text.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_missing_is_told() {
        let mut tail = Tail::new(4);
        tail.push(b"abcdef");
        tail.push(b"g");
        assert_eq!(tail.into_text(), "Captured 4 of 7 bytes\n...\ndefg");
        let mut tail = Tail::new(4);
        tail.push(b"ab\xff");
        assert_eq!(tail.into_text(), "ab\u{fffd}");
    }

    #[test]
    fn a_flood_is_read_piece_by_piece() {
        let mut pace = Pace::default();
        let waits = (0..2 * 1024).filter(|chunk| pace.is_due(chunk * 1024)).count();
        assert_eq!(waits, 16);
    }

    proptest! {
        #[test]
        fn the_last_bytes_are_kept(
            pushes in prop::collection::vec(prop::collection::vec(b'a'..=b'z', 0..12), 0..12),
            limit in 1..20_usize,
        ) {
            let mut tail = Tail::new(limit);
            for bytes in &pushes {
                tail.push(bytes);
            }
            let all = pushes.concat();
            let last = String::from_utf8_lossy(&all[all.len().saturating_sub(limit)..]).into_owned();
            let expected = if all.len() > limit {
                format!("Captured {limit} of {} bytes\n...\n{last}", all.len())
            } else {
                last
            };
            prop_assert_eq!(tail.into_text(), expected);
        }
    }
}
