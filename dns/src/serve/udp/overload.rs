//! When questions that have waited too long are dropped.
//!
//! Not at the first sight of late ones: after a pause (a machine that stood still, a burst) there is a queue, too, but it
//! is answered in a moment, and its clients would rather have that than ask again seconds later. Only when late questions
//! go on to be seen for longer than a whole queue takes to answer, more comes than can be answered. From then on they are
//! dropped until none has been seen for a while.

use std::time::{Duration, Instant};

/// The limits of a thread.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct Limits {
    /// Questions that have waited so long while others wait behind them are late; above zero.
    pub(in crate::serve) late: Duration,
    /// For so long late questions are answered all the same; a full receive buffer is answered within.
    pub(in crate::serve) grace: Duration,
    /// After so long without late questions it is as if there had been none.
    pub(in crate::serve) memory: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { late: Duration::from_millis(20), grace: Duration::from_millis(50), memory: Duration::from_secs(1) }
    }
}

/// What a thread has seen of late questions.
pub(super) struct Overload {
    limits: Limits,
    seen: Option<Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    first: Instant,
    last: Instant,
}

impl Overload {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, seen: None }
    }

    /// Whether questions that have waited for so long are to be dropped. The clock is read only if they are late.
    pub(super) fn drops(&mut self, waited: Duration, now: impl FnOnce() -> Instant) -> bool {
        if waited < self.limits.late {
            return false;
        }
        let now = now();
        let remembered = self.seen.filter(|seen| now.saturating_duration_since(seen.last) < self.limits.memory);
        let first = remembered.map_or(now, |seen| seen.first);
        self.seen = Some(Seen { first, last: now });
        now.saturating_duration_since(first) >= self.limits.grace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_questions_are_dropped_when_they_go_on_to_be_late() {
        let start = Instant::now();
        let mut overload = Overload::new(Limits::default());
        let mut drops =
            |waited: u64, at: u64| overload.drops(Duration::from_millis(waited), || start + Duration::from_millis(at));
        let steps = [
            // waited, at, dropped
            (100, 0, false),
            (19, 10, false),
            (20, 49, false),
            (20, 50, true),
            (19, 60, false),
            (500, 1049, true),
            (20, 2049, false),
            (20, 2098, false),
            (20, 2099, true),
        ];
        for (waited, at, dropped) in steps {
            assert_eq!(drops(waited, at), dropped, "waited {waited} ms, seen at {at} ms");
        }
    }
}
