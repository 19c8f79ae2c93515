//! Whether a recursor is asked in its turn, or last because it has been silent for a while.
//!
//! One that is silent costs each question its timeout. It is not passed over after a single timeout: a recursor that
//! looks long for one name knows others, and the order of recursors may mean something. Pure: time is passed in.

use std::time::Duration;

use tokio::time::Instant;

/// Questions without any reply in a row after which it is asked last.
const SILENT_MAX: u8 = 3;
/// For how long; then one question tries it again.
const LAST: Duration = Duration::from_secs(10);

/// How a recursor behaved.
#[derive(Debug, Default)]
pub(super) struct Standing {
    silent: u8,
    last_until: Option<Instant>,
}

impl Standing {
    /// It replied, whatever it said.
    pub(super) fn replied(&mut self) {
        *self = Self::default();
    }

    /// It did not.
    pub(super) fn was_silent(&mut self, now: Instant) {
        self.silent = self.silent.saturating_add(1);
        if self.silent >= SILENT_MAX {
            self.last_until = Some(now + LAST);
        }
    }

    /// Whether it is to be asked after the others. Once its time is over that is answered with no once, and with yes again
    /// until that question has come to something.
    pub(super) fn goes_last(&mut self, now: Instant) -> bool {
        let Some(until) = self.last_until else { return false };
        if now < until {
            return true;
        }
        self.last_until = Some(now + LAST);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_goes_last_and_is_tried_now_and_then() {
        let start = Instant::now();
        let mut standing = Standing::default();
        // Seconds, whether it replied (if it was asked), whether it goes last then.
        let cases: &[(u64, Option<bool>, bool)] = &[
            (0, None, false),
            (1, Some(false), false),
            (2, Some(false), false),
            (3, Some(true), false),
            (4, Some(false), false),
            (5, Some(false), false),
            (6, Some(false), true),
            (15, None, true),
            (16, None, false),
            (16, None, true),
            (18, Some(false), true),
            (27, None, true),
            (28, None, false),
            (28, Some(true), false),
            (29, None, false),
        ];
        for (seconds, replied, last) in cases {
            let now = start + Duration::from_secs(*seconds);
            match replied {
                Some(true) => standing.replied(),
                Some(false) => standing.was_silent(now),
                None => {}
            }
            assert_eq!(standing.goes_last(now), *last, "{seconds} s");
        }
    }
}
